"""The tables of papers, row by row: what was published, how to run it here, and what was measured."""
