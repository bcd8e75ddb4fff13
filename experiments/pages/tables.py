"""How the tables of a study are laid out: the mean over the seeds, its interval, and no empty columns."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.measure.intervals import t_interval
from experiments.pages.committed import markdown_table

_MANY = 5
EMPTY = "–"
"""What stands in a cell without a value."""
SPREAD_NOTE = "Mean ± half of the 95 % t-interval over the seeds; one seed has none."
"""What `spread` shows, for the note below a table."""


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


def laid_out(title: str, header: Sequence[str], rows: Sequence[Sequence[str]], note: str) -> Table:
    """A table without its empty columns."""
    kept, cells = without_empty_columns(header, rows)
    return Table(title, tuple(kept), tuple(tuple(row) for row in cells), note)


def without_empty_columns(header: Sequence[str], rows: Sequence[Sequence[str]]) -> tuple[list[str], list[list[str]]]:
    """A table without the columns that no row has anything in."""
    kept = [k for k in range(len(header)) if any(row[k] != EMPTY for row in rows)]
    return [header[k] for k in kept], [[row[k] for k in kept] for row in rows]


def origin(machines: Sequence[Mapping[str, Any]]) -> str:
    """Where and when numbers were computed, in words, from the `machine_facts` in their records."""
    processors = sorted({machine.get("gpu") or str(machine["processor"]) for machine in machines})
    dates = sorted({machine["date"] for machine in machines})
    return (
        f"{', '.join(processors)}; torch {', '.join(sorted({machine['torch'] for machine in machines}))}; "
        f"{' to '.join(dict.fromkeys((dates[0], dates[-1])))}; "
        f"git {', '.join(sorted({machine['git_revision'] for machine in machines}))}."
    )
