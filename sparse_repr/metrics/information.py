"""Mutual information between factors and units of the code, and the scores made of it: MIG and AAM.

I(z_j; v_k) needs the entropies of one-dimensional Gaussian mixtures: of q(z_j), one component per item, and of
q(z_j | v_k = c), those of the items with that value. Public code estimates them by Monte Carlo in hours; here they are
integrals over a grid (see `mutual_information_matrix`), in seconds and without noise.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sparse_repr.metrics.validation import check_codes, check_factors

# Points per standard deviation of an octave's sharpest component; the coarser check grid has half of them.
_POINTS_PER_SIGMA = 2.0
# Nodes per octave of sigma between which a component is split so that its variance is kept exactly.
_NODES_PER_OCTAVE = 4
# The grid reaches this many (largest) standard deviations beyond the outermost means.
_MARGIN_SIGMAS = 8.0
# The largest grid; components too sharp for it are widened to what it resolves.
_MAX_POINTS = 2**19


class MutualInformation(NamedTuple):
    """Result of `mutual_information_matrix`."""

    matrix: npt.NDArray[np.float64]
    """(K, D) nats, I(v_k; z_j)."""
    error_nats: float
    """Largest difference of an entry from the same integral on a grid half as fine: a bound on the numerical error."""
    factor_entropies_nats: npt.NDArray[np.float64]
    """(K,) nats, empirical H(v_k)."""


@dataclasses.dataclass(frozen=True)
class _Factor:
    """Which of a factor's mixtures each item belongs to."""

    row: Tensor
    """Rank of the item's value among those present, int64 (N,)."""
    weights: Tensor
    """Share of the items with each value, float64 (V,)."""


@dataclasses.dataclass(frozen=True)
class _Segment:
    """Components of similar width: each is shared between two cells and between the widths of two nodes."""

    items: Tensor
    """Which items, int64 (n,)."""
    left: Tensor
    """Cell on the left of the mean, int64 (n,); the one on the right is the next."""
    shares: tuple[Tensor, Tensor, Tensor, Tensor]
    """Parts in (left, lower node), (right, lower), (left, upper), (right, upper), float64 (n,) each."""
    cells: int
    """Cells of this octave's grid."""
    variances: tuple[float, float]
    """Variance of the lower and of the upper node."""


