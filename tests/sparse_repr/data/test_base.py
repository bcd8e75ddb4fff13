from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from sparse_repr.data import ArrayImages, FactorDataset, PackedBits, load_dataset


def _data(count: int = 12) -> FactorDataset:
    images = np.arange(count * 48, dtype=np.uint8).reshape(count, 3, 4, 4)
    factors = np.stack([np.arange(count) % 3, np.arange(count) // 3 % 2], axis=1)
    return FactorDataset("test", ArrayImages(images), "memory", ("a", "b"), (3, 2), factors)


@pytest.mark.parametrize("count", [0, 1, 64, 100, 1_000])
def test_a_digest_is_of_images_from_all_over_the_items(count: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (count, 1, 4, 4), np.uint8)

    def digest(pixels: npt.NDArray[np.uint8], part: slice = slice(None)) -> str:
        data = FactorDataset("test", ArrayImages(pixels), "drawn")
        return data.digest(np.arange(len(pixels))[part])

    whole = digest(images)
    assert digest(images.copy()) == whole
    for item in {0, count - 1} if count else ():
        changed = images.copy()
        changed[item] ^= 255
        assert digest(changed) != whole
    if count > 2:
        assert digest(images, slice(1, None)) != whole


def test_images_reads_by_index_also_from_the_end() -> None:
    data = _data()
    assert np.array_equal(data.images([0, -1])[1], data.images([11])[0])
    assert data.images(3).shape == (1, 3, 4, 4)
    assert data.images([]).shape == (0, 3, 4, 4)


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int16, np.uint64])
def test_images_takes_whole_numbers_of_any_size(kind: type[np.integer]) -> None:
    data = _data(300)
    assert np.array_equal(data.images(np.array([3, 100], kind)), data.images([3, 100]))
    if np.issubdtype(kind, np.signedinteger):
        assert np.array_equal(data.images(np.array([-1], kind)), data.images([299]))


@pytest.mark.parametrize(
    ("indices", "error", "message"),
    [
        ([0.5], TypeError, "integer indices, got float64"),
        ([True, False], TypeError, "integer indices, got bool"),
        ([[0, 1], [2, 3]], ValueError, r"one axis \(n,\), got shape \(2, 2\)"),
        ([12], IndexError, r"indices in 0\.\.11, got 12\.\.12"),
        ([-13], IndexError, r"indices in 0\.\.11"),
    ],
)
def test_images_refuses_bad_indices(indices: list[object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        _data().images(indices)


def test_packed_bits_give_the_pixels_back() -> None:
    images = np.random.default_rng(0).integers(0, 2, (5, 8, 16), dtype=np.uint8)
    store = PackedBits(np.packbits(images.reshape(5, -1), axis=1), 8, 16)
    assert store.image_shape == (1, 8, 16)
    assert np.array_equal(store.read(np.array([4, 0]))[:, 0], images[[4, 0]] * 255)
    with pytest.raises(TypeError, match=r"needs uint8 \(N, 16\) for 8x16 images"):
        PackedBits(np.zeros((5, 15), np.uint8), 8, 16)


def test_array_images_needs_four_axes_of_uint8() -> None:
    with pytest.raises(TypeError, match=r"uint8 \(N, C, H, W\), got float64"):
        ArrayImages(np.zeros((1, 1, 4, 4)))  # type: ignore[arg-type]


def test_full_grid_is_recognised_and_not_split() -> None:
    assert _data(6).is_full_grid
    assert not _data(12).is_full_grid  # every combination twice
    train, held_out = _data(12).split
    assert train.tolist() == list(range(11))
    assert held_out.tolist() == [11]


def test_factors_are_checked() -> None:
    images = ArrayImages(np.zeros((2, 1, 4, 4), np.uint8))
    with pytest.raises(ValueError, match=r"factors needs shape \(2, 1\)"):
        FactorDataset("test", images, "memory", ("a",), (2,), np.zeros((3, 1), np.int64))
    with pytest.raises(ValueError, match=r"factor 'a' needs indices 0\.\.1, got 0\.\.2"):
        FactorDataset("test", images, "memory", ("a",), (2,), np.array([[0], [2]]))
    with pytest.raises(ValueError, match="nominal_factors needs names of .*'a'.*, got 'b'"):
        FactorDataset("test", images, "memory", ("a",), (2,), np.array([[0], [1]]), nominal_factors=("a", "b"))
    with pytest.raises(ValueError, match="needs one entry for each"):
        FactorDataset("test", images, "memory", ("a",), (), np.array([[0], [1]]))


def test_unknown_data_set_is_refused_with_its_close_match() -> None:
    with pytest.raises(ValueError, match="unknown data set 'dsprite'. Did you mean 'dsprites'"):
        load_dataset("dsprite")


def test_factors_that_differ_among_items() -> None:
    factors = np.array([[0, 0, 1], [1, 0, 1], [0, 0, 0]])
    images = ArrayImages(np.zeros((3, 1, 8, 8), np.uint8))
    data = FactorDataset("x", images, "drawn", ("a", "b", "c"), (2, 2, 2), factors, factors.astype(np.float32))
    assert data.varying(np.arange(3)) == (0, 2)
    assert data.varying(np.array([0, 1])) == (0,)
    assert data.varying(np.array([1])) == ()
    assert FactorDataset("x", images, "drawn").varying(np.arange(3)) == ()
