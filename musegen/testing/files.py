"""What every domain promises of pieces and files: written and read again, drawn, heard, and refused in plain words."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable
from pathlib import Path
from unittest import SkipTest

import numpy as np
import torch

from musegen.contracts.domain import Domain
from musegen.contracts.piece import save
from musegen.errors import BadInput
from musegen.testing.domains import examples, expected, options_of, support
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
        pieces = domain.pieces(x)
        expect(len(pieces) == n, f"pieces gives {len(pieces)} pieces for {n} samples.")
        paths = save(pieces, folders[0], NAMES)
        expect(torch.equal(before, x), "pieces changes the samples that it is given.")
        right = [path.parent == folders[0] and path.stem == name for path, name in zip(paths, NAMES, strict=False)]
        expect(
            len(paths) == n and all(right) and all(path.is_file() for path in paths),
            f"save must write the path that it is given, and return it; it returns {[p.name for p in paths]}.",
        )
        again = save(domain.pieces(x), folders[1], NAMES)
        same = all(a.read_bytes() == b.read_bytes() for a, b in zip(paths, again, strict=True))
        expect(same, "the same samples written twice give different files: leave dates and chance out of them.")
        wanted = domain.discretise(x)
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
                f"a sample written and read again differs from discretise(sample) by up to {change:g}.",
            )
        # What a model gives is not data yet, and is written too.
        save(domain.pieces(expected(domain, n)), folders[2], NAMES)
        _refused(lambda: pieces[0].save(folders[2] / "first.no_such_suffix"), "save(first.no_such_suffix)")


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
    return domain.pieces(expected(domain, 1))[0].suffix


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
    """sheet draws any number of pieces, in the columns asked for, and other samples look different."""
    x = examples(domain)
    pieces = domain.pieces(x)
    one, all_, column = domain.sheet(pieces[:1]), domain.sheet(pieces), domain.sheet(pieces, columns=1)
    for drawn, n in ((one, 1), (all_, len(x)), (column, len(x)), (pieces[0].picture(), 1)):
        expect(min(drawn.size) > 0, f"the picture of {n} samples has size {drawn.size}.")
        expect(np.ptp(np.asarray(drawn.convert("L"))) > 0, f"the picture of {n} samples is all of one colour.")
    other = examples(domain, seed=1)
    expect(
        one.tobytes() != domain.sheet(domain.pieces(other[:1])).tobytes() or torch.equal(x, other),
        "different samples give the same picture.",
    )
    domain.sheet(domain.pieces(expected(domain)))


@rule("sound", "synthetic")
def sound(domain: Domain) -> None:
    """audio of a piece is None, or a clip (channels, frames) in [−1, 1] and its rate in Hz."""
    found = [piece.audio() for piece in domain.pieces(examples(domain, 2))]
    if found == [None, None]:
        raise SkipTest("the domain is silent")
    for heard in found:
        expect(heard is not None, "audio: one piece sounds, and another is None: give silence as a clip.")
        assert heard is not None
        clip, rate = np.asarray(heard[0]), heard[1]
        expect(rate > 0, f"audio: the rate is {rate} Hz.")
        expect(clip.ndim == 2 and 1 <= len(clip) <= 2, f"audio: a clip has shape {clip.shape}, not (channels, frames).")
        expect(bool(np.isfinite(clip).all()) and np.abs(clip).max() <= 1, "audio: a clip leaves [−1, 1].")


@rule("writing options")
def writing(domain: Domain) -> None:
    """Writing is a frozen dataclass of options with meanings; others are set and refused one by one, and change no spec."""
    options_of(type(domain).Writing, domain.writing)
    plain = domain.written_with({})
    expect(
        type(plain) is type(domain) and (plain.config, plain.writing) == (domain.config, domain.writing),
        "written_with({}) must give a domain like this one: does __init__ pass writing on to Domain.__init__?",
    )
    for field in dataclasses.fields(domain.writing):
        value = getattr(domain.writing, field.name)
        same = domain.written_with({field.name: value} if value is not None else {})
        expect(
            same.spec == domain.spec, f'the option "{field.name}" of Writing changes the spec: it belongs to Config.'
        )
    _refused(lambda: domain.written_with({"no_such_option": 1}), 'written_with({"no_such_option": 1})')


@rule("reading options")
def reading(domain: Domain) -> None:
    """Options of Reading, if there are any, are set one by one, and others refused."""
    fields = dataclasses.fields(domain.Reading)
    if not fields:
        raise SkipTest("it has no options of reading")
    for field in fields:
        same = domain.read_with({field.name: getattr(domain.config, field.name)})
        expect(
            type(same) is type(domain) and same.config == domain.config,
            f"read_with does not keep what it is not told: setting {field.name} as it is changes the domain.",
        )
    _refused(lambda: domain.read_with({"no_such_option": 1}), 'read_with({"no_such_option": 1})')


RULES = [files, refusals, sources, picture, sound, writing, reading]
