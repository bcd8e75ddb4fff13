"""Denoising: what the encoder sees, what is compared, and that runs go on bit by bit."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # type: ignore[import-untyped]
from torch import Tensor

from sparse_repr import PretrainConfig, load_encoder, pretrain_encoder
from sparse_repr.data import load_dataset
from sparse_repr.objectives import OBJECTIVES
from sparse_repr.pretrain.denoising import Denoising, median_image
from sparse_repr.pretrain.together.stacked import why_not_stacked
from sparse_repr.pretrain.trainer import Trainer

_SHAPE = (3, 8, 8)


def _corrupted(denoising: Denoising, images: Tensor, *, seed: int = 0, median: Tensor | None = None) -> Tensor:
    shape = tuple(images.shape[1:])
    numbers = torch.randn((len(images), denoising.numbers(shape)), generator=torch.Generator().manual_seed(seed))
    return denoising.corrupt(images, numbers, median)


def test_noise_has_its_standard_deviation_and_stays_in_the_range() -> None:
    grey = torch.full((64, *_SHAPE), 0.5)
    seen = _corrupted(Denoising(noise=0.1), grey)
    assert float((seen - grey).std()) == pytest.approx(0.1, rel=0.02)
    assert float(_corrupted(Denoising(noise=1.0), grey).min()) >= 0
    assert float(_corrupted(Denoising(noise=1.0), grey).max()) <= 1


def test_color_changes_whole_channels() -> None:
    images = torch.rand((4, *_SHAPE), generator=torch.Generator().manual_seed(1)) * 0.2 + 0.4
    numbers = torch.tensor([[1.0, 0, 0, 0, 2.0, 0]]).expand(4, -1)  # gains of three channels, then shifts
    seen = Denoising(color=0.1).corrupt(images, numbers)
    assert torch.allclose(seen[:, 0], images[:, 0] * np.exp(0.1))
    assert torch.allclose(seen[:, 1], images[:, 1] + 0.1)
    assert torch.equal(seen[:, 2], images[:, 2])


def test_background_is_replaced_where_the_image_is_near_the_median() -> None:
    median = torch.zeros(_SHAPE)
    images = torch.zeros((200, *_SHAPE))
    images[:, :, 2:4, 2:4] = 0.9
    seen = _corrupted(Denoising(background=0.5), images, median=median)
    assert torch.equal(seen[:, :, 2:4, 2:4], images[:, :, 2:4, 2:4])
    changed = (seen[:, :, 0, 0] != 0).any(1)
    assert 0.35 < float(changed.float().mean()) < 0.65
    assert torch.equal(seen[~changed], images[~changed])
    blobs = seen[changed][:, :, 5:, :]
    # blobs of all colours, smooth within
    assert float(blobs.std(0).mean()) > 0.1
    assert float((blobs[..., 1:] - blobs[..., :-1]).abs().mean()) < float(blobs.std())


def test_the_median_is_that_of_every_pixel() -> None:
    images = torch.tensor([0.1, 0.2, 0.9]).view(3, 1, 1, 1).expand(3, *_SHAPE)
    assert torch.equal(median_image(images), torch.full(_SHAPE, 0.2))


@pytest.mark.parametrize("name", ["noise", "color", "background"])
@pytest.mark.parametrize("value", [-0.1, 1.5, float("nan")])
def test_strengths_have_a_range(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"denoising_{name} needs a number in 0..1, got"):
        PretrainConfig(**{f"denoising_{name}": value})


def test_what_cannot_denoise_says_so() -> None:
    for name, choice in OBJECTIVES.items():
        if choice.discriminates:
            with pytest.raises(ValueError, match=f"objective without a discriminator, got '{name}'"):
                PretrainConfig(objective=name, denoising_noise=0.1)


@pytest.fixture
def denoising(small_study: PretrainConfig) -> PretrainConfig:
    """Four steps with every corruption."""
    return dataclasses.replace(
        small_study,
        steps=4,
        save_every=2,
        objective="vae",
        initialisation="he",
        denoising_noise=0.1,
        denoising_color=0.2,
        denoising_background=0.5,
    )


@pytest.mark.parametrize(
    "objective",
    [name for name, choice in OBJECTIVES.items() if not choice.discriminates and "targets" not in choice.needs],
)
def test_every_objective_encodes_the_copy_and_compares_with_the_image(
    objective: str, denoising: PretrainConfig
) -> None:
    changes = {"image_size": 64, "initialisation": "default"} if "keypoints" in objective else {}
    config = dataclasses.replace(denoising, objective=objective, **changes).resolve()
    trainer = Trainer(config, load_dataset("folder", config.data_path))
    shown: list[Tensor] = []

    def black(images: Tensor) -> Tensor:
        shown.append(images)
        return torch.zeros_like(images)

    def terms(images: Tensor) -> dict[str, Tensor]:
        noise = torch.zeros((len(images), trainer.objective.noise_size))
        return trainer.objective.loss(images, noise, trainer.autocast)[1]  # type: ignore[attr-defined, no-any-return]

    images = trainer.network_input(trainer.draw()[0])
    with trainer.objective.vae.shows(black):
        blind = terms(images)
    assert [each is images for each in shown] == [True]
    # the code is that of a black picture, and what it is compared with is the image
    assert float(blind["loss"]) != float(terms(images)["loss"])
    assert float(blind["reconstruction"]) > 1.1 * float(terms(torch.zeros_like(images))["reconstruction"])
    assert trainer.objective.vae.seen(images) is images


def test_a_step_shows_the_encoder_a_copy_of_its_own(denoising: PretrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = Trainer(denoising.resolve(), load_dataset("folder", denoising.data_path))
    encoder, shown = trainer.objective.vae.encoder, []
    encoder.register_forward_pre_hook(lambda _, inputs: shown.append(inputs[0].clone()))
    drawn, noise = trainer.draw()
    images = trainer.network_input(drawn)
    assert noise.shape[1] == trainer.objective.noise_size + trainer.denoising.numbers((1, 32, 32))
    trainer.train_step()
    trainer.train_step()
    assert len(shown) == 2
    assert all(float((each - images).abs().mean()) > 0 for each in shown)
    assert not torch.equal(shown[0], shown[1])


def test_a_denoising_run_in_two_parts_is_bit_identical_and_differs_from_a_plain_one(
    denoising: PretrainConfig, tmp_path: Path
) -> None:
    def codes(name: str, **changes: Any) -> np.ndarray:
        run = pretrain_encoder(dataclasses.replace(denoising, run_dir=str(tmp_path / name), **changes))
        return load_encoder(run).encode(load_dataset("folder", denoising.data_path).images(np.arange(8)))

    codes("parts", steps=2)
    whole = codes("whole")
    assert np.array_equal(codes("parts", resume=True), whole)
    assert not np.array_equal(codes("plain", denoising_noise=0, denoising_color=0, denoising_background=0), whole)


def test_tensorboard_shows_what_the_encoder_sees(denoising: PretrainConfig) -> None:
    def pictures(**changes: Any) -> list[str]:
        events = EventAccumulator(str(pretrain_encoder(dataclasses.replace(denoising, **changes))))
        events.Reload()
        return list(events.Tags()["images"])

    assert "denoising" in pictures()
    folder = f"{denoising.run_dir}-plain"
    plain = pictures(run_dir=folder, denoising_noise=0, denoising_color=0, denoising_background=0)
    assert "denoising" not in plain


def test_runs_that_denoise_are_not_stacked(denoising: PretrainConfig) -> None:
    runs = [dataclasses.replace(denoising, seed=seed).resolve() for seed in range(2)]
    assert why_not_stacked(runs) == "the copies of images that its encoders see are not stacked"
