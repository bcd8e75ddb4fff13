from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from sparse_repr.data import DATASETS, dsprites_variants, load_dataset
from sparse_repr.data.base import ArrayImages, FactorDataset, full_grid
from sparse_repr.data.dsprites_variants import ColoredSprites, NoisySprites

# written down when the variants were made
COLORS = [[128, 240, 183], [131, 251, 141], [238, 215, 206]]
NOISE = [[0, 0, 0], [151, 190, 74], [95, 140, 236]]


def sprites(count: int = 500) -> ArrayImages:
    images = np.zeros((count, 1, 64, 64), dtype=np.uint8)
    images[:, :, 20:30, 20:30] = 255
    return ArrayImages(images)


def test_coloured_sprites_are_one_bright_colour_on_black() -> None:
    images = ColoredSprites(sprites()).read(np.arange(500))
    assert images.shape == (500, 3, 64, 64)
    assert images.dtype == np.uint8
    inside = images[:, :, 20:30, 20:30].reshape(500, 3, -1)
    assert (inside == inside[:, :, :1]).all()
    images[:, :, 20:30, 20:30] = 0
    assert images.max() == 0
    color = inside[:, :, 0].astype(float)
    # uniform in 0.5..1 of 255: mean 191.25 and deviation 36.8 a channel, three independent ones
    assert color.min() >= 127
    assert color.max() <= 255
    assert abs(color.mean(axis=0) - 191.25).max() < 6
    assert abs(color.std(axis=0) - 36.8).max() < 3
    assert abs(np.corrcoef(color.T) - np.eye(3)).max() < 0.2


def test_noisy_sprites_are_white_on_uniform_noise() -> None:
    images = NoisySprites(sprites(50)).read(np.arange(50))
    assert images.shape == (50, 3, 64, 64)
    assert (images[:, :, 20:30, 20:30] == 255).all()
    ground = images[:, :, :20].astype(float)  # 192,000 values
    assert abs(ground.mean() - 127.5) < 1
    assert abs(ground.std() - 73.9) < 1
    levels = np.bincount(images[:, :, :20].ravel(), minlength=256)
    assert levels.min() > 600  # 750 expected
    # no trace of one image, channel or row in the next
    for axis in (0, 1, 2, 3):
        first, second = np.delete(ground, -1, axis), np.delete(ground, 0, axis)
        assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.02


@pytest.mark.parametrize("variant", [ColoredSprites, NoisySprites])
def test_an_index_is_always_the_same_image_and_the_seed_changes_it(variant) -> None:
    store = variant(sprites())
    together = store.read(np.array([7, 3, 499, 3]))
    np.testing.assert_array_equal(together[1], together[3])
    np.testing.assert_array_equal(store.read(np.array([499]))[0], together[2])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(store)).read(np.array([7]))[0], together[0])
    assert (together[0] != together[1]).any()
    assert (variant(sprites(), seed=1).read(np.array([7]))[0] != together[0]).any()
    assert (variant(sprites(), seed=-1).read(np.array([7]))[0] != together[0]).any()
    assert store.image_shape == (3, 64, 64)
    assert len(store) == 500


def test_the_images_never_change_from_release_to_release() -> None:
    indices = np.array([0, 1, 499])
    assert ColoredSprites(sprites()).read(indices)[:, :, 25, 25].tolist() == COLORS
    assert NoisySprites(sprites()).read(indices)[:, 0, 0, :3].tolist() == NOISE


@pytest.mark.parametrize("name", ["dsprites_color", "dsprites_noise"])
def test_the_loaders_keep_the_factors_of_dsprites(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = FactorDataset("dsprites", sprites(6), "drawn", ("a", "b"), (2, 3), full_grid((2, 3)))
    asked: list[Path | None] = []

    def load(path: Path | None, *, progress: bool) -> FactorDataset:
        asked.append(path)
        assert progress
        return plain

    monkeypatch.setattr(dsprites_variants, "load_dsprites", load)
    assert name in DATASETS
    data = load_dataset(name, "somewhere")
    assert asked == [Path("somewhere")]
    assert data.name == name
    assert data.image_shape == (3, 64, 64)
    assert data.factors is plain.factors
    assert data.is_full_grid
