"""From samples to pieces, and from pieces to files, pictures and sound."""
