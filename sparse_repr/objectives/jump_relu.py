"""Units behind learned thresholds, with a price on how many are above theirs (JumpReLU)."""

from __future__ import annotations

import dataclasses
from functools import partial

from torch import Tensor

from sparse_repr.command_line.bounds import require_whole
from sparse_repr.models import Thresholded
from sparse_repr.objectives.base import StepNumber, in_precision_of, ramp
from sparse_repr.objectives.entry import ObjectiveChoice, Setting, number
from sparse_repr.objectives.point_code import Coded, point_code


def jump(activations: Tensor, threshold: Tensor, window: float) -> tuple[Tensor, Tensor]:
    """z = a H(a - theta), and H(a - theta) itself, with gradients for the thresholds from a window around them.

    dz/da = H(a - theta); dz/dtheta = -(theta / w) K((a - theta) / w); dH/dtheta = -(1 / w) K((a - theta) / w), with K
    the rectangle of width 1 and w = `window` theta (Rajamanoharan et al. 2024, whose w is the same for all units). H
    gives no gradient to the activations.

    Args:
        activations: (B, D), at least 0.
        threshold: (D,), above 0.
        window: width of the window as a share of each threshold.

    Returns:
        Two (B, D): the code, and 0 or 1 for each unit.
    """
    a, theta = activations.detach(), threshold.detach()
    above = (a > theta).to(a.dtype)
    inside = ((a - theta).abs() < window * theta / 2).to(a.dtype) / (window * theta)
    nothing = threshold - theta  # 0, with the gradient 1: what it is multiplied by is the gradient
    return activations * above - theta * inside * nothing, above - inside * nothing


@dataclasses.dataclass(frozen=True)
class JumpReLU:
    """nonzero_weight min(1, step / warmup) (mean number of units above their thresholds), each of which is learned.

    Rajamanoharan et al. 2024. An activation that stands is what it was: no shrinkage, as the price is on the number of
    units alone; it grows from 0, so that units have something to say before they pay. Deviations: the window is a share
    of each threshold, as the activations of a deep network have no scale of their own; Adam has its usual beta_1 of
    0.9, where public code of the method has 0.
    """

    nonzero_weight: float | Tensor
    """Price of a unit that is not 0, in nats per image."""
    nonzero_warmup: int
    """Steps over which the price grows from 0."""
    threshold_window: float
    """Width of the window as a share of each threshold."""

    def __call__(self, components: Thresholded, noise: Tensor, step_number: StepNumber) -> Coded:  # noqa: ARG002
        code, above = jump(components.activations, components.threshold, self.threshold_window)
        count = above.sum(1).mean()
        price = in_precision_of(count, self.nonzero_weight * ramp(step_number, self.nonzero_warmup))
        return code, price * count, {"threshold": components.threshold.mean()}


JUMP_RELU = ObjectiveChoice(
    "autoencoder whose units are 0 up to a learned threshold, with a price on each that is not (Rajamanoharan et al. "
    "2024)",
    {"nonzero_weight": 1.0},
    point_code(JumpReLU),
    {
        "nonzero_warmup": Setting(1_000, partial(require_whole, least=0)),
        "threshold_window": Setting(0.5, number(0, 2)),
    },
    heads=("thresholded",),
)
