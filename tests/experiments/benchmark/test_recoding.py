"""What recoded codes cost is timed on agents that are shown them."""

from __future__ import annotations

import numpy as np
import pytest

from experiments.benchmark import recoding
from experiments.benchmark.recoding import VIEWS, keypoint_encoder, measure_recoding


def test_every_view_of_every_code_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recoding, "_ENVIRONMENTS", 2)
    monkeypatch.setattr(recoding, "_SETTINGS", {"n_steps": 8, "batch_size": 8, "n_epochs": 1})
    results = measure_recoding(rounds=1, calls=2)
    assert len(results["agent_step_s"]) == 3
    for views in results["agent_step_s"].values():
        assert set(views) == set(VIEWS)
        assert views["plain"]["over_plain"] == 1
        assert views["expand"]["over_plain"] == views["expand"]["median"] / views["plain"]["median"] > 0
    assert all(0 < one["least"] <= one["median"] for one in results["one_image_s"].values())


def test_the_encoder_that_is_timed_has_every_unit_active() -> None:
    encoder = keypoint_encoder(keypoints=4)
    assert encoder.spec.units.active == (True,) * 12
    images = np.random.default_rng(0).integers(0, 256, (3, *encoder.image_shape), dtype=np.uint8)
    assert encoder.encode(images).shape == (3, 12)
