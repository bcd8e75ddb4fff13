import dataclasses
from typing import Any

import numpy as np
import pytest

from sparse_repr.data import ArrayImages, FactorDataset
from sparse_repr.data.base import full_grid
from sparse_repr.encoder.statistics import EncodedItems
from sparse_repr.evaluate.codes import disentanglement_scores
from sparse_repr.evaluate.report import summary, with_earlier_scores
from sparse_repr.metrics import FAMILIES, aam_score, mig_score

SIZES = (3, 4, 3)


@pytest.fixture
def grid() -> FactorDataset:
    factors = full_grid(SIZES)
    images = ArrayImages(np.zeros((len(factors), 1, 4, 4), np.uint8))
    return FactorDataset("test", images, "drawn", ("shape", "x", "color"), SIZES, factors)


@pytest.fixture
def encoded(grid: FactorDataset) -> EncodedItems:
    assert grid.factors is not None
    turn = np.array([[1, 0.3, 0], [0, 1, 0.2], [0.4, 0, 1]])
    mean = (grid.factors @ turn).astype(np.float32)
    return EncodedItems(np.arange(len(grid)), mean, np.full_like(mean, np.log(0.04)))


@pytest.mark.parametrize(
    ("nominal", "excluded", "key"),
    [(("shape",), (0,), "shape"), (("color",), (2,), "color"), (("shape", "color"), (0, 2), "nominal")],
)
def test_scores_are_given_without_the_nominal_factors_too(
    grid: FactorDataset, encoded: EncodedItems, nominal: tuple[str, ...], excluded: tuple[int, ...], key: str
) -> None:
    data = dataclasses.replace(grid, nominal_factors=nominal)
    scores = disentanglement_scores(encoded, data, ("mig", "aam"))
    assert scores is not None
    assert {name for name in scores if "_without_" in name} == {f"mig_without_{key}", f"aam_without_{key}"}
    matrix, entropies = (np.asarray(scores[name]) for name in ("mutual_information_nats", "factor_entropies_nats"))
    assert scores[f"mig_without_{key}"] == mig_score(matrix, entropies, exclude=excluded)
    assert scores[f"aam_without_{key}"] == aam_score(matrix, exclude=excluded)
    assert scores[f"mig_without_{key}"] != scores["mig"]


@pytest.mark.parametrize("nominal", [(), ("shape", "x", "color")])
def test_a_factor_is_not_nominal_by_its_name_and_some_factor_must_remain(
    grid: FactorDataset, encoded: EncodedItems, nominal: tuple[str, ...]
) -> None:
    scores = disentanglement_scores(encoded, dataclasses.replace(grid, nominal_factors=nominal), ("mig", "aam"))
    assert scores is not None
    assert {"mig", "aam"} <= scores.keys()
    assert not [name for name in scores if "_without_" in name]


def test_factors_without_bins_have_the_scores_of_their_values(grid: FactorDataset, encoded: EncodedItems) -> None:
    assert grid.factors is not None
    values = np.concatenate([grid.factors[:, :2], np.ones((len(grid), 1))], axis=1).astype(np.float32)
    data = dataclasses.replace(grid, factors=None, factor_sizes=(), factor_values=values)
    scores = disentanglement_scores(encoded, data, ("mig", "linear_probe", "probes"))
    assert scores is not None
    assert (scores["mig"], scores["linear_probe"]) == (None, None)
    assert scores["factor_names"] == ["shape", "x"]
    assert scores["constant_factors_left_out"] == ["color"]
    assert min(scores["probe_r2"]["linear"]) > 0.9
    assert set(scores["notes"]) == {"mig", "linear_probe"}
    assert "declare factor_bins" in scores["notes"]["mig"]
    constant = dataclasses.replace(data, factor_values=np.ones_like(values))
    assert disentanglement_scores(encoded, constant, ("mig",)) is None


