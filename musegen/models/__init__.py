"""Trained models: loading them, and what they can do."""
