"""The paper's study by its full protocol, for as long as there is time, and what its unfinished runs have come to."""

from __future__ import annotations

import functools
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.gpu.record import STUDY, Work
from experiments.gpu.sizes import METHOD_ORDER
from experiments.paper.cells import METHODS, PAPER_NAMES, PAPER_SCALES, Cell, make_cell
from experiments.paper.published import publish
from experiments.paper.runs import PAPER_CELLS, is_finished, steps_taken
from experiments.study.running import Agenda, run_study
from sparse_repr.evaluate.run import EvaluateConfig, evaluate_run
from sparse_repr.perceptual.vgg_weights import present_vgg16

_ARTEFACTS = ("config.json", "encoder.safetensors", "vae.safetensors")


def study_cells(work: Work) -> tuple[list[Cell], list[str]]:
    """The cells in the order in which they are computed, all seeds of a method together, and what is left out and why.

    They are those of `reproduce_paper --scale gpu`, evaluated by the exact scores alone: its DCI takes minutes a cell.
    """
    scale, cells, left_out = PAPER_SCALES[work.sizes.scale], list[Cell](), list[str]()
    weights = present_vgg16() is not None  # nothing is downloaded here
    for dataset in work.sizes.datasets:
        arms = scale.arms[PAPER_NAMES[dataset]]
        for method in (method for method in METHOD_ORDER if method in arms):
            made = [
                make_cell(scale, dataset, method, seed, work.runs / STUDY, brief=True)
                for seed in scale.seeds(dataset, method)
            ]
            if made[0].training.perceptual().compares_vgg16 and not weights:
                left_out.append(f"{dataset}, {METHODS[method].title}")
            else:
                cells += made
    return cells, left_out


def compute_study(work: Work) -> None:
    """Train and evaluate until it is done or a signal comes; what is finished is published after every method.

    Raises:
        TrainingInterrupted: a signal; the states were saved.
    """
    cells, left_out = study_cells(work)
    if left_out:
        reason = "VGG16's weights are not on this machine (python -m sparse_repr.perceptual fetch gets them)"
        work.record.add("study", "left out", {"cells": "; ".join(left_out), "reason": reason})
    else:
        work.record.forget("study", "left out")

    def note() -> None:
        publish(work.runs / STUDY, work.out / STUDY, work.sizes.scale)
        work.record.write()

    agenda = Agenda(cells, PAPER_CELLS, together=True, progress=False, on_finished=note)
    if not all(map(is_finished, cells)):
        work.record.add("study", "begun", {"cells": len(cells)})
    run_study(agenda, work.runs / STUDY)
    for folder, message in agenda.failures.items():
        work.record.add("study", Path(folder).name, {"failed": message})


def score_so_far(work: Work) -> None:
    """Evaluate a copy of the first seed of every method that has begun and is not finished, on few items."""
    items: dict[str, Callable[[], Mapping[str, Any]]] = {}
    for cell in _begun(study_cells(work)[0]):
        steps = steps_taken(cell)
        items[f"{cell.dataset} {cell.method} at {steps}"] = functools.partial(_score, work, cell, steps)
    work.do("so far", items)


def _begun(cells: Sequence[Cell]) -> list[Cell]:
    first: dict[tuple[str, str], Cell] = {}
    for cell in cells:
        first.setdefault((cell.dataset, cell.method), cell)
    return [
        cell
        for cell in first.values()
        if not is_finished(cell) and all((cell.folder / name).is_file() for name in _ARTEFACTS)
    ]


def _score(work: Work, cell: Cell, steps: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        for name in _ARTEFACTS:
            shutil.copy(cell.folder / name, folder)
        report = evaluate_run(
            EvaluateConfig(
                run=folder,
                metrics="mig,aam",
                sample=min(work.sizes.items, 50_000),
                image_items=1_000,
                lpips_items=0,
                device=work.sizes.device,
                progress=False,
            )
        )
    parts = {name: part for name, part in report["images"].items() if name != "protocol"}
    shown = parts.get("held_out") or next(iter(parts.values()))
    scores = report.get("disentanglement", {})
    return {
        "dataset": cell.dataset,
        "method": METHODS[cell.method].title,
        "steps": steps,
        "of_steps": cell.training.steps,
        "psnr_db": shown["model"]["psnr_db"],
        "ssim": shown["model"]["ssim"],
        "mig": scores.get("mig"),
        "aam": scores.get("aam"),
        "active_units": report["codes"]["active_units"],
    }