def test_a_score_stands_where_its_interval_cannot_be_taken() -> None:
    rng = np.random.default_rng(0)
    factors = np.stack([rng.integers(0, 4, 1_000), np.arange(1_000) < 3], axis=1).astype(np.int64)
    images = ArrayImages(np.zeros((1_000, 1, 4, 4), np.uint8))
    data = FactorDataset("test", images, "drawn", ("x", "rare"), (4, 2), factors)
    mean = (factors + 0.1 * rng.normal(size=factors.shape)).astype(np.float32)
    encoded = EncodedItems(np.arange(1_000), mean, np.zeros_like(mean))
    scores = disentanglement_scores(encoded, data, ("modularity", "sap"), n_bootstrap=50)
    assert scores is not None
    assert scores["modularity"] > 0.5
    assert "modularity" not in scores["intervals_95"]
    assert "cannot score each half" in scores["notes"]["modularity, interval"]


@pytest.mark.parametrize("n_bootstrap", [0, 2])
def test_scores_that_draw_nothing_say_that_they_have_no_interval(n_bootstrap: int) -> None:
    factors = np.random.default_rng(0).integers(0, 4, (600, 2)).astype(np.int64)
    data = FactorDataset(
        "test",
        ArrayImages(np.zeros((600, 1, 4, 4), np.uint8)),
        "drawn",
        ("x", "y"),
        (4, 4),
        factors,
        factors.astype(np.float32),
    )
    encoded = EncodedItems(np.arange(600), factors.astype(np.float32), np.zeros((600, 2), np.float32))
    asked = ("mig", "aam", "linear_probe", "probes", "modularity")
    scores = disentanglement_scores(encoded, data, asked, n_bootstrap=n_bootstrap)
    assert scores is not None
    assert scores["notes"].keys() == (
        {"mig, interval", "aam, interval", "probe_r2, interval"} if n_bootstrap else set()
    )
    assert ("modularity" in scores["intervals_95"]) == bool(n_bootstrap)


def test_the_summary_has_the_probes_and_says_what_is_missing() -> None:
    found = {
        "mig": None,
        "sap": None,
        "irs": 0.5,
        "probe_r2": {"linear": [0.25, 1.0]},
        "factor_names": ["x", "y"],
        "over": "the items present",
        "notes": {"mig": "no bins", "sap": "no bins", "irs, interval": "too few"},
    }
    codes = {"active_units": 2, "kl_nats": 1.0, "near_zero_fraction": 0.0}
    report = {"images": {"protocol": "no decoder"}, "codes": codes, "disentanglement": found}
    assert summary(report).splitlines()[2:] == [
        "irs 0.5000",
        "R² of a linear probe: x 0.250, y 1.000",
        "(over the items present)",
        "no mig, sap: no bins",
        "no irs, interval: too few",
    ]


def test_a_constant_nominal_factor_gives_no_name(grid: FactorDataset, encoded: EncodedItems) -> None:
    assert grid.factors is not None
    rows = np.flatnonzero(grid.factors[:, 0] == 1)
    part = EncodedItems(rows, encoded.mean[rows], encoded.log_variance[rows])
    data = dataclasses.replace(grid, nominal_factors=("shape", "color"))
    scores = disentanglement_scores(part, data, ("mig",))
    assert scores is not None
    assert "mig_without_color" in scores


def _raises(*_: object, **__: object) -> dict[str, float]:
    raise ZeroDivisionError("by nothing")


@pytest.mark.parametrize(
    ("own", "why"),
    [
        (_raises, "ZeroDivisionError: by nothing"),
        (lambda *_, **__: 0.5, "own needs to return names and numbers, got 0.5"),
        (lambda *_, **__: {"own": "much"}, "own needs to return names and numbers"),
    ],
)
def test_a_score_of_ones_own_that_fails_costs_no_other(
    own: Any, why: str, grid: FactorDataset, encoded: EncodedItems, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FAMILIES, "own", own)
    scores = disentanglement_scores(encoded, grid, ("own", "modularity"))
    assert scores is not None
    assert scores["own"] is None
    assert scores["notes"]["own"].startswith(why)
    assert scores["modularity"] is not None
    # a fault of the package is none of the user's
    monkeypatch.setitem(FAMILIES, "modularity", _raises)
    with pytest.raises(ZeroDivisionError):
        disentanglement_scores(encoded, grid, ("modularity",))


