"""What the tables of the paper's study share: columns of scores, rows of methods, and the note below."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.pages.tables import SPREAD_NOTE, origin, spread
from experiments.paper.cells import METHODS
from experiments.paper.results import StudyResults, scores_of
from experiments.paper.runs import Finished
from sparse_repr.encoder.code_use import LEAST_SPREAD

NOTHING = "No cell of this table is finished yet."
"""What stands in the place of a table without rows."""


@dataclasses.dataclass(frozen=True)
class Score:
    """A column of scores."""

    title: str
    key: str
    """As in `scores_of`."""
    digits: int = 3
    factor: float = 1.0
    """What the values are multiplied by to be shown."""


EQUAL_STEPS = (
    Score("PSNR (dB)", "psnr_db", 2),
    Score("SSIM", "ssim"),
    Score("LPIPS", "lpips"),
    Score("MIG", "mig"),
    Score("AAM", "aam"),
    Score("active units", "active_units", 1),
)
"""What methods are compared by after equal steps."""
FURTHER = (
    Score("Higgins 2017", "beta_vae"),
    Score("Kim 2018", "factor_vae"),
    Score("DCI disentanglement", "dci_disentanglement"),
    Score("DCI completeness", "dci_completeness"),
    Score("DCI informativeness", "dci_informativeness"),
    Score("DCI disentanglement, histogram boosting", "dci_histogram_disentanglement"),
    Score("DCI completeness, histogram boosting", "dci_histogram_completeness"),
    Score("DCI informativeness, histogram boosting", "dci_histogram_informativeness"),
    Score("SAP", "sap"),
)
"""The scores that the paper's conclusion asks for, DCI and SAP."""
OTHERS = (
    Score("MIG of histograms", "mig_histogram"),
    Score("modularity", "modularity"),
    Score("explicitness", "explicitness"),
    Score("IRS", "irs"),
    Score("InfoM", "infomec_modularity"),
    Score("InfoC", "infomec_compactness"),
    Score("InfoE", "infomec_explicitness"),
)
"""All other scores of disentanglement."""


def values_of(entries: Sequence[Finished], key: str) -> list[float]:
    """A score of some evaluations, those that have it."""
    found = (scores_of(entry).get(key) for entry in entries)
    return [float(value) for value in found if value is not None]


def cells_of(entries: Sequence[Finished], scores: Sequence[Score]) -> list[str]:
    """The cells of a row."""
    return [spread([score.factor * value for value in values_of(entries, score.key)], score.digits) for score in scores]


def method_row(method: str, entries: Sequence[Finished]) -> list[str]:
    """The first cells of a row: what it is, steps and number of seeds."""
    steps = sorted({entry.record["steps"] for entry in entries})
    return [METHODS[method].title, ", ".join(f"{count:,}" for count in steps), str(len(entries))]


def note_of(results: StudyResults, entries: Sequence[Finished], *sentences: str) -> str:
    """What stands below every table: the scale, what its numbers are, and where they were computed."""
    return " ".join(
        [
            f"Scale `{results.scale_name}`: {results.scale.summary}.",
            SPREAD_NOTE,
            *(sentence for sentence in sentences if sentence),
            origin([entry.record["machine"] for entry in entries]),
        ]
    )


def every_one(arms: Mapping[str, Sequence[Finished]]) -> list[Finished]:
    """The evaluations of all methods."""
    return [entry for entries in arms.values() for entry in entries]


def earlier_extrapolation(entries: Sequence[Finished]) -> str:
    """That AAM is a little too high in runs scored before `estimators` was written beside the scores."""
    sampled = any(
        entry.report["sampled"] and "estimators" not in (entry.report.get("disentanglement") or {}) for entry in entries
    )
    return (
        "It is extrapolated from that sample to infinitely many items, as an earlier version did: on all items AAM is "
        "a little lower (on one VAE 0.276 where this gave 0.284)."
        if sampled
        else ""
    )


def collapsed_sentence(arms: Mapping[str, Sequence[Finished]]) -> str:
    """Which runs have no active unit, in words: their means say how often a method fails, not what it does."""
    found, ignored = [], False
    for method, entries in arms.items():
        dead = [entry.report for entry in entries if _carries_nothing(entry.report)]
        if dead:
            found.append(f"{METHODS[method].title} {len(dead)} of {len(entries)}")
            ignored = ignored or any(report["codes"]["active_units"] for report in dead)
    if not found:
        return ""
    sign = "no active unit, or a decoder that ignores them" if ignored else "no active unit"
    return (
        f"Runs whose code carries nothing, with {sign}: {', '.join(found)}. They draw one picture whatever "
        "they see, have a MIG of 0, and pull the mean of their row down."
    )


def _carries_nothing(report: Mapping[str, Any]) -> bool:
    """Whether no unit is active, or the decoder uses none; reports of version 0.1 tell of the units alone."""
    spread = report.get("health", {}).get("spread")
    return report["codes"]["active_units"] == 0 or (spread is not None and spread < LEAST_SPREAD)
