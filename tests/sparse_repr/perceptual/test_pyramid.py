"""The coarse-to-fine loss: which levels count at a step, with which strength, and what a share of variance is."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sparse_repr.metrics import laplacian_energy
from sparse_repr.objectives.reconstruction import gaussian
from sparse_repr.perceptual import PerceptualDistance, PyramidDistance
from sparse_repr.perceptual.distance import with_roughness
from sparse_repr.perceptual.levels import parse_levels
from sparse_repr.perceptual.roughness import excess_roughness
from sparse_repr.perceptual.variances import FeatureVariances


class Pixels:
    """Features that are the pixels themselves, and the pixels tenfold."""

    pixels_at_once: int | None = None

    def __call__(self, images: Tensor) -> list[Tensor]:
        return [images, 10 * images]


def test_levels_join_by_the_step_and_the_mean_counts() -> None:
    taken: list[tuple[int, int]] = []

    def at(resolution: int):  # type: ignore[no-untyped-def]
        def distance(logits: Tensor, images: Tensor) -> Tensor:
            taken.append((resolution, len(images)))
            return torch.full((len(images),), float(resolution))

        return distance

    now = [0]
    pyramid = PyramidDistance(parse_levels("8,16@2,32@3:1/4", None), at, step=lambda: now[0])
    logits, images = torch.zeros(8, 1, 4, 4), torch.zeros(8, 1, 4, 4)
    means = []
    for now[0] in (0, 2, 3, 1):
        means.append(float(pyramid(logits, images).mean()))
    # 2 of 8 images at 32, four times as strong; an earlier step has its own levels again
    assert means == pytest.approx([8, (8 + 16) / 2, (8 + 16 + 32) / 3, 8])
    assert taken == [(8, 8), (8, 8), (16, 8), (8, 8), (16, 8), (32, 2), (8, 8)]


def test_variances_are_half_the_mean_squared_distance_of_pairs() -> None:
    images = torch.rand(6, 2, 8, 8)
    variances = FeatureVariances(Pixels(), [4, 8], layers=2)
    with pytest.raises(RuntimeError, match="needs measure"):
        variances.of_layers(4)
    variances.measure(images)
    for resolution in (4, 8):
        small = F.avg_pool2d(images, 8 // resolution)
        pairs = [(small[i] - small[j]).square().mean() for i in range(6) for j in range(6) if i != j]
        half = float(torch.stack(pairs).mean()) / 2
        torch.testing.assert_close(variances.of_layers(resolution), torch.tensor([half, 100 * half]))
    torch.testing.assert_close(variances.of_pixels, images.var(0).sum())
    again = FeatureVariances(Pixels(), [4, 8], layers=2)
    again.load_state_dict(variances.state_dict())
    assert again.describe() == variances.describe()
    assert again.measured
    with pytest.raises(ValueError, match="needs training images that differ, got 3 alike"):
        variances.measure(torch.ones(3, 1, 8, 8))


def test_a_share_of_the_pixels_variance_times_it_is_their_squared_error() -> None:
    images, logits = torch.rand(5, 1, 8, 8), torch.randn(5, 1, 8, 8, requires_grad=True)
    variances = FeatureVariances(Pixels(), [8], layers=2)
    variances.measure(images)
    distance = PerceptualDistance(Pixels(), resolution=8, variances=variances)
    torch.testing.assert_close(distance(logits, images), gaussian(logits, images))
    (ours,) = torch.autograd.grad(distance(logits, images).sum(), logits)
    (theirs,) = torch.autograd.grad(gaussian(logits, images).sum(), logits)
    torch.testing.assert_close(ours, theirs)
    # so that the mean picture is as far off as the images vary
    mean = torch.logit(images.mean(0, keepdim=True)).expand(5, -1, -1, -1)
    torch.testing.assert_close(distance(mean, images).sum() / 4, variances.of_pixels)


def test_roughness_by_hand_and_one_sided() -> None:
    dot = torch.zeros(1, 1, 4, 4)
    dot[..., 1, 1] = 1  # inner pixels: -4 there, 1 right of it and below it
    assert laplacian_energy(dot).tolist() == [(16 + 1 + 1 + 0) / 4]
    shown = torch.cat([2 * dot, dot, 0.5 * dot]).requires_grad_()
    least = torch.tensor(0.1)
    excess = excess_roughness(shown, dot.expand(3, -1, -1, -1), least)
    assert excess.tolist() == [3, 0, 0]
    (gradient,) = torch.autograd.grad(excess.sum(), shown)
    assert float(gradient[0].abs().max()) > 0
    assert not gradient[2].any()
    assert excess_roughness(dot, torch.zeros(1, 1, 4, 4), least).tolist() == pytest.approx([44])


def test_the_roughness_is_weighted_by_the_variance_of_the_pixels() -> None:
    images, logits = torch.rand(5, 1, 8, 8), 5 * torch.randn(5, 1, 8, 8)
    variances = FeatureVariances(Pixels(), [8], layers=2)
    variances.measure(images)
    rough = excess_roughness(torch.sigmoid(logits), images, variances.least_roughness)
    assert float(rough.max()) > 0
    expected = gaussian(logits, images) + 0.5 * images.var(0).sum() * rough
    torch.testing.assert_close(with_roughness(gaussian, variances, weight=0.5)(logits, images), expected)
