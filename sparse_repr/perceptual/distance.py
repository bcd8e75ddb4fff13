"""The perceptual loss: distances between features of a frozen network (Johnson et al. 2016), instead of pixels."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from sparse_repr.objectives.reconstruction import Reconstruction, unit_images
from sparse_repr.perceptual.features import Features
from sparse_repr.perceptual.roughness import excess_roughness
from sparse_repr.perceptual.variances import FeatureVariances

_FLOOR = 1e-6
# By which rounding may carry a pixel beyond 0..1.
_ROUNDING = 1e-4


class _MeanSquare(torch.autograd.Function):
    """Mean of squared differences per item, in float32, which keeps the difference in its own precision alone."""

    @staticmethod
    def forward(ctx: Any, found: Tensor, wanted: Tensor) -> Tensor:
        difference = found - wanted
        ctx.save_for_backward(difference)
        return difference.float().square().mean(tuple(range(1, difference.ndim)))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (difference,) = ctx.saved_tensors
        scale = gradient * (2 / difference.shape[1:].numel())
        # the product in float32: rounded to bf16, the scale would be wrong by up to 0.4 % for a whole image
        return (difference * scale.view(-1, *[1] * (difference.ndim - 1))).to(difference.dtype), None


def content_distance(found: Tensor, wanted: Tensor) -> Tensor:
    """Feature reconstruction loss: ||phi(y') - phi(y)||^2 / (C H W) (Johnson et al. 2016, Eq. 2).

    Args:
        found: (B, C, H, W) features of the reconstruction.
        wanted: (B, C, H, W) features of the image, which get no gradient.

    Returns:
        (B,) float32, at least 0.
    """
    value: Tensor = _MeanSquare.apply(found, wanted)
    return value


def gram_matrix(features: Tensor) -> Tensor:
    """Inner products of the channels: G_cc' = sum_hw phi_hwc phi_hwc' / (C H W) (Johnson et al. 2016, Eq. 3).

    Args:
        features: (B, C, H, W).

    Returns:
        (B, C, C) float32.
    """
    flat = features.float().flatten(2)  # (B, C, H * W)
    return flat @ flat.transpose(1, 2) / (flat.shape[1] * flat.shape[2])


def style_distance(found: Tensor, wanted: Tensor) -> Tensor:
    """Style reconstruction loss: squared Frobenius norm of the difference of the Gram matrices (Eq. 4), (B,)."""
    return (gram_matrix(found) - gram_matrix(wanted)).square().flatten(1).sum(1)


class _InParts(torch.autograd.Function):
    """A distance of each image by itself, computed part by part of the batch, with its gradient at once.

    The activations of one part are all that is ever held. The gradient of a mean or weighted sum over the images is
    that of each image times its weight, which is why it can be taken before the weights are known.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, images: Tensor, distance: Reconstruction, count: int) -> Tensor:
        values, gradients = [], []
        for part, theirs in zip(logits.split(count), images.split(count), strict=True):
            with torch.enable_grad():
                leaf = part.detach().requires_grad_()
                value = distance(leaf, theirs)
                gradients.append(torch.autograd.grad(value.sum(), leaf)[0])
            values.append(value.detach())
        ctx.save_for_backward(torch.cat(gradients))
        return torch.cat(values)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        (of_each,) = ctx.saved_tensors
        return (of_each * gradient.view(-1, 1, 1, 1)).to(of_each.dtype), None, None, None


