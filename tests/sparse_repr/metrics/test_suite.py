"""Properties that every score of METRICS has, and a table of what each gives for codes that are known."""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt
import pytest

from sparse_repr.metrics import FAMILIES, METRICS, mutual_information_matrix, probe_scores
from sparse_repr.metrics.suite import SLOW

# Few values and items: gradient boosting fits 100 trees per value.
FACTORS = np.stack(np.unravel_index(np.arange(12 * 20) % 12, (3, 4)), axis=1).astype(np.int64)
ITEMS = len(FACTORS)
Codes = npt.NDArray[np.float64]


def _code(name: str) -> Codes:
    rng = np.random.default_rng(7)
    perfect = (FACTORS - FACTORS.mean(0)) / FACTORS.std(0)
    noise = rng.standard_normal((ITEMS, 3))
    mixed = np.stack([perfect[:, 0] + 0.3 * noise[:, 0], perfect[:, 1] + perfect[:, 0], noise[:, 1]], axis=1)
    mixed += 0.1 * rng.standard_normal(mixed.shape)
    dead = np.full((ITEMS, 1), 0.7)
    return {
        "perfect": perfect,
        "noise": noise,
        "duplicated": np.concatenate([perfect, perfect], axis=1),
        "mixed": mixed,
        "permuted": mixed[:, [2, 0, 1]],
        "rescaled": mixed * [0.5, 8, 3] + [0, -5, 100],
        "with dead": np.concatenate([dead, mixed[:, :1], dead * 1e3, mixed[:, 1:]], axis=1),
        "only dead": np.repeat(dead, 3, axis=1),
    }[name]


@functools.cache
def _family(family: str, name: str, seed: int = 0) -> dict[str, float]:
    return FAMILIES[family](_code(name), FACTORS, seed=seed)


FAMILY_OF = {key: family for family in FAMILIES for key in METRICS if key == family or key.startswith(f"{family}_")}
FAMILY_OF.update({key: key for key in FAMILIES if key in METRICS})
FAMILY_OF.update(
    {
        f"{family}_{part}": family
        for family in ("dci", "dci_histogram", "dci_forest", "dci_lasso")
        for part in ("disentanglement", "completeness", "informativeness")
    }
)


def _score(metric: str, name: str, seed: int = 0) -> float:
    return _family(FAMILY_OF[metric], name, seed)[metric]


# What one unit per factor and what independent noise score: not every score gives 1 and 0. Noise keeps the chance level
# of accuracies, and what a finite sample pretends. The third number pins the published
# parameters on a code that mixes factors and noise.
EXPECTED: dict[str, tuple[float, float, float]] = {
    "mig_histogram": (1.000, 0.032, 0.4482),
    "modularity": (1.000, 0.322, 0.7043),
    "beta_vae": (1.000, 0.534, 1.0000),
    "factor_vae": (1.000, 0.601, 1.0000),
    "irs": (1.000, 0.238, 0.4546),
    "sap": (0.344, 0.056, 0.1938),
    "explicitness": (1.000, 0.568, 0.9891),
    "linear_probe": (1.000, 0.300, 0.9438),
    "boosted_probe": (1.000, 0.237, 0.8938),
    "dci_disentanglement": (1.000, 0.005, 0.6534),
    "dci_completeness": (1.000, 0.005, 0.7910),
    "dci_informativeness": (1.000, 0.287, 0.9437),
    "dci_histogram_disentanglement": (1.000, 0.000, 0.4867),
    "dci_histogram_completeness": (1.000, 0.000, 0.6863),
    "dci_histogram_informativeness": (1.000, 0.237, 0.8938),
    "dci_forest_disentanglement": (1.000, 0.001, 0.4883),
    "dci_forest_completeness": (1.000, 0.002, 0.6872),
    "dci_forest_informativeness": (1.000, 0.306, 0.9500),
    "dci_lasso_disentanglement": (1.000, 0.282, 0.2181),
    "dci_lasso_completeness": (1.000, 0.214, 0.3975),
    "dci_lasso_informativeness": (1.000, 0.000, 0.9145),
    "infomec_modularity": (1.000, 0.874, 0.5097),
    "infomec_compactness": (1.000, 0.629, 0.6451),
    "infomec_explicitness": (1.000, 0.021, 0.7616),
}


def test_the_table_names_every_metric() -> None:
    assert set(EXPECTED) == set(METRICS) == set(FAMILY_OF)
    assert set(SLOW) <= set(FAMILIES)


@pytest.mark.parametrize("metric", METRICS)
def test_perfect_noise_and_mixed_codes_score_as_the_table_says(metric: str) -> None:
    perfect, noise, mixed = EXPECTED[metric]
    assert _score(metric, "perfect") == pytest.approx(perfect, abs=0.005)
    assert _score(metric, "noise") == pytest.approx(noise, abs=0.02)
    assert _score(metric, "mixed") == pytest.approx(mixed, abs=0.02 if metric.startswith("dci") else 2e-3)


@pytest.mark.parametrize("metric", METRICS)
def test_scores_are_plain_floats_in_0_1_and_repeat(metric: str) -> None:
    for name in ("perfect", "noise", "mixed"):
        score = _score(metric, name)
        assert type(score) is float
        assert 0 <= score <= 1 + 1e-12
    if FAMILY_OF[metric] not in ("dci", "dci_histogram", "dci_forest"):
        assert METRICS[metric](_code("mixed"), FACTORS, seed=0) == _score(metric, "mixed")


# Trees break ties between equally good splits by the order of units; the classifiers' optimiser stops at a tolerance.
LOOSE = dict.fromkeys([key for key in METRICS if key.startswith("dci")], 0.06) | {
    "infomec_explicitness": 1e-3,
    "boosted_probe": 0.03,
    "beta_vae": 2e-3,
}


