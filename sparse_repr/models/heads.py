"""What an encoder ends in: how the numbers of its last layer become the posterior of the code."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


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


class TopK(NamedTuple):
    """A code of which the `units` largest of each image's activations stand, the others being 0; one row per image."""

    activations: Tensor
    """(B, D) float32, at least 0."""
    units: Tensor
    """() int64, how many of each image."""

    def moments(self) -> Posterior:
        """The code, as the mean of a point."""
        return point(self.activations * largest_of_each(self.activations, self.units))


class Thresholded(NamedTuple):
    """A code whose units are 0 at or below their thresholds; one row per image."""

    activations: Tensor
    """(B, D) float32, at least 0."""
    threshold: Tensor
    """(D,) float32, above 0."""

    def moments(self) -> Posterior:
        """The code, as the mean of a point."""
        return point(self.activations * (self.activations > self.threshold))


Components = Posterior | SpikeAndSlab | TopK | Thresholded
"""What an encoder says of each image before it is put into a mean and a log-variance: all have `moments`."""

POINT_LOG_VARIANCE = -30.0
"""The log-variance that is given for a code that is one point: its noise is below the digits of float32."""


def point(code: Tensor) -> Posterior:
    """A code (B, D) without noise, as a posterior."""
    return Posterior(code, torch.full_like(code, POINT_LOG_VARIANCE))


def largest_of_each(activations: Tensor, units: Tensor) -> Tensor:
    """Which are the `units` largest of each row (B, D), as 0 or 1; of equal ones those of lower number come first.

    >>> largest_of_each(torch.tensor([[3.0, 1.0, 2.0], [0.0, 5.0, 5.0]]), torch.tensor(1))
    tensor([[1., 0., 0.],
            [0., 1., 0.]])
    """
    # sorted instead of torch.topk: how many are kept lies on the device, and a schedule changes it
    order = activations.detach().argsort(dim=1, descending=True, stable=True)
    first = (torch.arange(order.shape[1], device=order.device) < units).to(activations.dtype)
    return torch.zeros_like(activations).scatter(1, order, first.expand_as(activations))


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
    read: Callable[[Tensor, Mapping[str, Tensor]], Components]
    """Last layer (B, outputs * D) and the head's own parameters and buffers -> the posterior's."""
    parameters: Callable[[int], dict[str, Tensor]] = lambda _: {}
    """Code size D -> initial values of the head's own parameters, by name; they are tensors of the encoder."""
    buffers: Callable[[int], dict[str, Tensor]] = lambda _: {}
    """Code size D -> the head's own numbers that training does not move, by name; an objective sets them."""

    def add_to(self, encoder: nn.Module, code_size: int) -> tuple[str, ...]:
        """Give an encoder of D units the head's own tensors, and return their names."""
        parameters, buffers = self.parameters(code_size), self.buffers(code_size)
        for name, values in parameters.items():
            encoder.register_parameter(name, nn.Parameter(values))
        for name, values in buffers.items():
            encoder.register_buffer(name, values)
        return (*parameters, *buffers)


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


def _top_k(outputs: Tensor, own: Mapping[str, Tensor]) -> TopK:
    return TopK(outputs.relu(), own["units"])


def _all_units(code_size: int) -> dict[str, Tensor]:
    return {"units": torch.tensor(code_size)}


def _thresholded(outputs: Tensor, own: Mapping[str, Tensor]) -> Thresholded:
    return Thresholded(outputs.relu(), (THRESHOLD_SPEED * own["log_threshold"]).exp())


THRESHOLD_SPEED = 30.0
"""Thresholds are exp(30 t), t being learned: under Adam they move thirty times as fast as their logarithms would, and
follow activations that grow within some hundred steps."""


def _log_thresholds(code_size: int) -> dict[str, Tensor]:
    return {"log_threshold": torch.full((code_size,), math.log(0.1) / THRESHOLD_SPEED)}


HEADS: dict[str, Head] = {
    "gaussian": Head("gaussian", 2, _gaussian),
    # whether a mean was shrunk does not change its family
    "shrinkage": Head("gaussian", 2, _shrinkage, _thresholds),
    "spike_and_slab": Head("spike_and_slab", 3, _spike_and_slab),
    "top_k": Head("point", 1, _top_k, buffers=_all_units),
    "thresholded": Head("point", 1, _thresholded, _log_thresholds),
}

FAMILIES = {**{name: head.family for name, head in HEADS.items()}, "keypoints": "point", "exported": "point"}
"""What an encoder ends in -> family of q(z|x): any of `HEADS`, keypoints, which only one network has, or the code of a
network of others."""
POSTERIOR_FAMILIES = tuple(dict.fromkeys(FAMILIES.values()))
