"""The drawn faces: what each factor does to the picture, and the grid they make."""

import itertools
from pathlib import Path

import numpy as np
import pytest

from sparse_repr.data.faces import FACTOR_NAMES, FACTOR_SIZES, FACTORS, load_faces, render_faces

BASE = {
    "azimuth": 0.0,
    "smile": 0.0,
    "hair_style": 1,
    "hair_colour": 1,
    "skin_tone": 0.25,
    "age_lines": 0.0,
    "glasses": 0,
    "background": 0,
}
BALD, SHORT, LONG, CURLY = range(4)


def faces(**changes: object) -> np.ndarray:
    """Images (n, 3, 64, 64) as whole numbers that can be subtracted."""
    return render_faces(**{**BASE, **changes}).astype(int)


def random_faces(count: int, seed: int = 0) -> list[np.ndarray]:
    generator = np.random.default_rng(seed)
    return [
        generator.integers(0, len(factor.choices), count)
        if factor.choices
        else generator.uniform(factor.low, factor.high, count)
        for factor in FACTORS
    ]


def changed(first: np.ndarray, second: np.ndarray, by: int = 12) -> np.ndarray:
    """Pixels (64, 64) where some colour differs by more than `by`."""
    return (np.abs(first - second) > by).any(axis=0)


def test_shape_and_dtype() -> None:
    images = render_faces(*random_faces(5))
    assert images.shape == (5, 3, 64, 64)
    assert images.dtype == np.uint8
    assert render_faces(**BASE).shape == (1, 3, 64, 64)
    assert render_faces(*[np.empty(0)] * 8).shape == (0, 3, 64, 64)


def test_drawing_again_gives_the_same_pixels_alone_and_in_a_batch() -> None:
    columns = random_faces(70)
    together = render_faces(*columns)
    np.testing.assert_array_equal(together, render_faces(*columns))
    alone = np.concatenate([render_faces(*(column[index] for column in columns)) for index in range(70)])
    np.testing.assert_array_equal(together, alone)


@pytest.mark.parametrize("hair_style", [BALD, SHORT, LONG, CURLY])
@pytest.mark.parametrize("name", FACTOR_NAMES)
def test_every_value_of_every_factor_shows(name: str, hair_style: int) -> None:
    values = FACTORS[FACTOR_NAMES.index(name)].values
    images = faces(**{"hair_style": hair_style, name: np.array(values)})
    for first, second in itertools.pairwise(images):
        assert changed(first, second).sum() >= 10


def test_a_factor_changes_only_its_part_of_the_picture() -> None:
    rows = np.arange(64)

    def rows_changed(**changes: object) -> np.ndarray:
        one, other = faces(**changes)
        return rows[changed(one, other, by=0).any(axis=1)]

    mouth = changed(*faces(smile=[-1, -0.2]), by=25)
    assert rows[mouth.any(axis=1)].min() > 38
    assert rows_changed(glasses=[0, 1]).min() >= 25
    assert rows_changed(glasses=[0, 1]).max() < 39
    assert rows_changed(hair_colour=[0, 2]).max() < 40
    # skin is nowhere near the corners, the background is
    assert not changed(*faces(skin_tone=[0, 1]), by=0)[:8, :8].any()
    assert changed(*faces(background=[0, 1]))[:8, :8].all()


def test_colours_are_what_their_names_say() -> None:
    black, brown, blond, red = faces(hair_colour=np.arange(4))[:, :, 13:17, 29:35].mean(axis=(2, 3))
    assert black.max() < 70
    assert blond.min() > brown.max() - 40
    assert blond.mean() > brown.mean() > black.mean()
    assert red[0] > 1.8 * red[1]
    cheek = faces(skin_tone=[0, 0.5, 1])[:, :, 38:42, 22:25].mean(axis=(1, 2, 3))
    assert cheek[0] > cheek[1] + 40 > cheek[2] + 80


def test_a_laugh_shows_teeth() -> None:
    frown, laugh = (image[:, 41:48, 28:37].min(axis=0) for image in faces(smile=[-1, 1]))
    assert (laugh > 215).sum() >= 6
    assert (frown > 215).sum() == 0


