"""What the pages tell a reader to type works: every command and snippet, in the order printed, in one folder per page.

Numbers are made small (``small``, ``in_python``), and files that a reader is told to have are made from the data that ship.
Nothing is left out silently: what cannot be run here stands in ``NOT_RUN`` with the reason, and anything else that is not
understood fails.
"""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pretty_midi
import pytest
import soundfile
from commands import Result
from pages import ROOT, Shown, shown
from PIL import Image
from pop_songs import archive
from strangers import install

from musegen.cli.app import app, data_app, plugin_app
from musegen.cli.options import given_options
from musegen.cli.plugins import add_plugin_commands
from musegen.data.bundled import bundled, models
from musegen.option_texts import parse_assignments
from musegen.plugins import registry
from musegen.running import samples
from musegen.running.resolved import resolve
from musegen_audio import notes
from musegen_image.data import read_mnist
from musegen_pianoroll.corpora import pop909

NEEDS_THE_NETWORK = (
    "needs the package index; tests/testing/test_template.py and `make test` itself install musegen and a plugin"
)
NOT_RUN = {
    "pip install uv": NEEDS_THE_NETWORK,
    "uv pip install torch --torch-backend cpu": NEEDS_THE_NETWORK,
    "pip install torch": NEEDS_THE_NETWORK,
    "pip install .": NEEDS_THE_NETWORK,
    "pip install musegen-*.whl": NEEDS_THE_NETWORK,
    "make demo": "takes four minutes; tests/pianoroll/test_demo.py runs it with fewer steps",
    "make test": "runs this test",
}
QUICK, LONG = ["README.md"], ["docs/plugins.md", "docs/guide.md", "docs/researchers.md", "docs/export.md"]
PAGES = [*QUICK, *LONG]
KEPT = sorted(
    ["docs/measures.md", "docs/distributed.md", "docs/results.md", *(f"data/models/{n}.md" for n in models())]
)
"""Pages whose commands took minutes to hours, or several machines: they are understood, and not run."""
TEXTS = sorted(
    str(path.relative_to(ROOT)) for pattern in ("*.md", "docs/*.md", "data/*/*.md") for path in ROOT.glob(pattern)
)
MENTIONED = [
    *PAGES,
    *(f"docs/{name}.md" for name in ("contracts", "measures", "tutorial", "tutorial_family")),
    "CONTRIBUTING.md",
]

FEW = {"--steps": "2", "--batch-size": "4", "--validate-examples": "4", "--samples": "1"}
"""Of every training."""
LEAST = {"-n": "2", "--best": "1", "-k": "1", "--bars": "2", "--steps": "3", "--draws": "2"}
"""Of every other command that says how many."""
NARROW = {"pianoroll": {"channels": 4, "units": 8, "features": 4}, "image": {"channels": 4}, "audio": {"channels": 4}}
"""Networks of every training by domain, as far as the family and the domain have these options."""
OFTEN = re.compile("(critic_steps|critic_boost)=.*")
"""Options that repeat steps."""


def small(words: list[str]) -> list[str]:
    """A command with few steps, samples, bars and draws."""
    if words[0] == "train" and "--help" not in words:
        pairs = list(zip(["", *words], words, strict=False))
        words = [OFTEN.sub(r"\1=1", word) for before, word in pairs if before not in FEW and word not in FEW]
        narrow: list[str] = []
        # Nobody knows the families of a plugin before the command is run, and a model's networks are what they are.
        if "--plugin" not in words and "--init" not in words:
            family, domain = registry().family(words[1]), registry().domain(words[2])
            owned = {**family.Config.__dataclass_fields__, **domain.Config.__dataclass_fields__}
            narrow = [f"{name}={n}" for name, n in NARROW.get(words[2], {}).items() if name in owned]
        return words + [part for pair in FEW.items() for part in pair] + [f"--set={option}" for option in narrow]
    shipped = words[1:2] and words[1] in models()
    least = LEAST | ({"-n": "1"} if shipped else {})
    words = [least.get(before, word) for before, word in zip(["", *words], words, strict=False)]
    if "--form" in words:  # of four sections
        words[words.index("--bars") + 1] = "4"
    if words[:2] == ["generate", "band"] and "--help" not in words:
        words += ["--bars", "1"]
    if words[0] == "evaluate":
        words += [*([] if "-n" in words else ["-n", "2"]), "-k", "1"]
    return words


