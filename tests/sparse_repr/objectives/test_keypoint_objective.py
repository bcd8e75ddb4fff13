"""Keypoint autoencoders: what a presence costs, and runs of them from the command line to an agent's observation."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from rl import LatentObservation
from sparse_repr import FrozenEncoder, PretrainConfig, load_encoder, pretrain_encoder
from sparse_repr.encoder.vae import load_vae
from sparse_repr.evaluate.report import summary
from sparse_repr.evaluate.run import EvaluateConfig, evaluate_run
from sparse_repr.objectives import PresencePrice, background_only_loss
from sparse_repr.objectives.reconstruction import bernoulli
from sparse_repr.pretrain.presets import preset_config


def test_a_presence_costs_its_logit_in_percent_of_what_there_is_to_draw() -> None:
    price = PresencePrice(presence_weight=0.5, presence_warmup=100, background_loss=400.0)
    logits = torch.tensor([[0.0, 50.0], [-50.0, 0.0]], requires_grad=True)
    # softplus: ln 2, 50, 0, ln 2; mean of the images' sums
    size = (2 * math.log(2) + 50) / 2
    assert price(logits, 0).item() == 0.0
    assert price(logits, 50).item() == pytest.approx(1.0 * size)
    cost = price(logits, 1_000)
    assert cost.item() == pytest.approx(2.0 * size)
    cost.backward()
    # 2 sigmoid(l) / images: a presence that is on has a gradient, which a saturated sigmoid itself has not
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad, torch.tensor([[0.5, 1.0], [0.0, 0.5]]))


def test_the_background_alone_loses_what_the_images_hold_beside_it() -> None:
    images = torch.full((3, 1, 2, 2), 0.25)
    images[0, 0, 0, 0] = 0.75  # KL between Bernoulli variables of 0.75 and 0.25: ln(3) / 2
    loss = background_only_loss(torch.full((1, 2, 2), 0.25), images, bernoulli)
    assert loss == pytest.approx(math.log(3) / 2 / 3, rel=1e-4)


def _keypoints(config: PretrainConfig, **changes: Any) -> PretrainConfig:
    settings: dict[str, Any] = {"objective": "sparse_keypoints", "keypoints": 2, "learning_rate": 2e-3}
    return dataclasses.replace(config, **{**settings, **changes})


class _Pictures(gym.Env):  # type: ignore[type-arg]
    observation_space = gym.spaces.Box(0, 255, (1, 32, 32), np.uint8)
    action_space = gym.spaces.Discrete(2)

    def reset(self, **_: Any) -> tuple[Any, dict[str, Any]]:
        return np.zeros((1, 32, 32), np.uint8), {}


def test_a_run_is_an_encoder_like_any_other(small_study: PretrainConfig) -> None:
    config = _keypoints(small_study, steps=60)
    run = pretrain_encoder(config)
    encoder, (vae, _) = load_encoder(run), load_vae(run)
    assert (encoder.code_size, encoder.spec.architecture, encoder.spec.posterior) == (6, "keypoints", "point")
    assert encoder.spec.objective["weights"] == {"presence_weight": 0.007}
    assert float(vae.encoder.scale) > 0.1  # the statistics of the data are in both files
    assert FrozenEncoder.from_bytes(encoder.to_bytes()) == encoder
    images = np.zeros((2, 1, 32, 32), np.uint8)
    mean, log_variance = encoder.posterior(images)
    shown = LatentObservation(_Pictures(), encoder).reset()[0]
    np.testing.assert_array_equal(encoder.encode(images[:1])[0], shown)
    # two images at a time take other kernels on some processors
    np.testing.assert_allclose(mean, shown[None].repeat(2, 0), atol=1e-7)
    assert set(log_variance.flatten().tolist()) == {-30.0}
    report = evaluate_run(EvaluateConfig(run=str(run), progress=False))
    assert "no KL (each code is a point)" in summary(report)
    assert report["codes"]["kl_nats"] == 0
    assert {path.name for path in (run / "figures").iterdir()} == {"reconstructions.png", "keypoints.png"}


def test_resume_gives_the_same_bits(small_study: PretrainConfig, tmp_path: Path) -> None:
    whole = pretrain_encoder(_keypoints(small_study))
    parts = _keypoints(small_study, run_dir=str(tmp_path / "parts"), steps=10)
    pretrain_encoder(parts)
    pretrain_encoder(dataclasses.replace(parts, steps=20, resume=True))
    for name in ("encoder.safetensors", "vae.safetensors"):
        assert (tmp_path / "parts" / name).read_bytes() == (whole / name).read_bytes()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"objective": "vae", "keypoints": 4},
            "keypoints needs architecture keypoints, .*, got 'burgess'",
        ),
        (
            {"objective": "vae", "architecture": "keypoints"},
            "ends in gaussian or shrinkage, this one .* keypoints",
        ),
        ({"objective": "keypoints", "initialisation": "he"}, "has initial weights of its own, got initialisation 'he'"),
        ({"objective": "keypoints", "image_size": 60}, "image_size needs 64 or 32 or 84 or 96, got 60"),
        ({"objective": "keypoints", "presence_weight": 1.0}, "has no presence_weight; .* it: sparse_keypoints"),
        ({"objective": "keypoints", "keypoints": 0}, "keypoints needs a whole number in 1.."),
    ],
)
def test_bad_settings_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PretrainConfig(**changes)


def test_the_preset_is_the_recipe() -> None:
    config = preset_config("h5/sparse_keypoints", keypoints=12)
    assert (config.network_name(), config.code_size, config.steps) == ("keypoints", 36, 3_000)
    assert config.objective_weights() == {"presence_weight": 0.007}
    assert config.objective_options() == {"presence_warmup": 1_000}
    assert config.learning_rates()(3_000) == pytest.approx(1e-4)
    assert "keypoints" not in preset_config("h5/vae").to_json()
