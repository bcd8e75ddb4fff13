"""Denoising: the encoder sees a corrupted copy of an image, and what is compared is the image itself."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

# a pixel this near to the median image is taken for background, in every channel
_NEAR = 0.06
# cells of a random background in height and width: blobs, not noise
_CELLS = 4


@dataclasses.dataclass(frozen=True)
class Denoising:
    """How strongly images are corrupted before the encoder sees them (denoising autoencoders, Vincent et al. 2008).

    In this order: with probability `background` the pixels near the median training image are replaced by blobs of
    random colours; every channel is multiplied by exp(a) and moved by b / 2, where a and b are normal with standard
    deviation `color`; normal noise of standard deviation `noise` is added to every pixel; all is clipped to 0..1.
    """

    noise: float = 0.0
    """Standard deviation of the noise of a pixel, of 0..1."""
    color: float = 0.0
    """Standard deviation of the changes of a channel."""
    background: float = 0.0
    """Probability that an image gets another background."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not 0 <= value <= 1:
                raise ValueError(f"denoising_{name} needs a number in 0..1, got {value!r}")

    def __bool__(self) -> bool:
        return any(dataclasses.astuple(self))

    def numbers(self, shape: tuple[int, int, int]) -> int:
        """How many standard normal numbers an image of shape (C, S, S) takes."""
        channels, height, width = shape
        return (
            bool(self.background) * (1 + channels * _CELLS**2)
            + bool(self.color) * 2 * channels
            + bool(self.noise) * channels * height * width
        )

    def corrupt(self, images: Tensor, numbers: Tensor, median: Tensor | None = None) -> Tensor:
        """A corrupted copy of images.

        Args:
            images: (B, C, S, S) in 0..1.
            numbers: (B, `numbers(...)`) standard normal: all that is random.
            median: (C, S, S) in 0..1, the median training image, or (B, C, S, S), one for each image; needed with
                `background`.

        Returns:
            (B, C, S, S) in 0..1.
        """
        count, channels = images.shape[:2]
        if self.background:
            assert median is not None
            size = channels * _CELLS**2
            chosen, cells, numbers = numbers.split([1, size, numbers.shape[1] - 1 - size], 1)
            blobs = _uniform(cells).view(count, channels, _CELLS, _CELLS)
            blobs = F.interpolate(blobs, size=images.shape[2:], mode="bilinear", align_corners=False)
            near = (images - median).abs().amax(1, keepdim=True) < _NEAR  # (B, 1, S, S)
            replaced = near & (_uniform(chosen) < self.background).view(count, 1, 1, 1)
            images = torch.where(replaced, blobs, images)
        if self.color:
            changes, numbers = self.color * numbers[:, : 2 * channels], numbers[:, 2 * channels :]
            gain, shift = changes.view(count, 2, channels, 1, 1).unbind(1)
            images = images * gain.exp() + shift / 2
        if self.noise:
            images = images + self.noise * numbers.view(images.shape)
        return images.clamp(0, 1)

    def seen_by(self, numbers: Tensor, median: Tensor | None) -> Callable[[Tensor], Tensor]:
        """What an encoder is shown in a step that drew `numbers`, as `VAE.shows` takes it."""
        return lambda images: self.corrupt(images, numbers, median)


def _uniform(normal: Tensor) -> Tensor:
    return 0.5 * (1 + torch.erf(normal / math.sqrt(2)))


def median_image(images: Tensor) -> Tensor:
    """The median of images (n, C, S, S), pixel by pixel -> (C, S, S): their background, where little moves."""
    return images.median(0).values
