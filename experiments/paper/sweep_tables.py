"""What the sweep says: does sparsity bring disentanglement, and at what price? Two tables and a figure."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from experiments.pages.tables import EMPTY, Table
from experiments.paper.cells import METHODS
from experiments.paper.results import StudyResults
from experiments.paper.runs import Finished
from experiments.paper.sweep import FAMILIES, FIRST_FRESH_SEED, REFERENCES, sweep_cell, told_in_full
from experiments.paper.table_parts import Score, cells_of, earlier_extrapolation, note_of, values_of
from sparse_repr.figures import PALETTE, add_note, chart, panels_figure

SCORES = (
    Score("PSNR (dB)", "psnr_db", 2),
    Score("SSIM", "ssim"),
    Score("MIG", "mig"),
    Score("AAM", "aam"),
    Score("active units", "active_units", 1),
    Score("exact zeros (%)", "exact_zero_fraction", 1, 100),
    Score("Hoyer", "hoyer_sparsity"),
)
_DATASET = "dsprites"
_REFERENCE = "reference"


@dataclasses.dataclass(frozen=True)
class Configuration:
    """One configuration of the sweep and its finished evaluations."""

    family: str
    """Key of `FAMILIES`, or "reference"."""
    method: str
    """Key of `METHODS`."""
    changes: Mapping[str, Any]
    """On top of the method's settings."""
    training: Mapping[str, Any]
    """All of its settings."""
    entries: Sequence[Finished]
    """At the ends of the runs, by seed."""

    @property
    def title(self) -> str:
        """What tables call it."""
        words = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in self.changes.items())
        return f"{METHODS[self.method].title}{': ' if words else ''}{words}"


def configurations(results: StudyResults, *, fresh: bool = False) -> list[Configuration]:
    """The configurations that have finished evaluations: those of the sweep, or of the fresh seeds.

    Args:
        results: the study.
        fresh: take the seeds that took no part in the choice.
    """
    listed = [(name, family.method, changes) for name, family in FAMILIES.items() for changes in family.configurations]
    listed += [(_REFERENCE, method, changes) for method, changes in REFERENCES]
    listed.insert(-len(REFERENCES) + 1, (_REFERENCE, "beta_vae", {}))
    found = []
    for family, method, changes in listed:
        # only its name and settings: the folder of the cell is not looked at
        cell = sweep_cell(results.scale, method, changes, 0, Path("sweep"))
        entries = [
            entry
            for entry in results.evaluations
            if entry.record["dataset"] == _DATASET
            and entry.record["method"] == cell.method
            and entry.record["last"]
            and (entry.record["seed"] >= FIRST_FRESH_SEED) == fresh
            and (fresh or entry.record["seed"] < results.scale.sweep_seeds)
        ]
        if entries:
            found.append(Configuration(family, method, changes, told_in_full(cell.training), entries))
    return found


def is_begun(results: StudyResults) -> bool:
    """Whether a configuration is finished that the paper's tables do not have anyway."""
    return any(entry.record["method"] not in METHODS for entry in results.evaluations)


def sweep_table(results: StudyResults) -> Table | None:
    """Every configuration of every family; None before one is finished."""
    if not is_begun(results):
        return None
    header = ["family", "configuration", "seeds", *(score.title for score in SCORES), "UDR", "UDR by KL", "chosen"]
    rows = []
    found = configurations(results)
    for one in found:
        agreement, chosen = _choice(results, one)
        family = one.family.replace("_", " ")
        rows.append((family, one.title, str(len(one.entries)), *cells_of(one.entries, SCORES), *agreement, chosen))
    rule = ""
    if results.selection is not None:
        rule = (
            f"Chosen, without labels: {results.selection['rule']}. UDR by KL leaves out units of at most 0.01 nats, as "
            "published; an L1 penalty alone gives dead units more than that."
        )
    entries = [entry for one in found for entry in one.entries]
    note = note_of(results, entries, earlier_extrapolation(entries), rule)
    return Table("The sweep: does sparsity bring disentanglement?", tuple(header), tuple(rows), note)


