"""What a command line test gets back, and what bad input must look like."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Result:
    """Exit code, standard output and standard error of a command."""

    code: int
    out: str
    err: str


def bad(result: Result, *parts: str) -> None:
    """Exit code 2 and one plain sentence that contains all parts."""
    assert result.code == 2, result.out + result.err
    assert "Traceback" not in result.err
    assert len(result.err.strip().splitlines()) == 1, result.err
    for part in parts:
        assert part in result.err, result.err
