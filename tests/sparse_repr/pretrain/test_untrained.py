from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from sparse_repr import load_encoder, save_encoder, untrained_encoder
from sparse_repr.data import load_dataset
from sparse_repr.data.base import ArrayImages, FactorDataset
from sparse_repr.models import build_encoder, build_vae

ARGUMENTS = {"channels": 3, "size": 64, "code_size": 6}


def _pictures(count: int = 40, shape: tuple[int, int, int] = (1, 32, 32)) -> FactorDataset:
    images = np.random.default_rng(0).integers(0, 256, (count, *shape), dtype=np.uint8)
    return FactorDataset(name="noise", store=ArrayImages(images), source="drawn", factor_names=())


def _same(first: torch.nn.Module, second: torch.nn.Module) -> bool:
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_weights_are_those_that_pretraining_starts_from() -> None:
    encoder = untrained_encoder(3, code_size=6, seed=4)
    assert _same(encoder.network(), build_vae("burgess", ARGUMENTS, seed=4).encoder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        assert _same(encoder.network(), build_encoder("burgess", ARGUMENTS))
    assert untrained_encoder(3, code_size=6, seed=4) == encoder
    assert not _same(encoder.network(), untrained_encoder(3, code_size=6, seed=5).network())


def test_the_global_random_state_is_left_alone() -> None:
    before = torch.random.get_rng_state()
    untrained_encoder(1, size=32, seed=3, data=_pictures(), initialisation="he")
    assert torch.equal(torch.random.get_rng_state(), before)


def test_without_images_units_have_mean_0_and_deviation_1() -> None:
    encoder = untrained_encoder(3, size=64, source=96, code_size=6)
    units = encoder.spec.units
    assert (units.mean, units.std, units.active) == ((0.0,) * 6, (1.0,) * 6, (True,) * 6)
    assert encoder.image_shape == (3, 96, 96)
    assert encoder.code_size == 6


def test_with_images_units_are_measured_and_active_where_they_vary_at_all() -> None:
    data = _pictures()
    encoder = untrained_encoder(1, size=32, code_size=5, data=data)
    codes = encoder.encode(data.images(data.split[0]))
    np.testing.assert_allclose(encoder.spec.units.mean, codes.mean(0), atol=1e-6)
    np.testing.assert_allclose(encoder.spec.units.std, codes.std(0), rtol=1e-4)
    assert max(encoder.spec.units.std) < 0.1  # no unit would be active by the threshold for trained ones
    assert encoder.spec.units.active == (True,) * 5
    assert encoder.spec.dataset["name"] == "noise"
    still = FactorDataset(name="black", store=ArrayImages(np.zeros((40, 1, 32, 32), np.uint8)), source="drawn")
    assert untrained_encoder(1, size=32, code_size=5, data=still).spec.units.active == (False,) * 5


def test_he_weights_let_pictures_through_that_the_default_ones_fade() -> None:
    data = _pictures()
    faded, kept = (untrained_encoder(1, size=32, data=data, initialisation=name) for name in ("default", "he"))
    assert min(kept.spec.units.std) > 3 * max(faded.spec.units.std)


def test_it_is_saved_like_any_other(rectangles: Path, tmp_path: Path) -> None:
    encoder = untrained_encoder(1, size=32, data=load_dataset("folder", rectangles))
    assert load_encoder(save_encoder(encoder, tmp_path / "encoder.safetensors")) == encoder


def test_images_that_do_not_fit_and_missing_ones_are_refused() -> None:
    with pytest.raises(ValueError, match="the encoder needs uint8 images with 1 channel of 64x64"):
        untrained_encoder(1, data=_pictures())
    with pytest.raises(ValueError, match="initialisation='he' needs data"):
        untrained_encoder(1, initialisation="he")
    with pytest.raises(ValueError, match="unknown initialisation 'glorot'"):
        untrained_encoder(1, size=32, data=_pictures(), initialisation="glorot")
