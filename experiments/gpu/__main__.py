"""`python -m experiments.gpu`: everything that a CUDA card can tell about this package, in ten minutes or less.

In turn: the tests that need a card, speed and memory, whether all ways of training agree, evaluation against the CPU,
and then the paper's study by its full protocol for as long as there is time. Every figure is written when it is there,
so that whatever cuts the command off, `page.md` and `results.json` tell what was found; the same command goes on. It
fetches nothing. Each piece is a process of its own, so that what breaks a card's context costs that piece alone.
"""

from __future__ import annotations

import contextlib
import dataclasses
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from experiments.gpu.equality import measure_equality
from experiments.gpu.evaluation import measure_evaluation
from experiments.gpu.own_tests import run_tests
from experiments.gpu.record import PAGE, Record, Work
from experiments.gpu.sizes import SIZES
from experiments.gpu.speed import measure_speed
from experiments.gpu.study import compute_study, score_so_far
from experiments.gpu.wheels import as_text
from experiments.pages.committed import ROOT
from experiments.study.command import split_names
from sparse_repr.command_line.bounds import require_sensible
from sparse_repr.command_line.interruption import CommandInterrupted, TrainingInterrupted
from sparse_repr.command_line.running import parse_options, run_command
from sparse_repr.devices import resolve_device
from sparse_repr.registry import lookup

_PROGRAM = "python -m experiments.gpu"
PIECES: dict[str, tuple[Callable[[Work], None], float]] = {
    "tests": (run_tests, 0.25),
    "speed": (measure_speed, 0.25),
    "equality": (measure_equality, 0.12),
    "evaluation": (measure_evaluation, 0.1),
    "study": (compute_study, 1.0),
    "so far": (score_so_far, 1.0),
}
"""Name -> what computes it, and the most that it takes of the time."""
_TAIL = 0.08
"""Share of the time that the study leaves to what tells of its unfinished runs."""
_STOPPING_S = 25.0
_RESTARTS = 3


@dataclasses.dataclass(frozen=True)
class GpuConfig:
    """How long, and where the results go."""

    minutes: float = 10.0
    """Time in which it ends; give more, or the same command again, for more of the study."""
    scale: Literal["smoke", "gpu"] = "gpu"
    """gpu; smoke: two minutes of a CPU core, to see that everything runs. Its numbers mean nothing."""
    out: str = "experiments/results/gpu"
    """Folder of what is to be committed: page.md, results.json and the study's cells."""
    runs: str = "runs/gpu"
    """Folder of the run folders, from which the same command goes on."""
    only: str = ""
    """Pieces, separated by commas: tests, speed, equality, evaluation, study, so far; by default all."""
    here: bool = False
    """Compute in this process instead of one per piece."""
    wheels: bool = False
    """Only print the packages that are needed beside torch, for a machine without network."""

    def __post_init__(self) -> None:
        require_sensible(self)
        if not 0 < self.minutes < float("inf"):
            raise ValueError(f"minutes needs a positive number, got {self.minutes}")
        for name in split_names(self.only):
            lookup(PIECES, name, "piece")

    def pieces(self) -> list[str]:
        """What is computed, in order."""
        asked = split_names(self.only)
        return [name for name in PIECES if not asked or name in asked]


def run(config: GpuConfig, command: str) -> int:
    """Compute what is missing until the time is up; returns the exit code.

    Raises:
        ValueError: no card, or results of another one in the folder.
    """
    ends = time.monotonic() + 60 * config.minutes
    sizes = SIZES[config.scale]
    try:
        resolve_device(sizes.device)
    except ValueError as error:
        raise ValueError(
            "experiments.gpu needs a CUDA device, none is available here; --scale smoke runs on a CPU"
        ) from error
    out, runs = Path(config.out), Path(config.runs).resolve()
    if config.here:
        record = Record(out, config.scale, command)
        with contextlib.suppress(TrainingInterrupted):  # the states were saved
            for name in config.pieces():
                PIECES[name][0](Work(record, sizes, runs, out, ends))
        return 0
    record = Record(out, config.scale, command)
    record.forget_failures()
    record.write()
    for name in config.pieces():
        limit = min(ends, time.monotonic() + 60 * config.minutes * PIECES[name][1])
        if name == "study":
            limit = ends - 60 * config.minutes * _TAIL
        _run_apart(config, name, limit)
    Record(out, config.scale, command).write()  # with what the pieces have entered
    print(f"page: {out / PAGE}")
    return 0


def _run_apart(config: GpuConfig, name: str, limit: float) -> None:
    """Compute a piece in a process of its own until `limit`; one that breaks is started again for what is left."""
    words = ["--scale", config.scale, "--out", config.out, "--runs", config.runs, "--only", name, "--here"]
    for _ in range(_RESTARTS):
        left = limit - time.monotonic()
        if left <= 0:
            return
        command = [sys.executable, "-m", "experiments.gpu", *words, "--minutes", f"{left / 60:.4f}"]
        process = subprocess.Popen(command)
        try:
            ended = _wait(process, left)
        except KeyboardInterrupt as stopped:
            _end(process)
            number = stopped.signal_number if isinstance(stopped, CommandInterrupted) else 2
            raise CommandInterrupted(number, advice="the same command goes on") from stopped
        if not ended:
            _end(process)
            return
        if process.returncode == 0:
            return
        print(f"{name}: its process ended with {process.returncode}", file=sys.stderr)


def _wait(process: subprocess.Popen[bytes], seconds: float) -> bool:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def _end(process: subprocess.Popen[bytes]) -> None:
    """Let a process save its states, and end it if it takes too long for that."""
    process.terminate()
    if not _wait(process, _STOPPING_S):
        process.kill()
        process.wait()


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    words = sys.argv[1:] if arguments is None else list(arguments)

    def work() -> int:
        config = parse_options(GpuConfig, words, program=_PROGRAM, description=__doc__)
        if config.wheels:
            print(as_text(ROOT / "pyproject.toml"))
            return 0
        return run(config, shlex.join([*_PROGRAM.split(), *words]))

    return run_command(work)


if __name__ == "__main__":
    sys.exit(main())
