from __future__ import annotations

import pytest
import torch

from sparse_repr.perceptual.denoising import DenoisingFeatures, mask_rectangles


def test_rectangles_by_hand() -> None:
    images = torch.ones(2, 3, 4, 4)
    corners = torch.tensor([[0.75, 0.0, 0.25, 0.5], [0.5, 0.5, 0.5, 0.9]])  # corners in either order; an empty one
    masked = mask_rectangles(images, corners)
    expected = torch.ones(4, 4)
    expected[1:3, :2] = 0
    assert torch.equal(masked[0], expected.expand(3, 4, 4))
    assert torch.equal(masked[1], images[1])
    assert torch.equal(images, torch.ones(2, 3, 4, 4))  # left alone


def _batches(step: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(step)
    images = torch.zeros(16, 1, 32, 32)
    for image, corner in zip(images, torch.randint(0, 20, (16, 2), generator=generator).tolist(), strict=True):
        image[0, corner[0] : corner[0] + 10, corner[1] : corner[1] + 10] = 1
    return images


def test_training_improves_and_depends_on_the_seed_alone() -> None:
    runs = []
    for seed in (0, 0, 1):
        features = DenoisingFeatures(channels=1, size=32, seed=seed)
        with pytest.raises(RuntimeError, match="needs train"):
            features(_batches(0))
        torch.manual_seed(len(runs))  # the global state has no part in it
        losses = features.train(_batches, 60)
        assert losses[-1] < 0.6 * losses[0]
        runs.append(features(_batches(99))[0])
    assert runs[0].shape == (16, 100)
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])


def test_the_state_is_all_the_features_need() -> None:
    first, second = (DenoisingFeatures(channels=1, size=32, seed=seed) for seed in (0, 1))
    first.train(_batches, 2)
    second.load_state_dict(first.state_dict())
    images = _batches(3).requires_grad_()
    found = second(images)[0]
    assert torch.equal(found, first(images)[0])
    found.sum().backward()
    assert images.grad is not None
    assert not any(parameter.requires_grad for parameter in second._network.parameters())
