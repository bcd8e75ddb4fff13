from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

from sparse_repr.metrics import udr_scores

RNG = np.random.default_rng(0)
CODES = RNG.standard_normal((400, 3))


def test_encoders_that_agree_up_to_order_sign_and_shape_score_one() -> None:
    other = -(CODES[:, [2, 0, 1]] ** 3)
    result = udr_scores([CODES, other])
    assert result.scores == pytest.approx([1, 1], abs=0.15)  # chance correlations of 400 items enter the sums
    np.testing.assert_allclose(result.pairwise, result.pairwise.T)


def test_two_units_by_hand() -> None:
    first, second = CODES[:, :1], np.stack([CODES[:, 0] + CODES[:, 1], CODES[:, 0] - 2 * CODES[:, 2]], axis=1)
    padded = np.concatenate([first, np.zeros((400, 1))], axis=1)
    similarity = np.abs([spearmanr(first[:, 0], second[:, unit]).statistic for unit in range(2)])
    expected = (similarity.sum() + similarity.max() ** 2 / similarity.sum()) / 3
    assert udr_scores([padded, second]).pairwise[0, 1] == pytest.approx(expected)


def test_units_without_kl_are_left_out() -> None:
    with_noise = np.concatenate([CODES, RNG.standard_normal((400, 3))], axis=1)
    other = np.concatenate([CODES[:, ::-1], RNG.standard_normal((400, 3))], axis=1)
    kl = [np.array([1, 1, 1, 0.001, 0.01, 0])] * 2
    assert udr_scores([with_noise, other], kl).scores == pytest.approx(udr_scores([CODES, CODES]).scores)
    assert udr_scores([with_noise, other], [kl[0], np.zeros(6)]).scores.tolist() == [0, 0]


def test_lasso_and_the_median_over_partners() -> None:
    odd_one = RNG.standard_normal((400, 3))
    for method in ("spearman", "lasso"):
        scores = udr_scores([CODES, CODES[:, ::-1], -CODES, odd_one], method=method).scores
        assert scores[:3].min() > 0.8
        assert scores[3] < 0.5


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match="at least 2 encoders, got 1"):
        udr_scores([CODES])
    with pytest.raises(ValueError, match=r"same items and size D, got shapes \[\(400, 2\), \(400, 3\)\]"):
        udr_scores([CODES, CODES[:, :2]])
    with pytest.raises(ValueError, match="method needs 'spearman' or 'lasso', got 'pearson'"):
        udr_scores([CODES, CODES], method="pearson")
    with pytest.raises(ValueError, match="kl_nats needs 2 arrays of 3 numbers"):
        udr_scores([CODES, CODES], [np.zeros(3)])
    with pytest.raises(ValueError, match=r"codes\[1\] needs finite numbers"):
        udr_scores([CODES, np.full((400, 3), np.nan)])
