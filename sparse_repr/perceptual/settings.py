"""PerceptualSettings: what a reconstruction loss is made of, its pixels and its features, and how it is built."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import torch

from sparse_repr.command_line.bounds import require_name, require_whole
from sparse_repr.objectives.reconstruction import Reconstruction
from sparse_repr.perceptual.denoising import DenoisingFeatures
from sparse_repr.perceptual.distance import PerceptualDistance, combine_reconstruction, with_roughness
from sparse_repr.perceptual.fading import FadingPixels
from sparse_repr.perceptual.features import PERCEPTUAL_FEATURES, Features, VGGFeatures, parse_layers
from sparse_repr.perceptual.levels import Level, in_words, parse_levels
from sparse_repr.perceptual.preparation import Preparation
from sparse_repr.perceptual.pyramid import PyramidDistance
from sparse_repr.perceptual.sampling import SampledDistance
from sparse_repr.perceptual.variances import FeatureVariances
from sparse_repr.perceptual.vgg_weights import load_vgg16
from sparse_repr.registry import lookup

PERCEPTUAL_SCALES = ("image", "data")
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
    steps: int | None = None
    """Steps of the run, where `levels` names shares of it."""
    weight: float = 0.0
    """Weight of the distance of the features; 0 for the pixels alone."""
    pixel_weight: float = 1.0
    """Weight of the loss of the pixels; 0 for the features alone."""
    pixel_start: float = 0.0
    """That weight at first, where `pixel_steps` is not 0."""
    pixel_steps: int = 0
    """Steps over which it goes to `pixel_weight`, from where the features join; 0 for that weight throughout."""
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
    levels: str | None = None
    """Resolutions of a loss from coarse to fine, as `parse_levels` reads them; None for one resolution."""
    scale: str = "image"
    """What a distance is a share of: image (the image's own features) or data (their variance over the images)."""
    roughness_weight: float = 0.0
    """Weight of `excess_roughness`, times the variance of the pixels."""
    every: int = 1
    """The features are compared at every k-th step only."""
    images: int | None = None
    """Images of each batch whose features are compared; None for all."""
    dae_steps: int = 2_000
    """Steps that the denoising autoencoder is trained for."""

    def __post_init__(self) -> None:
        require_whole("dae_steps", self.dae_steps)
        require_whole("perceptual_every", self.every)
        require_whole("pixel_steps", self.pixel_steps, least=0)
        require_name("perceptual_weights_path", self.weights_path)
        weights = {
            "pixel_weight": self.pixel_weight,
            "pixel_start": self.pixel_start,
            "perceptual_weight": self.weight,
            "style_weight": self.style_weight,
            "roughness_weight": self.roughness_weight,
        }
        for name, value in weights.items():
            if not 0 <= value < float("inf"):
                raise ValueError(f"{name} needs a finite number of at least 0, got {value!r}")
        lookup(dict.fromkeys(PERCEPTUAL_FEATURES), self.features, "perceptual features")
        lookup(dict.fromkeys(PERCEPTUAL_SCALES), self.scale, "perceptual scale")
        parse_layers(self.layers)
        if not self.pixel_weight and not self.weight:
            raise ValueError("pixel_weight 0 needs a positive perceptual_weight, got 0: nothing would be reconstructed")
        if self.style_weight and not self.compares_vgg16:
            raise ValueError(
                "style_weight needs a positive perceptual_weight and perceptual_features 'vgg16': Gram matrices are "
                "taken of its feature maps"
            )
        if self.style_weight and self.scale == "data":
            raise ValueError("style_weight needs perceptual_scale 'image', got 'data': Gram matrices have no variance")
        if self.roughness_weight and self.scale != "data":
            raise ValueError(
                f"roughness_weight needs perceptual_scale 'data', got {self.scale!r}: it is a share of the variance"
            )
        self._check_fading()
        self._check_cost()
        self._check_levels()

    def _check_fading(self) -> None:
        if bool(self.pixel_start) != bool(self.pixel_steps):
            raise ValueError(
                "pixel_start and pixel_steps go together: the weight that pixels have first, and the steps over which "
                f"it goes to pixel_weight; got {self.pixel_start!r} and {self.pixel_steps!r}"
            )
        if self.pixel_steps and not self.weight:
            raise ValueError(
                "pixel_start needs a positive perceptual_weight, got 0: nothing takes over from the pixels"
            )

    def _check_cost(self) -> None:
        reduced = {
            "perceptual_resolution": self.resolution is not None,
            "perceptual_levels": self.levels is not None,
            "perceptual_scale 'data'": self.scale != "image",
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

    def _check_levels(self) -> None:
        if self.levels is None:
            return
        if self.resolution is not None:
            raise ValueError(
                f"perceptual_levels takes the place of perceptual_resolution, got {self.levels!r} and {self.resolution}"
            )
        if self.features != "vgg16":
            parse_levels(self.levels, self.steps)
            return
        for level in self.joining():
            if not _divides(level.resolution, self.image_size) or level.resolution < _SMALLEST:
                raise ValueError(
                    f"perceptual_levels needs divisors of image_size {self.image_size} of at least {_SMALLEST}, got "
                    f"{level.resolution} in {self.levels!r}"
                )
        if not self.joining() or (self.features_from and not self.pixel_start):
            raise ValueError(
                f"perceptual_levels needs a level up to image_size {self.image_size} that is there from step 0, or "
                f"pixels before it (pixel_start with pixel_steps), got {self.levels!r}"
            )

    def joining(self) -> tuple[Level, ...]:
        """The levels, none where there is one resolution.

        Levels above `image_size` are left out, and all are with dae, whose pictures have that size: a preset serves
        every network.
        """
        if self.levels is None or self.features != "vgg16":
            return ()
        return tuple(level for level in parse_levels(self.levels, self.steps) if level.resolution <= self.image_size)

    @property
    def features_from(self) -> int:
        """Step at which the first of the levels joins; 0 where there is one resolution."""
        return min((level.start for level in self.joining()), default=0)

    @property
    def complete_from(self) -> int:
        """Step at which the last of the levels joins; 0 where there is one resolution."""
        return max((level.start for level in self.joining()), default=0)

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
    ) -> tuple[Reconstruction, Preparation]:
        """The reconstruction loss.

        Args:
            pixel: f(logits, images) -> (B,), the loss of the pixels.
            channels: of the images.
            seed: of the denoising autoencoder's weights.
            step: tells how many steps were taken before the present one.
            device: where it computes.
            precision: of VGG16, ``"float32"`` or ``"bf16"``.

        Returns:
            f(logits, images) -> (B,), and what has to be trained and measured before it is taken.

        Raises:
            FileNotFoundError: there are no weights of VGG16.
            ValueError: the file of the weights holds something else.
        """
        if self.is_likelihood:
            return pixel, Preparation()  # a product with 1 would cost a pass and change nothing
        if not self.weight:
            return lambda logits, images: self.pixel_weight * pixel(logits, images), Preparation()
        denoiser: DenoisingFeatures | None = None
        features: Features
        if self.features == "dae":
            features = denoiser = DenoisingFeatures(channels=channels, size=self.image_size, seed=seed, device=device)
        else:
            features = VGGFeatures(
                load_vgg16(self.weights_path), parse_layers(self.layers), device=device, precision=precision
            )
        levels = self.joining() or (Level(self.resolution or self.image_size),)
        variances: FeatureVariances | None = None
        if self.scale == "data":
            layers = len(parse_layers(self.layers)) if self.features == "vgg16" else 1
            resolutions = [level.resolution for level in levels]
            variances = FeatureVariances(features, resolutions, layers=layers, device=device)

        def at(resolution: int) -> PerceptualDistance:
            return PerceptualDistance(
                features, style_weight=self.style_weight, resolution=resolution, variances=variances
            )

        perceptual: Reconstruction
        perceptual = PyramidDistance(levels, at, step=step) if self.joining() else at(levels[0].resolution)
        if self.roughness_weight and variances is not None:
            perceptual = with_roughness(perceptual, variances, weight=self.roughness_weight)
        if self.every > 1 or self.images is not None:
            image_every = self.batch_size // (self.images or self.batch_size)
            perceptual = SampledDistance(perceptual, every=self.every, image_every=image_every, step=step)
        if self.pixel_steps:
            fading = FadingPixels(
                pixel,
                perceptual,
                weight=self.weight,
                start=self.pixel_start,
                end=self.pixel_weight,
                joins=self.features_from,
                steps=self.pixel_steps,
                step=step,
            )
            return fading, Preparation(denoiser, variances)
        combined = combine_reconstruction(
            pixel, perceptual, pixel_weight=self.pixel_weight, perceptual_weight=self.weight
        )
        return combined, Preparation(denoiser, variances)

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
            "scale": self.scale,
            **({"levels": in_words(self.joining())} if self.joining() else {}),
            **({"pixel_start": self.pixel_start, "pixel_steps": self.pixel_steps} if self.pixel_steps else {}),
            **({"roughness_weight": self.roughness_weight} if self.roughness_weight else {}),
        }


def _divides(part: int, whole: int) -> bool:
    return not isinstance(part, bool) and isinstance(part, int) and part >= 1 and whole % part == 0
