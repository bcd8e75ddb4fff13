"""Random shifts: where pixels go, how often, and that runs go on bit by bit."""

from __future__ import annotations

import dataclasses
from collections import Counter
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
from sparse_repr.pretrain.presets import ROBUST
from sparse_repr.pretrain.shifting import shift_images
from sparse_repr.pretrain.together.stacked import why_not_stacked
from sparse_repr.pretrain.trainer import Trainer

_TO_THE_LEAST, _TO_THE_MOST = -9.0, 9.0


def test_what_moves_in_repeats_the_edge() -> None:
    image = torch.arange(12.0).view(1, 1, 3, 4)
    right = shift_images(image, torch.tensor([[_TO_THE_MOST, 0.0]]), 1)
    assert torch.equal(right[0, 0], torch.tensor([[0.0, 0, 1, 2], [4, 4, 5, 6], [8, 8, 9, 10]]))
    up = shift_images(image, torch.tensor([[0.0, _TO_THE_LEAST]]), 2)
    assert torch.equal(up[0, 0], torch.tensor([[8.0, 9, 10, 11]] * 3))
    assert torch.equal(shift_images(image, torch.zeros((1, 2)), 2), image)


def test_each_image_moves_by_itself_with_all_its_channels() -> None:
    images = torch.rand((2, 3, 8, 6), generator=torch.Generator().manual_seed(0))
    moved = shift_images(images, torch.tensor([[0.0, 0.0], [_TO_THE_LEAST, _TO_THE_MOST]]), 2)
    assert torch.equal(moved[0], images[0])
    assert torch.equal(moved[1, :, 2:, :-2], images[1, :, :-2, 2:])
    assert moved.is_contiguous(memory_format=torch.channels_last)


def test_every_shift_is_as_likely() -> None:
    numbers = torch.randn((9_000, 2), generator=torch.Generator().manual_seed(0))
    dot = torch.zeros((len(numbers), 1, 9, 9))
    dot[:, :, 4, 4] = 1
    places = Counter(shift_images(dot, numbers, 1).flatten(1).argmax(1).tolist())
    assert sorted(places) == [9 * row + column for row in (3, 4, 5) for column in (3, 4, 5)]
    assert all(900 < count < 1_100 for count in places.values())


@pytest.mark.parametrize("value", [-1, 64, 1.5, True])
def test_shifts_have_a_range(value: Any) -> None:
    with pytest.raises(ValueError, match=r"random_shift needs a whole number in 0\.\.63, got"):
        PretrainConfig(random_shift=value)


@pytest.fixture
def moving(small_study: PretrainConfig) -> PretrainConfig:
    """Four steps of moved images that are corrupted too."""
    return dataclasses.replace(small_study, steps=4, save_every=2, objective="vae", initialisation="he", **ROBUST)


@pytest.mark.parametrize("corrupted", [False, True])
def test_what_is_compared_has_moved_too(corrupted: bool, moving: PretrainConfig) -> None:
    config = dataclasses.replace(moving, **({} if corrupted else {**dict.fromkeys(ROBUST, 0), "random_shift": 8}))
    trainer = Trainer(config.resolve(), load_dataset("folder", config.data_path))
    compared: list[Tensor] = []
    step = trainer.objective.step

    def watched(images: Tensor, noise: Tensor, *others: Any) -> Any:
        compared.append(images.clone())
        assert noise.shape[1] == trainer.objective.noise_size
        return step(images, noise, *others)

    trainer.objective.step = watched  # type: ignore[method-assign]
    drawn, noise = trainer.draw()
    images = trainer.network_input(drawn)
    assert noise.shape[1] == trainer.objective.noise_size + trainer.denoising.numbers((1, 32, 32)) + 2
    trainer.take(drawn, noise, 0)
    assert torch.equal(compared[0], shift_images(images, noise[:, -2:], 8))
    assert not torch.equal(compared[0], images)


