"""How close reconstructions are to their images: PSNR and SSIM."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

_WINDOW = 7
# Pixels per pass: the temporaries stay in the processor's cache.
_PASS_PIXELS = {"cpu": 2**15, "cuda": 2**24}
# Share of the range by which rounding may carry a value beyond it.
_ROUNDING = 1e-4


def image_pair(images: Any, reconstructed: Any, data_range: float | None) -> tuple[Tensor, Tensor, float]:
    """Two checked (N, C, H, W) tensors of the same shape and kind of number, and the range of their values.

    Raises:
        TypeError: neither uint8 nor floating-point numbers, or one of each.
        ValueError: other shapes, NaN, values outside 0..range, or a range that is missing or not that of uint8.
    """
    pair = []
    for name, value in (("images", images), ("reconstructed", reconstructed)):
        tensor = _as_tensor(name, value)
        if tensor.device.type == "mps":
            tensor = tensor.cpu()  # MPS has no float64
        if tensor.ndim != 4 or 0 in tensor.shape:
            raise ValueError(f"{name} needs shape (N, C, H, W), got {tuple(tensor.shape)}")
        if tensor.dtype != torch.uint8 and not tensor.dtype.is_floating_point:
            raise TypeError(f"{name} needs uint8 or floating-point numbers, got {tensor.dtype}")
        pair.append(tensor)
    first, second = pair
    if first.shape != second.shape:
        raise ValueError(
            f"images and reconstructed need the same shape, got {tuple(first.shape)} and {tuple(second.shape)}"
        )
    if (first.dtype == torch.uint8) != (second.dtype == torch.uint8):
        raise TypeError(
            f"images and reconstructed need the same kind of numbers, got {first.dtype} and {second.dtype}: "
            "divide uint8 by 255 to compare it with numbers in 0..1"
        )
    return first, second, _range_of(first, second, data_range)


def _as_tensor(name: str, value: Any) -> Tensor:
    """The value as a tensor, without a copy where torch can take it as it is."""
    if isinstance(value, list | tuple) and value and all(isinstance(part, Tensor) for part in value):
        value = torch.stack([part.detach() for part in value])
    if isinstance(value, Tensor):
        return value.detach()
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{name} needs shape (N, C, H, W), got parts of different shapes") from error
    if array.dtype.kind not in "uif" or array.dtype.itemsize > 8:
        raise TypeError(f"{name} needs uint8 or floating-point numbers, got {array.dtype}")
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    if not array.flags.writeable or any(stride < 0 for stride in array.strides):
        array = array.copy()  # torch warns of the one and refuses the other
    return torch.from_numpy(array) if array.ndim else torch.as_tensor(array)


def _range_of(first: Tensor, second: Tensor, data_range: float | None) -> float:
    if first.dtype == torch.uint8:
        if data_range not in (None, 255):
            raise ValueError(f"uint8 images have values in 0..255: leave data_range out, or give 255, got {data_range}")
        return 255.0
    if data_range is None:
        raise ValueError("floating-point images need data_range: 1 for values in 0..1, 255 for 0..255")
    if not 0 < data_range < math.inf:
        raise ValueError(f"data_range needs a positive number, got {data_range}")
    for name, tensor in (("images", first), ("reconstructed", second)):
        low, high = (float(end) for end in torch.aminmax(tensor))
        # also false for NaN
        if not (low >= -_ROUNDING * data_range and high <= (1 + _ROUNDING) * data_range):
            raise ValueError(f"{name} needs values in 0..{data_range:g} (data_range), got {low:g} to {high:g}")
    return float(data_range)


def mean_squared_errors(images: Any, reconstructed: Any, *, data_range: float | None = None) -> Tensor:
    """Mean squared error of each image: two (N, C, H, W) -> float64 (N,); `data_range` as for `psnr`."""
    first, second, _ = image_pair(images, reconstructed, data_range)
    return (first.double() - second.double()).square().flatten(1).mean(1)


def psnr(images: Any, reconstructed: Any, *, data_range: float | None = None, pooled: bool = True) -> float:
    """Peak signal-to-noise ratio: 10 log10(data_range^2 / MSE).

    `data_range` must be that of the values: 1 for images in 0..1. Giving 255 for images in 0..1 adds 48.13 dB, which
    would explain the paper's tables (a conjecture).

    Args:
        images: (N, C, H, W), uint8 or floating-point numbers in 0..`data_range`.
        reconstructed: (N, C, H, W), of the same kind.
        data_range: largest possible value, where 0 is the smallest; None for uint8, which has 255.
        pooled: take the MSE over all images (True), or average the PSNR of each image.

    Returns:
        dB; infinity where nothing differs.

    Raises:
        TypeError: numbers of another kind, or one of uint8 and one not.
        ValueError: shapes differ or are not (N, C, H, W), NaN or values outside the range, or `data_range` is missing,
            not positive, or not 255 for uint8.

    Example:
        >>> images = torch.zeros(2, 1, 8, 8, dtype=torch.uint8)
        >>> round(psnr(images, images + 1), 2)  # off by one grey level everywhere: 20 log10(255)
        48.13
    """
    first, second, full = image_pair(images, reconstructed, data_range)
    errors = mean_squared_errors(first, second, data_range=full)
    if pooled:
        errors = errors.mean(0, keepdim=True)
    return float((10 * torch.log10(full**2 / errors)).mean())


def _window_sums(values: Tensor) -> Tensor:
    """Sums over every 7x7 window, (..., H, W) -> (..., H - 6, W - 6), by 7 = 4 + 2 + 1 along each axis."""
    for axis in (-1, -2):
        ones = values.shape[axis]
        twos = values.narrow(axis, 0, ones - 1) + values.narrow(axis, 1, ones - 1)
        fours = twos.narrow(axis, 0, ones - 3) + twos.narrow(axis, 2, ones - 3)
        count = ones - _WINDOW + 1
        last = values.narrow(axis, 6, count)
        values = fours.narrow(axis, 0, count)
        values += twos.narrow(axis, 4, count)
        values += last
    return values


def ssim(images: Any, reconstructed: Any, *, data_range: float | None = None) -> float:
    """Mean structural similarity (SSIM, Wang et al. 2004) with a uniform 7x7 window, averaged over images.

    The same as `skimage.metrics.structural_similarity` with its defaults (sample covariance, the border of 3 pixels
    left out, channels averaged), for a whole batch at once.

    Args:
        images: (N, C, H, W), H and W at least 7, values as for `psnr`.
        reconstructed: (N, C, H, W), of the same kind.
        data_range: as for `psnr`.

    Returns:
        -1..1, higher is better.

    Raises:
        TypeError, ValueError: as `psnr`, or images smaller than the window.

    Example:
        >>> images = torch.arange(64, dtype=torch.uint8).reshape(1, 1, 8, 8)
        >>> round(ssim(images, images), 3), ssim(images, 63 - images) < 0  # the same, and its negative
        (1.0, True)
    """
    first, second, full = image_pair(images, reconstructed, data_range)
    if min(first.shape[-2:]) < _WINDOW:
        raise ValueError(f"ssim needs images of at least {_WINDOW}x{_WINDOW}, got {tuple(first.shape[-2:])}")
    c1, c2 = (0.01 * full) ** 2, (0.03 * full) ** 2
    sample = _WINDOW**2 / (_WINDOW**2 - 1)
    at_once = max(1, _PASS_PIXELS.get(first.device.type, 2**15) // first[0].numel())
    total = torch.zeros((), dtype=torch.float64, device=first.device)
    for start in range(0, len(first), at_once):
        x, y = first[start : start + at_once], second[start : start + at_once]
        # SSIM needs the variances only as their sum: four averages do. In place, because memory traffic is the cost.
        fields = torch.empty((4, *x.shape), dtype=torch.float64, device=x.device)
        fields[0], fields[1] = x, y
        torch.mul(fields[0], fields[1], out=fields[2])
        torch.mul(fields[0], fields[0], out=fields[3]).addcmul_(fields[1], fields[1])
        mean_x, mean_y, mean_xy, mean_squares = _window_sums(fields).div_(_WINDOW**2)
        product = mean_x * mean_y
        squares = mean_x.square_().addcmul_(mean_y, mean_y)
        covariance = mean_xy.sub_(product).mul_(sample)
        variances = mean_squares.sub_(squares).mul_(sample)
        similarity = product.mul_(2).add_(c1).mul_(covariance.mul_(2).add_(c2))
        total += similarity.div_(squares.add_(c1).mul_(variances.add_(c2))).mean((1, 2, 3)).sum()
    return float(total) / len(first)
