"""The face of a cartoon head: skin and age lines, eyes and brows, nose, mouth, glasses.

Coordinates are those of `face_head`.
"""

from __future__ import annotations

import numpy as np

from sparse_repr.data.drawing.face_head import HALF_DEPTH, HALF_WIDTH, Head, cut, cut_around, spot
from sparse_repr.data.drawing.patches import Floats, Integers, between, lay_over, ramp

_EYE_ACROSS, _EYE_Y = 0.42, -1.6
_MOUTH_Y = 10.8


def _colour(red: int, green: int, blue: int) -> Floats:
    return np.array([red, green, blue], dtype=np.float32)[:, None, None]


_EYE_WHITE, _IRIS, _PUPIL, _LASHES = (
    _colour(244, 242, 240),
    _colour(82, 56, 36),
    _colour(16, 14, 16),
    _colour(44, 30, 30),
)
_GLINT, _INSIDE_MOUTH, _TEETH = _colour(255, 255, 255), _colour(88, 30, 34), _colour(246, 244, 238)
_LENS, _FRAME = _colour(214, 232, 244), _colour(34, 30, 38)
_LIP, _LIP_CREASE = _colour(52, 6, 12), _colour(20, 0, 4)
# parts of the skin's own red, green and blue that a flushed cheek adds
_FLUSH = np.array([0.06, -0.09, -0.07], dtype=np.float32)[:, None, None]


def paint_skin(canvas: Floats, rows: Integers, head: Head) -> None:
    """The head itself, lit from the upper left, with its age lines."""
    patch = cut(canvas, rows, 12, 12, 52, 54)
    y = patch.y
    u, v, w = head.on_sphere(patch.x, y)
    across = np.abs(head.turned_back(u, w)[0])
    shade = 0.66 - 0.13 * u - 0.1 * v + 0.34 * w
    shade -= 0.12 * spot(across - _EYE_ACROSS, y - _EYE_Y, 0.3, 4.0)
    shade *= 1 - head.age_lines * _age_lines(across, y)
    colour = head.skin * shade[:, None]
    flush = spot(across - 0.5, y - 6, 0.2, 3.0) * (0.7 + 0.5 * head.smile)
    colour *= 1 + flush[:, None] * _FLUSH
    patch.blend(_inside_outline(u, v), colour)
    patch.store()


def _inside_outline(u: Floats, v: Floats) -> Floats:
    return ramp(17 * (1 - np.sqrt(u * u + v * v)))


def _line(distance: Floats, half_thickness: float = 1.0) -> Floats:
    return np.maximum(half_thickness - np.abs(distance), np.float32(0))


def _age_lines(across: Floats, y: Floats) -> Floats:
    """Depth of the deepest lines, 0..1, from |across| (r, h, w) and y (r, h, 1)."""
    square = across * across
    forehead = np.clip(2.2 - 3.4 * across, 0, 1)
    depth = 0.4 * forehead * (_line(y + 10.3 - 2.5 * square) + _line(y + 12.9 - 2.5 * square))
    # from the wings of the nose past the corners of the mouth
    depth += 0.3 * _line((across - 0.29 - 0.03 * (y - 5)) * 14) * np.clip(1.7 - np.abs(y - 7.4) / 2.4, 0, 1)
    from_eye = np.abs(across - _EYE_ACROSS)
    depth += 0.4 * _line(y - _EYE_Y - 5.0 + 12 * from_eye * from_eye) * np.clip(1.6 - 6 * from_eye, 0, 1)
    # crow's feet
    depth += 0.4 * _line(np.abs(y - _EYE_Y) - 7 * (across - 0.72)) * np.clip(1 - 7 * np.abs(across - 0.84), 0, 1)
    return depth


def paint_eyes(canvas: Floats, rows: Integers, head: Head) -> None:
    """Eyes, lashes and brows; a smile narrows the eyes and lifts the brows."""
    squint = np.maximum(head.smile, 0)
    for side in (-1, 1):
        patch = cut_around(canvas, rows, head.place(side * _EYE_ACROSS, _EYE_Y), _EYE_Y - 2.5, 15, 15)
        u, v, w = head.on_sphere(patch.x, patch.y)
        on_head = _inside_outline(u, v)
        x = (head.turned_back(u, w)[0] - side * _EYE_ACROSS) * HALF_WIDTH  # from the middle of the eye
        y = patch.y - _EYE_Y
        arch = 1 - np.square(x / 3.9)
        upper, lower = y + (2.4 - 0.3 * squint) * arch, (1.7 - 0.6 * squint) * arch - y
        lashes = ramp(0.4 - np.abs(upper)) * ramp(4.0 - np.abs(x))

        eyeball = np.broadcast_to(_EYE_WHITE, patch.pixels.shape).copy()
        radius = np.sqrt(x * x + y * y)
        lay_over(eyeball, ramp(2.0 - radius), _IRIS)
        lay_over(eyeball, ramp(0.9 - radius), _PUPIL)
        lay_over(eyeball, ramp(0.5 - np.hypot(x + 0.8, y + 0.8)), _GLINT)
        patch.blend(between(upper, lower) * on_head, eyeball)
        patch.blend(lashes * on_head, _LASHES)

        outwards = (side * x + 0.3) / 5
        bow = y + 0.2 * head.smile - outwards * outwards
        brow = between(bow + 7.0 - 1.4 * outwards, -5.2 - bow + 0.6 * outwards) * ramp(4.9 - np.abs(x))
        patch.blend(0.9 * brow * on_head, 0.7 * head.hair)
        patch.store()


