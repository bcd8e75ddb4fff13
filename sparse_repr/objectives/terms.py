"""Pure terms of objectives: divergences from the prior and moments of a batch of codes."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def kl_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL divergence of each unit's posterior from N(0, 1): (mu^2 + sigma^2 - log sigma^2 - 1) / 2.

    Kingma and Welling 2013, appendix B.

    Args:
        mean: (B, D).
        log_variance: (B, D).

    Returns:
        (B, D) nats, at least 0.
    """
    return 0.5 * (mean.square() + log_variance.exp() - log_variance - 1)


def laplace_kl_divergence(mean: Tensor, log_variance: Tensor, *, scale: float) -> Tensor:
    """KL divergence of N(mu, sigma^2) from a Laplace prior of scale b around 0, in closed form, per unit.

    log(2 b) + E|z| / b - log(2 pi e sigma^2) / 2, where E|z| = sigma sqrt(2/pi) exp(-mu^2 / (2 sigma^2))
    + mu erf(mu / (sigma sqrt 2)) is the mean of the folded normal. It pulls like an L1 penalty far from 0.

    Args:
        mean: (B, D).
        log_variance: (B, D).
        scale: b, positive; the prior's variance is 2 b^2.

    Returns:
        (B, D) nats, above 0: no Gaussian is a Laplace.
    """
    sigma = (0.5 * log_variance).exp()
    standardised = mean / (sigma * math.sqrt(2))
    size = sigma * math.sqrt(2 / math.pi) * (-standardised.square()).exp() + mean * torch.erf(standardised)
    return math.log(2 * scale) + size / scale - 0.5 * (math.log(2 * math.pi) + 1 + log_variance)


def l1_penalty(codes: Tensor) -> Tensor:
    """Sum of absolute values over the units: sum_d |c_d| (the paper, section 4: "an L1 penalty at the output").

    Args:
        codes: (B, D).

    Returns:
        (B,), at least 0.
    """
    return codes.abs().sum(1)


def gaussian_log_density(z: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """Log-density of N(mean, exp(log_variance)) at z; the arguments broadcast. Nats."""
    return -0.5 * ((z - mean).square() / log_variance.exp() + log_variance + math.log(2 * math.pi))


def covariance(codes: Tensor) -> Tensor:
    """Covariance of the units over the batch, (B, D) -> (D, D), divided by B: Cov[mu] of Kumar et al. 2018."""
    centred = codes - codes.mean(0)
    return centred.T @ centred / len(codes)


def moment_penalty(matrix: Tensor, *, covariance_weight: float | Tensor, variance_weight: float | Tensor) -> Tensor:
    """Distance of a covariance from the identity: w_c sum_(i != j) m_ij^2 + w_v sum_i (m_ii - 1)^2.

    Kumar et al. 2018, Eq. 6 and 7 (lambda_od and lambda_d).

    Args:
        matrix: (D, D).
        covariance_weight: weight of the entries off the diagonal.
        variance_weight: weight of the diagonal.

    Returns:
        Scalar, at least 0.
    """
    diagonal = matrix.diagonal()
    off = matrix.square().sum() - diagonal.square().sum()
    return covariance_weight * off + variance_weight * (diagonal - 1).square().sum()
