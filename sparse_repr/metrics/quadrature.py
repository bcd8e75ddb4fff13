"""Mutual information of one unit with every factor: entropies of one-dimensional Gaussian mixtures, on a grid.

Every item is one Gaussian component. Two ways put components onto the grid. Many of similar width are binned by mean
and width and convolved in the Fourier domain, each octave of widths on a grid as fine as it needs. The few that are
much sharper than the rest are added point by point: transforming a fine grid for their sake is what costs.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import scipy.fft
import torch
from torch import Tensor

# The grid reaches this many of a component's standard deviations beyond its mean; what is added point by point stops
# a little earlier, inside it (4e-8 of the mass is left out).
_MARGIN_SIGMAS = 7.0
_REACH_SIGMAS = 5.5
# The grid is never coarser than if the sharpest component were this fraction of its width.
_LEAST_SIGMAS = 400
# Numbers per pass (8 MB on the CPU): larger arrays come from fresh pages every time, which cost more than the sums.
_PASS_NUMBERS = {"cpu": 2**20, "cuda": 2**25}
_MOST_ADDITIONS = 2**23


@dataclasses.dataclass(frozen=True)
class Resolution:
    """How fine the integrals are."""

    points_per_sigma: float = 1.8
    """Grid points per standard deviation of the sharpest component."""
    nodes_per_octave: int = 16
    """Nodes per octave of sigma between which a component is split so that its variance is kept exactly.

    The split makes tails heavier, which costs up to 1e-4 nats with 16 nodes, 16 times that with 4."""
    most_points: int = 2**19
    """The largest grid; components too sharp for it are widened to what it resolves."""
    additions_per_number: int = 10
    """An octave is added point by point when that takes at most so many additions per number it would transform."""

    def coarser(self) -> Resolution:
        """One by which to tell the error: each of its parts is several times as large there.

        1.5 times fewer points, a quarter of the nodes (whose error is of second order, and of the other sign than that
        of the points: it is to outweigh it), four times the widening, and no octave point by point, which is exact,
        that is split between nodes here.
        """
        return Resolution(
            self.points_per_sigma / 1.5,
            self.nodes_per_octave // 4,
            self.most_points // 6,
            self.additions_per_number // 2,
        )


@dataclasses.dataclass(frozen=True)
class GroupedItems:
    """The items of a factor by their value."""

    row: Tensor
    """Rank of each item's value among those present, int64 (N,)."""
    order: Tensor
    """Items, those with the same value one after the other, int64 (N,)."""
    ends: tuple[int, ...]
    """Where each value's items end in `order`, V numbers."""
    weights: Tensor
    """Share of the items with each value, float64 (V,)."""


@dataclasses.dataclass(frozen=True)
class _Block:
    """The nodes of one octave inside a row of histograms."""

    start: int
    nodes: int
    cells: int
    transfer: Tensor
    """Fourier transform of each node's Gaussian, float64 (nodes, cells // 2 + 1)."""


@dataclasses.dataclass(frozen=True)
class _SharpOctave:
    """The components of one octave of widths, as the points they add to."""

    items: Tensor
    """(n,) int64."""
    start: Tensor
    """First point of each, int64 (n,)."""
    heights: Tensor
    """Probability of each point, float64 (n, taps)."""


@dataclasses.dataclass(frozen=True)
class _Components:
    """The N components of one unit, laid out on the grid."""

    points: int
    blocks: list[_Block]
    row_length: int
    """Numbers in a row of histograms, over all blocks."""
    index: Tensor
    """Where in a row each item's shares go: (left cell, lower node), (right, lower), (left, upper), (right, upper).

    int32 (N, 4)."""
    shares: Tensor
    """Parts in those four, float64 (N, 4); 0 for the items that are added point by point."""
    sharp_octaves: list[_SharpOctave]
    """What is added point by point."""


def group_items(values: Tensor) -> GroupedItems:
    """Group items by a factor's values: integer (N,) -> `GroupedItems`."""
    _, row, count = values.unique(return_inverse=True, return_counts=True)
    order = row.argsort(stable=True)
    return GroupedItems(row, order, tuple(count.cumsum(0).tolist()), count.double() / len(values))


