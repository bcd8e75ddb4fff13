"""From sprites to pixels: the colours, the background, the noise and the camera of a domain."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from envs.domains import Domain
from sparse_repr.data.base import ImageArray
from sparse_repr.data.drawing.sprite_geometry import IMAGE_SIZE, sprite_patches

PALETTES: dict[str, tuple[tuple[int, int, int], ...]] = {
    "source": ((225, 60, 50), (60, 190, 80), (70, 110, 240), (235, 200, 60)),
    "new": ((240, 100, 180), (60, 210, 215), (150, 70, 230), (165, 110, 60)),
}
"""RGB of the four sprite colours: red, green, blue, yellow; in the domain `new_colors` pink, cyan, violet, brown."""

# A gradient's channels stay below this, so that no sprite is lost in it.
_BACKGROUND_LIMIT = 96
_NOISE_LIMIT = 64


def sprite_palette(domain: Domain) -> tuple[tuple[int, int, int], ...]:
    """RGB of the four sprite colours in a domain."""
    return PALETTES["new" if domain.new_colors else "source"]


def paint_layers(
    kinds: Sequence[int],
    scale: npt.ArrayLike,
    orientation: npt.ArrayLike,
    centre_x: npt.ArrayLike,
    centre_y: npt.ArrayLike,
) -> ImageArray:
    """Draw sprites over one another; the last lies on top. They must lie inside the picture.

    Args:
        kinds: n shapes, 0 square, 1 ellipse, 2 heart.
        scale: (n,), 1 is dSprites' largest.
        orientation: (n,) radians, anticlockwise in the picture.
        centre_x: (n,) pixels from the left edge.
        centre_y: (n,) pixels from the top edge.

    Returns:
        uint8 (64, 64): the number of the topmost sprite, counted from 1; 0 where there is none.
    """
    values = (np.asarray(value, dtype=np.float64) for value in (scale, orientation, centre_x, centre_y))
    inside, top, left = sprite_patches(np.asarray(kinds), *values)
    side = inside.shape[1]
    # The patches share the side of the largest shape: a small shape's patch may reach beyond the edge.
    canvas = np.zeros((IMAGE_SIZE + 2 * side, IMAGE_SIZE + 2 * side), dtype=np.uint8)
    for number, (i, j, pixels) in enumerate(zip(top.tolist(), left.tolist(), inside, strict=True), start=1):
        canvas[side + i : 2 * side + i, side + j : 2 * side + j][pixels] = number
    return canvas[side:-side, side:-side]


class Appearance:
    """How the pictures of one environment look in its domain.

    Backgrounds and noise come from a generator of their own, so that every domain of an environment sees the same
    episodes from the same seed.
    """

    def __init__(self, domain: Domain, channels: int) -> None:
        """Remember the domain.

        Args:
            domain: the domain.
            channels: 1 or 3.
        """
        self._domain = domain
        self._channels = channels
        self._background: ImageArray | None = None
        self._noise: np.random.Generator | None = None

    def begin(self, generator: np.random.Generator) -> None:
        """Start an episode. `generator` is the environment's; nothing is drawn from it, a child is spawned."""
        if not (self._domain.background or self._domain.noise):
            return
        child = generator.spawn(1)[0]
        if self._domain.background:
            self._background = _gradient(child, self._channels)
        if self._domain.noise:
            self._noise = child

    def image(self, layers: ImageArray, palette: ImageArray) -> ImageArray:
        """Colour what `paint_layers` drew.

        Args:
            layers: uint8 (64, 64), 0 is the background.
            palette: uint8 (n, C), the colour of each number, the first one black.

        Returns:
            uint8 (64, 64, C), a new array.
        """
        if any(self._domain.camera):
            layers = _shifted(layers, *self._domain.camera)
        picture = palette.take(layers, axis=0)
        if self._background is not None:
            # black is all bits unset; masks with one value per pixel would cost four times as much
            empty = np.zeros_like(palette)
            empty[0] = 255
            picture |= empty.take(layers, axis=0) & self._background
        if self._noise is not None:
            words = np.frombuffer(self._noise.bytes(picture.size), dtype=np.uint8).reshape(picture.shape)
            moved = picture.astype(np.int16) + (words >> 1) - _NOISE_LIMIT
            picture = moved.clip(0, 255).astype(np.uint8)
        return picture


def _gradient(generator: np.random.Generator, channels: int) -> ImageArray:
    """From one dim colour to another in a random direction, (64, 64, C)."""
    ends = generator.uniform(0, _BACKGROUND_LIMIT, (2, channels))
    angle = generator.uniform(0, 2 * np.pi)
    place = (np.arange(IMAGE_SIZE) + 0.5) / IMAGE_SIZE - 0.5
    along = np.cos(angle) * place[None, :] + np.sin(angle) * place[:, None]
    # -sqrt(2)/2..sqrt(2)/2 from corner to corner -> 0..1
    share = (along / np.sqrt(2) + 0.5)[..., None]
    return ((1 - share) * ends[0] + share * ends[1]).astype(np.uint8)


def _shifted(layers: ImageArray, right: int, down: int) -> ImageArray:
    moved = np.zeros_like(layers)
    rows, columns = (_overlap(shift) for shift in (down, right))
    moved[rows[0], columns[0]] = layers[rows[1], columns[1]]
    return moved


def _overlap(shift: int) -> tuple[slice, slice]:
    """Where a picture moved by `shift` lies, and what of it is still to be seen."""
    if shift >= 0:
        return slice(shift, None), slice(0, IMAGE_SIZE - shift)
    return slice(0, shift), slice(-shift, None)
