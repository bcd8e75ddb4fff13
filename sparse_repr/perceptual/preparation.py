"""What a loss of features takes from the training images before the first step, and keeps in the run's state."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from sparse_repr.perceptual.denoising import DenoisingFeatures
from sparse_repr.perceptual.targets import FeatureTargets
from sparse_repr.perceptual.variances import FeatureVariances


@dataclasses.dataclass(frozen=True)
class Preparation:
    """The parts of a loss of features that are made from the data: all, some or none."""

    denoiser: DenoisingFeatures | None = None
    """Features that are trained before they are compared or predicted."""
    variances: FeatureVariances | None = None
    """Variances that are measured before distances are shares of them."""
    targets: FeatureTargets | None = None
    """Features whose mean and deviation are measured before they are predicted."""

    def __call__(
        self,
        batch: Callable[[int], Tensor],
        images: Callable[[], Tensor],
        *,
        dae_steps: int,
        progress: bool = False,
    ) -> None:
        """Train and measure what is not yet.

        Args:
            batch: step -> images (B, C, S, S) in 0..1, to train features on.
            images: training images (N, C, S, S) in 0..1, to measure on.
            dae_steps: steps that features are trained for.
            progress: show a bar over them.

        Raises:
            ValueError: the images are all the same.
        """
        if self.denoiser is not None and not self.denoiser.trained:
            self.denoiser.train(batch, dae_steps, progress=progress)
        if self.variances is not None and not self.variances.measured:
            self.variances.measure(images())
        if self.targets is not None and not self.targets.measured:
            self.targets.measure(images())

    def describe(self) -> dict[str, Any]:
        """What was measured, as plain values: for the header of an encoder."""
        return {} if self.variances is None else {"variances": self.variances.describe()}

    def state_dict(self) -> dict[str, Any]:
        """The parts that there are, by name."""
        parts = {"denoiser": self.denoiser, "variances": self.variances, "targets": self.targets}
        return {name: part.state_dict() for name, part in parts.items() if part is not None}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take the parts of `state_dict`; nothing needs to be prepared then."""
        if self.denoiser is not None:
            self.denoiser.load_state_dict(state["denoiser"])
        if self.variances is not None:
            self.variances.load_state_dict(state["variances"])
        if self.targets is not None:
            self.targets.load_state_dict(state["targets"])
