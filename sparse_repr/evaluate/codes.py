"""The scores of one run's codes: which apply, and the part of metrics.json that holds them."""

from __future__ import annotations

import math
import numbers
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from tqdm import tqdm

from sparse_repr.data import FactorDataset
from sparse_repr.encoder.statistics import EncodedItems
from sparse_repr.metrics import (
    FAMILIES,
    Interval,
    aam_score,
    active_units,
    bootstrap_intervals,
    extrapolated_information,
    hoyer_sparsity,
    lifetime_sparseness,
    mig_score,
    mutual_information_matrix,
    near_zero_fraction,
    population_sparseness,
    probe_scores,
)
from sparse_repr.metrics.suite import OURS, SLOW, SLOW_ON_WIDE_CODES
from sparse_repr.registry import lookup

EXACT = ("mig", "aam")
"""Scores from the posterior, beside the families of `sparse_repr.metrics.FAMILIES`."""
ESTIMATORS = (
    "InfoE without a penalty, values equally weighted; InfoMEC of units that take a few values counts them; mutual "
    "information extrapolated to the data set's items"
)
"""Written beside the scores: what changed under a name that stayed."""
PROBES = "probes"
"""R² of a linear and of a boosted probe for the factors' values."""


_WIDE = 64


def choose_metrics(names: str | None, code_size: int = 1) -> tuple[str, ...]:
    """Names of scores from a comma-separated list; None means all but those that take minutes for D units.

    Raises:
        ValueError: an unknown name, with the close matches.
    """
    known = {name: name for name in (*EXACT, *FAMILIES, PROBES)}
    if names is None:
        slow = (*SLOW, *SLOW_ON_WIDE_CODES) if code_size > _WIDE else SLOW
        return tuple(name for name in known if name not in slow)
    chosen = [lookup(known, name.strip(), "metric", own=True) for name in names.split(",") if name.strip()]
    if not chosen:
        raise ValueError(f"metrics needs at least one of {', '.join(known)}, got {names!r}")
    return tuple(dict.fromkeys(chosen))


def code_scores(mean: npt.NDArray[np.float32], kl_nats: list[float]) -> dict[str, Any]:
    """The `codes` part of metrics.json: sparsity, KL and statistics of posterior means (N, D) and each unit's KL."""
    several = mean.shape[1] > 1
    return {
        "active_units": active_units(mean),
        "hoyer_sparsity": hoyer_sparsity(mean) if several else None,
        "population_sparseness": population_sparseness(mean) if several else None,
        "lifetime_sparseness": lifetime_sparseness(mean),
        "near_zero_fraction": near_zero_fraction(mean),
        "exact_zero_fraction": near_zero_fraction(mean, tolerance=0),
        "nonzero_units_per_image": float((mean != 0).sum(axis=1).mean()),
        "units_ever_nonzero": int((mean != 0).any(axis=0).sum()),
        "l1_per_image": float(np.abs(mean).sum(axis=1, dtype=np.float64).mean()),
        "kl_nats": math.fsum(kl_nats),
        "kl_nats_per_unit": kl_nats,
        "mean_per_unit": mean.mean(axis=0, dtype=np.float64).tolist(),
        "std_per_unit": mean.std(axis=0, dtype=np.float64).tolist(),
    }


