"""Scaling codes by the statistics in the encoder's artefact, so that agents see units of comparable size."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sparse_repr import FrozenEncoder
from sparse_repr.explore.networks import Layer

Scaling = Literal["none", "scale", "standardize"]


class CodeScaling:
    """An affine map of each unit, fixed by the artefact: never estimated while an agent trains.

    `none` leaves codes as they are. `scale` divides each active unit by its standard deviation on the training images,
    so exact zeros of a sparse code stay zeros. `standardize` also subtracts the mean. Both set dead units to 0: divided
    by their tiny standard deviation they would drown the others in noise.
    """

    def __init__(self, encoder: FrozenEncoder, scaling: Scaling = "none") -> None:
        """Take the statistics of `encoder`.

        Raises:
            ValueError: an unknown scaling, or one that needs an active unit where the encoder has none.
        """
        if scaling not in get_args(Scaling):
            raise ValueError(f"code_scaling needs one of {', '.join(get_args(Scaling))}, got {scaling!r}")
        units = encoder.spec.units
        active = np.array(units.active, dtype=bool)
        if scaling != "none" and not active.any():
            raise ValueError(
                f"code_scaling={scaling!r} needs active units, but none of the {len(active)} units of {encoder!r} was "
                'active on its training images: train it longer or with weaker penalties, or use code_scaling="none"'
            )
        self.scaling = scaling
        deviations = np.where(active, np.array(units.std, dtype=np.float64), 1)
        factor = np.where(active, 1 / deviations, 0)
        shift = -np.array(units.mean) * factor if scaling == "standardize" else np.zeros(len(active))
        self._factor = factor.astype(np.float32)  # (D,)
        self._shift = shift.astype(np.float32)  # (D,)

    def layers(self) -> list[Layer]:
        """The same map as layers of the explorer's kernel."""
        if self.scaling == "none":
            return []
        factor, shift = (torch.from_numpy(part) for part in (self._factor, self._shift))
        return [{"op": "affine", "factor": factor, "shift": shift}]

    def numpy(self, codes: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Codes float32 (..., D) -> float32 (..., D)."""
        if self.scaling == "none":
            return codes
        return codes * self._factor + self._shift

    def torch(self, codes: Tensor) -> Tensor:
        """Codes (..., D) of any floating type -> the same shape, type and device."""
        if self.scaling == "none":
            return codes
        factor, shift = (torch.from_numpy(part).to(codes) for part in (self._factor, self._shift))
        return codes * factor + shift
