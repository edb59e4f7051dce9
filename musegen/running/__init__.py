"""A run: its configuration and folder, training, resuming, what it shows, and several processes."""
