"""The scores of one run's codes: which apply, and the part of metrics.json that holds them."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from tqdm import tqdm

from sparse_repr.data import FactorDataset
from sparse_repr.metrics import (
    FAMILIES,
    METRICS,
    MutualInformation,
    aam_score,
    active_units,
    bootstrap_interval,
    hoyer_sparsity,
    lifetime_sparseness,
    mig_score,
    mutual_information_matrix,
    near_zero_fraction,
    population_sparseness,
    probe_scores,
)
from sparse_repr.metrics.suite import SLOW
from sparse_repr.objectives import kl_divergence
from sparse_repr.registry import lookup

EXACT = ("mig", "aam")
"""Scores from the posterior, beside the families of `sparse_repr.metrics.FAMILIES`."""
PROBES = "probes"
"""R² of a linear and of a boosted probe for the factors' values."""


def choose_metrics(names: str | None) -> tuple[str, ...]:
    """Names of scores from a comma-separated list; None means all but those that take minutes.

    Raises:
        ValueError: an unknown name, with the close matches.
    """
    known = {name: name for name in (*EXACT, *FAMILIES, PROBES)}
    if names is None:
        return tuple(name for name in known if name not in SLOW)
    chosen = [lookup(known, name.strip(), "metric") for name in names.split(",") if name.strip()]
    if not chosen:
        raise ValueError(f"metrics needs at least one of {', '.join(known)}, got {names!r}")
    return tuple(dict.fromkeys(chosen))


def code_scores(mean: npt.NDArray[np.float32], log_variance: npt.NDArray[np.float32]) -> dict[str, Any]:
    """The `codes` part of metrics.json: sparsity, KL and statistics of posterior means and log-variances (N, D)."""
    kl = kl_divergence(torch.from_numpy(mean), torch.from_numpy(log_variance)).double().mean(0)
    several = mean.shape[1] > 1
    return {
        "active_units": active_units(mean),
        "hoyer_sparsity": hoyer_sparsity(mean) if several else None,
        "population_sparseness": population_sparseness(mean) if several else None,
        "lifetime_sparseness": lifetime_sparseness(mean),
        "near_zero_fraction": near_zero_fraction(mean),
        "exact_zero_fraction": near_zero_fraction(mean, tolerance=0),
        "l1_per_image": float(np.abs(mean).sum(axis=1, dtype=np.float64).mean()),
        "kl_nats": float(kl.sum()),
        "kl_nats_per_unit": kl.tolist(),
        "mean_per_unit": mean.mean(axis=0, dtype=np.float64).tolist(),
        "std_per_unit": mean.std(axis=0, dtype=np.float64).tolist(),
    }


def disentanglement_scores(
    mean: npt.NDArray[np.float32],
    log_variance: npt.NDArray[np.float32],
    data: FactorDataset,
    items: npt.NDArray[np.int64],
    metrics: Sequence[str],
    *,
    n_bootstrap: int = 0,
    seed: int = 0,
    progress: bool = False,
) -> tuple[dict[str, Any], MutualInformation]:
    """The `disentanglement` part of metrics.json, and the mutual information.

    Args:
        mean: (n, D) posterior means of the items.
        log_variance: (n, D).
        data: the data set, whose factors are known.
        items: (n,) indices.
        metrics: from `choose_metrics`.
        n_bootstrap: repetitions of the 95 % interval of each sampled score; 0 gives none.
        seed: of every score that draws.
        progress: show a bar over the scores.

    Returns:
        Scores by name (None where a score is not defined for these factors; `notes` says why), their intervals and
        seconds, and the matrix.
    """
    assert data.factors is not None
    factors = data.factors[items]
    information = mutual_information_matrix(mean, log_variance, factors)
    entropies = information.factor_entropies_nats
    without_shape = tuple(k for k, name in enumerate(data.factor_names) if name == "shape")
    scores: dict[str, Any] = {}
    if "mig" in metrics:
        scores["mig"] = mig_score(information.matrix, entropies)
    if "aam" in metrics:
        scores["aam"] = aam_score(information.matrix)
    if without_shape and len(data.factor_names) > 1:
        if "mig" in metrics:
            scores["mig_without_shape"] = mig_score(information.matrix, entropies, exclude=without_shape)
        if "aam" in metrics:
            scores["aam_without_shape"] = aam_score(information.matrix, exclude=without_shape)
    intervals: dict[str, list[float]] = {}
    seconds: dict[str, float] = {}
    notes: dict[str, str] = {}
    families = [name for name in metrics if name in FAMILIES]
    for family in tqdm(families, desc="scoring", unit="metric", disable=not progress):
        started = time.perf_counter()
        try:
            found = FAMILIES[family](mean, factors, seed=seed)
        except ValueError as error:
            scores[family], notes[family] = None, str(error)
            continue
        scores.update(found)
        if n_bootstrap:
            for name in found:
                interval = bootstrap_interval(METRICS[name], mean, factors, n_bootstrap=n_bootstrap, seed=seed)
                intervals[name] = [interval.low, interval.high]
        seconds[family] = round(time.perf_counter() - started, 2)
    extra: dict[str, Any] = {}
    if PROBES in metrics and data.factor_values is not None:
        started = time.perf_counter()
        values = data.factor_values[items]
        extra["probe_r2"] = {
            learner: probe_scores(mean, values, seed=seed, learner=learner).tolist()
            for learner in ("linear", "boosted")
        }
        seconds[PROBES] = round(time.perf_counter() - started, 2)
    report = {
        **scores,
        **extra,
        "intervals_95": intervals,
        "metric_seconds": seconds,
        "notes": notes,
        "factor_names": list(data.factor_names),
        "factor_entropies_nats": entropies.tolist(),
        "mutual_information_nats": information.matrix.tolist(),
        "mutual_information_error_nats": information.error_nats,
    }
    assert all(not isinstance(value, float) or math.isfinite(value) for value in report.values())
    return report, information
