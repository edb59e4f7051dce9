"""Sweeps: families × options × seeds, as a file says, several at a time, each a run of its own."""
