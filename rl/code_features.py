"""CodeFeatures: what an agent is shown of an encoder's posterior, the same in wrappers, extractors and graphs."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rl.code_scaling import CodeScaling, Scaling
from sparse_repr import FrozenEncoder


class CodeFeatures:
    """Scaled codes and, if asked for, the log-variances behind them; the features of one image.

    The log-variance is that of the unscaled code.
    """

    def __init__(
        self, encoder: FrozenEncoder, *, code_scaling: Scaling = "none", include_log_variance: bool = False
    ) -> None:
        """Take the statistics of `encoder`.

        Raises:
            ValueError: an unknown scaling, or one that needs an active unit where the encoder has none.
        """
        self._scaling = CodeScaling(encoder, code_scaling)
        self._include_log_variance = include_log_variance
        self.parts = 2 if include_log_variance else 1
        """Of the features, each of one value per unit: the code, then its log-variance."""
        self.width = self.parts * encoder.code_size
        """Number of features F of one image."""

    def numpy(self, mean: npt.NDArray[np.float32], log_variance: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """A posterior, both float32 (n, D) -> features float32 (n, F)."""
        codes = self._scaling.numpy(mean)
        return np.concatenate([codes, log_variance], axis=1) if self._include_log_variance else codes

    def torch(self, mean: Tensor, log_variance: Tensor) -> Tensor:
        """A posterior, both (n, D) of any floating type -> features (n, F) of the same type and device."""
        codes = self._scaling.torch(mean)
        return torch.cat((codes, log_variance), dim=1) if self._include_log_variance else codes
