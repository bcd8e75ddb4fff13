"""TermSums: an objective's terms between two lines of the log, and the check that the loss stayed finite."""

from __future__ import annotations

import torch
from torch import Tensor


class NonFiniteLossError(RuntimeError):
    """The loss, the weights or the codes became NaN or infinite; the last good state was kept."""


class TermSums:
    """Sums of an objective's terms, kept on the device so that logging does not make every step wait for it."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._count = 0
        self._first_bad: Tensor | None = None

    def add(self, terms: dict[str, Tensor], step: int) -> None:
        """Add the terms of one step; remembers the first step whose loss is not finite."""
        for name, value in terms.items():
            self._sums[name] = self._sums[name] + value if name in self._sums else value.clone()
        if self._first_bad is None:
            self._first_bad = torch.full_like(terms["loss"], -1)
        bad = (self._first_bad < 0) & ~torch.isfinite(terms["loss"])
        # not torch.where, which copies a number to the device and waits for it
        self._first_bad = self._first_bad.masked_fill(bad, float(step))
        self._count += 1

    @property
    def first_not_finite(self) -> int | None:
        """The first step whose loss was NaN or infinite; None where all were finite."""
        first = -1 if self._first_bad is None else int(self._first_bad)
        return None if first < 0 else first

    def means(self) -> dict[str, float]:
        """Mean of each term since the last call."""
        means = {name: float(total) / self._count for name, total in self._sums.items()}
        self._sums, self._count = {}, 0
        return means

    def unstack(self) -> list[TermSums]:
        """Sums of (S,) terms, one for each of S models, as S sums of scalars; this one stays as it is."""
        members = [TermSums() for _ in self._sums["loss"]]
        for place, member in enumerate(members):
            member._sums = {name: total[place] for name, total in self._sums.items()}
            member._count = self._count
            member._first_bad = None if self._first_bad is None else self._first_bad[place]
        return members