class PerceptualDistance:
    """Content (and style) distance of a reconstruction, as a share of the image's own features, times the pixels.

    (C H W) mean_j [ ||phi_j(y') - phi_j(y)||^2 / ||phi_j(y)||^2
    + style_weight ||G_j(y') - G_j(y)||_F^2 / ||G_j(y)||_F^2 ], y' = sigmoid(logits).

    Deviation from Johnson et al. 2016 (Eq. 2 to 4): each layer is divided by the size of the image's own features, as
    activations differ by orders of magnitude between layers, and the result is multiplied by the number of pixels, as
    the pixel losses are sums: one weight serves every layer, size and dataset, beside a KL term that does not
    grow with the picture (with the original's pixels at any `resolution`).

    With `variances` it is T mean_j [ mean (phi_j(y') - phi_j(y))^2 / V_j ] instead: the share of the features' variance
    over the training images that is not explained, times the variance T of the pixels. It has the size of the sum of
    squared errors, which is T for the mean picture, and no image weighs more than another because it shows less.
    """

    def __init__(
        self,
        features: Features,
        *,
        style_weight: float = 0.0,
        resolution: int | None = None,
        variances: FeatureVariances | None = None,
    ) -> None:
        """Compare pictures by `features`.

        Args:
            features: the frozen network.
            style_weight: weight of the style term, 0 leaves it out.
            resolution: height and width that pictures and reconstructions are averaged down to before they are
                compared, a divisor of theirs; None leaves them as they are.
            variances: of the training images, at this resolution among others; there is no style term with them.
        """
        self.features = features
        self.style_weight = style_weight
        self.resolution = resolution
        self.variances = variances

    def __call__(self, logits: Tensor, images: Tensor) -> Tensor:
        """Distance of each reconstruction from its image; the images get no gradient.

        Args:
            logits: (B, C, H, W).
            images: (B, C, H, W) in 0..1, or uint8.

        Returns:
            (B,) float32, at least 0.

        Raises:
            TypeError: images of another kind of number.
            ValueError: NaN or values outside 0..1, on the CPU; elsewhere looking at them would make every step wait.
        """
        images = unit_images(images)
        if images.device.type == "cpu" and images.numel():
            low, high = (float(end) for end in torch.aminmax(images.detach()))
            # also false for NaN
            if not (low >= -_ROUNDING and high <= 1 + _ROUNDING):
                raise ValueError(f"images needs values in 0..1, or uint8, got {low:g} to {high:g}")
        size = self.resolution or images.shape[-1]
        limit = self.features.pixels_at_once
        count = len(images) if limit is None else max(1, limit // size**2)
        if len(images) <= count:
            return self._of_each(logits, images)
        if torch.is_grad_enabled() and logits.requires_grad:
            distances: Tensor = _InParts.apply(logits, images, self._of_each, count)
            return distances
        return torch.cat([self._of_each(*pair) for pair in zip(logits.split(count), images.split(count), strict=True)])

    def _of_each(self, logits: Tensor, images: Tensor) -> Tensor:
        pixels, size, shown = images.shape[1:].numel(), images.shape[-1], torch.sigmoid(logits)
        if self.resolution is not None and self.resolution != size:
            factor = size // self.resolution
            shown, images = F.avg_pool2d(shown, factor), F.avg_pool2d(images, factor)
        with torch.no_grad():
            wanted = self.features(images)
        found = self.features(shown)
        total = torch.zeros(len(images), device=images.device)
        if self.variances is not None:
            for ours, theirs, variance in zip(
                found, wanted, self.variances.of_layers(self.resolution or size), strict=True
            ):
                total = total + content_distance(ours, theirs) / variance
            return self.variances.of_pixels / len(found) * total
        for ours, theirs in zip(found, wanted, strict=True):
            norm = theirs.float().square().mean(tuple(range(1, theirs.ndim))).clamp_min(_FLOOR)
            total = total + content_distance(ours, theirs) / norm
            if self.style_weight:
                norm = gram_matrix(theirs).square().flatten(1).sum(1).clamp_min(_FLOOR**2)
                total = total + self.style_weight * style_distance(ours, theirs) / norm
        return pixels / len(found) * total


def combine_reconstruction(
    pixel: Reconstruction, perceptual: Reconstruction, *, pixel_weight: float, perceptual_weight: float
) -> Reconstruction:
    """pixel_weight * pixel + perceptual_weight * perceptual; a term of weight 0 is not computed."""

    def combined(logits: Tensor, images: Tensor) -> Tensor:
        total = perceptual_weight * perceptual(logits, images)
        return total + pixel_weight * pixel(logits, images) if pixel_weight else total

    return combined


def with_roughness(distance: Reconstruction, variances: FeatureVariances, *, weight: float) -> Reconstruction:
    """distance + weight T max(0, R(y) / R(x) - 1), T the variance of the pixels; see `excess_roughness`."""

    def smoothed(logits: Tensor, images: Tensor) -> Tensor:
        rough = excess_roughness(torch.sigmoid(logits), unit_images(images), variances.least_roughness)
        return distance(logits, images) + weight * variances.of_pixels * rough

    return smoothed
