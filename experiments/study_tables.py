"""How the tables of a study are laid out: the mean over the seeds, its interval, and where the numbers come from."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from experiments.cell_runs import Finished
from experiments.committed import markdown_table
from experiments.paper_cells import METHODS
from experiments.statistics import t_interval
from experiments.study_results import StudyResults, scores_of

NOTHING = "No cell of this table is finished yet."
"""What stands in the place of a table without rows."""
_MANY = 5
EMPTY = "–"
"""What stands in a cell without a value."""


@dataclasses.dataclass(frozen=True)
class Score:
    """A column of scores."""

    title: str
    key: str
    """As in `scores_of`."""
    digits: int = 3
    factor: float = 1.0
    """What the values are multiplied by to be shown."""


@dataclasses.dataclass(frozen=True)
class Table:
    """What is shown, as text."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str
    """Below the table."""

    def as_markdown(self) -> str:
        """The table and its note."""
        return f"{markdown_table(self.header, self.rows)}\n\n{self.note}".rstrip()


def spread(values: Sequence[float], digits: int) -> str:
    """Mean and 95 % t-interval; every value of fewer than 5; a single value alone."""
    if not values:
        return EMPTY
    if len(values) == 1:
        return f"{values[0]:.{digits}f}"
    mean, half = t_interval(values)
    text = f"{mean:.{digits}f} ± {half:.{digits}f}"
    return text if len(values) >= _MANY else f"{text} ({', '.join(f'{value:.{digits}f}' for value in values)})"


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


def without_empty_columns(header: Sequence[str], rows: Sequence[Sequence[str]]) -> tuple[list[str], list[list[str]]]:
    """A table without the columns that no row has anything in."""
    kept = [k for k in range(len(header)) if any(row[k] != EMPTY for row in rows)]
    return [header[k] for k in kept], [[row[k] for k in kept] for row in rows]


def note_of(results: StudyResults, entries: Sequence[Finished], *sentences: str) -> str:
    """What stands below every table: the scale, what its numbers are, and where they were computed."""
    machines = [entry.record["machine"] for entry in entries]
    processors = sorted({machine.get("gpu") or f"{machine['processor']}" for machine in machines})
    dates = sorted({machine["date"] for machine in machines})
    revisions = sorted({machine["git_revision"] for machine in machines})
    return " ".join(
        [
            f"Scale `{results.scale_name}`: {results.scale.summary}.",
            "Mean ± half of the 95 % t-interval over the seeds; one seed has none.",
            *(sentence for sentence in sentences if sentence),
            f"{', '.join(processors)}; torch {', '.join(sorted({machine['torch'] for machine in machines}))}; "
            f"{' to '.join(dict.fromkeys((dates[0], dates[-1])))}; git {', '.join(revisions)}.",
        ]
    )


def every_one(arms: Mapping[str, Sequence[Finished]]) -> list[Finished]:
    """The evaluations of all methods."""
    return [entry for entries in arms.values() for entry in entries]


def laid_out(title: str, header: Sequence[str], rows: Sequence[Sequence[str]], note: str) -> Table:
    """A table without its empty columns."""
    kept, cells = without_empty_columns(header, rows)
    return Table(title, tuple(kept), tuple(tuple(row) for row in cells), note)
