from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

from experiments.measure.place_probe import axis_r2, standardised


def test_units_are_standardised_by_the_training_codes() -> None:
    train, test = standardised(np.array([[1.0, 5.0], [3.0, 5.0]]), np.array([[7.0, 6.0]]))
    assert train.tolist() == [[-1, 0], [1, 0]]
    assert test.tolist() == [[5, 0]]


def test_a_unit_that_was_noise_in_training_does_not_drown_the_others() -> None:
    # a keypoint that is in no training image, up to rounding, and in one other image
    rng = np.random.default_rng(0)
    place = rng.random((600, 1))
    noise = 1e-6 * rng.standard_normal((600, 1))
    noise[-1] = 0.6
    codes = np.concatenate([place, noise], 1)
    train, test = standardised(codes[:300], codes[300:])
    line = LinearRegression().fit(train, place[:300])
    assert axis_r2(line.predict(test), place[300:]) == pytest.approx([1.0])
    # divided by its own deviation the unit decides
    drowned = (codes - codes[:300].mean(0)) / codes[:300].std(0)
    wrong = LinearRegression().fit(drowned[:300] + 1e-3 * rng.standard_normal((300, 2)), place[:300])
    assert axis_r2(wrong.predict(drowned[300:]), place[300:]) < 0
