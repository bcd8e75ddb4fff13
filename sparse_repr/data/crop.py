"""The part of an image that is looked at: what is small and decides may be larger in it."""

from __future__ import annotations

import re
from typing import NamedTuple


class Crop(NamedTuple):
    """A rectangle of pixels.

    Example:
        >>> parse_crop("44,0,32,160")
        Crop(top=44, left=0, height=32, width=160)
    """

    top: int
    """Rows above it."""
    left: int
    """Columns left of it."""
    height: int
    """Its rows, at least 1."""
    width: int
    """Its columns, at least 1."""

    def require_within(self, size: tuple[int, int]) -> None:
        """Check that images have room for it.

        Args:
            size: (H, W) of the images.

        Raises:
            ValueError: they have not.
        """
        beyond = self.top + self.height > size[0] or self.left + self.width > size[1]
        if beyond or min(self.top, self.left) < 0 or min(self.height, self.width) < 1:
            raise ValueError(
                f"crop needs a rectangle within images of {size[0]}x{size[1]}, got rows {self.top} to "
                f"{self.top + self.height} and columns {self.left} to {self.left + self.width} (TOP,LEFT,HEIGHT,WIDTH "
                f"= {','.join(map(str, self))})"
            )


def parse_crop(text: str) -> Crop:
    """What ``"TOP,LEFT,HEIGHT,WIDTH"`` says, in pixels.

    Raises:
        ValueError: anything else, or a rectangle without pixels.
    """
    if re.fullmatch(r"\s*\d+\s*(,\s*\d+\s*){3}", text):
        crop = Crop(*map(int, text.split(",")))
        if crop.height and crop.width:
            return crop
    raise ValueError(f"crop needs TOP,LEFT,HEIGHT,WIDTH in pixels of the images, such as 44,0,32,160, got {text!r}")
