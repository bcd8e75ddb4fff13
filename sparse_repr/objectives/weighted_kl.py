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

OPENING_SHARE = 0.1
"""What is left of the weight of the KL while units open. With all of it they close again before the decoder has learned
to use them (VAE on dSprites at 32x32, seed 100, one run each, not committed: 24.6 dB against 27.3, both with MIG 0.22
to 0.26)."""


def check_kl_options(*, beta_start: float, beta_steps: int, opening_step: int = 0, opening_steps: int = 0) -> None:
    """Raise ValueError for a start of the weight, or an opening, without the steps that belong to it."""
    if beta_start and not beta_steps:
        raise ValueError(f"beta_start {beta_start:g} needs beta_steps of at least 1, got 0: beta would hold throughout")
    if opening_step and not opening_steps:
        raise ValueError(
            f"opening_step {opening_step} needs opening_steps, got 0: units that nothing keeps open close again"
        )
    if opening_steps and not opening_step:
        raise ValueError(f"opening_steps {opening_steps} needs opening_step, the step at which units are opened, got 0")


@dataclasses.dataclass(frozen=True)
class WeightedKL:
    """beta_t * KL, where beta_t goes linearly from `beta_start` to `beta` over `beta_steps` steps and stays there.

    With beta 1 it is the evidence lower bound of Kingma and Welling 2013 (the paper, Eq. 1), above it the beta-VAE
    (Higgins et al. 2017, Eq. 4; the paper, Eq. 2). From 0 up it is the KL annealing of Bowman et al. 2016. From above
    down, units open one after another, the most informative first, instead of all at once.

    With `opening_steps`, a tenth of that weight counts from `opening_step` on for half of them, and over the other half
    it becomes whole again (see `pretrain.opening`).
    """

    beta: float | Tensor
    """Weight of the KL in the end."""
    beta_start: float = 0.0
    """Weight at step 0, where `beta_steps` is not 0."""
    beta_steps: int = 0
    """Steps until the weight is `beta`; 0 for beta throughout."""
    opening_step: int = 0
    """Step from which a tenth of it counts, where `opening_steps` is not 0."""
    opening_steps: int = 0
    """Steps until it is whole again; 0 for never less."""

    def weight_at(self, step_number: StepNumber) -> float | Tensor:
        """The weight of the KL at a step."""
        weight = self.beta_start + (self.beta - self.beta_start) * ramp(step_number, self.beta_steps)
        if not self.opening_steps:
            return weight
        held = self.opening_steps // 2
        opened = ramp(step_number, 0, start=self.opening_step)
        closing = ramp(step_number, self.opening_steps - held, start=self.opening_step + held)
        return weight * (1 - (1 - OPENING_SHARE) * opened * (1 - closing))

    def __call__(self, posterior: Posterior, z: Tensor, step_number: StepNumber) -> Regularised:  # noqa: ARG002
        kl = kl_divergence(*posterior).sum(1).mean()
        if self.beta_steps == 0 and self.opening_steps == 0:
            return self.beta * kl, {}
        weight = in_precision_of(kl, self.weight_at(step_number))
        return weight * kl, {"beta": weight if isinstance(weight, Tensor) else kl.new_full((), weight)}


KL_OPTIONS = {
    "beta_start": Setting(WeightedKL.beta_start, weight),
    "beta_steps": Setting(WeightedKL.beta_steps, partial(require_whole, least=0)),
}
"""Options of the objectives with a `WeightedKL`."""
OPENING_OPTIONS = {
    name: Setting(getattr(WeightedKL, name), partial(require_whole, least=0))
    for name in ("opening_step", "opening_steps")
}
"""Of those whose closed units can be opened: a decoder of pictures has to listen to them."""
VAE = ObjectiveChoice(
    "the evidence lower bound (Kingma and Welling 2013)",
    {},
    variational(partial(WeightedKL, 1.0)),
    {**KL_OPTIONS, **OPENING_OPTIONS},
    check=check_kl_options,
)
BETA_VAE = ObjectiveChoice(
    "the KL term weighted by beta (Higgins et al. 2017)",
    {"beta": 4.0},
    variational(WeightedKL),
    {**KL_OPTIONS, **OPENING_OPTIONS},
    check=check_kl_options,
)
