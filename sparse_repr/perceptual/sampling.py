"""SampledDistance: the perceptual loss at some of the steps and on some of the images, for a part of its cost."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from sparse_repr.objectives.reconstruction import Reconstruction


class SampledDistance:
    """An unbiased estimate of a distance: every k-th step, on every m-th image of the batch, times k m.

    The order of the data is a seeded permutation, so that every m-th image is a random choice and the gradient is that
    of the whole distance in expectation, with a larger variance. What is chosen depends on the step alone and the step
    decides the images: a resumed run makes the same choices.
    """

    def __init__(self, distance: Reconstruction, *, every: int, image_every: int, step: Callable[[], int]) -> None:
        """Estimate `distance`.

        Args:
            distance: f(logits, images) -> (B,).
            every: k; the other steps have a distance of 0, without gradient.
            image_every: m; the other images have a distance of 0. The first of every m is taken.
            step: tells how many steps were taken before the present one.
        """
        self.distance = distance
        self.every = every
        self.image_every = image_every
        self.step = step

    def __call__(self, logits: Tensor, images: Tensor) -> Tensor:
        """Logits and images (B, C, H, W) -> (B,), whose mean estimates that of the distance."""
        total = torch.zeros(len(images), device=images.device)
        if self.step() % self.every:
            return total
        chosen = slice(None, None, self.image_every)
        # len / chosen instead of m: a batch that m does not divide must not be counted short
        found = self.distance(logits[chosen], images[chosen])
        total[chosen] = found * (self.every * len(images) / max(1, len(found)))
        return total
