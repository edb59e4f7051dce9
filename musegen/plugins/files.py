"""One-file plugins: running them, and remembering which ones the user has run.

A run folder names the file that its domain or family comes from. A run folder may also be somebody else's, sent together with
a program, so what it names is run again only if this user has named the very same file (path and SHA-256) before: that is
what the list here is for. It is a text file in the user's state folder, and holds nothing else.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import importlib.util
import os
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

__all__ = ["constant_in_source", "digest", "is_remembered", "line_of", "remember", "run", "run_once"]

CONTENT = "__musegen_sha256__"
"""Attribute of a module that was run from a file: what the file held."""


def digest(source: bytes) -> str:
    """SHA-256, in hexadecimal."""
    return hashlib.sha256(source).hexdigest()


def run(path: Path, source: bytes) -> ModuleType:
    """The module that a file is, from bytes that were read (and may have been checked) before.

    Raises:
        BaseException: whatever the file does.
    """
    name = _module_name(path)
    module = ModuleType(name)
    module.__file__ = str(path)
    setattr(module, CONTENT, digest(source))
    sys.modules[name] = module
    try:
        exec(compile(source, str(path), "exec"), module.__dict__)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def run_once(path: Path, source: bytes) -> ModuleType:
    """As ``run``; a file that was run before in this process, with the same content, is not run again."""
    there = sys.modules.get(_module_name(path))
    if there is not None and getattr(there, CONTENT, None) == digest(source):
        return there
    return run(path, source)


def _module_name(path: Path) -> str:
    """Named after its path: two files may share a name, and dataclasses look their module up by name."""
    return f"musegen_plugin_file_{digest(os.fsencode(path))[:8]}_{path.stem}"


def line_of(error: BaseException, path: Path) -> int | None:
    """The line of the file that an error comes from."""
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return error.lineno
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return lines[-1] if lines else None


def constant_in_source(module: str, name: str) -> Any:
    """The value of ``name = "…"`` at the top of a module that cannot be imported; None if it says no such thing."""
    with contextlib.suppress(Exception):
        spec = importlib.util.find_spec(module)
        assert spec is not None
        assert spec.origin is not None
        for node in ast.parse(Path(spec.origin).read_bytes()).body:
            if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == [name]:
                return ast.literal_eval(node.value)
    return None


def _list() -> Path:
    state = os.environ.get("XDG_STATE_HOME")
    return (Path(state) if state else Path.home() / ".local" / "state") / "musegen" / "plugin_files"


def remember(path: Path, sha256: str) -> None:
    """Note that the user has named this file. Where nothing can be written, he is asked again."""
    if is_remembered(path, sha256):
        return
    with contextlib.suppress(OSError, RuntimeError):  # RuntimeError: no home folder
        _list().parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _list().open("ab") as file:
            file.write(_line(path, sha256))


def is_remembered(path: Path, sha256: str) -> bool:
    """Whether the user has named this file before, with this content."""
    try:
        return _line(path, sha256).strip(b"\n") in _list().read_bytes().split(b"\n")
    except (OSError, RuntimeError):
        return False


def _line(path: Path, sha256: str) -> bytes:
    # A path may hold a line break, and must not forge a second line.
    return f"{sha256}  {str(path)!r}\n".encode("utf-8", "backslashreplace")
