"""Hair of a cartoon head: a shell of some thickness that ends at a hairline on the sphere, so that it turns with it.

Coordinates are those of `face_head`.
"""

from __future__ import annotations

import numpy as np

from sparse_repr.data.drawing.face_head import HALF_HEIGHT, Head, cut
from sparse_repr.data.drawing.patches import Floats, Integers, ramp

HAIR_STYLES = ("bald", "short", "long", "curly")


def paint_short_hair(canvas: Floats, rows: Integers, head: Head) -> None:
    """A cap with a parting."""
    patch = cut(canvas, rows, 10, 8, 54, 48)
    u, v, outside, across, ahead = _on_shell(head, patch.x, patch.y + 1)
    # The hairline is where a slanting plane cuts the sphere, high over the brow and low at the nape, a little jagged.
    hairline = -0.8 * v - 0.6 * ahead + 0.12 * across + 0.03 * np.sin(14 * across)
    cover = ramp(17 * (0.1 - outside)) * ramp(15 * (hairline - outside))
    shade = 0.92 - 0.17 * u - 0.28 * v + 0.1 * np.sin(16 * across + 5 * v)
    patch.blend(cover, head.hair * shade[:, None])
    patch.store()


def paint_curly_hair(canvas: Floats, rows: Integers, head: Head) -> None:
    """A thick shell down to the ears, with a bumpy outline."""
    patch = cut(canvas, rows, 4, 2, 60, 52)
    u, v, outside, across, ahead = _on_shell(head, patch.x, patch.y + 1.5)
    curl = np.sin(9 * across + 1) * np.sin(9 * (1 + outside) * v) + 0.7 * np.sin(10 * ahead + 5 * across + 6 * outside)
    hairline = -0.72 * v - 0.66 * ahead + 0.12 + 0.28 * across * across + 0.04 * curl
    cover = ramp(17 * (0.3 + 0.03 * curl - outside)) * ramp(14 * (hairline - 1.2 * outside))
    shade = 0.9 - 0.18 * u - 0.24 * v + 0.14 * curl
    patch.blend(cover, head.hair * shade[:, None])
    patch.store()


def paint_long_hair_behind(canvas: Floats, rows: Integers, head: Head) -> None:
    """What falls behind the neck: to be painted before neck and head."""
    patch = cut(canvas, rows, 8, 30, 56, 64)
    x, y = patch.x + 1.5 * head.sine, patch.y
    cover = ramp(1.13 * head.half_width + 0.5 * np.sin(0.4 * y) - np.abs(x)) * ramp(29 - 0.012 * x * x - y)
    shade = 0.62 - 0.008 * x - 0.006 * y + 0.05 * np.sin(1.1 * x)
    patch.blend(cover, head.hair * shade[:, None])
    patch.store()


def paint_long_hair(canvas: Floats, rows: Integers, head: Head) -> None:
    """A fringe, and locks that hang straight down from the temples."""
    patch = cut(canvas, rows, 8, 8, 56, 64)
    # Below the temples the sphere goes on as a cylinder, as wide as the hair is.
    v = np.minimum((patch.y + 1) / (1.13 * HALF_HEIGHT), 0)
    u = (patch.x + head.sine) / (1.13 * head.half_width)
    radius = np.sqrt(u * u + v * v)
    across, _ = head.turned_back(u, np.sqrt(np.maximum(1 - radius * radius, 0)))
    side = np.abs(across)
    wave = 0.02 * np.sin(0.45 * patch.y)
    _, high, outside, _, ahead = _on_shell(head, patch.x, patch.y + 1)
    fringe = -0.8 * high - 0.6 * ahead + 0.18 * side - 0.03 - outside
    cover = ramp(17 * (1 - radius + wave)) * ramp(13 * np.maximum(fringe, side - 0.8 + wave))
    cover *= ramp(29 - 0.01 * patch.x**2 - patch.y)
    shade = 0.9 - 0.16 * u - 0.25 * v - 0.008 * np.maximum(patch.y, 0) + 0.06 * np.sin(22 * across)
    patch.blend(cover, head.hair * shade[:, None])
    patch.store()


def _on_shell(head: Head, x: Floats, y: Floats) -> tuple[Floats, Floats, Floats, Floats, Floats]:
    """(u, v, outside, across, ahead) of pixels; off the head, the nearest point of its outline and how far out."""
    u, v, w = head.on_sphere(x, y)
    radius = np.maximum(np.sqrt(u * u + v * v), 1)
    u, v = u / radius, v / radius
    across, ahead = head.turned_back(u, w)
    return u, v, radius - 1, across, ahead
