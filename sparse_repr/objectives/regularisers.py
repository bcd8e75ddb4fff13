"""What stands beside the reconstruction: each regulariser is a frozen record of its weights that can be called."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from sparse_repr.models import Posterior
from sparse_repr.objectives.base import StepNumber, in_precision_of, ramp
from sparse_repr.objectives.terms import covariance, kl_divergence, laplace_kl_divergence, moment_penalty
from sparse_repr.objectives.total_correlation import decompose_kl

Regularised = tuple[Tensor, dict[str, Tensor]]


@dataclasses.dataclass(frozen=True)
class WeightedKL:
    """beta * KL: the VAE for beta 1 (Kingma and Welling 2013), beta-VAE above (Higgins et al. 2017, Eq. 4)."""

    beta: float

    def __call__(self, posterior: Posterior, z: Tensor, step_number: StepNumber) -> Regularised:  # noqa: ARG002
        return self.beta * kl_divergence(*posterior).sum(1).mean(), {}


@dataclasses.dataclass(frozen=True)
class Capacity:
    """gamma * |KL - C|, where C grows linearly from 0 to `capacity_nats` (Burgess et al. 2018, Eq. 8)."""

    capacity_weight: float
    capacity_nats: float
    capacity_steps: int

    def capacity(self, step_number: StepNumber) -> float | Tensor:
        """C at a step, in nats."""
        return self.capacity_nats * ramp(step_number, self.capacity_steps)

    def __call__(self, posterior: Posterior, z: Tensor, step_number: StepNumber) -> Regularised:  # noqa: ARG002
        kl = kl_divergence(*posterior).sum(1).mean()
        capacity = in_precision_of(kl, self.capacity(step_number))
        reported = capacity if isinstance(capacity, Tensor) else torch.full_like(kl, capacity)
        return self.capacity_weight * (kl - capacity).abs(), {"capacity": reported}


@dataclasses.dataclass(frozen=True)
class TotalCorrelation:
    """alpha * mutual information + beta * total correlation + gamma * dimension-wise KL (Chen et al. 2018, Eq. 4)."""

    mutual_information_weight: float
    total_correlation_weight: float
    dimension_kl_weight: float
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


@dataclasses.dataclass(frozen=True)
class MomentMatching:
    """KL + distance of the covariance of the codes from the identity (Kumar et al. 2018): DIP-VAE.

    I takes the covariance of the means (Eq. 6), II that of the samples: E[Sigma] + Cov[mu] (Eq. 5 and 7).
    """

    covariance_weight: float
    variance_weight: float
    of_samples: bool

    def __call__(self, posterior: Posterior, z: Tensor, step_number: StepNumber) -> Regularised:  # noqa: ARG002
        matrix = covariance(posterior.mean)
        if self.of_samples:
            matrix = matrix + posterior.log_variance.exp().mean(0).diag()
        penalty = moment_penalty(matrix, covariance_weight=self.covariance_weight, variance_weight=self.variance_weight)
        return kl_divergence(*posterior).sum(1).mean() + penalty, {"moment_penalty": penalty}


@dataclasses.dataclass(frozen=True)
class LaplacePrior:
    """beta * KL from a Laplace prior of scale `prior_scale`, in closed form: a sparse prior for dense posteriors."""

    beta: float
    prior_scale: float

    def __call__(self, posterior: Posterior, z: Tensor, step_number: StepNumber) -> Regularised:  # noqa: ARG002
        kl = laplace_kl_divergence(*posterior, scale=self.prior_scale).sum(1).mean()
        return self.beta * kl, {"laplace_kl": kl}
