"""DIP-VAE: the covariance of the codes is drawn to the identity (Kumar et al. 2018)."""

from __future__ import annotations

import dataclasses
from functools import partial

from torch import Tensor

from sparse_repr.models import Posterior
from sparse_repr.objectives.base import Regularised, StepNumber
from sparse_repr.objectives.entry import ObjectiveChoice
from sparse_repr.objectives.terms import covariance, kl_divergence, moment_penalty
from sparse_repr.objectives.variational import variational


@dataclasses.dataclass(frozen=True)
class MomentMatching:
    """KL + distance of the covariance of the codes from the identity (Kumar et al. 2018): DIP-VAE.

    I takes the covariance of the means (Eq. 6), II that of the samples: E[Sigma] + Cov[mu] (Eq. 5 and 7).
    """

    covariance_weight: float | Tensor
    variance_weight: float | Tensor
    of_samples: bool

    def __call__(self, posterior: Posterior, z: Tensor, step_number: StepNumber) -> Regularised:  # noqa: ARG002
        matrix = covariance(posterior.mean)
        if self.of_samples:
            matrix = matrix + posterior.log_variance.exp().mean(0).diag()
        penalty = moment_penalty(matrix, covariance_weight=self.covariance_weight, variance_weight=self.variance_weight)
        return kl_divergence(*posterior).sum(1).mean() + penalty, {"moment_penalty": penalty}


_COUPLES = "it takes the covariance of a batch's codes"
# lambda_d is 10 lambda_od for I and lambda_od for II in the public reference settings
DIP_VAE_I = ObjectiveChoice(
    "the covariance of the means drawn to the identity (Kumar et al. 2018)",
    {"covariance_weight": 10.0, "variance_weight": 100.0},
    variational(partial(MomentMatching, of_samples=False)),
    smallest_batch=2,
    couples_images=_COUPLES,
)
DIP_VAE_II = ObjectiveChoice(
    "the covariance of the samples drawn to the identity (Kumar et al. 2018)",
    {"covariance_weight": 10.0, "variance_weight": 10.0},
    variational(partial(MomentMatching, of_samples=True)),
    smallest_batch=2,
    couples_images=_COUPLES,
)
