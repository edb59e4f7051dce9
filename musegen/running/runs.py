"""Run folders: what a training run leaves on disk.

config.yaml        complete, resolved: enough to train again
environment.json   versions, plugins, git state, arguments, data hash
metrics.jsonl      one JSON object per log point and per validation
checkpoints/       see ``musegen.engine.checkpoint``
samples/step_N/    samples in the domain's native format, and a picture
skipped.csv        files of the data that were left out, and why
data/              what the domain keeps, such as a packed store
uncalibrated       empty: all steps are done, and ``Domain.calibrate`` is not; ``resume`` does it
"""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from musegen.errors import BadInput
from musegen.files import write_atomically
from musegen.options import load_yaml, split_options, validate
from musegen.plugins import needs, provide, registry
from musegen.running.config import FORMAT, RunConfig

if TYPE_CHECKING:
    from musegen.contracts.domain import Domain
    from musegen.contracts.family import Family

__all__ = ["Resolved", "Run", "resolve"]


@dataclasses.dataclass(frozen=True)
class Resolved:
    """A validated configuration: the classes chosen and an instance of each one's ``Config``."""

    family: type[Family]
    domain: type[Domain]
    run: RunConfig
    family_config: Any
    domain_config: Any
    data: str | None

    def as_dict(self) -> dict[str, Any]:
        """Flat and plain, as in ``config.yaml``; an option that family and domain set differently is there once for each."""
        flat = {"format": FORMAT, "family": self.family.name, "domain": self.domain.name, "data": self.data}
        run, family, domain = (
            {field.name: _plain(getattr(config, field.name)) for field in dataclasses.fields(config)}
            for config in (self.run, self.family_config, self.domain_config)
        )
        differ = {name for name in family.keys() & domain.keys() if family[name] != domain[name]}
        owners = (("family", family), ("domain", domain))
        each = {f"{owner}.{name}" if name in differ else name: v for owner, of in owners for name, v in of.items()}
        return flat | run | each


