"""The parts of a parametric chair as convex solids.

Chair frame, in metres: x to the sitter's left, y up, z to the front; the floor is y = 0 and the seat's middle stands
over the origin. Left and right are the sitter's. Every part is a frustum, two level rectangles joined by planes:
(n, 2, 5) float32 of x0, x1, z0, z1, y for its bottom and its top.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from sparse_repr.data.drawing.patches import Floats

SEAT_DEPTH = 0.46
SEAT_THICKNESS = 0.055
POST = 0.045
RAKE = 0.15  # metres that the back leans backwards per metre of height

_ARM_HEIGHT = 0.2
_RAIL_THICKNESS = 0.028
# (bottom, top) of each rail of the back, in parts of its height
_RAILS = ((0.2, 0.36), (0.5, 0.66), (0.8, 1.0))


@dataclasses.dataclass(frozen=True)
class Chairs:
    """Shape of n chairs, every field (n,) float32, lengths in metres."""

    back_height: Floats
    seat_width: Floats
    leg_length: Floats
    leg_style: Floats
    armrests: Floats


def box(
    x: tuple[npt.ArrayLike, npt.ArrayLike],
    y: tuple[npt.ArrayLike, npt.ArrayLike],
    z: tuple[npt.ArrayLike, npt.ArrayLike],
    top_x: tuple[npt.ArrayLike, npt.ArrayLike] | None = None,
    top_z: tuple[npt.ArrayLike, npt.ArrayLike] | None = None,
    *,
    count: int,
) -> Floats:
    """`count` frustums from their bounds, each a scalar or (count,); without `top_x` and `top_z` they are boxes."""
    solid = np.empty((count, 2, 5), dtype=np.float32)
    for level, (in_x, in_z) in enumerate(((x, z), (top_x or x, top_z or z))):
        for column, bound in enumerate((*in_x, *in_z, y[level])):
            solid[:, level, column] = bound
    return solid


def four_legs(chairs: Chairs) -> list[Floats]:
    """Tapered legs that stand a little outwards; like all legs they end inside the seat, which hides their tops."""
    n, half, depth = len(chairs.seat_width), chairs.seat_width / 2, SEAT_DEPTH / 2
    top = chairs.leg_length + SEAT_THICKNESS / 2
    legs = []
    for side in (-1, 1):
        for end in (-1, 1):
            x, z = side * (half - 0.035), end * (depth - 0.035)
            foot_x, foot_z = x + side * 0.03, z + end * 0.03
            legs.append(
                box(
                    (foot_x - 0.017, foot_x + 0.017),
                    (0.0, top),
                    (foot_z - 0.017, foot_z + 0.017),
                    (x - 0.03, x + 0.03),
                    (z - 0.03, z + 0.03),
                    count=n,
                )
            )
    return legs


def pedestal(chairs: Chairs) -> list[Floats]:
    """Four feet around a hub, and a column; the column comes last, it stands on the hub."""
    n, hub, overlap = len(chairs.seat_width), 0.045, 0.008
    reach = 0.16 + 0.14 * chairs.seat_width
    parts = [box((-hub, hub), (0.0, 0.055), (-hub, hub), count=n)]
    for side in (-1, 1):
        across = (-0.03, 0.03)
        ends = side * reach, np.full_like(reach, side * (hub - overlap))
        along = np.minimum(*ends), np.maximum(*ends)
        parts.append(box(along, (0.0, 0.05), across, count=n))
        parts.append(box(across, (0.0, 0.05), along, count=n))
    column = box((-0.04, 0.04), (0.055, chairs.leg_length + SEAT_THICKNESS / 2), (-0.04, 0.04), count=n)
    return [*parts, column]


def sled(chairs: Chairs) -> tuple[list[Floats], list[Floats]]:
    """Two closed frames, one for each side: ([runner, rear leg, front leg] at the right, the same at the left)."""
    n, half, depth = len(chairs.seat_width), chairs.seat_width / 2, SEAT_DEPTH / 2
    top = chairs.leg_length + SEAT_THICKNESS / 2
    frames = []
    for side in (-1, 1):
        x = side * (half - 0.03)
        bounds = (x - 0.02, x + 0.02)
        runner = box(bounds, (0.0, 0.04), (-depth - 0.05, depth + 0.02), count=n)
        legs = [
            box(bounds, (0.03, top), (foot - 0.02, foot + 0.02), top_z=(knee - 0.02, knee + 0.02), count=n)
            for foot, knee in ((-depth - 0.03, -depth + 0.03), (depth, depth - 0.03))
        ]
        frames.append([runner, *legs])
    return frames[0], frames[1]


def seat(chairs: Chairs) -> Floats:
    """The slab."""
    half, depth = chairs.seat_width / 2, SEAT_DEPTH / 2
    bottom = chairs.leg_length
    return box(
        (-half + 0.015, half - 0.015),
        (bottom, bottom + SEAT_THICKNESS),
        (-depth + 0.015, depth - 0.015),
        (-half, half),
        (-depth, depth),
        count=len(half),
    )


def back(chairs: Chairs) -> tuple[list[Floats], list[Floats]]:
    """([right post, left post], rails from bottom to top) of the raked backrest."""
    n, half, rear = len(chairs.seat_width), chairs.seat_width / 2, -SEAT_DEPTH / 2
    base = chairs.leg_length + SEAT_THICKNESS

    def raked(x: tuple[Floats, Floats], low: Floats | float, high: Floats | float, thickness: float) -> Floats:
        middle = rear + POST / 2
        bottom_z, top_z = middle - RAKE * low, middle - RAKE * high
        half_thickness = thickness / 2
        return box(
            x,
            (base + low, base + high),
            (bottom_z - half_thickness, bottom_z + half_thickness),
            top_z=(top_z - half_thickness, top_z + half_thickness),
            count=n,
        )

    height = chairs.back_height
    posts = [raked((x - POST / 2, x + POST / 2), 0.0, height, POST) for x in (POST / 2 - half, half - POST / 2)]
    rails = [raked((POST - half, half - POST), low * height, high * height, _RAIL_THICKNESS) for low, high in _RAILS]
    return posts, rails


def armrests(chairs: Chairs) -> tuple[list[Floats], list[Floats]]:
    """([upright, pad] at the right, the same at the left); the pads end at the back's front plane."""
    n, half, depth = len(chairs.seat_width), chairs.seat_width / 2, SEAT_DEPTH / 2
    base = chairs.leg_length + SEAT_THICKNESS
    front = -depth + POST
    pairs = []
    for side in (-1, 1):
        x = side * (half - 0.025)
        upright = box((x - 0.02, x + 0.02), (base, base + _ARM_HEIGHT), (depth - 0.12, depth - 0.08), count=n)
        pad = box(
            (x - 0.032, x + 0.032),
            (base + _ARM_HEIGHT, base + _ARM_HEIGHT + 0.03),
            (front - RAKE * _ARM_HEIGHT, depth - 0.03),
            top_z=(front - RAKE * (_ARM_HEIGHT + 0.03), depth - 0.03),
            count=n,
        )
        pairs.append([upright, pad])
    return pairs[0], pairs[1]
