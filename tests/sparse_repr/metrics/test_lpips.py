from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from sparse_repr.metrics import lpips
from sparse_repr.metrics.lpips import default_weights_path

PLACES = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)  # of the convolutions among torchvision's layers
CHANNELS = (64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The network with random weights: its arithmetic can be checked without the published ones."""
    generator = torch.Generator().manual_seed(0)
    tensors = {}
    inputs = 3
    for i, outputs in enumerate(CHANNELS):
        tensors[f"features.{PLACES[i]}.weight"] = (
            torch.randn(outputs, inputs, 3, 3, generator=generator) * (2 / (9 * inputs)) ** 0.5
        )
        tensors[f"features.{PLACES[i]}.bias"] = torch.randn(outputs, generator=generator) * 0.1
        inputs = outputs
    for j, channels in enumerate((64, 128, 256, 512, 512)):
        tensors[f"lpips.{j}.weight"] = torch.rand(1, channels, 1, 1, generator=generator)
    path = tmp_path_factory.mktemp("lpips") / "weights.safetensors"
    save_file(tensors, path)
    return path


def test_the_distance_is_that_of_torchvisions_network(weights: Path) -> None:
    from safetensors.torch import load_file
    from torchvision.models import vgg16

    tensors = load_file(weights)
    network = vgg16(weights=None).features.eval()
    for position, layer in enumerate(network):
        if isinstance(layer, torch.nn.Conv2d):
            layer.weight.data, layer.bias.data = (
                tensors[f"features.{position}.weight"],
                tensors[f"features.{position}.bias"],
            )
    first, second = torch.rand(2, 3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    shift = torch.tensor([-0.030, -0.088, -0.188]).view(1, 3, 1, 1)
    scale = torch.tensor([0.458, 0.448, 0.450]).view(1, 3, 1, 1)
    expected = torch.zeros(3)
    x, y = ((2 * images - 1 - shift) / scale for images in (first, second))
    after = {3: 0, 8: 1, 15: 2, 22: 3, 29: 4}  # relu1_2, relu2_2, relu3_3, relu4_3, relu5_3
    with torch.no_grad():
        for index, layer in enumerate(network):
            x, y = layer(x), layer(y)
            if index in after:
                a, b = (torch.nn.functional.normalize(features, dim=1) for features in (x, y))
                weight = tensors[f"lpips.{after[index]}.weight"].view(1, -1, 1, 1)
                expected += ((a - b) ** 2 * weight).sum(1).mean((1, 2))
    assert lpips(first, second, weights) == pytest.approx(float(expected.mean()), rel=1e-4)


def test_equal_images_are_at_distance_zero_and_grey_counts_as_three_channels(weights: Path) -> None:
    grey = torch.rand(2, 1, 16, 16)
    assert lpips(grey, grey, weights) == 0
    other = torch.rand(2, 1, 16, 16)
    three = lpips(grey.expand(-1, 3, -1, -1), other.expand(-1, 3, -1, -1), weights)
    assert lpips(grey, other, weights) == pytest.approx(three, rel=1e-5)
    assert three > 0


def test_uint8_images_are_those_in_0_1_and_others_outside_it_are_refused(weights: Path) -> None:
    images, others = (255 * torch.rand(2, 2, 3, 16, 16)).to(torch.uint8)
    assert lpips(images, others, weights) == pytest.approx(lpips(images / 255, others / 255, weights), rel=1e-5)
    with pytest.raises(TypeError, match="got torch.uint8 and torch.float32"):
        lpips(images, others / 255, weights)
    with pytest.raises(ValueError, match=r"images needs values in 0\.\.1 \(data_range\), got "):
        lpips(images.float(), others.float(), weights)


def test_missing_or_foreign_weights_are_named(weights: Path, tmp_path: Path) -> None:
    images = torch.zeros(1, 3, 16, 16)
    with pytest.raises(FileNotFoundError, match=r"python -m sparse_repr\.perceptual fetch"):
        lpips(images, images)
    assert default_weights_path().name == "vgg16-v1.safetensors"
    save_file({"features.0.weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match=r"lacks features\.0\.bias"):
        lpips(images, images, tmp_path / "other.safetensors")
    (tmp_path / "broken.safetensors").write_bytes(b"x")
    with pytest.raises(ValueError, match="is not a safetensors file"):
        lpips(images, images, tmp_path / "broken.safetensors")
    with pytest.raises(ValueError, match="1 or 3 channels and at least 16x16"):
        lpips(images[..., :8, :8], images[..., :8, :8], weights)
