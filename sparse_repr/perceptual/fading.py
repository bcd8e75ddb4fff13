"""FadingPixels: pixels draw the shapes first, and are gone when the features have taken over."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from sparse_repr.objectives.base import ramp
from sparse_repr.objectives.reconstruction import Reconstruction


class FadingPixels:
    """w_t pixel + weight * perceptual, where w_t goes linearly from `start` to `end` while the features take over.

    Until the features join, the pixels count alone, `start` times; from that step on w_t goes to `end` over `steps`
    steps. With an `end` of 0 the last part of a run is trained by the features alone, as the paper has it (section
    3.2), but from pictures that have shapes: features by themselves find places and sizes, and hold a disc for good
    enough. This schedule is not from a paper.
    """

    def __init__(
        self,
        pixel: Reconstruction,
        perceptual: Reconstruction,
        *,
        weight: float,
        start: float,
        end: float,
        joins: int,
        steps: int,
        step: Callable[[], int],
    ) -> None:
        """Combine both losses.

        Args:
            pixel: f(logits, images) -> (B,).
            perceptual: f(logits, images) -> (B,).
            weight: of the perceptual loss.
            start: weight of the pixels at first.
            end: and at the end.
            joins: step from which the features count, and the pixels fade.
            steps: that they fade over.
            step: tells how many steps were taken before the present one; the weights are a function of it alone.
        """
        self._pixel, self._perceptual, self._weight = pixel, perceptual, weight
        self._start, self._end, self._joins, self._steps, self._step = start, end, joins, steps, step

    def pixel_weight_at(self, step: int) -> float:
        """w_t."""
        return self._start + (self._end - self._start) * float(ramp(step, self._steps, start=self._joins))

    def __call__(self, logits: Tensor, images: Tensor) -> Tensor:
        """Logits and images (B, C, H, W) -> (B,)."""
        step = self._step()
        total = torch.zeros(len(images), device=images.device)
        pixels = self.pixel_weight_at(step)
        if pixels:
            total = total + pixels * self._pixel(logits, images)
        if step >= self._joins:
            total = total + self._weight * self._perceptual(logits, images)
        return total
