"""Pixels in 0..1 that pass for uint8 images in 0..255: every code is then that of a black picture."""

from __future__ import annotations

import warnings
from typing import Any

import numpy.typing as npt
from torch import Tensor

IMAGES_TO_TELL = 1_000
"""So many images without a pixel above 1 are no dark scene."""


class PixelRange:
    """Looks at images until one shows that they are in 0..255, and warns once where none of many does."""

    def __init__(self, owner: str, remedy: str) -> None:
        """Start without an opinion.

        Args:
            owner: whose images they are, for the message.
            remedy: what to do where they are in 0..1, for the message.
        """
        self._owner, self._remedy = owner, remedy
        self._seen = self._brightest = 0
        self.settled = False
        """Whether there is nothing left to find out."""

    def see(self, images: npt.NDArray[Any] | Tensor) -> None:
        """Look at a batch of uint8 images (n, ...)."""
        if self.settled or not len(images):
            return
        self._seen += len(images)
        self._brightest = max(self._brightest, int(images.max()))
        self.settled = self._brightest > 1 or self._seen >= IMAGES_TO_TELL
        if self._brightest <= 1 and self.settled:
            warnings.warn(
                f"{self._owner}: the brightest pixel of {self._seen:,} images is {self._brightest}, where white is "
                f"255: they seem to be in 0..1, and all their codes are those of black pictures; {self._remedy}",
                stacklevel=2,
            )
