"""What a study costs on this machine: a few steps and one evaluation of every kind of cell, timed and multiplied."""

from __future__ import annotations

import dataclasses
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.measuring import machine_facts
from experiments.paper_cells import METHODS, Cell, Stop
from sparse_repr import load_encoder, pretrain_encoder
from sparse_repr.config import PretrainConfig
from sparse_repr.data import FactorDataset, load_dataset
from sparse_repr.devices import autocast_for, torch_threads
from sparse_repr.evaluate import EvaluateConfig, evaluate_run
from sparse_repr.files import write_bytes, write_json
from sparse_repr.training import Trainer

_SECONDS_PER_ROUND = 1.0
_ROUNDS = 3
_MOST_STEPS = 50
# enough items for every score that draws 10,000; the rest of the evaluation grows with the number of items
_SAMPLE = 20_000
_ENCODED = 4_096


def measure_budget(cells: Sequence[Cell], processes: int) -> dict[str, Any]:
    """Time every kind of cell and multiply by how many there are.

    Args:
        cells: the study.
        processes: units at a time, for the hours by the clock.

    Returns:
        One row per kind with seconds and hours of one process, their sums, and how busy the machine was before.

    Raises:
        ValueError, OSError: data or weights are missing; the message says how to get them.
    """
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    kinds: dict[tuple[str, str], list[Cell]] = {}
    for cell in cells:
        kinds.setdefault((cell.dataset, cell.method), []).append(cell)
    data = {dataset: load_dataset(dataset) for dataset in dict.fromkeys(dataset for dataset, _ in kinds)}
    steps = _step_seconds({kind: members[0] for kind, members in kinds.items()}, data)
    evaluations: dict[tuple[str, Stop], float] = {}
    rows: list[dict[str, Any]] = []
    for (dataset, method), members in kinds.items():
        cell = members[0]
        for stop in cell.stops:
            if (dataset, stop) not in evaluations:
                evaluations[dataset, stop] = _evaluation_seconds(cell, stop, data[dataset])
        median, least, greatest = steps[dataset, method]
        evaluation = sum(evaluations[dataset, stop] for stop in cell.stops)
        rows.append(
            {
                "dataset": dataset,
                "method": method,
                "cells": len(members),
                "steps": cell.training.steps,
                "step_s": {"median": median, "least": least, "greatest": greatest},
                "training_hours": len(members) * cell.training.steps * median / 3600,
                "evaluation_hours": len(members) * evaluation / 3600,
            }
        )
    hours = sum(row["training_hours"] + row["evaluation_hours"] for row in rows)
    return {
        "machine": machine_facts(),
        # other work on the machine makes every figure here too large
        "load_before": load,
        "processes": processes,
        "precision": cells[0].training.precision,
        "threads_per_process": cells[0].training.threads,
        "rows": rows,
        "process_hours": hours,
        "hours": hours / processes,
    }


def _step_seconds(
    kinds: dict[tuple[str, str], Cell], data: dict[str, FactorDataset]
) -> dict[tuple[str, str], tuple[float, float, float]]:
    """Median, least and greatest seconds of one training step, in turns so that a busy moment hits all alike."""
    times: dict[tuple[str, str], list[float]] = {kind: [] for kind in kinds}
    trainers, counts = {}, {}
    threads = next(iter(kinds.values())).training.threads
    with torch_threads(threads):
        for kind, cell in kinds.items():
            trainer = trainers[kind] = Trainer(dataclasses.replace(cell.training, dae_steps=1).resolve(), data[kind[0]])
            trainer.prepare()
            _take(trainer, 1)  # optimiser state, kernels chosen for these shapes
            counts[kind] = min(_MOST_STEPS, max(1, round(_SECONDS_PER_ROUND / _take(trainer, 1))))
        for _ in range(_ROUNDS):
            for kind, trainer in trainers.items():
                times[kind].append(_take(trainer, counts[kind]) / counts[kind])
    return {kind: (float(np.median(values)), min(values), max(values)) for kind, values in times.items()}


def _take(trainer: Trainer, steps: int) -> float:
    """Seconds of some steps."""
    autocast = autocast_for(trainer.device, trainer.config.precision)
    started = time.perf_counter()
    for _ in range(steps):
        terms = trainer.train_step(autocast)
    float(terms["loss"])  # waits for the device
    return time.perf_counter() - started


def _evaluation_seconds(cell: Cell, stop: Stop, data: FactorDataset) -> float:
    """Seconds of one evaluation: of an untrained encoder, on fewer items where there are many."""
    count = len(data) if stop.sample is None else min(stop.sample, len(data))
    sample = min(_SAMPLE, count)
    with tempfile.TemporaryDirectory() as folder, torch_threads(cell.training.threads):
        run = pretrain_encoder(
            PretrainConfig(
                dataset=cell.dataset,
                objective="vae",
                run_dir=str(Path(folder) / "run"),
                steps=1,
                device=cell.training.device,
                precision=cell.training.precision,
                threads=cell.training.threads,
                progress=False,
            ),
            data=data,
        )
        started = time.perf_counter()
        evaluate_run(
            EvaluateConfig(
                run=str(run),
                metrics=stop.metrics,
                sample=sample,
                image_items=stop.image_items,
                device=cell.training.device,
                threads=cell.training.threads,
                progress=False,
            )
        )
        seconds = time.perf_counter() - started
        images = data.images(np.arange(min(_ENCODED, len(data))))
        encoder = load_encoder(run)
        started = time.perf_counter()
        encoder.encode(images)
        return seconds + (count - sample) * (time.perf_counter() - started) / len(images)


def as_markdown(budget: dict[str, Any]) -> str:
    """The budget as a table."""
    lines = [
        f"`{budget['command']}`",
        "",
        "| data set | method | cells | steps | ms per step | training (h) | evaluation (h) |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in budget["rows"]:
        seconds = row["step_s"]
        method = METHODS[row["method"]].title if row["method"] in METHODS else f"`{row['method']}`"
        lines.append(
            f"| {row['dataset']} | {method} | {row['cells']} | {row['steps']:,} | {1000 * seconds['median']:.0f} "
            f"({1000 * seconds['least']:.0f}–{1000 * seconds['greatest']:.0f}) | {row['training_hours']:.2f} | "
            f"{row['evaluation_hours']:.2f} |"
        )
    machine = budget["machine"]
    load = "unknown" if budget["load_before"] is None else f"{budget['load_before']:.1f}"
    lines += [
        "",
        f"{sum(row['cells'] for row in budget['rows'])} cells: {budget['process_hours']:.1f} hours of one process, "
        f"{budget['hours']:.1f} hours by the clock with {budget['processes']}. "
        f"{budget['precision']}, {budget['threads_per_process']} thread(s) per process, {machine['processor']} with "
        f"{machine['cores']} cores, {machine['date']}. Load of the machine by other work while measuring: {load} "
        "(above 0 the figures are too large).",
    ]
    return "\n".join(lines) + "\n"


def write_budget(budget: dict[str, Any], path: Path) -> None:
    """Write `path` (.json) and the table beside it (.md)."""
    write_json(path, budget)
    write_bytes(path.with_suffix(".md"), as_markdown(budget).encode())
