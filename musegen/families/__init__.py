"""The families that come with musegen, one file each, offered through the same hook as a plugin's."""

from __future__ import annotations

from musegen.plugins import Offer, hookimpl


def _ae() -> type:
    from musegen.families.ae import AE

    return AE


def _vae() -> type:
    from musegen.families.vae import VAE

    return VAE


def _gan() -> type:
    from musegen.families.gan import GAN

    return GAN


def _pixelcnn() -> type:
    from musegen.families.pixelcnn import PixelCNN

    return PixelCNN


def _pixelrnn() -> type:
    from musegen.families.pixelrnn import PixelRNN

    return PixelRNN


@hookimpl
def musegen_families() -> list[Offer]:
    return [
        Offer("ae", "autoencoder: a deterministic code", _ae),
        Offer("vae", "variational autoencoder: β, free bits, warm-up, importance samples, two estimators", _vae),
        Offer("gan", "generative adversarial network: five losses, DCGAN with the dcgan networks", _gan),
        Offer("pixelcnn", "masked convolutions over earlier cells, plain or gated; exact log-probability", _pixelcnn),
        Offer("pixelrnn", "row LSTM or diagonal BiLSTM over earlier cells; exact log-probability", _pixelrnn),
    ]
