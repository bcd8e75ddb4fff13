"""Agents on keypoints: as those on other codes, in wrappers, policies, files and exports."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.vec_env import DummyVecEnv

from rl import LatentExtractor, LatentObservation, VecLatentObservation, load_agent, make_latent_vec_env, save_agent
from rl.export import export_agent
from tests.frame_envs import Frames
from tests.keypoint_encoders import make_keypoint_encoder

CHASE = "envs:SparseRepr/SpriteChase-v0"


@pytest.mark.parametrize("options", [{}, {"n_stack": 2}, {"code_scaling": "standardize"}, {"recode": "expand"}])
def test_wrapper_and_extractor_show_the_same_keypoints(options: dict[str, Any]) -> None:
    encoder = make_keypoint_encoder()
    env = LatentObservation(Frames(), encoder, keep_image=True, **options)
    code, info = env.reset(seed=0)
    pictures = np.concatenate([np.asarray(info["image"])] * options.get("n_stack", 1), axis=2)
    space = gym.spaces.Box(0, 255, pictures.shape, np.uint8)
    extractor = LatentExtractor(space, encoder=encoder, **options)
    shown = extractor(torch.from_numpy(pictures)[None].float() / 255).numpy()[0]
    np.testing.assert_allclose(shown, code, atol=1e-5)
    venv = VecLatentObservation(DummyVecEnv([Frames]), encoder, **options)
    np.testing.assert_allclose(venv.reset()[0], code, atol=1e-5)


@pytest.mark.parametrize("recode", [None, "expand"])
def test_an_agent_on_keypoints_is_saved_loaded_and_exported(tmp_path: Path, recode: str | None) -> None:
    encoder = make_keypoint_encoder()
    venv = make_latent_vec_env(CHASE, encoder, n_envs=2, seed=0, code_scaling="none", recode=recode)
    agent = PPO("MlpPolicy", venv, n_steps=8, batch_size=8, n_epochs=1, seed=0, device="cpu").learn(16)
    path = save_agent(tmp_path / "agent.zip", agent)
    again, wrapped = load_agent(path, CHASE, device="cpu")
    assert wrapped is not None
    seen = wrapped.reset()
    np.testing.assert_array_equal(
        again.predict(seen, deterministic=True)[0], agent.predict(seen, deterministic=True)[0]
    )
    program = torch.export.load(export_agent(agent, tmp_path / "agent.pt2")).module()
    images = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), np.uint8)
    codes = venv.latent_options.features(encoder).numpy(encoder.encode(images), np.zeros((3, 12), np.float32))
    expected = agent.predict(codes, deterministic=True)[0]
    np.testing.assert_allclose(program(torch.from_numpy(images)).detach().numpy(), expected, atol=1e-5)
    venv.close()


def test_keypoints_can_be_tuned_and_stay_frozen_otherwise() -> None:
    encoder = make_keypoint_encoder()
    venv = DummyVecEnv([Frames])
    for trainable in (False, True):
        kwargs = {
            "features_extractor_class": LatentExtractor,
            "features_extractor_kwargs": {"encoder": encoder, "trainable": trainable},
        }
        agent = PPO("CnnPolicy", venv, n_steps=8, batch_size=8, n_epochs=1, device="cpu", policy_kwargs=kwargs, seed=0)
        before = {name: value.clone() for name, value in encoder.network().state_dict().items()}
        agent.learn(16)
        after = encoder.network().state_dict()
        assert all(torch.equal(before[name], after[name]) for name in before)
        copy = agent.policy.features_extractor.trainable_encoder  # type: ignore[union-attr]
        assert (copy is not None) == trainable
        if copy is not None:
            moved = [value for name, value in copy.named_parameters() if "presence_bias" in name]
            assert moved[0].abs().min() > 0  # from 0, by the gradient of PPO


def test_an_off_policy_agent_stores_keypoints() -> None:
    venv = make_latent_vec_env(CHASE, make_keypoint_encoder(), n_envs=1, seed=0)
    agent = SAC("MlpPolicy", venv, buffer_size=50, learning_starts=4, device="cpu", seed=0).learn(8)
    assert agent.replay_buffer is not None
    assert agent.replay_buffer.observations.shape == (50, 1, 12)
    assert np.isfinite(agent.replay_buffer.observations[:8]).all()
    venv.close()
