"""Trackers hear what metrics.jsonl has, go on with a run, and cannot stop one."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import musegen
from musegen.contracts.tracker import Tracker
from musegen.errors import BadInput
from musegen.plugins import Offer, hookimpl, registry

RUN: dict[str, Any] = {
    "batch_size": 8,
    "log_every": 2,
    "validate_every": 4,
    "validate_examples": 8,
    "sample_every": 4,
    "samples": 2,
    "device": "cpu",
    "quiet": True,
    "latent_dim": 2,
}


class Heard(Tracker):
    name = "heard"
    all: list[Any] = []  # noqa: RUF012

    def scalars(self, kind: str, metrics: Mapping[str, float], step: int) -> None:
        self.all.append((kind, step, dict(metrics)))

    def media(self, picture: Image.Image, sounds: Sequence[Any], step: int) -> None:
        self.all.append(("media", step, picture.size, list(sounds)))

    def close(self, done: bool) -> None:
        self.all.append(("close", done))


class Fails(Tracker):
    name = "fails"

    def scalars(self, kind: str, metrics: Mapping[str, float], step: int) -> None:
        raise ConnectionError("the server is gone")


class Trackers:
    MUSEGEN_API = "1.0"

    @hookimpl
    def musegen_trackers(self) -> list[Offer]:
        return [Offer("heard", "for a test", lambda: Heard), Offer("fails", "for a test", lambda: Fails)]


@pytest.fixture(autouse=True)
def offered(site: Path) -> None:
    """The trackers of this file, and the toys."""
    from toy import ToyPlugin

    registry().register(ToyPlugin(), "toys")
    registry().register(Trackers(), "trackers of a test")
    Heard.all = []


def test_a_plugins_tracker_hears_what_the_record_has(tmp_path: Path) -> None:
    run = musegen.train("vae", "toy", out=tmp_path / "run", steps=4, trackers=["heard"], **RUN)
    rows = [{k: v for k, v in row.items() if k != "steps_per_s"} for row in run.metrics()]
    heard = [{"step": h[1], "kind": h[0], **h[2]} for h in Heard.all if h[0] in ("train", "valid")]
    assert heard == rows
    media = [h for h in Heard.all if h[0] == "media"]
    assert [(h[1], h[3]) for h in media] == [(4, [None, None])]
    assert Heard.all[-1] == ("close", True)


def test_it_is_told_of_an_error(tmp_path: Path) -> None:
    def fails(moment: object) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        musegen.train("vae", "toy", out=tmp_path / "run", steps=4, trackers=["heard"], callbacks=[fails], **RUN)
    assert Heard.all[-1] == ("close", False)


def test_one_that_fails_costs_the_run_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = musegen.train("vae", "toy", out=tmp_path / "run", steps=4, trackers=["fails", "heard"], **RUN)
    assert repr(run).endswith("done at step 4)")
    said = capsys.readouterr().err
    assert said.count("The tracker fails is left out from now on: ConnectionError: the server is gone") == 1
    assert Heard.all[-1] == ("close", True)


def test_a_tracker_that_nobody_offers_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match='no tracker "herd"'):
        musegen.train("vae", "toy", out=tmp_path / "run", steps=4, trackers=["herd"], **RUN)


def test_trackers_are_listed_with_their_plugin(run: Any) -> None:
    (row,) = [row for row in json.loads(run("plugins", "--json").out) if row["plugin"] == "trackers"]
    assert row["trackers"] == ["mlflow"]
    assert "trackers mlflow" in run("plugins").out


def test_mlflow_needs_a_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(BadInput, match="MLFLOW_TRACKING_URI does not say where MLflow is"):
        musegen.train("vae", "toy", out=tmp_path / "run", steps=4, trackers=["mlflow"], **RUN)


def test_mlflow_has_options_scalars_and_pictures_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run and its resumption are one run of MLflow; all of it offline, in a folder."""
    mlflow = pytest.importorskip("mlflow", reason="the extra mlflow is not installed")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "store").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "toys")
    run = musegen.train("vae", "toy", out=tmp_path / "run", steps=4, trackers=["mlflow"], **RUN)
    musegen.resume(run, steps=6, quiet=True)
    client = mlflow.MlflowClient()
    (found,) = client.search_runs([client.get_experiment_by_name("toys").experiment_id])
    assert (found.info.run_name, found.info.status) == ("run", "FINISHED")
    assert found.data.params["latent_dim"] == "2"
    name = "train/autoencoder/nelbo"
    history = {(m.step, m.value) for m in client.get_metric_history(found.info.run_id, name)}
    rows = run.metrics()
    assert history == {(r["step"], r["autoencoder/nelbo"]) for r in rows if r["kind"] == "train"}
    pictures = [file.path for file in client.list_artifacts(found.info.run_id, "samples")]
    assert "samples/step_4.png" in pictures


def test_mlflow_that_cannot_be_reached_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow", reason="the extra mlflow is not installed")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "store").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "false")
    with pytest.raises(BadInput, match="cannot be used"):
        musegen.train("vae", "toy", out=tmp_path / "run", steps=4, trackers=["mlflow"], **RUN)
