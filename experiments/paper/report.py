"""One page about a study, from what is finished: tables, figures, choices and how to read them; and its figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from experiments.measure.machine import machine_facts
from experiments.pages.report import embed_picture, write_report
from experiments.paper.choices import choices_table
from experiments.paper.figures import PaperFigure, draw_into, figures_of
from experiments.paper.published import published_results
from experiments.paper.results import CSV, StudyResults, as_csv, live_results
from experiments.paper.sweep_tables import fresh_table, sweep_figure, sweep_table
from experiments.paper.tables import all_tables
from sparse_repr.devices import cpu_threads
from sparse_repr.figures import save_chart
from sparse_repr.files import write_bytes

REPORT = "report.html"
FIGURES = "figures"
"""In the folder of a study."""
SWEEP_FIGURE = "sweep.png"
SWEEP_CAPTION = (
    "Scores against the weight of the L1 penalty on dSprites: every point is a seed, the lines go through their means. "
    "At weight 0 stands the VAE, or β-VAE, whatever the penalty would be on."
)


def write_study_report(out: Path, scale_name: str, command: str, *, threads: int = 1, anew: bool = False) -> Path:
    """Write `report.html`, self-contained, and `results.csv` into the folder of a study, from what is finished there.

    Each file is replaced as a whole, so that several processes may write at once: the last one stands.

    Args:
        out: folder of the study.
        scale_name: key of `PAPER_SCALES`.
        command: what was called, for the page.
        threads: CPU threads.
        anew: draw figures that are up to date too.

    Returns:
        The page.
    """
    results = live_results(out, scale_name)
    figures = figures_of(results)
    with cpu_threads(threads):
        problems = draw_into(figures, out / FIGURES, anew=anew)
    sweep = sweep_figure(results)
    if sweep is not None:
        save_chart(sweep, out / FIGURES / SWEEP_FIGURE)
    tables = [*all_tables(results), sweep_table(results), fresh_table(results)]
    values: dict[str, Any] = {
        "scale": scale_name,
        "summary": results.scale.summary,
        "command": command,
        "machine": machine_facts(),
        "evaluations": len(results.evaluations),
        "tables": [table for table in tables if table is not None],
        "figures": [
            {
                "title": figure.title,
                "caption": figure.caption,
                "picture": _embedded(out / FIGURES / f"{figure.name}.png"),
                "problem": problems.get(figure.name),
            }
            for figure in figures
        ],
        "sweep": None if sweep is None else _embedded(out / FIGURES / SWEEP_FIGURE),
        "sweep_caption": SWEEP_CAPTION,
        "choices": choices_table(),
    }
    write_bytes(out / CSV, as_csv(results).encode())
    write_report(out / REPORT, "paper.html", values)
    return out / REPORT


def _embedded(path: Path) -> str | None:
    return embed_picture(path) if path.is_file() else None


def _computed_elsewhere(figure: PaperFigure, published: StudyResults) -> list[str]:
    """What is published of the runs that a figure shows and is not in it: methods, and seeds less than those shown."""
    shown = {entry.record["method"]: entry.record["seed"] for entry in figure.cells}
    found = []
    for method, entries in published.arms(figure.cells[0].record["dataset"]).items():
        least = min(entry.record["seed"] for entry in entries)
        if method not in shown:
            found += [method] if figure.of_all_methods else []
        elif least < shown[method]:
            found.append(f"seed {least} of {method}")
    return sorted(found)


def publish_figures(out: Path, folder: Path, scale_name: str, *, threads: int = 1) -> dict[str, str]:
    """Draw those figures of a study that may be passed on into the folder of its published files.

    A picture of more methods than are here, or of lesser seeds, stays: what another machine computed is not lost.

    Args:
        out: folder of the study.
        folder: of the scale's published files, after `publish`.
        scale_name: key of `PAPER_SCALES`.
        threads: CPU threads.

    Returns:
        Name of each figure that was not drawn -> why.
    """
    published = published_results(folder, scale_name)
    kept, wanted = {}, []
    for figure in figures_of(live_results(out, scale_name)):
        if not figure.publishable:
            kept[figure.name] = "shows photographs, or reconstructions of them, and stays in the folder of the study"
            continue
        elsewhere = _computed_elsewhere(figure, published)
        if elsewhere and (folder / f"{figure.name}.png").is_file():
            kept[figure.name] = f"stays as it is: {', '.join(elsewhere)} was computed elsewhere"
            continue
        wanted.append(figure)
    with cpu_threads(threads):
        kept.update(draw_into(wanted, folder, anew=True))
    sweep = sweep_figure(published)
    if sweep is not None:
        save_chart(sweep, folder / SWEEP_FIGURE)
    return kept
