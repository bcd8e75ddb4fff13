"""beta-TCVAE: the parts of the KL divergence, estimated within a batch and weighted apart (Chen et al. 2018)."""

from __future__ import annotations

import dataclasses

from torch import Tensor

from sparse_repr.models import Posterior
from sparse_repr.objectives.base import Regularised, StepNumber
from sparse_repr.objectives.entry import ObjectiveChoice, Setting, one_of
from sparse_repr.objectives.total_correlation import DENSITY_ESTIMATORS, decompose_kl
from sparse_repr.objectives.variational import variational


@dataclasses.dataclass(frozen=True)
class TotalCorrelation:
    """alpha * mutual information + beta * total correlation + gamma * dimension-wise KL (Chen et al. 2018, Eq. 4)."""

    mutual_information_weight: float | Tensor
    total_correlation_weight: float | Tensor
    dimension_kl_weight: float | Tensor
    dataset_size: int
    density_estimator: str

    def __call__(self, posterior: Posterior, z: Tensor, step_number: StepNumber) -> Regularised:  # noqa: ARG002
        parts = decompose_kl(z, *posterior, dataset_size=self.dataset_size, estimator=self.density_estimator)
        terms = {name: part.mean() for name, part in parts._asdict().items()}
        value = (
            self.mutual_information_weight * terms["mutual_information"]
            + self.total_correlation_weight * terms["total_correlation"]
            + self.dimension_kl_weight * terms["dimension_kl"]
        )
        return value, terms


BETA_TCVAE = ObjectiveChoice(
    "total correlation penalised through estimates within the batch (Chen et al. 2018)",
    {"mutual_information_weight": 1.0, "total_correlation_weight": 6.4, "dimension_kl_weight": 1.0},
    variational(TotalCorrelation),
    {"density_estimator": Setting("mws", one_of(DENSITY_ESTIMATORS))},
    needs=("dataset_size",),
    smallest_batch=2,
    couples_images="it estimates q(z) within a batch",
)
