"""The paper's L1 penalty in every reading of "an L1 penalty at the output", and how sparse the codes have become."""

from __future__ import annotations

import dataclasses
import math
from functools import partial

import torch
from torch import Tensor, nn

from sparse_repr.command_line.bounds import require_whole
from sparse_repr.models import Posterior, soft_threshold
from sparse_repr.objectives.base import StepNumber, in_precision_of, ramp
from sparse_repr.objectives.entry import Setting, flag, one_of
from sparse_repr.objectives.terms import l1_penalty

SPARSITY_TARGETS = ("mean", "output", "sample", "weights")
SPARSITY_OPTIONS = {
    "sparsity_target": Setting("mean", one_of(SPARSITY_TARGETS)),
    "sparsity_warmup": Setting(0, partial(require_whole, least=0)),
    "sparsity_start": Setting(0, partial(require_whole, least=0)),
    "sparsity_proximal": Setting(False, flag),
}
"""Options of the objectives with an `L1Penalty`."""
_ACTIVE_VARIANCE = 0.01


def weight_penalty(network: nn.Module) -> Tensor:
    """Sum of absolute weights of a network, biases left out: "smaller weights and more numbers of zeros"; scalar."""
    return torch.stack([parameter.abs().sum() for parameter in weight_matrices(network)]).sum()


def weight_matrices(network: nn.Module) -> list[nn.Parameter]:
    """The parameters of more than one axis: kernels and matrices, neither biases nor thresholds."""
    return [parameter for parameter in network.parameters() if parameter.ndim > 1]


def sparsity_penalty(target: str, posterior: Posterior, z: Tensor, encoder: nn.Module) -> Tensor:
    """L1 of what `target` names, averaged over the batch (the paper, section 4, which leaves the place open).

    Args:
        target: ``"mean"`` (of the posterior), ``"output"`` (mean and log-variance: everything the encoder puts out),
            ``"sample"`` (z) or ``"weights"`` (of the encoder).
        posterior: (B, D) mean and log-variance.
        z: (B, D).
        encoder: the network, for ``"weights"``.

    Returns:
        Scalar, at least 0.

    Raises:
        ValueError: unknown target.
    """
    if target == "mean":
        return l1_penalty(posterior.mean).mean()
    if target == "output":
        return (l1_penalty(posterior.mean) + l1_penalty(posterior.log_variance)).mean()
    if target == "sample":
        return l1_penalty(z).mean()
    if target == "weights":
        return weight_penalty(encoder)
    raise ValueError(f"sparsity_target needs one of {', '.join(SPARSITY_TARGETS)}, got {target!r}")


@torch.no_grad()
def shrink_weights(network: nn.Module, threshold: float | Tensor) -> None:
    """Proximal step of the L1 penalty on the weights: w <- sign(w) max(|w| - threshold, 0), in place, with exact zeros.

    Soft thresholding in Parikh and Boyd 2014. After a gradient step of size eta on the rest of the loss the threshold
    is eta * weight; the step of Adam is scaled per weight, this one is not.
    """
    for parameter in weight_matrices(network):
        # filled on the device: a number that is copied there makes the host wait
        limit = threshold if isinstance(threshold, Tensor) else parameter.new_full((), threshold)
        parameter.copy_(soft_threshold(parameter, limit.to(parameter.dtype)))


def weight_zeros(network: nn.Module) -> Tensor:
    """Share of the weights of `weight_matrices` that are exactly 0; scalar."""
    parameters = weight_matrices(network)
    zeros = torch.stack([(parameter == 0).sum() for parameter in parameters]).sum()
    return zeros / sum(parameter.numel() for parameter in parameters)


@torch.no_grad()
def achieved_sparsity(codes: Tensor) -> dict[str, Tensor]:
    """How sparse a batch of codes (B, D) is.

    Returns:
        Scalars: ``exact_zeros`` (share of the entries), ``hoyer`` (mean of Hoyer's measure, 0..1, as in
        `metrics.hoyer_sparsity`; 0 for a single unit), ``units_per_image`` (mean number of entries above 0.01 in size)
        and ``active_units`` (units whose variance over the batch is above 0.01, Burda et al. 2016).
    """
    units = codes.shape[1]
    norm = codes.norm(dim=1)
    # not torch.where, which copies a number to the device and waits for it
    ratio = (codes.abs().sum(1) / norm.clamp_min(1e-30)).masked_fill(~(norm > 0), math.sqrt(units))
    hoyer = (math.sqrt(units) - ratio) / max(math.sqrt(units) - 1, 1e-30)
    return {
        "exact_zeros": (codes == 0).float().mean(),
        "hoyer": hoyer.mean().clamp(0, 1),
        "units_per_image": (codes.abs() > 0.01).float().sum(1).mean(),
        "active_units": (codes.var(0, correction=0) > _ACTIVE_VARIANCE).float().sum(),
    }


@dataclasses.dataclass(frozen=True)
class L1Penalty:
    """sparsity_weight * L1 of what `sparsity_target` names (the paper, section 4).

    The paper gives neither the weight nor the exact place of its L1 penalty: the targets are the readings of it.

    Raises:
        ValueError: an option that cannot be used, a weight that is negative or not finite, or a proximal step asked for
            another target than the weights.
    """

    sparsity_weight: float | Tensor
    """Weight of the penalty; 0 leaves it out."""
    sparsity_target: str
    """mean, output, sample or weights, as in `sparsity_penalty`."""
    sparsity_warmup: int
    """Steps over which the weight grows linearly from 0."""
    sparsity_start: int
    """Step from which the penalty counts: its warm-up begins there."""
    sparsity_proximal: bool
    """For the weights, take the penalty as a proximal step after that of the optimiser, which makes exact zeros."""

    def __post_init__(self) -> None:
        for name, option in SPARSITY_OPTIONS.items():
            option.check(name, getattr(self, name))
        # a tensor comes from a stack of models, whose weights were checked as numbers; to ask it would wait for it
        weight = self.sparsity_weight
        if not isinstance(weight, Tensor) and not 0 <= weight < math.inf:
            raise ValueError(f"sparsity_weight needs a finite number of at least 0, got {weight}")
        if self.sparsity_proximal and self.sparsity_target != "weights":
            raise ValueError(
                f"sparsity_proximal needs sparsity_target 'weights', got {self.sparsity_target!r}: a proximal step "
                "needs parameters to act on; for exact zeros in the codes use the objective sparse_shrinkage"
            )

    def weight_at(self, step_number: StepNumber) -> float | Tensor:
        """The weight at a step."""
        return self.sparsity_weight * ramp(step_number, self.sparsity_warmup, start=self.sparsity_start)

    def __call__(
        self, posterior: Posterior, z: Tensor, encoder: nn.Module, step_number: StepNumber
    ) -> tuple[Tensor | float, dict[str, Tensor]]:
        """What is added to the loss, 0 where a proximal step takes it, and more terms to report."""
        if not isinstance(self.sparsity_weight, Tensor) and self.sparsity_weight == 0:
            return 0.0, {}
        size = sparsity_penalty(self.sparsity_target, posterior, z, encoder)
        terms = {} if self.sparsity_target == "mean" else {f"l1_{self.sparsity_target}": size}
        if self.sparsity_proximal:
            return 0.0, terms
        return in_precision_of(size, self.weight_at(step_number)) * size, terms

    def shrink(self, encoder: nn.Module, learning_rate: float | Tensor, step_number: StepNumber) -> None:
        """The proximal step on the weights, as long as that of the optimiser."""
        shrink_weights(encoder, learning_rate * self.weight_at(step_number))
