"""How much features vary over the training images: what a feature distance is a share of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from sparse_repr.metrics.sharpness import laplacian_energy
from sparse_repr.perceptual.features import Features

VARIANCE_IMAGES = 512
"""Training images that variances are measured on."""
_AT_ONCE = 16
_FLOOR = 1e-6
_LEAST_ROUGHNESS = 0.1


class FeatureVariances:
    """Variances over the training images, of the features at every resolution and of the pixels.

    V_rj = mean over the features of layer j at resolution r of their variance, which is half the mean squared distance
    of random pairs of images; T = sum over the pixels of their variance.
    """

    def __init__(
        self, features: Features, resolutions: Sequence[int], *, layers: int, device: torch.device | str = "cpu"
    ) -> None:
        """Nothing is measured yet.

        Args:
            features: the frozen network.
            resolutions: heights and widths that pictures are averaged down to.
            layers: how many layers `features` returns.
            device: where the images are.
        """
        self._features = features
        self.measured = False
        self._values = {f"{resolution}": torch.zeros(layers, device=device) for resolution in resolutions}
        self._values |= {name: torch.zeros((), device=device) for name in ("pixels", "roughness")}

    @torch.no_grad()
    def measure(self, images: Tensor) -> None:
        """Measure on images (N, C, S, S) in 0..1.

        Raises:
            ValueError: they are all the same, or one alone.
        """
        # float64 on the host: not every device has it
        variance = images.cpu().double().var(0) if len(images) > 1 else torch.zeros(())  # (C, S, S)
        if not float(variance.sum()):
            raise ValueError(
                f"perceptual_scale 'data' needs training images that differ, got {len(images)} alike: take "
                "perceptual_scale 'image'"
            )
        self._values["pixels"] = variance.sum().float().to(images.device)
        self._values["roughness"] = laplacian_energy(images).mean()
        for resolution in self.resolutions:
            sums: list[Tensor] = []
            squares: list[Tensor] = []
            for part in images.split(_AT_ONCE):
                smaller = F.avg_pool2d(part, images.shape[-1] // resolution)
                found = [features.cpu().double() for features in self._features(smaller)]
                sums = [*map(torch.add, sums, (f.sum(0) for f in found))] if sums else [f.sum(0) for f in found]
                more = [features.square().sum(0) for features in found]
                squares = [*map(torch.add, squares, more)] if squares else more
            variances = [
                ((square - total.square() / len(images)) / (len(images) - 1)).mean()
                for total, square in zip(sums, squares, strict=True)
            ]
            self._values[f"{resolution}"] = torch.stack(variances).float().to(images.device)
        self.measured = True

    @property
    def resolutions(self) -> list[int]:
        """Heights and widths of the levels."""
        return [int(name) for name in self._values if name.isdecimal()]

    def of_layers(self, resolution: int) -> Tensor:
        """V_r of every layer, (J,) above 0.

        Raises:
            RuntimeError: not measured yet.
        """
        return self._value(f"{resolution}").clamp_min(_FLOOR)

    @property
    def of_pixels(self) -> Tensor:
        """T, scalar."""
        return self._value("pixels")

    @property
    def least_roughness(self) -> Tensor:
        """A tenth of the training images' mean squared Laplacian, scalar above 0."""
        return (_LEAST_ROUGHNESS * self._value("roughness")).clamp_min(_FLOOR)

    def _value(self, name: str) -> Tensor:
        if not self.measured:
            raise RuntimeError("FeatureVariances needs measure() or load_state_dict() before it scales a distance")
        return self._values[name]

    def describe(self) -> dict[str, Any]:
        """The measured numbers as plain values: pixels, roughness, and one per layer for every resolution."""
        return {name: value.tolist() for name, value in self._values.items()}

    def state_dict(self) -> dict[str, Tensor]:
        """The measured numbers."""
        return dict(self._values)

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take the numbers of `state_dict`; nothing needs to be measured then."""
        self._values = {name: state[name].to(value.device) for name, value in self._values.items()}
        self.measured = True
