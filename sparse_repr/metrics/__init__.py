"""Scores of codes: pure functions on arrays, usable without the rest of the package.

`METRICS` holds those of the form f(codes (N, D), factors (N, K), *, seed=0) -> float in 0..1, higher is better. What
needs other inputs (posteriors, images, several encoders) is a function beside it. README.md in this folder says what
each score means, what it misses and what it gives for codes that are known.
"""

from __future__ import annotations

from sparse_repr.metrics.bootstrap import Interval, bootstrap_interval, bootstrap_intervals
from sparse_repr.metrics.contrast import contrast_slope
from sparse_repr.metrics.histogram import mig_histogram_score, modularity_score
from sparse_repr.metrics.image_quality import psnr, ssim
from sparse_repr.metrics.infomec import InfoMEC, infomec_scores
from sparse_repr.metrics.information import (
    MutualInformation,
    aam_score,
    extrapolated_information,
    factor_entropies,
    mig_score,
    mutual_information_matrix,
)
from sparse_repr.metrics.interventional import beta_vae_score, factor_vae_score, irs_score
from sparse_repr.metrics.learners import LEARNERS
from sparse_repr.metrics.lpips import lpips
from sparse_repr.metrics.predictive import DCI, dci_scores, explicitness_score, sap_score
from sparse_repr.metrics.probes import boosted_probe_score, linear_probe_score, probe_scores
from sparse_repr.metrics.sharpness import laplacian_energy, laplacian_sharpness
from sparse_repr.metrics.sparsity import (
    active_units,
    exact_zero_fraction,
    hoyer_sparsity,
    lifetime_sparseness,
    near_zero_fraction,
    population_sparseness,
)
from sparse_repr.metrics.suite import FAMILIES, METRICS
from sparse_repr.metrics.unsupervised import UDR, udr_scores

__all__ = [
    "DCI",
    "FAMILIES",
    "LEARNERS",
    "METRICS",
    "UDR",
    "InfoMEC",
    "Interval",
    "MutualInformation",
    "aam_score",
    "active_units",
    "beta_vae_score",
    "boosted_probe_score",
    "bootstrap_interval",
    "bootstrap_intervals",
    "contrast_slope",
    "dci_scores",
    "exact_zero_fraction",
    "explicitness_score",
    "extrapolated_information",
    "factor_entropies",
    "factor_vae_score",
    "hoyer_sparsity",
    "infomec_scores",
    "irs_score",
    "laplacian_energy",
    "laplacian_sharpness",
    "lifetime_sparseness",
    "linear_probe_score",
    "lpips",
    "mig_histogram_score",
    "mig_score",
    "modularity_score",
    "mutual_information_matrix",
    "near_zero_fraction",
    "population_sparseness",
    "probe_scores",
    "psnr",
    "sap_score",
    "ssim",
    "udr_scores",
]