def paint_nose(canvas: Floats, rows: Integers, head: Head) -> None:
    """Shadows and a highlight along a ridge that stands out from the sphere, so that it leads the turn."""
    patch = cut_around(canvas, rows, 1.1 * HALF_DEPTH * head.sine, 2.0, 15, 16)
    y = patch.y
    u, v, _ = head.on_sphere(patch.x, y)
    on_head = _inside_outline(u, v)
    down = np.clip((y + 4.5) / 9, 0, 1)  # 0 at the bridge, 1 at the tip
    x = patch.x - (0.95 + 0.25 * down) * HALF_DEPTH * head.sine
    along = ramp(y + 5) * ramp(5 - y)
    shadow = along * (0.16 + 0.3 * np.maximum(head.sine, 0)) * np.minimum(_line(x - 0.9 - 1.3 * down, 1.3), 1)
    shadow += along * (0.05 + 0.4 * np.maximum(-head.sine, 0)) * np.minimum(_line(x + 0.9 + 1.3 * down, 1.3), 1)
    shadow += 0.32 * spot(x, y - 6.2, 3.5, 1.2)
    for side in (-1, 1):
        shadow += 0.5 * spot(x - side * 1.7 * head.cosine, y - 5.6, 1.0, 0.7)
    patch.blend(np.minimum(shadow, 0.8) * on_head, 0.45 * head.skin)
    patch.blend(0.35 * spot(x + 0.6, y - 3.2, 1.3, 1.8) * on_head, np.minimum(1.25 * head.skin, 255))
    patch.store()


def paint_mouth(canvas: Floats, rows: Integers, head: Head) -> None:
    """Lips along a curve that the smile bends; a broad smile opens it and shows teeth."""
    patch = cut_around(canvas, rows, head.place(0.0, _MOUTH_Y), _MOUTH_Y, 19, 14)
    u, _, w = head.on_sphere(patch.x, patch.y)
    laugh = np.maximum(head.smile, 0)
    half = 5.6 + 0.6 * laugh
    x = head.turned_back(u, w)[0] * (HALF_WIDTH / half)
    y = patch.y - _MOUTH_Y
    arch = 1 - x * x
    opening = 3.6 * np.maximum(laugh - 0.25, 0) / 0.75
    line = (2.1 * head.smile + 0.6 * laugh) * (arch - 0.55)
    below_top, above_bottom = y - line, line + opening * arch - y
    crease = ramp(0.35 - np.abs(below_top)) * ramp((1.05 - np.abs(x)) * half)
    teeth = ramp(0.62 * opening * arch - below_top)
    patch.blend(between(below_top + 1.4 * arch, above_bottom + 1.9 * arch), 0.6 * head.skin + _LIP)
    inside = between(below_top, above_bottom)
    patch.blend(inside, _INSIDE_MOUTH)
    patch.blend(np.minimum(inside, teeth) * np.minimum(opening, 1), _TEETH)
    patch.blend(0.8 * crease, 0.35 * head.skin + _LIP_CREASE)
    patch.store()


def paint_glasses(canvas: Floats, rows: Integers, head: Head) -> None:
    """Two rounded lenses and their temples on an upright cylinder around the head."""
    patch = cut(canvas, rows, 12, 25, 52, 39)
    u = patch.x / (1.1 * head.half_width)
    w = np.sqrt(np.maximum(1 - u * u, 0))
    across, ahead = head.turned_back(u, w)
    y = patch.y - _EYE_Y
    x = np.abs(across) * (1.1 * HALF_WIDTH)
    square, height = np.square((x - 7.0) / 5.7), np.square(y / 4.7)
    inside = 5 * (1 - np.sqrt(np.sqrt(square * square + height * height)))  # pixels inside the rounded rectangle
    rim = ramp(0.6 - np.abs(inside - 0.3))
    bar = np.where(x < 7, 1.7 - x, x - 12.2)  # the bridge between the lenses, and the temples
    rim = np.maximum(rim, ramp(0.6 - np.abs(y + 1.3)) * ramp(bar))
    on_front = ramp(18 * (1 - np.abs(u))) * ramp(8 * (ahead + 0.1))
    patch.blend(0.16 * ramp(inside) * on_front, _LENS)
    patch.blend(rim * on_front, _FRAME)
    patch.store()
