"""What the command lines of the studies share: lists of names, exit codes and messages."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Sequence
from typing import TypeVar

import tyro

from sparse_repr.interruption import TrainingInterrupted

Config = TypeVar("Config")


def names(text: str) -> tuple[str, ...]:
    """The names in a list separated by commas."""
    return tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


def run_command(
    program: str,
    description: str | None,
    config: type[Config],
    run: Callable[[Config, str], dict[str, str]],
    arguments: Sequence[str] | None,
) -> int:
    """Run the command line of a study; returns the exit code.

    Args:
        program: what is typed to start it.
        description: of the help.
        config: its options.
        run: (options, the whole command) -> messages of what failed by folder.
        arguments: the words behind the program; None takes those of the process.
    """
    words = sys.argv[1:] if arguments is None else list(arguments)
    try:
        options = tyro.cli(config, args=words, prog=program, description=description)
        failures = run(options, shlex.join([*program.split(), *words]))
    except TrainingInterrupted as stopped:
        print(f"stopped; the same command goes on in {stopped.folder}", file=sys.stderr)
        return 128 + stopped.signal_number
    except (ValueError, OSError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for folder, message in failures.items():
        print(f"error: {folder}: {message}", file=sys.stderr)
    return 1 if failures else 0
