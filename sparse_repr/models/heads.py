"""What an encoder ends in: how the numbers of its last layer become the posterior of the code."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Posterior(NamedTuple):
    """Diagonal Gaussian q(z|x), one row per image."""

    mean: Tensor
    """(B, D) float32."""
    log_variance: Tensor
    """(B, D) float32, log of sigma squared."""

    def moments(self) -> Posterior:
        """Mean and log-variance of z: itself."""
        return self


class SpikeAndSlab(NamedTuple):
    """q(z|x) whose units are 0 with probability 1 - gamma, else Gaussian; one row per image."""

    mean: Tensor
    """(B, D) float32, mu of the slab."""
    log_variance: Tensor
    """(B, D) float32, log of sigma squared of the slab."""
    slab_logit: Tensor
    """(B, D) float32, logit of gamma, the probability of the slab."""

    def moments(self) -> Posterior:
        """Mean and log-variance of z itself: gamma mu, and gamma sigma^2 + gamma (1 - gamma) mu^2."""
        gamma = torch.sigmoid(self.slab_logit)
        rest = torch.sigmoid(-self.slab_logit)
        # the floor keeps the logarithm finite where gamma has rounded to 0
        variance = (gamma * (self.log_variance.exp() + rest * self.mean.square())).clamp_min(1e-30)
        return Posterior(gamma * self.mean, variance.log())


def soft_threshold(values: Tensor, threshold: Tensor) -> Tensor:
    """sign(v) max(|v| - threshold, 0): the proximal operator of threshold * |v| (Parikh and Boyd 2014, section 6.5.2).

    Args:
        values: any shape.
        threshold: at least 0, broadcast.

    Returns:
        Like `values`, exactly 0 where |v| <= threshold.

    >>> soft_threshold(torch.tensor([-2.0, 0.5, 3.0]), torch.tensor(1.0))
    tensor([-1.,  0.,  2.])
    """
    return values - torch.maximum(torch.minimum(values, threshold), -threshold)


class Head(NamedTuple):
    """One kind of posterior, from the last layer of an encoder."""

    family: str
    """Family of q(z|x), as the artefact states it."""
    outputs: int
    """Numbers that the last layer gives for each unit."""
    read: Callable[[Tensor, Mapping[str, Tensor]], Posterior | SpikeAndSlab]
    """Last layer (B, outputs * D) and the head's own parameters -> the posterior's."""
    parameters: Callable[[int], dict[str, Tensor]] = lambda _: {}
    """Code size D -> initial values of the head's own parameters, by name; they are tensors of the encoder."""


def _gaussian(outputs: Tensor, _: Mapping[str, Tensor]) -> Posterior:
    return Posterior(*outputs.chunk(2, dim=1))


def _shrinkage(outputs: Tensor, own: Mapping[str, Tensor]) -> Posterior:
    """A Gaussian whose mean passes a shrinkage unit: soft-thresholding with one learned threshold per unit.

    The codes hold exact zeros (Gregor and LeCun 2010, whose learned ISTA ends in the same function). Thresholds are
    softplus(raw) and start at 0.1. Deviation: the gradient passes the dead zone as if nothing had been cut off there;
    else a unit that is 0 for every image, as all are at the start, could never speak again.
    """
    mean, log_variance = outputs.chunk(2, dim=1)
    shrunk = soft_threshold(mean.detach(), F.softplus(own["raw_threshold"]))
    return Posterior(shrunk + (mean - mean.detach()), log_variance)


def _thresholds(code_size: int) -> dict[str, Tensor]:
    return {"raw_threshold": torch.full((code_size,), 0.1).expm1().log()}


def _spike_and_slab(outputs: Tensor, _: Mapping[str, Tensor]) -> SpikeAndSlab:
    """A third output per unit, the logit of the slab's probability (Tonolini et al. 2019)."""
    return SpikeAndSlab(*outputs.chunk(3, dim=1))


HEADS: dict[str, Head] = {
    "gaussian": Head("gaussian", 2, _gaussian),
    # whether a mean was shrunk does not change its family
    "shrinkage": Head("gaussian", 2, _shrinkage, _thresholds),
    "spike_and_slab": Head("spike_and_slab", 3, _spike_and_slab),
}

FAMILIES = {**{name: head.family for name, head in HEADS.items()}, "keypoints": "point"}
"""What an encoder ends in -> family of q(z|x): any of `HEADS`, or keypoints, which only one network has."""
POSTERIOR_FAMILIES = tuple(dict.fromkeys(FAMILIES.values()))
POINT_LOG_VARIANCE = -30.0
"""The log-variance that is given for a code that is one point: its noise is below the digits of float32."""
