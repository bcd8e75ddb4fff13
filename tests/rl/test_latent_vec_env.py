from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.wrappers import FrameStackObservation
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import EvalCallback
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecEnv, VecNormalize

from rl import VecLatentObservation, make_latent_vec_env
from tests.conftest import make_encoder
from tests.frame_envs import Frames, picture


def _make(**options: Any) -> VecEnv:
    return make_latent_vec_env(Frames, make_encoder(3), env_kwargs={"length": 2}, seed=0, **options)


def test_trap_12_the_order_is_codes_then_normalisation() -> None:
    venv = _make(n_envs=2, normalize={"clip_obs": 3.0, "gamma": 0.9}, n_stack=2)
    assert isinstance(venv, VecNormalize)
    assert (venv.clip_obs, venv.gamma, venv.training, venv.norm_reward) == (3.0, 0.9, True, True)
    assert isinstance(venv.venv, VecLatentObservation)
    assert type(venv.venv.venv) is DummyVecEnv
    assert np.asarray(venv.reset()).shape == (2, 8)
    assert "episode" in [venv.step(np.zeros(2))[3][0] for _ in range(2)][1]  # monitored


def test_without_normalisation_codes_are_outermost() -> None:
    venv = _make(keep_image=True, code_scaling="scale", include_log_variance=True)
    assert isinstance(venv, VecLatentObservation)
    assert venv.reset().shape == (1, 8)  # type: ignore[union-attr]
    np.testing.assert_array_equal(venv.reset_infos[0]["image"], picture(0, 0))


def test_evaluation_neither_updates_statistics_nor_scales_rewards() -> None:
    venv = _make(normalize=True, training=False)
    assert isinstance(venv, VecNormalize)
    assert (venv.training, venv.norm_obs, venv.norm_reward) == (False, True, False)
    with pytest.raises(ValueError, match="give training=... beside normalize"):
        _make(normalize={"training": False})


def test_trap_13_evaluation_environments_fit_eval_callback_and_get_its_statistics(tmp_path: Path) -> None:
    train, judged = _make(n_envs=2, normalize=True), _make(normalize=True, training=False)
    assert isinstance(train, VecNormalize)
    assert isinstance(judged, VecNormalize)
    callback = EvalCallback(judged, eval_freq=8, n_eval_episodes=2, log_path=str(tmp_path), verbose=0, warn=False)
    agent = PPO("MlpPolicy", train, n_steps=8, batch_size=16, n_epochs=1, device="cpu")
    agent.learn(16, callback=callback)
    assert train.obs_rms.count > 16  # type: ignore[attr-defined]
    np.testing.assert_array_equal(judged.obs_rms.mean, train.obs_rms.mean)  # type: ignore[attr-defined]
    np.testing.assert_array_equal(judged.ret_rms.var, train.ret_rms.var)
    results = np.load(tmp_path / "evaluations.npz")["results"]
    assert results.tolist() == [[2.0, 2.0]]  # rewards as they are: one for each of two steps


# forked because a fresh interpreter would import torch for seconds; the children only step
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_environments_in_other_processes_share_one_encoder(tmp_path: Path) -> None:
    venv = _make(
        n_envs=2, vec_env_cls=SubprocVecEnv, vec_env_kwargs={"start_method": "fork"}, monitor_dir=str(tmp_path)
    )
    try:
        np.testing.assert_allclose(venv.reset(), make_encoder(3).encode(np.stack([picture(0, 0)] * 2)), atol=1e-6)
        for _ in range(2):
            infos = venv.step(np.zeros(2))[3]
        expected = make_encoder(3).encode(picture(0, 2)[None])[0]
        np.testing.assert_allclose(infos[1]["terminal_observation"], expected, atol=1e-6)
    finally:
        venv.close()
    assert len(list(tmp_path.glob("*.monitor.csv"))) == 2


def test_trap_12_wrappers_that_spoil_pictures_are_refused_and_environments_closed() -> None:
    closed = []

    class Closing(Frames):
        def close(self) -> None:
            closed.append(self)

    with pytest.raises(ValueError, match="cannot be around FrameStackObservation: .*n_stack=k"):
        make_latent_vec_env(
            Closing, make_encoder(3), wrapper_class=FrameStackObservation, wrapper_kwargs={"stack_size": 2}, n_envs=2
        )
    assert len(closed) == 2


def test_an_id_is_made_with_its_arguments() -> None:
    venv = make_latent_vec_env(
        "envs:SparseRepr/SpriteReach-v0", make_encoder(1), n_envs=2, env_kwargs={"discrete": True}
    )
    assert isinstance(venv.action_space, gym.spaces.Discrete)
    assert np.asarray(venv.reset()).shape == (2, 4)


def test_monitors_get_their_arguments_and_environments_their_numbers(tmp_path: Path) -> None:
    options: dict[str, Any] = {"monitor_dir": str(tmp_path), "monitor_kwargs": {"info_keywords": ("is_success",)}}
    task = "envs:SparseRepr/SpriteReach-v0"
    venv = make_latent_vec_env(task, make_encoder(1), n_envs=2, seed=0, start_index=3, **options)
    venv.reset()
    for _ in range(50):
        venv.step(np.zeros((2, 2), np.float32))  # standing still is truncated then
    venv.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["3.monitor.csv", "4.monitor.csv"]
    assert (tmp_path / "3.monitor.csv").read_text().splitlines()[1] == "r,l,t,is_success"
    assert (tmp_path / "3.monitor.csv").read_text().splitlines()[2].endswith(",False")


def test_numbers_of_numpy_count_as_tuners_give_them() -> None:
    given = {name: np.int64(2) for name in ("n_envs", "seed", "start_index", "n_stack")}
    venv = make_latent_vec_env("envs:SparseRepr/SpriteReach-v0", make_encoder(1), **given)  # type: ignore[arg-type]
    assert venv.reset().shape == (2, 8)
    json.dumps(venv.latent_options.arguments())
    venv.close()
    with pytest.raises(ValueError, match="n_stack needs a whole number"):
        make_latent_vec_env("envs:SparseRepr/SpriteReach-v0", make_encoder(1), n_stack=True)


def test_an_environment_that_is_there_is_no_way_to_make_several() -> None:
    with pytest.raises(TypeError, match="needs an id or what makes one .*, got an instance of Frames"):
        make_latent_vec_env(Frames(), make_encoder(3))  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "value"), [("n_envs", 0), ("n_envs", 1.5), ("start_index", -1)])
def test_numbers_of_environments_that_there_cannot_be(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"make_latent_vec_env: {name} needs a whole number of at least .*, got"):
        _make(**{name: value})
