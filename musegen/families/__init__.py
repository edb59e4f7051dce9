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


def _aae() -> type:
    from musegen.families.aae import AAE

    return AAE


def _vae_gan() -> type:
    from musegen.families.vae_gan import VAEGAN

    return VAEGAN
def _infogan() -> type:
    from musegen.families.infogan import InfoGAN

    return InfoGAN


def _gmmn() -> type:
    from musegen.families.gmmn import GMMN

    return GMMN
def _wake_sleep() -> type:
    from musegen.families.wake_sleep import WakeSleep

    return WakeSleep


def _gae() -> type:
    from musegen.families.gae import GAE

    return GAE
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
        Offer("aae", "adversarial autoencoder: a discriminator of codes makes them follow the prior", _aae),
        Offer("vae_gan", "VAE/GAN: reconstruction measured by a discriminator's features", _vae_gan),
        Offer("infogan", "GAN whose categorical and continuous codes the samples give back; classifies", _infogan),
        Offer("gmmn", "generative moment matching: √MMD², on samples or on an autoencoder's codes", _gmmn),
        Offer(
            "wake_sleep", "Helmholtz machine: layers of binary units, wake-sleep or reweighted wake-sleep", _wake_sleep
        ),
        Offer("gae", "Generative Auto Encoder: the aggregate posterior as prior, trained by EM", _gae),
        Offer("pixelcnn", "masked convolutions over earlier cells, plain or gated; exact log-probability", _pixelcnn),
        Offer("pixelrnn", "row LSTM or diagonal BiLSTM over earlier cells; exact log-probability", _pixelrnn),
    ]
