"""How large pictures may be, each limit with its reason: a file of some kilobytes may claim to hold gigabytes."""

from __future__ import annotations

PIXEL_CAP = 50_000_000
"""Of a picture, which takes up to 200 MB while it is read; cameras have 20 to 50 million. Make larger ones smaller first."""
LARGE_PIXELS = 4_000_000
"""Pictures with more are read one at a time, and in strips."""
IDX_CAP_BYTES = 1 << 30
"""Of an idx file, unpacked: the largest that is in use, EMNIST by class, has 547 MB."""
COUNTED_BYTES = 64 << 20
"""An idx file that claims more is unpacked twice: first only to see whether it holds as much."""
MATRIX_CAP_BYTES = 256 << 20
"""Of a file of binarised MNIST: the largest has 78 MB, as text."""
SUMS_CAP_BYTES = 1 << 20
"""Of a list of checksums."""
TEXT_CAP_BYTES = 64 << 20
"""Of a file of USPS, unpacked; the larger one has 14 MB."""
MATRIX_ROWS = 200_000
"""Of a matrix in a MATLAB file, before it is unpacked; binarised MNIST has 50,000."""
