"""The paper's L1 penalty in every reading of "an L1 penalty at the output", and how sparse the codes have become."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from sparse_repr.models import Posterior, soft_threshold
from sparse_repr.objectives.terms import l1_penalty

SPARSITY_TARGETS = ("mean", "output", "sample", "weights")
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
