"""CodeFeatures: what an agent is shown of an encoder's posterior, the same in wrappers, extractors and graphs."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rl.code_recoding import CodeRecoding
from rl.code_scaling import CodeScaling, Scaling
from rl.recoding import Recode
from rl.recodings import recoding_of
from sparse_repr import FrozenEncoder
from sparse_repr.explore.networks import Layer


class CodeFeatures:
    """Scaled or recoded codes and, if asked for, the log-variances behind them; the features of one image.

    The log-variance is that of the code as the encoder gives it.
    """

    def __init__(
        self,
        encoder: FrozenEncoder,
        *,
        code_scaling: Scaling = "none",
        include_log_variance: bool = False,
        recode: Recode | None = None,
    ) -> None:
        """Take the statistics of `encoder`.

        Raises:
            TypeError: `recode` is neither a name nor a mapping with one.
            ValueError: an unknown scaling or recoding, or one that needs an active unit where the encoder has none.
        """
        if recode is not None and code_scaling != "none":
            raise ValueError(
                f"recode={recoding_of(recode).name!r} standardises the units by itself, got code_scaling="
                f"{code_scaling!r} beside it: leave code_scaling out"
            )
        self.recoding = None if recode is None else CodeRecoding(encoder.spec.units, recode, encoder.fingerprint)
        """What stands in the code's place; None for the code itself."""
        self._scaling = CodeScaling(encoder, code_scaling)
        self._include_log_variance = include_log_variance
        self.code_width = encoder.code_size if self.recoding is None else self.recoding.width
        """Of the features, those of the code; the log-variances, one per unit, follow them."""
        self.width = self.code_width + (encoder.code_size if include_log_variance else 0)
        """Number of features F of one image."""

    def layers(self) -> list[Layer] | None:
        """What is shown of a code as layers of the explorer's kernel; None where it has none for it."""
        if self._include_log_variance:
            return None
        return self._scaling.layers() if self.recoding is None else self.recoding.layers()

    def numpy(self, mean: npt.NDArray[np.float32], log_variance: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """A posterior, both float32 (n, D) -> features float32 (n, F)."""
        codes = self._scaling.numpy(mean) if self.recoding is None else self.recoding.numpy(mean)
        return np.concatenate([codes, log_variance], axis=1) if self._include_log_variance else codes

    def torch(self, mean: Tensor, log_variance: Tensor) -> Tensor:
        """A posterior, both (n, D) of any floating type -> features (n, F) of the same type and device."""
        codes = self._scaling.torch(mean) if self.recoding is None else self.recoding.torch(mean)
        return torch.cat((codes, log_variance), dim=1) if self._include_log_variance else codes
