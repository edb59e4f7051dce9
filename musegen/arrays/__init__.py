"""The domain ``array``: examples of any shape, in ``.npy`` and ``.npz`` files or in memory. It belongs to no kind of data."""

from musegen.plugins.hooks import Offer, hookimpl

MUSEGEN_API = "1.0"


def _domain() -> type:
    from musegen.arrays.domain import ArrayDomain

    return ArrayDomain


@hookimpl
def musegen_domains() -> list[Offer]:
    return [Offer("array", "arrays of any shape: .npy, .npz, or tensors in memory", _domain)]
