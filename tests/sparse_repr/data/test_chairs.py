from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from sparse_repr.data import load_dataset
from sparse_repr.data.chairs import load_chairs
from tests.small_pictures import BLUE, WHITE, bordered, encode, plain, write_folder, write_tar

AZIMUTHS, ELEVATIONS = (11, 23, 348), (20, 30)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPARSE_REPR_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SPARSE_REPR_DATA", raising=False)


def name_of(model: str, number: int, elevation: int, azimuth: int) -> str:
    return f"rendered_chairs/{model}/renders/image_{number:03d}_p{elevation:03d}_t{azimuth:03d}_r096.png"


def chairs(models: int) -> dict[str, bytes]:
    """Every view of model k has its own level of grey; in no order, as in the official archive."""
    members = {
        name_of(f"model_{k:02d}", view + 1, elevation, azimuth): encode(plain(30, 30, (10 * k + view,) * 3))
        for k in range(models)
        for view, (elevation, azimuth) in enumerate((e, a) for e in ELEVATIONS for a in AZIMUTHS)
    }
    shuffled = list(members.items())
    random.Random(0).shuffle(shuffled)
    return {**dict(shuffled), "rendered_chairs/ATTRIBUTION.csv": b"model,creator", "rendered_chairs/logo.png": b"x"}


@pytest.mark.parametrize("size", [600, 240])
@pytest.mark.parametrize("grey", [True, False])
def test_the_centre_is_cut_out_in_proportion(tmp_path: Path, size: int, grey: bool) -> None:
    picture = encode(bordered(size, size, size * 400 // 600, inside=BLUE, border=WHITE))
    place = write_tar(tmp_path / "rendered_chairs.tar", {name_of("a", 1, 20, 11): picture})
    data = load_chairs(place, grey=grey, progress=False)
    image = data.images([0])[0]
    assert image.shape == ((1 if grey else 3), 64, 64)
    blue = [29] if grey else list(BLUE)
    np.testing.assert_array_equal(image, np.broadcast_to(np.array(blue)[:, None, None], image.shape))


def test_factors_come_from_the_file_names_and_items_are_in_grid_order(tmp_path: Path) -> None:
    data = load_chairs(write_tar(tmp_path / "rendered_chairs.tar", chairs(3)), progress=False)
    assert data.factor_names == ("model", "azimuth", "elevation")
    assert data.factor_sizes == (3, 3, 2)
    assert data.nominal_factors == ("model",)
    assert data.is_full_grid
    grid = [(k, a, e) for k in range(3) for a in range(3) for e in range(2)]
    assert data.factors is not None
    assert data.factors.tolist() == [list(row) for row in grid]
    assert data.factor_values is not None
    assert data.factor_values.tolist() == [[k, AZIMUTHS[a], ELEVATIONS[e]] for k, a, e in grid]
    levels = data.images(np.arange(len(data)))[:, 0, 5, 5]
    assert levels.tolist() == [10 * k + 3 * e + a for k, a, e in grid]


def test_a_tar_a_folder_and_a_folder_that_holds_either_give_the_same(tmp_path: Path) -> None:
    (tmp_path / "packed").mkdir()
    archive = write_tar(tmp_path / "packed/rendered_chairs.tar", chairs(2))
    folder = write_folder(tmp_path / "unpacked", chairs(2))
    loaded = [
        load_chairs(place, progress=False) for place in (archive, archive.parent, folder, folder / "rendered_chairs")
    ]
    for data in loaded:
        assert len(data) == 12
        np.testing.assert_array_equal(data.factors, loaded[0].factors)
        np.testing.assert_array_equal(data.images(np.arange(12)), loaded[0].images(np.arange(12)))


def test_the_last_tenth_of_the_models_is_held_out_even_in_a_full_grid(tmp_path: Path) -> None:
    data = load_chairs(write_tar(tmp_path / "rendered_chairs.tar", chairs(20)), progress=False)
    assert data.is_full_grid
    train, held_out = data.split
    assert data.factors is not None
    assert set(data.factors[train, 0].tolist()) == set(range(18))
    assert set(data.factors[held_out, 0].tolist()) == {18, 19}
    assert len(train) + len(held_out) == len(data)


def test_a_missing_view_leaves_no_full_grid(tmp_path: Path) -> None:
    members = chairs(3)
    del members[name_of("model_01", 1, 20, 11)]
    data = load_chairs(write_tar(tmp_path / "rendered_chairs.tar", members), progress=False)
    assert len(data) == 17
    assert data.factor_sizes == (3, 3, 2)
    assert not data.is_full_grid


def test_grey_and_colour_have_their_own_cache(tmp_path: Path) -> None:
    place = write_tar(tmp_path / "rendered_chairs.tar", chairs(2))
    assert load_chairs(place, progress=False).image_shape == (1, 64, 64)
    assert load_chairs(place, grey=False, progress=False).image_shape == (3, 64, 64)
    assert load_chairs(place, image_size=16, progress=False).image_shape == (1, 16, 16)


def test_pictures_with_other_names_are_refused(tmp_path: Path) -> None:
    place = write_tar(tmp_path / "rendered_chairs.tar", {"rendered_chairs/a.png": encode(plain(8, 8, WHITE))})
    with pytest.raises(
        ValueError, match=r"rendered_chairs\.tar: expected pictures named <model>/renders/.* none among 1 pictures"
    ):
        load_chairs(place, progress=False)


def test_without_files_the_error_says_what_to_download() -> None:
    with pytest.raises(FileNotFoundError, match=r"Download rendered_chairs\.tar .*SPARSE_REPR_DATA.*chairs3d"):
        load_dataset("chairs")
