"""Terms by hand, values and gradients; the loss is the sum it says it is."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Normal
from torch.distributions import kl_divergence as torch_kl

from sparse_repr.models import build_vae
from sparse_repr.objectives import (
    OBJECTIVES,
    VariationalObjective,
    choose_objective,
    kl_divergence,
    l1_penalty,
)
from sparse_repr.reconstruction import RECONSTRUCTIONS, bernoulli, build_reconstruction, gaussian

OFF = torch.autocast("cpu", enabled=False)


def test_kl_by_hand() -> None:
    mean = torch.tensor([[0.0, 2.0]], requires_grad=True)
    log_variance = torch.tensor([[0.0, math.log(4.0)]], requires_grad=True)
    kl = kl_divergence(mean, log_variance)
    torch.testing.assert_close(kl.detach(), torch.tensor([[0.0, (4 + 4 - math.log(4) - 1) / 2]]))
    kl.sum().backward()
    torch.testing.assert_close(mean.grad, torch.tensor([[0.0, 2.0]]))  # d/dmu = mu
    torch.testing.assert_close(log_variance.grad, torch.tensor([[0.0, 1.5]]))  # d/dlogvar = (sigma^2 - 1) / 2


def test_kl_is_that_of_torch() -> None:
    mean, log_variance = torch.randn(5, 3), torch.randn(5, 3)
    expected = torch_kl(Normal(mean, (log_variance / 2).exp()), Normal(0.0, 1.0))
    torch.testing.assert_close(kl_divergence(mean, log_variance), expected)


def test_l1_by_hand() -> None:
    codes = torch.tensor([[1.0, -2.0, 0.5], [0.0, 0.0, -3.0]], requires_grad=True)
    penalty = l1_penalty(codes)
    assert penalty.tolist() == [3.5, 3.0]
    penalty.sum().backward()
    assert codes.grad is not None
    assert codes.grad.tolist() == [[1.0, -1.0, 1.0], [0.0, 0.0, -1.0]]


def test_bernoulli_by_hand() -> None:
    logits = torch.tensor([[[[0.0, math.log(3.0)]]]], requires_grad=True)
    images = torch.tensor([[[[1.0, 0.0]]]])
    value = bernoulli(logits, images)
    torch.testing.assert_close(value.detach(), torch.tensor([math.log(2) + math.log(4)]))
    value.sum().backward()
    torch.testing.assert_close(logits.grad, torch.tensor([[[[-0.5, 0.75]]]]))  # p - x


def test_gaussian_by_hand() -> None:
    logits = torch.tensor([[[[0.0, 0.0]]], [[[0.0, 100.0]]]])
    images = torch.tensor([[[[1.0, 0.5]]], [[[0.5, 1.0]]]])
    torch.testing.assert_close(gaussian(logits, images), torch.tensor([0.25, 0.0]))


@pytest.mark.parametrize("name", sorted(RECONSTRUCTIONS))
def test_reconstructions_sum_over_pixels_of_each_image(name: str) -> None:
    logits, images = torch.randn(3, 2, 4, 4), torch.rand(3, 2, 4, 4)
    values = build_reconstruction(name)(logits, images)
    assert values.shape == (3,)
    for i in range(3):
        torch.testing.assert_close(build_reconstruction(name)(logits[i : i + 1], images[i : i + 1])[0], values[i])


def test_unknown_reconstruction_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown reconstruction 'bernouli'. Did you mean 'bernoulli'"):
        build_reconstruction("bernouli")


def _objective(beta: float, sparsity_weight: float) -> VariationalObjective:
    vae = build_vae("burgess", {"channels": 1, "size": 32, "code_size": 4}, seed=0)
    return VariationalObjective(vae, bernoulli, learning_rate=1e-3, beta=beta, sparsity_weight=sparsity_weight)


def test_loss_is_the_weighted_sum_of_its_terms() -> None:
    images, noise = torch.rand(6, 1, 32, 32), torch.randn(6, 4)
    objective = _objective(3.0, 2.0)
    loss, terms = objective.loss(images, noise, OFF)
    posterior, _, logits = objective.vae(images, noise)
    torch.testing.assert_close(terms["reconstruction"], bernoulli(logits, images).mean())
    torch.testing.assert_close(terms["kl"], kl_divergence(*posterior).sum(1).mean())
    torch.testing.assert_close(terms["l1"], posterior.mean.abs().sum(1).mean())
    torch.testing.assert_close(loss, terms["reconstruction"] + 3 * terms["kl"] + 2 * terms["l1"])


def test_l1_is_reported_but_not_minimised_without_a_weight() -> None:
    images, noise = torch.rand(6, 1, 32, 32), torch.randn(6, 4)
    loss, terms = _objective(1.0, 0.0).loss(images, noise, OFF)
    assert float(terms["l1"]) > 0
    torch.testing.assert_close(loss, terms["reconstruction"] + terms["kl"])


def test_a_step_lowers_the_loss_on_the_same_batch() -> None:
    images, noise = (torch.rand(16, 1, 32, 32) > 0.8).float(), torch.randn(16, 4)
    objective = _objective(1.0, 1.0)
    first = float(objective.step(images, noise, OFF)["loss"])
    for _ in range(20):
        last = objective.step(images, noise, OFF)["loss"]
    assert float(last) < 0.9 * first


def test_the_penalty_shrinks_the_codes() -> None:
    images, noise = (torch.rand(16, 1, 32, 32) > 0.8).float(), torch.randn(16, 4)
    sizes = []
    for weight in (0.0, 50.0):
        objective = _objective(0.0, weight)
        for _ in range(60):
            terms = objective.step(images, noise, OFF)
        sizes.append(float(terms["l1"]))
    assert sizes[1] < 0.2 * sizes[0]


def test_weights_resolve_to_defaults_or_to_what_was_given() -> None:
    nothing = {"beta": None, "sparsity_weight": None}
    assert choose_objective("vae").resolve_weights("vae", nothing) == {}
    assert choose_objective("beta_vae").resolve_weights("beta_vae", nothing) == {"beta": 4.0}
    given = {"beta": 4, "sparsity_weight": None}
    assert choose_objective("sparse").resolve_weights("sparse", given) == {"beta": 4.0, "sparsity_weight": 1.0}


def test_weights_an_objective_does_not_take_are_refused() -> None:
    with pytest.raises(ValueError, match="objective 'vae' has no beta; objectives that take it: beta_vae, sparse"):
        choose_objective("vae").resolve_weights("vae", {"beta": 2.0})
    with pytest.raises(ValueError, match=r"beta needs a finite number of at least 0, got -1"):
        choose_objective("beta_vae").resolve_weights("beta_vae", {"beta": -1.0})
    with pytest.raises(ValueError, match="got nan"):
        choose_objective("beta_vae").resolve_weights("beta_vae", {"beta": math.nan})


@pytest.mark.parametrize("name", sorted(OBJECTIVES))
def test_every_objective_builds_and_steps(name: str) -> None:
    vae = build_vae("burgess", {"channels": 3, "size": 32, "code_size": 4}, seed=0)
    choice = choose_objective(name)
    objective = choice.build(vae, gaussian, learning_rate=1e-3, **choice.default_weights)
    terms = objective.step(torch.rand(4, 3, 32, 32), torch.randn(4, 4), OFF)
    assert set(terms) == {"loss", "reconstruction", "kl", "l1"}
    assert all(torch.isfinite(term) for term in terms.values())
