"""How scores draw items: disjoint training and test items, and items that share one factor's value."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]


def draw_items(count: int, samples: int, rng: np.random.Generator) -> IntArray:
    """`samples` different items of `count` in random order, or all of them where there are no more.

    Raises:
        ValueError: fewer than 2 are asked for.
    """
    if samples < 2:
        raise ValueError(f"samples needs at least 2 items, got {samples}")
    if samples >= count:
        return np.arange(count, dtype=np.int64)
    return rng.choice(count, samples, replace=False).astype(np.int64)


def split_items(count: int, train: int, test: int, rng: np.random.Generator) -> tuple[IntArray, IntArray]:
    """Disjoint training and test items; where `count` is too small, all of it in the same proportion.

    Public code draws both with replacement, so that on a small data set training points return as test points.

    Raises:
        ValueError: `train` or `test` is below 1, or fewer than 2 items.
    """
    if train < 1 or test < 1:
        raise ValueError(f"train and test need at least 1 item each, got {train} and {test}")
    order = rng.permutation(count)
    if count < train + test:
        train = min(max(round(count * train / (train + test)), 1), count - 1)
        test = count - train
    return order[:train], order[train : train + test]


class SharedValues:
    """Draws items that share the value of one factor, from the items that there are.

    The published protocols render new images with one factor fixed and the others free. On a full grid this is the
    same; on a sample of items, the others are distributed as they are among the items with that value. Items whose
    value no other one has take no part: they share it with nothing but themselves.
    """

    def __init__(self, factors: IntArray) -> None:
        """Group the items (N, K) by the values of each factor.

        Raises:
            ValueError: no value of some factor occurs twice (a continuous factor): nothing could be shared.
        """
        require_repeated(factors)
        ranked = [np.unique(column, return_inverse=True, return_counts=True)[1:] for column in factors.T]
        self._ranks = np.stack([ranks for ranks, _ in ranked], axis=1)
        self._order = np.argsort(factors, axis=0, kind="stable")
        self._counts = [counts for _, counts in ranked]
        self._starts = [np.cumsum(counts) - counts for counts in self._counts]
        self._places = np.argsort(self._order, axis=0)
        # the items that share their value, where these are not all
        self._sharing = [np.flatnonzero(counts[ranks] > 1) if counts.min() < 2 else None for ranks, counts in ranked]

    def draw(self, shape: tuple[int, ...], factor: int, rng: np.random.Generator) -> IntArray:
        """Random items that share the value of `factor` with another one."""
        sharing = self._sharing[factor]
        drawn = rng.integers(0, len(self._ranks) if sharing is None else len(sharing), shape)
        return drawn if sharing is None else sharing[drawn]

    def partners(self, items: IntArray, factor: int, rng: np.random.Generator) -> IntArray:
        """For each item of `draw` a random *other* one with the same value of `factor`: any shape, the same shape.

        An item that may be its own partner has a difference of 0 to itself. With n items of a value that makes
        differences smaller by (n - 1) / n, from which a classifier tells factors of few items per value, whatever the
        code says.
        """
        values = self._ranks[items, factor]
        starts, counts = self._starts[factor][values], self._counts[factor][values]
        onwards = 1 + (rng.random(items.shape) * (counts - 1)).astype(np.int64)
        return np.asarray(self._order[starts + (self._places[items, factor] - starts + onwards) % counts, factor])

    def alike(self, items: IntArray, factor: int, rng: np.random.Generator) -> IntArray:
        """For each item a random one, possibly itself, with the same value of `factor`: any shape, the same shape."""
        values = self._ranks[items, factor]
        offset = (rng.random(items.shape) * self._counts[factor][values]).astype(np.int64)
        return np.asarray(self._order[self._starts[factor][values] + offset, factor])


def require_repeated(factors: IntArray) -> None:
    """Check that each factor (N, K) has a value that occurs twice.

    Raises:
        ValueError: one has none (it is continuous): no two items share anything of it.
    """
    for k, column in enumerate(factors.T):
        if len(np.unique(column)) == len(column):
            raise ValueError(
                f"factors needs values that occur at least twice, but column {k} has {len(factors)} different "
                "ones: sort continuous values into bins first"
            )
