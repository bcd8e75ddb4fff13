"""PerceptualSettings: what a reconstruction loss is made of, its pixels and its features, and how it is built."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import torch

from sparse_repr.command_line.bounds import require_name, require_whole
from sparse_repr.objectives.reconstruction import Reconstruction
from sparse_repr.perceptual.denoising import DenoisingFeatures
from sparse_repr.perceptual.distance import (
    Features,
    PerceptualDistance,
    VGGFeatures,
    combine_reconstruction,
    parse_layers,
)
from sparse_repr.perceptual.sampling import SampledDistance
from sparse_repr.perceptual.vgg_weights import load_vgg16
from sparse_repr.registry import lookup

PERCEPTUAL_FEATURES = ("vgg16", "dae")
# The deepest layer of VGG16 that is compared sees pictures halved three times: one pixel is left of these.
_SMALLEST = 8


@dataclasses.dataclass(frozen=True, kw_only=True)
class PerceptualSettings:
    """How reconstructions are compared with their images: pixel_weight * pixels + weight * features.

    `PretrainConfig` has the same settings under longer names, which is how the messages of errors call them, and says
    more about each.

    Raises:
        ValueError: a setting that cannot be used, or that has no part in this loss.

    >>> PerceptualSettings(image_size=64, batch_size=64, weight=1.0, resolution=48)
    Traceback (most recent call last):
    ValueError: perceptual_resolution needs a divisor of image_size 64 of at least 8, got 48
    """

    image_size: int
    """Height and width of the images."""
    batch_size: int
    """Images per step."""
    weight: float = 0.0
    """Weight of the distance of the features; 0 for the pixels alone."""
    pixel_weight: float = 1.0
    """Weight of the loss of the pixels; 0 for the features alone."""
    features: str = "vgg16"
    """What is compared: vgg16, or dae (a denoising autoencoder)."""
    layers: str = "relu1_2,relu2_2,relu3_3"
    """Layers of vgg16, separated by commas."""
    weights_path: str | None = None
    """The user's own weights of VGG16."""
    style_weight: float = 0.0
    """Weight of the style term inside the distance."""
    resolution: int | None = None
    """Height and width that pictures are averaged down to; None leaves them as they are."""
    every: int = 1
    """The features are compared at every k-th step only."""
    images: int | None = None
    """Images of each batch whose features are compared; None for all."""
    dae_steps: int = 2_000
    """Steps that the denoising autoencoder is trained for."""

    def __post_init__(self) -> None:
        require_whole("dae_steps", self.dae_steps)
        require_whole("perceptual_every", self.every)
        require_name("perceptual_weights_path", self.weights_path)
        weights = {
            "pixel_weight": self.pixel_weight,
            "perceptual_weight": self.weight,
            "style_weight": self.style_weight,
        }
        for name, value in weights.items():
            if not 0 <= value < float("inf"):
                raise ValueError(f"{name} needs a finite number of at least 0, got {value!r}")
        lookup(dict.fromkeys(PERCEPTUAL_FEATURES), self.features, "perceptual features")
        parse_layers(self.layers)
        if not self.pixel_weight and not self.weight:
            raise ValueError("pixel_weight 0 needs a positive perceptual_weight, got 0: nothing would be reconstructed")
        if self.style_weight and not self.compares_vgg16:
            raise ValueError(
                "style_weight needs a positive perceptual_weight and perceptual_features 'vgg16': Gram matrices are "
                "taken of its feature maps"
            )
        self._check_cost()

    def _check_cost(self) -> None:
        reduced = {
            "perceptual_resolution": self.resolution is not None,
            "perceptual_every": self.every != 1,
            "perceptual_images": self.images is not None,
        }
        for name, given in reduced.items():
            if given and not self.weight:
                raise ValueError(f"{name} needs a positive perceptual_weight, got 0: there is no perceptual loss")
        if self.every != 1 and not self.pixel_weight:
            raise ValueError(
                f"perceptual_every {self.every} needs a positive pixel_weight, got 0: nothing would be reconstructed "
                "at the steps between"
            )
        if self.images is not None and not _divides(self.images, self.batch_size):
            raise ValueError(f"perceptual_images needs a divisor of batch_size {self.batch_size}, got {self.images!r}")
        if self.resolution is None:
            return
        if not _divides(self.resolution, self.image_size) or self.resolution < _SMALLEST:
            raise ValueError(
                f"perceptual_resolution needs a divisor of image_size {self.image_size} of at least {_SMALLEST}, got "
                f"{self.resolution!r}"
            )
        if self.features != "vgg16":
            raise ValueError(
                f"perceptual_resolution needs perceptual_features 'vgg16', got {self.features!r}: the denoising "
                "autoencoder takes pictures of image_size"
            )

    @property
    def compares_vgg16(self) -> bool:
        """Whether the loss needs the weights of VGG16."""
        return bool(self.weight) and self.features == "vgg16"

    @property
    def is_likelihood(self) -> bool:
        """Whether the loss is that of the pixels as it is, and with it a density wherever that is one."""
        return not self.weight and self.pixel_weight == 1

    def why_not_one_launch(self) -> str | None:
        """Why a step with this loss is not recorded or compiled as a whole; None where it can be."""
        if self.weight:
            return "a perceptual loss computes for long enough to hide the launches, and may differ from step to step"
        return None

    def build(
        self,
        pixel: Reconstruction,
        *,
        channels: int,
        seed: int,
        step: Callable[[], int],
        device: torch.device | str = "cpu",
        precision: str = "float32",
    ) -> tuple[Reconstruction, DenoisingFeatures | None]:
        """The reconstruction loss.

        Args:
            pixel: f(logits, images) -> (B,), the loss of the pixels.
            channels: of the images.
            seed: of the denoising autoencoder's weights.
            step: tells how many steps were taken before the present one.
            device: where it computes.
            precision: of VGG16, ``"float32"`` or ``"bf16"``.

        Returns:
            f(logits, images) -> (B,), and the denoising autoencoder to train for `dae_steps` before the loss is taken;
            None where its features are not compared.

        Raises:
            FileNotFoundError: there are no weights of VGG16.
            ValueError: the file of the weights holds something else.
        """
        if self.is_likelihood:
            return pixel, None  # a product with 1 would cost a pass and change nothing
        if not self.weight:
            return lambda logits, images: self.pixel_weight * pixel(logits, images), None
        denoiser: DenoisingFeatures | None = None
        features: Features
        if self.features == "dae":
            features = denoiser = DenoisingFeatures(channels=channels, size=self.image_size, seed=seed, device=device)
        else:
            features = VGGFeatures(
                load_vgg16(self.weights_path), parse_layers(self.layers), device=device, precision=precision
            )
        perceptual: Reconstruction = PerceptualDistance(
            features, style_weight=self.style_weight, resolution=self.resolution
        )
        if self.every > 1 or self.images is not None:
            image_every = self.batch_size // (self.images or self.batch_size)
            perceptual = SampledDistance(perceptual, every=self.every, image_every=image_every, step=step)
        combined = combine_reconstruction(
            pixel, perceptual, pixel_weight=self.pixel_weight, perceptual_weight=self.weight
        )
        return combined, denoiser

    def header(self) -> dict[str, Any] | None:
        """What the header of an encoder says of the loss it was trained by; None for the pixels alone."""
        if not self.weight:
            return None
        return {
            "weight": self.weight,
            "pixel_weight": self.pixel_weight,
            "features": self.features,
            "layers": self.layers if self.features == "vgg16" else None,
            "style_weight": self.style_weight,
            "resolution": self.resolution or self.image_size,
            "every": self.every,
            "images": self.images or self.batch_size,
        }


def _divides(part: int, whole: int) -> bool:
    return not isinstance(part, bool) and isinstance(part, int) and part >= 1 and whole % part == 0
