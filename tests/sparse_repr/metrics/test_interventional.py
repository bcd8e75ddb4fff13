from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sparse_repr.metrics import (
    beta_vae_score,
    factor_vae_score,
    infomec_scores,
    irs_score,
    mig_histogram_score,
    modularity_score,
)
from sparse_repr.metrics.sampling import SharedValues, draw_items, split_items

FACTORS = np.stack(np.unravel_index(np.arange(60), (3, 4, 5)), axis=1)


def test_partners_share_the_factor_and_nothing_else() -> None:
    rng = np.random.default_rng(0)
    shared = SharedValues(FACTORS)
    for k, sizes in enumerate((3, 4, 5)):
        items = shared.draw((500, 4), k, rng)
        assert len(np.unique(items)) == 60
        partners, alike = shared.partners(items, k, rng), shared.alike(items, k, rng)
        assert not (partners == items).any()
        assert (alike == items).any()
        other = (k + 1) % 3
        for found in (partners, alike):
            assert (FACTORS[found, k] == FACTORS[items, k]).all()
            assert len(np.unique(found)) == 60
        # of the 60 / sizes items with the value one is the item itself
        shares = (60 / sizes / (3, 4, 5)[other] - 1) / (60 / sizes - 1), 1 / (3, 4, 5)[other]
        for found, share in zip((partners, alike), shares, strict=True):
            assert (FACTORS[found, other] == FACTORS[items, other]).mean() == pytest.approx(share, abs=0.05)
        assert sizes == len(np.unique(FACTORS[:, k]))


def test_items_whose_value_no_other_has_take_no_part() -> None:
    factors = np.array([[0, 0], [0, 1], [1, 0], [2, 1], [3, 0], [4, 1]])
    shared = SharedValues(factors)
    rng = np.random.default_rng(0)
    items = shared.draw((200,), 0, rng)
    assert np.unique(items).tolist() == [0, 1]
    assert np.array_equal(shared.partners(items, 0, rng), 1 - items)
    assert np.unique(shared.draw((200,), 1, rng)).tolist() == [0, 1, 2, 3, 4, 5]


def test_noise_scores_as_chance_where_few_items_share_a_value() -> None:
    # seven items have each value of the first factor; a partner that may be the item itself scored 0.9
    factors = np.stack([np.arange(4_200) // 7, np.arange(4_200) % 7 % 2], axis=1)
    noise = np.random.default_rng(0).normal(size=(4_200, 8))
    assert beta_vae_score(noise, factors, train=1_500, test=1_500) == pytest.approx(0.5, abs=0.06)


def test_robustness_is_not_read_from_values_that_one_item_has() -> None:
    noise = np.random.default_rng(0).normal(size=(300, 4))
    half = np.arange(300) % 2
    with pytest.raises(ValueError, match="column 1 has 300 different ones"):
        irs_score(noise, np.stack([half, np.arange(300)], axis=1))
    mostly_alone = np.where(np.arange(300) < 200, np.arange(300), 200 + half)
    # values that one item has counted as robust: 0.99
    assert irs_score(noise, np.stack([half, mostly_alone], axis=1)) < 0.4
    with pytest.raises(ValueError, match="column 0 has 300 different ones"):
        infomec_scores(noise, np.stack([np.arange(300), half], axis=1))


def test_items_are_split_without_overlap_and_in_proportion() -> None:
    rng = np.random.default_rng(0)
    train, test = split_items(100, 10_000, 5_000, rng)
    assert (len(train), len(test)) == (67, 33)
    assert len(np.union1d(train, test)) == 100
    train, test = split_items(100, 20, 10, rng)
    assert (len(train), len(test), len(np.intersect1d(train, test))) == (20, 10, 0)
    assert draw_items(5, 10, rng).tolist() == [0, 1, 2, 3, 4]
    assert len(np.unique(draw_items(50, 20, rng))) == 20
    with pytest.raises(ValueError, match="train and test need at least 1 item each, got 0 and 5"):
        split_items(10, 0, 5, rng)


def test_continuous_factors_share_nothing() -> None:
    unique = np.arange(20)[:, None] + [0, 0]
    with pytest.raises(ValueError, match="column 0 has 20 different ones"):
        beta_vae_score(np.random.default_rng(0).random((20, 2)), unique)
    with pytest.raises(ValueError, match="at least 2 factors, got 1"):
        factor_vae_score(np.random.default_rng(0).random((60, 2)), FACTORS[:, :1])


def test_factor_vae_drops_units_below_its_threshold() -> None:
    codes = FACTORS * [1.0, 1.0, 0.03]  # the last unit's deviation is 0.042
    full = factor_vae_score(codes, FACTORS, least_std=0.01)
    assert full == 1
    dropped = factor_vae_score(codes, FACTORS)
    assert 0.6 < dropped < 0.75  # two of three factors are told; the third gets whichever vote falls
    assert factor_vae_score(codes * 0.01, FACTORS) == 0


def test_irs_by_hand() -> None:
    factors = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    codes = np.array([[0.0], [1.0], [2.0], [3.0]])
    # fixing factor 0 leaves +-0.5 around the mean, fixing factor 1 leaves +-1; the largest deviation is 1.5
    assert irs_score(codes, factors, quantile=1) == pytest.approx(1 - 0.5 / 1.5)
    weighted = np.concatenate([codes, 10 * factors[:, 1:]], axis=1)  # a perfect unit with deviation 5
    assert irs_score(weighted, factors, quantile=1) == pytest.approx((1.5 * 2 / 3 + 5) / 6.5)
    with pytest.raises(ValueError, match=r"quantile needs a number in 0\.\.1, got 2"):
        irs_score(codes, factors, quantile=2)


def test_draws_follow_the_seed() -> None:
    codes = FACTORS + np.random.default_rng(0).normal(0, 2, (60, 3))
    for score in (beta_vae_score, factor_vae_score):
        assert score(codes, FACTORS, seed=3, train=100, test=50) == score(codes, FACTORS, seed=3, train=100, test=50)
    scores = {factor_vae_score(codes, FACTORS, seed=seed, batch_size=4, train=100, test=50) for seed in range(4)}
    assert len(scores) > 1


@pytest.mark.parametrize(
    ("score", "counts", "said"),
    [
        (factor_vae_score, {"batch_size": 1}, "batch_size needs a whole number of at least 2, got 1"),
        (factor_vae_score, {"train": 0}, "train needs a whole number of at least 1, got 0"),
        (beta_vae_score, {"batch_size": 0}, "batch_size needs a whole number of at least 1, got 0"),
        (beta_vae_score, {"test": 2.5}, "test needs a whole number of at least 1, got 2.5"),
        (mig_histogram_score, {"bins": 0}, "bins needs a whole number of at least 1, got 0"),
        (mig_histogram_score, {"samples": 0}, "samples needs a whole number of at least 2, got 0"),
        (modularity_score, {"bins": -1}, "bins needs a whole number of at least 1, got -1"),
    ],
)
def test_numbers_of_which_nothing_can_be_drawn_are_named(score: Any, counts: dict[str, Any], said: str) -> None:
    factors = np.stack([np.arange(60) % 3, np.arange(60) % 2], axis=1)
    with pytest.raises(ValueError, match=said):
        score(factors.astype(float), factors, **counts)
