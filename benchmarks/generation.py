"""Samples per second of every family, and how long it takes from a command to music.

    python benchmarks/generation.py [--seconds 0.3] [--rounds 3] [--starts 5]

**Families**: samples per second of processor time, 16 at a time (autoregressive families 4), with weights as they are
before training: what a sample costs does not depend on them, except for autoregressive families, which are asked again as
often as cells are on. Those of the pianoroll domain write two bars of five tracks, those of the audio domain the spectrogram of a
second, with the default networks. **Models that ship**: eight samples, as ``musegen generate`` draws them.

**Commands**, each a Python process of its own: ``musegen --help`` and ``musegen generate MODEL -n 1`` until it has ended,
wall-clock and processor time, least and median; and which packages the time of imports went to (``-X importtime``, own
times by package, least of the runs). Where a model that ships does not load, one of its family, trained for a step,
stands in, and the record says so.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from measuring import RESULTS, machine, save, spread

import musegen
from musegen.contracts.family import build
from musegen.data.bundled import models
from musegen.errors import MusegenError
from musegen.options import validate
from musegen.plugins import registry

SAMPLES = 16
AUTOREGRESSIVE = {"pixelcnn", "pixelrnn", "rnn_nade"}
TEN_CLASSES = {"classes": [str(i) for i in range(10)]}
DOMAINS: dict[str, dict[str, Any]] = {"image": TEN_CLASSES, "pianoroll": {"bars": 2}, "audio": TEN_CLASSES}
OPTIONS: dict[tuple[str, str], dict[str, Any]] = {
    ("semisupervised_vae", "image"): {"model": "m2"},
    ("pixelcnn", "pianoroll"): {"channels": 16, "layers": 2},
    ("pixelrnn", "pianoroll"): {"channels": 16, "layers": 1},
    ("semisupervised_vae", "audio"): {"model": "m2"},
    ("pixelcnn", "audio"): {"channels": 16, "layers": 2},
    ("pixelrnn", "audio"): {"channels": 16, "layers": 1},
}
NEEDS_CLASSES = {"conditional_gan", "semisupervised_vae"}


@torch.no_grad()
def families(domain_name: str, seconds: float, rounds: int) -> dict[str, Any]:
    """Samples per second of every family that can sample."""
    names, rates = registry(), {}  # type: tuple[Any, dict[str, Any]]
    domain_class = names.domain(domain_name)
    for name in sorted(names.families):
        options = dict(DOMAINS[domain_name])
        if domain_name == "pianoroll" and name in NEEDS_CLASSES:
            options |= {"labels": "mode", "classes": ["major", "minor"]}
        domain = domain_class(validate(domain_class.Config, options, f'the domain "{domain_name}"'))
        family_class = names.family(name)
        if not family_class.capabilities.sample:
            continue
        torch.manual_seed(0)
        config = validate(family_class.Config, OPTIONS.get((name, domain_name), {}), f'the family "{name}"')
        try:
            family = build(family_class, config, domain)
        except MusegenError as error:
            rates[name] = {"not measured": str(error)}
            continue
        family.prepare(next(iter(_batches(domain))))
        family.eval()
        n, label = 4 if name in AUTOREGRESSIVE else SAMPLES, None
        if name in NEEDS_CLASSES:
            label = torch.arange(n) % len(domain.spec.classes)
        try:
            family.sample(n, label=label)
        except (TypeError, MusegenError) as error:
            rates[name] = {"not measured": str(error)}
            continue
        found = []
        for _ in range(rounds):
            started, drawn = time.process_time(), 0
            while drawn == 0 or time.process_time() - started < seconds / rounds:
                family.sample(n, label=label)
                drawn += n
            found.append(drawn / (time.process_time() - started))
        rates[name] = {"samples_per_s": spread(found), "at_a_time": n, "options": OPTIONS.get((name, domain_name), {})}
        print(f"{domain_name:10} {name:20} {rates[name]['samples_per_s'][2]:10.1f} samples/s", flush=True)
    return rates


def _batches(domain: Any) -> Any:
    from musegen.data.batches import Batches

    return Batches(domain.synthetic(64, 0).splits["train"], 32, 0, torch.device("cpu")).once()


def shipped_models(rounds: int) -> dict[str, Any]:
    results: dict[str, Any] = {}
    for name in models():
        try:
            model = musegen.load(name, device="cpu")
        except MusegenError as error:
            results[name] = {"not measured": str(error)}
            continue
        seconds = []
        for seed in range(rounds):
            started = time.process_time()
            samples = model.sample(8, seed=seed)
            seconds.append(time.process_time() - started)
        results[name] = {"rows": samples.shape[2], "samples_per_s": spread([8 / s for s in seconds])}
        print(f"{name:31} {results[name]['samples_per_s'][2]:10.1f} samples/s", flush=True)
    return results


def run(arguments: list[str], environment: dict[str, str], importtime: bool = False) -> tuple[float, float, str]:
    """Wall-clock and processor seconds of a Python process, and what it wrote to stderr."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    flags = ["-X", "importtime"] if importtime else []
    done = subprocess.run(
        [sys.executable, *flags, "-m", "musegen", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(f"musegen {' '.join(arguments)} failed: {done.stderr[-500:]}")
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stderr


def imports(stderr: str) -> Counter[str]:
    """Own import time by top-level package, µs."""
    own: Counter[str] = Counter()
    for line in stderr.splitlines():
        parts = line.removeprefix("import time:").split("|")
        if line.startswith("import time:") and len(parts) == 3 and parts[0].strip().isdigit():
            own[parts[2].strip().partition(".")[0]] += int(parts[0])
    return own


def command(arguments: list[str], starts: int) -> dict[str, Any]:
    """One command, started again and again; the first start only fills caches."""
    environment = dict(os.environ)
    run(arguments, environment)
    walls, processors, least = [], [], {}  # type: tuple[list[float], list[float], dict[str, int]]
    for _ in range(starts):
        wall, processor, _ = run(arguments, environment)
        walls.append(wall)
        processors.append(processor)
        for package, own in imports(run(arguments, environment, importtime=True)[2]).items():
            least[package] = min(own, least.get(package, own))
    shares = dict(Counter(least).most_common(12))
    result = {
        "wall_s": spread(walls),
        "processor_s": spread(processors),
        "imports_ms": {package: round(own / 1e3, 1) for package, own in shares.items()},
        "imports_in_all_ms": round(sum(least.values()) / 1e3, 1),
    }
    print(f"musegen {arguments[0]}: {result}", flush=True)
    return result


def commands(starts: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        model, note = "band", "the model that ships"
        try:
            musegen.load(model, device="cpu")
        except MusegenError as error:
            model, note = f"{folder}/run", f"a run of one step, because band does not load: {error}"
            musegen.train(
                "rnn_nade", "pianoroll", out=model, steps=1, validate_every=0, sample_every=0, quiet=True, device="cpu"
            )
        out = ["--out", f"{folder}/out", "--overwrite", "--device", "cpu"]
        return {
            "model": note,
            "--help": command(["--help"], starts),
            "generate -n 1": command(["generate", model, "-n", "1", *out], starts),
            "generate -n 1 --audio none": command(["generate", model, "-n", "1", *out, "--audio", "none"], starts),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=0.3, help="of a family")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--starts", type=int, default=5, help="of a command")
    parser.add_argument("--parts", default="families,models,commands")
    parser.add_argument("--out", type=Path, default=RESULTS / "generation.json")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    parts = arguments.parts.split(",")
    record: dict[str, Any] = {"machine": machine()}
    record["columns"] = "least, first quartile, median, third quartile, most"
    if "commands" in parts:
        record["commands"] = commands(arguments.starts)
    if "models" in parts:
        record["models"] = shipped_models(arguments.rounds)
    if "families" in parts:
        record["families"] = {domain: families(domain, arguments.seconds, arguments.rounds) for domain in DOMAINS}
    save(arguments.out, record)


if __name__ == "__main__":
    main()
