from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sparse_repr.perceptual.targets import FeatureTargets, FeatureTargetSettings

# two images of 4x4 whose features are the pixels, twice them, and nearly nothing
IMAGES = torch.stack([torch.zeros(1, 4, 4), torch.ones(1, 4, 4)])
IMAGES[0, 0, :2, :2] = torch.tensor([[1.0, 0.0], [0.0, 1.0]])


class _Pixels:
    pixels_at_once: int | None = 16  # one image at a time

    def __call__(self, images: Tensor) -> list[Tensor]:
        assert len(images) == 1
        return [torch.cat([images, 2 * images, 1e-4 * images], dim=1)]


def test_targets_by_hand() -> None:
    targets = FeatureTargets(_Pixels(), (3, 2, 2))
    with pytest.raises(RuntimeError, match=r"needs measure\(\) or load_state_dict\(\) before its features are targets"):
        targets(IMAGES)
    targets.measure(IMAGES)
    cells = torch.tensor([[[0.5, 0.0], [0.0, 0.0]], [[1.0, 1.0], [1.0, 1.0]]])
    mean, deviation = 4.5 / 8, ((0.25 + 4) / 8 - (4.5 / 8) ** 2) ** 0.5
    found = targets(IMAGES)
    assert found.shape == (2, 3, 2, 2)
    for channel in (0, 1):
        torch.testing.assert_close(found[:, channel], (cells - mean) / deviation)
    # a hundredth of the largest deviation, which is that of channel 1
    torch.testing.assert_close(found[:, 2], 1e-4 * (cells - mean) / (0.02 * deviation))
    # 14 of the 16 pixels are 0 in one image and 1 in the other, with a variance of 1/4 each
    torch.testing.assert_close(targets.pixel_variance, torch.tensor(14 * 0.25))
    other = FeatureTargets(_Pixels(), (3, 2, 2))
    other.load_state_dict(targets.state_dict())
    assert torch.equal(other(IMAGES), found)


def test_images_that_are_alike_leave_nothing_to_predict() -> None:
    with pytest.raises(ValueError, match="feature prediction needs training images that differ, got 2 alike"):
        FeatureTargets(_Pixels(), (3, 2, 2)).measure(torch.ones(2, 1, 4, 4))


@pytest.mark.parametrize(
    ("layer", "grid", "shape"),
    [("relu1_2", 32, (64, 32, 32)), ("relu2_2", 4, (128, 4, 4)), ("relu3_3", 8, (256, 8, 8)), ("relu4_3", 4, None)],
)
def test_shapes_are_those_of_the_features(
    layer: str, grid: int, shape: tuple[int, int, int] | None, random_vgg: str
) -> None:
    settings = FeatureTargetSettings(image_size=32, network="vgg16", layer=layer, grid=grid, weights_path=random_vgg)
    targets = settings.build(channels=1, seed=0)
    images = torch.rand(3, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    targets.measure(images)
    assert settings.shape == (shape or (512, 4, 4))
    assert targets(images).shape == (3, *settings.shape)
    assert not targets(images.requires_grad_()).requires_grad
