"""Whether reconstructions are paler than their images: what an L1 penalty does to codes, seen in pictures."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from sparse_repr.metrics.image_quality import image_pair


def contrast_sums(images: Tensor, reconstructed: Tensor, mean_image: Tensor) -> tuple[float, float]:
    """sum (x - m) (y - m) and sum (x - m)^2 over images x, their reconstructions y and all pixels, m the mean image.

    Args:
        images: (N, C, H, W).
        reconstructed: (N, C, H, W).
        mean_image: (1, C, H, W).
    """
    own = (images - mean_image).double() if images.device.type != "mps" else images - mean_image
    of_products = (own * (reconstructed - mean_image)).sum()
    return float(of_products), float(own.square().sum())


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
    products, squares = contrast_sums(first, second, first.mean(0, keepdim=True))
    return slope_of(products, squares)


def slope_of(products: float, squares: float) -> float:
    """products / squares, NaN where there are no squares."""
    return products / squares if squares > 0 else math.nan
