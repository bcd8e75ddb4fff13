"""Networks of others as encoders of a study: their weights are those they should have, for colour and for grey."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from experiments.measure import foreign_networks
from experiments.measure.foreign_networks import foreign_encoder, random_vit, vgg16_features
from sparse_repr.data import load_dataset
from sparse_repr.perceptual.vgg_weights import load_vgg16
from tests.foreign_encoders import pictures


@pytest.mark.parametrize("channels", [1, 3])
def test_vgg16_has_the_weights_of_the_file(channels: int, random_vgg: str, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = load_vgg16(random_vgg)
    monkeypatch.setattr(foreign_networks, "load_vgg16", lambda: weights)
    images = pictures(6, channels, 32).transpose(0, 3, 1, 2)
    encoder = vgg16_features(images, 4)
    assert encoder.image_shape == (channels, 32, 32)
    held = [tensor for tensor in encoder.network().state_dict().values() if tensor.shape == (64, 3, 3, 3)]
    assert torch.equal(held[0], weights["features.0.weight"])
    assert encoder.code_size == 4


def test_a_random_vit_is_another_for_each_seed() -> None:
    images = pictures(6, 1, 32).transpose(0, 3, 1, 2)
    state = torch.random.get_rng_state()
    one, other = (random_vit(images, 4, seed) for seed in (0, 1))
    assert torch.equal(torch.random.get_rng_state(), state)  # nobody's random numbers are moved
    assert not np.allclose(one.encode(images), other.encode(images))


def test_names_are_looked_up(rectangles: Path) -> None:
    with pytest.raises(ValueError, match="unknown network of others 'vgg16'. Did you mean 'vgg16_features'"):
        foreign_encoder("vgg16", load_dataset("folder", str(rectangles)), code_size=2, seed=0)