def disentanglement_scores(
    encoded: EncodedItems,
    data: FactorDataset,
    metrics: Sequence[str],
    *,
    posterior: str = "gaussian",
    n_bootstrap: int = 0,
    seed: int = 0,
    progress: bool = False,
    device: torch.device | str = "cpu",
) -> dict[str, Any] | None:
    """The `disentanglement` part of metrics.json; None where no factor is known or takes two values.

    Factors of which only values are known, no bins, have the R² of probes alone, whatever is asked for.

    Constant factors are left out. MIG and AAM are also given without the data set's nominal factors: where one varies,
    under its name (``mig_without_shape``), else as ``mig_without_nominal``. The mutual information is that of the whole
    data set: from a part of its items, which is to be random, it is extrapolated (`extrapolated_information`). On
    anything but a full grid the mixtures behind it are those of the items present.

    Args:
        encoded: n items of the data set and their posteriors.
        data: the data set.
        metrics: from `choose_metrics`.
        posterior: family of q(z|x); one that is not Gaussian has no exact mutual information.
        n_bootstrap: repetitions of the 95 % interval of each sampled score; 0 gives none.
        seed: of every score that draws.
        progress: show a bar over the scores.
        device: where the mutual information is integrated.

    Returns:
        Scores by name (None where a score is not defined for these factors; `notes` says why), their intervals and
        seconds, and the matrix.
    """
    varying = data.varying(encoded.items)
    if data.factors is None and data.factor_values is not None:
        return _scores_of_values(encoded, data, metrics, seed)
    if data.factors is None or not varying:
        return None
    factors, names = data.factors[encoded.items][:, varying], [data.factor_names[k] for k in varying]
    try:
        scores, exact, notes = _exact_scores(encoded, data, factors, names, metrics, posterior, device, seed)
    except ValueError as error:  # of codes that have diverged, of which the families say the same
        scores, exact, notes = {}, {}, {}
        for name in EXACT:
            if name in metrics:
                scores[name], notes[name] = None, str(error)
    mean = encoded.mean
    intervals: dict[str, list[float]] = {}
    seconds: dict[str, float] = {}
    if n_bootstrap:
        sampled = len(encoded) < len(data)
        why = (
            "extrapolated from a sample, of which no halves are taken" if sampled else "of all items, nothing is drawn"
        )
        notes |= {f"{name}, interval": why for name in scores}
    families = [name for name in metrics if name in FAMILIES]
    for family in tqdm(families, desc="scoring", unit="metric", disable=not progress):
        started = time.perf_counter()
        try:
            found = FAMILIES[family](mean, factors, seed=seed)
        except ValueError as error:
            scores[family], notes[family] = None, str(error)
            continue
        except Exception as error:  # of a score of one's own, which is not to cost the others
            if family in OURS:
                raise
            scores[family], notes[family] = None, f"{type(error).__name__}: {error}"
            continue
        if not isinstance(found, Mapping) or not all(isinstance(value, numbers.Real) for value in found.values()):
            scores[family], notes[family] = None, f"{family} needs to return names and numbers, got {found!r:.100}"
            continue
        for name, value in found.items():  # of a score of one's own, any number
            scores[name] = float(value) if math.isfinite(value) else None
            if scores[name] is None:
                notes[name] = f"{family} gave {value}"
        if n_bootstrap:
            for name, interval in _intervals(family, mean, factors, found, n_bootstrap, seed).items():
                if isinstance(interval, str):
                    notes[f"{name}, interval"] = interval
                else:
                    intervals[name] = [interval.low, interval.high]
        seconds[family] = round(time.perf_counter() - started, 2)
    extra: dict[str, Any] = {}
    if PROBES in metrics and data.factor_values is not None:
        started = time.perf_counter()
        extra["probe_r2"] = _probes(mean, data.factor_values[encoded.items][:, varying], seed, notes)
        seconds[PROBES] = round(time.perf_counter() - started, 2)
        if n_bootstrap:
            notes["probe_r2, interval"] = "a probe is fitted once"
    elif PROBES in metrics:
        extra["probe_r2"], notes["probe_r2"] = None, f"the data set {data.name} has no values of its factors"
    report = {
        **scores,
        **extra,
        "over": _over(data, len(encoded)),
        "estimators": ESTIMATORS,
        "intervals_95": intervals,
        "metric_seconds": seconds,
        "notes": notes,
        "factor_names": names,
        "constant_factors_left_out": [name for name in data.factor_names if name not in names],
        **exact,
    }
    assert all(not isinstance(value, float) or math.isfinite(value) for value in report.values())
    return report


def _intervals(
    family: str,
    mean: npt.NDArray[np.float32],
    factors: npt.NDArray[np.int64],
    found: Mapping[str, float],
    n_bootstrap: int,
    seed: int,
) -> Mapping[str, Interval | str]:
    """The interval of each score of a family, or why there is none: what is scored stands."""
    try:
        return bootstrap_intervals(FAMILIES[family], mean, factors, n_bootstrap=n_bootstrap, seed=seed)
    except ValueError as error:
        return dict.fromkeys(found, str(error))
    except Exception as error:
        if family in OURS:
            raise
        return dict.fromkeys(found, f"{type(error).__name__}: {error}")


