"""A one-sided term against dither: a reconstruction may be as rough as its image, and no rougher."""

from __future__ import annotations

import torch
from torch import Tensor


def squared_laplacian(images: Tensor) -> Tensor:
    """Mean over the inner pixels and the channels of (x_up + x_down + x_left + x_right - 4 x)^2.

    Args:
        images: (B, C, H, W), H and W at least 3.

    Returns:
        (B,), at least 0.

    >>> squared_laplacian(torch.eye(3).view(1, 1, 3, 3))
    tensor([16.])
    """
    inner = images[..., 1:-1, 1:-1]
    neighbours = images[..., :-2, 1:-1] + images[..., 2:, 1:-1] + images[..., 1:-1, :-2] + images[..., 1:-1, 2:]
    return (neighbours - 4 * inner).square().flatten(1).mean(1)


def excess_roughness(shown: Tensor, images: Tensor, least: Tensor) -> Tensor:
    """max(0, R(y) / max(R(x), least) - 1), R the squared Laplacian of `squared_laplacian`.

    Averages over the cells of a coarse level do not change with a pattern inside the cells, so that nothing else holds
    such a pattern down.

    Args:
        shown: (B, C, H, W), the reconstruction y.
        images: (B, C, H, W), x.
        least: scalar that R(x) is taken for at least: an image without edges would forbid any.

    Returns:
        (B,), at least 0, with gradient to `shown`.
    """
    with torch.no_grad():
        allowed = squared_laplacian(images).clamp_min(least)
    return (squared_laplacian(shown) / allowed - 1).clamp_min(0)
