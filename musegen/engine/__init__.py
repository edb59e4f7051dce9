"""Stepping, precision, devices, processes and checkpoints: knows no objective and no domain."""
