"""Chairs of convex parts under a perspective camera, painted far to near with soft edges.

Lengths and axes are those of `chair_parts`.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from sparse_repr.data.drawing.chair_parts import (
    POST,
    RAKE,
    SEAT_DEPTH,
    SEAT_THICKNESS,
    Chairs,
    armrests,
    back,
    four_legs,
    pedestal,
    seat,
    sled,
)
from sparse_repr.data.drawing.patches import Floats, Integers, Patch

IMAGE_SIZE = 64
LEG_STYLES = ("four legs", "pedestal", "sled")

# Metres and pixels, chosen so that no chair within the ranges of `render_chairs` leaves the picture.
_CAMERA_DISTANCE = 2.8
_TARGET_HEIGHT = 0.57
_FOCAL_PIXELS = 115.0
# Direction of the lamp, which stands above the camera's left shoulder: (right, up, forward), of length 1.
_LAMP = np.array([-0.42, 0.76, -0.5], dtype=np.float32) / np.float32(1.002)
_AMBIENT = 0.3
# What each material reflects, 0..1: unlike neighbours, so that parts stand out from each other.
_SEAT_GREY, _BACK_GREY, _LEG_GREY, _ARM_GREY = 0.86, 0.74, 0.6, 0.52

# The four corners of each face, anticlockwise from outside; corner 4 * t + 2 * i + j is at the top if t, at x1 if i and
# at z1 if j.
_FACES = np.array(
    [
        [[0, 1, 5, 4], [3, 2, 6, 7]],  # x0, x1
        [[0, 2, 3, 1], [4, 5, 7, 6]],  # bottom, top
        [[0, 4, 6, 2], [1, 3, 7, 5]],  # z0, z1
    ]
)
# Images whose patches are painted together: their temporaries stay in the processor's second-level cache.
_CHUNK = 32


@dataclasses.dataclass(frozen=True)
class Camera:
    """n cameras that look at the chair from a fixed distance."""

    position: Floats
    """(n, 3)"""
    axes: Floats
    """(n, 3, 3): rows are right, up and forward."""

    @classmethod
    def around(cls, azimuth: Floats, elevation: Floats) -> Camera:
        """Cameras at `azimuth` and `elevation`, (n,) degrees, as in `render_chairs`."""
        turn, lift = np.deg2rad(azimuth), np.deg2rad(elevation)
        zero = np.zeros_like(turn)
        right = np.stack([np.cos(turn), zero, -np.sin(turn)], axis=1)
        forward = np.stack([-np.cos(lift) * np.sin(turn), -np.sin(lift), -np.cos(lift) * np.cos(turn)], axis=1)
        up = np.stack([-np.sin(lift) * np.sin(turn), np.cos(lift), -np.sin(lift) * np.cos(turn)], axis=1)
        position = -_CAMERA_DISTANCE * forward
        position[:, 1] += _TARGET_HEIGHT
        return cls(position.astype(np.float32), np.stack([right, up, forward], axis=1).astype(np.float32))

    def __getitem__(self, rows: Integers) -> Camera:
        return Camera(self.position[rows], self.axes[rows])


def paint_chairs(chairs: Chairs, camera: Camera) -> Floats:
    """Paint each chair over white: float32 (n, 1, 64, 64), 0..255.

    The order needs no depth buffer. The camera is above the seat, so everything below the seat comes first and
    everything above it last; within these groups any two parts are separated by a plane, and the part on the camera's
    side of it comes later.
    """
    n = len(chairs.seat_width)
    canvas = np.full((n, 1, IMAGE_SIZE, IMAGE_SIZE), np.float32(255))
    from_left = camera.position[:, 0] > 0  # (n,) whether the camera stands to the sitter's left
    in_front = camera.position[:, 2] > 0

    def far_to_near(right: list[Floats], left: list[Floats], rows: Integers) -> list[Floats]:
        side = from_left[rows, None, None]
        return [
            *(np.where(side, a, b) for a, b in zip(right, left, strict=True)),
            *(np.where(side, b, a) for a, b in zip(right, left, strict=True)),
        ]

    def paint(rows: Integers, solids: list[Floats], grey: float) -> None:
        if len(rows):
            _paint_solids(canvas, rows, np.stack(solids, axis=1), camera[rows], grey)

    def of(rows: Integers) -> Chairs:
        return Chairs(*(getattr(chairs, field.name)[rows] for field in dataclasses.fields(chairs)))

    everything = np.arange(n)
    four, column, frames = (np.flatnonzero(chairs.leg_style == style) for style in range(len(LEG_STYLES)))
    paint(four, _sorted_by_distance(four_legs(of(four)), camera[four]), _LEG_GREY)
    *base, stem = pedestal(of(column))
    paint(column, [*_sorted_by_distance(base, camera[column]), stem], _LEG_GREY)
    right_frame, left_frame = sled(of(frames))
    frames_in_front = in_front[frames, None, None]
    for frame in (right_frame, left_frame):
        rear, front = frame[1], frame[2]
        frame[1:] = [np.where(frames_in_front, rear, front), np.where(frames_in_front, front, rear)]
    paint(frames, far_to_near(right_frame, left_frame, frames), _LEG_GREY)

    paint(everything, [seat(chairs)], _SEAT_GREY)

    # the plane between armrests and back is the back's raked front
    above_seat = camera.position[:, 1] - chairs.leg_length - SEAT_THICKNESS
    before_back = camera.position[:, 2] > POST - SEAT_DEPTH / 2 - RAKE * above_seat
    with_arms = chairs.armrests == 1
    arms_first, arms_last = np.flatnonzero(with_arms & ~before_back), np.flatnonzero(with_arms & before_back)
    paint(arms_first, far_to_near(*armrests(of(arms_first)), arms_first), _ARM_GREY)
    posts, rails = back(chairs)
    far, near = far_to_near(posts[:1], posts[1:], everything)
    paint(everything, [far, *rails, near], _BACK_GREY)
    paint(arms_last, far_to_near(*armrests(of(arms_last)), arms_last), _ARM_GREY)
    return canvas


def _sorted_by_distance(solids: list[Floats], camera: Camera) -> list[Floats]:
    """Parts that stand around the middle, far to near; neither of two at one distance can hide the other."""
    stacked = np.stack(solids, axis=1)  # (n, m, 2, 5)
    x, z = stacked[..., 0, 0:2].mean(axis=-1), stacked[..., 0, 2:4].mean(axis=-1)  # (n, m)
    nearness = x * camera.position[:, 0, None] + z * camera.position[:, 2, None]
    order = np.argsort(nearness, axis=1, kind="stable")[:, :, None, None]
    return list(np.moveaxis(np.take_along_axis(stacked, order, axis=1), 1, 0))


def _paint_solids(canvas: Floats, rows: Integers, solids: Floats, camera: Camera, grey: float) -> None:
    """Paint solids (r, m, 2, 5) of one material over `canvas[rows]`, in the order of m."""
    count, m = solids.shape[:2]
    grid = np.empty((count, m, 2, 2, 2, 3), dtype=np.float32)
    grid[..., 0] = solids[..., 0:2, None]  # (r, m, level, x, 1)
    grid[..., 1] = solids[..., 4, None, None]
    grid[..., 2] = solids[..., None, 2:4]  # (r, m, level, 1, z)
    corners = grid.reshape(count, m, 8, 3)

    # of two opposite faces the one that looks at the camera more; faces (r, m, 3, 2, 4 corners, 3)
    faces = corners[:, :, _FACES]
    edge, other = faces[..., 1, :] - faces[..., 0, :], faces[..., 3, :] - faces[..., 0, :]
    normal = np.cross(edge, other)  # (r, m, 3, 2, 3)
    to_camera = camera.position[:, None, None, None] - faces[..., 0, :]
    facing = (normal * to_camera).sum(axis=-1)
    second = (facing[..., 1] > facing[..., 0])[..., None]  # (r, m, 3, 1)
    normal = np.where(second, normal[..., 1, :], normal[..., 0, :])
    light = (camera.axes * _LAMP[:, None]).sum(axis=1)  # (r, 3)
    cosine = (normal * light[:, None, None]).sum(axis=-1) / np.sqrt((normal**2).sum(axis=-1))
    shade = 255 * grey * (_AMBIENT + (1 - _AMBIENT) * np.maximum(cosine, 0))  # (r, m, 3)

    seen = corners - camera.position[:, None, None]
    right, up, forward = ((seen * camera.axes[:, None, None, axis]).sum(axis=-1) for axis in range(3))
    scale = _FOCAL_PIXELS / forward
    points = np.stack([IMAGE_SIZE / 2 + right * scale, IMAGE_SIZE / 2 - up * scale], axis=-1)  # (r, m, 8, 2)
    chosen = np.where(second[..., None], points[:, :, _FACES[:, 1]], points[:, :, _FACES[:, 0]])  # (r, m, 3, 4, 2)
    along = np.roll(chosen, -1, axis=-2) - chosen
    length = np.sqrt((along**2).sum(axis=-1)) + np.float32(1e-6)
    # inside is to the left of each edge seen with y up, that is (dy, -dx) with y down
    a, b = along[..., 1] / length, -along[..., 0] / length  # (r, m, 3, 4)
    c = -(a * chosen[..., 0] + b * chosen[..., 1])
    low = np.floor(points.min(axis=2) - 0.5).astype(np.int64)  # (r, m, 2)
    high = np.ceil(points.max(axis=2) + 0.5).astype(np.int64)
    for start in range(0, count, _CHUNK):
        part = slice(start, start + _CHUNK)
        for k in range(m):
            edges = a[part, k], b[part, k], c[part, k]
            _paint_faces(canvas, rows[part], low[part, k], high[part, k], edges, shade[part, k])


def _paint_faces(
    canvas: Floats, rows: Integers, low: Integers, high: Integers, edges: tuple[Floats, Floats, Floats], shade: Floats
) -> None:
    """Paint the three visible faces of one solid per row, which lie between pixels `low` and `high`, (r, 2) of x, y.

    `edges` holds a, b and c, each (r, 3, 4): a x + b y + c is the distance from an edge, positive inside.
    """
    width, height = (int(side) for side in (high - low).max(axis=0))
    patch = Patch.cut(canvas, rows, low[:, 0], low[:, 1], width, height)
    a, b, c = (coefficient[..., None] for coefficient in edges)
    x, y = patch.x[:, None], patch.y.reshape(len(rows), 1, 1, -1)
    in_x, in_y = a * x, b * y + c  # (r, 3, 4, w), (r, 3, 4, h)
    # The edges of a face seen edge-on may open up again far away from it: nothing is inside beyond low and high.
    for part, position, axis in ((in_x, x, 0), (in_y, y, 1)):
        beyond = (position < low[:, axis, None, None, None]) | (position > high[:, axis, None, None, None])
        part[np.broadcast_to(beyond, part.shape)] = -1e4
    distance = in_x[..., None, :] + in_y[..., :, None]  # (r, 3, 4, h, w)
    np.clip(distance, np.float32(-0.5), np.float32(0.5), out=distance)
    # Between two opposite edges this is the width covered, so faces that share an edge add up without a seam.
    strips = distance[:, :, :2]
    strips += distance[:, :, 2:]
    np.maximum(strips, np.float32(0), out=strips)
    cover = strips[:, :, 0]
    cover *= strips[:, :, 1]  # (r, 3, h, w)
    total = cover[:, 0] + cover[:, 1] + cover[:, 2]
    cover *= shade[:, :, None, None]
    grey = cover[:, 0] + cover[:, 1] + cover[:, 2]
    # where faces meet at a sharp corner they may add up to a little more than the pixel
    grey /= np.maximum(total, np.float32(1))
    np.minimum(total, np.float32(1), out=total)
    pixels = patch.pixels[:, 0]
    pixels *= 1 - total
    pixels += grey
    patch.store()
