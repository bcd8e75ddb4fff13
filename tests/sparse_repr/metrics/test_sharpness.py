from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from sparse_repr.metrics import laplacian_energy, laplacian_sharpness


def test_energy_by_hand() -> None:
    images = torch.zeros(2, 2, 3, 4)
    images[0, 0, 1] = torch.tensor([0.0, 1.0, 3.0, 0.0])  # inner pixels 1 and 3: 3 - 4 and 1 - 12
    images[0, 1, 0, 1] = 2.0  # above the first inner pixel
    expected = torch.tensor([(1 + 121 + 4 + 0) / 4, 0.0])
    torch.testing.assert_close(laplacian_energy(images), expected)
    slope = torch.arange(5.0).expand(1, 1, 5, 5)
    assert float(laplacian_energy(slope)) == 0  # an even slope has no edge


def test_blur_is_below_1_and_a_checkerboard_above() -> None:
    images = torch.rand(3, 1, 16, 16, generator=torch.Generator().manual_seed(0)) / 2
    assert laplacian_sharpness(images, images, data_range=1) == 1
    blurred = F.avg_pool2d(images, 3, stride=1, padding=1)
    assert 0 < laplacian_sharpness(images, blurred, data_range=1) < 0.5
    rows, columns = torch.meshgrid(torch.arange(16), torch.arange(16), indexing="ij")
    assert laplacian_sharpness(images, images + 0.4 * ((rows + columns) % 2), data_range=1) > 1.5
    # all pictures together, not a mean of ratios: one flat image has no part in it
    flat = torch.cat([images, torch.full((1, 1, 16, 16), 0.5)])
    assert laplacian_sharpness(flat, flat / 2, data_range=1) == pytest.approx(0.5)


def test_kinds_of_numbers_and_pictures_without_structure() -> None:
    images = torch.randint(0, 256, (2, 3, 5, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    assert laplacian_sharpness(images, images) == 1
    flat = torch.zeros(2, 3, 5, 4, dtype=torch.uint8)
    assert math.isnan(laplacian_sharpness(flat, flat))
    assert laplacian_sharpness(flat, images) == math.inf
    with pytest.raises(ValueError, match=r"laplacian_sharpness needs images of at least 3x3, got \(2, 4\)"):
        laplacian_sharpness(images[..., :2, :], images[..., :2, :])
    with pytest.raises(TypeError, match="same kind of numbers"):
        laplacian_sharpness(images, images / 255)
