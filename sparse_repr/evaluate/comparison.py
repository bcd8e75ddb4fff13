"""Several evaluated runs side by side: a table (CSV, Markdown), a plot, and UDR across runs of equal code size."""

from __future__ import annotations

import csv
import io
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sparse_repr import figures
from sparse_repr.files import write_bytes
from sparse_repr.metrics import udr_scores

_CODE_COLUMNS = ("active_units", "hoyer_sparsity", "kl_nats")
# columns that are no score in 0..1
_NO_SHARES = ("psnr", "laplacian", "kl", "spread", "mutual_information_error")


def comparison_rows(reports: Mapping[str, Mapping[str, Any]], udr: Mapping[str, float]) -> list[dict[str, Any]]:
    """One row per run: its settings, image quality, code statistics and scores.

    Args:
        reports: run name -> content of its metrics.json.
        udr: run name -> UDR, for the runs that have one.

    Returns:
        Rows with the same columns in the same order; None where a run lacks an entry.
    """
    rows: list[dict[str, Any]] = []
    for name, report in reports.items():
        row: dict[str, Any] = {"run": name, **{key: report["run"][key] for key in ("dataset", "objective", "seed")}}
        for part, candidates in report["images"].items():
            if part != "protocol":
                row[f"psnr_db_{part}"] = candidates["model"]["psnr_db"]
                row[f"ssim_{part}"] = candidates["model"]["ssim"]
                row[f"laplacian_sharpness_{part}"] = candidates["model"].get("laplacian_sharpness")
        if "health" in report:
            row["spread"] = report["health"]["spread"]
        row.update({key: report["codes"][key] for key in _CODE_COLUMNS})
        if report.get("posterior") == "point":  # which has none
            row["kl_nats"] = None
        scores = report.get("disentanglement", {})
        row.update({key: value for key, value in scores.items() if isinstance(value, float)})
        for key, (low, high) in scores.get("intervals_95", {}).items():
            row[f"{key}_low"], row[f"{key}_high"] = low, high
        if name in udr:
            row["udr"] = udr[name]
        rows.append(row)
    columns = dict.fromkeys(column for row in rows for column in row)
    return [{column: row.get(column) for column in columns} for row in rows]


def comparison_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows as CSV, every digit kept; empty where there is nothing."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def comparison_markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows as a Markdown table, one line per column, runs side by side; intervals behind their scores."""
    lines = ["| | " + " | ".join(str(row["run"]) for row in rows) + " |", "|---" * (len(rows) + 1) + "|"]
    for column in rows[0]:
        if column == "run" or column.endswith(("_low", "_high")):
            continue
        lines.append(f"| {column} | " + " | ".join(_cell(row, column) for row in rows) + " |")
    return "\n".join(lines) + "\n"


def _cell(row: Mapping[str, Any], column: str) -> str:
    value = row[column]
    if not isinstance(value, float):
        return "–" if value is None else str(value)
    low, high = row.get(f"{column}_low"), row.get(f"{column}_high")
    return f"{value:.3f}" if low is None else f"{value:.3f} ({low:.3f}–{high:.3f})"


def udr_across(
    codes: Mapping[str, npt.NDArray[np.float32]],
    reports: Mapping[str, Mapping[str, Any]],
    encoded_from: Mapping[str, Hashable],
) -> dict[str, float]:
    """UDR of each run among those of the same images and code size; runs without a partner have none.

    Args:
        codes: run name -> (n, D) posterior means.
        reports: run name -> content of its metrics.json.
        encoded_from: run name -> equal for runs whose codes are of the same images in the same order. The name of the
            data set does not tell: every recording is called h5.
    """
    groups: dict[tuple[Any, ...], list[str]] = {}
    for name, array in codes.items():
        groups.setdefault((encoded_from[name], array.shape), []).append(name)
    scores: dict[str, float] = {}
    for names in groups.values():
        if len(names) > 1:
            # a code that is a point has no KL, by which the units of the others are chosen
            points = any(reports[name].get("posterior") == "point" for name in names)
            kl = None if points else [reports[name]["codes"]["kl_nats_per_unit"] for name in names]
            found = udr_scores([codes[name] for name in names], kl)
            scores.update(zip(names, found.scores.tolist(), strict=True))
    return scores


COMPARISON_FILES = tuple(f"comparison.{ending}" for ending in ("csv", "md", "png", "svg"))
"""Names of what `write_comparison` writes."""


def write_comparison(folder: Path, rows: Sequence[Mapping[str, Any]]) -> list[Path]:
    """Write comparison.csv, comparison.md and comparison.png into `folder`; returns their paths."""
    paths = [folder / name for name in COMPARISON_FILES[:3]]  # a chart is drawn as .svg, too
    write_bytes(paths[0], comparison_csv(rows).encode())
    write_bytes(paths[1], comparison_markdown(rows).encode())
    scores = [
        column
        for column in rows[0]
        if not column.startswith(_NO_SHARES) and any(isinstance(row[column], float) for row in rows)
    ]
    scores = [column for column in scores if not column.endswith(("_low", "_high"))]
    figures.save_chart(figures.comparison_figure(rows, scores), paths[2])
    return paths