def test_the_background_moves_with_the_images(moving: PretrainConfig) -> None:
    changes = {"denoising_noise": 0.0, "denoising_color": 0.0, "denoising_background": 1.0}
    trainer = Trainer(dataclasses.replace(moving, **changes).resolve(), load_dataset("folder", moving.data_path))
    slope = torch.linspace(0, 1, 32).expand(1, 32, 32)  # no two columns are alike
    trainer._median = slope
    seen: list[Tensor] = []
    trainer.objective.vae.encoder.register_forward_pre_hook(lambda _, given: seen.append(given[0].clone()))
    drawn, noise = trainer.draw()
    trainer.network_input = lambda _: slope.expand(len(noise), 1, 32, 32)  # type: ignore[method-assign]
    noise[:, -2:] = torch.tensor([_TO_THE_MOST, _TO_THE_LEAST])
    trainer.take(drawn, noise, 0)
    moved = shift_images(slope.expand(len(noise), 1, 32, 32), noise[:, -2:], 8)
    # all of it is background, wherever it has moved to: nothing of it is left
    assert (seen[0] != moved).float().mean() > 0.99
    # and so it is in the picture of it
    _, shifted, changed = trainer._changed(slope.expand(8, 1, 32, 32))
    assert (shifted != changed).float().mean() > 0.99


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_objective_takes_moved_images(objective: str, moving: PretrainConfig) -> None:
    changes: dict[str, Any] = {"image_size": 64, "initialisation": "default"} if "keypoints" in objective else {}
    changes |= {**dict.fromkeys(ROBUST, 0), "random_shift": 3}
    if "targets" in OBJECTIVES[objective].needs:
        changes |= {"feature_network": "dae", "dae_steps": 2}
    config = dataclasses.replace(moving, objective=objective, **changes).resolve()
    trainer = Trainer(config, load_dataset("folder", config.data_path))
    trainer.prepare()
    assert all(bool(torch.isfinite(term).all()) for term in trainer.train_step().values())


def test_a_run_in_two_parts_is_bit_identical_and_differs_from_a_plain_one(
    moving: PretrainConfig, tmp_path: Path
) -> None:
    def codes(name: str, **changes: Any) -> np.ndarray:
        run = pretrain_encoder(dataclasses.replace(moving, run_dir=str(tmp_path / name), **changes))
        return load_encoder(run).encode(load_dataset("folder", moving.data_path).images(np.arange(8)))

    codes("parts", steps=2)
    whole = codes("whole")
    assert np.array_equal(codes("parts", resume=True), whole)
    assert not np.array_equal(codes("plain", random_shift=0), whole)


@pytest.mark.parametrize(
    ("corrupted", "name", "rows"), [(True, "denoising", 3), (False, "random_shift", 2), (None, "", 0)]
)
def test_tensorboard_shows_how_images_move(
    corrupted: bool | None, name: str, rows: int, moving: PretrainConfig
) -> None:
    plain: dict[str, Any] = {} if corrupted else {**dict.fromkeys(ROBUST, 0), "random_shift": 8}
    if corrupted is None:
        plain["random_shift"] = 0
    events = EventAccumulator(str(pretrain_encoder(dataclasses.replace(moving, **plain))))
    events.Reload()
    found = {"denoising", "random_shift"} & set(events.Tags()["images"])
    assert found == ({name} if name else set())
    if name:
        # rows of 32 pixels with a line of the grid between them
        assert events.Images(name)[-1].height == rows * 33 - 1


def test_runs_that_move_their_images_are_not_stacked(moving: PretrainConfig) -> None:
    plain = dataclasses.replace(moving, **{**dict.fromkeys(ROBUST, 0), "random_shift": 2})
    runs = [dataclasses.replace(plain, seed=seed).resolve() for seed in range(2)]
    assert why_not_stacked(runs) == "the random shifts of its images are not stacked"
