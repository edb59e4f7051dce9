"""Codes of a model: sliders for them, pieces of codes, and codes of pieces."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image
from studio_client import Client, served

import musegen

pytest.importorskip("uvicorn", reason="the extra studio is not installed")


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    folder = tmp_path_factory.mktemp("codes")
    for family in ("vae", "infogan"):
        musegen.train(family, "image", out=folder / family, steps=2, batch_size=4, device="cpu", sample_every=0)
    with served(folder / "saved", vae=str(folder / "vae"), infogan=str(folder / "infogan")) as client:
        yield client


def picture(client: Client, id_: str) -> np.ndarray:
    import io

    return np.asarray(Image.open(io.BytesIO(client.ask("GET", f"/api/pieces/{id_}/picture").body)))


def test_codes_become_pictures_and_pictures_codes(client: Client) -> None:
    about = client.ask("GET", "/api/models/vae").json
    assert {"generate", "decode", "encode"} == set(about["can"])
    start, sliders = about["code"]["start"], about["code"]["sliders"]
    assert [(s["coordinate"], s["low"], s["high"]) for s in sliders] == [(i, -2, 2) for i in range(10)]
    moved = [value + 2 * (i == 0) for i, value in enumerate(start)]
    first, second, again = client.pieces("/api/decode", {"model": "vae", "codes": [start, moved, start]})
    assert (picture(client, first) == picture(client, again)).all()
    assert (picture(client, first) != picture(client, second)).any()
    assert client.ask("GET", f"/api/pieces/{second}").json["made"]["codes"] == [moved]
    job = client.job("/api/encode", {"model": "vae", "piece": first})
    assert np.shape(job["codes"]) == (1, len(start))
    assert client.ask("POST", "/api/save", {"pieces": [first]}).json["files"][0] == "01 vae.png"


def test_codes_of_a_gan_with_classes(client: Client) -> None:
    about = client.ask("GET", "/api/models/infogan").json
    assert "encode" not in about["can"]
    assert len(about["code"]["sliders"]) == 11  # ten classes and one continuous code
    assert client.pieces("/api/decode", {"model": "infogan", "codes": [about["code"]["start"]]})


@pytest.mark.parametrize(
    ("request_", "values", "said"),
    [
        ("decode", {"codes": [[1, 2]]}, "a code of this model is"),
        ("decode", {"codes": []}, "give 1 to 64"),
        ("decode", {"codes": [[0]] * 65}, "give 1 to 64"),
        ("decode", {"model": "chorale", "codes": [[1.0]]}, "no codes"),
    ],
)
def test_what_is_no_code_is_refused(client: Client, request_: str, values: dict[str, object], said: str) -> None:
    job = client.job(f"/api/{request_}", {"model": "vae", **values})
    assert job["state"] == "failed"
    assert said in job["error"]


def test_a_model_without_an_encoder_says_so(client: Client) -> None:
    (piece,) = client.pieces("/api/generate", {"model": "infogan"})
    job = client.job("/api/encode", {"model": "infogan", "piece": piece})
    assert job["state"] == "failed"
    assert "unexpected" not in job["error"]
