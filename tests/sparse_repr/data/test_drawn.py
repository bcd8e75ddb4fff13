"""What the drawn data sets share: argument checks, drawing at read time, the cached copy of a grid."""

from pathlib import Path

import numpy as np
import pytest

from sparse_repr.data.base import DrawnImages, FactorDataset
from sparse_repr.data.drawn import DrawnFactor, categorical, check_arguments, factor_values_of, load_drawn_grid
from sparse_repr.data.storage.cache import cached_array

FACTORS = (
    DrawnFactor("height", (0.5, 1.5, 2.5), 0.0, 3.0),
    DrawnFactor("angle", (0.0, 7.0)),
    categorical("hat", "no", "yes"),
)


def draw(height: np.ndarray, angle: np.ndarray, hat: np.ndarray) -> np.ndarray:
    value = 20 * np.asarray(height) + 2 * np.asarray(angle) + 100 * np.asarray(hat)
    return np.broadcast_to(value.astype(np.uint8)[:, None, None, None], (len(value), 1, 4, 5)).copy()


def load(**options: object) -> FactorDataset:
    return load_drawn_grid(
        "toy", FACTORS, draw, (1, 4, 5), **{"path": None, "version": 1, "progress": False, "cached": True, **options}
    )


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SPARSE_REPR_CACHE", str(tmp_path))
    return tmp_path


def test_arguments_broadcast() -> None:
    height, angle, hat = check_arguments("draw", FACTORS, ([1, 2, 3], -9e9, 1))
    np.testing.assert_array_equal(height, [1, 2, 3])
    np.testing.assert_array_equal(angle, [-9e9] * 3)
    np.testing.assert_array_equal(hat, [1, 1, 1])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1, 3.1], 0, 0), r"draw needs height in 0\.\.3, got 3\.1"),
        ((np.nan, 0, 0), r"draw needs height in 0\.\.3, got nan"),
        ((1, np.inf, 0), "draw needs angle that is finite, got inf"),
        ((1, 0, 2), r"draw needs hat in 0\.\.1, got 2"),
        ((1, 0, 0.5), r"draw needs whole numbers as hat \(0 no, 1 yes\), got 0\.5"),
        (([1, 2], [1, 2, 3], 0), r"arrays of one length or scalars, got shapes \[\(2,\), \(3,\), \(1,\)\]"),
        (([[1, 2]], 0, 0), r"needs 1-D arrays or scalars, got shape \(1, 2\)"),
    ],
)
def test_arguments_refused(arguments: tuple[object, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_arguments("draw", FACTORS, arguments)


def test_float32_values_at_the_bounds_are_accepted() -> None:
    factor = DrawnFactor("length", (0.1, 0.7), 0.1, 0.7)
    bounds = np.array([0.1, 0.7], dtype=np.float32)  # 0.7 rounds down, 0.1 rounds up: step once more to either side
    outside = np.nextafter(bounds, np.float32([0, 1]))
    check_arguments("draw", (factor,), (outside,))


def test_factor_values() -> None:
    values = factor_values_of(FACTORS, np.array([[2, 1, 0], [0, 0, 1]]))
    assert values.dtype == np.float32
    np.testing.assert_array_equal(values, [[2.5, 7, 0], [0.5, 0, 1]])


def test_drawn_images_read_any_order() -> None:
    images = DrawnImages(draw, np.float32([[1, 0, 0], [2, 0, 0], [0, 5, 1]]), (1, 4, 5))
    assert len(images) == 3
    np.testing.assert_array_equal(images.read(np.array([2, 0, 2]))[:, 0, 0, 0], [110, 20, 110])


@pytest.mark.parametrize("cached", [True, False])
def test_grid_is_full_and_ordered(cache: Path, cached: bool) -> None:
    data = load(cached=cached)
    assert data.is_full_grid
    assert data.factor_names == ("height", "angle", "hat")
    assert data.factor_sizes == (3, 2, 2)
    assert data.image_shape == (1, 4, 5)
    np.testing.assert_array_equal(data.factors[:3], [[0, 0, 0], [0, 0, 1], [0, 1, 0]])
    np.testing.assert_array_equal(data.images([0, 1, 2, 11])[:, 0, 0, 0], [10, 110, 24, 164])
    assert any(cache.iterdir()) == cached


def test_cached_copy_is_reused_until_the_version_changes(cache: Path) -> None:
    load()
    stored = cache / "toy-drawn-v1.npy"
    changed = np.load(stored)
    changed[0] = 77
    np.save(stored, changed)
    assert load().images(0).max() == 77
    assert load(version=2).images(0).max() == 10


@pytest.mark.parametrize("damage", [b"", b"not an array", None])
def test_damaged_cache_is_drawn_again(cache: Path, damage: bytes | None) -> None:
    load()
    stored = cache / "toy-drawn-v1.npy"
    stored.write_bytes(stored.read_bytes()[:-3] if damage is None else damage)
    assert load().images(11).max() == 164


def test_path_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'toy' is drawn from formulas and needs no path"):
        load(path=tmp_path)


def test_failed_build_leaves_nothing_behind(cache: Path) -> None:
    def build():
        yield np.zeros((2, 3), np.uint8)
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        cached_array("broken", (4, 3), build, purpose="a test")
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize("memory_map", [True, False])
def test_cached_array_joins_slabs(cache: Path, memory_map: bool) -> None:
    whole = np.arange(12, dtype=np.uint8).reshape(4, 3)

    def build():
        yield from (whole[:1], whole[1:])

    for source in (build, lambda: pytest.fail("the stored copy was not used")):
        array = cached_array("joined", (4, 3), source, purpose="a test", memory_map=memory_map)
        np.testing.assert_array_equal(array, whole)
    np.testing.assert_array_equal(np.load(cache / "joined.npy"), whole)
