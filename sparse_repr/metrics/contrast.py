"""Whether reconstructions are paler than their images: what an L1 penalty does to codes, seen in pictures."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from sparse_repr.metrics.image_quality import image_pair


class ContrastSums:
    """What the slope is made of, over any number of slabs of images."""

    def __init__(self, reference: Tensor) -> None:
        """Start with nothing; `reference` (1, C, H, W), about the images' mean, keeps what is summed small."""
        self._reference = reference
        self._items = 0
        self._products = self._squares = 0.0
        self._own: Tensor | float = 0.0  # (C, H, W) float64 on the CPU: sum of x - reference
        self._other: Tensor | float = 0.0

    def add(self, images: Tensor, reconstructed: Tensor) -> None:
        """Take images (N, C, H, W) and what became of them."""
        own, other = images - self._reference, reconstructed - self._reference
        if images.device.type != "mps":  # it has no float64
            own, other = own.double(), other.double()
        self._products += float((own * other).sum())
        self._squares += float(own.square().sum())
        self._own = self._own + own.sum(0).cpu().double()
        self._other = self._other + other.sum(0).cpu().double()
        self._items += len(images)

    def slope(self) -> float:
        """Sum of (x - m) (y - m) over that of (x - m)^2, m the mean of the images; NaN where they are all alike."""
        if not isinstance(self._own, Tensor) or not isinstance(self._other, Tensor):
            return math.nan
        products = self._products - float((self._own * self._other).sum()) / self._items
        squares = self._squares - float(self._own.square().sum()) / self._items
        return products / squares if squares > 1e-12 * self._squares else math.nan


def contrast_slope(images: Any, reconstructed: Any, *, data_range: float | None = None) -> float:
    """Slope of the reconstructions' contrast against their images': sum (x - m) (y - m) / sum (x - m)^2.

    m is the mean of the images, so that what is regressed is how far each pixel stands out from it. It is how shrinkage
    shows: codes that a penalty makes smaller give paler pictures. What a code does not know lowers it too.

    Args:
        images: (N, C, H, W), at least 2, values as for `psnr`.
        reconstructed: (N, C, H, W), of the same kind.
        data_range: as for `psnr`.

    Returns:
        1 for no shrinkage, 0 for one and the same picture throughout; NaN where the images are all alike.

    Raises:
        TypeError, ValueError: as `psnr`.

    Example:
        >>> import torch
        >>> images = torch.stack([torch.zeros(1, 2, 2), torch.ones(1, 2, 2)])
        >>> contrast_slope(images, 0.25 + 0.5 * images, data_range=1)
        0.5
    """
    first, second, _ = image_pair(images, reconstructed, data_range)
    first, second = first.double(), second.double()
    sums = ContrastSums(first.mean(0, keepdim=True))
    sums.add(first, second)
    return sums.slope()