def unit_information(
    means: Tensor, sigmas: Tensor, given: Sequence[GroupedItems], resolution: Resolution
) -> npt.NDArray[np.float64]:
    """I(z_j; v_k) of one unit with every factor.

    Args:
        means: (N,) float64.
        sigmas: (N,) float64, positive.
        given: K factors.
        resolution: of the grid and of the widths.

    Returns:
        (K,) nats.
    """
    low, width = _extent(means, sigmas)
    components = _components(means, sigmas, low, width, resolution, sum(len(f.ends) for f in given) / len(given))
    information = np.empty(len(given))
    for k, factor in enumerate(given):
        mixture = torch.zeros(components.points, dtype=torch.float64, device=means.device)
        conditional = 0.0
        for rows, density in _densities(components, factor):
            weights, mass = factor.weights[rows], density.sum(1)
            mixture += (weights / mass) @ density
            # entropy of density / mass, without writing that out
            conditional += float(weights @ (torch.special.entr(density).sum(1) / mass + mass.log()))
        # sums over points instead of integrals: both lack the same log(step), which cancels
        information[k] = float(torch.special.entr(mixture).sum()) - conditional
    return information


def _extent(means: Tensor, sigmas: Tensor) -> tuple[float, float]:
    """Where the grid of a unit begins, and how wide it is."""
    low = float((means - _MARGIN_SIGMAS * sigmas).min())
    return low, float((means + _MARGIN_SIGMAS * sigmas).max()) - low


def _sharpest(width: float, resolution: Resolution) -> float:
    """The least sigma that the largest grid of this width resolves: what is sharper is widened to it."""
    return width / resolution.most_points * resolution.points_per_sigma


def blurred_share(means: Tensor, sigmas: Tensor, resolution: Resolution) -> float:
    """Share of a unit's items that are widened beyond what their means are apart, since a few lie far from the rest.

    Args:
        means: (N,) float64.
        sigmas: (N,) float64, positive.
        resolution: of the grid.

    Returns:
        0..1; 0 where the grid resolves a thousandth of the shortest interval that holds half of the means.
    """
    _, width = _extent(means, sigmas)
    sharpest = _sharpest(width, resolution)
    ordered = means.sort().values
    half = len(ordered) // 2
    usual = float((ordered[half:] - ordered[: len(ordered) - half]).min())
    return 0.0 if sharpest <= usual / 1000 else float((sigmas < sharpest / 2).double().mean())


