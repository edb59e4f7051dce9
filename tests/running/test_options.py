"""Options: types, bounds, messages; YAML and assignments."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musegen.errors import BadInput
from musegen.families.pixelcnn import PixelCNNConfig
from musegen.families.vae import VAEConfig
from musegen.option_texts import parse_assignments
from musegen.options import describe, load_yaml, split_options, validate
from musegen.running.config import RunConfig
from musegen.running.resolved import resolve, resolve_dict
from musegen_image.domain import ImageConfig


def test_values_are_converted_and_defaults_stay() -> None:
    config = validate(RunConfig, {"steps": "20", "learning_rate": "1e-3", "ema": 0.5}, "the run")
    assert (config.steps, config.learning_rate, config.ema) == (20, 1e-3, 0.5)
    assert config.batch_size == RunConfig().batch_size


@pytest.mark.parametrize(
    "written",
    [
        "discriminator=4e-4,generator=1e-3",
        "discriminator = 4e-4, generator = 0.001",
        {"discriminator": "4e-4", "generator": 1e-3},
    ],
)
def test_a_rate_per_player(written: object) -> None:
    config = validate(RunConfig, {"learning_rate": written}, "the run")
    assert config.learning_rate == {"discriminator": 4e-4, "generator": 1e-3}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"stepz": 3}, 'has no option "stepz". Did you mean "steps"'),
        (
            {"steps": 0},
            "steps=0 is invalid for the run: input should be greater than or equal to 1. Its meaning: training",
        ),
        ({"steps": "many"}, "steps=many is invalid for the run: input should be a valid integer"),
        ({"learning_rate": -1}, "greater than 0"),
        ({"learning_rate": "nan"}, "learning_rate"),
        ({"learning_rate": {"generator": 0}}, "input should be greater than 0"),
        ({"learning_rate": "generator=-1"}, "input should be greater than 0"),
        ({"learning_rate": "generator=fast"}, "input should be a valid number"),
        ({"learning_rate": "generator=nan"}, "input should be a finite number"),
        ({"ema": 1}, "less than 1"),
        ({"schedule": "zigzag"}, "'constant', 'linear', 'cosine' or 'inverse'"),
    ],
)
def test_bad_values_get_one_plain_sentence(values: dict[str, object], message: str) -> None:
    with pytest.raises(BadInput) as caught:
        validate(RunConfig, values, "the run")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_options_find_their_owner() -> None:
    owners = {"run": RunConfig, "family": VAEConfig}
    mine = split_options({"steps": 5, "beta": 2.0}, owners)
    assert mine == {"run": {"steps": 5}, "family": {"beta": 2.0}}
    with pytest.raises(BadInput, match=r'no option "latent_dims". Did you mean "latent_dim"'):
        split_options({"latent_dims": 5}, owners)


def test_an_option_of_two_owners_is_meant_for_both_unless_one_is_named() -> None:
    owners = {"family": PixelCNNConfig, "domain": ImageConfig}
    assert split_options({"channels": 8}, owners) == {"family": {"channels": 8}, "domain": {"channels": 8}}
    both = split_options({"domain.channels": 4, "channels": 8}, owners)
    assert both == {"family": {"channels": 8}, "domain": {"channels": 4}}
    with pytest.raises(BadInput, match=r'no option "domain.layers"'):
        split_options({"domain.layers": 4}, owners)
    for options in ({}, {"channels": 5}, {"family.channels": 6, "domain.channels": 7}, {"domain.channels": 9}):
        resolved = resolve("pixelcnn", "image", options)
        assert resolve_dict(resolved.as_dict(), "here") == resolved


def test_assignments_are_yaml() -> None:
    assert parse_assignments(["latent-dim=8", "widths=[4, 5]", "name='a b'", "x=1e-3", "flag=true"]) == {
        "latent_dim": 8,
        "widths": [4, 5],
        "name": "a b",
        "x": "1e-3",  # YAML 1.1 reads this as text; validation turns it into a number
        "flag": True,
    }
    for bad in ("novalue", "=3", "a=[1"):
        with pytest.raises(BadInput):
            parse_assignments([bad])


@settings(deadline=None, max_examples=100)
@given(st.binary(max_size=60))
def test_any_bytes_as_a_yaml_file_give_a_mapping_or_one_sentence(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.mktemp("yaml") / "x.yaml"
    path.write_bytes(content)
    try:
        assert isinstance(load_yaml(path), dict)
    except BadInput as error:
        assert "\n" not in str(error)


def test_brackets_without_end_are_no_valid_yaml(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("x: " + "[" * 10_000)
    with pytest.raises(BadInput, match="no valid YAML"):
        load_yaml(path)
    with pytest.raises(BadInput, match="cannot be read"):
        parse_assignments([path.read_text().replace(": ", "=")])


def test_yaml_cannot_run_code(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(f"steps: !!python/object/apply:os.mkdir ['{tmp_path}/owned']\n")
    with pytest.raises(BadInput):
        load_yaml(path)
    assert not (tmp_path / "owned").exists()


def test_every_option_is_described() -> None:
    from musegen.plugins import registry

    configs = [RunConfig]
    configs += [offer.load().Config for offer in [*registry().families.values(), *registry().domains.values()]]
    for config in configs:
        for row in describe(config):
            assert row["meaning"], f"{config.__name__}.{row['option']} has no meaning"
