"""Corpora that users download for themselves."""
