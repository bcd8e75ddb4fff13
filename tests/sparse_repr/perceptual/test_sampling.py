"""The sampled perceptual loss: unbiased over steps and orders, and a function of the step alone."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sparse_repr.objectives.reconstruction import gaussian
from sparse_repr.perceptual.sampling import SampledDistance


def _gradient(distance: SampledDistance, logits: Tensor, images: Tensor) -> Tensor:
    leaf = logits.clone().requires_grad_()
    value = distance(leaf, images).mean()
    return torch.autograd.grad(value, leaf)[0] if value.requires_grad else torch.zeros_like(leaf)


@pytest.mark.parametrize(("every", "image_every"), [(1, 1), (3, 1), (1, 2), (3, 2), (2, 4)])
def test_the_gradient_over_all_steps_and_choices_is_that_of_the_whole(every: int, image_every: int) -> None:
    logits, images = torch.randn(8, 1, 4, 4), torch.rand(8, 1, 4, 4)
    leaf = logits.clone().requires_grad_()
    (expected,) = torch.autograd.grad(gaussian(leaf, images).mean(), leaf)
    now = [0]
    distance = SampledDistance(gaussian, every=every, image_every=image_every, step=lambda: now[0])
    total, value = torch.zeros_like(logits), torch.zeros(())
    for now[0] in range(every):
        for turn in range(image_every):  # every image is in every place once
            order = torch.arange(8).roll(turn)
            total[order] += _gradient(distance, logits[order], images[order])
            value += distance(logits[order], images[order]).mean()
    torch.testing.assert_close(total / (every * image_every), expected)
    torch.testing.assert_close(value / (every * image_every), gaussian(logits, images).mean())


def test_only_chosen_steps_and_images_are_computed() -> None:
    counts: list[int] = []

    def noted(logits: Tensor, images: Tensor) -> Tensor:
        counts.append(len(images))
        return gaussian(logits, images)

    now = [0]
    distance = SampledDistance(noted, every=2, image_every=4, step=lambda: now[0])
    logits, images = torch.randn(8, 1, 4, 4), torch.rand(8, 1, 4, 4)
    values = []
    for now[0] in range(4):
        values.append(distance(logits, images))
    assert counts == [2, 2]
    assert torch.equal(values[0], values[2])
    assert not values[1].any()
    assert not values[3].any()
    torch.testing.assert_close(values[0][[0, 4]], 8 * gaussian(logits, images)[[0, 4]])
    assert not values[0][[1, 2, 3, 5, 6, 7]].any()


def test_an_empty_batch_has_no_distances() -> None:
    sampled = SampledDistance(gaussian, every=1, image_every=2, step=lambda: 0)
    assert sampled(torch.zeros(0, 1, 2, 2), torch.zeros(0, 1, 2, 2)).shape == (0,)


def test_a_batch_that_the_choice_does_not_divide_is_not_counted_short() -> None:
    distance = SampledDistance(lambda logits, _: torch.ones(len(logits)), every=1, image_every=4, step=lambda: 0)
    assert float(distance(torch.zeros(6, 1, 2, 2), torch.zeros(6, 1, 2, 2)).mean()) == 1
