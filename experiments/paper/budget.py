"""What a study costs on this machine: a few steps and one evaluation of every kind of cell, timed and multiplied."""

from __future__ import annotations

import dataclasses
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from experiments.measure.machine import machine_facts
from experiments.measure.side_by_side import steady_clock
from experiments.measure.step_costs import prepared_trainer, time_steps
from experiments.pages.committed import markdown_table
from experiments.paper.cells import METHODS, Cell, Stop
from sparse_repr import load_encoder, pretrain_encoder
from sparse_repr.data import FactorDataset, load_dataset
from sparse_repr.devices import cpu_threads
from sparse_repr.evaluate.run import EvaluateConfig, evaluate_run
from sparse_repr.files import write_bytes, write_json
from sparse_repr.metrics import lpips, ssim
from sparse_repr.metrics.lpips import default_weights_path
from sparse_repr.pretrain.config import PretrainConfig

# enough items for every score that draws 10,000; what grows with the number of items is timed by itself
_SAMPLE = 20_000
_IMAGES = 64
_ENCODED = 2_048


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
    with cpu_threads(cells[0].training.threads):
        steps = time_steps(
            {kind: prepared_trainer(members[0].training, data[kind[0]]) for kind, members in kinds.items()}
        )
    evaluations: dict[tuple[str, str], Evaluation] = {}
    rows: list[dict[str, Any]] = []
    for (dataset, method), members in kinds.items():
        cell = members[0]
        for stop in cell.stops:
            if (dataset, stop.metrics) not in evaluations:
                evaluations[dataset, stop.metrics] = _time_evaluation(cell, stop, data[dataset])
        seconds = steps[dataset, method]
        evaluation = sum(evaluations[dataset, stop.metrics].seconds(stop, data[dataset]) for stop in cell.stops)
        rows.append(
            {
                "dataset": dataset,
                "method": method,
                "cells": len(members),
                "steps": cell.training.steps,
                "step_s": seconds,
                "training_hours": len(members) * cell.training.steps * seconds["median"] / 3600,
                "evaluation_hours": len(members) * evaluation / 3600,
            }
        )
    hours = sum(row["training_hours"] + row["evaluation_hours"] for row in rows)
    return {
        "machine": machine_facts(),
        # CPU time does not count the time that other work takes, but their use of caches and memory slows it
        "load_before": load,
        "clock": "CPU time of a thread" if cells[0].training.device == "cpu" else "wall clock",
        "processes": processes,
        "precision": cells[0].training.resolve().precision,
        "threads_per_process": cells[0].training.threads,
        "rows": rows,
        "process_hours": hours,
        "hours": hours / processes,
    }


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Seconds of one evaluation by what they grow with."""

    scores_s: float
    """Of the scores and figures, `_SAMPLE` items and `_IMAGES` images."""
    encode_s: float
    """Per item."""
    compare_s: float
    """Per image: the similarities of three candidates."""
    lpips_s: float
    """Per image; 0 where the weights are not present."""

    def seconds(self, stop: Stop, data: FactorDataset) -> float:
        """Of the evaluation at a stop; data with held-out images is compared in two parts."""
        count = len(data) if stop.sample is None else min(stop.sample, len(data))
        parts = 2 if len(data.split[1]) else 1
        compared, judged = max(0, stop.image_items - _IMAGES), min(stop.image_items, stop.lpips_items) - _IMAGES
        return (
            self.scores_s
            + max(0, count - _SAMPLE) * self.encode_s
            + parts * (compared * (self.compare_s + self.encode_s) + max(0, judged) * self.lpips_s)
        )


def _time_evaluation(cell: Cell, stop: Stop, data: FactorDataset) -> Evaluation:
    """Time the evaluation of an untrained encoder on few items, and what grows with their number."""
    training = cell.training
    with tempfile.TemporaryDirectory() as folder, cpu_threads(training.threads):
        run = pretrain_encoder(
            PretrainConfig(
                dataset=cell.dataset,
                objective="vae",
                run_dir=str(Path(folder) / "run"),
                steps=1,
                device=training.device,
                precision=training.precision,
                threads=training.threads,
                progress=False,
            ),
            data=data,
        )
        now = steady_clock(torch.device(training.device), training.threads)
        started = now()
        evaluate_run(
            EvaluateConfig(
                run=str(run),
                metrics=stop.metrics,
                sample=min(_SAMPLE, len(data)),
                image_items=_IMAGES,
                lpips_items=min(_IMAGES, stop.lpips_items),
                device=training.device,
                threads=training.threads,
                progress=False,
            )
        )
        scores = now() - started
        pixels = torch.from_numpy(data.images(np.arange(min(_ENCODED, len(data)))))
        encoder = load_encoder(run)
        pixels = pixels.to(training.device)

        def per_image(work: Callable[[], Any], count: int) -> float:
            started = now()
            work()
            return (now() - started) / count

        images = encoder.preprocessing(pixels[:_IMAGES])
        judges = default_weights_path().is_file()
        return Evaluation(
            scores_s=scores,
            encode_s=per_image(lambda: encoder.encode(pixels), len(pixels)),
            compare_s=3 * per_image(lambda: ssim(images, images, data_range=1.0), len(images)),
            lpips_s=per_image(lambda: lpips(images[:16], images[:16]), 16) if judges else 0.0,
        )


def as_markdown(budget: dict[str, Any]) -> str:
    """The budget as a table."""
    rows = []
    for row in budget["rows"]:
        seconds = {name: f"{1000 * value:.0f}" for name, value in row["step_s"].items()}
        rows.append(
            (
                row["dataset"],
                METHODS[row["method"]].title if row["method"] in METHODS else f"`{row['method']}`",
                str(row["cells"]),
                f"{row['steps']:,}",
                f"{seconds['median']} ({seconds['least']}–{seconds['greatest']})",
                f"{row['training_hours']:.2f}",
                f"{row['evaluation_hours']:.2f}",
            )
        )
    header = ("data set", "method", "cells", "steps", "ms per step", "training (h)", "evaluation (h)")
    machine = budget["machine"]
    load = "unknown" if budget["load_before"] is None else f"{budget['load_before']:.1f}"
    words = (
        f"{sum(row['cells'] for row in budget['rows'])} cells: {budget['process_hours']:.1f} hours of one process, "
        f"{budget['hours']:.1f} hours by the clock with {budget['processes']}. "
        f"{budget['precision']}, {budget['threads_per_process']} thread(s) per process, {machine['processor']} with "
        f"{machine['cores']} cores, {machine['date']}; {budget['clock']}. Load of the machine by other work before "
        f"measuring: {load}; a busy machine takes longer, and its figures are too large."
    )
    return f"`{budget['command']}`\n\n{markdown_table(header, rows)}\n\n{words}\n"


def write_budget(budget: dict[str, Any], path: Path) -> None:
    """Write `path` (.json) and the table beside it (.md)."""
    write_json(path, budget)
    write_bytes(path.with_suffix(".md"), as_markdown(budget).encode())