def _plain(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return value


def resolve(family: str, domain: str, options: Mapping[str, Any], data: str | Path | None = None) -> Resolved:
    """Validate a flat set of options against the run, the family and the domain.

    Raises:
        BadInput: an unknown family, domain or option, or a value that will not do.
    """
    family_class, domain_class = registry().family(family), registry().domain(domain)
    owners = {"run": RunConfig, "family": family_class.Config, "domain": domain_class.Config}
    mine = split_options(options, owners)
    return Resolved(
        family_class,
        domain_class,
        validate(RunConfig, mine["run"], "the run"),
        validate(family_class.Config, mine["family"], f'the family "{family}"'),
        validate(domain_class.Config, mine["domain"], f'the domain "{domain}"'),
        None if data is None else str(Path(data).absolute()),
    )


def resolve_dict(flat: Mapping[str, Any], where: str, needed: Any = (), run: bool = False) -> Resolved:
    """The configuration in a ``config.yaml`` or a model file.

    Args:
        needed: the plugins recorded beside it.
        run: it is a run's.

    Raises:
        BadInput: it is of another format version, does not validate, or needs a plugin that is not there.
    """
    options = dict(flat)
    found = options.pop("format", None)
    if found != FORMAT:
        raise BadInput(
            f"{where} was written in format {found}, and this musegen reads format {FORMAT}: "
            "use the version of musegen that wrote it, or train again."
        )
    try:
        family, domain, data = options.pop("family"), options.pop("domain"), options.pop("data", None)
    except KeyError as missing:
        raise BadInput(f"{where} is damaged: it names no {missing.args[0]}.") from None
    provide(needed, family, domain, where, run)
    return resolve(family, domain, options, data)


class Run:
    """One run folder.

    Attributes:
        path: the folder.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    @classmethod
    def open(cls, path: str | Path) -> Run:
        """An existing run.

        Raises:
            BadInput: there is no run there.
        """
        run = cls(path)
        if not (run.path / "config.yaml").is_file():
            what = "holds no run of musegen (no config.yaml)" if run.path.exists() else "does not exist"
            raise BadInput(f"The run folder {path} {what}: give the folder that --out named.")
        return run

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def killed_before_its_first_checkpoint(self) -> bool:
        """Whether there is none at all, not even a damaged one."""
        return not any(self.checkpoints.glob("step_*"))

    @property
    def uncalibrated(self) -> Path:
        """Is there while a trained run waits for its calibration."""
        return self.path / "uncalibrated"

    @property
    def metrics_path(self) -> Path:
        return self.path / "metrics.jsonl"

    def config(self) -> Resolved:
        try:
            needed = self.environment().get("needs", ())
        except (BadInput, AttributeError):  # it only helps to find them; what has no environment may still be complete
            needed = ()
        return resolve_dict(load_yaml(self.path / "config.yaml"), f"The run {self.path}", needed, run=True)

    def environment(self) -> dict[str, Any]:
        """What was recorded about the machine and the data.

        Raises:
            BadInput: the file is missing or damaged.
        """
        try:
            return json.loads((self.path / "environment.json").read_bytes())
        except (OSError, ValueError):
            raise BadInput(f"The run {self.path} is damaged: environment.json cannot be read.") from None

    def metrics(self) -> list[dict[str, Any]]:
        """The lines of ``metrics.jsonl``; a last line cut off by a kill is left out."""
        rows = []
        if self.metrics_path.exists():
            for line in self.metrics_path.read_text("utf-8").splitlines():
                try:
                    rows.append(json.loads(line))
                except ValueError:
                    break
        return rows

    def write_config(self, resolved: Resolved) -> None:
        import yaml

        text = yaml.safe_dump(resolved.as_dict(), sort_keys=False, allow_unicode=True)
        write_atomically(self.path / "config.yaml", text.encode())

    def write_environment(self, resolved: Resolved, data_fingerprint: str, data_description: str) -> None:
        environment = {
            "musegen": _version("musegen"),
            "python": platform.python_version(),
            "platform": platform.platform(),
            "packages": {
                name: _version(name)
                for name in ("torch", "numpy", "pretty_midi", "pypianoroll", "symusic", "safetensors")
            },
            "plugins": [dataclasses.asdict(found) for found in registry().found],
            "needs": needs(resolved.family.name, resolved.domain.name),
            "git": _git_state(),
            "arguments": sys.argv,
            "data": {"sha256": data_fingerprint, "description": data_description},
        }
        write_atomically(self.path / "environment.json", json.dumps(environment, indent=1).encode())

    def write_skipped(self, skipped: Sequence[tuple[str, str]]) -> None:
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow(["path", "reason"])
        writer.writerows(skipped)
        write_atomically(self.path / "skipped.csv", text.getvalue().encode("utf-8", "surrogateescape"))

    def rewind_metrics(self, step: int) -> None:
        """Drop the metrics after ``step``: a killed run may have logged further than its last checkpoint."""
        rows = [row for row in self.metrics() if row["step"] <= step]
        write_atomically(self.metrics_path, "".join(json.dumps(row) + "\n" for row in rows).encode())


class NewRun:
    """A run folder in the making: nothing appears under its name before ``commit``.

    Raises:
        BadInput: the folder exists (unless ``overwrite`` and it is a run), or cannot be written.
    """

    def __init__(self, path: str | Path, overwrite: bool = False) -> None:
        self.path = Path(path).absolute()
        if self.path.is_file():
            raise BadInput(f"{path} is a file: --out needs the name of a new folder.")
        if self.path.is_dir() and any(self.path.iterdir()):
            if not overwrite:
                raise BadInput(f"The folder {path} exists: choose another --out, resume it, or add --overwrite.")
            if not (self.path / "config.yaml").is_file():
                raise BadInput(
                    f"The folder {path} is no run of musegen, so --overwrite leaves it alone: choose another --out."
                )
        self.temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}.new")

    def __enter__(self) -> NewRun:
        try:
            shutil.rmtree(self.temporary, ignore_errors=True)
            self.temporary.mkdir(parents=True)
        except OSError as error:
            raise BadInput(f"The folder {self.path} cannot be written: {error.strerror}.") from None
        return self

    def commit(self) -> Run:
        """Give the folder its name; an older run of that name goes only now."""
        if self.path.exists():
            shutil.rmtree(self.path)
        self.temporary.replace(self.path)
        return Run(self.path)

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.temporary, ignore_errors=True)


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _git_state() -> dict[str, Any] | None:
    """Commit and cleanliness of the checkout that musegen runs from; None outside one."""
    folder = Path(__file__).parent
    try:
        commit = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, timeout=5, check=True
        )
        status = subprocess.run(
            ["git", "status", "--porcelain"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return {"commit": commit.stdout.strip(), "clean": not status.stdout.strip()}
