from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from sparse_repr.metrics import contrast_slope
from sparse_repr.metrics.contrast import ContrastSums


def test_the_slope_by_hand() -> None:
    images = np.array([[0, 100], [200, 100]], np.uint8).reshape(2, 1, 1, 2)
    paler = np.array([[60, 110], [140, 90]], np.uint8).reshape(2, 1, 1, 2)
    # they stand out by -100 and 100 at the first pixel alone, from a mean of 100: (100 * 40 + 100 * 40) / 20,000
    assert contrast_slope(images, paler) == pytest.approx(0.4)
    assert contrast_slope(images, images) == 1.0


def test_one_picture_for_all_has_no_contrast_and_a_shift_of_all_changes_none() -> None:
    images = torch.rand(20, 3, 8, 8, generator=torch.Generator().manual_seed(0)) / 2
    same = torch.full((1, 3, 8, 8), 0.3).expand_as(images)
    assert contrast_slope(images, same, data_range=1) == pytest.approx(0, abs=1e-6)
    assert contrast_slope(images, images + 0.25, data_range=1) == pytest.approx(1)
    assert contrast_slope(images, 1.5 * images, data_range=1) == pytest.approx(1.5)
    assert math.isnan(contrast_slope(same, same, data_range=1))


def test_sums_over_slabs_are_those_of_all_images_whatever_they_are_taken_from() -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(50, 1, 4, 4, generator=generator) * torch.rand(50, 1, 1, 1, generator=generator)
    paler = 0.3 * images + 0.1 * torch.rand(50, 1, 4, 4, generator=generator)
    far, black = ContrastSums(torch.full((1, 1, 4, 4), 0.8)), ContrastSums(torch.full((1, 1, 4, 4), 0.8))
    for slab in (slice(0, 7), slice(7, 50)):
        far.add(images[slab], paler[slab])
        black.add(images[slab], torch.zeros_like(images[slab]))
    assert far.slope() == pytest.approx(contrast_slope(images, paler, data_range=1))
    assert black.slope() == pytest.approx(0, abs=1e-9)
    assert math.isnan(ContrastSums(images[:1]).slope())