def _probes(
    mean: npt.NDArray[np.float32], values: npt.NDArray[np.float32], seed: int, notes: dict[str, str]
) -> dict[str, list[float]] | None:
    """R² of each factor by each learner; where they cannot be had, a note says why."""
    try:
        return {
            learner: probe_scores(mean, values, seed=seed, learner=learner).tolist()
            for learner in ("linear", "boosted")
        }
    except ValueError as error:
        notes["probe_r2"] = f"of the values of the factors: {error}"
        return None


def _scores_of_values(
    encoded: EncodedItems, data: FactorDataset, metrics: Sequence[str], seed: int
) -> dict[str, Any] | None:
    """What can be scored where the factors have values, and nothing says into which bins they fall: the probes."""
    assert data.factor_values is not None
    values = data.factor_values[encoded.items]
    varying = np.flatnonzero((values != values[0]).any(axis=0)).tolist()
    if not varying:
        return None
    names = [data.factor_names[k] for k in varying]
    why = (
        f"the data set {data.name} has values of its factors and no bins into which this score could sort them: "
        "declare factor_bins (in the environment, for rl.record), or give factors; the score probes needs none"
    )
    started = time.perf_counter()
    # what an agent would need of them is asked for by any of the names
    notes = {name: why for name in metrics if name != PROBES}
    found = {"probe_r2": _probes(encoded.mean, values[:, varying], seed, notes)}
    return {
        **{name: None for name in metrics if name != PROBES},
        **found,
        "over": "the items present, by the values of their factors",
        "estimators": ESTIMATORS,
        "intervals_95": {},
        "metric_seconds": {PROBES: round(time.perf_counter() - started, 2)},
        "notes": notes,
        "factor_names": names,
        "constant_factors_left_out": [name for name in data.factor_names if name not in names],
    }


def _over(data: FactorDataset, items: int) -> str:
    """What the scores are computed over, in words."""
    if data.is_full_grid:
        return "the full grid" if items == len(data) else "random items of a full grid"
    return "the items present, which are no full grid: factors that go together there are not told apart"


def _exact_scores(
    encoded: EncodedItems,
    data: FactorDataset,
    factors: npt.NDArray[np.int64],
    names: list[str],
    metrics: Sequence[str],
    posterior: str,
    device: torch.device | str,
    seed: int,
) -> tuple[dict[str, Any], dict[str, Any], dict[str, str]]:
    """The scores from the exact mutual information, the matrix behind them, and why they are missing where they are."""
    if posterior != "gaussian":
        why = f"a {posterior} posterior has no exact mutual information: mig_histogram takes histograms of the codes"
        return {}, {}, {name: why for name in EXACT if name in metrics}
    posteriors = torch.from_numpy(encoded.mean).to(device), torch.from_numpy(encoded.log_variance).to(device)
    if len(encoded) < len(data):
        information = extrapolated_information(*posteriors, factors, population=len(data), seed=seed)
    else:
        information = mutual_information_matrix(*posteriors, factors)
    entropies = information.factor_entropies_nats
    nominal = [name for name in names if name in data.nominal_factors]
    scores: dict[str, Any] = {}
    if "mig" in metrics:
        scores["mig"] = mig_score(information.matrix, entropies)
    if "aam" in metrics:
        scores["aam"] = aam_score(information.matrix)
    if nominal and len(nominal) < len(names):
        without = f"without_{nominal[0] if len(nominal) == 1 else 'nominal'}"
        excluded = tuple(map(names.index, nominal))
        if "mig" in metrics:
            scores[f"mig_{without}"] = mig_score(information.matrix, entropies, exclude=excluded)
        if "aam" in metrics:
            scores[f"aam_{without}"] = aam_score(information.matrix, exclude=excluded)
    exact = {
        "factor_entropies_nats": entropies.tolist(),
        "mutual_information_nats": information.matrix.tolist(),
        "mutual_information_error_nats": information.error_nats,
    }
    return scores, exact, {}