def mutual_information_matrix(
    mean: Any,
    log_variance: Any,
    factors: Any,
    *,
    points_per_sigma: float = _POINTS_PER_SIGMA,
) -> MutualInformation:
    """Mutual information I(z_j; v_k) = H(z_j) - E_c H(z_j | v_k = c) of a Gaussian posterior, by quadrature.

    Chen et al. 2018, Eq. 4 and appendix C. Every item is a Gaussian component. Components are laid on a grid of means
    and a few widths per octave (each split between its neighbours so that its mean and variance are kept exactly),
    convolved with their Gaussian in the Fourier domain, each octave on a grid as fine as it needs, and -q log q is
    summed over the finest grid. Deviation from the paper: none in what is computed; the paper estimates it by sampling.
    Posteriors sharper than 1/260,000 of a unit's range are widened to that.

    Args:
        mean: (N, D) posterior means; numpy, or torch on any device (the work is done there; MPS falls back to the CPU).
        log_variance: (N, D) posterior log-variances.
        factors: (N, K) integer factor indices, a full grid or any sample of items.
        points_per_sigma: grid points per standard deviation of the sharpest posterior.

    Returns:
        Matrix (K, D) in nats (at least 0 up to the numerical error), the error, and the factors' entropies.

    Raises:
        TypeError, ValueError: arrays of the wrong shape or dtype, NaN, a constant factor, fewer than two items.
    """
    device = torch.device("cpu")
    if isinstance(mean, Tensor):
        device = torch.device("cpu") if mean.device.type == "mps" else mean.device
    mean_array, log_variance_array, factor_array = (
        array.detach().cpu().numpy() if isinstance(array, Tensor) else array for array in (mean, log_variance, factors)
    )
    mean_array = check_codes("mean", mean_array)
    log_variance_array = check_codes("log_variance", log_variance_array)
    if mean_array.shape != log_variance_array.shape:
        raise ValueError(
            f"mean and log_variance need the same shape, got {mean_array.shape} and {log_variance_array.shape}"
        )
    indices = check_factors(factor_array, len(mean_array))
    if not points_per_sigma >= 0.5:
        raise ValueError(f"points_per_sigma needs at least 0.5, got {points_per_sigma}")

    given = [_factor(torch.from_numpy(np.ascontiguousarray(column)).to(device)) for column in indices.T]

    def unit_column(unit: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        means, log_variances = (
            torch.from_numpy(np.ascontiguousarray(array[:, unit])).to(device, torch.float64)
            for array in (mean_array, log_variance_array)
        )
        sigmas = (0.5 * log_variances).exp()
        fine = _unit_information(means, sigmas, given, points_per_sigma)
        return fine, _unit_information(means, sigmas, given, points_per_sigma / 2)

    # Most of the time goes to scatter-adds that use one thread each; more than two units at once only need memory.
    with ThreadPoolExecutor(min(2, torch.get_num_threads()) if device.type == "cpu" else 1) as pool:
        columns = list(pool.map(unit_column, range(mean_array.shape[1])))
    matrix = np.stack([fine for fine, _ in columns], axis=1)
    coarser = np.stack([coarse for _, coarse in columns], axis=1)
    return MutualInformation(matrix, float(np.abs(matrix - coarser).max()), factor_entropies(indices))


def factor_entropies(factors: Any) -> npt.NDArray[np.float64]:
    """Empirical entropy of each factor: (N, K) integer indices -> (K,) nats; log of the number of values on a grid."""
    indices = np.asarray(factors)
    entropies = np.empty(indices.shape[1])
    for k in range(indices.shape[1]):
        share = np.bincount(indices[:, k]) / len(indices)
        share = share[share > 0]
        entropies[k] = -(share * np.log(share)).sum()
    return entropies


def _factor(values: Tensor) -> _Factor:
    _, row, count = values.unique(return_inverse=True, return_counts=True)
    return _Factor(row, count.double() / len(values))


def _unit_information(
    means: Tensor, sigmas: Tensor, given: Sequence[_Factor], points_per_sigma: float
) -> npt.NDArray[np.float64]:
    """I(z_j; v_k) of one unit with every factor, (K,) nats."""
    low = float(means.min()) - _MARGIN_SIGMAS * float(sigmas.max())
    width = float(means.max()) + _MARGIN_SIGMAS * float(sigmas.max()) - low
    sharpest = max(float(sigmas.min()), width / _MAX_POINTS * points_per_sigma)
    # Powers of two make the spectrum of each octave's coarser grid the low frequencies of the finest one.
    points = 2 ** math.ceil(math.log2(width / sharpest * points_per_sigma))
    segments = _segments(means, sigmas.clamp(min=sharpest), low, width, points, sharpest)
    log_cell = math.log(width / points)
    information = np.empty(len(given))
    for k, factor in enumerate(given):
        density = torch.fft.irfft(_spectrum(segments, factor, width, points), n=points).clamp_(min=0)  # (V, points)
        density /= density.sum(1, keepdim=True)  # probability per cell
        marginal = torch.special.entr(factor.weights @ density).sum() + log_cell
        conditional = torch.special.entr(density).sum(1) + log_cell
        information[k] = float(marginal - factor.weights @ conditional)
    return information


def _segments(means: Tensor, sigmas: Tensor, low: float, width: float, points: int, sharpest: float) -> list[_Segment]:
    """Sort components by width and share each out between cells and nodes; mean and variance are kept exactly."""
    segments = []
    octaves = (sigmas / sharpest).log2().floor().long()
    for octave in octaves.unique().tolist():
        items = torch.nonzero(octaves == octave).squeeze(1)
        unit = sharpest * 2.0**octave
        cells = max(points >> octave, 16)
        step = width / cells
        position = (means[items] - low) / step
        left = position.floor()
        right_share = position - left
        # Sharing a component between two cells widens it by share (1 - share) step^2: taken off its own variance,
        # which by at most (1 / (2 points_per_sigma))^2 of it may fall below the octave.
        spread = right_share * (1 - right_share) * step**2
        variance = (sigmas[items].square() - spread).clamp(min=1e-3 * unit**2)
        node = ((variance.sqrt() / unit).log2() * _NODES_PER_OCTAVE).floor().long()
        for below in node.unique().tolist():
            chosen = torch.nonzero(node == below).squeeze(1)
            lower, upper = (unit**2 * 4.0 ** ((below + offset) / _NODES_PER_OCTAVE) for offset in (0, 1))
            wide = ((variance[chosen] - lower) / (upper - lower)).clamp(0, 1)
            right = right_share[chosen]
            shares = ((1 - right) * (1 - wide), right * (1 - wide), (1 - right) * wide, right * wide)
            segments.append(_Segment(items[chosen], left[chosen].long(), shares, cells, (lower, upper)))
    return segments


def _spectrum(segments: Sequence[_Segment], factor: _Factor, width: float, points: int) -> Tensor:
    """Fourier transform of each conditional mixture, (V, points // 2 + 1); scale does not matter."""
    values, device = len(factor.weights), factor.row.device
    total = torch.zeros((values, points // 2 + 1), dtype=torch.complex128, device=device)
    # Two segments that meet at a node add to the same histogram, so that it is transformed once.
    histograms: dict[tuple[int, float], Tensor] = {}
    for segment in segments:
        bins = values * segment.cells
        left = factor.row[segment.items] * segment.cells + segment.left
        for index, share in enumerate(segment.shares):
            # the margin of the grid keeps `left + 1` inside the row
            histogram = torch.bincount(left + index % 2, share, minlength=bins)
            key = (segment.cells, segment.variances[index // 2])
            if key in histograms:
                histograms[key] += histogram
            else:
                histograms[key] = histogram
        for key in [key for key in histograms if key != (segment.cells, segment.variances[1])]:
            _add_transformed(total, histograms.pop(key), *key, width)
    for (cells, variance), histogram in histograms.items():
        _add_transformed(total, histogram, cells, variance, width)
    return total


def _add_transformed(total: Tensor, histogram: Tensor, cells: int, variance: float, width: float) -> None:
    """Add the transform of a histogram (V * cells,) convolved with a Gaussian to the low frequencies of `total`."""
    frequency = torch.arange(cells // 2 + 1, device=total.device, dtype=torch.float64) * (2 * math.pi / width)
    gaussian = torch.exp(-0.5 * variance * frequency.square())
    total[:, : cells // 2 + 1] += torch.fft.rfft(histogram.view(len(total), cells)) * gaussian


def _select(matrix: Any, include: Sequence[int] | None, exclude: Sequence[int]) -> npt.NDArray[np.int64]:
    factors = len(matrix)
    chosen = list(range(factors)) if include is None else list(include)
    for k in [*chosen, *exclude]:
        if not -factors <= k < factors:
            raise ValueError(f"factor index {k} is outside 0..{factors - 1}")
    dropped = {k % factors for k in exclude}
    kept = [k % factors for k in chosen if k % factors not in dropped]
    if not kept:
        raise ValueError(f"no factor is left of {factors} after include={include} and exclude={tuple(exclude)}")
    return np.asarray(kept, dtype=np.int64)


def _check_matrix(matrix: Any) -> npt.NDArray[np.float64]:
    array = np.asarray(matrix, dtype=np.float64)
    if array.ndim != 2 or 0 in array.shape:
        raise ValueError(f"matrix needs shape (K, D), got {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError("matrix needs finite numbers, got NaN or infinity")
    return array


def _sorted_information(matrix: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    # sorted before clamping (Chen et al. 2018), largest first; dead units sit at 0 up to the numerical error
    ordered = -np.sort(-matrix, axis=1)
    return np.maximum(ordered, 0)


def mig_score(
    matrix: Any, factor_entropies_nats: Any, *, include: Sequence[int] | None = None, exclude: Sequence[int] = ()
) -> float:
    """Mutual information gap: mean over factors of (I_(1) - I_(2)) / H(v_k).

    Chen et al. 2018, Eq. 6. Chen's code leaves out the factor *shape*, Dubois' keeps it: `exclude` says which. A code
    of one unit has I_(2) = 0.

    Args:
        matrix: (K, D) nats, from `mutual_information_matrix`.
        factor_entropies_nats: (K,) nats.
        include: factor indices to average over; None means all.
        exclude: factor indices to leave out.

    Returns:
        0..1, higher is better.

    Raises:
        ValueError: wrong shapes, NaN, a factor without entropy, or no factor left.
    """
    array = _check_matrix(matrix)
    entropies = np.asarray(factor_entropies_nats, dtype=np.float64)
    if entropies.shape != array.shape[:1] or not (entropies > 0).all():
        raise ValueError(
            f"factor_entropies_nats needs {len(array)} positive numbers, got {entropies.tolist()} for {array.shape}"
        )
    kept = _select(array, include, exclude)
    ordered = _sorted_information(np.pad(array, ((0, 0), (0, 1)))[kept])
    return float(((ordered[:, 0] - ordered[:, 1]) / entropies[kept]).mean())


def aam_score(matrix: Any, *, include: Sequence[int] | None = None, exclude: Sequence[int] = ()) -> float:
    """Axis alignment metric: mean over factors of max(0, I_(1) - sum_{d >= 2} I_(d)) / I_(1), 0 where I_(1) is 0.

    Dubois et al. 2019, section 4.

    Args:
        matrix: (K, D) nats, from `mutual_information_matrix`.
        include: factor indices to average over; None means all.
        exclude: factor indices to leave out.

    Returns:
        0..1, higher is better.

    Raises:
        ValueError: wrong shape, NaN, or no factor left.
    """
    array = _check_matrix(matrix)
    ordered = _sorted_information(array[_select(array, include, exclude)])
    first = ordered[:, 0]
    gap = np.maximum(0, first - ordered[:, 1:].sum(axis=1))
    return float(np.divide(gap, first, out=np.zeros_like(gap), where=first > 0).mean())


def mig_histogram_score(
    codes: Any,
    factors: Any,
    *,
    seed: int = 0,
    samples: int = 10_000,
    bins: int = 20,
    include: Sequence[int] | None = None,
    exclude: Sequence[int] = (),
) -> float:
    """MIG from a histogram of mean codes: discrete mutual information, divided by the empirical H(v_k).

    The protocol of disentanglement_lib (Locatello et al. 2019): 10,000 random items, 20 equal-width bins per unit. Its
    numbers differ from `mig_score`; report it beside that one, never instead of it. Dead units fall into one bin and
    carry no information.

    Args:
        codes: (N, D) posterior means.
        factors: (N, K) integer indices.
        seed: of the draw; items are drawn with replacement, all are used when N <= samples.
        samples: number of items drawn.
        bins: equal-width bins between each unit's minimum and maximum.
        include: factor indices to average over; None means all.
        exclude: factor indices to leave out.

    Returns:
        0..1, higher is better.

    Raises:
        TypeError, ValueError: as `mutual_information_matrix`.
    """
    array = check_codes("codes", codes)
    indices = check_factors(factors, len(array))
    if len(array) > samples:
        drawn = np.random.default_rng(seed).integers(0, len(array), samples)
        array, indices = array[drawn], indices[drawn]
    matrix = discrete_mutual_information(discretise(array, bins), indices)
    return mig_score(matrix, factor_entropies(indices), include=include, exclude=exclude)


def discretise(codes: npt.NDArray[Any], bins: int) -> npt.NDArray[np.int64]:
    """Equal-width bins of each unit between its minimum and maximum: (N, D) -> (N, D) in 0..bins-1."""
    low, high = codes.min(axis=0), codes.max(axis=0)
    width = np.where(high > low, high - low, 1)
    return np.minimum(((codes - low) / width * bins).astype(np.int64), bins - 1)


def discrete_mutual_information(
    binned: npt.NDArray[np.int64], factors: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """Mutual information of each factor with each binned unit: (N, D) and (N, K) -> (K, D) nats."""
    matrix = np.empty((factors.shape[1], binned.shape[1]))
    for k in range(factors.shape[1]):
        for unit in range(binned.shape[1]):
            values = int(factors[:, k].max()) + 1
            joint = np.bincount(binned[:, unit] * values + factors[:, k]).astype(np.float64)
            joint = np.pad(joint, (0, -len(joint) % values)).reshape(-1, values) / len(binned)
            independent = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
            seen = joint > 0
            matrix[k, unit] = (joint[seen] * np.log(joint[seen] / independent[seen])).sum()
    return matrix
