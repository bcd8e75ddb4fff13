"""CodeRecoding: a recoding of one encoder's codes, by the statistics in its artefact."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rl.recoding import Recode
from rl.recodings import recoding_of
from sparse_repr.encoder import UnitStatistics
from sparse_repr.explore.networks import Layer


class CodeRecoding:
    """Codes to what a recoding of `rl.recodings` makes of their standardised active units.

    NumPy and torch go the same way, so that wrappers, extractors and graphs show the same.
    """

    def __init__(self, units: UnitStatistics, recode: Recode, encoder: str | None = None) -> None:
        """Take the statistics of an encoder's units.

        Args:
            units: the statistics.
            recode: as in `recoding_of`.
            encoder: fingerprint of the encoder, where it is known.

        Raises:
            TypeError, ValueError: as `recoding_of`; also where no unit is active, or it was fitted to another encoder.
        """
        self._units = units
        self._encoder = encoder
        given = recoding_of(recode)
        if given.fitted_to is not None and encoder is not None and given.fitted_to != encoder:
            raise ValueError(
                f"recode={given.name!r} was fitted to codes of encoder {given.fitted_to[:12]}, these are codes of "
                f"encoder {encoder[:12]}: fit one to them (python -m rl.dictionary RUN)"
            )
        active = np.array(units.active, dtype=bool)
        if not active.any():
            raise ValueError(
                f"recode={given.name!r} needs active units, but none of the {len(active)} units was active on the "
                "encoder's training images: train it longer or with weaker penalties, or leave recode out"
            )
        chosen = given.resolved(len(active))
        self.settings = chosen.settings()
        """Name and settings with every default filled in, as JSON values."""
        self.width = chosen.size(len(active))
        """Values in place of a code."""
        self.differentiable = chosen.differentiable
        """Whether a gradient reaches the code."""
        factor = np.where(active, 1 / np.where(active, np.array(units.std, dtype=np.float64), 1), 0)
        self._mean = torch.from_numpy(np.array(units.mean, dtype=np.float32))  # (D,)
        self._factor = torch.from_numpy(factor.astype(np.float32))  # (D,)
        self._map = chosen.map_for(active)
        self._layers = chosen.layers_for(active)

    def __reduce__(self) -> tuple[Any, ...]:
        # the map is made anew: a function inside of another cannot be pickled
        return type(self), (self._units, self.settings, self._encoder)

    def layers(self) -> list[Layer] | None:
        """The same as layers of the explorer's kernel; None where it has none for this recoding."""
        if self._layers is None:
            return None
        return [{"op": "affine", "factor": self._factor, "shift": -self._mean * self._factor}, *self._layers]

    def torch(self, codes: Tensor) -> Tensor:
        """Codes (n, D) of any floating type -> (n, width) of the same type and device; computed in float32."""
        exact = codes.float()
        standardised = (exact - self._mean.to(exact)) * self._factor.to(exact)
        return self._map(standardised).to(codes.dtype)

    def numpy(self, codes: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Codes float32 (n, D) -> float32 (n, width)."""
        shown: npt.NDArray[np.float32] = self.torch(torch.from_numpy(codes)).numpy()
        return shown
