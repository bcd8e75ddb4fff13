"""Feature prediction: its loss by hand, its run folder without a decoder, and what says so."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn

from sparse_repr import PretrainConfig, load_encoder, pretrain_encoder
from sparse_repr.encoder.vae import load_vae
from sparse_repr.evaluate.__main__ import main as evaluate
from sparse_repr.evaluate.report import read_report
from sparse_repr.models import Posterior, build_vae
from sparse_repr.objectives import OBJECTIVES, default_settings
from sparse_repr.objectives.feature_prediction import FeatureHead, FeaturePredictionObjective
from sparse_repr.pretrain.run_folder import read_settings
from sparse_repr.pretrain.trainer import Trainer
from tests.conftest import rectangles_config
from tests.sparse_repr.objectives.test_objectives import OFF, ConstantTargets
from tests.sparse_repr.pretrain.test_trainer import _same, _state

WITH_DAE = {"objective": "feature_prediction", "feature_network": "dae", "dae_steps": 2}


def build(targets: ConstantTargets, **settings: Any) -> FeaturePredictionObjective:
    vae = build_vae("burgess", {"channels": 1, "size": 32, "code_size": 2}, seed=0)
    choice = OBJECTIVES["feature_prediction"]
    chosen = {**default_settings("feature_prediction"), **settings}
    objective = choice.build(vae, None, learning_rate=1e-3, seed=0, targets=targets, **chosen)
    assert isinstance(objective, FeaturePredictionObjective)
    return objective


class _Encoder(nn.Module):
    """The same posterior for every image: means 1 and -2, variances 1 and e."""

    code_size = 2

    def forward(self, images: Tensor) -> Posterior:
        rows = torch.tensor([[1.0, -2.0, 0.0, 1.0]]).expand(len(images), -1)
        return Posterior(rows[:, :2], rows[:, 2:])


class _Head(nn.Module):
    """Every feature is the first unit of z."""

    def forward(self, z: Tensor) -> Tensor:
        return z[:, :1, None, None].expand(-1, 3, 4, 4)


def test_the_loss_by_hand() -> None:
    objective = build(ConstantTargets(3, 4, 4, value=0.5, pixel_variance=10.0), feature_weight=2.0, beta=3.0)
    objective.vae.encoder, objective.head = _Encoder(), _Head()
    noise = torch.tensor([[0.5, 0.0], [-1.5, 0.0]])  # z is 1.5 and -0.5 where 0.5 is wanted
    loss, terms = objective.loss(torch.zeros(2, 1, 32, 32), noise, OFF)
    kl = 0.5 * (1 + 4 + np.e - 2)  # mean square 1 + 4, variances 1 + e, log-variances 0 + 1, less 1 for each unit
    assert float(terms["unexplained_features"]) == pytest.approx(1.0)
    assert float(terms["kl"]) == pytest.approx(kl)
    assert float(terms["l1"]) == pytest.approx(3.0)
    assert float(loss) == pytest.approx(2 * 10 * 1.0 + 3 * kl)
    weighted = objective.with_weights({"sparsity_weight": torch.tensor(4.0), "beta": torch.tensor(0.0)})
    assert float(weighted.loss(torch.zeros(2, 1, 32, 32), noise, OFF)[0]) == pytest.approx(2 * 10 * 1.0 + 4 * 3.0)


def test_the_encoder_and_the_head_are_trained_and_nothing_else_is() -> None:
    torch.manual_seed(0)
    objective = build(ConstantTargets(3, 8, 8, value=1.0, pixel_variance=100.0))
    assert objective.vae.decoder is None
    images, noise = torch.rand(8, 1, 32, 32), torch.randn(8, 2)
    before = [value.clone() for value in (*objective.vae.parameters(), *objective.head.parameters())]  # type: ignore[union-attr]
    errors = [float(objective.step(images, noise, OFF)["unexplained_features"]) for _ in range(30)]
    assert errors[-1] < 0.1 * errors[0]
    after = [*objective.vae.parameters(), *objective.head.parameters()]  # type: ignore[union-attr]
    assert not any(torch.equal(*pair) for pair in zip(before, after, strict=True))


@pytest.mark.parametrize("shape", [(100, 1, 1), (5, 4, 4), (7, 16, 16)])
def test_the_head_has_the_shape_of_its_targets(shape: tuple[int, int, int]) -> None:
    assert FeatureHead(3, shape)(torch.randn(2, 3)).shape == (2, *shape)


def test_a_run_has_an_encoder_and_no_pictures(
    rectangles: Path, rectangles_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = pretrain_encoder(rectangles_config(rectangles, tmp_path / "run", **WITH_DAE))
    assert {path.name for path in run.iterdir() if not path.name.startswith("events")} == {
        *("config.json", "encoder.safetensors", "state.pt"),
    }
    events = EventAccumulator(str(run)).Reload()
    assert "train/unexplained_features" in events.Tags()["scalars"]
    assert not events.Tags()["images"]
    encoder = load_encoder(run)
    assert encoder.encode(np.zeros((2, 1, 32, 32), np.uint8)).shape == (2, 3)
    described = encoder.spec.objective
    assert (described["decodes"], described["reconstruction"]) == (False, None)
    assert described["options"]["feature_network"] == "dae"
    assert read_settings(run)["feature_grid"] == 8
    with pytest.raises(FileNotFoundError, match="has no decoder, objective 'feature_prediction' trains none: there is"):
        load_vae(run)
    assert evaluate([str(run), "--metrics", "mig", "--no-progress"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("no reconstructions: objective feature_prediction trains no decoder\nactive units ")
    assert read_report(run)["codes"]["active_units"] >= 0
    assert not (run / "figures" / "reconstructions.png").exists()
    # beside a run that has pictures
    beside = tmp_path / "vae"
    pretrain_encoder(rectangles_config(rectangles, beside))
    assert evaluate([str(run), str(beside), "--out", str(tmp_path), "--lpips-items", "0", "--no-progress"]) == 0
    row = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("| psnr_db_train"))
    assert row.split("|")[2].strip() == "–"
    assert float(row.split("|")[3]) > 0


def test_features_of_vgg16_are_predicted_and_a_run_in_two_parts_is_bit_identical(
    random_vgg: str, rectangles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"objective": "feature_prediction", "perceptual_weights_path": random_vgg, "feature_grid": 4}
    config = rectangles_config(rectangles, tmp_path / "whole", weight_averaging=0.9, sparsity_weight=0.1, **settings)
    config = dataclasses.replace(config, steps=6)
    whole = pretrain_encoder(config)
    parts = dataclasses.replace(config, run_dir=str(tmp_path / "parts"))
    pretrain_encoder(dataclasses.replace(parts, steps=3))
    # statistics come from the state, not from images
    monkeypatch.setattr("sparse_repr.perceptual.targets.FeatureTargets.measure", lambda *_: pytest.fail("again"))
    pretrain_encoder(dataclasses.replace(parts, resume=True))
    assert _same(_state(tmp_path / "parts"), _state(whole))
    assert (tmp_path / "parts" / "encoder.safetensors").read_bytes() == (whole / "encoder.safetensors").read_bytes()
    assert set(_state(whole)["targets"]) == {"mean", "deviation", "pixel_variance"}  # type: ignore[call-overload]


def test_it_starts_from_the_encoder_of_a_vae_of_the_same_seed(rectangles: Path, tmp_path: Path) -> None:
    config = rectangles_config(rectangles, tmp_path, initialisation="he", seed=3, **WITH_DAE).resolve()
    trainer = Trainer(config, data := Trainer(config, _data(config)).data)
    vae = Trainer(rectangles_config(rectangles, tmp_path, initialisation="he", seed=3).resolve(), data)
    for ours, theirs in zip(trainer.network.parameters(), vae.network.encoder.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def _data(config: PretrainConfig) -> Any:
    from sparse_repr.data import load_dataset

    return load_dataset(config.dataset, config.data_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"feature_network": "vgg"}, "unknown feature network 'vgg'. Did you mean 'vgg16'"),
        ({"feature_layer": "relu2_1"}, "unknown feature layer 'relu2_1'. Did you mean 'relu2_2'"),
        ({"feature_grid": 64}, "feature_grid needs 4 or 8 or 16 or 32 for relu2_2 at image_size 64"),
        ({"feature_grid": 0}, "feature_grid needs a whole number of at least 1, got 0"),
        (
            {"perceptual_weight": 1.0},
            "takes no pixel_weight, saliency_weight or perceptual_weight: .* its image, it has no decoder",
        ),
        ({"initialisation": "output_bias"}, "'output_bias' needs an objective that decodes pictures: take 'default'"),
        ({"sparsity_proximal": True}, "sparsity_proximal needs sparsity_target 'weights', got 'mean'"),
        ({"objective": "vae", "feature_grid": 4}, "objective 'vae' has no feature_grid; objectives that take it: feat"),
    ],
)
def test_what_does_not_fit_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PretrainConfig(**{"objective": "feature_prediction", **changes})
