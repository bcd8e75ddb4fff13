"""The total correlation of codes: estimated within a batch (beta-TCVAE) and by permuting units (FactorVAE)."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from sparse_repr.objectives.terms import gaussian_log_density
from sparse_repr.registry import lookup


def weighted_log_weights(batch_size: int, dataset_size: int, device: torch.device | None = None) -> Tensor:
    """Minibatch-weighted sampling (MWS): log 1 / (N B) everywhere (Chen et al. 2018), (B, B).

    A lower bound of E[log q(z)] in expectation, off by log B where the posteriors do not overlap.
    """
    return torch.full((batch_size, batch_size), -math.log(batch_size * dataset_size), device=device)


def stratified_log_weights(batch_size: int, dataset_size: int, device: torch.device | None = None) -> Tensor:
    """Minibatch-stratified sampling (MSS): how much item j of a batch counts in q(z_i), as logarithms, (B, B).

    z_i came from item i, one of N: its own posterior counts 1 / N, and the B - 1 others stand for the remaining N - 1
    items, (N - 1) / (N (B - 1)) each. Every row sums to 1 and the expectation of the estimate of q(z_i) is exact.
    The weights of Chen et al. 2018 have the same expectation with one of the others set apart; equal weights vary less.
    """
    if batch_size < 2:
        raise ValueError(f"stratified sampling needs at least 2 images per batch, got {batch_size}")
    if dataset_size < 2:
        raise ValueError(f"stratified sampling needs at least 2 training images, got {dataset_size}")
    others = math.log((dataset_size - 1) / (dataset_size * (batch_size - 1)))
    weights = torch.full((batch_size, batch_size), others, device=device)
    return weights.fill_diagonal_(-math.log(dataset_size))


DENSITY_ESTIMATORS = {"mws": weighted_log_weights, "mss": stratified_log_weights}


class KLDecomposition(NamedTuple):
    """The KL divergence in three parts, (B,) nats each, at the samples; their sum is log q(z|x) - log p(z)."""

    mutual_information: Tensor
    """log q(z|x) - log q(z): index-code mutual information."""
    total_correlation: Tensor
    """log q(z) - sum_d log q(z_d)."""
    dimension_kl: Tensor
    """sum_d log q(z_d) - log p(z_d)."""


def decompose_kl(
    z: Tensor, mean: Tensor, log_variance: Tensor, *, dataset_size: int, estimator: str = "mws"
) -> KLDecomposition:
    """Split the KL divergence by estimating q(z) and its marginals from the batch (Chen et al. 2018).

    The weights enter the joint once, not once per unit: log q(z_i) = logsumexp_j (w_ij + sum_d log q(z_id|x_j)).

    Args:
        z: (B, D) samples, row i from the posterior of item i.
        mean: (B, D).
        log_variance: (B, D).
        dataset_size: N, the number of training images, at least B for mss to be meaningful.
        estimator: ``"mws"`` or ``"mss"``.

    Returns:
        Three (B,) terms.

    Raises:
        ValueError: unknown estimator, or mss with a single image, in the batch or at all.
    """
    weights = lookup(DENSITY_ESTIMATORS, estimator, "density estimator")(len(z), dataset_size, z.device).to(z)  # (B, B)
    densities = gaussian_log_density(z[:, None], mean, log_variance)  # (B, B, D): z_i under q(.|x_j)
    log_joint = torch.logsumexp(weights + densities.sum(2), dim=1)
    log_marginals = torch.logsumexp(weights[:, :, None] + densities, dim=1).sum(1)
    log_conditional = gaussian_log_density(z, mean, log_variance).sum(1)
    log_prior = gaussian_log_density(z, torch.zeros_like(z), torch.zeros_like(z)).sum(1)
    return KLDecomposition(log_conditional - log_joint, log_joint - log_marginals, log_marginals - log_prior)


def permute_units(codes: Tensor, keys: Tensor) -> Tensor:
    """Shuffle every unit over the batch on its own: samples of the product of the marginals.

    Kim and Mnih 2018, Algorithm 1.

    Args:
        codes: (B, D).
        keys: (B, D) continuous random numbers; their order in each column is that column's permutation.

    Returns:
        (B, D); each column holds the same values as before.
    """
    return codes.gather(0, keys.argsort(dim=0))
