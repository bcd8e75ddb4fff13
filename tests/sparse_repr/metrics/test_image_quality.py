from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from sparse_repr.metrics import psnr, ssim


def _pair(channels: int, size: tuple[int, int] = (20, 17)) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    images = rng.random((6, channels, *size))
    return images, np.clip(images + rng.normal(0, 0.2, images.shape), 0, 1)


@pytest.mark.parametrize("channels", [1, 3])
def test_ssim_is_that_of_scikit_image(channels: int) -> None:
    images, reconstructed = _pair(channels)
    expected = [
        structural_similarity(a, b, data_range=1.0, channel_axis=0) for a, b in zip(images, reconstructed, strict=True)
    ]
    assert ssim(images, reconstructed, data_range=1.0) == pytest.approx(np.mean(expected), abs=1e-6)
    expected_255 = ssim(255 * images, 255 * reconstructed, data_range=255)
    assert expected_255 == pytest.approx(np.mean(expected), abs=1e-6)


def test_ssim_of_constant_pictures_does_not_divide_by_zero() -> None:
    black, same = torch.zeros(2, 1, 8, 8), torch.zeros(2, 1, 8, 8)
    assert ssim(black, same, data_range=1.0) == 1
    assert ssim(black, torch.ones(2, 1, 8, 8), data_range=1.0) == pytest.approx(1e-4 / (1 + 1e-4))


def test_ssim_does_not_depend_on_the_batch() -> None:
    images, reconstructed = (np.repeat(array, 12, axis=0) for array in _pair(1))
    one_by_one = [ssim(a[None], b[None], data_range=1.0) for a, b in zip(images, reconstructed, strict=True)]
    assert ssim(images, reconstructed, data_range=1.0) == pytest.approx(np.mean(one_by_one))


def test_psnr_is_that_of_scikit_image_and_pools_the_error() -> None:
    images, reconstructed = _pair(3)
    assert psnr(images, reconstructed, data_range=1.0) == pytest.approx(
        peak_signal_noise_ratio(images, reconstructed, data_range=1.0)
    )
    expected = np.mean(
        [peak_signal_noise_ratio(a, b, data_range=1.0) for a, b in zip(images, reconstructed, strict=True)]
    )
    assert psnr(images, reconstructed, data_range=1.0, pooled=False) == pytest.approx(expected)


def test_a_range_of_255_on_images_in_0_1_adds_48_decibel() -> None:
    images, reconstructed = _pair(1)
    gain = psnr(images, reconstructed, data_range=255) - psnr(images, reconstructed, data_range=1.0)
    assert gain == pytest.approx(48.13, abs=0.01)


def test_equal_images_have_infinite_psnr() -> None:
    images, _ = _pair(1)
    assert psnr(images, images, data_range=1.0) == math.inf


@pytest.mark.parametrize("score", [psnr, ssim])
def test_uint8_images_have_range_255_and_are_not_mixed_with_others(score: Callable[..., float]) -> None:
    images, reconstructed = (np.round(255 * array).astype(np.uint8) for array in _pair(3))
    in_0_1 = images / 255, reconstructed / 255
    assert score(images, reconstructed) == pytest.approx(score(*in_0_1, data_range=1), abs=1e-9)
    assert score(images, reconstructed, data_range=255) == score(images, reconstructed)
    with pytest.raises(TypeError, match="same kind of numbers, got torch.uint8 and torch.float64: divide uint8 by 255"):
        score(images, in_0_1[1], data_range=1.0)
    with pytest.raises(ValueError, match=r"uint8 images have values in 0\.\.255: leave data_range out"):
        score(images, reconstructed, data_range=1.0)
    with pytest.raises(TypeError, match="images needs uint8 or floating-point numbers, got torch.int64"):
        score(images.astype(int), reconstructed.astype(int), data_range=255)


@pytest.mark.parametrize("score", [psnr, ssim])
def test_nan_and_values_outside_the_range_are_refused(score: Callable[..., float]) -> None:
    images, reconstructed = _pair(1)
    with pytest.raises(ValueError, match="floating-point images need data_range: 1 for values"):
        score(images, reconstructed)
    for name, pair in (
        ("images", (255 * images, 255 * reconstructed)),
        ("reconstructed", (images, 2 * reconstructed - 1)),
        ("reconstructed", (images, np.where(reconstructed > 0.9, np.nan, reconstructed))),
    ):
        with pytest.raises(ValueError, match=rf"{name} needs values in 0\.\.1 \(data_range\), got "):
            score(*pair, data_range=1.0)
    rounded = np.clip(reconstructed, 1e-6, 1) + 1e-6
    assert score(images, rounded, data_range=1.0) == pytest.approx(
        score(images, reconstructed, data_range=1.0), abs=1e-3
    )


def test_bad_images_are_refused() -> None:
    images, reconstructed = _pair(1)
    with pytest.raises(ValueError, match=r"images needs shape \(N, C, H, W\), got \(20, 17\)"):
        psnr(images[0, 0], reconstructed, data_range=1.0)
    with pytest.raises(ValueError, match="need the same shape"):
        ssim(images, reconstructed[:3], data_range=1.0)
    with pytest.raises(ValueError, match="data_range needs a positive number, got 0"):
        psnr(images, reconstructed, data_range=0)
    with pytest.raises(ValueError, match="at least 7x7"):
        ssim(images[..., :6, :6], reconstructed[..., :6, :6], data_range=1.0)


def test_pictures_of_a_network_may_have_a_gradient() -> None:
    images, reconstructed = (torch.as_tensor(each) for each in _pair(3))
    for score in (ssim, psnr):
        assert score(images, reconstructed.requires_grad_(), data_range=1) == score(
            images, reconstructed.detach(), data_range=1
        )


@pytest.mark.parametrize("metric", [psnr, ssim])
def test_views_and_lists_are_taken_as_the_arrays_that_they_are(metric: Callable[..., float]) -> None:
    images, reconstructed = _pair(1)
    expected = metric(images, reconstructed, data_range=1.0)
    frozen = images.copy()
    frozen.flags.writeable = False
    assert metric(frozen, reconstructed, data_range=1.0) == expected
    assert metric(images[::-1], reconstructed[::-1], data_range=1.0) == pytest.approx(expected)
    assert metric(list(images), list(reconstructed), data_range=1.0) == expected
    assert metric(images.astype(">f8"), reconstructed, data_range=1.0) == expected
    tensors = [torch.from_numpy(image).requires_grad_() for image in images]
    assert metric(tensors, reconstructed, data_range=1.0) == expected
    for other in (None, "pictures", images.astype(np.longdouble), images.astype(complex)):
        with pytest.raises(TypeError, match="reconstructed needs uint8 or floating-point numbers, got"):
            metric(images, other, data_range=1.0)
    with pytest.raises(ValueError, match="images needs shape .*, got parts of different shapes"):
        metric([[1.0, 2.0], [3.0]], reconstructed, data_range=1.0)
