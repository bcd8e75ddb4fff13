"""How sharp reconstructions are beside their images, by no network: the energy of the Laplacian."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from sparse_repr.metrics.image_quality import image_pair

_SMALLEST = 3


def laplacian_energy(images: Tensor) -> Tensor:
    """Energy of the Laplacian (Subbarao, Choi and Nikzad 1993), a measure of focus.

    E = mean over the inner pixels and the channels of (x_up + x_down + x_left + x_right - 4 x)^2.

    Args:
        images: (N, C, H, W) floating-point, H and W at least 3.

    Returns:
        (N,), at least 0.

    >>> import torch
    >>> laplacian_energy(torch.eye(3).view(1, 1, 3, 3))  # one inner pixel, whose four neighbours are 0
    tensor([16.])
    """
    inner = images[..., 1:-1, 1:-1]
    neighbours = images[..., :-2, 1:-1] + images[..., 2:, 1:-1] + images[..., 1:-1, :-2] + images[..., 1:-1, 2:]
    return (neighbours - 4 * inner).square().flatten(1).mean(1)


def laplacian_sharpness(images: Any, reconstructed: Any, *, data_range: float | None = None) -> float:
    """Sharpness of reconstructions as a share of that of their images: sqrt(sum_n E(y_n) / sum_n E(x_n)).

    E is the `laplacian_energy`. It compares no picture with its image: it says how much fine structure there is, and
    not whether it is the right one. Read it beside PSNR or SSIM.

    Args:
        images: (N, C, H, W), H and W at least 3, values as for `psnr`.
        reconstructed: (N, C, H, W), of the same kind.
        data_range: as for `psnr`.

    Returns:
        At least 0: below 1 smoother than the images, 1 as sharp as they are, above 1 rougher (noise, or a dither). NaN
        where neither has any structure, infinity where the images alone have none.

    Raises:
        TypeError, ValueError: as `psnr`, or images smaller than 3x3.

    Example:
        >>> import torch
        >>> images = torch.eye(4).view(1, 1, 4, 4)
        >>> laplacian_sharpness(images, images / 2, data_range=1)  # half the contrast
        0.5
    """
    first, second, _ = image_pair(images, reconstructed, data_range)
    if min(first.shape[-2:]) < _SMALLEST:
        raise ValueError(
            f"laplacian_sharpness needs images of at least {_SMALLEST}x{_SMALLEST}, got {tuple(first.shape[-2:])}"
        )
    energy, of_images = (float(laplacian_energy(pictures.double()).sum()) for pictures in (second, first))
    return sharpness_of(energy, of_images)


def sharpness_of(energy: float, of_images: float) -> float:
    """sqrt(energy / of_images), NaN where both are 0 and infinity where the images' alone is."""
    if of_images == 0:
        return math.nan if energy == 0 else math.inf
    return math.sqrt(energy / of_images)
