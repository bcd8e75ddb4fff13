"""PyramidDistance: the perceptual loss from coarse to fine, so that it says where before it says what."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from sparse_repr.objectives.reconstruction import Reconstruction
from sparse_repr.perceptual.levels import Level
from sparse_repr.perceptual.sampling import SampledDistance


class PyramidDistance:
    """The mean over the levels that have joined of a distance at each level's resolution.

    L_t(y, x) = 1 / |R_t| sum_{r in R_t} d_r(y, x), where R_t are the levels that start at step t or before. Features
    see edges: at the full resolution a picture that has everything 4 pixels beside its place is as far off as a black
    one, and the loss does not say which way is better. On pictures of 16 x 16 it does. A finer level counts once the
    coarser ones have put things near their place; from the start it holds them back. Multi-resolution VGG losses:
    Siarohin et al. 2019, section 3.3; that levels join one by one: as the networks of Karras et al. 2018 grow.
    """

    def __init__(
        self, levels: Sequence[Level], distance: Callable[[int], Reconstruction], *, step: Callable[[], int]
    ) -> None:
        """Compare at `levels`.

        Args:
            levels: it is called from the step on at which the first of them starts.
            distance: resolution -> f(logits, images) -> (B,).
            step: tells how many steps were taken before the present one; the levels are a function of it alone.
        """
        self.levels = tuple(levels)
        self._distances = [
            SampledDistance(distance(level.resolution), every=1, image_every=level.image_every, step=step)
            for level in levels
        ]
        self._step = step

    def __call__(self, logits: Tensor, images: Tensor) -> Tensor:
        """Logits and images (B, C, H, W) -> (B,), whose mean estimates that of the distance."""
        step = self._step()
        joined = [distance for level, distance in zip(self.levels, self._distances, strict=True) if level.start <= step]
        total = torch.zeros(len(images), device=images.device)
        for distance in joined:
            total = total + distance(logits, images)
        return total / len(joined)
