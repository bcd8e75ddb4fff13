from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch

from rl.code_scaling import CodeScaling
from sparse_repr import FrozenEncoder


def _encoder(active: tuple[bool, ...] = (True, True, False)) -> FrozenEncoder:
    units = SimpleNamespace(mean=(1.0, -2.0, 5.0), std=(0.5, 4.0, 1e-6), active=active)
    return cast(FrozenEncoder, SimpleNamespace(spec=SimpleNamespace(units=units)))


CODES = np.array([[1.5, 0.0, 5.000001], [0.0, 2.0, 5.0]], dtype=np.float32)


@pytest.mark.parametrize(
    ("scaling", "expected"),
    [
        ("none", CODES.tolist()),
        ("scale", [[3.0, 0.0, 0.0], [0.0, 0.5, 0.0]]),
        ("standardize", [[1.0, 0.5, 0.0], [-2.0, 1.0, 0.0]]),
    ],
)
def test_units_are_scaled_and_dead_ones_silenced(scaling: Any, expected: list[list[float]]) -> None:
    scaled = CodeScaling(_encoder(), scaling)
    np.testing.assert_allclose(scaled.numpy(CODES), expected, atol=1e-6)
    np.testing.assert_array_equal(scaled.torch(torch.from_numpy(CODES)).numpy(), scaled.numpy(CODES))
    assert scaled.numpy(CODES).dtype == np.float32
    assert scaled.torch(torch.from_numpy(CODES).double()).dtype == torch.float64


def test_exact_zeros_survive_scale() -> None:
    assert (CodeScaling(_encoder(), "scale").numpy(CODES)[CODES == 0] == 0).all()


def test_a_dead_encoder_cannot_be_scaled() -> None:
    with pytest.raises(ValueError, match="code_scaling='scale' needs active units, but none of the 3 units"):
        CodeScaling(_encoder((False, False, False)), "scale")
    CodeScaling(_encoder((False, False, False)), "none")


def test_unknown_scalings_are_refused() -> None:
    with pytest.raises(ValueError, match="code_scaling needs one of none, scale, standardize, got 'whiten'"):
        CodeScaling(_encoder(), cast(Any, "whiten"))
