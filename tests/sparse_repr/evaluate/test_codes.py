import dataclasses

import numpy as np
import pytest

from sparse_repr.data import ArrayImages, FactorDataset
from sparse_repr.data.base import full_grid
from sparse_repr.encoder.statistics import EncodedItems
from sparse_repr.evaluate.codes import disentanglement_scores
from sparse_repr.metrics import aam_score, mig_score

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


def test_a_constant_nominal_factor_gives_no_name(grid: FactorDataset, encoded: EncodedItems) -> None:
    assert grid.factors is not None
    rows = np.flatnonzero(grid.factors[:, 0] == 1)
    part = EncodedItems(rows, encoded.mean[rows], encoded.log_variance[rows])
    data = dataclasses.replace(grid, nominal_factors=("shape", "color"))
    scores = disentanglement_scores(part, data, ("mig",))
    assert scores is not None
    assert "mig_without_color" in scores
