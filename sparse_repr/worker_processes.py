"""Single runs in processes of their own, several at a time: how a CPU with many cores trains many models."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from sparse_repr.config import PretrainConfig
from sparse_repr.interruption import TrainingInterrupted, stop_on_signal
from sparse_repr.term_sums import NonFiniteLossError
from sparse_repr.training import pretrain_encoder

_SIGNALS_EVERY_S = 0.5


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
    running: dict[Connection, tuple[BaseProcess, PretrainConfig]] = {}
    failed: list[NonFiniteLossError] = []
    stopped: Exception | None = None
    with stop_on_signal() as signals, _ended_with_this_block(running):
        while running or (waiting and stopped is None):
            while waiting and len(running) < workers and stopped is None:
                config = waiting.pop(0)
                connection, process = _start(config)
                running[connection] = process, config
            for ready in wait(list(running), timeout=_SIGNALS_EVERY_S):
                assert isinstance(ready, Connection)
                process, config = running[ready]
                message = _receive(ready, process, config)
                if isinstance(message, int):
                    on_steps(message)
                    continue
                del running[ready]
                process.join()
                if isinstance(message, NonFiniteLossError):
                    failed.append(message)
                elif message is not None and stopped is None:
                    stopped = message
                    _terminate(running)
            if signals and stopped is None:
                stopped = TrainingInterrupted(configs[0].run_folder().parent, None, signals[0])
                _terminate(running)
    if stopped is not None:
        raise stopped
    if failed:
        raise NonFiniteLossError("; ".join(map(str, failed)))


def _start(config: PretrainConfig) -> tuple[Connection, BaseProcess]:
    # spawned, not forked: torch's thread pools do not survive a fork
    context = multiprocessing.get_context("spawn")
    receiving, sending = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(sending, config), name=config.run_folder().name)
    process.start()
    sending.close()  # the worker's copy is then the last one, so that its end is seen here
    return receiving, process


def _receive(connection: Connection, process: BaseProcess, config: PretrainConfig) -> int | Exception | None:
    """Steps taken, what the run raised, or None when it has finished."""
    try:
        message: int | Exception = connection.recv()
        return message
    except EOFError:
        process.join()
    if process.exitcode == 0:
        return None
    return ChildProcessError(
        f"the process of {config.run_folder()} ended with exit code {process.exitcode} and no error of its own "
        "(-9: killed, often for want of memory); continue from the last save with --resume"
    )


def _terminate(running: dict[Connection, tuple[BaseProcess, PretrainConfig]]) -> None:
    for process, _ in running.values():
        process.terminate()


@contextlib.contextmanager
def _ended_with_this_block(running: dict[Connection, tuple[BaseProcess, PretrainConfig]]) -> Iterator[None]:
    """Leave no process behind, whatever is raised; after a regular end none is left."""
    try:
        yield
    finally:
        for process, _ in running.values():
            process.kill()
            process.join()


def _work(connection: Connection, config: PretrainConfig) -> None:
    """What a process does: one run, whose steps and error go through `connection`."""
    if hasattr(os, "setpgrp"):
        os.setpgrp()  # Ctrl-C in a terminal reaches the parent alone, which passes it on once
    threading.Thread(target=_stop_with_the_parent, daemon=True).start()

    def send(message: int | Exception) -> None:
        with contextlib.suppress(OSError):  # the parent is gone, and its end stops this run
            connection.send(message)

    try:
        pretrain_encoder(config, on_steps=send)
    except (Exception, KeyboardInterrupt) as error:
        send(error if isinstance(error, Exception) else ChildProcessError(f"{config.run_folder()}: interrupted twice"))
    connection.close()


def _stop_with_the_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
