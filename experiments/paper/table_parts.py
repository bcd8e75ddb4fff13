"""What the tables of the paper's study share: columns of scores, rows of methods, and the note below."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from experiments.pages.tables import SPREAD_NOTE, origin, spread
from experiments.paper.cells import METHODS
from experiments.paper.results import StudyResults, scores_of
from experiments.paper.runs import Finished

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
