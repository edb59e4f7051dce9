"""The families that come with musegen, one file each, offered through the same hook as a plugin's."""

from __future__ import annotations

from functools import partial
from importlib import import_module

from musegen.plugins import Offer, hookimpl

MUSEGEN_API = "1.0"

FAMILIES = (
    ("aae", "AAE", "adversarial autoencoder: a discriminator of codes makes them follow the prior"),
    ("ada", "ADA", "adversarial domain adaptation: a classifier for a second, unlabelled data set; dann or adda"),
    ("ae", "AE", "autoencoder: a deterministic code"),
    (
        "conditional_gan",
        "ConditionalGAN",
        "GAN given a class, or given a part of the sample: projection or auxiliary head",
    ),
    ("gae", "GAE", "generative autoencoder: the prior is the average posterior, trained by EM"),
    ("gan", "GAN", "generative adversarial network: five losses, DCGAN with the dcgan networks"),
    ("gmmn", "GMMN", "generative moment matching: √MMD², on samples or on an autoencoder's codes"),
    ("infogan", "InfoGAN", "GAN whose categorical and continuous codes the samples give back; classifies"),
    ("pixelcnn", "PixelCNN", "autoregressive over cells with masked convolutions, plain or gated, exact likelihood"),
    ("pixelrnn", "PixelRNN", "autoregressive over cells with recurrence: Row LSTM or Diagonal BiLSTM"),
    (
        "rnn_nade",
        "RNNNADE",
        "recurrent over steps, a NADE within a step, exact likelihood; continues a past of any length",
    ),
    ("semisupervised_vae", "SemisupervisedVAE", "few labels, many examples: M1, M2 and both stacked; classifies"),
    (
        "structured_vae",
        "StructuredVAE",
        "VAE of categorical and continuous codes in groups, total correlation weighed apart; classifies",
    ),
    ("vae", "VAE", "variational autoencoder: β, free bits, warm-up, importance samples, two estimators"),
    ("vae_gan", "VAEGAN", "VAE/GAN: reconstruction measured by a discriminator's features"),
    ("wake_sleep", "WakeSleep", "Helmholtz machine: layers of binary units, wake-sleep or reweighted"),
)
"""Module, class, and a line for lists."""


def _load(module: str, name: str) -> type:
    return getattr(import_module(f"musegen.families.{module}"), name)


@hookimpl
def musegen_families() -> list[Offer]:
    return [Offer(module, summary, partial(_load, module, name)) for module, name, summary in FAMILIES]
