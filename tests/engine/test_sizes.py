"""What a configuration claims is looked at before anything takes memory."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import Result, bad
from configurations import DOMAINS, PAIRS, configured

import musegen
from musegen.contracts.family import build
from musegen.engine import sizes
from musegen.engine.checkpoint import load_model_file, save_model_file
from musegen.engine.sizes import check_size, outline
from musegen.errors import BadInput
from musegen.limits import in_bytes
from musegen.running.resolved import resolve

SHORT: dict[str, Any] = {"steps": 2, "batch_size": 4, "validate_every": 0, "sample_every": 0, "quiet": True}


@pytest.mark.parametrize(("family", "domain"), PAIRS[::5], ids=str)
def test_an_outline_has_the_names_shapes_and_types_of_the_family(family: str, domain: str) -> None:
    name, options = DOMAINS[domain]
    family_name, own = configured(family, name, options)
    resolved = resolve(family_name, name, own)
    plain = resolved.make_domain()
    try:
        made = build(resolved.family, resolved.family_config, plain)
    except BadInput:
        pytest.skip("needs what the data decide")
    before = torch.get_rng_state()
    shapes = outline(lambda: build(resolved.family, resolved.family_config, plain), "It")
    assert torch.equal(torch.get_rng_state(), before)
    assert shapes is not None
    assert [(k, t.shape, t.dtype) for k, t in shapes.items()] == [
        (k, t.shape, t.dtype) for k, t in made.state_dict().items()
    ]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    run = musegen.train("vae", "image", out=folder / "run", widths=[8], latent_dim=2, **SHORT)
    musegen.load(run.path).save(folder / "model.safetensors")
    return folder / "model.safetensors"


CLAIMS = {
    "50,000 wide": ({"widths": [50_000, 50_000]}, "holds .* in the shape .*, and its configuration says .*50000"),
    "wider than there are numbers": ({"widths": [2**40, 2**40]}, "no machine can hold|holds .* in the shape"),
    "another layer": ({"widths": [8, 8]}, "has no tensor encoder"),
    "100,000 layers": ({"widths": [8] * 20_000}, "many thousand layers"),
    "a larger code": ({"latent_dim": 10**6}, "its configuration says"),
}


def test_a_model_file_that_claims_more_than_it_holds_is_refused_before_it_takes_memory(
    model: Path, tmp_path: Path
) -> None:
    """In a process of its own, whose memory is measured from where all is imported and a sound model was loaded."""
    code = """
import resource, sys, time, musegen
from musegen.errors import BadInput
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
musegen.load(sys.argv[1], device="cpu")
for path in sys.argv[2:]:
    before, begun = peak(), time.process_time()
    try:
        musegen.load(path, device="cpu")
    except BadInput as error:
        print(peak() - before, time.process_time() - begun, error, sep="|")
"""
    weights, config = load_model_file(model)
    paths = [tmp_path / f"{claim}.safetensors" for claim in CLAIMS]
    for path, (options, _) in zip(paths, CLAIMS.values(), strict=True):
        save_model_file(path, weights, config | options)
    command = [sys.executable, "-c", code, str(model), *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    for line, (_, message) in zip(done.stdout.splitlines(), CLAIMS.values(), strict=True):
        more_mb, seconds, said = line.split("|")
        assert int(more_mb) < 60
        assert float(seconds) < 2
        assert re.search(message, said), said


def test_a_run_that_no_machine_could_hold_is_refused_before_it_begins(
    run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    small = ["--out", "run", "--quiet", "--domain", "image"]
    bad(
        run("train", "vae", *small, "--set", "widths=[1000000000]"), "of memory to train", "cpu has", "use smaller ones"
    )
    bad(run("train", "vae", *small, "--set", f"widths={[8] * 20_000}".replace(" ", "")), "many thousand layers")
    assert not Path("run").exists()
    monkeypatch.setattr(sizes, "memory_of", lambda device: None)
    check_size({"a": torch.empty(10**9, 10**6, device="meta")}, torch.device("cpu"), "It")  # nobody knows


def test_bytes_in_words() -> None:
    numbers = [0, 999, 1000, 1_550, 99_940, 123_456, 4e9, 5.5e12, 7e15]
    assert [in_bytes(n) for n in numbers] == [
        *("0 bytes", "999 bytes", "1.0 kB", "1.6 kB", "99.9 kB", "123 kB", "4.0 GB", "5.5 TB", "7,000 TB")
    ]
