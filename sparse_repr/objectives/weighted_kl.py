"""VAE and beta-VAE: the KL divergence from the prior, weighted (Kingma and Welling 2013; Higgins et al. 2017)."""

from __future__ import annotations

import dataclasses
from functools import partial

from torch import Tensor

from sparse_repr.models import Posterior
from sparse_repr.objectives.base import Regularised, StepNumber
from sparse_repr.objectives.entry import ObjectiveChoice
from sparse_repr.objectives.terms import kl_divergence
from sparse_repr.objectives.variational import variational


@dataclasses.dataclass(frozen=True)
class WeightedKL:
    """beta * KL: the VAE for beta 1 (the paper, Eq. 1), beta-VAE above (Higgins et al. 2017, Eq. 4; the paper, Eq. 2).

    With beta 1 it is the evidence lower bound of Kingma and Welling 2013.
    """

    beta: float | Tensor

    def __call__(self, posterior: Posterior, z: Tensor, step_number: StepNumber) -> Regularised:  # noqa: ARG002
        return self.beta * kl_divergence(*posterior).sum(1).mean(), {}


VAE = ObjectiveChoice("the evidence lower bound (Kingma and Welling 2013)", {}, variational(partial(WeightedKL, 1.0)))
BETA_VAE = ObjectiveChoice("the KL term weighted by beta (Higgins et al. 2017)", {"beta": 4.0}, variational(WeightedKL))
