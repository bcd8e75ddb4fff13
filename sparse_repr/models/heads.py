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


class Eased(NamedTuple):
    """q(z|x) of which the decoder sees (1 - sigma) z: a unit at its prior is exactly 0; one row per image."""

    mean: Tensor
    """(B, D) float32."""
    log_variance: Tensor
    """(B, D) float32, log of sigma squared, at most 0."""

    def gate(self) -> Tensor:
        """1 - sigma, (B, D)."""
        return -torch.expm1(0.5 * self.log_variance)

    def sample(self, noise: Tensor) -> Tensor:
        """(1 - sigma) (mu + sigma e) from standard normal noise e (B, D)."""
        return self.gate() * (self.mean + (0.5 * self.log_variance).exp() * noise)

    def moments(self) -> Posterior:
        """Mean and log-variance of what the decoder sees: (1 - sigma) mu, and ((1 - sigma) sigma)^2."""
        gate = self.gate()
        # the floor keeps the logarithm finite where a unit is off
        spread = self.log_variance + 2 * gate.clamp_min(1e-15).log()
        return Posterior(gate * self.mean, spread.clamp_min(POINT_LOG_VARIANCE))


class Quantised(NamedTuple):
    """A code whose units take one of a list of values each; one row per image."""

    values: Tensor
    """(B, D) float32, what is rounded."""
    codebook: Tensor
    """(D, V) float32, the values of each unit."""

    def nearest(self) -> Tensor:
        """The value of each unit that is nearest, (B, D), with its gradient to the values alone."""
        chosen = (self.values.detach()[..., None] - self.codebook.detach()).abs().argmin(2)  # (B, D)
        return self.codebook.expand(chosen.shape[0], -1, -1).gather(2, chosen[..., None]).squeeze(2)

    def moments(self) -> Posterior:
        """The code, as the mean of a point."""
        return point(self.nearest())


Components = Posterior | SpikeAndSlab | TopK | Thresholded | Eased | Quantised
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
    deaf_at_zero: bool = False
    """Whether a unit that is 0 in all images gets no gradient, and stays so."""

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


# below what the first activations are: a unit that is 0 throughout hears nothing, and stays 0
_LEAST_THRESHOLD = 0.01


def _log_thresholds(code_size: int) -> dict[str, Tensor]:
    return {"log_threshold": torch.full((code_size,), math.log(_LEAST_THRESHOLD) / THRESHOLD_SPEED)}


def _rectified(outputs: Tensor, _: Mapping[str, Tensor]) -> Posterior:
    return point(outputs.relu())


def _eased(outputs: Tensor, _: Mapping[str, Tensor]) -> Eased:
    """log sigma^2 = min(raw - 2, 0): units are open at the start, as one that is shut tells the decoder nothing.

    The gradient passes the bound as if it were none: a unit that is off for every image could never open again.
    """
    mean, raw = outputs.chunk(2, dim=1)
    started = raw - EASED_OPEN
    return Eased(mean, started - started.detach().relu())


def _quantised(outputs: Tensor, own: Mapping[str, Tensor]) -> Quantised:
    return Quantised(outputs, own["codebook"])


def _codebook(code_size: int) -> dict[str, Tensor]:
    return {"codebook": torch.linspace(-0.5, 0.5, QUANTISED_VALUES).repeat(code_size, 1)}


EASED_OPEN = 2.0
"""What is taken from the raw log-variance of an eased unit."""
QUANTISED_VALUES = 10
"""Values that a unit of a quantised code can take."""

HEADS: dict[str, Head] = {
    "gaussian": Head("gaussian", 2, _gaussian),
    # whether a mean was shrunk does not change its family
    "shrinkage": Head("gaussian", 2, _shrinkage, _thresholds),
    "spike_and_slab": Head("spike_and_slab", 3, _spike_and_slab),
    "top_k": Head("point", 1, _top_k, buffers=_all_units, deaf_at_zero=True),
    "thresholded": Head("point", 1, _thresholded, _log_thresholds, deaf_at_zero=True),
    "rectified": Head("point", 1, _rectified, deaf_at_zero=True),
    "vaease": Head("vaease", 2, _eased),
    "quantised": Head("point", 1, _quantised, _codebook),
}

FAMILIES = {**{name: head.family for name, head in HEADS.items()}, "keypoints": "point", "exported": "point"}
"""What an encoder ends in -> family of q(z|x): any of `HEADS`, keypoints, which only one network has, or the code of a
network of others."""
POSTERIOR_FAMILIES = tuple(dict.fromkeys(FAMILIES.values()))
