"""Does what is asked of a studio: draws pieces, opens files, renders sound, saves. It knows nothing of HTTP."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import shutil
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from musegen.errors import BadInput, MusegenWarning, because_of, shown
from musegen.options import validate
from musegen.reporting import listening
from musegen.sound.files import FORMATS, encode_floats, write_sound
from musegen.studio import requests
from musegen.studio.codes import codes_of
from musegen.studio.runs import Runs
from musegen.studio.shelf import Kept, Models, Pieces, file_name, read
from musegen.studio.work import Job, Result, Work

if TYPE_CHECKING:
    from musegen.contracts.piece import Piece, Writer
    from musegen.models.model import Model

__all__ = ["Desk"]

LONGEST_S = 1200
"""Of a piece that is played; a longer one can be saved."""
STEMS_AT_ONCE = 2
Wanted = Callable[[], bool]
SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,8}")


def always() -> bool:
    return True


class Desk:
    """A studio without its server.

    Args:
        models: that it has.
        pieces: that it keeps.
        out: the folder that it saves to, and nowhere else.
        work: its queue.
        runs: that it shows.
    """

    def __init__(self, models: Models, pieces: Pieces, out: Path, work: Work, runs: Runs | None = None) -> None:
        self.models, self.pieces, self.out, self.work = models, pieces, out, work
        self.runs = runs or Runs()
        self._rendering, self._stems = threading.Lock(), threading.Semaphore(STEMS_AT_ONCE)

    # Work

    def ask(self, what: str, values: Mapping[str, Any]) -> Job:
        """Have pieces made, as of ``requests.REQUESTS``.

        Raises:
            BadInput: the request is invalid, or too much is waiting.
        """
        asked = validate(requests.REQUESTS[what], values, f'the request "{what}"')
        self.models.check(asked.model)
        given = self.pieces.get(asked.piece) if isinstance(asked, requests.Beside | requests.Encode) else None
        made = {"request": what, **dataclasses.asdict(asked)}

        def draw() -> Result:
            with self._notes() as notes:
                model = self.models.get(asked.model)
                if isinstance(asked, requests.Encode):
                    assert given is not None
                    return Result([], notes, model.encode(model.read(given.file)[:1]).tolist())
                assert isinstance(asked, requests.Work | requests.Decode)
                with model.configured(**asked.options):
                    drawn = _drawn(model, asked, given)
                    name = given.name if given else asked.model
                    each = [made] * len(drawn)
                    if isinstance(asked, requests.Decode):
                        each = [{**made, "codes": [code]} for code in asked.codes]
                    kept = [self.pieces.add(piece, name, of) for piece, of in zip(drawn, each, strict=True)]
                    return Result([one.id for one in kept], notes)

        return self.work.add(what, draw)

    def open(self, values: Mapping[str, Any], content: bytes) -> Job:
        """Read a file as a piece.

        Raises:
            BadInput: the request is invalid, or too much is waiting.
        """
        asked = validate(requests.Open, values, 'the request "open"')
        self.models.check(asked.model)
        path = Path(asked.name.replace("\\", "/"))
        if not SUFFIX.fullmatch(path.suffix):
            raise BadInput(f"name={shown(asked.name)} is invalid: give the name of a file with its suffix.")

        def opened() -> Result:
            with self._notes() as notes:
                file = self.pieces.place() / f"{file_name(path.stem)}{path.suffix.lower()}"
                file.write_bytes(content)
                piece = read(self.models.get(asked.model), file)
                made = {"request": "open", **dataclasses.asdict(asked)}
                return Result([self.pieces.add(piece, path.stem, made, file).id], notes)

        return self.work.add("open", opened)

    @contextlib.contextmanager
    def _notes(self) -> Iterator[list[str]]:
        """A scope whose warnings come into a list; neither they nor errors tell where the studio keeps its files."""
        place, notes = re.compile(rf"{re.escape(str(self.pieces.folder))}/[^/ ]+/"), list[str]()
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always", MusegenWarning)
            try:
                yield notes
            except BadInput as error:
                raise BadInput(place.sub("", str(error))) from None
            finally:
                told = (str(one.message) for one in said if issubclass(one.category, MusegenWarning))
                notes += [place.sub("", text) for text in told]

    # Pieces

    def edit(self, values: Mapping[str, Any]) -> Kept:
        """A piece with other notes.

        Raises:
            BadInput: the request is invalid, or the piece cannot have such notes.
        """
        asked = validate(requests.Edit, values, 'the request "edit"')
        given = self.pieces.get(asked.piece)
        made = {**given.made, "edits": given.made.get("edits", 0) + 1}
        return self.pieces.add(given.piece.edited(asked.remove, asked.add), given.name, made)

    def stem(self, kept: Kept, values: Mapping[str, Any], wanted: Wanted = always) -> bytes:
        """Some of the sound of one voice of a piece, as a WAV file of floats.

        Args:
            wanted: whether somebody still waits for it.

        Raises:
            BadInput: the request is invalid, or the piece has no such voice.
        """
        asked = validate(requests.Stem, values, 'the request "stem"')
        if not asked.first < asked.last <= asked.first + requests.LONGEST_STEM_S:
            raise BadInput("last is invalid: it comes after first, and at most a minute later.")
        with self._stems, _stopped_unless(wanted):
            return encode_floats(*kept.piece.stem(asked.voice, asked.first, asked.last))

    def sound(self, kept: Kept, kind: str, wanted: Wanted = always) -> Path:
        """The sound of a piece as a file, made when it is first wanted.

        Args:
            wanted: whether somebody still waits for it.

        Raises:
            BadInput: no such format, or there is nothing to hear.
        """
        if kind not in FORMATS:
            raise BadInput(f'There is no sound in the format "{shown(kind)}": use one of {", ".join(FORMATS)}.')
        figure = kept.piece.figure()
        if figure and figure.times and figure.times[-1][1] > LONGEST_S:
            raise BadInput(
                f"The piece {kept.name} is longer than {LONGEST_S // 60} minutes: save it, and play it elsewhere."
            )
        path = kept.file.with_name(f"sound.{kind}")
        with self._rendering, _stopped_unless(wanted):
            if not path.exists():
                heard = kept.piece.audio()
                if heard is None:
                    raise BadInput("This piece is silent by nature.")
                write_sound(path, *heard)
        return path

    def save(self, values: Mapping[str, Any], wanted: Wanted = always) -> dict[str, Any]:
        """Write pieces into a new folder in the studio's own; says which, and what is in it.

        Args:
            wanted: whether somebody still waits for it; if not, the folder goes again.

        Raises:
            BadInput: the request is invalid, or the folder cannot be written.
        """
        asked = validate(requests.Save, values, 'the request "save"')
        kept = [self.pieces.get(id) for id in asked.pieces]
        if not kept:
            raise BadInput("There is nothing to save: name pieces.")
        folder = self._new_folder(file_name(asked.folder))
        try:
            with _stopped_unless(wanted):
                paths = _written(kept, folder, asked)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return {"folder": folder.name, "files": [path.name for path in paths]}

    def _new_folder(self, name: str) -> Path:
        """A folder that nothing had the name of."""
        try:
            self.out.mkdir(parents=True, exist_ok=True)
            for number in range(1, 10_000):
                folder = self.out / (name if number == 1 else f"{name} {number}")
                with contextlib.suppress(FileExistsError):
                    folder.mkdir()
                    return folder
        except OSError as error:
            raise because_of(error, f"The folder {self.out} cannot be written: {error.strerror}.") from None
        raise BadInput(f"There are very many folders {name}: use another name.")


@contextlib.contextmanager
def _stopped_unless(wanted: Wanted) -> Iterator[None]:
    """A scope whose work stops, where it reports, once nobody wants it any more."""

    def heard(*_: object) -> None:
        if not wanted():
            raise BadInput("It was cancelled.")

    with listening(heard):
        yield


def _drawn(model: Model, asked: requests.Work | requests.Decode, given: Kept | None) -> Sequence[Piece]:
    """The pieces of a request."""
    from musegen.models import beside

    writer: Writer = model.domain
    a = asked
    if isinstance(a, requests.Decode):
        return writer.pieces(model.decode(codes_of(model, a.codes)))
    if isinstance(a, requests.Generate):
        n_steps = None if a.bars is None else beside.rows_of(model, a.bars)
        return model.pieces(model.sample(a.n, a.seed, a.label, None, n_steps))
    assert given is not None
    assert isinstance(a, requests.Beside)
    if isinstance(a, requests.Continue):
        samples, writer = beside.continued(model, given.file, a.bars, a.n, a.seed, a.label)
    elif isinstance(a, requests.Accompany):
        samples, writer = beside.accompanied(model, given.file, a.tracks, a.n, a.seed, a.replace)
    else:
        assert isinstance(a, requests.Infill)
        samples, beside_it = beside.rewritten(model, given.file, a.tracks, a.bars, a.n, a.seed, None, a.label)
        writer = model.domain if isinstance(a, requests.Regenerate) else beside_it
    return writer.pieces(samples)


def _written(kept: Sequence[Kept], folder: Path, asked: requests.Save) -> list[Path]:
    """The files of pieces in a folder, and its page."""
    from musegen.album import making, record

    samples, paths = [], []
    for i, one in enumerate(kept, 1):
        name, seed = file_name(f"{i:02d} {one.name}"), one.made.get("seed")
        some, files = making.saved([one.piece], folder, [name], asked.audio, _in_words(one.made), seed)
        samples += some
        paths += files
    return [*paths, making.write(folder, record.added(folder, asked.folder, samples))]


def _in_words(made: Mapping[str, Any]) -> str:
    """A request as its page says it."""
    said = (f"{key}={value}" for key, value in made.items() if key != "request" and value not in (None, {}, ""))
    return f"studio: {made['request']} {', '.join(said)}"