def _choice(results: StudyResults, one: Configuration) -> tuple[tuple[str, str], str]:
    """UDR, of which two seeds share one value, by both ways of leaving dead units out, and whether it was chosen."""
    family = (results.selection or {"families": {}})["families"].get(one.family)
    if family is None:
        return (EMPTY, EMPTY), EMPTY
    row = next(row for row in family["configurations"] if row["changes"] == dict(one.changes))
    udr, by_kl = (f"{fmean(row[key]):.3f}" for key in ("udr", "udr_by_kl"))
    return (udr, by_kl), "yes" if family["chosen"] == dict(one.changes) else EMPTY


def fresh_table(results: StudyResults) -> Table | None:
    """The chosen configuration of each family with seeds that took no part in the choice; None before there are any."""
    if results.selection is None:
        return None
    families = results.selection["families"]
    found = [
        one
        for one in configurations(results, fresh=True)
        if (one.family == _REFERENCE and one.method == "vae")
        or (one.family in families and families[one.family]["chosen"] == dict(one.changes))
    ]
    if not found:
        return None
    header = ("family", "configuration", "seeds", *(score.title for score in SCORES))
    rows = [
        (one.family.replace("_", " "), one.title, str(len(one.entries)), *cells_of(one.entries, SCORES))
        for one in found
    ]
    entries = [entry for one in found for entry in one.entries]
    words = "New seeds of what was chosen: families compare."
    note = note_of(results, entries, earlier_extrapolation(entries), words)
    return Table("What the sweep chose, with fresh seeds", header, tuple(rows), note)


_COLOURS = dict(zip(("mean", "output", "sample"), PALETTE, strict=False))


@chart
def sweep_figure(results: StudyResults) -> Any | None:
    """The scores against the weight of the L1 penalty, one line per target, β and loss; None before the sweep began.

    Every seed is a point, the lines go through their means.
    """
    if not is_begun(results):
        return None
    found = configurations(results)
    lines = _lines(found)
    weights = sorted({weight for points in lines.values() for weight in points})
    figure, panels = panels_figure(2, 4, 12.5, 6.8)
    for axes, score in zip(panels.flat, SCORES, strict=False):
        for number, ((label, colour, style), points) in enumerate(lines.items()):
            shift = 0.05 * (number - (len(lines) - 1) / 2)
            places, means = [], []
            for weight, entries in sorted(points.items()):
                values = [score.factor * value for value in values_of(entries, score.key)]
                if values:
                    place = weights.index(weight) + shift
                    axes.plot([place] * len(values), values, "o", color=colour, markersize=3.5, alpha=0.7)
                    places.append(place)
                    means.append(fmean(values))
            axes.plot(places, means, style, color=colour, linewidth=1.2, label=label)
        if "%" in score.title:
            # all zeros would otherwise be drawn as a line between two negative ends
            axes.set_ylim(-0.02 * max(1.0, axes.get_ylim()[1]), max(1.0, axes.get_ylim()[1]))
        axes.set_title(score.title)
        axes.set_xticks(range(len(weights)), [f"{weight:g}" for weight in weights])
        axes.set_xlabel("L1 weight")
        axes.grid(visible=False, axis="x")
    handles, labels = figure.axes[0].get_legend_handles_labels()
    last = figure.axes[-1]
    last.axis("off")
    last.legend(handles, labels, loc="center", title="L1 on, β", handlelength=3)
    add_note(figure, "dots: single seeds; lines: their means")
    return figure


def _lines(found: Sequence[Configuration]) -> dict[tuple[str, str, str], dict[float, Sequence[Finished]]]:
    """(label, colour, style) -> L1 weight -> evaluations; without the penalty the reference stands for every target."""
    lines: dict[tuple[str, str, str], dict[float, Sequence[Finished]]] = {}
    none = {one.method: one.entries for one in found if one.family == _REFERENCE and not one.changes}
    kinds = (("sparse", "-", "vae"), ("beta_sparse", "--", "beta_vae"), ("sparse_perceptual", ":", "perceptual"))
    for method, style, reference in kinds:
        for one in found:
            if one.method != method or "sparsity_weight" not in one.training:
                continue
            training = one.training
            target = str(training["sparsity_target"])
            words = "perceptual, " if method == "sparse_perceptual" else ""
            colour = "black" if words else _COLOURS[target]
            points = lines.setdefault((f"{words}{target}, β = {training['beta']:g}", colour, style), {})
            points[float(training["sparsity_weight"])] = one.entries
            if reference in none:
                points[0.0] = none[reference]
    return lines
