"""What a study has found so far: its finished evaluations, from its folder or from the published files."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.measure.side_by_side import seconds_of_all_steps
from experiments.paper.cells import METHODS, PAPER_SCALES, Scale
from experiments.paper.runs import Finished, finished_cells
from experiments.paper.sweep import FIRST_FRESH_SEED, read_selection
from sparse_repr.evaluate.comparison import comparison_csv

CSV = "results.csv"
"""File of every evaluation as one row, in the folder of a study and in that of its published files."""


@dataclasses.dataclass(frozen=True)
class StudyResults:
    """Finished evaluations of one scale: all that tables, the CSV and the sweep's figure are made of."""

    scale_name: str
    """Key of `PAPER_SCALES`."""
    evaluations: Sequence[Finished]
    """In the order of `finished_cells`."""
    selection: dict[str, Any] | None = None
    """Content of sweep-selection.json, once the sweep has chosen."""

    @property
    def scale(self) -> Scale:
        """The scale."""
        return PAPER_SCALES[self.scale_name]

    def datasets(self) -> list[str]:
        """Data sets with a finished evaluation of a method of the tables."""
        return list(dict.fromkeys(entry.record["dataset"] for entry in self.evaluations if _is_method(entry)))

    def arms(self, dataset: str, steps: int | None = None) -> dict[str, list[Finished]]:
        """The evaluations of the methods of the tables, by method and then by seed, but for the sweep's fresh seeds.

        Args:
            dataset: what was trained on.
            steps: take the evaluations after so many steps; by default those at the ends of the runs.

        Returns:
            Methods in the order of `METHODS`; those without an evaluation are left out.
        """
        found: dict[str, list[Finished]] = {}
        for entry in self.evaluations:
            record = entry.record
            wanted = record["last"] if steps is None else record["steps"] == steps
            if record["dataset"] == dataset and wanted and _is_method(entry) and record["seed"] < FIRST_FRESH_SEED:
                found.setdefault(record["method"], []).append(entry)
        return {method: found[method] for method in METHODS if method in found}


def _is_method(entry: Finished) -> bool:
    return entry.record["method"] in METHODS


def live_results(out: Path, scale_name: str) -> StudyResults:
    """What is finished in the folder of a study."""
    return StudyResults(scale_name, finished_cells(out), read_selection(out))


def image_part(report: dict[str, Any]) -> str:
    """The part of the images that tables show: held-out ones where there are, else those that were trained on."""
    parts = [name for name in report["images"] if name != "protocol"]
    return "held_out" if "held_out" in parts else parts[0]


def scores_of(entry: Finished) -> dict[str, float | int | None]:
    """All scalar scores of an evaluation.

    Returns:
        The reconstructions' (psnr_db, ssim, ...) on held-out images where there are some, else on those that were
        trained on; the same of the baselines as black_psnr_db and mean_image_psnr_db; of training images beside held
        out ones as train_psnr_db; the codes'; and the disentanglement's. None is a score without a value.
    """
    report = entry.report
    shown = image_part(report)
    scores: dict[str, float | int | None] = dict(report["images"][shown]["model"])
    for candidate, quality in report["images"][shown].items():
        if candidate != "model":
            scores.update({f"{candidate}_{name}": value for name, value in quality.items()})
    if shown == "held_out":
        scores.update({f"train_{name}": value for name, value in report["images"]["train"]["model"].items()})
    for part in (report["codes"], report.get("disentanglement", {})):
        scores.update({name: value for name, value in part.items() if value is None or isinstance(value, int | float)})
    return scores


def as_csv(results: StudyResults) -> str:
    """One row per evaluation: what it is, every scalar score, what it cost and where it was computed."""
    rows = []
    for entry in results.evaluations:
        record = entry.record
        # runs that were trained together share what it took
        together = max(1, record["seconds"].get("trained_together", 1))
        seconds = seconds_of_all_steps(
            record["seconds"]["training"], steps=record["steps"], begun=record["seconds"].get("from_step", 0)
        )
        rows.append(
            {
                **{name: record[name] for name in ("cell", "dataset", "method", "seed", "steps", "last")},
                "images": image_part(entry.report),
                **scores_of(entry),
                "training_s": None if seconds is None else round(seconds / together, 2),
                "evaluation_s": record["seconds"]["evaluation"],
                **{name: record["machine"][name] for name in ("processor", "torch", "date", "git_revision")},
            }
        )
    columns = dict.fromkeys(column for row in rows for column in row)
    # a header line alone where nothing is finished yet
    return comparison_csv([{column: row.get(column) for column in columns} for row in rows]) if rows else "cell\n"