def in_python(code: str) -> str:
    """A snippet with few steps."""
    return re.sub(r"\bsteps=\d+", "steps=2, validate_examples=4, samples=1", code)


def in_yaml(text: str) -> str:
    """A file of options, or of a sweep, with few steps, seeds and samples."""
    for name, n in {"steps": 2, "seeds": 1, "n": 4, "k": 1}.items():
        text = re.sub(rf"\b{name}: \d+", f"{name}: {n}", text)
    return text


class Reader:
    """Somebody who types in what a page shows, in a folder with a few files of his own.

    Args:
        folder: to work in.
        run: runs a command there.
        site: a folder of installed packages.
    """

    def __init__(self, folder: Path, run: Callable[..., Result], site: Path) -> None:
        self.folder, self.run, self.site = folder, run, site
        self.names: dict[str, Any] = {"__name__": "__main__"}

    def types(self, part: Shown) -> str:
        """Do what the page says; the answer says what went wrong, or nothing."""
        match part.kind:
            case "yaml" | "python" if named := re.match(r"# ([\w/.]+)\n", part.text):
                path = self.folder / named[1]
                path.parent.mkdir(exist_ok=True)
                path.write_text(in_yaml(part.text) if part.kind == "yaml" else part.text)
            case "python":
                exec(compile(in_python(part.text), f"line {part.line}", "exec"), self.names)
            case "command" if part.text.startswith("pip install -e "):
                self.installs(self.folder / part.text.split()[-1])
            case "command":
                program, *words = shlex.split(part.text)
                if program != "musegen":
                    return "no test knows how to run this: add it to NOT_RUN, with the reason"
                result = self.run(*small(words))
                if result.code != 0:
                    return f"exit code {result.code}: {(result.err or result.out).strip()}"
        return ""

    def installs(self, package: Path) -> None:
        """An editable installation, without pip."""
        (name,) = (path.name for path in package.glob("musegen_*"))
        install(self.site, package.name, {}, {name.removeprefix("musegen_"): name})
        sys.path.append(str(package))
        registry.cache_clear()


