from __future__ import annotations

import os
import pickle
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from sparse_repr.data import FactorDataset, load_dataset
from sparse_repr.data.drawing.sprite_geometry import sprite_patches
from sparse_repr.data.dsprites import FACTOR_SIZES, ITEMS, OFFICIAL_STEM, load_dsprites, read_official, render_sprites

# Foreground pixels of the real data set at orientation 0, position (0, 0), for its six scales.
REAL_COUNTS = {
    0: (100, 144, 196, 256, 324, 400),
    1: (76, 104, 144, 184, 228, 288),
    2: (58, 84, 108, 140, 182, 222),
}
REAL_RANGES = {0: (364, 400), 1: (286, 294), 2: (220, 228)}  # over all orientations at scale 1


@pytest.mark.parametrize("shape", [0, 1, 2])
def test_foreground_counts_are_those_of_the_real_frames(shape: int) -> None:
    counts = (render_sprites(shape, np.linspace(0.5, 1, 6), 0, 0, 0) > 0).sum((1, 2))
    # 6 pixels of the 258 real frames are known to differ, all of hearts; 2 of them here
    assert np.abs(counts - REAL_COUNTS[shape]).sum() == (2 if shape == 2 else 0)
    turned = (render_sprites(shape, 1, np.linspace(0, 2 * np.pi, 40), 0, 0) > 0).sum((1, 2))
    assert (turned.min(), turned.max()) == REAL_RANGES[shape]


def test_real_frames_are_matched_within_eight_pixels() -> None:
    folder = os.environ.get("SPARSE_REPR_REAL_FRAMES")
    if not folder:
        pytest.skip("needs SPARSE_REPR_REAL_FRAMES: an .npz of real frames (imgs, latents_classes)")
    with np.load(folder, allow_pickle=False) as file:
        frames, classes = file["imgs"], file["latents_classes"]
    drawn = render_sprites(
        classes[:, 1],
        np.linspace(0.5, 1, 6)[classes[:, 2]],
        np.linspace(0, 2 * np.pi, 40)[classes[:, 3]],
        classes[:, 4] / 31,
        classes[:, 5] / 31,
    )
    assert ((drawn > 0) != (frames > 0)).sum() <= 8


def test_orientation_is_anticlockwise_and_positions_go_right_and_down() -> None:
    # the ellipse is wide at angle 0; a quarter turn makes it tall
    flat, tall = render_sprites(1, 1, [0, np.pi / 2], 0.5, 0.5)
    assert flat.any(0).sum() == tall.any(1).sum() > tall.any(0).sum()
    # the tip of the heart points down, so its lowest row is the narrow one; a quarter turn takes the tip to the right
    upright, turned = render_sprites(2, 1, [0, np.pi / 2], 0.5, 0.5).astype(bool)
    rows, columns = upright.sum(1), turned.sum(0)
    assert 0 < rows[rows > 0][-1] < rows[rows > 0][1]
    assert 0 < columns[columns > 0][-1] < columns[columns > 0][1]
    left_top, right_bottom = render_sprites(0, 0.5, 0, [0, 1], [0, 1])
    assert np.argwhere(left_top).mean(0).tolist() == [15.5, 15.5]
    assert np.argwhere(right_bottom).mean(0).tolist() == [47.5, 47.5]