def test_turning_moves_the_features_that_way() -> None:
    # the irises are the darkest pixels of a bald, light face with blond brows
    images = faces(azimuth=[-40, -20, 0, 20, 40], hair_style=BALD, hair_colour=2, skin_tone=0)[:, :, 29:35]
    dark = images.sum(axis=1) < 300  # (5, 6, 64)
    middle = (dark * np.arange(64)).sum(axis=(1, 2)) / dark.sum(axis=(1, 2))
    assert (np.diff(middle) > 2).all()
    # the middle pixels' centres are 32 from either edge: opposite turns mirror
    np.testing.assert_allclose(middle + middle[::-1], 63, atol=1.5)


@pytest.mark.parametrize("side", [-1, 1])
def test_the_near_ear_stands_in_front_of_the_head(side: int) -> None:
    # along the row through the ears, the cheek is smooth but for the two sides of the ear
    row = faces(azimuth=-35 * side, hair_style=BALD)[0, :, 34].sum(axis=0)[::side]
    cheek = row[38:52]
    assert (np.diff(np.sign(np.diff(cheek))) != 0).sum() >= 3


def test_opposite_turns_have_mirrored_outlines() -> None:
    # where the picture does not depend on the background; the head is lit from one side, so colours are not mirrored
    def outline(azimuth: float) -> np.ndarray:
        studio, garden = faces(azimuth=azimuth, hair_style=BALD, background=[0, 2])
        return ~changed(studio, garden, by=2)

    one, other = outline(30), outline(-30)[:, ::-1]
    assert one.sum() > 1000
    assert (one != other).sum() <= 0.02 * one.sum()


def test_continuous_factors_change_the_picture_smoothly() -> None:
    for style in (BALD, SHORT, LONG, CURLY):
        turning = faces(azimuth=np.arange(-40, 40, 0.25), hair_style=style, glasses=1)
        assert np.abs(np.diff(turning, axis=0)).max() < 90
        for name in ("smile", "skin_tone", "age_lines"):
            steps = faces(**{name: np.linspace(0, 1, 101)}, hair_style=style, azimuth=20)
            assert np.abs(np.diff(steps, axis=0)).max() < 25


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"azimuth": 46}, r"render_faces needs azimuth in -45\.\.45, got 46"),
        ({"smile": [0, -1.2]}, r"smile in -1\.\.1, got -1\.2"),
        ({"skin_tone": np.nan}, r"skin_tone in 0\.\.1, got nan"),
        ({"age_lines": 2}, r"age_lines in 0\.\.1, got 2"),
        ({"hair_style": 4}, r"hair_style in 0\.\.3, got 4"),
        ({"hair_colour": 1.5}, r"whole numbers as hair_colour \(0 black, 1 brown, 2 blond, 3 red\), got 1\.5"),
        ({"glasses": -1}, r"glasses in 0\.\.1, got -1"),
        ({"background": 3}, r"background in 0\.\.2, got 3"),
    ],
)
def test_bad_values_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        faces(**changes)


def test_data_set_is_the_full_grid() -> None:
    data = load_faces(cached=False)
    assert data.name == "faces"
    assert data.source == "drawn"
    assert len(data) == 31_104
    assert data.image_shape == (3, 64, 64)
    assert data.factor_sizes == FACTOR_SIZES == (9, 4, 4, 4, 3, 3, 2, 3)
    assert data.nominal_factors == ("hair_style", "hair_colour", "background")
    assert data.is_full_grid
    item = np.ravel_multi_index((8, 1, 2, 3, 2, 1, 1, 2), FACTOR_SIZES)
    np.testing.assert_array_equal(data.factors[item], [8, 1, 2, 3, 2, 1, 1, 2])
    np.testing.assert_allclose(data.factor_values[item], [40, -1 / 3, 2, 3, 0.9, 0.5, 1, 2], rtol=1e-6)
    np.testing.assert_array_equal(data.images([item]), render_faces(*data.factor_values[item]))


def test_no_path_is_taken(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'faces' is drawn from formulas and needs no path"):
        load_faces(tmp_path)
