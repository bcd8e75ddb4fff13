from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.env_checker import check_env as check_sb3_env
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize, VecTransposeImage

import envs
from rl import FactorObservation, LatentObservation, VecLatentObservation
from sparse_repr import FrozenEncoder
from tests.conftest import make_encoder

CONTINUOUS, DISCRETE = "SparseRepr/SpriteReach-v0", "SparseRepr/SpriteReach-Discrete-v0"


def _make() -> gym.Env[Any, Any]:
    return gym.make(CONTINUOUS)


# what the checker says of any wrapped environment, and of codes, whose range is not known
CHECKER_REMARKS = (
    "ignore:.*is different from the unwrapped version:UserWarning",
    "ignore:.*A Box observation space (minimum|maximum) value is -?infinity:UserWarning",
)


@pytest.mark.filterwarnings(*CHECKER_REMARKS)
def test_both_env_checkers_pass_on_the_wrapped_environment(tiny_encoder: FrozenEncoder) -> None:
    env = LatentObservation(gym.make(CONTINUOUS, render_mode="rgb_array"), tiny_encoder)
    check_env(env, skip_render_check=True)
    check_sb3_env(env)


def test_codes_are_those_of_the_frames(tiny_encoder: FrozenEncoder) -> None:
    env, plain = LatentObservation(_make(), tiny_encoder), _make()
    code, _ = env.reset(seed=0)
    image, _ = plain.reset(seed=0)
    assert env.observation_space.shape == (10,)
    assert code.dtype == np.float32
    np.testing.assert_allclose(code, tiny_encoder.encode(image[None])[0], atol=1e-6)
    action = np.array([1.0, -0.5], np.float32)
    np.testing.assert_allclose(env.step(action)[0], tiny_encoder.encode(plain.step(action)[0][None])[0], atol=1e-6)


def test_a_path_is_accepted_and_recorded_in_the_spec(tiny_run: Path, tiny_encoder: FrozenEncoder) -> None:
    env = LatentObservation(_make(), str(tiny_run))
    assert env.encoder == tiny_encoder
    assert env.spec is not None
    again = gym.make(env.spec)
    assert np.array_equal(again.reset(seed=1)[0], env.reset(seed=1)[0])


def test_agents_train_on_codes(tiny_encoder: FrozenEncoder) -> None:
    PPO("MlpPolicy", LatentObservation(_make(), tiny_encoder), n_steps=16, batch_size=16, device="cpu").learn(32)
    vec = VecLatentObservation(DummyVecEnv([_make] * 2), tiny_encoder)
    SAC("MlpPolicy", VecNormalize(vec), learning_starts=4, buffer_size=100, device="cpu").learn(20)


def test_the_vectorised_twin_gives_the_codes_of_each_environment(tiny_encoder: FrozenEncoder) -> None:
    latent, plain = VecLatentObservation(DummyVecEnv([_make] * 3), tiny_encoder), DummyVecEnv([_make] * 3)
    latent.seed(5)
    plain.seed(5)
    np.testing.assert_allclose(latent.reset(), tiny_encoder.encode(plain.reset()), atol=1e-6)
    actions = np.random.default_rng(0).uniform(-1, 1, (3, 2)).astype(np.float32)
    np.testing.assert_allclose(latent.step(actions)[0], tiny_encoder.encode(plain.step(actions)[0]), atol=1e-6)


def test_trap_11_the_final_picture_of_an_episode_is_encoded(tiny_encoder: FrozenEncoder) -> None:
    latent, plain = VecLatentObservation(DummyVecEnv([_make] * 2), tiny_encoder), DummyVecEnv([_make] * 2)
    for venv in (latent, plain):
        venv.seed(0)
        venv.reset()
    stay, seen = np.zeros((2, 2), np.float32), 0
    for _ in range(envs.MAX_STEPS):
        codes, _, dones, infos = latent.step(stay)
        images, _, _, plain_infos = plain.step(stay)
        assert codes.shape == (2, 10)
        np.testing.assert_allclose(codes, tiny_encoder.encode(images), atol=1e-6)
        for i in np.flatnonzero(dones):
            expected = tiny_encoder.encode(plain_infos[i]["terminal_observation"][None])[0]
            np.testing.assert_allclose(infos[i]["terminal_observation"], expected, atol=1e-6)
            assert infos[i]["terminal_observation"].shape == (10,)
            seen += 1
    assert seen == 2


def test_transposed_environments_give_the_same_codes(tiny_encoder: FrozenEncoder) -> None:
    straight = VecLatentObservation(DummyVecEnv([_make]), tiny_encoder)
    transposed = VecLatentObservation(VecTransposeImage(DummyVecEnv([_make])), tiny_encoder)
    for venv in (straight, transposed):
        venv.seed(2)
    np.testing.assert_allclose(straight.reset(), transposed.reset(), atol=1e-6)


@pytest.mark.parametrize("wrap", [LatentObservation, lambda env, encoder: VecLatentObservation(env, encoder)])
def test_spaces_the_encoder_cannot_take_are_refused(wrap: Any, tiny_encoder: FrozenEncoder) -> None:
    class Fake(gym.Env[Any, Any]):
        action_space = gym.spaces.Discrete(2)

        def __init__(self, space: gym.Space[Any]) -> None:
            self.observation_space = space

    def env(space: gym.Space[Any]) -> Any:
        return Fake(space) if wrap is LatentObservation else DummyVecEnv([lambda: Fake(space)])

    image = gym.spaces.Box(0, 255, (64, 64, 1), np.uint8)
    with pytest.raises(TypeError, match=r"needs one image space, got a Dict with keys \['camera'\]"):
        wrap(env(gym.spaces.Dict({"camera": image})), tiny_encoder)
    with pytest.raises(TypeError, match=r"needs a Box of uint8 images in 0\.\.255"):
        wrap(env(gym.spaces.Box(0, 1, (64, 64, 1), np.float32)), tiny_encoder)
    with pytest.raises(ValueError, match="Convert to grey first"):
        wrap(env(gym.spaces.Box(0, 255, (64, 64, 3), np.uint8)), tiny_encoder)
    with pytest.raises(ValueError, match="Resize the observation to 64x64"):
        wrap(env(gym.spaces.Box(0, 255, (60, 60, 1), np.uint8)), tiny_encoder)
    with pytest.raises(ValueError, match="trained on colour images"):
        wrap(env(image), make_encoder(3))


@pytest.mark.filterwarnings(*CHECKER_REMARKS)
def test_ground_truth_factors_can_be_observed() -> None:
    env = FactorObservation(_make(), ("position_y", "shape"), one_hot={"shape": 3})
    assert env.observation_space.shape == (4,)
    observation, info = env.reset(seed=0, options={"shape": 1})
    assert observation.tolist() == pytest.approx([info["factors"][4], 0, 1, 0])
    observation, _, _, _, info = env.step(np.array([0.0, 1.0], np.float32))
    assert observation[0] == pytest.approx(info["factors"][4])
    assert FactorObservation(_make()).observation_space.shape == (5,)
    check_env(env, skip_render_check=True)


def test_factors_that_do_not_exist_are_refused() -> None:
    with pytest.raises(ValueError, match=r"asked for \['colour'\]"):
        FactorObservation(_make(), ("colour",))
    with pytest.raises(ValueError, match=r"has the factors \(\)"):
        FactorObservation(gym.make("CartPole-v1"))
