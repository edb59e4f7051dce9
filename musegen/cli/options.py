"""Options that several commands share, and what they do."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from musegen.errors import BadInput
from musegen.running.config import RunConfig

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from musegen.contracts.domain import Domain
    from musegen.models.model import Model

# Every option of a run, as text: conversion and bounds are checked in one place, by musegen.running.config.
RunOptions = dataclasses.make_dataclass(
    "RunOptions",
    [
        (
            field.name,
            Annotated[
                (bool if isinstance(field.default, bool) else str) | None, Parameter(help=field.metadata["meaning"])
            ],
            dataclasses.field(default=None, kw_only=True),
        )
        for field in dataclasses.fields(RunConfig)
    ],
)
RunOptions.__module__ = __name__  # without a module of its own, cyclopts takes the class for a builtin

Options = Annotated[RunOptions, Parameter(name="*")]  # type: ignore[valid-type]
Flag = Annotated[bool, Parameter(negative="")]
Json = Annotated[bool, Parameter(name="--json", negative="", help="Print JSON instead of a table.")]
Assignments = Annotated[
    list[str],
    Parameter(name="--set", negative="", help="An option of the family or the domain, as key=value; repeatable."),
]
ModelName = Annotated[
    str, Parameter(help="A run folder, a model file, or the name of a model that ships (see musegen models).")
]
Files = Annotated[list[Path], Parameter(negative="", consume_multiple=True)]
Label = Annotated[str | None, Parameter(help="A class, by name or number, for families with a condition.")]
Draws = Annotated[int, Parameter(name=["-k", "--k"], help="Draws per example for a bound; exact families need none.")]
TopP = Annotated[
    float | None,
    Parameter(
        help="Of rnn_nade: draw from the most probable choices that make up this much; else as the model has it."
    ),
]


def given_options(options: Any) -> dict[str, Any]:
    """The options that were given."""
    return {name: value for name, value in vars(options).items() if value is not None}


@dataclasses.dataclass
class Writing:
    """How music is written, as text; see ``Domain.for_writing``."""

    tempo: Annotated[str | None, Parameter(help="Beats per minute.")] = None
    programs: Annotated[
        str | None, Parameter(help="General MIDI programs, numbers from 0 or names: Piano=5,Bass=33.")
    ] = None
    threshold: Annotated[
        str | None, Parameter(help="A cell sounds above this probability; one for all, or Piano=0.4,Bass=0.3.")
    ] = None

    def options(self) -> dict[str, Any]:
        """Those that were given."""
        found: dict[str, Any] = given_options(self)
        for name in {"programs", "threshold"} & set(found):
            if name == "programs" or "=" in found[name]:
                found[name] = _by_name(name, found[name])
        return found


def _by_name(option: str, text: str) -> dict[str, str]:
    """``"Piano=5,Bass=33"`` by name."""
    pairs = [part.partition("=") for part in text.split(",")]
    if not all(name.strip() and equals and value.strip() for name, equals, value in pairs):
        raise BadInput(f'--{option} "{text}" will not do: write it like Piano=5,Bass=33.')
    return {name.strip(): value.strip() for name, _, value in pairs}


@dataclasses.dataclass
class Source:
    """Which weights of a model, and where they work."""

    checkpoint: Annotated[str, Parameter(help="Of a run: best, last, or the number of a step.")] = "best"
    device: Annotated[str, Parameter(help="auto, cpu, cuda or cuda:N.")] = "auto"

    def load(self, model: str, writing: Writing | None = None, top_p: float | None = None) -> Model:
        import musegen

        loaded = musegen.load(model, checkpoint=self.checkpoint, device=self.device)
        if top_p is not None:
            loaded.set_sampling(top_p=top_p)
        if writing is not None:
            loaded.domain = loaded.domain.for_writing(writing.options())
        return loaded


@dataclasses.dataclass
class Drawing:
    """How samples are drawn."""

    seed: int = 0
    temperature: Annotated[
        float,
        Parameter(help="Scales the spread of the prior, or an autoregressive family's choices; below 1: more typical."),
    ] = 1.0
    top_p: TopP = None

    def check(self, n: int) -> None:
        """Refuse what nobody can draw.

        Raises:
            BadInput: no sample, or a negative temperature.
        """
        if n < 1:
            raise BadInput(f"-n {n} will not do: ask for one sample or more.")
        if self.temperature < 0:
            raise BadInput(f"--temperature {self.temperature} will not do: use 0 or more.")


@dataclasses.dataclass
class Target:
    """Where samples go, and as what."""

    out: Annotated[Path, Parameter(help="Folder to write to.")] = Path("out")
    audio: Annotated[
        Literal["wav", "flac", "ogg", "mp3", "none"], Parameter(help="Format of sound, for domains that have any.")
    ] = "wav"
    overwrite: Flag = False

    def write(self, domain: Domain, x: Tensor, names: Sequence[str], shown: Tensor | None = None) -> None:
        """Native files, sound and a picture of the samples, or of what is to be shown instead.

        Raises:
            BadInput: the folder cannot be written, or something there would be replaced.
        """
        out = self.out
        taken = [p for name in [*names, "picture"] for p in sorted(out.glob(f"{name}.*"))] if out.is_dir() else []
        if taken and not self.overwrite:
            raise BadInput(f"{taken[0]} exists: choose another --out, or add --overwrite.")
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BadInput(f"The folder {out} cannot be written: {error.strerror}.") from None
        paths = domain.write(x, out, names)
        picture = out / "picture.png"
        domain.picture(x if shown is None else shown).save(picture)
        sound = domain.audio(x) if self.audio != "none" else None
        if sound is not None:
            from musegen.sound.files import write_sound

            clips, rate_hz = sound
            for name, clip in zip(names, clips, strict=True):
                path = out / f"{name}.{self.audio}"
                if path not in paths:  # of some domains this is the native format
                    paths.append(path)
                    write_sound(path, clip, rate_hz)
        for path in [*paths, picture]:
            print(path)


WritingOptions = Annotated[Writing, Parameter(name="*")]
SourceOptions = Annotated[Source, Parameter(name="*")]
DrawingOptions = Annotated[Drawing, Parameter(name="*")]
TargetOptions = Annotated[Target, Parameter(name="*")]
