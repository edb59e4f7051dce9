"""The command line: thin commands over the Python API. torch is imported by the commands that need it, not before."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from cyclopts import CycloptsError

from musegen.cli import (  # noqa: F401  (they add their commands)
    album,
    analysis,
    catalogue,
    comparing,
    data,
    exporting,
    generation,
    given,
    plugin,
    reproducing,
    studio,
    sweeping,
    training,
)
from musegen.cli.app import app
from musegen.cli.help import show_help
from musegen.cli.plugins import add_plugin_commands
from musegen.cli.typed import running
from musegen.cli.wording import as_typed
from musegen.errors import MusegenError, MusegenWarning, ProcessLost, because_of, shown
from musegen.files import at_home
from musegen.reporting import Terminal, no_color, say, worded

__all__ = ["app", "main"]


def _show_warning(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
    """Our own warnings as plain lines; others as Python shows them."""
    if issubclass(category, MusegenWarning):
        say(str(message))
    else:
        print(warnings.formatwarning(message, category, *where[:2]), end="", file=sys.stderr)


def _usage(error: CycloptsError) -> str:
    """cyclopts' message as one plain line."""
    return " ".join(str(error).split())


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 0 done, 1 failed, 2 wrong use or bad input, 130 interrupted."""
    words = sys.argv[1:] if argv is None else argv
    arguments = [_at_home(argument) for argument in words]
    debug = "--debug" in arguments
    arguments, plugins = _without_plugins([argument for argument in arguments if argument != "--debug"])

    def run() -> None:
        with _progress("--quiet" in arguments):
            command()

    def command() -> None:
        if plugins:
            from musegen.plugins import use_plugin

            for plugin in plugins:
                use_plugin(plugin)
        add_plugin_commands(arguments)
        if not show_help(arguments):
            app(arguments, exit_on_error=False, print_error=False, console=_plain_console())

    with worded(lambda text: as_typed(text, arguments)), running(words):
        code = _guarded(run, debug)
    if _has_joined_others() or (argv is None and code > 128):
        # gloo's threads may abort a process while Python takes itself apart, after everything is done. And whoever sent a signal
        # waits: with torch that takes a second or two. Nothing is left to do here.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


def _at_home(argument: str) -> str:
    """An argument with its home folder in full, also behind ``--name=``, where a shell leaves it as it is."""
    name, equals, value = argument.partition("=")
    return name + equals + at_home(value) if equals and name.startswith("--") else at_home(argument)


def _progress(quiet: bool) -> AbstractContextManager[object]:
    """A scope in which a terminal shows what is under way; of several processes the first one alone has it."""
    if quiet or not sys.stderr.isatty() or os.environ.get("RANK", "0") != "0":
        return nullcontext()
    return Terminal(sys.stderr)


def _plain_console() -> Any:
    """For help without escape codes where nobody wants them: rich leaves out colours then, but not bold. None for its own."""
    if not no_color():
        return None
    from rich.console import Console

    return Console(color_system=None)


def _has_joined_others() -> bool:
    """Whether this process is one of several, or was before it lost another."""
    distributed = sys.modules.get("torch.distributed")
    return ProcessLost.happened or bool(distributed and distributed.is_available() and distributed.is_initialized())


def _without_plugins(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The arguments without ``--plugin FILE``, and the files: they decide what the other arguments may say."""
    rest: list[str] = []
    plugins: list[str] = []
    i = 0
    while i < len(arguments):
        name, equals, value = arguments[i].partition("=")
        if name != "--plugin":
            rest.append(arguments[i])
        elif equals:
            plugins.append(value)
        else:
            i += 1
            plugins += arguments[i : i + 1] or [""]
        i += 1
    return rest, plugins


def _guarded(run: Callable[[], None], debug: bool) -> int:
    """Run, and turn errors and our own warnings into plain lines on stderr, errors into exit codes."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", MusegenWarning)
            warnings.showwarning = _show_warning
            run()
        sys.stdout.flush()
    except (MusegenError, CycloptsError) as error:
        if debug:
            raise
        if isinstance(error, CycloptsError):
            say(_usage(error))
            return 2
        if not error.reported_elsewhere:
            say(str(error))
        return error.exit_code
    except BrokenPipeError:
        # The reader of our output is gone; Python must not complain when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return 130
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except OSError as error:
        if debug:
            raise
        say(f"{error.filename or 'A file'} cannot be used: {error.strerror or error}.")
        return because_of(error, "").exit_code if error.filename else 1
    except MemoryError:
        if debug:
            raise
        say("There is not enough memory for this: make it smaller, or close other programs.")
        return 1
    except Exception as error:
        if debug:
            raise
        say(f"Something unexpected happened: {type(error).__name__}: {shown(error)} (--debug shows where)")
        return 1
    return 0
