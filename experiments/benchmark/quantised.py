"""Latent quantisation (QLAE) by its authors' protocol beside a VAE: does it disentangle, and after how many steps?"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from experiments.benchmark.scored import MEASURED_ON, machines_before, require_of, score, scores_of
from experiments.measure.kinds import KIND_TITLES
from experiments.pages.committed import markdown_table, read_results
from experiments.pages.tables import SPREAD_NOTE, origin, spread
from sparse_repr import PretrainConfig, pretrain_encoder
from sparse_repr.data import load_dataset
from sparse_repr.files import write_json
from sparse_repr.files.json_reader import read_json

DATASETS = ("dsprites", "chairs3d", "faces")
"""Grids of factors that are drawn on the spot."""
OBJECTIVES = ("latent_quantisation", "vae")
SEEDS = (5, 6, 7)
STEPS = 200_000
"""Of the authors' protocol."""
BATCH = 128
"""Images per step of the authors' protocol."""
MARKS = tuple(STEPS >> halvings for halvings in range(5, -1, -1))
"""Steps after which a code is scored: the authors' number of them, a half, a quarter and so on."""
SCORES = {
    "psnr_db": ("PSNR (dB)", 1),
    "mig_histogram": ("MIG (histogram)", 2),
    "infomec_modularity": ("InfoM", 2),
    "infomec_compactness": ("InfoC", 2),
    "infomec_explicitness": ("InfoE", 2),
}
"""Score -> its column, and the digits that it is written with."""
_ITEMS = 10_000

Scored = dict[str, dict[str, dict[str, dict[str, dict[str, Any]]]]]
"""Data set -> objective -> seed -> steps -> scores."""


def measure_quantised(
    out: Path,
    *,
    datasets: Sequence[str] = DATASETS,
    objectives: Sequence[str] = OBJECTIVES,
    seeds: Sequence[int] = SEEDS,
    steps: int = STEPS,
    marks: Sequence[int] = MARKS,
    items: int = _ITEMS,
    earlier: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Pretrain with every seed, and score after each of the marks; what is finished in `out` is not done again.

    Units: twice as many as the data set has factors. Batches of 128, learning rate 1e-3, for latent quantisation a
    weight decay of 0.1 (Hsu et al. 2023). Returns the scores of all that is known: of `out`, and of an earlier call.

    Args:
        out: folder of the runs.
        datasets: of `DATASETS`.
        objectives: of `OBJECTIVES`.
        seeds: of the encoders.
        steps: where to stop; the marks beyond are left out.
        marks: steps after which a code is scored, rising.
        items: images that codes and pictures are scored on.
        earlier: what an earlier call returned, with its machine. Of a run that is known from both the one with more
            marks stands; ``other_machines`` says where earlier ones were computed.

    Raises:
        ValueError: a data set or an objective is unknown, no mark is within the steps, or the earlier scores are of
            other items.
    """
    require_of("datasets", datasets, DATASETS)
    require_of("codes", objectives, OBJECTIVES)
    if steps < marks[0]:
        raise ValueError(f"steps need to be {marks[0]:,} or more, where the first scores are, got {steps:,}")
    if earlier and earlier["items"] != items:
        raise ValueError(
            f"earlier results need {items:,} items, found {earlier['items']:,}: write the new ones to another folder "
            "(--out)"
        )
    wanted = [
        (dataset, objective, seed, mark)
        for seed in seeds
        for dataset in datasets
        for objective in objectives
        for mark in marks
        if mark <= steps
    ]
    with tqdm(wanted, unit="score", disable=None) as bar:
        for dataset, objective, seed, mark in bar:
            bar.set_description(f"{dataset}, {objective}, seed {seed}, {mark:,} steps")
            _finish(_run(out, dataset, objective, seed), dataset, objective, seed, mark, items)
    known: Scored = earlier["runs"] if earlier else {}
    runs: Scored = {}
    kept = False
    for dataset in DATASETS:
        for objective in OBJECTIVES:
            before = known.get(dataset, {}).get(objective, {})
            for seed in sorted({*before, *map(str, seeds)}, key=int):
                here = _marks_of(_run(out, dataset, objective, int(seed)), items)
                there = before.get(seed, {})
                kept = kept or len(there) > len(here)
                if scores := max(here, there, key=len):
                    runs.setdefault(dataset, {}).setdefault(objective, {})[seed] = scores
    machines = machines_before(earlier) if earlier and kept else []
    return {"items": items, "runs": runs, "other_machines": machines}


def _run(out: Path, dataset: str, objective: str, seed: int) -> Path:
    return out / f"{dataset}-{objective}-seed{seed}"


def _mark(run: Path, mark: int) -> Path:
    return run / "marks" / f"{mark}.json"


def _marks_of(run: Path, items: int) -> dict[str, dict[str, Any]]:
    found = {}
    for path in sorted((run / "marks").glob("*.json"), key=lambda path: int(path.stem)):
        content = read_json(path, remedy=f"delete {run} to have it pretrained and scored again")
        if content["items"] != items:
            raise ValueError(
                f"{path} needs scores on {items:,} items, found {content['items']:,}: take another folder, or delete "
                f"{run}"
            )
        found[path.stem] = content["scores"]
    return found


def _finish(run: Path, dataset: str, objective: str, seed: int, mark: int, items: int) -> None:
    if _mark(run, mark).is_file():
        return
    config = PretrainConfig(
        dataset=dataset,
        objective=objective,
        code_size=2 * len(load_dataset(dataset, progress=False).factor_names),
        seed=seed,
        steps=mark,
        batch_size=BATCH,
        learning_rate=1e-3,
        initialisation="he",
        run_dir=str(run),
        **MEASURED_ON,
    )
    pretrain_encoder(dataclasses.replace(config, resume=(run / "config.json").is_file()))
    score(run, metrics="mig_histogram,infomec", items=items)
    _mark(run, mark).parent.mkdir(exist_ok=True)
    write_json(_mark(run, mark), {"items": items, "scores": scores_of(run, SCORES, steps=mark, items=items)})


def quantised_table(results: Mapping[str, Any] | None = None) -> str:
    """The scores of every code after every mark as a table in Markdown.

    Args:
        results: of `measure_quantised`, with command and machine; by default what is committed.
    """
    found = read_results("benchmark/quantised.json") if results is None else results
    rows = []
    for dataset, objectives in found["runs"].items():
        for objective, seeds in objectives.items():
            for mark in sorted({mark for marks in seeds.values() for mark in marks}, key=int):
                scored = [marks[mark] for marks in seeds.values() if mark in marks]
                cells = (
                    spread([scores[key] for scores in scored if scores[key] is not None], digits)
                    for key, (_, digits) in SCORES.items()
                )
                rows.append((dataset, KIND_TITLES.get(objective, "VAE"), f"{int(mark):,}", str(len(scored)), *cells))
    header = ("data", "code", "steps", "seeds", *(title for title, _ in SCORES.values()))
    return (
        f"{markdown_table(header, rows)}\n\nBatches of {BATCH}; twice as many units as factors. {SPREAD_NOTE} On "
        f"{found['items']:,} images. {origin([found['machine'], *found.get('other_machines', [])])}"
    )
