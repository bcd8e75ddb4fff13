"""Scores of codes: pure functions on arrays, usable without the rest of the package.

`METRICS` holds those of the form f(codes (N, D), factors (N, K), *, seed=0) -> float. What needs other inputs
(posteriors, images) is a function beside it.
"""

from __future__ import annotations

from collections.abc import Callable

from sparse_repr.metrics.image_quality import psnr, ssim
from sparse_repr.metrics.information import (
    MutualInformation,
    aam_score,
    factor_entropies,
    mig_histogram_score,
    mig_score,
    mutual_information_matrix,
)
from sparse_repr.metrics.sparsity import active_units, hoyer_sparsity, near_zero_fraction

__all__ = [
    "METRICS",
    "MutualInformation",
    "aam_score",
    "active_units",
    "factor_entropies",
    "hoyer_sparsity",
    "mig_histogram_score",
    "mig_score",
    "mutual_information_matrix",
    "near_zero_fraction",
    "psnr",
    "ssim",
]

METRICS: dict[str, Callable[..., float]] = {"mig_histogram": mig_histogram_score}
