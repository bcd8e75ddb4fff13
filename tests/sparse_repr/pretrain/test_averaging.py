"""The average of the weights: by hand, in a run, and in what the run exports."""

from __future__ import annotations

import dataclasses
import os
import signal

import pytest
import torch

from sparse_repr import PretrainConfig, load_encoder, pretrain_encoder
from sparse_repr.command_line.interruption import TrainingInterrupted
from sparse_repr.data import load_dataset
from sparse_repr.encoder.vae import load_vae
from sparse_repr.models import build_vae
from sparse_repr.pretrain import trainer as training
from sparse_repr.pretrain.averaging import WeightAverage, decay_at, require_decay
from sparse_repr.pretrain.trainer import Trainer


def test_the_average_by_hand() -> None:
    vae = build_vae("burgess", {"channels": 1, "size": 32, "code_size": 2}, seed=0)
    weights = list(vae.parameters())
    with torch.no_grad():
        for weight in weights:
            weight.fill_(1.0)
    average = WeightAverage(vae, 0.5)
    for step, value in enumerate((2.0, 3.0)):
        with torch.no_grad():
            for weight in weights:
                weight.fill_(value)
        average.update(vae, step)
    # kept: 1/10 of 1 and 9/10 of 2 are 1.9, then 2/11 of 1.9 and 9/11 of 3
    expected = 2 / 11 * 1.9 + 9 / 11 * 3
    for weight in average.network.parameters():
        torch.testing.assert_close(weight, torch.full_like(weight, expected))
        assert not weight.requires_grad
    assert (decay_at(0.5, 0), decay_at(0.5, 7), decay_at(0.5, 8), decay_at(0.99, 10**6)) == (0.1, 8 / 17, 0.5, 0.99)


@pytest.mark.parametrize("decay", [-0.1, 1.0, float("nan")])
def test_a_decay_that_forgets_nothing_is_refused(decay: float) -> None:
    with pytest.raises(ValueError, match=f"weight_averaging needs a number of at least 0 and below 1, got {decay}"):
        require_decay(decay)


def _everything_on(config: PretrainConfig) -> PretrainConfig:
    return dataclasses.replace(
        config,
        learning_rate_warmup=5,
        learning_rate_decay="cosine",
        final_learning_rate=1e-4,
        first_batch_size=2,
        batch_growth_steps=6,
        initialisation="he",
        weight_averaging=0.9,
    )


def test_a_run_with_everything_on_resumes_bit_identically_and_exports_the_average(
    small_study: PretrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = _everything_on(small_study)
    whole = pretrain_encoder(dataclasses.replace(config, run_dir=f"{config.run_dir}-whole"))
    step = Trainer.train_step

    def stop_at_9(self: Trainer) -> dict[str, torch.Tensor]:
        terms = step(self)
        if self.step == 9:
            os.kill(os.getpid(), signal.SIGINT)
        return terms

    monkeypatch.setattr(training.Trainer, "train_step", stop_at_9)
    with pytest.raises(TrainingInterrupted, match="stopped at step 9"):
        pretrain_encoder(config)
    monkeypatch.setattr(training.Trainer, "train_step", step)
    parts = pretrain_encoder(dataclasses.replace(config, resume=True))
    states = [torch.load(folder / "state.pt", weights_only=True) for folder in (whole, parts)]
    for name, tensor in states[0]["average"].items():
        assert torch.equal(states[1]["average"][name], tensor)
        assert torch.equal(states[1]["objective"]["vae"][name], states[0]["objective"]["vae"][name])
    assert (parts / "encoder.safetensors").read_bytes() == (whole / "encoder.safetensors").read_bytes()

    vae, _ = load_vae(parts)
    for name, tensor in vae.state_dict().items():
        assert torch.equal(tensor, states[0]["average"][name])
    weight = "features.0.weight"
    assert torch.equal(load_encoder(parts).network().state_dict()[weight], states[0]["average"][f"encoder.{weight}"])
    assert not torch.equal(
        states[0]["average"][f"encoder.{weight}"], states[0]["objective"]["vae"][f"encoder.{weight}"]
    )


def test_every_step_reads_its_share_of_images_at_its_rate(small_study: PretrainConfig) -> None:
    config = _everything_on(small_study).resolve()
    trainer = Trainer(config, load_dataset(config.dataset, config.data_path))
    seen = []
    for _ in range(13):
        drawn, noise = trainer.draw()
        images = trainer.network_input(drawn)
        assert len(images) == len(noise)
        trainer.train_step()
        seen.append((len(images), trainer.objective.optimiser.param_groups[0]["lr"]))
    assert [size for size, _ in seen] == [2] * 6 + [4] * 6 + [8]
    assert [rate for _, rate in seen] == [config.learning_rates()(step) for step in range(13)]
    assert seen[0][1] == pytest.approx(config.learning_rate / 5)
    assert trainer.images_since(0) == 44


@pytest.mark.parametrize("objective", ["factor_vae", "info_gan"])
def test_adversarial_objectives_follow_the_schedules(small_study: PretrainConfig, objective: str) -> None:
    config = dataclasses.replace(_everything_on(small_study), objective=objective, first_batch_size=4).resolve()
    trainer = Trainer(config, load_dataset(config.dataset, config.data_path))
    batches = trainer.objective.batches
    for _ in range(7):
        terms = trainer.train_step()
    assert torch.isfinite(terms["loss"])
    assert len(trainer.draw()[1]) == 8 * batches
    assert trainer.objective.optimiser.param_groups[0]["lr"] == config.learning_rates()(6)
    discriminator = trainer.objective.discriminator_optimiser  # type: ignore[attr-defined]
    assert discriminator.param_groups[0]["lr"] == config.discriminator_learning_rate
