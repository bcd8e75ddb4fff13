"""Work in processes of its own, several at a time: how a CPU with many cores trains many models."""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import TracebackType
from typing import Any

from sparse_repr.command_line.interruption import CommandInterrupted, TrainingInterrupted, end_on_signal, stop_on_signal
from sparse_repr.command_line.plugins import load_plugins, loaded_plugins
from sparse_repr.command_line.running import one_line_each
from sparse_repr.pretrain.config import PretrainConfig
from sparse_repr.pretrain.term_sums import NonFiniteLossError
from sparse_repr.pretrain.trainer import pretrain_encoder

_SIGNALS_EVERY_S = 0.5

Work = Callable[[Callable[[int], None]], Any]
"""Called with a function that takes the number of steps taken since its last call; must be picklable."""


class Workers:
    """Processes that each do one piece of work; leaving the ``with`` block ends those that are left."""

    def __init__(self) -> None:
        self._running: dict[Connection, tuple[BaseProcess, Path]] = {}

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for process, _ in self._running.values():
            process.kill()
            process.join()

    def __len__(self) -> int:
        """Processes that are running."""
        return len(self._running)

    def start(self, folder: Path, work: Work) -> None:
        """Do `work` in a new process; `folder`, where it writes, names it."""
        # spawned: a forked process computes with one thread (`devices`)
        context = multiprocessing.get_context("spawn")
        receiving, sending = context.Pipe(duplex=False)
        process = context.Process(target=_do, args=(loaded_plugins(), sending, work, folder), name=folder.name)
        process.start()
        sending.close()  # the worker's copy is then the last one, so that its end is seen here
        self._running[receiving] = process, folder

    def messages(self, timeout_s: float = _SIGNALS_EVERY_S) -> Iterator[tuple[Path, int | Exception | None]]:
        """What has arrived, waiting for it up to `timeout_s`.

        Yields:
            The folder of a piece of work, and steps that it has taken, what it raised, or None when it has ended well;
            after an error or None its process is gone.
        """
        for ready in wait(list(self._running), timeout=timeout_s):
            assert isinstance(ready, Connection)
            process, folder = self._running[ready]
            message = _receive(ready, process, folder)
            if not isinstance(message, int):
                del self._running[ready]
                process.join()
            yield folder, message

    def terminate(self) -> None:
        """Ask every process to stop, which lets training save its state."""
        for process, _ in self._running.values():
            process.terminate()


def train_in_processes(configs: Sequence[PretrainConfig], workers: int, on_steps: Callable[[int], None]) -> None:
    """Train every configuration by `pretrain_encoder` in a process of its own, `workers` of them at a time.

    A run whose loss becomes NaN or infinite leaves the others alone; any other error stops them all, and each saves
    its state first.

    Args:
        configs: the runs.
        workers: processes at a time.
        on_steps: called with the number of steps that a run has taken since its last call.

    Raises:
        NonFiniteLossError: the loss of one or several runs became NaN or infinite; the others are finished.
        TrainingInterrupted: SIGINT or SIGTERM; all states were saved.
        ChildProcessError: a process died without a word, for instance for want of memory.
        ValueError, OSError: what a run raised.
    """
    waiting = list(configs)
    failed: list[NonFiniteLossError] = []
    stopped: Exception | None = None
    with stop_on_signal() as signals, Workers() as running:
        while running or (waiting and stopped is None):
            while waiting and len(running) < workers and stopped is None:
                config = waiting.pop(0)
                running.start(config.run_folder(), functools.partial(_train, config))
            for _, message in running.messages():
                if isinstance(message, int):
                    on_steps(message)
                elif isinstance(message, NonFiniteLossError):
                    failed.append(message)
                elif message is not None and stopped is None:
                    stopped = message
                    running.terminate()
            if signals and not isinstance(stopped, TrainingInterrupted):
                # also where a scheduler's signal reached a worker first, which may then end without a word
                stopped = TrainingInterrupted(configs[0].run_folder().parent, None, signals[0])
                running.terminate()
    if stopped is not None:
        raise stopped
    if failed:
        raise NonFiniteLossError("; ".join(map(str, failed)))


def _train(config: PretrainConfig, on_steps: Callable[[int], None]) -> None:
    pretrain_encoder(config, on_steps=on_steps)


def _receive(connection: Connection, process: BaseProcess, folder: Path) -> int | Exception | None:
    try:
        message: int | Exception = connection.recv()
        return message
    except EOFError:
        process.join()
    if process.exitcode == 0:
        return None
    return ChildProcessError(
        f"the process of {folder} ended with exit code {process.exitcode} and no error of its own "
        "(-9: killed, often for want of memory); continue from the last save with resume (--resume)"
    )


def _do(plugins: Sequence[str], connection: Connection, work: Work, folder: Path) -> None:
    """What a process does: `work`, whose steps and error go through `connection`, with the entries of `plugins`."""
    if hasattr(os, "setpgrp"):
        os.setpgrp()  # Ctrl-C in a terminal reaches the parent alone, which passes it on once
    threading.Thread(target=_stop_with_the_parent, daemon=True).start()

    def send(message: int | Exception) -> None:
        with contextlib.suppress(OSError):  # the parent is gone, and its end stops this work
            connection.send(message)

    try:
        with end_on_signal(), one_line_each():
            load_plugins(plugins)
            work(send)
    except CommandInterrupted as stopped:
        send(TrainingInterrupted(folder, None, stopped.signal_number))
    except (Exception, KeyboardInterrupt) as error:
        send(error if isinstance(error, Exception) else ChildProcessError(f"{folder}: interrupted"))
    connection.close()


def _stop_with_the_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
