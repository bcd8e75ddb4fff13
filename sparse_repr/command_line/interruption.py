"""Stopping cleanly: a signal becomes a request that the training loop answers between two steps, or ends a command."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class TrainingInterrupted(Exception):  # noqa: N818 (like KeyboardInterrupt: a request, not an error)
    """A signal asked a run, or several, to stop; their state was saved and `--resume` continues them."""

    def __init__(self, folder: Path, step: int | None, signal_number: int) -> None:
        """Several runs in folders of `folder` have no one `step`: None."""
        where = f"stopped; the states are in the folders in {folder}"
        if step is not None:
            where = f"stopped at step {step}; the state is in {folder}"
        super().__init__(f"{where}, continue with resume (--resume)")
        self.folder = folder
        self.step = step
        self.signal_number = signal_number

    def __reduce__(self) -> tuple[Any, ...]:
        # the default would call the class with the message alone when it comes from another process
        return type(self), (self.folder, self.step, self.signal_number)


class CommandInterrupted(KeyboardInterrupt):
    """A signal ended a command: where there was nothing to save, or with a message of where that is."""

    def __init__(
        self, signal_number: int, message: str | None = None, *, advice: str = "the same command starts again"
    ) -> None:
        super().__init__(message or f"stopped by {signal.Signals(signal_number).name}")
        self.signal_number = signal_number
        self.advice = advice
        """How the work goes on, for who typed the command."""


class _Listener:
    """A handler of signals that remembers them, and at the first one ends the work if it is to be ended at once."""

    def __init__(self, *, at_once: bool) -> None:
        self.received: list[int] = []
        self.ending = False
        self.deaf_afterwards = False
        self._at_once = at_once
        self._process = os.getpid()

    def __call__(self, number: int, _frame: FrameType | None) -> None:
        if os.getpid() != self._process:  # a fork of others, which has nothing of ours to save: as if not listened to
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        self.received.append(number)
        if self._at_once and not self.ending:
            self.ending = True
            raise CommandInterrupted(number)


@contextlib.contextmanager
def _listening(listener: _Listener) -> Iterator[_Listener | None]:
    """Let `listener` hear SIGINT and SIGTERM; yields the one of this module that heard them before, if any."""
    if threading.current_thread() is not threading.main_thread():
        yield None
        return
    before: dict[int, Any] = {number: signal.getsignal(number) for number in _SIGNALS}
    outer = before[signal.SIGINT]
    try:
        for each in _SIGNALS:
            signal.signal(each, listener)
        yield outer if isinstance(outer, _Listener) else None
    finally:
        for number, handler in before.items():
            # None: a handler that was not set from Python, which Python cannot set again
            again = signal.SIG_DFL if handler is None else handler
            signal.signal(number, signal.SIG_IGN if listener.deaf_afterwards else again)


@contextlib.contextmanager
def stop_on_signal() -> Iterator[list[int]]:
    """Turn every SIGINT and SIGTERM into an entry of the yielded list; none of them interrupts anything.

    Schedulers send both together, and people press Ctrl-C twice: the second one must not cost what the first one asked
    to be saved. A signal that a run did not answer, because it had taken its last step, is there for the next run.
    """
    listener = _Listener(at_once=False)
    with _listening(listener) as outer:
        if outer is not None:
            listener.received += outer.received
        heard = len(listener.received)
        try:
            yield listener.received
        except (TrainingInterrupted, CommandInterrupted):
            if outer is not None:
                outer.ending = True  # the work ends already: a further signal has nothing to add
            raise
        finally:
            if outer is not None:
                outer.received += listener.received[heard:]


@contextlib.contextmanager
def end_on_signal(*, last: bool = False) -> Iterator[None]:
    """Turn the first SIGINT or SIGTERM into `CommandInterrupted`; those that follow leave the clearing up alone.

    Args:
        last: the process has nothing else to do. Where a signal ended it, further ones are not heard afterwards either:
            Python takes a moment to go down, and would die of them without a word.
    """
    listener = _Listener(at_once=True)
    with _listening(listener):
        try:
            yield
        except (TrainingInterrupted, CommandInterrupted):
            listener.deaf_afterwards = last
            raise
