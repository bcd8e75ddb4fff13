"""What the command lines of the studies share: lists of names, exit codes and messages."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from sparse_repr.command_line.interruption import TrainingInterrupted
from sparse_repr.command_line.running import parse_options, run_command
from sparse_repr.devices import resolve_device
from sparse_repr.perceptual.vgg_weights import load_vgg16
from sparse_repr.pretrain.config import PretrainConfig

Config = TypeVar("Config")


def split_names(text: str) -> tuple[str, ...]:
    """The names in a list separated by commas."""
    return tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


def check_requirements(scale: str, device: str, runs: Iterable[PretrainConfig], *, vgg16: bool = False) -> None:
    """Say what is missing for any run of a study before the first is computed.

    Args:
        scale: name, for the message.
        device: that of the scale.
        runs: what is to be trained.
        vgg16: whether something else needs the weights of VGG16.

    Raises:
        ValueError: the device is not there.
        FileNotFoundError: VGG16's weights are needed and not there.
    """
    try:
        resolve_device(device)
    except ValueError as error:
        raise ValueError(f"--scale {scale} needs a CUDA GPU, none is available here; use --scale cpu") from error
    if vgg16 or any(run.perceptual().compares_vgg16 for run in runs):
        load_vgg16()


def run_study_command(
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

    def work() -> int:
        try:
            options = parse_options(config, words, program=program, description=description)
            failures = run(options, shlex.join([*program.split(), *words]))
        except TrainingInterrupted as stopped:
            print(f"stopped; the same command goes on in {stopped.folder}", file=sys.stderr)
            return 128 + stopped.signal_number
        for folder, message in failures.items():
            print(f"error: {folder}: {message}", file=sys.stderr)
        return 1 if failures else 0

    return run_command(work, refused=(ImportError,))
