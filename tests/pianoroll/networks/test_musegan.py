"""MuseGAN's networks: every shape fits, who hears whom, and what is given reaches every layer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import musegen
from musegen.contracts.domain import Decoder, Discriminator, Encoder
from musegen.contracts.family import build
from musegen.errors import BadInput
from musegen.families.adversarial import gradient_penalty
from musegen.families.conditional_gan import ConditionalGAN, ConditionalGANConfig
from musegen_pianoroll.domain import PianorollConfig, PianorollDomain
from musegen_pianoroll.networks.musegan import MuseGANDecoder

PRESETS = ("musegan-composer", "musegan-jamming", "musegan-hybrid")
SHORTEST = {"musegan-composer": 2, "musegan-jamming": 2 * 5, "musegan-hybrid": 2 + 2 * 5}
"""Codes of five tracks: z and z_t, for each of those who have their own."""


def domain_of(preset: str, **options: Any) -> PianorollDomain:
    return PianorollDomain(PianorollConfig(networks=preset, **({"channels": 2, "bars": 2} | options)))  # type: ignore[arg-type]


@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from(PRESETS),
    st.integers(1, 16),
    st.sampled_from([1, 2, 3, 4, 6, 12, 24]),
    st.sampled_from(["4/4", "3/4", "2/4", "5/4", "7/4", "1/4"]),
    st.integers(1, 9),
    st.tuples(st.integers(0, 127), st.integers(0, 127)).map(sorted),
    st.sampled_from(["frame", "frame+onset"]),
    st.booleans(),
    st.sampled_from([0, 3]),
)
def test_every_shape_fits(
    preset: str,
    n_tracks: int,
    steps_per_beat: int,
    metre: str,
    bars: int,
    pitches: list[int],
    planes: str,
    is_given: bool,
    n_classes: int,
) -> None:
    domain = domain_of(
        preset,
        channels=1,
        tracks={f"track {i}": {"programs": [i]} for i in range(n_tracks)},
        steps_per_beat=steps_per_beat,
        metre=metre,
        bars=bars,
        lowest_pitch=pitches[0],
        highest_pitch=pitches[1],
        planes=planes,
    )
    shape, n_code = domain.spec.shape, 2 + 2 * n_tracks + 1
    x, z = torch.rand(2, *shape), torch.randn(2, n_code)
    more: dict[str, Tensor] = {"given": x} if is_given else {}
    more |= {"label": torch.tensor([0, 2])} if n_classes else {}
    assert domain.network(Decoder(n_code, n_classes, is_given))(z, **more).shape == (2, *shape)
    encoder, discriminator = domain.network(Encoder()), domain.network(Discriminator("none"))
    assert encoder(x).shape == (2, encoder.n_features)
    features, logit = discriminator(x)
    assert (features.shape, logit.shape) == ((2, discriminator.n_features), (2,))


@pytest.mark.parametrize("preset", PRESETS)
def test_codes_that_are_too_short_are_refused(preset: str) -> None:
    domain, n = domain_of(preset), SHORTEST[preset]
    domain.network(Decoder(n))
    with pytest.raises(BadInput, match=f"into {n} parts for 5 tracks.*latent_dim={n} or more"):
        domain.network(Decoder(n - 1))


def reach(preset: str, n_code: int) -> Tensor:
    """Which number of the code moves which track: bool ``(n_code, tracks)``."""
    torch.manual_seed(0)
    decoder = domain_of(preset, channels=4).network(Decoder(n_code)).eval()
    z = torch.randn(1, n_code)
    with torch.no_grad():
        base = decoder(z)
        moved = [decoder(z + 3 * one) != base for one in torch.eye(n_code)]
    return torch.stack([m[0].unflatten(0, (5, 2)).flatten(1).any(1) for m in moved])


def test_who_hears_whom() -> None:
    """Composer: all tracks share one code; jamming: each has its own; hybrid: both."""
    own = torch.eye(5, dtype=torch.bool).repeat_interleave(4, 0)  # z_i and z_i,t, two numbers each
    assert reach("musegan-composer", 20).all()
    assert torch.equal(reach("musegan-jamming", 20), own)
    assert torch.equal(reach("musegan-hybrid", 24), torch.cat([torch.ones(4, 5, dtype=torch.bool), own]))


def test_the_time_independent_code_is_the_same_for_all_bars() -> None:
    """With z_t's way to the bars cut off, bars are equal, and z still matters."""
    decoder = domain_of("musegan-hybrid", channels=4, bars=3).network(Decoder(24)).eval()
    with torch.no_grad():
        for temporal in decoder.temporal:
            nn.init.zeros_(temporal.layers[-3].weight)
        z = torch.randn(2, 24)
        x, y = decoder(z), decoder(z + 1)
    bars = x.unflatten(2, (3, 16))
    torch.testing.assert_close(bars[:, :, 0], bars[:, :, 1])
    torch.testing.assert_close(bars[:, :, 0], bars[:, :, 2])
    assert not torch.allclose(x, y)


