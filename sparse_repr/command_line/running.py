"""What the command lines share: one line for whatever goes wrong, and exit codes that scripts can rely on.

0: done. 2: the arguments, the files or the machine cannot be used. 130 and 143: ended by SIGINT or SIGTERM. A command
may have further ones of its own.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import tyro

from sparse_repr.command_line.interruption import CommandInterrupted, TrainingInterrupted, end_on_signal
from sparse_repr.command_line.plugins import require_not_imported

Options = TypeVar("Options")

# what torch's allocators say in a plain RuntimeError
_OUT_OF_MEMORY = ("can't allocate memory", "not enough memory", "out of memory", "Storage size calculation overflowed")
_WIDE = "100000"
_PACKAGES = ("sparse_repr", "rl", "envs", "experiments")
SCRIPTS = "sparse-repr-"
"""What the names of the installed scripts begin with, as pyproject.toml has them."""


def parse_options(
    kind: Callable[..., Options],
    arguments: Sequence[str] | None,
    *,
    program: str,
    description: str | None,
    default: Any = None,
) -> Options:
    """The options of a command line as what `kind`, a dataclass or a function, makes of them.

    Args:
        kind: what tyro builds.
        arguments: the words behind the program; None takes those of the process.
        program: what is typed to start it.
        description: of the help.
        default: an instance whose values are the defaults.

    Raises:
        ValueError: words that cannot be used, in one line.
        SystemExit: --help, with code 0.
    """
    words = sys.argv[1:] if arguments is None else list(arguments)
    script = Path(sys.argv[0]).name
    if script.startswith(SCRIPTS):
        program = script  # what was typed: completion is of a script's name, never of `python -m`
    given = {} if default is None else {"default": default}
    if {"-h", "--help"} & set(words):
        return tyro.cli(kind, args=words, prog=program, description=description, **given)
    said = io.StringIO()
    columns = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = _WIDE  # a box as wide as this breaks no line, so that no path or word is torn
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(kind, args=words, prog=program, description=description, **given)
    except SystemExit as refused:
        if not refused.code:
            raise
        raise ValueError(f"{_of_the_box(said.getvalue())} (all options: {program} --help)") from refused
    finally:
        if columns is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = columns


def _of_the_box(text: str) -> str:
    """What tyro says in a box of several lines, as one: the part below the title, without the advice on the help."""
    parts = [""]
    for line in text.splitlines():
        words = line.strip("│ \t")
        if line.startswith(("╭", "╰")) or (words and not words.strip("─-")):
            parts.append("")
        else:
            parts[-1] += f" {words}"
    # a frame has the title in its upper edge, a terminal without such characters has it in a part of its own
    said = [" ".join(part.split()) for part in parts if part.strip()]
    body = said[0] if text.startswith("╭") else " ".join(said[1:2])
    # the name of the dataclass says nothing to who typed the options
    return re.sub(r"^Error parsing [A-Za-z_]\w*: ", "", body)


def run_command(work: Callable[[], int | None], *, refused: tuple[type[Exception], ...] = ()) -> int:
    """Do the work of a command line; whatever ends it early is one line on stderr.

    Args:
        work: returns the exit code; None is 0.
        refused: further errors, beside ValueError and OSError, that say what cannot be used.

    Returns:
        The exit code.

    Raises:
        ValueError, SystemExit: it starts while the file that holds it is only imported.
    """
    require_not_imported()
    try:
        with end_on_signal(last=_is_the_program()), one_line_each():
            code = work() or 0
            sys.stdout.flush()
            return code
    except TrainingInterrupted as stopped:
        return _fail(f"{stopped}", 128 + stopped.signal_number)
    except CommandInterrupted as stopped:
        return _fail(f"{stopped}; {stopped.advice}", 128 + stopped.signal_number)
    except KeyboardInterrupt:
        return _fail("stopped by SIGINT; the same command starts again", 130)
    except Exception as error:
        if isinstance(error, (ValueError, OSError, *refused)):
            return _fail(f"error: {error}", 2)
        short = isinstance(error, RuntimeError) and any(words in str(error) for words in _OUT_OF_MEMORY)
        if not short and not isinstance(error, MemoryError):
            raise
        return _fail(f"error: not enough memory ({str(error) or 'MemoryError'}): ask for less at a time", 2)


def _is_the_program() -> bool:
    """Whether the process was started for one of our command lines, and is not somebody's that calls one."""
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    ours = spec is not None and spec.name.partition(".")[0] in _PACKAGES
    return ours or Path("".join(sys.argv[:1])).name.startswith(SCRIPTS)


def _fail(line: str, code: int) -> int:
    print(" ".join(line.splitlines()), file=sys.stderr)
    try:
        sys.stdout.flush()
    except OSError:
        # what cannot be written now cannot be at the end either, where Python would say so at length
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return code


@contextlib.contextmanager
def one_line_each() -> Iterator[None]:
    """Show warnings that are meant for the user as ``warning: ...``, without a place in the source.

    What ends the thread that writes TensorBoard's events is raised by the next event too, and is said there alone.
    """
    shown, ended = warnings.showwarning, threading.excepthook

    def show(message: Warning | str, category: type[Warning], *place: Any, **other: Any) -> None:
        if category is UserWarning or category.__module__.partition(".")[0] == __name__.partition(".")[0]:
            print(" ".join(f"warning: {message}".splitlines()), file=sys.stderr)
        else:
            shown(message, category, *place, **other)

    def note(end: threading.ExceptHookArgs) -> None:
        if not (issubclass(end.exc_type, OSError) and type(end.thread).__module__.startswith("tensorboard")):
            ended(end)

    warnings.showwarning = show
    threading.excepthook = note
    try:
        yield
    finally:
        warnings.showwarning, threading.excepthook = shown, ended
