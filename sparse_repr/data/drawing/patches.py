"""Rectangles of equal size, one in each image of a batch, painted as one array."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

# All of them are float32; type checkers believe that a float32 array times a Python float were float64.
Floats = npt.NDArray[np.floating[Any]]
Integers = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class Patch:
    """A copy of one rectangle from each of r images; `store` writes it back."""

    pixels: Floats
    """(r, C, h, w), painted in place."""
    x: Floats
    """(r, 1, w): centres of the pixels, to the right; the image's left edge is 0."""
    y: Floats
    """(r, h, 1): centres of the pixels, downwards; the image's top edge is 0."""
    _windows: Floats
    _place: tuple[Integers, slice, Integers, Integers]

    @classmethod
    def cut(cls, canvas: Floats, rows: Integers, left: Integers, top: Integers, width: int, height: int) -> Patch:
        """Rectangles of a contiguous canvas (n, C, H, W), in `canvas[rows]`, moved to where they fit inside."""
        count, channels, lines, columns = canvas.shape
        width, height = min(width, columns), min(height, lines)
        left, top = np.clip(left, 0, columns - width), np.clip(top, 0, lines - height)
        # the same as numpy's sliding_window_view, which takes longer than painting a small patch does
        windows: Floats = np.ndarray(
            (count, channels, lines - height + 1, columns - width + 1, height, width),
            dtype=canvas.dtype,
            buffer=canvas,
            strides=(*canvas.strides, *canvas.strides[2:]),
        )
        place = (rows, slice(None), top, left)
        x = (left[:, None] + np.arange(width)).astype(np.float32) + np.float32(0.5)
        y = (top[:, None] + np.arange(height)).astype(np.float32) + np.float32(0.5)
        return cls(windows[place], x[:, None, :], y[:, :, None], windows, place)

    def blend(self, cover: Floats, colour: Floats) -> None:
        """Lay `colour` over the pixels, see `lay_over`."""
        lay_over(self.pixels, cover, colour)

    def store(self) -> None:
        """Write the pixels back to the canvas."""
        self._windows[self._place] = self.pixels


def lay_over(pixels: Floats, cover: Floats, colour: Floats) -> None:
    """Lay `colour`, (C, 1, 1) or (r, C, 1 or h, 1 or w), over `pixels` (r, C, h, w) by `cover`, (r, h, w) in 0..1."""
    step = colour - pixels
    step *= cover[:, None]
    np.add(pixels, step, out=pixels)


def ramp(distance: Floats) -> Floats:
    """Part of a pixel that lies inside an edge which is `distance` pixels away, positive inside; in place."""
    distance += np.float32(0.5)
    return np.clip(distance, np.float32(0), np.float32(1), out=distance)


def between(first: Floats, second: Floats) -> Floats:
    """Part of a pixel that lies inside both of two edges that face each other; in place."""
    np.clip(first, np.float32(-0.5), np.float32(0.5), out=first)
    np.clip(second, np.float32(-0.5), np.float32(0.5), out=second)
    first += second
    return np.maximum(first, np.float32(0), out=first)
