"""Every reading of the L1 penalty, exact zeros, spike and slab."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch
from torch import nn

from sparse_repr.metrics import hoyer_sparsity
from sparse_repr.models import (
    HEADS,
    Eased,
    Posterior,
    Quantised,
    SpikeAndSlab,
    Thresholded,
    TopK,
    build_encoder,
    build_vae,
    soft_threshold,
)
from sparse_repr.objectives import (
    OBJECTIVES,
    L1Penalty,
    LargestOfBatch,
    LargestOfImage,
    SpikeAndSlabObjective,
    VariationalObjective,
    WeightedKL,
    achieved_sparsity,
    kl_divergence,
    sample_spike_and_slab,
    shrink_weights,
    sparsity_penalty,
    spike_and_slab_kl,
)
from sparse_repr.objectives.jump_relu import JumpReLU, jump
from sparse_repr.objectives.latent_quantisation import LatentQuantisation
from sparse_repr.objectives.reconstruction import bernoulli, gaussian
from sparse_repr.objectives.rectified_gaussian import RectifiedGaussian, rectified_mean
from sparse_repr.objectives.vaease import VAEaseObjective

OFF = torch.autocast("cpu", enabled=False)


def _objective(*, target: str = "mean", warmup: int = 0, proximal: bool = False) -> VariationalObjective:
    vae = build_vae("burgess", {"channels": 1, "size": 32, "code_size": 4}, seed=0)
    penalty = L1Penalty(2.0, target, warmup, 0, proximal)
    return VariationalObjective(vae, bernoulli, WeightedKL(1.0), penalty, learning_rate=1e-3, report_sparsity=True)


def test_penalties_by_hand() -> None:
    network = nn.Linear(2, 1)
    with torch.no_grad():
        network.weight.copy_(torch.tensor([[0.5, -2.0]]))
        network.bias.fill_(100.0)  # biases are not weights
    posterior = Posterior(torch.tensor([[1.0, -2.0], [0.0, 3.0]]), torch.tensor([[-1.0, 0.0], [0.0, 4.0]]))
    z = torch.tensor([[5.0, 0.0], [0.0, -1.0]])
    found = {target: float(sparsity_penalty(target, posterior, z, network)) for target in ("mean", "output", "sample")}
    assert found == {"mean": 3.0, "output": 5.5, "sample": 3.0}
    penalty = sparsity_penalty("weights", posterior, z, network)
    assert float(penalty.detach()) == 2.5
    penalty.backward()
    torch.testing.assert_close(network.weight.grad, torch.tensor([[1.0, -1.0]]))
    assert network.bias.grad is None
    with pytest.raises(ValueError, match="sparsity_target needs one of mean, output, sample, weights, got 'codes'"):
        sparsity_penalty("codes", posterior, z, network)


@pytest.mark.parametrize("target", ["mean", "output", "sample", "weights"])
def test_the_penalty_enters_the_loss_with_its_ramped_weight(target: str) -> None:
    images, noise = torch.rand(6, 1, 32, 32), torch.randn(6, 4)
    objective = _objective(target=target, warmup=100)
    posterior, z, _ = objective.vae(images, noise)
    penalty = sparsity_penalty(target, posterior, z, objective.vae.encoder)
    for step, share in ((0, 0.0), (25, 0.25), (100, 1.0), (900, 1.0)):
        loss, terms = objective.loss(images, noise, OFF, step)
        torch.testing.assert_close(loss, terms["reconstruction"] + terms["kl"] + 2 * share * penalty)
    assert ("weight_zeros" in terms) == (target == "weights")


def test_the_penalty_counts_from_its_start_and_warms_up_from_there() -> None:
    for warmup, expected in ((0, [0.0, 0.0, 3.0, 3.0, 3.0]), (2, [0.0, 0.0, 0.0, 1.5, 3.0])):
        penalty = L1Penalty(3.0, "mean", warmup, 4, False)
        steps = [0, 3, 4, 5, 6]
        assert [penalty.weight_at(step) for step in steps] == expected
        # a recorded step has its number in a tensor
        assert [float(penalty.weight_at(torch.tensor(step, dtype=torch.float64))) for step in steps] == expected
    with pytest.raises(ValueError, match="sparsity_start needs a whole number of at least 0, got -1"):
        L1Penalty(3.0, "mean", 0, -1, False)


def test_the_proximal_step_makes_exact_zeros_in_the_weights() -> None:
    network = nn.Linear(3, 1)
    with torch.no_grad():
        network.weight.copy_(torch.tensor([[0.5, -0.1, -2.0]]))
    shrink_weights(network, 0.25)
    torch.testing.assert_close(network.weight.detach(), torch.tensor([[0.25, 0.0, -1.75]]))
    images, noise = (torch.rand(8, 1, 32, 32) > 0.8).float(), torch.randn(8, 4)
    objective = _objective(target="weights", proximal=True)
    loss, terms = objective.loss(images, noise, OFF)
    torch.testing.assert_close(loss, terms["reconstruction"] + terms["kl"])  # the step takes it, not the gradient
    for _ in range(10):
        terms = objective.step(images, noise, OFF)
    assert float(terms["weight_zeros"]) > 0.3
    before = objective.vae.encoder.posterior.weight.detach().clone()
    objective.optimiser.param_groups[0]["lr"] = 0.0  # as a schedule would
    objective.step(images, noise, OFF)
    assert torch.equal(
        objective.vae.encoder.posterior.weight.detach().clone(), before
    )  # the proximal step is as long as the gradient's
    with pytest.raises(ValueError, match="sparsity_proximal needs sparsity_target 'weights', got 'mean'"):
        _objective(proximal=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sparsity_weight": -1.0}, "sparsity_weight needs a finite number of at least 0, got -1"),
        ({"sparsity_weight": math.nan}, "sparsity_weight needs a finite number of at least 0, got nan"),
        ({"sparsity_target": "codes"}, "sparsity_target needs one of mean, output, sample, weights, got 'codes'"),
        ({"sparsity_warmup": -1}, "sparsity_warmup needs a whole number of at least 0, got -1"),
        ({"sparsity_proximal": 1}, "sparsity_proximal needs True or False, got 1"),
    ],
)
def test_the_penalty_checks_itself(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(L1Penalty(1.0, "mean", 0, 0, False), **change)


def test_soft_threshold_by_hand() -> None:
    values = torch.tensor([-3.0, -0.5, 0.0, 0.5, 3.0], requires_grad=True)
    threshold = torch.tensor(1.0, requires_grad=True)
    shrunk = soft_threshold(values, threshold)
    assert shrunk.tolist() == [-2.0, 0.0, 0.0, 0.0, 2.0]
    (shrunk[0] + 3 * shrunk[4]).backward()
    assert values.grad is not None
    assert values.grad.tolist() == [1.0, 0.0, 0.0, 0.0, 3.0]
    assert threshold.grad is not None
    assert float(threshold.grad) == 1 - 3


def test_the_shrinkage_encoder_starts_at_a_threshold_of_a_tenth() -> None:
    arguments = {"channels": 1, "size": 32, "code_size": 6}
    plain, shrinking = build_encoder("burgess", arguments), build_encoder("burgess_shrinkage", arguments)
    plain.load_state_dict({k: v for k, v in shrinking.state_dict().items() if k != "raw_threshold"})
    images = torch.rand(20, 1, 32, 32)
    before, after = plain(images), shrinking(images)
    torch.testing.assert_close(after.mean, soft_threshold(before.mean, torch.tensor(0.1)))
    torch.testing.assert_close(after.log_variance, before.log_variance)
    assert int((after.mean == 0).sum()) == int((before.mean.abs() <= 0.1).sum()) > 0
    # a unit in the dead zone still hears the loss; the threshold has its true gradient
    after.mean.sum().backward()
    torch.testing.assert_close(shrinking.posterior.bias.grad[:6], torch.full((6,), 20.0))  # type: ignore[index, union-attr]
    signs = after.mean.detach().sign().sum(0)
    slope = 1 - math.exp(-0.1)  # of softplus where it is 0.1
    torch.testing.assert_close(shrinking.raw_threshold.grad, -slope * signs)


def test_achieved_sparsity_by_hand() -> None:
    codes = torch.tensor([[0.0, 3.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0]])
    found = {name: float(value) for name, value in achieved_sparsity(codes).items()}
    assert found["exact_zeros"] == pytest.approx(7 / 12)
    assert found["hoyer"] == pytest.approx(1 / 3)
    assert found["hoyer"] == pytest.approx(hoyer_sparsity(codes.numpy()), abs=1e-6)
    assert found["units_per_image"] == pytest.approx(5 / 3)
    assert found["active_units"] == 4
    assert achieved_sparsity(torch.zeros(3, 1))["hoyer"] == 0


def test_spike_and_slab_kl_by_hand_and_at_its_limits() -> None:
    mean, log_variance = torch.tensor([[1.0, 1.0, 1.0]]), torch.tensor([[0.5, 0.5, 0.5]])
    logit = torch.tensor([[math.log(3.0), 200.0, -200.0]], requires_grad=True)  # gamma 0.75, 1, 0
    kl = spike_and_slab_kl(SpikeAndSlab(mean, log_variance, logit), slab_probability=0.2)
    slab = float(kl_divergence(mean, log_variance)[0, 0])
    expected = 0.75 * slab + 0.75 * math.log(0.75 / 0.2) + 0.25 * math.log(0.25 / 0.8)
    torch.testing.assert_close(kl.detach(), torch.tensor([[expected, slab + math.log(1 / 0.2), math.log(1 / 0.8)]]))
    kl.sum().backward()
    assert logit.grad is not None
    assert torch.isfinite(logit.grad).all()
    # d/dlogit = gamma (1 - gamma) (KL + logit - logit(alpha))
    slope = 0.75 * 0.25 * (slab + math.log(3) - math.log(0.2 / 0.8))
    assert float(logit.grad[0, 0]) == pytest.approx(slope, rel=1e-5)
    prior = SpikeAndSlab(torch.zeros(1, 1), torch.zeros(1, 1), torch.full((1, 1), math.log(0.2 / 0.8)))
    assert float(spike_and_slab_kl(prior, slab_probability=0.2)) == pytest.approx(0, abs=1e-7)


def test_samples_have_the_moments_that_the_encoder_exports() -> None:
    components = SpikeAndSlab(
        torch.tensor([[1.0, -2.0]]), torch.tensor([[-1.0, 0.0]]), torch.tensor([[0.0, math.log(4.0)]])
    )
    many = SpikeAndSlab(*(part.repeat(200_000, 1) for part in components))
    generator = torch.Generator().manual_seed(0)
    normal, uniform = torch.randn(200_000, 2, generator=generator), torch.rand(200_000, 2, generator=generator)
    relaxed, exact = sample_spike_and_slab(many, normal, uniform)
    torch.testing.assert_close((exact == 0).float().mean(0), torch.tensor([0.5, 0.2]), atol=5e-3, rtol=0)
    moments = components.moments()
    torch.testing.assert_close(exact.mean(0), moments.mean[0], atol=2e-2, rtol=0)
    torch.testing.assert_close(exact.var(0), moments.log_variance[0].exp(), atol=3e-2, rtol=0)
    assert float(((relaxed - exact).abs() < 1e-2).float().mean()) > 0.8


def test_spike_and_slab_loss_is_the_sum_of_its_terms() -> None:
    vae = build_vae("burgess_spike_and_slab", {"channels": 1, "size": 32, "code_size": 4}, seed=0)
    objective = SpikeAndSlabObjective(vae, bernoulli, learning_rate=1e-3, beta=3.0, slab_probability=0.2)
    loss, terms = objective.loss(torch.rand(4, 1, 32, 32), torch.randn(4, 8), OFF)
    torch.testing.assert_close(loss, terms["reconstruction"] + 3 * terms["kl"])
    with pytest.raises(ValueError, match="slab_probability needs a number between 0 and 1, got 0"):
        SpikeAndSlabObjective(vae, bernoulli, learning_rate=1e-3, beta=3.0, slab_probability=0)


ROWS = [[3.0, 1.0, 2.0, 0.0], [0.0, 5.0, 4.0, 4.0]]
NO_NOISE = torch.zeros(2, 0)


@pytest.mark.parametrize(
    ("units", "steps", "step", "expected"),
    [
        (2, 0, 0, [[3, 0, 2, 0], [0, 5, 4, 0]]),  # of two that are equal the first one stands
        (2, 0, 900, [[3, 0, 2, 0], [0, 5, 4, 0]]),
        (2, 4, 0, [[3, 1, 2, 0], [0, 5, 4, 4]]),  # all D
        (2, 4, 2, [[3, 1, 2, 0], [0, 5, 4, 4]]),  # 3 of 4
        (1, 4, 4, [[3, 0, 0, 0], [0, 5, 0, 0]]),
    ],
)
def test_the_largest_units_of_an_image_stand_and_alone_have_a_gradient(
    units: int, steps: int, step: int, expected: list[list[float]]
) -> None:
    for number in (step, torch.tensor(step, dtype=torch.float64)):
        activations = torch.tensor(ROWS, requires_grad=True)
        code, added, _ = LargestOfImage(units, steps)(TopK(activations, torch.tensor(4)), NO_NOISE, number)
        assert (code.tolist(), added) == (expected, 0.0)
        code.sum().backward()
        assert activations.grad is not None
        stands = torch.tensor(expected) > 0
        assert bool((activations.grad[stands] == 1).all())
        assert bool((activations.grad[~stands & (torch.tensor(ROWS) > 0)] == 0).all())


def test_the_largest_units_of_a_batch_stand_and_a_threshold_learns_their_share() -> None:
    activations = torch.tensor(ROWS, requires_grad=True)
    threshold = torch.full((4,), 2.5, requires_grad=True)
    sparsifier = LargestOfBatch(units_per_image=2, units_per_image_steps=0)
    code, added, terms = sparsifier(Thresholded(activations, threshold), NO_NOISE, 0)
    # four of eight, wherever they are; the second image has one more than the first
    assert code.tolist() == [[3, 0, 0, 0], [0, 5, 4, 4]]
    assert isinstance(added, torch.Tensor)
    assert (added.item(), terms["threshold"].item()) == (0.0, 2.5)
    (code.sum() + added).backward()
    assert activations.grad is not None
    assert activations.grad.tolist() == [[1, 0, 0, 0], [0, 1, 1, 1]]  # nothing of the threshold's loss
    # four of eight are above 2.5, as many as are wanted: -(4 (1 - 1/2) - 4 / 2) / 8
    assert threshold.grad is not None
    assert threshold.grad.tolist() == [0.0] * 4
    lower = torch.full((4,), 0.5, requires_grad=True)
    sparsifier(Thresholded(activations.detach(), lower), NO_NOISE, 0)[1].backward()  # type: ignore[union-attr]
    # six are above 0.5, so that it rises: -(6 / 2 - 2 / 2) / 8, shared by four
    assert lower.grad is not None
    assert lower.grad.tolist() == [-1 / 16] * 4


def test_sparse_codes_are_exact_zeros_in_the_encoder() -> None:
    top = TopK(torch.tensor(ROWS), torch.tensor(1)).moments()
    assert top.mean.tolist() == [[3, 0, 0, 0], [0, 5, 0, 0]]
    assert set(top.log_variance.flatten().tolist()) == {-30.0}
    above = Thresholded(torch.tensor(ROWS), torch.tensor([3.0, 0.5, 0.5, 3.0])).moments()
    assert above.mean.tolist() == [[0, 1, 2, 0], [0, 5, 4, 4]]  # what equals its threshold is 0


def test_the_learned_threshold_finds_the_share_that_is_asked_for() -> None:
    read = HEADS["thresholded"].read
    own = {name: value.requires_grad_() for name, value in HEADS["thresholded"].parameters(20).items()}
    adam = torch.optim.Adam(own.values(), lr=1e-3)
    outputs = 8 * torch.rand(64, 20, generator=torch.Generator().manual_seed(0)) - 4
    sparsifier = LargestOfBatch(units_per_image=5, units_per_image_steps=0)
    for _ in range(500):
        added = sparsifier(read(outputs, own), NO_NOISE, 0)[1]
        adam.zero_grad()
        added.backward()  # type: ignore[union-attr]
        adam.step()
    code = read(outputs, own).moments().mean.detach()
    assert float((code != 0).float().mean()) == pytest.approx(0.25, abs=0.01)
    assert len(own["log_threshold"].unique()) == 1


def test_a_unit_jumps_at_its_threshold_and_a_window_moves_it() -> None:
    activations = torch.tensor([[0.0, 0.9, 1.1, 3.0], [0.0, 0.0, 1.3, 1.0]], requires_grad=True)
    threshold = torch.ones(4, requires_grad=True)
    code, above = jump(activations, threshold, window=0.5)
    torch.testing.assert_close(code.detach(), torch.tensor([[0, 0, 1.1, 3], [0, 0, 1.3, 0]]))  # no shrinkage
    assert above.tolist() == [[0, 0, 1, 1], [0, 0, 1, 0]]
    by_code = torch.autograd.grad(code.sum(), (activations, threshold), retain_graph=True)
    assert by_code[0].tolist() == [[0, 0, 1, 1], [0, 0, 1, 0]]
    assert by_code[1].tolist() == [0, -2, -2, -2]  # theta / w for 0.9, 1.1 and 1, which are in the window of 0.5
    by_price = torch.autograd.grad(above.sum(), (activations, threshold), allow_unused=True)
    assert by_price[0] is None
    assert by_price[1].tolist() == [0, -2, -2, -2]
    with_price = JumpReLU(nonzero_weight=3.0, nonzero_warmup=10, threshold_window=0.5)
    for step, share in ((0, 0.0), (5, 0.5), (10, 1.0), (900, 1.0)):
        added = with_price(Thresholded(activations.detach(), threshold), NO_NOISE, step)[1]
        assert added.item() == pytest.approx(3 * share * 1.5)  # type: ignore[union-attr]


def test_codes_are_compared_with_a_rectified_gaussian() -> None:
    assert rectified_mean(0.5) == pytest.approx(0)
    assert rectified_mean(0.158655) == pytest.approx(-1, abs=1e-4)
    codes, noise = torch.tensor([[0.0, 2.0], [1.0, 0.0]], requires_grad=True), torch.zeros(2, 4)
    noise[:, :2] = torch.tensor([[-1.0, 3.0], [2.0, -1.0]])  # with mean 0 the target is (0, 3) and (2, 0)
    noise[:, 2:] = torch.tensor([[7.0, 0.0], [0.0, -0.5]])  # the two axes
    sparsifier = RectifiedGaussian(matching_weight=0.5, units_per_image=1)
    code, added, terms = sparsifier(Posterior(codes, torch.zeros(2, 2)), noise, 0)
    assert code is codes
    # along the first axis (0, 1) and (0, 2), along the second (0, 2) and (0, 3): D times the mean of 0, 1, 0, 1
    assert terms["distance"].item() == 1.0
    assert isinstance(added, torch.Tensor)
    assert added.item() == 0.5
    added.backward()
    assert codes.grad is not None
    assert codes.grad.tolist() == [[0, -0.5], [-0.5, 0]]


def test_a_sample_of_the_target_has_as_many_units_as_are_set() -> None:
    noise = torch.randn(4_000, 20, generator=torch.Generator().manual_seed(0))
    assert float((rectified_mean(3 / 20) + noise > 0).float().sum(1).mean()) == pytest.approx(3, abs=0.1)


def test_a_unit_at_its_prior_is_off_and_costs_nothing() -> None:
    half = 2 * math.log(0.5)  # sigma 1/2
    eased = Eased(torch.tensor([[2.0, 2.0, 0.0]]), torch.tensor([[half, 0.0, 0.0]]))
    torch.testing.assert_close(eased.gate(), torch.tensor([[0.5, 0.0, 0.0]]))
    torch.testing.assert_close(eased.sample(torch.ones(1, 3)), torch.tensor([[1.25, 0.0, 0.0]]))
    moments = eased.moments()
    assert moments.mean.tolist() == [[1.0, 0.0, 0.0]]  # exactly 0, whatever mu is
    torch.testing.assert_close(moments.log_variance, torch.tensor([[math.log(1 / 16), -30.0, -30.0]]))
    assert kl_divergence(eased.mean, eased.log_variance)[0, 2] == 0
    # the head starts open, is bounded by sigma = 1, and has a gradient beyond
    outputs = torch.tensor([[1.0, 1.0, 0.0, 3.0]], requires_grad=True)
    found = HEADS["vaease"].read(outputs, {})
    assert isinstance(found, Eased)
    assert found.log_variance.tolist() == [[-2.0, 0.0]]
    found.log_variance.sum().backward()
    assert outputs.grad is not None
    assert outputs.grad.tolist() == [[0, 0, 1, 1]]


def test_vaease_learns_the_variance_of_its_decoder() -> None:
    vae = build_vae("burgess_vaease", {"channels": 1, "size": 32, "code_size": 4}, seed=0)
    objective = VAEaseObjective(vae, gaussian, learning_rate=1e-3, beta=2.0)
    images, noise = torch.rand(6, 1, 32, 32), torch.randn(6, 4)
    loss, terms = objective.loss(images, noise, OFF)
    error = gaussian(vae.decoder(vae.encoder.components(images).sample(noise)), images).mean().detach()
    variance = error / 1024
    torch.testing.assert_close(terms["decoder_variance"], variance)
    # the Gaussian log-likelihood at that variance is what any other gives at best
    density = torch.distributions.Normal(0.0, variance.sqrt())
    expected = -1024 * density.log_prob(variance.sqrt())
    torch.testing.assert_close(loss.detach(), expected + 2 * terms["kl"])


def test_units_are_rounded_to_values_of_their_own() -> None:
    values = torch.tensor([[0.4, 3.6]], requires_grad=True)
    codebook = torch.tensor([[-1.0, 0.0, 1.0], [0.0, 2.0, 5.0]], requires_grad=True)
    quantised = Quantised(values, codebook)
    assert quantised.moments().mean.tolist() == [[0.0, 5.0]]
    code, added, terms = LatentQuantisation(quantise_weight=0.5, commit_weight=0.25, pixels=6)(quantised, NO_NOISE, 0)
    torch.testing.assert_close(code.detach(), torch.tensor([[0.0, 5.0]]))
    squared = 0.4**2 + 1.4**2
    assert isinstance(added, torch.Tensor)
    assert added.item() == pytest.approx(6 * 0.75 * squared / 2)
    assert terms["rounding"].item() == pytest.approx(squared)
    (2 * code.sum() + added).backward()
    assert values.grad is not None
    assert codebook.grad is not None
    # each share of the weights is 6 / 2 times twice a distance; the code itself passes 2
    torch.testing.assert_close(values.grad, torch.tensor([[2 + 1.5 * 0.4, 2 - 1.5 * 1.4]]))
    torch.testing.assert_close(codebook.grad, torch.tensor([[0, -1.2, 0], [0, 0, 4.2]]))
    assert HEADS["quantised"].parameters(3)["codebook"][2].tolist() == pytest.approx([-0.5 + k / 9 for k in range(10)])


def test_weights_decay_and_neither_biases_nor_values_do() -> None:
    vae = build_vae("burgess_quantised", {"channels": 3, "size": 32, "code_size": 4}, seed=0)
    settings = {"quantise_weight": 0.01, "commit_weight": 0.01, "weight_decay": 0.1}
    objective = OBJECTIVES["latent_quantisation"].build(vae, bernoulli, learning_rate=1e-2, **settings)
    assert objective.sparsifier.pixels == 3 * 32 * 32  # type: ignore[attr-defined]
    before = {name: parameter.detach().clone() for name, parameter in vae.named_parameters()}
    for parameter in vae.parameters():
        parameter.grad = torch.zeros_like(parameter)
    (optimiser,) = objective.optimisers
    optimiser.step()
    for name, parameter in vae.named_parameters():
        kept = 1.0 if name.endswith(("bias", "codebook")) else 1 - 1e-2 * 0.1
        torch.testing.assert_close(parameter.detach(), kept * before[name], msg=name)
