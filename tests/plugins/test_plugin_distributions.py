"""Installed plugins of strangers, whole and broken, through the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from commands import Result, bad
from strangers import DOMAIN, FAMILY, MEASURE, install

import musegen
from musegen.plugins import registry

QUICK = ["--steps", "4", "--batch-size", "4", "--validate-every", "0", "--sample-every", "0", "--quiet"]


def musegen_command(site: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own, which has these packages too."""
    path = os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, "-m", "musegen", *arguments],
        env=os.environ | {"PYTHONPATH": path} | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def listed(site: Path, **environment: str) -> dict[str, dict[str, Any]]:
    result = musegen_command(site, "plugins", "--json", **environment)
    assert result.returncode == 0, result.stderr
    return {row["plugin"]: row for row in json.loads(result.stdout)}


def test_every_broken_distribution_is_named_and_costs_only_itself(tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    install(site, "music-grooves", {"grooves_a": DOMAIN}, {"grooves": "grooves_a"})
    install(site, "b-import", {"b_import": "import no_such_module_anywhere"}, {"b_import": "b_import"})
    install(site, "b-gone", {}, {"b_gone": "no_such_module_at_all"})
    install(site, "b-exit", {"b_exit": "print('[]'); import sys; sys.exit('enough')"}, {"b_exit": "b_exit"})
    install(site, "b-hook", {"b_hook": DOMAIN.replace("musegen_domains", "musegen_domain")}, {"b_hook": "b_hook"})
    install(site, "b-clash", {"b_clash": DOMAIN}, {"zz_clash": "b_clash"})
    install(site, "b-thief", {"b_thief": DOMAIN.replace('"grooves"', '"image"')}, {"a_thief": "b_thief"})
    install(site, "b-core", {"b_core": FAMILY}, {"core": "b_core"})
    install(site, "b-new", {"b_new": 'from musegen import more\nMUSEGEN_API = "7.0"'}, {"b_new": "b_new"})
    rows = listed(site)
    assert {name: row["status"] for name, row in rows.items() if row["distribution"] == "musegen"} == dict.fromkeys(
        ("array", "audio", "image", "pianoroll", "trackers"), "OK"
    )
    assert rows["grooves"]["status"] == "OK"
    assert (rows["grooves"]["distribution"], rows["grooves"]["version"]) == ("music-grooves", "0.3")
    assert rows["grooves"]["domains"] == ["grooves"]
    wanted = {
        "b_import": ("BROKEN", "no_such_module_anywhere", "pip uninstall b-import"),
        "b_gone": ("BROKEN", "no_such_module_at_all", "update b-gone"),
        "b_exit": ("BROKEN", "SystemExit: enough", "pip uninstall b-exit"),
        "b_hook": ("BROKEN", 'Did you mean "musegen_domains"', "update b-hook"),
        "zz_clash": ("BROKEN", "already offered by music-grooves 0.3", "pip uninstall b-clash or pip uninstall music-"),
        "a_thief": ("BROKEN", 'the domain "image" is already offered by musegen', "pip uninstall b-thief"),
        "core": ("BROKEN", f'musegen {version("musegen")} has a plugin named "core" already', "pip uninstall b-core"),
        "b_new": ("INCOMPATIBLE", "version 7.0 of the plugin API", "update musegen"),
    }
    for name, (status, problem, remedy) in wanted.items():
        assert rows[name]["status"] == status
        assert problem in rows[name]["problem"]
        assert remedy in rows[name]["remedy"]
    assert rows["zz_clash"]["domains"] == ["grooves"]
    assert rows["b_new"]["api"] == "7.0"

    text = musegen_command(site, "plugins").stdout
    assert "b_exit (b-exit 0.3) is BROKEN: SystemExit: enough." in text
    assert "What to do: update b-exit, or remove it: pip uninstall b-exit." in text
    result = musegen_command(site, "domains", "--json")
    assert [row["domain"] for row in json.loads(result.stdout)] == ["array", "audio", "grooves", "image", "pianoroll"]
    assert '"b_exit"' in result.stderr


def test_damaged_metadata_of_one_distribution(tmp_path: Path) -> None:
    site = tmp_path / "site"
    install(site, "music-grooves", {"grooves_a": DOMAIN}, {"grooves": "grooves_a"})
    install(site, "b-damaged", {}, "[musegen]\nno equals sign\n")
    install(site, "c-damaged", {}, "[console_scripts]\nno equals sign either\n")
    rows = listed(site)
    assert rows["grooves"]["status"] == rows["core"]["status"] == "OK"
    assert (rows["b-damaged"]["status"], rows["b-damaged"]["remedy"]) == (
        "BROKEN",
        "update b-damaged, or remove it: pip uninstall b-damaged",
    )
    assert "c-damaged" not in rows


def test_who_wins_a_name_does_not_depend_on_the_order_of_installation(tmp_path: Path) -> None:
    for order in (("x-one", "y-two"), ("y-two", "x-one")):
        site = tmp_path / order[0]
        for name in order:
            install(site, name, {f"{name[0]}_module": DOMAIN}, {f"{name[0]}_plugin": f"{name[0]}_module"})
        rows = listed(site)
        assert (rows["x_plugin"]["status"], rows["y_plugin"]["status"]) == ("OK", "BROKEN")
        assert "x-one 0.3" in rows["y_plugin"]["problem"]


def test_listing_imports_nothing_heavy(tmp_path: Path) -> None:
    install(tmp_path, "music-grooves", {"grooves_a": DOMAIN}, {"grooves": "grooves_a"})
    heavy = {
        "torch",
        "numpy",
        "pydantic",
        "toy",
        "musegen_image.domain",
        "musegen_audio.domain",
        "librosa",
        "musegen_pianoroll.domain",
        "musegen.contracts.domain",
    }
    code = (
        "import sys\nfrom musegen.cli import main\n"
        "for command in ('plugins', 'domains'):\n    main([command, '--json']); main([command])\n"
        f"print(sorted({heavy} & set(sys.modules)))"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ["PYTHONPATH"]])}
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert "grooves" in out.stdout
    assert out.stdout.splitlines()[-1] == "[]"


