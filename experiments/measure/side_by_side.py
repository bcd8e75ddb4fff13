"""Measuring side by side: interleaved timings, and the facts of the machine that they depend on."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch

from experiments.pages.report import git_revision


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


def machine_facts() -> dict[str, Any]:
    """What the figures depend on."""
    model = ""
    if Path("/proc/cpuinfo").is_file():
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")
    return {
        "processor": model or platform.processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        **({"gpu": torch.cuda.get_device_name()} if torch.cuda.is_available() else {}),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "date": date.today().isoformat(),
        "git_revision": git_revision(),
    }