def test_jamming_has_a_critic_for_each_track() -> None:
    torch.manual_seed(0)
    critic = domain_of("musegan-jamming", channels=4).network(Discriminator("none"))
    x, other = torch.rand(2, 3, 10, 32, 84).unbind()
    _, logit = critic(x)
    apart = [track(part) for track, part in zip(critic.tracks, x.chunk(5, 1), strict=True)]
    torch.testing.assert_close(logit, sum(a for _, a in apart))
    # What one track does changes another critic's verdict in no way: second differences vanish.
    mixed = x.clone()
    mixed[:, :2] = other[:, :2]
    both = mixed.clone()
    both[:, 4:] = other[:, 4:]
    second = x.clone()
    second[:, 4:] = other[:, 4:]
    torch.testing.assert_close(critic(both)[1] - critic(second)[1], critic(mixed)[1] - logit, atol=1e-5, rtol=1e-3)


def test_the_penalty_of_jamming_is_the_sum_of_the_penalties_of_independent_games() -> None:
    critic = domain_of("musegan-jamming", channels=4).network(Discriminator("none"))
    real, fake = torch.rand(2, 3, 10, 32, 84).unbind()
    torch.manual_seed(1)
    whole = gradient_penalty(critic, real, fake, critic.critics)
    apart = torch.zeros(3)
    for i, track in enumerate(critic.tracks):
        torch.manual_seed(1)  # the same points between real and generated
        apart += gradient_penalty(track, real.chunk(5, 1)[i], fake.chunk(5, 1)[i])
    torch.testing.assert_close(whole, apart)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("norm", ["none", "spectral"])
def test_only_generators_have_batch_normalisation_by_default(preset: str, norm: Any) -> None:
    domain = domain_of(preset)
    normalised = [
        any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in domain.network(wanted).modules())
        for wanted in (Decoder(12), Discriminator(norm))
    ]
    assert normalised == [True, False]


# Track-conditional


@pytest.mark.parametrize("preset", PRESETS)
def test_what_is_given_reaches_every_layer_of_every_bar_generator(preset: str) -> None:
    torch.manual_seed(0)
    domain = domain_of(preset, channels=4)
    decoder = domain.network(Decoder(24, given=True)).eval()
    assert isinstance(decoder, MuseGANDecoder)
    z, x = torch.randn(2, 24), torch.rand(2, *domain.spec.shape)
    with torch.no_grad():
        nn.init.zeros_(decoder.before.weight)  # so that the first features have one way only
        base = decoder(z, given=x)
        for i in range(len(decoder.bar[0].layers)):

            def other(module: nn.Module, args: Any, features: list[Tensor], i: int = i) -> list[Tensor]:
                return [f + 3 * (j == i) for j, f in enumerate(features)]

            hook = decoder.given.register_forward_hook(other)
            changed = (decoder(z, given=x) != base).unflatten(1, (5, 2)).flatten(2).any(2)
            hook.remove()
            assert changed.all(), i


@pytest.mark.parametrize("given_names", [["Drums"], ["Piano", "Bass"], ["past"]], ids=str)
@pytest.mark.parametrize("preset", PRESETS)
def test_given_parts_come_back_and_other_parts_follow_them(preset: str, given_names: list[str]) -> None:
    torch.manual_seed(0)
    domain = domain_of(preset, channels=4, given=given_names)
    family = build(ConditionalGAN, ConditionalGANConfig(latent_dim=16, condition="given"), domain).eval()
    mask = domain.spec.given_mask()
    first, second = (torch.rand(2, *domain.spec.shape) < 0.05).float().unbind()
    samples = []
    for x in (first, second):
        torch.manual_seed(1)
        with torch.no_grad():
            samples.append(family.sample(4, given=x))
        assert torch.equal(samples[-1][:, mask], x[mask].expand(4, -1))
    different = (samples[0] != samples[1]) & ~mask
    assert different.unflatten(1, (5, 2)).flatten(2).any(2).sum() == 4 * len({*range(5)} - tracks_of(domain))
    torch.manual_seed(1)
    hidden = torch.where(mask, first, 1 - first)  # the part that is to be written must not leak
    with torch.no_grad():
        assert torch.equal(family.sample(4, given=hidden), samples[0])


def tracks_of(domain: PianorollDomain) -> set[int]:
    """Tracks that are given as a whole."""
    return {i for i, track in enumerate(domain.tracks) if track.name in domain.config.given}


@pytest.mark.parametrize("neurons", ["none", "deterministic"])
def test_binary_samples_have_no_threshold_to_calibrate(neurons: str, band_store: Path, tmp_path: Path) -> None:
    options = {"bars": 1, "channels": 1, "batch_size": 8, "steps": 1, "validate_every": 0, "device": "cpu"}
    run = musegen.train(
        "gan", "pianoroll", data=band_store, out=tmp_path / "run", neurons=neurons, quiet=True, **options
    )
    assert (run.config().writing.threshold == "auto") == (neurons != "none")
