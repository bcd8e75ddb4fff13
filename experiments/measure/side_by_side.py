"""Measuring side by side: interleaved timings."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch


def summary(values: list[float]) -> dict[str, float]:
    """Median, least and greatest of repeated measurements."""
    return {"median": float(np.median(values)), "least": min(values), "greatest": max(values)}


def steady_clock(device: torch.device, threads: int | None) -> Callable[[], float]:
    """Seconds that a busy machine does not stretch: processor time on a CPU; the clock on the wall on other devices.

    Args:
        device: where the work is done.
        threads: how many share it on the CPU; None counts as one.
    """
    if device.type != "cpu":
        return time.perf_counter
    return lambda: time.process_time() / (threads or 1)


def family_clock(threads: int | None) -> Callable[[], float]:
    """Processor seconds of this process and of those it has started, which simulators may be.

    Args:
        threads: how many share the work of this process; None counts as one.

    Raises:
        ImportError: psutil is not installed.
    """
    try:
        import psutil  # type: ignore[import-untyped]
    except ModuleNotFoundError as error:
        raise ImportError("the time of simulators needs psutil: pip install 'sparse-repr[agents]'") from error
    own = psutil.Process()
    children: dict[int, float] = {}

    def seconds() -> float:
        # what a process took stays counted after its end, as far as it was seen: its last reading is kept
        for child in own.children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                times = child.cpu_times()
                children[child.pid] = times.user + times.system
        return time.process_time() / (threads or 1) + sum(children.values())

    return seconds


def seconds_of_all_steps(seconds: float, *, steps: int, begun: int) -> float | None:
    """Of a run that was interrupted after `begun` steps the time of all at the rate of its last part.

    None where that had no step; what needs no steps takes the time that it took.

    Example:
        >>> seconds_of_all_steps(2.5, steps=4, begun=3), seconds_of_all_steps(2.5, steps=4, begun=4)
        (10.0, None)
    """
    if steps == 0:
        return round(seconds, 2)
    return round(seconds * steps / (steps - begun), 2) if begun < steps else None


def seconds_of(
    works: Mapping[str, Callable[[], Any]], *, repeats: int = 7, inner: int = 1
) -> dict[str, dict[str, float]]:
    """Seconds of one call of each, taking turns so that a busy moment of the machine hits all.

    Args:
        works: name -> what is measured; each is called once before the clock starts.
        repeats: rounds.
        inner: calls per round.

    Returns:
        Name -> median, least and greatest over the rounds.
    """
    times: dict[str, list[float]] = {name: [] for name in works}
    for work in works.values():
        work()
    for _ in range(repeats):
        for name, work in works.items():
            started = time.perf_counter()
            for _ in range(inner):
                work()
            times[name].append((time.perf_counter() - started) / inner)
    return {name: summary(values) for name, values in times.items()}
