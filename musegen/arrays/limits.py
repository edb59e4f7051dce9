"""Limits of what strangers' arrays may claim, each with its reason."""

MEMBER_CAP_BYTES = 2 << 30
"""Of one array in an ``.npz`` file, which is read into memory: some megabytes may claim that much, if they are zeros. An
``.npy`` file
is mapped, and may be as large as the disk."""
MOST_MEMBERS = 10_000
"""Arrays in an ``.npz`` file."""