def test_the_summary_shows_intervals_and_says_that_no_factor_is_known() -> None:
    report = {
        "images": {"protocol": "on 10 images"},
        "codes": {"active_units": 2, "hoyer_sparsity": 0.5, "kl_nats": 1.0, "near_zero_fraction": 0.0},
        "disentanglement": {
            "modularity": 0.5,
            "sap": 0.25,
            "intervals_95": {"sap": [0.125, 0.375]},
            "over": "2 factors",
        },
    }
    assert "modularity 0.5000  sap 0.2500 (0.1250 to 0.3750)" in summary(report)
    del report["disentanglement"]
    assert summary(report).endswith("no scores of factors: none is known of this data, or none takes two values")


def test_what_cannot_be_probed_leaves_the_other_scores(grid: FactorDataset, encoded: EncodedItems) -> None:
    scores = disentanglement_scores(encoded, grid, ("modularity", "probes"))  # without values
    assert scores is not None
    assert (scores["probe_r2"], scores["notes"]["probe_r2"]) == (None, "the data set test has no values of its factors")
    assert grid.factors is not None
    stamps = dataclasses.replace(grid, factor_values=(1e18 * (1 + grid.factors)).astype(np.float32))
    scores = disentanglement_scores(encoded, stamps, ("modularity", "probes"))
    assert scores is not None
    assert scores["modularity"] is not None
    assert "of the values of the factors: targets needs numbers of at most 1e+15" in scores["notes"]["probe_r2"]


def test_a_blurred_posterior_leaves_the_scores_of_the_means(grid: FactorDataset, encoded: EncodedItems) -> None:
    log_variance = encoded.log_variance.copy()
    log_variance[0, 0] = 300
    found = disentanglement_scores(dataclasses.replace(encoded, log_variance=log_variance), grid, ("mig", "modularity"))
    assert found is not None
    assert found["mig"] is None
    assert "log_variance needs numbers of at most 200" in found["notes"]["mig"]
    assert found["modularity"] is not None


def _scored(factors: str, **scores: Any) -> dict[str, Any]:
    told = {"intervals_95": {}, "metric_seconds": {}, "notes": {}, "over": "", "estimators": "", "factor_names": ["a"]}
    codes = {"encoder": "e", "items": 4, "sampled": False, "data": {}, "scored": {"seed": 0, "factors": factors}}
    return {**codes, "disentanglement": {**told, **scores}}


def test_earlier_scores_are_kept_of_the_same_factors_alone() -> None:
    new = _scored("x", irs=0.5)
    assert with_earlier_scores(new, _scored("x", sap=0.25))["disentanglement"]["sap"] == 0.25
    assert with_earlier_scores(new, _scored("y", sap=0.25)) == new
    damaged = _scored("x", sap=0.25)
    del damaged["disentanglement"]["notes"]
    for odd in (damaged, None, [], {"disentanglement": 3}, {}):
        assert with_earlier_scores(new, odd) == new


def test_factors_have_a_digest_of_names_indices_and_values(grid: FactorDataset) -> None:
    items = np.arange(10)
    assert grid.factors is not None
    others = [
        dataclasses.replace(grid, factor_names=("shape", "y", "color")),
        dataclasses.replace(grid, factors=grid.factors[::-1].copy()),
        dataclasses.replace(grid, factor_values=grid.factors.astype(np.float32)),
    ]
    digests = {data.factors_digest(items) for data in (grid, *others)}
    assert len(digests) == 4
    assert grid.factors_digest(items) == dataclasses.replace(grid).factors_digest(items)