@pytest.fixture
def reader(
    tmp_path: Path,
    run: Callable[..., Result],
    site: Path,
    monkeypatch: pytest.MonkeyPatch,
    picture_folder: Path,
    sound_folder: Path,
) -> Iterator[Reader]:
    """A reader with a clone (its data), and files of his own, made from the data that ship."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(samples, "CALIBRATION_EXAMPLES", 64)
    (tmp_path / "web").mkdir()
    songs, digest = archive(tmp_path / "web")
    monkeypatch.setattr(pop909, "URL", songs.as_uri())
    monkeypatch.setattr(pop909, "SHA256", digest)
    monkeypatch.setattr(notes, "cached", lambda rate, n: notes.render(rate, n, programs=1, pitches=3))
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.chdir(home)
    for folder, n in (("midi", 6), ("data/freedoom", 12)):
        (home / folder).mkdir(parents=True)
        for path in sorted(bundled("freedoom").glob("*.mid"))[:n]:
            shutil.copy(path, home / folder)
    (home / "data" / "chorales").symlink_to(bundled("chorales"))
    cut(bundled("freedoom") / "freedoom1_D_E1M1.mid", home / "mine.mid", 4)
    cut(bundled("chorales") / "bwv253.mid", home / "tune.mid", 4, tracks=1)
    shutil.copytree(picture_folder, home / "pictures")
    shutil.copytree(sound_folder, home / "sounds")
    soundfile.write(home / "mine.wav", np.sin(np.arange(8000) / 5), 8000)
    phrases = np.random.default_rng(0).random((3, 4, 4, 84, 5)) < 0.02
    np.savez(home / "train_x_lpd_5_phr.npz", shape=phrases.shape, nonzero=phrases.nonzero())
    images, labels = read_mnist(bundled("mnist"))["test"]
    for digit in range(10):
        (home / "usps" / str(digit)).mkdir(parents=True)
        for i, image in enumerate(images[labels == digit][:4]):
            Image.fromarray(image).save(home / "usps" / str(digit) / f"{i}.png")
    for name, image in zip("abc", images, strict=False):
        Image.fromarray(image).save(home / f"{name}.png")
    before = set(app.resolved_commands())
    yield Reader(home, run, site)
    for name in set(app.resolved_commands()) - before:
        del app[name]  # the application is that of all tests


def cut(source: Path, target: Path, bars: int, tracks: int | None = None) -> None:
    """The first bars of a MIDI file, and perhaps its first tracks alone."""
    midi = pretty_midi.PrettyMIDI(str(source))
    end = midi.get_beats()[4 * bars]
    midi.instruments = midi.instruments[:tracks]
    for track in midi.instruments:
        track.notes = [note for note in track.notes if note.end <= end]
        track.control_changes, track.pitch_bends = [], []
    midi.write(str(target))


@pytest.mark.timeout(900)  # up to a minute of processor time
@pytest.mark.parametrize("page", [*QUICK, *(pytest.param(page, marks=pytest.mark.slow) for page in LONG)])
def test_a_page_works_as_it_is_printed(page: str, reader: Reader) -> None:
    for part in shown(page):
        if part.kind != "mention" and part.text not in NOT_RUN:
            problem = reader.types(part)
            assert not problem, f"{page}, line {part.line}: {part.text}\n{problem}"


def test_what_is_not_run_is_still_printed() -> None:
    """Exceptions that nobody needs any more go."""
    printed = {part.text for page in PAGES for part in shown(page)}
    assert not set(NOT_RUN) - printed, "leave these out of NOT_RUN"


@pytest.mark.parametrize("page", MENTIONED)
def test_commands_that_running_text_mentions_exist(page: str) -> None:
    add_plugin_commands([])
    for part in shown(page):
        _, *words = part.text.split()
        if part.kind == "mention" and part.text.startswith("musegen ") and not words[0].startswith("-"):
            group = {"data": data_app, "plugin": plugin_app}.get(words[0])
            known = words[0] in app if group is None else words[1] in group
            assert known, f"{page}, line {part.line}: there is no {part.text}"


@pytest.mark.parametrize("page", [*KEPT, "docs/researchers.md"])
def test_commands_that_made_what_is_kept_are_still_understood(page: str) -> None:
    for part in shown(page):
        _, ours, arguments = part.text.partition("musegen ")
        words = shlex.split(re.sub(r"--seed S\b", "--seed 0", arguments))
        if part.kind == "command" and ours:
            _, bound, _ = app.parse_args(words, exit_on_error=False, print_error=False)
            if words[0] == "train":
                given = bound.arguments
                options = parse_assignments(given.get("set_", [])) | given_options(given["options"])
                resolve(given["family"], given["domain"], options)


@pytest.mark.parametrize("page", TEXTS)
def test_files_that_a_page_names_exist(page: str) -> None:
    text = (ROOT / page).read_text("utf-8")
    named = set(re.findall(r"`((?:musegen|plugins|tests|benchmarks|docs|data)/[^`\s]*)`", text))
    linked = {target.partition("#")[0] for target in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in target}
    missing = [name for name in named if not list(ROOT.glob(name.replace("NAME", "*").rstrip("/")))]
    missing += [name for name in linked if name and not ((ROOT / page).parent / name).exists()]
    assert not missing, f"{page}: {missing}"


def test_the_readme_is_short_and_its_pictures_are_here() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    assert len(text.splitlines()) <= 110
    assert "\n![" in text