def test_only_the_plugins_that_are_named(site: Path) -> None:
    install(site, "music-grooves", {"grooves_a": DOMAIN}, {"grooves": "grooves_a"})
    install(site, "b-exit", {"b_exit": "raise SystemExit"}, {"b_exit": "b_exit"})

    def states(only: str) -> dict[str, str]:
        return {name: row["status"] for name, row in listed(site, MUSEGEN_PLUGINS=only).items()}

    off = dict.fromkeys(("array", "audio", "image", "pianoroll", "trackers", "grooves", "b_exit"), "OFF")
    assert states("") == {"core": "OK"} | off
    assert states("grooves, image") == states("") | {"image": "OK", "grooves": "OK"}
    result = musegen_command(site, "domains", "--json", MUSEGEN_PLUGINS="groves,image")
    assert result.stderr == 'MUSEGEN_PLUGINS names "groves", and no such plugin is installed. Did you mean "grooves"?\n'
    assert [row["domain"] for row in json.loads(result.stdout)] == ["image"]
    result = musegen_command(site, "train", "vae", "image", "--help", MUSEGEN_PLUGINS="grooves")
    assert result.returncode == 2
    assert 'MUSEGEN_PLUGINS leaves out the plugin "image"' in result.stderr


def test_a_family_and_a_domain_of_strangers_train_and_are_asked_for_when_gone(
    site: Path, run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    install(site, "music-grooves", {"grooves_a": DOMAIN}, {"grooves": "grooves_a"})
    install(site, "music-mine", {"mine_a": FAMILY}, {"mine": "mine_a"})
    assert "a family of mine" in run("families").out
    assert run("train", "mine", "grooves", "--out", "run", *QUICK, "--set", "latent_dim=2").code == 0
    assert run("resume", "run", "--steps", "6", "--quiet").code == 0
    assert run("generate", "run", "-n", "2", "--out", "a").code == 0
    assert run("export", "run", "m.safetensors").code == 0
    assert run("generate", "m.safetensors", "-n", "2", "--out", "b").code == 0
    assert Path("a/sample_001.npy").read_bytes() == Path("b/sample_001.npy").read_bytes()
    needs = json.loads(Path("run/environment.json").read_bytes())["needs"]
    assert [(n["what"], n["name"], n["distribution"], n["version"], n["api"]) for n in needs] == [
        ("family", "mine", "music-mine", "0.3", "1.0"),
        ("domain", "grooves", "music-grooves", "0.3", "1.0"),
    ]

    monkeypatch.setenv("MUSEGEN_PLUGINS", "mine")
    registry.cache_clear()
    bad(run("generate", "run"), "The run run needs", "music-grooves 0.3, which MUSEGEN_PLUGINS leaves out")
    monkeypatch.delenv("MUSEGEN_PLUGINS")
    for info in site.glob("music_grooves*/entry_points.txt"):
        info.unlink()
    registry.cache_clear()
    hint = 'needs the domain "grooves" of music-grooves 0.3, which is not installed: if you trust it, pip install music-grooves'
    bad(run("generate", "run"), "The run run", hint)
    bad(run("resume", "run", "--steps", "9"), "The run run", hint)
    bad(run("generate", "m.safetensors"), "The model file m.safetensors", hint)

    install(site, "other-grooves", {"grooves_b": DOMAIN}, {"grooves": "grooves_b"}, "2.0")
    registry.cache_clear()
    result = run("generate", "run", "-n", "1", "--out", "c")
    assert result.code == 0
    line = 'The run run was made with the domain "grooves" of music-grooves; the one in use is other-grooves\'s.\n'
    assert result.err == line  # once


@pytest.mark.parametrize(
    "entry",
    [
        {"distribution": "evil; rm -rf ~"},
        {"distribution": "x\x1b[2J"},
        {"plugin": "a\nb"},
        {"version": 7},
        "text",
        None,
    ],
)
def test_what_a_strangers_run_needs_is_no_text_to_trust(entry: Any, run: Callable[..., Result], tmp_path: Path) -> None:
    musegen.train("vae", "toy", out="run", steps=1, batch_size=4, validate_every=0, sample_every=0, quiet=True)
    Path("run/config.yaml").write_text(Path("run/config.yaml").read_text().replace("domain: toy", "domain: grooves"))
    need = {"what": "domain", "name": "grooves", "plugin": "grooves", "distribution": "grooves", "version": "1"}
    environment = json.loads(Path("run/environment.json").read_bytes())
    environment["needs"] = [need | entry if isinstance(entry, dict) else entry]
    Path("run/environment.json").write_text(json.dumps(environment))
    result = run("generate", "run")
    bad(result, 'There is no domain "grooves"')
    assert "evil" not in result.err


def test_a_family_that_cannot_be_loaded_is_listed_as_what_it_is(site: Path, run: Callable[..., Result]) -> None:
    install(
        site, "b-mine", {"b_mine": FAMILY.replace("from musegen.families", "from no_such_module")}, {"mine": "b_mine"}
    )
    rows = {row["family"]: row for row in json.loads(run("families", "--json").out)}
    assert "BROKEN" in rows["mine"]["title"]
    assert "b-mine 0.3" in rows["mine"]["title"]
    assert rows["vae"]["sample"] == "yes"
    assert "BROKEN" in run("families").out
    bad(run("train", "mine", "image"), 'The family "mine"', "b-mine 0.3", "no_such_module", "uninstall that plugin")


def test_a_measure_of_a_stranger_stands_beside_the_domains_own(site: Path, run: Callable[..., Result]) -> None:
    install(site, "music-grooves", {"grooves_a": DOMAIN}, {"grooves": "grooves_a"})
    install(site, "music-measure", {"measure_a": MEASURE}, {"brightness": "measure_a"})
    elsewhere = MEASURE.replace('"brightness"', '"elsewhere"').replace("_load)]", '_load, ("image",))]')
    install(site, "z-elsewhere", {"z_elsewhere": elsewhere}, {"elsewhere": "z_elsewhere"})
    faults = {
        "raises": ("raise ZeroDivisionError('oops')", "ZeroDivisionError: oops"),
        "exits": ("raise SystemExit(4)", "SystemExit: 4"),
        "number": ("return 3.0", "returned float, and must return a dict"),
        "no_figure": ("return {'a': 'b'}", "could not convert string to float"),
        "spoils": ("samples.zero_(); reference.zero_(); print('noise'); return {'x': 0}", ""),
    }
    for name, (body, _) in faults.items():
        source = MEASURE.replace('"brightness"', f'"a_{name}"').replace(
            'return {"mean"', body + '\n        return {"mean"'
        )
        install(site, f"a-{name}", {f"a_{name}": source}, {f"a_{name}": f"a_{name}"})
    unloadable = MEASURE.replace("    def bright", "    import no_such_module\n    def bright").replace(
        '"brightness"', '"un"'
    )
    install(site, "un-loadable", {"un_a": unloadable}, {"un": "un_a"})

    assert run("train", "vae", "grooves", "--out", "run", *QUICK, "--set", "latent_dim=2").code == 0
    result = run("evaluate", "run", "-n", "16", "--json")
    assert result.code == 0, result.err
    metrics = json.loads(result.out)["metrics"]
    own = metrics["mean_samples"]
    assert metrics["brightness/mean"]["model"] == pytest.approx(own["model"])
    assert metrics["brightness/mean"]["floor"] == pytest.approx(own["floor"])
    reference = metrics["mean_reference"]["model"]
    assert metrics["brightness/distance"]["model"] == pytest.approx(abs(own["model"] - reference))
    assert next(iter(metrics)) == "mean_samples"
    assert {name for name in metrics if "/" in name} == {"brightness/mean", "brightness/distance", "a_spoils/x"}
    lines = result.err.splitlines()
    for name, (_, cause) in faults.items():
        told = [line for line in lines if f'The measure "a_{name}" of a-{name} 0.3 was left out' in line]
        assert bool(told) == bool(cause), result.err
        assert all(cause in line for line in told)
    assert any('The measure "un"' in line and "no_such_module" in line for line in lines)
    table = run("evaluate", "run", "-n", "16").out
    assert "brightness" in table
    assert "measures are at most twice as far" in table
