"""VAE and beta-VAE: the KL divergence from the prior, weighted (Kingma and Welling 2013; Higgins et al. 2017)."""

from __future__ import annotations

import dataclasses
from functools import partial

from torch import Tensor

from sparse_repr.command_line.bounds import require_whole
from sparse_repr.models import Posterior
from sparse_repr.objectives.base import Regularised, StepNumber, in_precision_of, ramp
from sparse_repr.objectives.entry import ObjectiveChoice, Setting, weight
from sparse_repr.objectives.terms import kl_divergence
from sparse_repr.objectives.variational import variational


def check_kl_options(*, beta_start: float, beta_steps: int) -> None:
    """Raise ValueError for a start of the weight without the steps that lead away from it."""
    if beta_start and not beta_steps:
        raise ValueError(f"beta_start {beta_start:g} needs beta_steps of at least 1, got 0: beta would hold throughout")


@dataclasses.dataclass(frozen=True)
class WeightedKL:
    """beta_t * KL, where beta_t goes linearly from `beta_start` to `beta` over `beta_steps` steps and stays there.

    With beta 1 it is the evidence lower bound of Kingma and Welling 2013 (the paper, Eq. 1), above it the beta-VAE
    (Higgins et al. 2017, Eq. 4; the paper, Eq. 2). From 0 up it is the KL annealing of Bowman et al. 2016. From above
    down, units open one after another, the most informative first, instead of all at once.
    """

    beta: float | Tensor
    """Weight of the KL in the end."""
    beta_start: float = 0.0
    """Weight at step 0, where `beta_steps` is not 0."""
    beta_steps: int = 0
    """Steps until the weight is `beta`; 0 for beta throughout."""

    def weight_at(self, step_number: StepNumber) -> float | Tensor:
        """The weight of the KL at a step."""
        return self.beta_start + (self.beta - self.beta_start) * ramp(step_number, self.beta_steps)

    def __call__(self, posterior: Posterior, z: Tensor, step_number: StepNumber) -> Regularised:  # noqa: ARG002
        kl = kl_divergence(*posterior).sum(1).mean()
        if self.beta_steps == 0:
            return self.beta * kl, {}
        weight = in_precision_of(kl, self.weight_at(step_number))
        return weight * kl, {"beta": weight if isinstance(weight, Tensor) else kl.new_full((), weight)}


KL_OPTIONS = {
    "beta_start": Setting(WeightedKL.beta_start, weight),
    "beta_steps": Setting(WeightedKL.beta_steps, partial(require_whole, least=0)),
}
"""Options of the objectives with a `WeightedKL`."""
VAE = ObjectiveChoice(
    "the evidence lower bound (Kingma and Welling 2013)",
    {},
    variational(partial(WeightedKL, 1.0)),
    KL_OPTIONS,
    check=check_kl_options,
)
BETA_VAE = ObjectiveChoice(
    "the KL term weighted by beta (Higgins et al. 2017)",
    {"beta": 4.0},
    variational(WeightedKL),
    KL_OPTIONS,
    check=check_kl_options,
)
