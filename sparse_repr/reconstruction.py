"""How far a reconstruction is from its image: negative log-likelihoods, summed over the pixels of each image."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from sparse_repr.registry import lookup


def bernoulli(logits: Tensor, images: Tensor) -> Tensor:
    """Bernoulli negative log-likelihood: -sum_i x_i log p_i + (1 - x_i) log (1 - p_i), p = sigmoid(logits).

    Args:
        logits: (B, C, H, W).
        images: (B, C, H, W) in 0..1; values between are taken as probabilities (Kingma and Welling 2013, appendix C.1).

    Returns:
        (B,) nats per image, at least 0.
    """
    return F.binary_cross_entropy_with_logits(logits, images, reduction="none").flatten(1).sum(1)


def gaussian(logits: Tensor, images: Tensor) -> Tensor:
    """Sum of squared errors: sum_i (x_i - p_i)^2, p = sigmoid(logits).

    This is the negative log-likelihood of a Gaussian with fixed variance 1/2, up to its constant: the paper's
    "pixel-wise quadratic" loss (section 3.2).

    Args:
        logits: (B, C, H, W).
        images: (B, C, H, W) in 0..1.

    Returns:
        (B,) nats per image without the constant, at least 0.
    """
    return (images - torch.sigmoid(logits)).square().flatten(1).sum(1)


def laplace(logits: Tensor, images: Tensor) -> Tensor:
    """Sum of absolute errors: sum_i |x_i - p_i|, p = sigmoid(logits).

    This is the negative log-likelihood of a Laplace distribution of scale 1, up to its constant.

    Args:
        logits: (B, C, H, W).
        images: (B, C, H, W) in 0..1.

    Returns:
        (B,) nats per image without the constant, at least 0.
    """
    return (images - torch.sigmoid(logits)).abs().flatten(1).sum(1)


Reconstruction = Callable[[Tensor, Tensor], Tensor]

RECONSTRUCTIONS: dict[str, Reconstruction] = {"bernoulli": bernoulli, "gaussian": gaussian, "laplace": laplace}


def build_reconstruction(name: str) -> Reconstruction:
    """The likelihood called `name` in `RECONSTRUCTIONS`: f(logits, images) -> (B,) nats per image."""
    return lookup(RECONSTRUCTIONS, name, "reconstruction")
