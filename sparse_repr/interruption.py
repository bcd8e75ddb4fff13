"""Stopping cleanly: a signal becomes a request that the training loop answers between two steps."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any


class TrainingInterrupted(Exception):  # noqa: N818 (like KeyboardInterrupt: a request, not an error)
    """A signal asked a run, or several, to stop; their state was saved and `--resume` continues them."""

    def __init__(self, folder: Path, step: int | None, signal_number: int) -> None:
        """Several runs in folders of `folder` have no one `step`: None."""
        where = f"stopped; the states are in the folders in {folder}"
        if step is not None:
            where = f"stopped at step {step}; the state is in {folder}"
        super().__init__(f"{where}, continue with --resume")
        self.folder = folder
        self.step = step
        self.signal_number = signal_number

    def __reduce__(self) -> tuple[Any, ...]:
        # the default would call the class with the message alone when it comes from another process
        return type(self), (self.folder, self.step, self.signal_number)


@contextlib.contextmanager
def stop_on_signal() -> Iterator[list[int]]:
    """Turn SIGINT and SIGTERM into an entry of the yielded list; a second one interrupts at once."""
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return

    def handle(number: int, _frame: FrameType | None) -> None:
        if received:
            raise KeyboardInterrupt
        received.append(number)

    previous = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
