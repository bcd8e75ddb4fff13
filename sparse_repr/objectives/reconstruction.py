"""How far a reconstruction is from its image: negative log-likelihoods, summed over the pixels of each image."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from sparse_repr.registry import lookup

# 2^64 is far from the greatest float32, and every network size is a multiple.
_FACTORS = 64
_HALVINGS = 6


def unit_images(images: Tensor) -> Tensor:
    """Images as numbers in 0..1: uint8 is divided by 255, floating-point numbers are taken as they are.

    Raises:
        TypeError: numbers of another kind.
    """
    if images.dtype == torch.uint8:
        return images / 255
    if not images.dtype.is_floating_point:
        raise TypeError(f"images needs uint8 or floating-point numbers in 0..1, got {images.dtype}")
    return images


def bernoulli(logits: Tensor, images: Tensor) -> Tensor:
    """Bernoulli negative log-likelihood: -sum_i x_i log p_i + (1 - x_i) log (1 - p_i), p = sigmoid(logits).

    Args:
        logits: (B, C, H, W).
        images: (B, C, H, W) in 0..1, or uint8; values between are taken as probabilities (Kingma and Welling 2013,
            appendix C.1).

    Returns:
        (B,) nats per image, at least 0.
    """
    images, pixels = unit_images(images), logits.shape[1:].numel()
    if logits.device.type != "cpu" or logits.dtype != torch.float32 or pixels % _FACTORS:
        return F.binary_cross_entropy_with_logits(logits, images, reduction="none").flatten(1).sum(1)
    return _BernoulliOnCPU.apply(logits.flatten(1), images.flatten(1))


class _BernoulliOnCPU(torch.autograd.Function):
    """sum_i max(l_i, 0) - l_i x_i + log (1 + exp -|l_i|), with one logarithm for the product of 64 factors.

    A logarithm costs 20 times what an exponential does (log1p, one core: 2.4 ms for a batch of 64 images, 8 % of the
    forward pass). The factors lie in 1..2, so that their product is at most 2^64. What the product exceeds 1 by is
    multiplied out, (1 + a) (1 + b) - 1 = a + b + a b: 1 + exp -|l| itself is 1 beyond |l| = 16.6, and rounded before.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(logits: Tensor, images: Tensor) -> Tensor:
        excess = logits.abs().neg_().exp_()
        for _ in range(_HALVINGS):
            first, second = excess.chunk(2, dim=1)
            excess = torch.addcmul(first + second, first, second)
        logarithms = excess.log1p().sum(1)
        return (logits.clamp_min(0) - logits * images).sum(1) + logarithms

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:  # noqa: ARG004
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        logits, images = ctx.saved_tensors
        of_logits, of_images = ctx.needs_input_grad
        return (
            (torch.sigmoid(logits) - images) * gradient[:, None] if of_logits else None,
            -logits * gradient[:, None] if of_images else None,
        )


def gaussian(logits: Tensor, images: Tensor) -> Tensor:
    """Sum of squared errors: sum_i (x_i - p_i)^2, p = sigmoid(logits).

    This is the negative log-likelihood of a Gaussian with fixed variance 1/2, up to its constant: the paper's
    "pixel-wise quadratic" loss (section 3.2). Public comparisons that count it 255 times, or the absolute error three
    times, have weights of their KL that are to be divided by as much here.

    Args:
        logits: (B, C, H, W).
        images: (B, C, H, W) in 0..1, or uint8.

    Returns:
        (B,) nats per image without the constant, at least 0.
    """
    return (unit_images(images) - torch.sigmoid(logits)).square().flatten(1).sum(1)


def laplace(logits: Tensor, images: Tensor) -> Tensor:
    """Sum of absolute errors: sum_i |x_i - p_i|, p = sigmoid(logits).

    This is the negative log-likelihood of a Laplace distribution of scale 1, up to its constant.

    Args:
        logits: (B, C, H, W).
        images: (B, C, H, W) in 0..1, or uint8.

    Returns:
        (B,) nats per image without the constant, at least 0.
    """
    return (unit_images(images) - torch.sigmoid(logits)).abs().flatten(1).sum(1)


Reconstruction = Callable[[Tensor, Tensor], Tensor]

RECONSTRUCTIONS: dict[str, Reconstruction] = {"bernoulli": bernoulli, "gaussian": gaussian, "laplace": laplace}


_OF_PIXELS: dict[str, Reconstruction] = {
    "bernoulli": lambda logits, images: F.binary_cross_entropy_with_logits(logits, images, reduction="none"),
    "gaussian": lambda logits, images: (images - torch.sigmoid(logits)).square(),
    "laplace": lambda logits, images: (images - torch.sigmoid(logits)).abs(),
}


class SalientReconstruction:
    """A reconstruction loss in which pixels count more the farther they are from the median training image.

    sum_i w_i loss_i with w_i = 1 + weight max_c |x_ic - median_ic|: where nothing but a small thing moves, as the ball
    of Pong (a pixel or two), it is most of the loss instead of next to nothing of it. Not a likelihood any more.
    """

    def __init__(self, name: str, median: Tensor, weight: float) -> None:
        """Weigh the loss called `name` in `RECONSTRUCTIONS`; `median` is (C, S, S) in 0..1, `weight` at least 0."""
        self._loss = lookup(_OF_PIXELS, name, "reconstruction")
        self._median = median
        self._weight = weight

    def __call__(self, logits: Tensor, images: Tensor) -> Tensor:
        """Logits and images (B, C, S, S) -> (B,), at least 0."""
        images = unit_images(images)
        weights = 1 + self._weight * (images - self._median).abs().amax(1, keepdim=True)  # (B, 1, S, S)
        return (weights * self._loss(logits, images)).flatten(1).sum(1)


def build_reconstruction(name: str) -> Reconstruction:
    """The likelihood called `name` in `RECONSTRUCTIONS`: f(logits, images) -> (B,) nats per image."""
    return lookup(RECONSTRUCTIONS, name, "reconstruction")
