"""What every domain promises of files: written and read again, drawn, heard, and refused in plain words."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from unittest import SkipTest

import numpy as np
import torch

from musegen.contracts.domain import Domain
from musegen.errors import BadInput
from musegen.testing.domains import examples, expected, support
from musegen.testing.rules import Unmet, expect, rule

__all__ = ["RULES"]

NAMES = ["first", "second", "third"]
ROUNDING = 0.005
"""How far a value may move on its way through a file; 8 bits of [0, 1] round by 0.002."""


@rule("files", "synthetic")
def files(domain: Domain) -> None:
    """Samples written as files, named as asked, are read again as they were, and written the same each time."""
    n = len(NAMES)
    with tempfile.TemporaryDirectory() as temporary:
        folders = [Path(temporary) / name for name in ("one", "two", "means")]
        for folder in folders:
            folder.mkdir()
        x = examples(domain, n)
        before = x.clone()
        paths = domain.write(x, folders[0], NAMES)
        expect(torch.equal(before, x), "write changes the samples that it is given.")
        right = [path.parent == folders[0] and path.stem == name for path, name in zip(paths, NAMES, strict=False)]
        expect(
            len(paths) == n and all(right) and all(path.is_file() for path in paths),
            f"write must return folder/NAME.suffix, one file per sample, in order; it returns {[p.name for p in paths]}.",
        )
        again = domain.write(x, folders[1], NAMES)
        same = all(a.read_bytes() == b.read_bytes() for a, b in zip(paths, again, strict=True))
        expect(same, "the same samples written twice give different files: leave dates and chance out of them.")
        wanted = domain.as_data(x)
        for i, path in enumerate(paths):
            found = domain.read(path)
            shape = (len(found), *domain.spec.shape)
            expect(
                len(found) >= 1 and tuple(found.shape) == shape and found.dtype == torch.float32,
                f"read gives {found.dtype} of shape {tuple(found.shape)}, not float32 (n, {str(domain.spec.shape)[1:]}, n ≥ 1.",
            )
            why = support(domain.spec.likelihood, found)
            expect(not why, f"read gives values outside the support of the likelihood: {why}.")
            change = float((found[0] - wanted[i]).abs().max())
            expect(
                change <= ROUNDING * max(1.0, float(wanted[i].abs().max())),
                f"a sample written and read again differs from as_data(sample) by up to {change:g}.",
            )
        domain.write(expected(domain, n), folders[2], NAMES)  # what a model gives is not data yet, and is written too


@rule("refusals", "files")
def refusals(domain: Domain) -> None:
    """read refuses a file that is missing, empty, a folder or of another kind with BadInput, in one plain sentence."""
    suffix = _suffix(domain)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "folder").mkdir()
        (folder / f"empty{suffix}").write_bytes(b"")
        (folder / f"noise{suffix}").write_bytes(np.random.default_rng(0).bytes(4096))
        (folder / "other.txt").write_text("Not what this domain reads.\n")
        for name in ("folder", f"missing{suffix}", f"empty{suffix}", f"noise{suffix}", "other.txt"):
            _refused(lambda name=name: domain.read(folder / name), f"read({name})")  # type: ignore[misc]


def _suffix(domain: Domain) -> str:
    """Of the domain's own files."""
    with tempfile.TemporaryDirectory() as temporary:
        return domain.write(expected(domain, 1), Path(temporary), ["a"])[0].suffix


def _refused(call: Callable[[], object], what: str) -> None:
    try:
        call()
    except BadInput as error:
        text = str(error)
        expect(bool(text) and len(text.splitlines()) == 1, f"{what}: the refusal must be one plain line, not {text!r}.")
        return
    except Exception as error:
        raise Unmet(
            f"{what} raises {type(error).__name__} ({error}), not BadInput: say what is wrong, where, what to do."
        ) from error
    raise Unmet(f"{what} is not refused: raise BadInput, and say what is wrong, where, what to do.")


@rule("sources")
def sources(domain: Domain) -> None:
    """open refuses a source that is missing, an empty folder, or a folder of other files with BadInput."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for name in ("empty", "other"):
            (folder / name).mkdir()
        (folder / "other" / "readme.txt").write_text("Not what this domain reads.\n")
        for name in ("missing", "empty", "other"):
            call = lambda name=name: type(domain).open(domain.config, folder / name, folder / "cache")  # noqa: E731
            _refused(call, f"open({name} folder)")


@rule("picture", "synthetic")
def picture(domain: Domain) -> None:
    """picture draws any number of samples, in the columns asked for, and other samples look different."""
    x = examples(domain)
    before = x.clone()
    one, all_, column = domain.picture(x[:1]), domain.picture(x), domain.picture(x, columns=1)
    expect(torch.equal(before, x), "picture changes the samples that it is given.")
    for drawn, n in ((one, 1), (all_, len(x)), (column, len(x))):
        expect(min(drawn.size) > 0, f"the picture of {n} samples has size {drawn.size}.")
        expect(np.ptp(np.asarray(drawn.convert("L"))) > 0, f"the picture of {n} samples is all of one colour.")
    expect(
        one.tobytes() != domain.picture(examples(domain, seed=1)[:1]).tobytes()
        or torch.equal(x, examples(domain, seed=1)),
        "different samples give the same picture.",
    )
    domain.picture(expected(domain))


@rule("sound", "synthetic")
def sound(domain: Domain) -> None:
    """audio is None, or gives a clip (channels, frames) in [−1, 1] per sample, and a rate in Hz."""
    x = examples(domain, 2)
    found = domain.audio(x)
    if found is None:
        raise SkipTest("the domain is silent")
    clips, rate = found
    expect(len(clips) == len(x) and rate > 0, f"audio gives {len(clips)} clips for {len(x)} samples, at {rate} Hz.")
    for clip in clips:
        clip = np.asarray(clip)
        expect(clip.ndim == 2 and 1 <= len(clip) <= 2, f"audio: a clip has shape {clip.shape}, not (channels, frames).")
        expect(bool(np.isfinite(clip).all()) and np.abs(clip).max() <= 1, "audio: a clip leaves [−1, 1].")


@rule("writing options")
def writing(domain: Domain) -> None:
    """for_writing without options changes nothing, and refuses an option that it does not know with BadInput."""
    plain = domain.for_writing({})
    expect(
        type(plain) is type(domain) and plain.spec == domain.spec, "for_writing({}) must give a domain like this one."
    )
    _refused(lambda: domain.for_writing({"no_such_option": 1}), 'for_writing({"no_such_option": 1})')


RULES = [files, refusals, sources, picture, sound, writing]
