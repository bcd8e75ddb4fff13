"""The sprites of dSprites as formulas: which pixel centres lie inside a square, an ellipse or a heart.

The formulas were fitted to real frames of the data set (deepmind/dsprites-dataset, Apache-2.0). Lengths are pixels at
scale 1, x to the right and y downwards; pixel (row i, column j) has its centre at (j + 0.5, i + 0.5).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Booleans = npt.NDArray[np.bool_]

IMAGE_SIZE = 64
SHAPE_NAMES = ("square", "ellipse", "heart")
FIELD_PIXELS = (16.0, 32.0)
"""A position v in 0..1 of `render_sprites` lies at the first number + the second * v pixels from the edge."""

# A hair under 9.6: at 9.6 eight pixel centres of the real frames lie exactly on an edge and fall outside.
_SQUARE_HALF_SIDE = 9.5998
# The data set's ellipse is a polygon: 54 vertices, half a step off the axes.
_ELLIPSE_VERTICES = 54
_ELLIPSE_SEMI_AXES = (12.77, 7.23)
_HEART_WIDTH, _HEART_HEIGHT, _HEART_DROP = 0.5997, 0.66204, 1.4369
# No part of a shape is further than this from its centre, at scale 1.
_RADII = (13.58, 12.77, 11.26)
_ARGUMENTS = ("shape", "scale", "orientation", "x", "y")
# float32 factor values of the data set may round a hair beyond the bounds
_LOW = np.array([[0], [0.5], [-1e9], [0], [0]]) - 1e-6
_HIGH = np.array([[2], [1.0], [1e9], [1], [1]]) + 1e-6
# Images painted together: their temporaries stay in the processor's second-level cache.
_CHUNK = 48


def _inside_square(u: Floats, v: Floats) -> Booleans:
    return (np.abs(u) <= _SQUARE_HALF_SIDE) & (np.abs(v) <= _SQUARE_HALF_SIDE)


def _inside_ellipse(u: Floats, v: Floats) -> Booleans:
    a, b = _ELLIPSE_SEMI_AXES
    step = 2 * np.pi / _ELLIPSE_VERTICES
    apothem = np.cos(step / 2)
    radius_squared = (u / a) ** 2 + (v / b) ** 2
    inside = radius_squared <= apothem**2
    # Only the thin ring between the polygon's inner and outer circle needs the edge itself: the nearest edge's normal
    # stands at a multiple of the step, because the vertices stand half a step off.
    ring = np.nonzero((radius_squared <= 1) & ~inside)
    angle = np.arctan2(v[ring] / b, u[ring] / a)
    from_normal = angle - step * np.round(angle / step)
    inside[ring] = np.sqrt(radius_squared[ring]) * np.cos(from_normal) <= apothem
    return inside


def _inside_heart(u: Floats, v: Floats) -> Booleans:
    # x = 16 sin^3 t, y = 13 cos t - 5 cos 2t - 2 cos 3t - cos 4t. With c = |cos t| fixed by x, the even terms give the
    # middle of the vertical chord and the odd ones its half length.
    sine_squared = np.cbrt(np.minimum(np.abs(u) * (1 / (16 * _HEART_WIDTH)), 1.0)) ** 2
    c2 = 1 - sine_squared
    middle = -5 * (2 * c2 - 1) - (8 * c2 * c2 - 8 * c2 + 1)
    half = np.sqrt(c2) * (19 - 8 * c2)
    height = (v + _HEART_DROP) * (-1 / _HEART_HEIGHT)
    return (np.abs(height - middle) <= half) & (np.abs(u) <= 16 * _HEART_WIDTH)


_INSIDE: tuple[Callable[[Floats, Floats], Booleans], ...] = (_inside_square, _inside_ellipse, _inside_heart)


def render_sprites(
    shape: npt.ArrayLike,
    scale: npt.ArrayLike,
    orientation: npt.ArrayLike,
    x: npt.ArrayLike,
    y: npt.ArrayLike,
) -> npt.NDArray[np.uint8]:
    """Draw one dSprites image per set of factor values; the values may be continuous.

    A pixel is 255 where its centre lies inside the shape, else 0. The units are those of the data set's
    `latents_values`, with shape counted from 0.

    Args:
        shape: (n,) or scalar; 0 square, 1 ellipse, 2 heart.
        scale: (n,) or scalar in 0.5..1.
        orientation: (n,) or scalar in radians, anticlockwise in the picture, any finite value.
        x: (n,) or scalar in 0..1, left to right.
        y: (n,) or scalar in 0..1, top to bottom.

    Returns:
        uint8 (n, 64, 64) of 0 and 255; n is 1 when every argument is a scalar.

    Raises:
        ValueError: a value outside its range, or lengths that do not broadcast.

    Example:
        >>> images = render_sprites(shape=[0, 2], scale=1, orientation=0, x=0.5, y=[0, 1])  # square above, heart below
        >>> images.shape, images[:, :32].any(axis=(1, 2)).tolist()  # whether something is in the upper half
        ((2, 64, 64), [True, False])
    """
    arguments = [np.asarray(argument) for argument in (shape, scale, orientation, x, y)]
    lengths = {np.size(argument) for argument in arguments if np.ndim(argument)}
    if len(lengths - {1}) > 1 or max(map(np.ndim, arguments)) > 1:
        shapes = [np.shape(argument) for argument in arguments]
        raise ValueError(f"render_sprites needs 1-D arrays of one length or scalars, got shapes {shapes}")
    values = np.empty((5, max(lengths, default=1)))
    for row, argument in zip(values, arguments, strict=True):
        row[:] = argument
    # written so that NaN fails too
    if not ((values >= _LOW) & (values <= _HIGH)).all():
        _refuse(values)
    kinds = values[0].astype(np.int64)
    if (kinds != values[0]).any():
        raise ValueError("render_sprites needs whole numbers 0, 1 or 2 as shape (square, ellipse, heart)")

    images = np.zeros((len(kinds), IMAGE_SIZE, IMAGE_SIZE), dtype=np.uint8)
    for index in range(len(SHAPE_NAMES)):
        rows = np.flatnonzero(kinds == index)
        for start in range(0, len(rows), _CHUNK):
            chunk = rows[start : start + _CHUNK]
            _paint(images, chunk, index, values[1:, chunk])
    return images


def _refuse(values: Floats) -> None:
    for name, row, low, high in zip(_ARGUMENTS, values, _LOW[:, 0], _HIGH[:, 0], strict=True):
        if not ((row >= low) & (row <= high)).all():
            bounds = "that are finite" if name == "orientation" else f"in {round(low, 3) + 0:g}..{round(high, 3):g}"
            raise ValueError(f"render_sprites needs {name} {bounds}, got {row.min():g}..{row.max():g}")


def sprite_patches(
    kinds: npt.NDArray[np.int64], scale: Floats, angle: Floats, centre_x: Floats, centre_y: Floats
) -> tuple[Booleans, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Which pixels around each sprite's centre lie inside it; `render_sprites` is made of these, others may be too.

    Nothing is checked, and a patch may reach beyond a picture: the caller keeps the centres where it wants them.

    Args:
        kinds: (n,) 0 square, 1 ellipse, 2 heart.
        scale: (n,) greater than 0.
        angle: (n,) radians, anticlockwise in the picture.
        centre_x: (n,) pixels from the left edge.
        centre_y: (n,) pixels from the top edge.

    Returns:
        bool (n, side, side), and the row and the column of each patch's first pixel, (n,) each.
    """
    cosine, sine = np.cos(angle), np.sin(angle)
    present = sorted(set(kinds.tolist()))
    reach = max(_RADII[kind] for kind in present) * scale.max()
    side = int(2 * reach) + 1
    left = np.ceil(centre_x - reach - 0.5).astype(np.int64)
    top = np.ceil(centre_y - reach - 0.5).astype(np.int64)
    offsets = np.arange(side)
    dx = (offsets + (left + 0.5 - centre_x)[:, None]) / scale[:, None]  # (n, side)
    dy = (offsets + (top + 0.5 - centre_y)[:, None]) / scale[:, None]
    u = (dx * cosine[:, None])[:, None, :] - (dy * sine[:, None])[:, :, None]  # (n, side, side)
    v = (dx * sine[:, None])[:, None, :] + (dy * cosine[:, None])[:, :, None]
    if len(present) == 1:
        return _INSIDE[present[0]](u, v), top, left
    inside = np.empty(u.shape, dtype=np.bool_)
    for kind in present:
        rows = kinds == kind
        inside[rows] = _INSIDE[kind](u[rows], v[rows])
    return inside, top, left


def _paint(images: npt.NDArray[np.uint8], rows: npt.NDArray[np.int64], kind: int, factors: Floats) -> None:
    """Set the pixels of shape `kind` in `images[rows]`; only a square patch around each centre is looked at.

    `factors` are scale, orientation, x and y, (4, r).
    """
    scale, angle, x, y = factors
    kinds, (first, pixels) = np.full(len(rows), kind), FIELD_PIXELS
    inside, top, left = sprite_patches(kinds, scale, angle, first + pixels * x, first + pixels * y)
    patch = inside.view(np.uint8) * np.uint8(255)
    side = patch.shape[1]
    for row, i, j, pixels in zip(rows.tolist(), top.tolist(), left.tolist(), patch, strict=True):
        images[row, i : i + side, j : j + side] = pixels
