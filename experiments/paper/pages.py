"""The tables of the paper's study on the pages of the repository, from its published cells."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

from experiments.pages import committed
from experiments.pages.tables import Table
from experiments.paper.choices import choices_table
from experiments.paper.figures import figures_of
from experiments.paper.pairs import pairs_table
from experiments.paper.published import all_published
from experiments.paper.report import SWEEP_CAPTION, SWEEP_FIGURE
from experiments.paper.sweep_tables import fresh_table, sweep_table
from experiments.paper.table_parts import NOTHING
from experiments.paper.tables import (
    compact_table,
    disentanglement_table,
    equal_steps_table,
    further_table,
    other_scores_table,
    reconstruction_table,
    sparsity_table,
)

RESULTS = committed.RESULTS / "paper"
"""Published cells, one folder per scale."""
_ENOUGH = 3


def shown(table: Callable[..., Table | None], *datasets: str, results: Path = RESULTS) -> str:
    """A table as Markdown, one per scale and data set that has any published cell.

    Args:
        table: takes the results and, where `datasets` are given, a data set.
        datasets: those to show.
        results: folder of the published cells.
    """
    calls: list[tuple[str, ...]] = [(dataset,) for dataset in datasets] or [()]
    found = [table(study, *arguments) for study in all_published(results) for arguments in calls]
    return "\n\n".join(f"**{each.title}**\n\n{each.as_markdown()}" for each in found if each is not None) or NOTHING


def pictures(results: Path = RESULTS) -> str:
    """The published figures with their captions, as Markdown for a page of that folder.

    Args:
        results: folder of the published cells.
    """
    found = []
    for study in all_published(results):
        listed = [(figure.name, figure.title, figure.caption) for figure in figures_of(study)]
        listed.append((Path(SWEEP_FIGURE).stem, "The sweep", SWEEP_CAPTION))
        for name, title, caption in listed:
            if (results / study.scale_name / f"{name}.png").is_file():
                place = f"{study.scale_name}/{name}.png"
                words = f"Scale `{study.scale_name}`: {study.scale.summary}."
                found.append(f"**{title}**\n\n![{title}]({place})\n\n{caption} {words}")
    return "\n\n".join(found) or "No figure is published yet."


def choices_in_words() -> str:
    """What the paper leaves open, our choice and why, as a list in Markdown."""
    table = choices_table()
    return "\n".join(f"- **{what}**: {choice}. *Why*: {why}." for what, choice, why in table.rows)


def paper_table(results: Path = RESULTS) -> str:
    """The paper's study in the few columns that the README has room for, every method from its longest runs.

    Fewer than three seeds do not take the place of shorter runs: one seed proves nothing.

    Args:
        results: folder of the published cells.
    """
    found, done = [], set[str]()
    for study in all_published(results):
        new = [entry for entry in study.evaluations if entry.record["method"] not in done]
        table = compact_table(dataclasses.replace(study, evaluations=new))
        found += [] if table is None else [f"**{table.title}**\n\n{table.as_markdown()}"]
        done |= {method for method, entries in study.arms("dsprites").items() if len(entries) >= _ENOUGH}
    return "\n\n".join(found) or NOTHING


TABLES: dict[str, Callable[[], str]] = {
    "paper-table1": lambda: shown(reconstruction_table, "dsprites"),
    "paper-table2": lambda: shown(reconstruction_table, "celeba", "faces"),
    "paper-table3": lambda: shown(disentanglement_table, "dsprites"),
    "paper-chairs": lambda: shown(reconstruction_table, "chairs", "chairs3d"),
    "paper-factors": lambda: shown(disentanglement_table, "celeba", "faces", "chairs", "chairs3d"),
    "paper-pairs": lambda: shown(pairs_table, "dsprites"),
    "paper-equal-steps": lambda: shown(equal_steps_table, "dsprites"),
    "paper-further": lambda: shown(further_table, "dsprites"),
    "paper-other-scores": lambda: shown(other_scores_table, "dsprites"),
    "paper-sparsity": lambda: shown(sparsity_table, "dsprites", "celeba", "faces", "chairs", "chairs3d"),
    "paper-sweep": lambda: shown(sweep_table),
    "paper-fresh": lambda: shown(fresh_table),
}
"""Name of the marks in experiments/results/paper/tables.md -> what stands between them."""
FIGURES: dict[str, Callable[[], str]] = {"paper-figures": pictures}
"""The same of experiments/results/paper/figures.md."""
CHOICES: dict[str, Callable[[], str]] = {"choices": choices_in_words}
"""The same of experiments/paper/choices.md."""
