"""A cartoon head that turns: what places a feature on it, and everything behind its face.

Lengths are pixels from the middle of the head, x to the right and y downwards. The head is taken for a unit sphere
stretched to its outline. `across` and `ahead` are coordinates on that sphere which turn with it: across runs from -1 at
the ear on the left of the picture to 1 at the other one, ahead from -1 at the nape to 1 at the nose.
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from sparse_repr.data.drawing.patches import Floats, Integers, Patch, ramp

IMAGE_SIZE = 64
HAIR_COLOURS = ("black", "brown", "blond", "red")
BACKGROUNDS = ("studio", "sunset", "garden")

MIDDLE_X, MIDDLE_Y = 32.0, 33.0
HALF_WIDTH, HALF_HEIGHT, HALF_DEPTH = 15.4, 19.8, 17.2
# How far the chin leads a turn, and the crown trails it, at a right angle.
_LEAD = 2.2

_SKIN_STOPS = np.array([[255, 222, 196], [236, 186, 148], [196, 138, 98], [140, 92, 62], [88, 57, 42]], np.float32)
_HAIR = np.array([[38, 33, 36], [104, 66, 40], [226, 188, 110], [172, 74, 38]], np.float32)
_SHIRT = np.array([58, 74, 104], np.float32)
# (x, y, radius, brightness) of the lights in the garden, in pixels of the image
_GARDEN_LIGHTS = ((8, 10, 7, 34), (53, 7, 9, 26), (58, 30, 6, 30), (4, 36, 8, 20), (24, 3, 6, 22))


@dataclasses.dataclass(frozen=True)
class Faces:
    """n faces, every field (n,) float32 in the units of `render_faces`."""

    azimuth: Floats
    smile: Floats
    hair_style: Floats
    hair_colour: Floats
    skin_tone: Floats
    age_lines: Floats
    glasses: Floats
    background: Floats


class Head:
    """What every feature needs to know of r heads: how they are turned and how they are coloured.

    Numbers are (r, 1, 1), so that they go with the pixels of a patch; colours are (r, 3, 1, 1).
    """

    def __init__(self, faces: Faces, rows: Integers) -> None:
        turn = np.deg2rad(faces.azimuth[rows])[:, None, None]
        self.sine, self.cosine = np.sin(turn), np.cos(turn)
        self.half_width = np.sqrt((HALF_WIDTH * self.cosine) ** 2 + (HALF_DEPTH * self.sine) ** 2)
        self.smile = faces.smile[rows][:, None, None]
        self.age_lines = faces.age_lines[rows][:, None, None]
        tone = faces.skin_tone[rows] * (len(_SKIN_STOPS) - 1)
        stops = np.arange(len(_SKIN_STOPS))
        skin = [np.interp(tone, stops, _SKIN_STOPS[:, channel]) for channel in range(3)]
        self.skin = np.stack(skin, axis=1).astype(np.float32)[:, :, None, None]
        self.hair = _HAIR[faces.hair_colour[rows].astype(np.int64)][:, :, None, None]

    def on_sphere(self, x: Floats, y: Floats) -> tuple[Floats, Floats, Floats]:
        """(u, v, w) of pixels: right, down and towards the viewer, 1 on the outline; w is 0 outside of it."""
        v = y / HALF_HEIGHT
        u = (x - _LEAD * self.sine * v) / (self.half_width * _fullness(v))
        return u, v, np.sqrt(np.maximum(1 - u * u - v * v, 0))

    def turned_back(self, u: Floats, w: Floats) -> tuple[Floats, Floats]:
        """(across, ahead) of points of the sphere."""
        return u * self.cosine - w * self.sine, u * self.sine + w * self.cosine

    def place(self, across: float, y: float) -> Floats:
        """x of a point of the face, (r, 1, 1)."""
        v = np.float32(y / HALF_HEIGHT)
        u = across * self.cosine + np.sqrt(1 - across**2 - v * v) * self.sine
        return _LEAD * self.sine * v + u * self.half_width * _fullness(v)


def _fullness(v: Floats | np.float32) -> Floats:
    """Width of the outline beside that of an ellipse: cheeks taper, the jaw is full."""
    low = np.maximum(v, np.float32(0))
    return 1 - 0.11 * low + 0.25 * low * low * low


def cut(canvas: Floats, rows: Integers, left: int, top: int, right: int, bottom: int) -> Patch:
    """The same rectangle of every image, bounds in pixels of the image."""
    here = np.zeros(len(rows), dtype=np.int64)
    return _from_middle(Patch.cut(canvas, rows, here + left, here + top, right - left, bottom - top))


def cut_around(canvas: Floats, rows: Integers, x: Floats, y: float, width: int, height: int) -> Patch:
    """A rectangle around a point that shifts with the turn; `x` (r, 1, 1)."""
    left = np.floor(x[:, 0, 0] + (MIDDLE_X - width / 2 + 0.5)).astype(np.int64)
    top = np.full(len(rows), int(np.floor(y + MIDDLE_Y - height / 2 + 0.5)))
    return _from_middle(Patch.cut(canvas, rows, left, top, width, height))


def _from_middle(patch: Patch) -> Patch:
    return dataclasses.replace(patch, x=patch.x - np.float32(MIDDLE_X), y=patch.y - np.float32(MIDDLE_Y))


def disc(x: Floats, y: Floats, half_width: Floats | float, half_height: float, size: float) -> Floats:
    """Cover of an ellipse around 0, 0; its edge is as sharp as that of a circle of radius `size`."""
    return ramp(size * (1 - np.sqrt((x / half_width) ** 2 + (y / half_height) ** 2)))


def spot(x: Floats, y: Floats, half_width: float, half_height: float) -> Floats:
    """A soft spot around 0, 0: 1 in its middle, a quarter at its half axes."""
    return 1 / np.square(1 + (x / half_width) ** 2 + (y / half_height) ** 2)


@functools.lru_cache(maxsize=1)
def scenery() -> Floats:
    """Each background with the shoulders in front of it, (3, 3, 64, 64)."""
    y, x = (np.indices((IMAGE_SIZE, IMAGE_SIZE)) + 0.5).astype(np.float32)

    def gradient(top: tuple[int, int, int], bottom: tuple[int, int, int]) -> Floats:
        return np.stack([a + (b - a) * y / IMAGE_SIZE for a, b in zip(top, bottom, strict=True)])

    studio = gradient((122, 140, 160), (176, 190, 204)) * (1.06 - 0.3 * ((x / 64 - 0.5) ** 2 + (y / 64 - 0.4) ** 2))
    sunset = gradient((250, 206, 148), (222, 122, 104))
    garden = gradient((108, 152, 92), (58, 98, 62))
    for light_x, light_y, radius, brightness in _GARDEN_LIGHTS:
        light = np.clip((radius - np.hypot(x - light_x, y - light_y)) / 2.5, 0, 1)
        garden += brightness * light * np.array([1.0, 1.0, 0.6])[:, None, None]
    pictures = np.stack([studio, sunset, garden]).astype(np.float32)
    # the shoulders are an ellipse that the bottom edge cuts, darker to its right
    across, down = (x - 32) / 29, (y - 74) / 17.5
    cover = np.clip(0.5 + 17 * (1 - np.sqrt(across**2 + down**2)), 0, 1)
    cloth = _SHIRT[:, None, None] * (1.05 - 0.25 * across + 0.1 * (1 - y / 64))
    return (pictures + cover * (cloth - pictures)).astype(np.float32)


def paint_neck(canvas: Floats, rows: Integers, head: Head) -> None:
    """The neck, in the shadow of the chin; it does not turn."""
    patch = cut(canvas, rows, 21, 44, 43, 64)
    x, y = patch.x, patch.y
    cover = ramp(7.2 + 0.03 * np.maximum(y - 22, 0) ** 2 - np.abs(x)) * ramp(27.5 - y - 0.1 * np.abs(x))
    shade = 0.6 + 0.025 * np.clip(y - 17, 0, 9) - 0.012 * x
    patch.blend(cover, head.skin * shade[:, None])
    patch.store()


def paint_ears(canvas: Floats, rows: Integers, head: Head) -> None:
    """Both ears, of which the skin then hides what lies behind the head."""
    for side in (-1, 1):
        _paint_ear(canvas, rows, head, side * (HALF_WIDTH + 0.1) * head.cosine - 2.0 * head.sine, None)


def paint_near_ear(canvas: Floats, rows: Integers, head: Head) -> None:
    """The ear that the turn brings to the front, faded in as it comes forward from the outline."""
    side = -np.sign(head.sine)
    fade = np.minimum(np.abs(head.sine) * 4, 1)
    _paint_ear(canvas, rows, head, side * (HALF_WIDTH + 0.1) * head.cosine - 2.0 * head.sine, fade)


def _paint_ear(canvas: Floats, rows: Integers, head: Head, x_ear: Floats, fade: Floats | None) -> None:
    patch = cut_around(canvas, rows, x_ear, 1.0, 11, 15)
    x, y = patch.x - x_ear, patch.y - 1
    half_width = 2.6 + 1.2 * np.abs(head.sine)
    cover = disc(x, y, half_width, 4.9, 3.2)
    if fade is not None:
        cover *= fade
    rim = np.square((x / half_width) ** 2 + (y / 4.9) ** 2)
    shade = 0.88 - 0.008 * patch.x - 0.2 * np.minimum(rim, 1) - 0.12 * spot(x, y, 1.2, 2.0)
    patch.blend(cover, head.skin * shade[:, None])
    patch.store()
