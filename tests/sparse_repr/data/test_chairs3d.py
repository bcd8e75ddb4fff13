"""The drawn chairs: what each factor does to the picture, and the grid they make."""

import itertools
from pathlib import Path

import numpy as np
import pytest

from sparse_repr.data.chairs3d import FACTOR_NAMES, FACTOR_SIZES, FACTORS, load_chairs3d, render_chairs
from sparse_repr.data.drawing import chair_geometry, chair_parts

BASE = {
    "azimuth": 35.0,
    "elevation": 25.0,
    "back_height": 0.45,
    "seat_width": 0.5,
    "leg_length": 0.4,
    "leg_style": 0,
    "armrests": 0,
}


def chairs(**changes: object) -> np.ndarray:
    """Images (n, 64, 64) as whole numbers that can be subtracted."""
    return render_chairs(**{**BASE, **changes})[:, 0].astype(int)


def random_chairs(count: int, seed: int = 0) -> list[np.ndarray]:
    generator = np.random.default_rng(seed)
    columns = [generator.uniform(0, 360, count)]
    columns += [generator.uniform(factor.low, factor.high, count) for factor in FACTORS[1:5]]
    return columns + [generator.integers(0, len(factor.choices), count) for factor in FACTORS[5:]]


def top_and_bottom(image: np.ndarray) -> tuple[int, int]:
    rows = np.flatnonzero((image < 250).any(axis=1))
    return int(rows[0]), int(rows[-1])


def test_shape_and_dtype() -> None:
    images = render_chairs(*random_chairs(5))
    assert images.shape == (5, 1, 64, 64)
    assert images.dtype == np.uint8
    assert render_chairs(**BASE).shape == (1, 1, 64, 64)
    assert render_chairs(*[np.empty(0)] * 7).shape == (0, 1, 64, 64)


def test_drawing_again_gives_the_same_pixels_alone_and_in_a_batch() -> None:
    columns = random_chairs(60)
    together = render_chairs(*columns)
    np.testing.assert_array_equal(together, render_chairs(*columns))
    alone = np.concatenate([render_chairs(*(column[index] for column in columns)) for index in range(60)])
    np.testing.assert_array_equal(together, alone)


@pytest.mark.parametrize("name", FACTOR_NAMES)
def test_every_value_of_every_factor_shows(name: str) -> None:
    values = FACTORS[FACTOR_NAMES.index(name)].values
    images = chairs(**{name: np.array(values)})
    for first, second in itertools.pairwise(images):
        assert (np.abs(first - second) > 30).sum() >= 10


def test_azimuth_wraps() -> None:
    angles = np.array([0.0, 35.0, 123.0, 300.0])
    np.testing.assert_array_equal(chairs(azimuth=angles), chairs(azimuth=angles + 360))
    np.testing.assert_array_equal(chairs(azimuth=angles), chairs(azimuth=angles - 720))


def test_opposite_azimuths_have_mirrored_outlines() -> None:
    # only the outline: the lamp stands to one side
    for style in range(3):
        angles = np.array([10.0, 50.0, 95.0, 160.0])
        one = chairs(azimuth=angles, leg_style=style, armrests=1) < 255
        other = chairs(azimuth=-angles, leg_style=style, armrests=1)[:, :, ::-1] < 255
        assert one.sum() > 2000
        assert (one != other).sum() <= 0.01 * one.sum()


def test_neighbouring_azimuths_look_alike() -> None:
    # parts painted in the wrong order would jump by more than 60 grey levels where the order changes
    angles = np.arange(0, 360, 0.25)
    for style, arms, elevation in ((0, 1, 12), (1, 1, 25), (2, 0, 40)):
        images = chairs(azimuth=angles, leg_style=style, armrests=arms, elevation=elevation)
        assert np.abs(np.diff(images, axis=0)).max() < 60


def test_background_is_white_and_the_chair_stays_inside() -> None:
    ends = [(factor.low, factor.high) for factor in FACTORS[1:5]]
    grid = np.meshgrid(np.arange(0, 360, 45), *ends, range(3), range(2))
    columns = [axis.ravel() for axis in grid]
    images = render_chairs(*columns)[:, 0]
    border = np.concatenate([images[:, 0], images[:, -1], images[:, :, 0], images[:, :, -1]], axis=1)
    assert border.min() > 240
    assert (border == 255).mean() > 0.99
    ink = (images < 250).mean(axis=(1, 2))
    assert ink.min() > 0.04
    assert ink.max() < 0.4
    assert images.min() > 20


