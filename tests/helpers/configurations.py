"""Configurations in which tests train every family, and the domains to train them on.

Names of families and domains stand before their options. What has phases (a warm-up, pretraining, a ramp) ends them between the
checkpoint and the last step of ``tests/families/test_contract.py``, so that a resumed run goes through their end.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SEMI = {"labelled": 6, "pretraining_steps": 5}
MUSEGAN = {"loss": "wasserstein-gp", "critic_boost": 2}
TINY_SOUND = {"sample_rate_hz": 4000, "seconds": 0.12, "hop": 32, "n_fft": 128, "n_mels": 16}
HALF_THE_PITCHES = {"lowest_pitch": 33, "highest_pitch": 74}  # and no whole octaves
TINIER_SOUND = {**TINY_SOUND, "seconds": 0.03, "hop": 8, "n_fft": 32}

ON_EVERY_DOMAIN: dict[str, tuple[str, dict[str, Any]]] = {
    "ae": ("ae", {"latent_dim": 4}),
    "vae": ("vae", {"latent_dim": 4, "beta": 0.5, "warmup_steps": 6, "free_bits": 0.05}),
    "vae-score-function": ("vae", {"latent_dim": 4, "estimator": "score-function"}),
    "vae-importance": ("vae", {"latent_dim": 4, "importance_samples": 3}),
    "vae-vimco": ("vae", {"latent_dim": 4, "importance_samples": 3, "estimator": "score-function"}),
    "gan-minimax": ("gan", {"latent_dim": 4, "loss": "minimax"}),
    "gan-non-saturating": ("gan", {"latent_dim": 4, "loss": "non-saturating", "real_smoothing": 0.1}),
    "gan-least-squares": ("gan", {"latent_dim": 4, "loss": "least-squares"}),
    "gan-hinge": ("gan", {"latent_dim": 4, "loss": "hinge", "discriminator_norm": "spectral"}),
    "gan-wasserstein": ("gan", {"latent_dim": 4, "loss": "wasserstein-gp", "critic_steps": 2}),
    "conditional_gan": ("conditional_gan", {"latent_dim": 4, "critic_steps": 2}),
    "conditional_gan-auxiliary": ("conditional_gan", {"latent_dim": 4, "head": "auxiliary", "loss": "non-saturating"}),
    "conditional_gan-given": ("conditional_gan", {"latent_dim": 4, "condition": "given"}),
    "ada-dann": ("ada", {"ramp_steps": 6, "discriminator_widths": [16]}),
    "ada-vada": (
        "ada",
        {
            "ramp_steps": 6,
            "discriminator_widths": [16],
            "conditional": True,
            "entropy": 0.1,
            "consistency": 0.1,
            "radius": 0.5,
        },
    ),
    "ada-adda": ("ada", {"method": "adda", "pretraining_steps": 5, "discriminator_widths": [16]}),
    "semisupervised_vae-m1": ("semisupervised_vae", {"model": "m1", "feature_dim": 4, "hidden": 8, **SEMI}),
    "semisupervised_vae-m2": ("semisupervised_vae", {"model": "m2", "latent_dim": 4, "initial_sigma": 0.01, **SEMI}),
    "semisupervised_vae": (
        "semisupervised_vae",
        {"latent_dim": 3, "feature_dim": 4, "hidden": 8, "weight_prior": 1.0, "least_spread": 0.1, **SEMI},
    ),
    "aae": ("aae", {"latent_dim": 4, "discriminator_widths": [16, 16]}),
    "aae-gaussian": (
        "aae",
        {"latent_dim": 4, "posterior": "gaussian", "loss": "minimax", "discriminator_widths": [16]},
    ),
    "vae_gan": ("vae_gan", {"latent_dim": 4}),
    "vae_gan-minimax": ("vae_gan", {"latent_dim": 4, "loss": "minimax", "discriminator_norm": "spectral"}),
    "infogan": (
        "infogan",
        {"latent_dim": 4, "n_classes": 3, "n_continuous": 1, "trunk_learns_code": False, "continuous_sigma": 0},
    ),
    "infogan-categorical": (
        "infogan",
        {"latent_dim": 4, "n_continuous": 0, "discriminator_norm": "spectral", "trunk_learns_code": True},
    ),
    "gmmn": ("gmmn", {"latent_dim": 4}),
    "gmmn-code": ("gmmn", {"latent_dim": 4, "code_space": True, "code_dim": 6, "pretraining_steps": 5}),
    "structured_vae": ("structured_vae", {"discrete": [3], "continuous": [4]}),
    "structured_vae-groups": (
        "structured_vae",
        {
            "discrete": [2, 3],
            "continuous": [2, 1],
            "mutual_information": 0.5,
            "group_correlation": 2.0,
            "relaxation": 0.3,
            "weights": [1.0, 2.0, 1.0, 1.0],
            "capacities": [0.1, 0.1, 1.0, 1.0],
            "class_information": 0.2,
            "capacity_steps": 6,
        },
    ),
    "wake_sleep": ("wake_sleep", {"layers": [6]}),
    "wake_sleep-gaussian": ("wake_sleep", {"layers": [6, 4], "units": "gaussian"}),
    "wake_sleep-reweighted": ("wake_sleep", {"layers": [6, 4], "algorithm": "reweighted", "importance_samples": 3}),
    "gae": ("gae", {"latent_dim": 4, "memory": 12, "memory_components": 6}),
    "gae-memory": (
        "gae",
        {
            "latent_dim": 4,
            "method": "components",
            "lambda_mean": 0.1,
            "lambda_variance": 0.1,
            "memory_components": 5,
            "draws": 0,
            "own_component": "include",
            "warmup_steps": 0,
        },
    ),
    "pixelcnn-plain": ("pixelcnn", {"gated": False, "channels": 4, "layers": 1}),
    "pixelcnn-gated": ("pixelcnn", {"channels": 4, "layers": 1, "location": False}),
    "pixelrnn-row": ("pixelrnn", {"kind": "row-lstm", "channels": 4, "layers": 1, "location": False}),
    "pixelrnn-diagonal": ("pixelrnn", {"kind": "diagonal-bilstm", "channels": 4, "layers": 1}),
    "rnn_nade": ("rnn_nade", {"units": 8, "hidden": 6, "features": 2, "interval": 3}),
    "rnn_nade-conditional": (
        "rnn_nade",
        {"units": 6, "hidden": 4, "recurrent": "gru", "depth": 1, "features": 0, "conditional": True},
    ),
}
"""Families and their variants, each trained on every one of ``FOR_EVERY_FAMILY``."""

ON_FEW_DOMAINS: dict[str, tuple[str, dict[str, Any]]] = {
    "gan-musegan": ("gan", {"latent_dim": 4, "beta1": 0.5, **MUSEGAN}),
    "gan-deterministic": ("gan", {"latent_dim": 4, "neurons": "deterministic"}),
    "gan-stochastic": ("gan", {"latent_dim": 4, "neurons": "stochastic", "slope_annealing": 1.1, **MUSEGAN}),
    "conditional_gan-musegan": ("conditional_gan", {"latent_dim": 4, **MUSEGAN}),
    "conditional_gan-given-musegan": (
        "conditional_gan",
        {"latent_dim": 4, "condition": "given", "neurons": "stochastic", "slope_annealing": 1.1, **MUSEGAN},
    ),
    "rnn_nade-given": ("rnn_nade", {"units": 6, "hidden": 4, "features": 2, "interval": 3}),
    "rnn_nade-layers": ("rnn_nade", {"recurrent": "gru", "units": 6, "layers": 2, "hidden": 4, "features": 0}),
}
"""Variants that a few domains are enough for."""

FAMILIES = ON_EVERY_DOMAIN | ON_FEW_DOMAINS
"""All of them."""

ON_TOYS = [key for key in FAMILIES if key != "rnn_nade-given"]
"""Those that the toy domain can train: what is given to rnn_nade is whole tracks, and toys have one."""

FOR_EVERY_FAMILY: dict[str, tuple[str, dict[str, Any]]] = {
    "toy": ("toy", {}),
    "image-mlp": ("image", {"size": 16, "widths": [24]}),
    "image-dcgan": ("image", {"size": 16, "networks": "dcgan", "channels": 4, "binarisation": "none"}),
    "array-conv": ("array", {"networks": "conv", "channels": 4}),
    "pianoroll-mlp": (
        "pianoroll",
        {"bars": 1, "widths": [24], "networks": "mlp", "planes": "frame", **HALF_THE_PITCHES},
    ),
    "pianoroll-composer": ("pianoroll", {"bars": 2, "channels": 4, "transpose": 2, **HALF_THE_PITCHES}),
    "audio-mlp": ("audio", {"networks": "mlp", "widths": [24], **TINY_SOUND}),
    "audio-gansynth": ("audio", {"networks": "gansynth", "channels": 2, "representation": "if", **TINIER_SOUND}),
}
"""Domains and their networks, each under every one of ``ON_EVERY_DOMAIN``."""

# A code of five tracks has 10 parts in jamming and 12 in hybrid.
FOR_FEW_FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    f"pianoroll-{name}": (
        "pianoroll",
        {"bars": 2, "channels": 2, "networks": f"musegan-{name}", "latent_dim": 13, **HALF_THE_PITCHES},
    )
    for name in ("jamming", "hybrid")
}
"""Networks that a few families are enough for."""

DOMAINS = FOR_EVERY_FAMILY | FOR_FEW_FAMILIES
"""All of them."""

BINARY = ("rnn_nade", "rnn_nade-conditional")
"""Families of grids that are on or off, which spectrograms cannot be made into."""

FURTHER_PAIRS = [
    ("gan-musegan", "image-dcgan"),
    ("gan-musegan", "pianoroll-jamming"),
    ("gan-deterministic", "image-mlp"),
    ("gan-deterministic", "pianoroll-composer"),
    ("gan-stochastic", "toy"),
    ("rnn_nade-layers", "toy"),
    ("gan-stochastic", "pianoroll-hybrid"),
    ("conditional_gan-musegan", "pianoroll-jamming"),
    ("conditional_gan-given-musegan", "toy"),
    ("conditional_gan-given-musegan", "pianoroll-composer"),
    ("conditional_gan-given", "pianoroll-jamming"),
    ("rnn_nade-given", "pianoroll-mlp"),
    ("rnn_nade-given", "pianoroll-composer"),
    ("vae", "pianoroll-hybrid"),
    ("aae", "pianoroll-jamming"),
    ("vae_gan", "pianoroll-jamming"),
    ("infogan", "pianoroll-hybrid"),
]
"""Of ``ON_FEW_DOMAINS`` and ``FOR_FEW_FAMILIES``."""

PAIRS = [
    (family, domain)
    for domain, (name, _) in FOR_EVERY_FAMILY.items()
    for family in ON_EVERY_DOMAIN
    if not (name == "audio" and family in BINARY)
] + FURTHER_PAIRS
"""What is trained: all of one by all of the other, and what a few pairs are enough for."""

CHEAP = ("toy", "image-mlp", "array-conv")
OTHERS = [domain for domain in DOMAINS if domain not in CHEAP]


def is_quick(family: str, domain: str) -> bool:
    """Whether a pair is tried in `make test`: every family on the cheap domains, and some on others. `make test-all` tries all."""
    return domain in CHEAP or list(FAMILIES).index(family) % len(OTHERS) == OTHERS.index(domain)


LABELS = {"pianoroll": {"labels": "mode"}}
GIVEN: dict[str, dict[str, Any]] = {
    "toy": {"given": True},
    "array": {"given": [1, 0, 4]},
    "image": {"given": "top"},
    "pianoroll": {"given": ["Bass", "Drums"]},
    "audio": {"given": "beginning"},
}
SECOND = {
    "toy": {"target": True},
    "image": {"target": "inverted"},
    "pianoroll": {"labels": "mode", "target": "chorales"},
    "audio": {"target": "muffled"},
}
NEEDS: dict[str, dict[str, dict[str, Any]]] = {
    "conditional_gan": LABELS,
    "conditional_gan-auxiliary": LABELS,
    "semisupervised_vae-m1": LABELS,
    "semisupervised_vae-m2": LABELS,
    "semisupervised_vae": LABELS,
    "rnn_nade": {"image": {"binarisation": "dynamic"}},
    "rnn_nade-conditional": {"image": {"binarisation": "dynamic"}, **LABELS},
    "rnn_nade-given": GIVEN,
    "ada-dann": SECOND,
    "ada-vada": SECOND,
    "ada-adda": SECOND,
    "conditional_gan-musegan": LABELS,
    "conditional_gan-given": GIVEN,
    "conditional_gan-given-musegan": GIVEN,
}
"""Options of a domain, by its name, that a family needs: what its classes, conditions and second data are."""


def configured(family_key: str, domain: str, options: Mapping[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
    """The name of a family, and its options.

    Args:
        domain: name of the domain whose options it needs.
        options: further ones, which win over the family's own.
    """
    name, own = FAMILIES[family_key]
    return name, own | dict(options or {}) | NEEDS.get(family_key, {}).get(domain, {})
