"""Terms by hand, values and gradients; the loss is the sum it says it is."""

from __future__ import annotations

import dataclasses
import math
import re

import pytest
import torch
import torch.nn.functional as F
from torch.distributions import Laplace, Normal
from torch.distributions import kl_divergence as torch_kl

from sparse_repr.encoder.code_use import CodeUse
from sparse_repr.models import Posterior, build_vae
from sparse_repr.objectives import (
    OBJECTIVES,
    Capacity,
    ImportanceWeightedObjective,
    L1Penalty,
    MomentMatching,
    VariationalObjective,
    WeightedKL,
    choose_objective,
    covariance,
    default_settings,
    kl_divergence,
    l1_penalty,
    laplace_kl_divergence,
    moment_penalty,
    network_for,
    resolve_options,
    resolve_weights,
)
from sparse_repr.objectives.reconstruction import RECONSTRUCTIONS, bernoulli, build_reconstruction, gaussian, laplace
from tests import ROOT

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


def test_bernoulli_with_one_logarithm_for_many_pixels_is_exact() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = 6 * torch.randn((4, 3, 32, 32), generator=generator)
    logits[0, 0, 0, :4] = torch.tensor([0.0, 120.0, -120.0, 1e-8])
    logits[1] = 0.0  # every factor is 2: the greatest product
    images = torch.rand((4, 3, 32, 32), generator=generator)
    inputs = logits.requires_grad_(), images.requires_grad_()
    exact = F.binary_cross_entropy_with_logits(logits.double(), images.double(), reduction="none").flatten(1).sum(1)
    value = bernoulli(logits, images)
    torch.testing.assert_close(value, exact.float(), rtol=1e-6, atol=0)
    for ours, theirs in zip(
        torch.autograd.grad(value.mean(), inputs), torch.autograd.grad(exact.mean(), inputs), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("size", [15.0, 17.0, 20.0, 60.0])
def test_bernoulli_counts_pixels_of_any_certainty(size: float) -> None:
    # 1 + exp(-17) is 1 in float32: 4,096 such pixels had no loss at all
    logits = torch.full((1, 1, 64, 64), size)
    logits[0, 0, ::2] = -size
    images = (logits > 0).float()
    exact = 4096 * math.log1p(math.exp(-size))
    torch.testing.assert_close(bernoulli(logits, images), torch.tensor([exact], dtype=torch.float32), rtol=1e-5, atol=0)


@pytest.mark.parametrize("name", sorted(RECONSTRUCTIONS))
@pytest.mark.parametrize("size", [8, 5])
def test_an_empty_batch_has_no_losses(name: str, size: int) -> None:
    logits = torch.zeros(0, 1, size, size, requires_grad=True)
    values = build_reconstruction(name)(logits, torch.zeros(0, 1, size, size))
    assert values.shape == (0,)
    (gradient,) = torch.autograd.grad(values.sum(), logits)
    assert gradient.shape == logits.shape


@pytest.mark.parametrize("name", sorted(RECONSTRUCTIONS))
def test_uint8_images_are_those_in_0_1(name: str) -> None:
    reconstruction = build_reconstruction(name)
    logits, images = torch.randn(3, 1, 8, 8), (255 * torch.rand(3, 1, 8, 8)).to(torch.uint8)
    torch.testing.assert_close(reconstruction(logits, images), reconstruction(logits, images / 255))
    with pytest.raises(TypeError, match="images needs uint8 or floating-point numbers in 0..1, got torch.int64"):
        reconstruction(logits, images.long())


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
    penalty = L1Penalty(sparsity_weight, "mean", 0, 0, False)
    return VariationalObjective(vae, bernoulli, WeightedKL(beta), penalty, learning_rate=1e-3)


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
    assert resolve_weights("vae", nothing) == {}
    assert resolve_weights("beta_vae", nothing) == {"beta": 4.0}
    given = {"beta": 4, "sparsity_weight": None}
    assert resolve_weights("sparse", given) == {"beta": 4.0, "sparsity_weight": 1.0}


def test_weights_an_objective_does_not_take_are_refused() -> None:
    with pytest.raises(ValueError, match="objective 'vae' has no beta; objectives that take it: beta_vae, sparse"):
        resolve_weights("vae", {"beta": 2.0})
    with pytest.raises(ValueError, match=r"beta needs a finite number of at least 0, got -1"):
        resolve_weights("beta_vae", {"beta": -1.0})
    with pytest.raises(ValueError, match="got nan"):
        resolve_weights("beta_vae", {"beta": math.nan})


COMMON = {"loss", "reconstruction", "kl", "l1"}
ACHIEVED = {"exact_zeros", "hoyer", "units_per_image", "active_units"}
POINT = ACHIEVED | {"loss", "reconstruction", "l1"}
TERMS = {
    "vae": COMMON,
    "beta_vae": COMMON,
    "sparse": COMMON | ACHIEVED,
    "sparse_shrinkage": COMMON | ACHIEVED,
    "spike_and_slab": COMMON | ACHIEVED | {"slab_share"},
    "laplace_prior": COMMON | ACHIEVED | {"laplace_kl"},
    "top_k": POINT,
    "batch_top_k": POINT | {"threshold"},
    "jump_relu": POINT | {"threshold"},
    "rectified_gaussian": POINT | {"distance"},
    "vaease": COMMON | ACHIEVED | {"decoder_variance"},
    "latent_quantisation": POINT | {"rounding"},
    "beta_vae_capacity": COMMON | {"capacity"},
    "factor_vae": COMMON | {"total_correlation", "discriminator_loss", "discriminator_accuracy"},
    "beta_tcvae": COMMON | {"mutual_information", "total_correlation", "dimension_kl"},
    "dip_vae_i": COMMON | {"moment_penalty"},
    "dip_vae_ii": COMMON | {"moment_penalty"},
    "iwae": COMMON,
    "keypoints": {"loss", "reconstruction", "present"},
    "sparse_keypoints": {"loss", "reconstruction", "present", "presence_price"},
    "feature_prediction": ACHIEVED | {"loss", "unexplained_features", "kl", "l1"},
    "info_gan": ACHIEVED | {"loss", "information", "discriminator_loss", "generator_loss", "discriminator_accuracy"},
}


class ConstantTargets:
    """The same features of every image."""

    def __init__(self, *shape: int, value: float = 0.0, pixel_variance: float = 1.0) -> None:
        channels, side, _ = shape
        self.shape = (channels, side, side)
        self.value = value
        self.pixel_variance = torch.tensor(pixel_variance)

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        return torch.full((len(images), *self.shape), self.value)


@pytest.mark.parametrize("name", sorted(OBJECTIVES))
def test_every_objective_builds_and_steps(name: str) -> None:
    choice = choose_objective(name)
    vae = build_vae(network_for(name, "burgess"), {"channels": 3, "size": 32, "code_size": 6}, seed=0)
    known = {"seed": 0, "dataset_size": 100, "targets": ConstantTargets(5, 8, 8), "background_loss": 10.0}
    objective = choice.build(
        vae, gaussian, learning_rate=1e-3, **default_settings(name), **{need: known[need] for need in choice.needs}
    )
    terms = objective.step(torch.rand(4, 3, 32, 32), torch.randn(4, objective.noise_size), OFF)
    assert set(terms) == TERMS[name]
    assert all(torch.isfinite(term) and not term.requires_grad for term in terms.values())


def test_a_page_explains_every_scalar_that_is_logged() -> None:
    page = (ROOT / "docs" / "scalars.md").read_text(encoding="utf-8")
    explained = {name for row in page.splitlines() if row.startswith("| `") for name in re.findall(r"`(\w+/\w+)`", row)}
    health = {field.name for field in dataclasses.fields(CodeUse)} | {"present", "dead_neurons"}
    others = {"images_per_s", "beta", "weight_zeros", *(f"l1_{place}" for place in ("output", "sample", "weights"))}
    logged = {f"train/{name}" for name in set().union(*TERMS.values(), others)} | {f"health/{name}" for name in health}
    assert explained == logged


def _posterior(mean: list[list[float]], log_variance: list[list[float]]) -> Posterior:
    return Posterior(torch.tensor(mean, requires_grad=True), torch.tensor(log_variance, requires_grad=True))


def test_laplace_reconstruction_by_hand() -> None:
    logits = torch.tensor([[[[0.0, 100.0]]]], requires_grad=True)
    value = laplace(logits, torch.tensor([[[[1.0, 0.25]]]]))
    torch.testing.assert_close(value.detach(), torch.tensor([0.5 + 0.75]))
    value.sum().backward()
    torch.testing.assert_close(logits.grad, torch.tensor([[[[-0.25, 0.0]]]]))  # -p (1 - p) where x > p


def test_capacity_grows_linearly_and_pulls_from_both_sides() -> None:
    regulariser = Capacity(capacity_weight=100.0, capacity_nats=25.0, capacity_steps=1000)
    assert [regulariser.capacity(step) for step in (0, 500, 1000, 5000)] == [0.0, 12.5, 25.0, 25.0]
    assert Capacity(1.0, 3.0, 0).capacity(0) == 3.0
    for step, slope in ((0, 2.0), (1000, -2.0)):  # KL = 2 nats: above a capacity of 0, below one of 25
        posterior = _posterior([[2.0, 0.0]], [[0.0, 0.0]])
        value, terms = regulariser(posterior, posterior.mean, step)
        assert float(value.detach()) == pytest.approx(100 * abs(2 - float(terms["capacity"])))
        value.backward()
        torch.testing.assert_close(posterior.mean.grad, torch.tensor([[100 * slope, 0.0]]))


def test_moment_penalties_by_hand() -> None:
    codes = torch.tensor([[1.0, 2.0], [-1.0, -2.0]])
    torch.testing.assert_close(covariance(codes), torch.tensor([[1.0, 2.0], [2.0, 4.0]]))
    penalty = moment_penalty(covariance(codes), covariance_weight=10.0, variance_weight=1.0)
    assert float(penalty) == 10 * (4 + 4) + 9
    posterior = _posterior(codes.tolist(), [[math.log(3.0), 0.0], [math.log(5.0), 0.0]])
    kl = float(kl_divergence(*posterior).sum(1).mean().detach())
    for of_samples, expected in ((False, 89.0), (True, 80 + 16 + 16)):  # E[Sigma] = diag(4, 1)
        value, _ = MomentMatching(10.0, 1.0, of_samples)(posterior, posterior.mean, 0)
        assert float(value.detach()) == pytest.approx(kl + expected, rel=1e-6)
    mean = torch.tensor([[1.0, 2.0], [-1.0, -2.0]], requires_grad=True)
    moment_penalty(covariance(mean), covariance_weight=0.0, variance_weight=1.0).backward()
    # d/dmu_nd (c_dd - 1)^2 = 2 (c_dd - 1) 2 mu_nd / B
    torch.testing.assert_close(mean.grad, torch.tensor([[0.0, 12.0], [0.0, -12.0]]))


@pytest.mark.parametrize("scale", [0.5, 1.0])
def test_laplace_kl_is_the_integral(scale: float) -> None:
    mean, log_variance = torch.tensor([[0.0, 1.5, -0.7]]).double(), torch.tensor([[0.0, -2.0, 0.8]]).double()
    grid = torch.linspace(-15, 15, 300_001, dtype=torch.float64)[:, None]
    log_q = Normal(mean, (log_variance / 2).exp()).log_prob(grid)
    expected = ((log_q - Laplace(0.0, scale).log_prob(grid)) * log_q.exp()).sum(0) * (grid[1] - grid[0])
    torch.testing.assert_close(laplace_kl_divergence(mean, log_variance, scale=scale)[0], expected)


def test_importance_weighted_bound_by_hand() -> None:
    images, noise = torch.rand(3, 1, 32, 32), torch.randn(3, 8)
    vae = build_vae("burgess", {"channels": 1, "size": 32, "code_size": 4}, seed=0)
    loss, _ = ImportanceWeightedObjective(vae, gaussian, learning_rate=1e-3, importance_samples=2).loss(
        images, noise, OFF
    )
    expected = []
    for i in range(3):
        posterior = vae.encoder(images[i : i + 1])
        weights = []
        for epsilon in noise[i].split(4):
            sigma = (posterior.log_variance / 2).exp()
            z = posterior.mean + sigma * epsilon
            log_p = -gaussian(vae.decoder(z), images[i : i + 1]) + Normal(0.0, 1.0).log_prob(z).sum()
            weights.append(log_p - Normal(posterior.mean, sigma).log_prob(z).sum())
        expected.append(-(torch.cat(weights).exp().mean().log()))
    torch.testing.assert_close(loss, torch.stack(expected).mean(), rtol=1e-4, atol=1e-3)


def test_more_importance_samples_tighten_the_bound() -> None:
    images = torch.rand(64, 1, 32, 32)
    vae = build_vae("burgess", {"channels": 1, "size": 32, "code_size": 4}, seed=0)
    with torch.no_grad():
        vae.encoder.posterior.weight.mul_(20)  # type: ignore[operator, union-attr]
    bounds = []
    for samples in (1, 20):
        objective = ImportanceWeightedObjective(vae, gaussian, learning_rate=1e-3, importance_samples=samples)
        noise = torch.randn(64, 4 * samples, generator=torch.Generator().manual_seed(0))
        bounds.append(float(objective.loss(images, noise, OFF)[0].detach()))
    assert bounds[1] < bounds[0] - 0.1


@pytest.mark.parametrize(("start", "by_step"), [(8.0, [8, 6.5, 5, 3.5, 2, 2]), (0.0, [0, 0.5, 1, 1.5, 2, 2])])
def test_the_weight_of_the_kl_goes_linearly_from_its_start_to_beta(start: float, by_step: list[float]) -> None:
    regulariser = WeightedKL(2.0, beta_start=start, beta_steps=4)
    posterior = Posterior(torch.tensor([[2.0], [0.0]]), torch.zeros(2, 1))  # KL 2 and 0, on average 1
    for step, wanted in enumerate(by_step):
        for number in (step, torch.tensor(step, dtype=torch.float64)):
            value, terms = regulariser(posterior, posterior.mean, number)
            assert (float(value), float(terms["beta"])) == (wanted, wanted)
            assert value.dtype == terms["beta"].dtype == torch.float32


def test_options_resolve_to_defaults_or_to_what_was_given() -> None:
    assert resolve_options("sparse", {}) == {
        "beta_start": 0.0,
        "beta_steps": 0,
        "opening_step": 0,
        "opening_steps": 0,
        "sparsity_target": "mean",
        "sparsity_start": 0,
        "sparsity_warmup": 0,
        "sparsity_proximal": False,
    }
    assert resolve_options("sparse", {"sparsity_target": "sample"})["sparsity_target"] == "sample"


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        (
            "vae",
            {"sparsity_target": "mean"},
            "'vae' has no sparsity_target; objectives that take it: sparse, sparse_sh",
        ),
        (
            "sparse",
            {"sparsity_target": "codes"},
            "sparsity_target needs one of mean, output, sample, weights, got 'cod",
        ),
        ("vae", {"beta_start": -1.0, "beta_steps": 5}, "beta_start needs a finite number of at least 0, got -1"),
        ("sparse", {"beta_start": 8.0}, "beta_start 8 needs beta_steps of at least 1, got 0"),
        ("sparse", {"sparsity_warmup": -1}, "sparsity_warmup needs a whole number of at least 0, got -1"),
        ("sparse", {"sparsity_proximal": True}, "sparsity_proximal needs sparsity_target 'weights', got 'mean'"),
        ("sparse", {"sparsity_proximal": 1}, "sparsity_proximal needs True or False, got 1"),
        ("spike_and_slab", {"slab_probability": 1.0}, "slab_probability needs a number between 0 and 1, got 1.0"),
        ("top_k", {"units_per_image": 0}, "units_per_image needs a whole number of at least 1, got 0"),
        ("jump_relu", {"threshold_window": 2.0}, "threshold_window needs a number between 0 and 2, got 2.0"),
        ("latent_quantisation", {"weight_decay": -0.1}, "weight_decay needs a finite number of at least 0, got -0.1"),
        ("beta_vae_capacity", {"capacity_nats": 0.0}, "capacity_nats needs a positive number, got 0.0"),
        ("beta_tcvae", {"density_estimator": "msw"}, "density_estimator needs one of mws, mss, got 'msw'"),
        ("iwae", {"importance_samples": 0}, "importance_samples needs a whole number of at least 1, got 0"),
    ],
)
def test_options_an_objective_cannot_use_are_refused(name: str, given: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        resolve_options(name, given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        ((torch.ones(4), {}), r"loss is a tensor of shape \(4,\)"),
        ((torch.ones(()), {"price": torch.ones(4, 10)}), r"price is a tensor of shape \(4, 10\)"),
        ((torch.ones(()), {"price": 0.5}), r"price is 0\.5"),
    ],
)
def test_an_objective_of_ones_own_that_is_not_averaged_is_named(
    returned: tuple[torch.Tensor, dict[str, torch.Tensor]], message: str
) -> None:
    vae = build_vae("burgess", {"channels": 1, "size": 32, "code_size": 10}, seed=0)
    own = VariationalObjective(vae, bernoulli, lambda *_: returned, learning_rate=1e-3)
    with pytest.raises(ValueError, match=f"needs to be scalar tensors, averaged over the batch; {message}"):
        own.loss(torch.rand(4, 1, 32, 32), torch.randn(4, 10), OFF)
