"""Sound files, and a SoundFont synthesiser."""
