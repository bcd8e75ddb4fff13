"""The perceptual loss: distances between features of a frozen network (Johnson et al. 2016), instead of pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from sparse_repr.reconstruction import Reconstruction
from sparse_repr.registry import lookup
from sparse_repr.vgg_weights import CONVOLUTIONS

VGG_LAYERS = {"relu1_2": 3, "relu2_2": 8, "relu3_3": 15, "relu4_3": 22}
"""Layer -> its place in torchvision's `vgg16().features` (the layers of Johnson et al. 2016)."""
_POOLS = (4, 9, 16, 23)
_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)
_FLOOR = 1e-6


class Features(Protocol):
    """A frozen network that turns pictures into features."""

    def __call__(self, images: Tensor) -> list[Tensor]:
        """Images (B, C, H, W) in 0..1 -> features (B, ...) float32 of every chosen layer, with gradient to images."""


def parse_layers(names: str) -> tuple[str, ...]:
    """Comma-separated names of `VGG_LAYERS`, shallowest first.

    Raises:
        ValueError: an unknown name, or none.
    """
    layers = tuple(name.strip() for name in names.split(",") if name.strip())
    for name in layers:
        lookup(VGG_LAYERS, name, "perceptual layer")
    if not layers:
        raise ValueError(f"perceptual_layers needs at least one of {', '.join(VGG_LAYERS)}, got {names!r}")
    return tuple(sorted(set(layers), key=lambda name: VGG_LAYERS[name]))


class VGGFeatures:
    """Activations of VGG16 at chosen layers; the network ends at the deepest of them.

    Grey images are repeated to three channels; ImageNet's mean and standard deviation are taken off. The weights are
    frozen; in bf16 they and the activations are held in it, and the features come back as float32.
    """

    def __init__(
        self,
        weights: Mapping[str, Tensor],
        layers: Sequence[str],
        *,
        device: torch.device | str = "cpu",
        precision: str = "float32",
    ) -> None:
        """Build the network.

        Args:
            weights: by torchvision's names, see `vgg_weights.load_vgg16`.
            layers: names of `VGG_LAYERS`.
            device: where it computes.
            precision: ``"float32"`` or ``"bf16"``.
        """
        self.layers = tuple(layers)
        self._places = [lookup(VGG_LAYERS, name, "perceptual layer") for name in layers]
        self._dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        modules: list[nn.Module] = []
        width = 3
        for place in range(max(self._places) + 1):
            if place in CONVOLUTIONS:
                modules.append(nn.utils.skip_init(nn.Conv2d, width, CONVOLUTIONS[place], 3, padding=1))
                width = CONVOLUTIONS[place]
            else:
                modules.append(nn.MaxPool2d(2) if place in _POOLS else nn.ReLU())
        network = nn.Sequential(*modules)
        wanted = network.state_dict()
        network.load_state_dict({name: weights[f"features.{name}"] for name in wanted})
        network = network.to(device, self._dtype).to(memory_format=torch.channels_last)
        self.network = network.eval().requires_grad_(False)
        self._mean = torch.tensor(_MEAN, device=device).view(1, 3, 1, 1)
        self._std = torch.tensor(_STD, device=device).view(1, 3, 1, 1)

    def __call__(self, images: Tensor) -> list[Tensor]:
        """Images (B, 1 or 3, H, W) in 0..1, H and W at least 8 -> one float32 (B, C_j, H_j, W_j) per layer."""
        if images.shape[1] not in (1, 3):
            raise ValueError(f"VGG16 needs images of 1 or 3 channels, got {images.shape[1]}")
        hidden = (images.expand(-1, 3, -1, -1) - self._mean) / self._std
        hidden = hidden.to(self._dtype).contiguous(memory_format=torch.channels_last)
        found = []
        for place, module in enumerate(self.network):
            hidden = module(hidden)
            if place in self._places:
                found.append(hidden.float())
        return found


def content_distance(found: Tensor, wanted: Tensor) -> Tensor:
    """Feature reconstruction loss: ||phi(y') - phi(y)||^2 / (C H W) (Johnson et al. 2016, Eq. 2).

    Args:
        found: (B, C, H, W) features of the reconstruction.
        wanted: (B, C, H, W) features of the image.

    Returns:
        (B,), at least 0.
    """
    return (found - wanted).square().flatten(1).mean(1)


def gram_matrix(features: Tensor) -> Tensor:
    """Inner products of the channels: G_cc' = sum_hw phi_hwc phi_hwc' / (C H W) (Johnson et al. 2016, Eq. 3).

    Args:
        features: (B, C, H, W).

    Returns:
        (B, C, C).
    """
    flat = features.flatten(2)  # (B, C, H * W)
    return flat @ flat.transpose(1, 2) / (flat.shape[1] * flat.shape[2])


def style_distance(found: Tensor, wanted: Tensor) -> Tensor:
    """Style reconstruction loss: squared Frobenius norm of the difference of the Gram matrices (Eq. 4), (B,)."""
    return (gram_matrix(found) - gram_matrix(wanted)).square().flatten(1).sum(1)


class PerceptualDistance:
    """Content (and style) distance of a reconstruction, as a share of the image's own features, times the pixels.

    (C H W) mean_j [ ||phi_j(y') - phi_j(y)||^2 / ||phi_j(y)||^2
    + style_weight ||G_j(y') - G_j(y)||_F^2 / ||G_j(y)||_F^2 ], y' = sigmoid(logits).

    Deviation from Johnson et al. 2016 (Eq. 2 to 4): each layer is divided by the size of the image's own features, as
    activations differ by orders of magnitude between layers, and the result is multiplied by the number of pixels, as
    the pixel losses are sums: one weight serves every layer, size and dataset, beside a KL term that does not
    grow with the picture.
    """

    def __init__(self, features: Features, *, style_weight: float = 0.0) -> None:
        """Compare `features`; `style_weight` is the weight of the style term, 0 leaves it out."""
        self.features = features
        self.style_weight = style_weight

    def __call__(self, logits: Tensor, images: Tensor) -> Tensor:
        """Logits and images in 0..1, (B, C, H, W) each -> (B,), at least 0; the images get no gradient."""
        with torch.no_grad():
            wanted = self.features(images)
        found = self.features(torch.sigmoid(logits))
        total = torch.zeros(len(images), device=images.device)
        for ours, theirs in zip(found, wanted, strict=True):
            size = theirs.square().flatten(1).mean(1).clamp_min(_FLOOR)
            total = total + content_distance(ours, theirs) / size
            if self.style_weight:
                norm = gram_matrix(theirs).square().flatten(1).sum(1).clamp_min(_FLOOR**2)
                total = total + self.style_weight * style_distance(ours, theirs) / norm
        return images[0].numel() / len(found) * total


def combine_reconstruction(
    pixel: Reconstruction, perceptual: Reconstruction, *, pixel_weight: float, perceptual_weight: float
) -> Reconstruction:
    """pixel_weight * pixel + perceptual_weight * perceptual; a term of weight 0 is not computed."""

    def combined(logits: Tensor, images: Tensor) -> Tensor:
        total = perceptual_weight * perceptual(logits, images)
        return total + pixel_weight * pixel(logits, images) if pixel_weight else total

    return combined
