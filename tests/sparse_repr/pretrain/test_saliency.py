"""Saliency weights: by hand, against the median of the data, in runs, and what they are refused for."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from sparse_repr import PretrainConfig, load_encoder, pretrain_encoder
from sparse_repr.data import load_dataset
from sparse_repr.objectives.reconstruction import RECONSTRUCTIONS, SalientReconstruction, build_reconstruction
from sparse_repr.pretrain.denoising import median_image
from sparse_repr.pretrain.trainer import Trainer


def test_a_pixel_counts_by_its_farthest_channel_by_hand() -> None:
    median = torch.tensor([[[0.5, 0.5]], [[0.5, 0.5]]])  # 2 channels, a row of 2 pixels
    images = torch.tensor([[[[0.5, 0.75]], [[0.5, 0.0]]]])
    logits = torch.zeros(1, 2, 1, 2)  # 0.5 everywhere
    salient = SalientReconstruction("gaussian", median, 4.0)
    # the second pixel is 0.25 and 0.5 away: weight 1 + 4 * 0.5
    assert salient(logits, images).tolist() == pytest.approx([3 * (0.25**2 + 0.5**2)])
    # uint8 images are fractions of 255
    bright = SalientReconstruction("laplace", torch.zeros(1, 1, 1), 1.0)
    assert float(bright(torch.zeros(1, 1, 1, 1), torch.full((1, 1, 1, 1), 255, dtype=torch.uint8))) == pytest.approx(
        1.0
    )


@pytest.mark.parametrize("name", sorted(RECONSTRUCTIONS))
def test_weight_0_is_the_loss_itself_and_gradients_are_weighted(name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    images, median = torch.rand((3, 1, 4, 4), generator=generator), torch.zeros(1, 4, 4)
    logits = torch.randn((3, 1, 4, 4), generator=generator, requires_grad=True)
    plain = build_reconstruction(name)(logits, images)
    torch.testing.assert_close(SalientReconstruction(name, median, 0.0)(logits, images), plain)
    (gradient,) = torch.autograd.grad(plain.sum(), logits)
    (weighted,) = torch.autograd.grad(SalientReconstruction(name, median, 3.0)(logits, images).sum(), logits)
    torch.testing.assert_close(weighted, (1 + 3 * images) * gradient)


@pytest.mark.parametrize("objective", ["vae", "sparse_keypoints"])
def test_runs_take_the_median_of_their_training_images_and_resume_bit_identically(
    small_study: PretrainConfig, objective: str
) -> None:
    changes: dict[str, Any] = {"objective": objective, "saliency_weight": 5.0}
    if objective == "sparse_keypoints":
        changes |= {"architecture": "keypoints", "keypoints": 2}
    config = dataclasses.replace(small_study, **changes)
    data = load_dataset(config.dataset, config.data_path)
    trainer = Trainer(config.resolve(), data)
    images = trainer.network_input(trainer.draw()[0])
    salient = SalientReconstruction("bernoulli", median_image(trainer._background_images()), 5.0)
    drawn = torch.zeros_like(images)
    torch.testing.assert_close(trainer._pixel_loss()(drawn, images), salient(drawn, images))
    whole = pretrain_encoder(dataclasses.replace(config, run_dir=f"{config.run_dir}-whole"))
    pretrain_encoder(dataclasses.replace(config, steps=5))
    parts = pretrain_encoder(dataclasses.replace(config, resume=True))
    assert (parts / "encoder.safetensors").read_bytes() == (whole / "encoder.safetensors").read_bytes()
    plain = pretrain_encoder(dataclasses.replace(config, saliency_weight=0.0, run_dir=f"{config.run_dir}-plain"))
    assert load_encoder(plain).fingerprint != load_encoder(whole).fingerprint


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"saliency_weight": -1.0}, "saliency_weight needs a finite number of at least 0, got -1"),
        ({"objective": "iwae", "saliency_weight": 1.0}, "'iwae' takes no perceptual_weight or saliency_weight"),
        ({"objective": "info_gan", "saliency_weight": 1.0}, "'info_gan' takes no pixel_weight, saliency_weight or"),
        ({"objective": "feature_prediction", "saliency_weight": 1.0}, "takes no pixel_weight, saliency_weight or"),
    ],
)
def test_what_cannot_be_weighted_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PretrainConfig(**settings)


def test_the_price_of_a_presence_is_a_share_of_pixels_as_they_are_weighed(small_study: PretrainConfig) -> None:
    config = dataclasses.replace(small_study, objective="sparse_keypoints", keypoints=2)
    data = load_dataset(config.dataset, config.data_path)
    prices = []
    for pixel_weight in (1.0, 0.25):
        trainer = Trainer(dataclasses.replace(config, pixel_weight=pixel_weight).resolve(), data)
        prices.append(trainer._background_loss(trainer.objective.vae))
    assert prices[1] == pytest.approx(0.25 * prices[0])
    assert prices[0] > 0
