"""The packed store: a corpus of rolls, one bit per cell, and batches of its windows."""
