"""The decomposition sums to the KL; MWS and MSS against exact enumeration of a data set of 8 items."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch.distributions import Normal

from sparse_repr.models import Posterior
from sparse_repr.objectives import (
    TotalCorrelation,
    decompose_kl,
    permute_units,
    stratified_log_weights,
    weighted_log_weights,
)

ITEMS, UNITS = 8, 2


@pytest.fixture
def posteriors() -> Posterior:
    """Eight overlapping posteriors of two correlated units."""
    generator = torch.Generator().manual_seed(0)
    mean = torch.randn(ITEMS, 1, generator=generator).double().repeat(1, UNITS)
    mean[:, 1] += 0.3 * torch.randn(ITEMS, generator=generator).double()
    return Posterior(mean, torch.full((ITEMS, UNITS), math.log(0.25)).double())


def _samples(posteriors: Posterior, seed: int) -> torch.Tensor:
    noise = torch.randn(ITEMS, UNITS, generator=torch.Generator().manual_seed(seed)).double()
    return posteriors.mean + (posteriors.log_variance / 2).exp() * noise


def _log_q(posteriors: Posterior, z: torch.Tensor) -> torch.Tensor:
    """log q(z_i | x_j, d), (rows of z, ITEMS, UNITS), from torch.distributions."""
    return Normal(posteriors.mean, (posteriors.log_variance / 2).exp()).log_prob(z[:, None])


@pytest.mark.parametrize("estimator", ["mws", "mss"])
def test_the_parts_sum_to_the_sampled_kl(posteriors: Posterior, estimator: str) -> None:
    z = _samples(posteriors, 1)
    parts = decompose_kl(z, *posteriors, dataset_size=1000, estimator=estimator)
    sampled = Normal(posteriors.mean, (posteriors.log_variance / 2).exp()).log_prob(z) - Normal(0.0, 1.0).log_prob(z)
    torch.testing.assert_close(sum(parts), sampled.sum(1))


@pytest.mark.parametrize("estimator", ["mws", "mss"])
def test_equal_weights_are_beta_vae_on_the_sampled_kl(posteriors: Posterior, estimator: str) -> None:
    leaves = Posterior(*(part.clone().requires_grad_() for part in posteriors))
    z = _samples(leaves, 1)
    value, _ = TotalCorrelation(3.0, 3.0, 3.0, 1000, estimator)(leaves, z, 0)
    found = torch.autograd.grad(value, leaves, retain_graph=True)
    log_ratio = Normal(leaves.mean, (leaves.log_variance / 2).exp()).log_prob(z) - Normal(0.0, 1.0).log_prob(z)
    expected = torch.autograd.grad(3 * log_ratio.sum(1).mean(), leaves)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_on_the_whole_data_set_mss_is_exact(posteriors: Posterior) -> None:
    z = _samples(posteriors, 2)
    densities = _log_q(posteriors, z)
    parts = decompose_kl(z, *posteriors, dataset_size=ITEMS, estimator="mss")
    joint = densities.sum(2).exp().mean(1).log()
    marginals = densities.exp().mean(1).log().sum(1)
    torch.testing.assert_close(parts.total_correlation, joint - marginals)
    torch.testing.assert_close(parts.mutual_information, densities.sum(2).diagonal() - joint)


def test_the_expectation_of_the_mss_estimate_of_q_is_exact(posteriors: Posterior) -> None:
    z = _samples(posteriors, 3)[:1]  # from item 0
    densities = _log_q(posteriors, z).sum(2).exp()[0]  # (ITEMS,)
    weights = stratified_log_weights(4, ITEMS).exp().double()[0]
    estimates = [
        float(weights[0] * densities[0] + (weights[1:] * densities[list(others)]).sum())
        for others in itertools.combinations(range(1, ITEMS), 3)  # every batch of 4 that holds item 0
    ]
    assert sum(estimates) / len(estimates) == pytest.approx(float(densities.mean()), rel=1e-6)
    assert max(estimates) > 1.01 * min(estimates)


def test_mws_underestimates_log_q_by_log_batch_size_where_posteriors_do_not_overlap() -> None:
    mean = 100 * torch.arange(ITEMS).double()[:, None]
    log_variance = torch.zeros(ITEMS, 1).double()
    for estimator, offset in (("mws", math.log(4 * ITEMS)), ("mss", math.log(ITEMS))):
        parts = decompose_kl(mean[:4], mean[:4], log_variance[:4], dataset_size=ITEMS, estimator=estimator)
        torch.testing.assert_close(parts.mutual_information, torch.full((4,), offset).double())


def test_the_bias_of_the_total_correlation_shrinks_with_the_batch(posteriors: Posterior) -> None:
    z = _samples(posteriors, 4)
    densities = _log_q(posteriors, z)
    exact = densities.sum(2).exp().mean(1).log() - densities.exp().mean(1).log().sum(1)
    errors = []
    for size in (2, 4, 7):
        found = torch.zeros(ITEMS).double()
        counts = torch.zeros(ITEMS)
        for batch in itertools.combinations(range(ITEMS), size):
            rows = list(batch)
            part = Posterior(posteriors.mean[rows], posteriors.log_variance[rows])
            found[rows] += decompose_kl(z[rows], *part, dataset_size=ITEMS, estimator="mss").total_correlation
            counts[rows] += 1
        errors.append(abs(float((found / counts - exact).mean())))
    assert errors[0] > errors[1] > errors[2]


def test_the_weights_by_hand() -> None:
    torch.testing.assert_close(weighted_log_weights(4, 100).exp(), torch.full((4, 4), 1 / 400))
    weights = stratified_log_weights(4, 100).exp()
    torch.testing.assert_close(weights.diagonal(), torch.full((4,), 0.01))
    torch.testing.assert_close(weights[1, 2], torch.tensor(99 / 300))
    torch.testing.assert_close(weights.sum(1), torch.ones(4))  # the matrix in circulation has a row of 1.31
    torch.testing.assert_close(stratified_log_weights(5, 5).exp(), torch.full((5, 5), 0.2))
    with pytest.raises(ValueError, match="stratified sampling needs at least 2 images per batch, got 1"):
        stratified_log_weights(1, 10)


def test_the_weights_enter_the_joint_once() -> None:
    z, mean, log_variance = torch.zeros(4, 10), torch.zeros(4, 10), torch.zeros(4, 10)
    parts = decompose_kl(z, mean, log_variance, dataset_size=737_280, estimator="mss")
    # one and the same posterior, the prior: nothing is shared or told apart, whatever the number of units
    for part in parts:
        torch.testing.assert_close(part, torch.zeros(4), atol=1e-4, rtol=0)


def test_an_unknown_estimator_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown density estimator 'msss'. Did you mean 'mss'"):
        decompose_kl(*torch.zeros(3, 4, 2), dataset_size=10, estimator="msss")


def test_permutation_keeps_marginals_and_breaks_the_dependence() -> None:
    generator = torch.Generator().manual_seed(0)
    codes = torch.randn(4000, 1, generator=generator).repeat(1, 3)
    permuted = permute_units(codes, torch.randn(4000, 3, generator=generator))
    for unit in range(3):
        assert torch.equal(permuted[:, unit].sort().values, codes[:, unit].sort().values)
    correlations = torch.corrcoef(permuted.T)[torch.triu(torch.ones(3, 3), diagonal=1) > 0]
    assert float(correlations.abs().max()) < 0.06  # was 1
    assert permuted[:, 0].tolist() != codes[:, 0].tolist()


def test_one_training_image_cannot_be_stratified() -> None:
    with pytest.raises(ValueError, match="stratified sampling needs at least 2 training images, got 1"):
        stratified_log_weights(2, 1)