@pytest.mark.parametrize("metric", METRICS)
def test_permuting_units_changes_nothing(metric: str) -> None:
    assert _score(metric, "permuted") == pytest.approx(_score(metric, "mixed"), abs=LOOSE.get(metric, 1e-6))


# Not invariant: IRS weighs units by their reach, the FactorVAE score drops units by an absolute threshold, InfoM and
# InfoC by their share of the largest reach, and the penalty of SAP's machines acts on the units as they are.
DEPENDS_ON_SCALE = {"irs", "factor_vae", "sap", "infomec_modularity", "infomec_compactness"}


@pytest.mark.parametrize("metric", sorted(METRICS.keys() - DEPENDS_ON_SCALE))
def test_shifting_and_scaling_units_changes_nothing(metric: str) -> None:
    assert _score(metric, "rescaled") == pytest.approx(_score(metric, "mixed"), abs=LOOSE.get(metric, 5e-3))


@pytest.mark.parametrize("metric", METRICS)
def test_dead_units_change_nothing_and_alone_score_zero(metric: str) -> None:
    assert _score(metric, "with dead") == _score(metric, "mixed")
    assert _score(metric, "only dead") == 0


@pytest.mark.parametrize(
    "metric", ["mig_histogram", "sap", "infomec_compactness", "dci_forest_completeness", "dci_completeness"]
)
def test_duplicated_units_are_punished_where_a_factor_should_have_one_unit(metric: str) -> None:
    assert _score(metric, "duplicated") < _score(metric, "perfect") - 0.1


@pytest.mark.parametrize(
    "metric", ["modularity", "irs", "factor_vae", "beta_vae", "infomec_modularity", "explicitness"]
)
def test_duplicated_units_cost_nothing_where_units_are_judged_one_by_one(metric: str) -> None:
    assert _score(metric, "duplicated") == pytest.approx(_score(metric, "perfect"), abs=0.02)


# Those that take a value's index as a number.
BY_INDEX = {"dci_lasso_disentanglement", "dci_lasso_completeness", "dci_lasso_informativeness"}


@pytest.mark.parametrize("metric", sorted(METRICS.keys() - BY_INDEX))
def test_what_numbers_name_the_values_changes_nothing(metric: str) -> None:
    if FAMILY_OF[metric] in SLOW:
        pytest.skip("the same code as the other learners of DCI")
    named = FACTORS * 10**15 + 7
    assert METRICS[metric](_code("mixed"), named) == pytest.approx(_score(metric, "mixed"), abs=1e-9)


def test_exact_information_takes_values_of_any_index() -> None:
    posterior = _code("mixed"), np.full((ITEMS, 3), -2.0)
    found, wanted = (mutual_information_matrix(*posterior, factors) for factors in (FACTORS * 10**15, FACTORS))
    np.testing.assert_allclose(found.matrix, wanted.matrix)
    np.testing.assert_allclose(found.factor_entropies_nats, wanted.factor_entropies_nats)
    with pytest.raises(ValueError, match="log_variance needs numbers of at most 200 in size, got 2000 in unit 1"):
        mutual_information_matrix(posterior[0], posterior[1] * [1, -1000, 1], FACTORS)


@pytest.mark.parametrize("metric", METRICS)
def test_bad_input_is_named(metric: str) -> None:
    score = METRICS[metric]
    good = _code("noise")
    broken = good.copy()
    broken[3, 1] = np.nan
    huge = good * [1, 1, 1e300]
    for codes, factors, error, message in (
        (broken, FACTORS, ValueError, "codes needs finite numbers, got NaN or infinity in unit 1"),
        (huge, FACTORS, ValueError, r"codes needs numbers of at most 1e\+15 in size, got [\d.]+e\+300 in unit 2"),
        (good, FACTORS.astype(np.uint64) + 2**63, ValueError, "indices that fit int64, got 9223372036854775811"),
        (good[:, 0], FACTORS, ValueError, r"codes needs shape \(N, D\)"),
        (good[:1], FACTORS[:1], ValueError, "at least 2 items, got 1"),
        (good[:-1], FACTORS, ValueError, "same number of items"),
        (good, np.zeros_like(FACTORS), ValueError, "column 0 is constant"),
    ):
        with pytest.raises(error, match=message):
            score(codes, factors)
    with pytest.raises(TypeError, match="needs integer indices"):
        score(good, FACTORS.astype(float))


def test_what_is_one_rounding_step_apart_is_dead() -> None:
    rng = np.random.default_rng(0)
    factors = np.stack([np.arange(400) % 4, np.arange(400) // 4 % 2], axis=1)
    step = np.float32(0.7) + np.spacing(np.float32(0.7)) * rng.integers(-1, 2, (400, 1))
    codes = step.astype(np.float32)
    assert np.ptp(codes) > 0
    assert METRICS["modularity"](codes, factors) == METRICS["dci_lasso_disentanglement"](codes, factors) == 0
    # far from 0, and yet a code
    far = (1e4 + 0.05 * factors).astype(np.float32)
    assert METRICS["modularity"](far, factors) > 0.9


def test_targets_of_a_probe_are_named_and_truth_values_are_classes() -> None:
    codes = np.arange(600)[:, None] % 3
    targets = codes == 1
    np.testing.assert_array_equal(
        probe_scores(codes, targets, learner="boosted"), probe_scores(codes, targets.astype(int), learner="boosted")
    )
    with pytest.raises(ValueError, match=r"targets needs shape \(N, K\), got \(600,\)"):
        probe_scores(codes, targets[:, 0])
    with pytest.raises(ValueError, match=r"leave it out \(targets\[:, keep\]\)"):
        probe_scores(codes, 0 * codes)
