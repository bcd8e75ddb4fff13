"""A VAE whose prior is a Laplace distribution: a sparse prior for dense posteriors."""

from __future__ import annotations

import dataclasses
import math

from torch import Tensor

from sparse_repr.models import Posterior
from sparse_repr.objectives.base import Regularised, StepNumber
from sparse_repr.objectives.entry import ObjectiveChoice, Setting, number
from sparse_repr.objectives.terms import laplace_kl_divergence
from sparse_repr.objectives.variational import variational


@dataclasses.dataclass(frozen=True)
class LaplacePrior:
    """beta * KL from a Laplace prior of scale `prior_scale`, in closed form: a sparse prior for dense posteriors."""

    beta: float | Tensor
    prior_scale: float

    def __call__(self, posterior: Posterior, z: Tensor, step_number: StepNumber) -> Regularised:  # noqa: ARG002
        kl = laplace_kl_divergence(*posterior, scale=self.prior_scale).sum(1).mean()
        return self.beta * kl, {"laplace_kl": kl}


LAPLACE_PRIOR = ObjectiveChoice(
    "VAE with a Laplace prior, which pulls like an L1 penalty (closed-form KL)",
    {"beta": 1.0},
    variational(LaplacePrior, report_sparsity=True),
    # 1 / sqrt 2: a Laplace of variance 1, like the Gaussian it replaces
    {"prior_scale": Setting(0.7071, number(0, math.inf))},
    standard_normal=False,
)
