"""What keypoints say in unseen domains: sprites are where the frames' places say, and all of it runs."""

from __future__ import annotations

import numpy as np
import pytest

from envs.domains import TARGETS
from experiments.benchmark.unseen import ARMS, SPRITES, frames_of, measure_unseen


@pytest.mark.parametrize("domain", ["source", "camera"])
def test_sprites_are_where_the_frames_say(domain: str) -> None:
    images, places = frames_of(domain, 40, seed=3)
    assert images.shape == (40, 64, 64, 3)
    assert places.shape == (40, 2 * len(SPRITES))
    lit = elsewhere = 0
    for image, place in zip(images, places, strict=True):
        # the player and its field, 8 to 56 pixels from the edge
        column, row = np.round(8 + 48 * place[:2]).astype(int)
        if 2 <= column < 62 and 2 <= row < 62:
            lit += int(image[row - 1 : row + 2, column - 1 : column + 2].any())
            opposite = image[::-1, ::-1]
            elsewhere += int(opposite[row - 1 : row + 2, column - 1 : column + 2].any())
    assert lit >= 38
    assert elsewhere < 20
    again, same = frames_of(domain, 40, seed=3)
    np.testing.assert_array_equal(again, images)
    np.testing.assert_array_equal(same, places)


def test_a_moved_camera_moves_the_places() -> None:
    _, source = frames_of("source", 5, seed=3)
    _, moved = frames_of("camera", 5, seed=3)
    shift = moved[0] - source[0]
    np.testing.assert_allclose(shift[0::2], shift[0], rtol=1e-5)
    np.testing.assert_allclose(shift[1::2], shift[1], rtol=1e-5)
    assert shift[0] > 0 > shift[1]


@pytest.mark.slow
def test_every_arm_is_measured_in_every_domain() -> None:
    results = measure_unseen((1,), steps=200, scale=0.02)
    assert set(results["arms"]) == set(ARMS)
    for seeds in results["arms"].values():
        assert set(seeds["1"]["domains"]) == {"source", *TARGETS}
        for scores in seeds["1"]["domains"].values():
            assert set(scores) == {"present", *SPRITES}
            assert all(0 <= scores[sprite] <= 1 for sprite in SPRITES)
            assert 0 <= scores["present"] <= 32
