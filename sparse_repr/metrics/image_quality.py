"""How close reconstructions are to their images: PSNR and SSIM."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

_WINDOW = 7
# Images per pass: the temporaries stay in the processor's cache.
_CHUNK = 32


def _image_pair(images: Any, reconstructed: Any, data_range: float) -> tuple[Tensor, Tensor]:
    pair = []
    for name, value in (("images", images), ("reconstructed", reconstructed)):
        tensor = torch.as_tensor(value)
        if tensor.device.type == "mps":
            tensor = tensor.cpu()  # MPS has no float64
        if tensor.ndim != 4 or 0 in tensor.shape:
            raise ValueError(f"{name} needs shape (N, C, H, W), got {tuple(tensor.shape)}")
        pair.append(tensor)
    if pair[0].shape != pair[1].shape:
        raise ValueError(
            f"images and reconstructed need the same shape, got {tuple(pair[0].shape)} and {tuple(pair[1].shape)}"
        )
    if not 0 < data_range < math.inf:
        raise ValueError(f"data_range needs a positive number, got {data_range}")
    return pair[0], pair[1]


def mean_squared_errors(images: Any, reconstructed: Any) -> Tensor:
    """Mean squared error of each image: two (N, C, H, W) -> float64 (N,)."""
    first, second = _image_pair(images, reconstructed, 1.0)
    return (first.double() - second.double()).square().flatten(1).mean(1)


def psnr(images: Any, reconstructed: Any, *, data_range: float, pooled: bool = True) -> float:
    """Peak signal-to-noise ratio: 10 log10(data_range^2 / MSE).

    `data_range` must be that of the values: 1 for images in 0..1. Giving 255 for images in 0..1 adds 48.13 dB, which
    would explain the paper's tables (a conjecture).

    Args:
        images: (N, C, H, W).
        reconstructed: (N, C, H, W).
        data_range: largest minus smallest possible value.
        pooled: take the MSE over all images (True), or average the PSNR of each image.

    Returns:
        dB; infinity where nothing differs.

    Raises:
        ValueError: shapes differ or are not (N, C, H, W), or `data_range` is not positive.
    """
    _image_pair(images, reconstructed, data_range)
    errors = mean_squared_errors(images, reconstructed)
    if pooled:
        errors = errors.mean(0, keepdim=True)
    return float((10 * torch.log10(data_range**2 / errors)).mean())


def _window_sums(values: Tensor) -> Tensor:
    """Sums over every 7x7 window, (..., H, W) -> (..., H - 6, W - 6), by 7 = 4 + 2 + 1 along each axis."""
    for axis in (-1, -2):
        ones = values.shape[axis]
        twos = values.narrow(axis, 0, ones - 1) + values.narrow(axis, 1, ones - 1)
        fours = twos.narrow(axis, 0, ones - 3) + twos.narrow(axis, 2, ones - 3)
        count = ones - _WINDOW + 1
        values = fours.narrow(axis, 0, count) + twos.narrow(axis, 4, count) + values.narrow(axis, 6, count)
    return values


def ssim(images: Any, reconstructed: Any, *, data_range: float) -> float:
    """Mean structural similarity (Wang et al. 2004, Eq. 13) with a uniform 7x7 window, averaged over images.

    The same as `skimage.metrics.structural_similarity` with its defaults (sample covariance, the border of 3 pixels
    left out, channels averaged), for a whole batch at once.

    Args:
        images: (N, C, H, W), H and W at least 7.
        reconstructed: (N, C, H, W).
        data_range: largest minus smallest possible value.

    Returns:
        -1..1, higher is better.

    Raises:
        ValueError: as `psnr`, or images smaller than the window.
    """
    first, second = _image_pair(images, reconstructed, data_range)
    if min(first.shape[-2:]) < _WINDOW:
        raise ValueError(f"ssim needs images of at least {_WINDOW}x{_WINDOW}, got {tuple(first.shape[-2:])}")
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    sample = _WINDOW**2 / (_WINDOW**2 - 1)
    total = 0.0
    for start in range(0, len(first), _CHUNK):
        x, y = (tensor[start : start + _CHUNK].double() for tensor in (first, second))
        mean_x, mean_y, mean_xx, mean_yy, mean_xy = (
            _window_sums(value) / _WINDOW**2 for value in (x, y, x * x, y * y, x * y)
        )
        variance_x = sample * (mean_xx - mean_x * mean_x)
        variance_y = sample * (mean_yy - mean_y * mean_y)
        covariance = sample * (mean_xy - mean_x * mean_y)
        similarity = ((2 * mean_x * mean_y + c1) * (2 * covariance + c2)) / (
            (mean_x**2 + mean_y**2 + c1) * (variance_x + variance_y + c2)
        )
        total += float(similarity.mean((1, 2, 3)).sum())
    return total / len(first)