def test_a_full_turn_changes_nothing_and_scalars_broadcast() -> None:
    one = render_sprites(2, 0.8, 0.3, 0.2, 0.9)
    assert one.shape == (1, 64, 64)
    assert one.dtype == np.uint8
    assert set(np.unique(one)) == {0, 255}
    assert np.array_equal(one, render_sprites(2, 0.8, 0.3 + 2 * np.pi, 0.2, 0.9))
    many = render_sprites([2, 0], 0.8, 0.3, [0.2, 0.4], 0.9)
    assert np.array_equal(many[0], one[0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((3, 1, 0, 0, 0), r"shape in 0\.\.2, got 3\.\.3"),
        ((0.5, 1, 0, 0, 0), "whole numbers 0, 1 or 2"),
        ((0, 0.4, 0, 0, 0), r"scale in 0\.5\.\.1"),
        ((0, 1, np.nan, 0, 0), "orientation that are finite"),
        ((0, 1, 0, 1.5, 0), r"x in 0\.\.1, got 1\.5"),
        ((0, 1, 0, 0, -0.1), r"y in 0\.\.1"),
        (([0, 1], 1, 0, [0, 0, 0], 0), "1-D arrays of one length"),
    ],
)
def test_render_sprites_names_the_bad_argument(arguments: tuple[object, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        render_sprites(*arguments)


def test_the_grid_is_complete_and_in_order(dsprites: FactorDataset) -> None:
    assert len(dsprites) == ITEMS == 737_280
    assert dsprites.image_shape == (1, 64, 64)
    assert dsprites.factor_sizes == FACTOR_SIZES
    assert dsprites.nominal_factors == ("shape",)
    assert dsprites.is_full_grid
    assert dsprites.source == "drawn"
    assert dsprites.factors is not None
    assert dsprites.factors[1].tolist() == [0, 0, 0, 0, 1]  # last factor fastest
    assert dsprites.split[0].size == ITEMS
    assert dsprites.split[1].size == 0


def test_grid_images_are_the_drawn_sprites(dsprites: FactorDataset) -> None:
    indices = np.random.default_rng(0).integers(0, ITEMS, 300)
    images = dsprites.images(indices)
    assert images.shape == (300, 1, 64, 64)
    assert images.dtype == np.uint8
    assert dsprites.factors is not None
    classes = dsprites.factors[indices]
    drawn = render_sprites(
        classes[:, 0],
        np.linspace(0.5, 1, 6)[classes[:, 1]],
        np.linspace(0, 2 * np.pi, 40)[classes[:, 2]],
        classes[:, 3] / 31,
        classes[:, 4] / 31,
    )
    assert np.array_equal(images[:, 0], drawn)


def test_factor_values_draw_the_image_again(dsprites: FactorDataset) -> None:
    assert dsprites.factor_values is not None
    values = dsprites.factor_values[[5, 300_000, ITEMS - 1]]
    different = render_sprites(*values.T) != dsprites.images([5, 300_000, ITEMS - 1])[:, 0]
    assert different.sum() <= 3  # float32 values may move a pixel that lies on an edge


def test_it_has_factors_of_its_own(dsprites: FactorDataset) -> None:
    with pytest.raises(ValueError, match=r"data set 'dsprites' \(drawn\) has them \(shape.*leave factor_sizes out"):
        load_dataset(dsprites.name, factor_sizes="2,3")


def test_a_damaged_cache_is_drawn_again(
    dsprites: FactorDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPARSE_REPR_CACHE", str(tmp_path))
    monkeypatch.setattr("sparse_repr.data.dsprites._draw_grid", lambda _: dsprites.store.bits)  # type: ignore[attr-defined]
    (tmp_path / "dsprites-drawn-v1.npy").write_bytes(b"half a file")
    again = load_dsprites(progress=False)
    assert np.array_equal(again.images([12345]), dsprites.images([12345]))
    assert (tmp_path / "dsprites-drawn-v1.npy").stat().st_size > 377_000_000


def _official(items: int) -> tuple[np.ndarray, np.ndarray]:
    classes = np.stack(np.unravel_index(np.arange(items), FACTOR_SIZES), axis=1).astype(np.int64)
    images = render_sprites(0, 0.5, 0, classes[:, 3] / 31, classes[:, 4] / 31) // 255
    return images, np.concatenate([np.zeros((items, 1), np.int64), classes], axis=1)


class _Bomb:
    def __reduce__(self) -> tuple[object, ...]:
        return pytest.fail, ("a file was unpickled",)


def test_the_official_npz_is_read_without_unpickling(tmp_path: Path) -> None:
    images, classes = _official(200)
    path = tmp_path / "d.npz"
    np.savez_compressed(path, imgs=images, latents_classes=classes)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("metadata.npy", pickle.dumps(_Bomb()))
    bits = read_official(path, items=200, progress=False)
    assert np.array_equal(np.unpackbits(bits, axis=1).reshape(-1, 64, 64), images)


def test_the_official_hdf5_gives_the_same_bits(tmp_path: Path) -> None:
    images, classes = _official(200)
    np.savez(tmp_path / "d.npz", imgs=images, latents_classes=classes)
    with h5py.File(tmp_path / "d.hdf5", "w") as file:
        file["imgs"], file["latents/classes"] = images, classes
    expected = read_official(tmp_path / "d.npz", items=200, progress=False)
    assert np.array_equal(read_official(tmp_path / "d.hdf5", items=200, progress=False), expected)


def test_files_of_the_wrong_kind_are_refused_by_name(tmp_path: Path) -> None:
    images, classes = _official(64)
    path = tmp_path / "other.npz"
    np.savez(path, imgs=images[:, :32], latents_classes=classes)
    with pytest.raises(ValueError, match=r"other\.npz: imgs needs shape \(64, 64, 64\).*found \(64, 32, 64\)"):
        read_official(path, items=64, progress=False)
    np.savez(path, imgs=images * 255, latents_classes=classes)
    with pytest.raises(ValueError, match=r"other\.npz: imgs needs pixels 0 or 1, found 255"):
        read_official(path, items=64, progress=False)
    np.savez(path, imgs=images, latents_classes=classes[::-1])
    with pytest.raises(ValueError, match=r"other\.npz: latents classes are not in grid order"):
        read_official(path, items=64, progress=False)
    np.savez(path, pictures=images)
    with pytest.raises(ValueError, match=r"other\.npz: not a readable dSprites file"):
        read_official(path, items=64, progress=False)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ValueError, match=r"other\.npz: not a readable dSprites file"):
        read_official(path, items=64, progress=False)


def test_where_official_files_are_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FileNotFoundError, match=f"expected {OFFICIAL_STEM}"):
        load_dataset("dsprites", tmp_path)
    (tmp_path / "frames.txt").write_text("")
    with pytest.raises(ValueError, match=r"needs the official \.npz or \.hdf5 file, got .*frames\.txt"):
        load_dataset("dsprites", tmp_path / "frames.txt")
    # found through the environment, and refused because it is not the data set
    np.savez(tmp_path / f"{OFFICIAL_STEM}.npz", imgs=np.zeros((2, 64, 64), np.uint8), latents_classes=np.zeros((2, 6)))
    monkeypatch.setenv("SPARSE_REPR_DATA", str(tmp_path))
    with pytest.raises(ValueError, match="latents_classes needs shape"):
        load_dataset("dsprites")


def test_patches_of_mixed_shapes_are_those_of_single_images() -> None:
    kinds = np.array([2, 0, 1, 2])
    scale, angle = np.array([0.5, 1.0, 0.7, 0.9]), np.array([0.3, 1.0, 2.0, 4.0])
    x, y = np.array([20.3, 31.0, 40.7, 47.5]), np.array([44.1, 16.2, 30.0, 25.25])
    inside, top, left = sprite_patches(kinds, scale, angle, x, y)
    images = render_sprites(kinds, scale, angle, (x - 16) / 32, (y - 16) / 32)
    side = inside.shape[1]
    for image, pixels, i, j in zip(images, inside, top, left, strict=True):
        drawn = np.zeros((64 + 2 * side, 64 + 2 * side), np.bool_)
        drawn[side + i : 2 * side + i, side + j : 2 * side + j] = pixels
        assert np.array_equal(drawn[side:-side, side:-side], image > 0)
        assert drawn.sum() == pixels.sum()


def test_the_official_file_is_found_in_a_folder_of_its_name_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dsprites").mkdir()
    (tmp_path / "dsprites" / f"{OFFICIAL_STEM}.npz").write_bytes(b"no archive")
    monkeypatch.setenv("SPARSE_REPR_DATA", str(tmp_path))
    with pytest.raises(ValueError, match=f"dsprites/{OFFICIAL_STEM}.npz: not a readable dSprites file"):
        load_dsprites(progress=False)


def test_tensors_are_drawn_as_arrays_are() -> None:
    values = ([0, 2], [1.0, 0.5], [0.0, 1.0], [0.5, 0.25], [0.5, 0.75])
    assert np.array_equal(render_sprites(*map(torch.tensor, values)), render_sprites(*values))
