"""A one-sided term against dither: a reconstruction may be as rough as its image, and no rougher."""

from __future__ import annotations

import torch
from torch import Tensor

from sparse_repr.metrics.sharpness import laplacian_energy


def excess_roughness(shown: Tensor, images: Tensor, least: Tensor) -> Tensor:
    """max(0, R(y) / max(R(x), least) - 1), R the `laplacian_energy`.

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
        allowed = laplacian_energy(images).clamp_min(least)
    return (laplacian_energy(shown) / allowed - 1).clamp_min(0)