def _components(
    means: Tensor, sigmas: Tensor, low: float, width: float, resolution: Resolution, values: float
) -> _Components:
    """Lay the components out; `values` is the mean number of values of a factor."""
    points_per_sigma, nodes_per_octave = resolution.points_per_sigma, resolution.nodes_per_octave
    sharpest = max(float(sigmas.min()), _sharpest(width, resolution))
    # where few points would do, more cost nothing
    points_per_sigma *= max(1.0, _LEAST_SIGMAS / (width / sharpest))
    points = _fast_length(width / sharpest * points_per_sigma)
    sigmas = sigmas.clamp(min=sharpest)
    blocks: list[_Block] = []
    sharp_octaves: list[_SharpOctave] = []
    row_length = 0
    # rows of four, int32: gathering them per factor value is what most of the time goes to
    index = torch.zeros((len(means), 4), dtype=torch.int32, device=means.device)
    shares = torch.zeros((len(means), 4), dtype=torch.float64, device=means.device)
    octaves = (sigmas / sharpest).log2().floor().long()
    for octave in octaves.unique().tolist():
        items = torch.nonzero(octaves == octave).squeeze(1)
        unit = sharpest * 2.0**octave
        cells = max(_fast_length(width / unit * points_per_sigma), 16)
        taps = 2 * math.ceil(_REACH_SIGMAS * 2 * unit / (width / points)) + 1
        additions = len(items) * taps
        if additions <= min(_MOST_ADDITIONS, resolution.additions_per_number * values * cells) and taps < points:
            start, heights = _heights(means[items], sigmas[items], low, width, points, taps)
            sharp_octaves.append(_SharpOctave(items, start, heights))
            continue
        step = width / cells
        position = (means[items] - low) / step
        left = position.floor()
        right = position - left
        # Sharing a component between two cells widens it by share (1 - share) step^2: taken off its own variance,
        # which by at most (1 / (2 points_per_sigma))^2 of it may fall below the octave.
        spread = right * (1 - right) * step**2
        variance = (sigmas[items].square() - spread).clamp(min=1e-3 * unit**2)
        node = ((variance.sqrt() / unit).log2() * nodes_per_octave).floor()
        first, nodes = int(node.min()), int(node.max() - node.min()) + 2
        lower, upper = (unit**2 * 4.0 ** ((node + offset) / nodes_per_octave) for offset in (0, 1))
        wide = ((variance - lower) / (upper - lower)).clamp(0, 1)
        # the margin of the grid keeps the right cell inside the row
        base = row_length + (node.long() - first) * cells + left.long()
        index[items] = (base[:, None] + torch.tensor([0, 1, cells, cells + 1], device=means.device)).int()
        shares[items] = torch.stack([(1 - right) * (1 - wide), right * (1 - wide), (1 - right) * wide, right * wide], 1)
        variances = unit**2 * 4.0 ** (
            torch.arange(first, first + nodes, device=means.device, dtype=torch.float64) / nodes_per_octave
        )
        frequency = torch.arange(cells // 2 + 1, device=means.device, dtype=torch.float64) * (2 * math.pi / width)
        # a density per point of the finest grid, whose transform is not scaled by its length
        transfer = torch.exp(-0.5 * variances[:, None] * frequency.square())
        blocks.append(_Block(row_length, nodes, cells, transfer))
        row_length += nodes * cells
    return _Components(points, blocks, row_length, index, shares, sharp_octaves)


def _fast_length(at_least: float) -> int:
    return int(scipy.fft.next_fast_len(math.ceil(at_least), real=True))


def _heights(means: Tensor, sigmas: Tensor, low: float, width: float, points: int, taps: int) -> tuple[Tensor, Tensor]:
    """First grid point and probability of each of `taps` points around components: (n,), (n, taps)."""
    step = width / points
    # those of an octave's sharpest that reach beyond the edge are moved inside, not their heights
    start = (((means - low) / step).round().long() - taps // 2).clamp(0, points - taps)
    places = low + step * (start[:, None] + torch.arange(taps, device=means.device)).double()
    heights = torch.exp(-0.5 * ((places - means[:, None]) / sigmas[:, None]).square())
    return start, heights * (step / (math.sqrt(2 * math.pi) * sigmas[:, None]))


def _densities(components: _Components, factor: GroupedItems) -> Iterator[tuple[slice, Tensor]]:
    """The mixtures of a few of a factor's values at a time: which, and a multiple of their density (rows, points)."""
    device = factor.order.device
    budget = _PASS_NUMBERS.get(device.type, _PASS_NUMBERS["cpu"])
    at_once = max(1, budget // max(components.points, components.row_length, 1))
    starts = (0, *factor.ends)
    sharp = []
    for octave in components.sharp_octaves:
        own_row = factor.row[octave.items]
        count = torch.bincount(own_row, minlength=len(factor.ends))
        sharp.append((own_row.argsort(), (0, *count.cumsum(0).tolist())))
    for first in range(0, len(factor.ends), at_once):
        rows = slice(first, min(first + at_once, len(factor.ends)))
        items = factor.order[starts[rows.start] : starts[rows.stop]]
        # sorting costs time, and is only needed where the values do not fit into one pass
        everything = rows == slice(0, len(factor.ends))
        row = factor.row if everything else factor.row[items] - first
        density = _smooth_part(components, None if everything else items, row, rows.stop - rows.start)
        for octave, (order, first_of) in zip(components.sharp_octaves, sharp, strict=True):
            chosen = order[first_of[rows.start] : first_of[rows.stop]]
            place = (factor.row[octave.items[chosen]] - first) * components.points + octave.start[chosen]
            index = place[:, None] + torch.arange(octave.heights.shape[1], device=device)
            density.view(-1).scatter_add_(0, index.view(-1), octave.heights.index_select(0, chosen).view(-1))
        yield rows, density


def _smooth_part(components: _Components, items: Tensor | None, row: Tensor, rows: int) -> Tensor:
    """Sum of the binned components of `items` (None: all), which belong to `row`: (rows, points), at least 0."""
    points, length = components.points, components.row_length
    if not components.blocks:
        return torch.zeros((rows, points), dtype=torch.float64, device=row.device)
    index, shares = components.index, components.shares
    if items is not None:
        index, shares = index.index_select(0, items), shares.index_select(0, items)
    index = index + (row * length).to(index.dtype)[:, None]
    histogram = torch.bincount(index.view(-1), shares.view(-1), minlength=rows * length)
    histogram = histogram.view(rows, length)
    spectrum = torch.zeros((rows, points // 2 + 1), dtype=torch.complex128, device=row.device)
    for block in components.blocks:
        part = histogram[:, block.start : block.start + block.nodes * block.cells]
        transformed = torch.fft.rfft(part.unflatten(1, (block.nodes, block.cells))) * block.transfer
        spectrum[:, : block.cells // 2 + 1] += transformed.sum(1)
    return torch.fft.irfft(spectrum, n=points).clamp_(min=0)
