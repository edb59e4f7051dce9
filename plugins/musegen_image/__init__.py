"""Images: MNIST, or a folder of pictures of any size and mode."""

from musegen.plugins import Offer, hookimpl

MUSEGEN_API = "1.0"


def _domain() -> type:
    from musegen_image.domain import ImageDomain

    return ImageDomain


@hookimpl
def musegen_domains() -> list[Offer]:
    return [Offer("image", "pictures: MNIST, or a folder of your own", _domain)]