def traced(columns: list[np.ndarray]) -> np.ndarray:
    """One chair by casting 4 x 4 rays through each pixel and taking the nearest part's shade: (64, 64)."""
    turn, lift, *shape = (np.atleast_1d(column).astype(np.float32) for column in columns)
    chair, camera = chair_parts.Chairs(*shape), chair_geometry.Camera.around(turn, lift)
    style, arms = int(chair.leg_style[0]), int(chair.armrests[0])
    sled = [*chair_parts.sled(chair)[0], *chair_parts.sled(chair)[1]]
    legs = [chair_parts.four_legs(chair), chair_parts.pedestal(chair), sled][style]
    posts, rails = chair_parts.back(chair)
    parts = [(part, chair_geometry._LEG_GREY) for part in legs] + [(chair_parts.seat(chair), chair_geometry._SEAT_GREY)]
    parts += [(part, chair_geometry._BACK_GREY) for part in posts + rails]
    if arms:
        parts += [(part, chair_geometry._ARM_GREY) for side in chair_parts.armrests(chair) for part in side]

    eye, axes = camera.position[0].astype(float), camera.axes[0].astype(float)
    lamp = chair_geometry._LAMP @ axes
    across = ((np.arange(256) + 0.5) / 4 - 32) / chair_geometry._FOCAL_PIXELS
    ray = axes[2] + across[None, :, None] * axes[0] - across[:, None, None] * axes[1]
    picture, depth = np.full((256, 256), 255.0), np.full((256, 256), np.inf)
    for part, grey in parts:
        (bx0, bx1, bz0, bz1, y0), (tx0, tx1, tz0, tz1, y1) = part[0].astype(float)
        rise = y1 - y0
        planes = [  # outward normal and a point
            ((0, -1, 0), (0, y0, 0)),
            ((0, 1, 0), (0, y1, 0)),
            ((-rise, tx0 - bx0, 0), (bx0, y0, 0)),
            ((rise, bx1 - tx1, 0), (bx1, y0, 0)),
            ((0, tz0 - bz0, -rise), (0, y0, bz0)),
            ((0, bz1 - tz1, rise), (0, y0, bz1)),
        ]
        enter, leave, shade = np.zeros((256, 256)), np.full((256, 256), np.inf), np.zeros((256, 256))
        for normal, point in planes:
            unit = np.array(normal) / np.linalg.norm(normal)
            slope = ray @ unit
            distance = (np.array(point) - eye) @ unit / slope
            later = (slope < 0) & (distance > enter)
            light = chair_geometry._AMBIENT + (1 - chair_geometry._AMBIENT) * max(unit @ lamp, 0)
            enter, shade = np.where(later, distance, enter), np.where(later, 255 * grey * light, shade)
            leave = np.where((slope > 0) & (distance < leave), distance, leave)
        nearest = (enter < leave) & (enter < depth)
        picture, depth = np.where(nearest, shade, picture), np.where(nearest, enter, depth)
    return picture.reshape(64, 4, 64, 4).mean(axis=(1, 3))


def test_painting_far_to_near_agrees_with_ray_casting() -> None:
    columns = random_chairs(20, seed=3)
    columns[0][:3] = 2, 91, 179  # parts of one side behind each other
    columns[5][:3] = 2
    painted = render_chairs(*columns)[:, 0].astype(float)
    for index in range(20):
        difference = np.abs(painted[index] - traced([column[index] for column in columns]))
        assert difference.mean() < 1
        assert difference.max() < 70  # where soft edges of several parts share a pixel
        assert (difference > 40).sum() <= 4


def test_lengths_move_the_right_ends() -> None:
    low_back, high_back = chairs(back_height=[0.3, 0.55])
    assert top_and_bottom(high_back)[0] < top_and_bottom(low_back)[0] - 5
    assert top_and_bottom(high_back)[1] == top_and_bottom(low_back)[1]
    short, long = chairs(leg_length=[0.28, 0.48])
    assert top_and_bottom(long)[0] < top_and_bottom(short)[0] - 3
    narrow, wide = (image.min(axis=0) < 250 for image in chairs(seat_width=[0.36, 0.64], azimuth=0))
    assert wide.sum() > narrow.sum() + 6


def test_the_back_hides_the_seat_from_behind() -> None:
    front, rear = chairs(azimuth=[0, 180], elevation=20)
    greys, counts = np.unique(front[front < 250], return_counts=True)
    top_of_the_seat = greys[counts.argmax()]
    assert top_of_the_seat > 150
    assert (np.abs(front - top_of_the_seat) <= 1).sum() > 2 * (np.abs(rear - top_of_the_seat) <= 1).sum()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"elevation": 9}, r"render_chairs needs elevation in 10\.\.45, got 9"),
        ({"back_height": 0.7}, r"back_height in 0\.25\.\.0\.6, got 0\.7"),
        ({"seat_width": [0.5, 0.1]}, r"seat_width in 0\.35\.\.0\.65, got 0\.1"),
        ({"leg_length": 1}, r"leg_length in 0\.25\.\.0\.5, got 1"),
        ({"azimuth": np.nan}, "azimuth that is finite, got nan"),
        ({"leg_style": 3}, r"leg_style in 0\.\.2, got 3"),
        ({"armrests": 0.5}, r"whole numbers as armrests \(0 without, 1 with\), got 0\.5"),
    ],
)
def test_bad_values_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        chairs(**changes)


def test_data_set_is_the_full_grid() -> None:
    data = load_chairs3d(cached=False)
    assert data.name == "chairs3d"
    assert data.source == "drawn"
    assert len(data) == 35_712
    assert data.image_shape == (1, 64, 64)
    assert data.factor_sizes == FACTOR_SIZES == (31, 3, 4, 4, 4, 3, 2)
    assert data.nominal_factors == ("leg_style",)
    assert data.is_full_grid
    item = np.ravel_multi_index((4, 1, 2, 3, 0, 2, 1), FACTOR_SIZES)
    np.testing.assert_array_equal(data.factors[item], [4, 1, 2, 3, 0, 2, 1])
    np.testing.assert_allclose(data.factor_values[item], [4 * 360 / 31, 30, 0.45, 0.62, 0.27, 2, 1], rtol=1e-6)
    np.testing.assert_array_equal(data.images([item]), render_chairs(*data.factor_values[item]))
    assert {20.0, 30.0} <= set(np.unique(data.factor_values[:, 1]))


def test_no_path_is_taken(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'chairs3d' is drawn from formulas and needs no path"):
        load_chairs3d(tmp_path)
