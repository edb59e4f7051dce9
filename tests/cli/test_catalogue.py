"""Lists and tables say all there is to say, and nothing empty."""

from __future__ import annotations

from collections.abc import Callable

from commands import Result


def test_the_list_of_plugins_names_their_commands(run: Callable[..., Result]) -> None:
    line = " ".join(run("plugins").out.split())
    assert "domains pianoroll; commands data build, data cut, data get, data merge" in line


def test_explain_lists_options_of_drawing_where_a_family_draws(run: Callable[..., Result]) -> None:
    assert "top_p" in run("explain", "rnn_nade").out
    assert "temperature" in run("explain", "vae").out
    assert "temperature" not in run("explain", "ada").out


def test_no_count_of_measures_without_distances(run: Callable[..., Result]) -> None:
    training = ("--steps", 2, "--batch-size", 8, "--set", "latent_dim=2", "--quiet")
    assert run("train", "vae", "toy", "--out", "run", *training).code == 0
    result = run("evaluate", "run", "-n", 4, "-k", 1)
    assert result.code == 0
    assert "mean_samples" in result.out
    assert "0 of 0" not in result.out
