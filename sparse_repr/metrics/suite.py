"""The registry of scores: METRICS, and the families of scores that one fit gives together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sparse_repr.metrics.histogram import mig_histogram_score, modularity_score
from sparse_repr.metrics.infomec import infomec_scores, takes_few_values
from sparse_repr.metrics.interventional import beta_vae_score, factor_vae_score, irs_score
from sparse_repr.metrics.predictive import dci_scores, explicitness_score, sap_score
from sparse_repr.metrics.probes import boosted_probe_score, linear_probe_score
from sparse_repr.metrics.validation import live_units

Metric = Callable[..., float]
Family = Callable[..., dict[str, float]]


def _single(name: str, metric: Metric) -> Family:
    def scores(codes: Any, factors: Any, *, seed: int = 0) -> dict[str, float]:
        return {name: metric(codes, factors, seed=seed)}

    return scores


def _dci(prefix: str, learner: str) -> Family:
    def scores(codes: Any, factors: Any, *, seed: int = 0) -> dict[str, float]:
        result = dci_scores(codes, factors, seed=seed, learner=learner)
        return {
            f"{prefix}_disentanglement": result.disentanglement,
            f"{prefix}_completeness": result.completeness,
            f"{prefix}_informativeness": result.informativeness,
        }

    return scores


def _infomec(codes: Any, factors: Any, *, seed: int = 0, discrete: bool | None = None) -> dict[str, float]:
    result = infomec_scores(codes, factors, seed=seed, discrete=discrete)
    return {
        "infomec_modularity": result.modularity,
        "infomec_compactness": result.compactness,
        "infomec_explicitness": result.explicitness,
    }


# what `bootstrap_intervals` asks once, for all items, and hands to every half of them
_infomec.decided_once = lambda codes: {"discrete": takes_few_values(codes[:, live_units(codes)])}  # type: ignore[attr-defined]


FAMILIES: dict[str, Family] = {
    "mig_histogram": _single("mig_histogram", mig_histogram_score),
    "modularity": _single("modularity", modularity_score),
    "beta_vae": _single("beta_vae", beta_vae_score),
    "factor_vae": _single("factor_vae", factor_vae_score),
    "irs": _single("irs", irs_score),
    "dci": _dci("dci", "gradient_boosting"),
    "dci_histogram": _dci("dci_histogram", "histogram_boosting"),
    "dci_forest": _dci("dci_forest", "random_forest"),
    "dci_lasso": _dci("dci_lasso", "lasso"),
    "sap": _single("sap", sap_score),
    "explicitness": _single("explicitness", explicitness_score),
    "infomec": _infomec,
    "linear_probe": _single("linear_probe", linear_probe_score),
    "boosted_probe": _single("boosted_probe", boosted_probe_score),
}
"""Name -> f(codes, factors, *, seed=0) -> {key of `METRICS`: score}: what is computed together, once."""

SLOW = ("dci",)
"""Families that take minutes on 10,000 items: `evaluate` computes them where they are asked for by name."""

SLOW_ON_WIDE_CODES = ("dci_histogram", "dci_forest")
"""Families whose learner takes more than a minute a factor at 64 units, in proportion to them: `evaluate` computes them
for wider codes where they are asked for by name."""

_TOGETHER = {
    family: tuple(f"{family}_{part}" for part in parts)
    for family, parts in {
        **dict.fromkeys(
            ("dci", "dci_histogram", "dci_forest", "dci_lasso"), ("disentanglement", "completeness", "informativeness")
        ),
        "infomec": ("modularity", "compactness", "explicitness"),
    }.items()
}


def _member(family: str, key: str) -> Metric:
    def score(codes: Any, factors: Any, *, seed: int = 0, **options: Any) -> float:
        return FAMILIES[family](codes, factors, seed=seed, **options)[key]

    score.decided_once = getattr(FAMILIES[family], "decided_once", None)  # type: ignore[attr-defined]
    score.__doc__ = f"`{key}` of the family `{family}`: 0..1, higher is better."
    return score


OURS = frozenset(FAMILIES)
"""What the package brings."""
METRICS: dict[str, Metric] = {
    "mig_histogram": mig_histogram_score,
    "modularity": modularity_score,
    "beta_vae": beta_vae_score,
    "factor_vae": factor_vae_score,
    "irs": irs_score,
    "sap": sap_score,
    "explicitness": explicitness_score,
    "linear_probe": linear_probe_score,
    "boosted_probe": boosted_probe_score,
    **{key: _member(family, key) for family, keys in _TOGETHER.items() for key in keys},
}
"""Name -> f(codes (N, D), factors (N, K), *, seed=0) -> float in 0..1, higher is better.

Members of a family (`dci_…`, `infomec_…`) each fit anew; `FAMILIES` gives them together.
"""
