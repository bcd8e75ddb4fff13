"""Environments that draw every picture into one array: no wrapper may keep what the next reset draws over."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecEnv

from rl import CopiedObservation, LatentObservation, VecLatentObservation, load_agent, make_latent_vec_env, save_agent
from rl.vector import LatentObservation as VectorLatentObservation
from sparse_repr import FrozenEncoder
from tests.conftest import make_encoder
from tests.frame_envs import Frames, OneBuffer, picture

OVERWRITTEN = "the last picture of an episode equals the first one of the next episode bit for bit"


@pytest.fixture(scope="module")
def encoder() -> FrozenEncoder:
    return make_encoder(3)


def _code(encoder: FrozenEncoder, episode: int, step: int) -> npt.NDArray[np.float32]:
    return encoder.encode(picture(episode, step)[None])[0]


def _last_observation(venv: VecEnv, steps: int) -> Any:
    venv.seed(0)
    venv.reset()
    for _ in range(steps):
        infos = venv.step(np.zeros(venv.num_envs))[3]
    return infos[0]["terminal_observation"]


def _blank(env: gym.Env[Any, Any], pixels: int) -> gym.Env[Any, Any]:
    """A wrapper given as a function, which draws into the environment's own array."""

    def cover(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        image[:pixels] = 0
        return image

    return gym.wrappers.TransformObservation(env, cover, env.observation_space)


# forked because a fresh interpreter would import torch for seconds; the children only step
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
@pytest.mark.parametrize("kind", [DummyVecEnv, SubprocVecEnv])
def test_the_factory_gives_the_last_code_of_the_episode(kind: Any, encoder: FrozenEncoder) -> None:
    options = {"start_method": "fork"} if kind is SubprocVecEnv else {}
    venv = make_latent_vec_env(
        OneBuffer, encoder, env_kwargs={"length": 2}, vec_env_cls=kind, vec_env_kwargs=options, n_stack=2
    )
    try:
        expected = np.concatenate([_code(encoder, 0, 1), _code(encoder, 0, 2)])
        np.testing.assert_allclose(_last_observation(venv, 2), expected, atol=1e-6)
    finally:
        venv.close()


def test_the_factory_copies_outside_of_wrappers_of_the_user(encoder: FrozenEncoder) -> None:
    venv = make_latent_vec_env(
        OneBuffer, encoder, env_kwargs={"length": 2}, wrapper_class=_blank, wrapper_kwargs={"pixels": 10}
    )
    image = picture(0, 2)
    image[:10] = 0
    np.testing.assert_allclose(_last_observation(venv, 2), encoder.encode(image[None])[0], atol=1e-6)


def test_agents_bootstrap_on_the_last_code_of_the_episode(encoder: FrozenEncoder) -> None:
    class CutOff(OneBuffer):
        def step(self, action: Any) -> Any:
            observation, reward, ended, _, info = super().step(action)
            return observation, reward, False, ended, info

    seen: list[npt.NDArray[np.float32]] = []
    venv = make_latent_vec_env(CutOff, encoder, env_kwargs={"length": 4}, seed=0)
    agent = PPO("MlpPolicy", venv, n_steps=4, batch_size=4, n_epochs=1, device="cpu")
    value: Callable[..., Any] = agent.policy.predict_values
    agent.policy.predict_values = lambda codes: seen.append(codes.numpy().copy()) or value(codes)  # type: ignore
    agent.learn(4)
    np.testing.assert_allclose(seen[0][0], _code(encoder, 0, 4), atol=1e-6)  # of the cut-off episode
    np.testing.assert_allclose(seen[1][0], _code(encoder, 1, 0), atol=1e-6)  # of the next one


@pytest.mark.parametrize("named", [False, True])
def test_a_last_picture_that_equals_the_first_warns_once(named: bool, encoder: FrozenEncoder) -> None:
    options: dict[str, Any] = {"image_keys": ["back"]} if named else {}
    venv = VecLatentObservation(DummyVecEnv([lambda: OneBuffer(1, named=named)]), encoder, **options)
    with pytest.warns(UserWarning, match="VecLatentObservation: " + OVERWRITTEN):
        _last_observation(venv, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _last_observation(venv, 1)
        _last_observation(VecLatentObservation(DummyVecEnv([Frames]), encoder), 3)


def test_gymnasium_vectors_warn_once_too(encoder: FrozenEncoder) -> None:
    factories = [lambda: OneBuffer(1), lambda: OneBuffer(2)]
    env = VectorLatentObservation(SyncVectorEnv(factories, autoreset_mode=AutoresetMode.SAME_STEP), encoder)
    env.reset(seed=0)
    with pytest.warns(UserWarning, match="LatentObservation: " + OVERWRITTEN):
        env.step(np.zeros(2, np.int64))
    env.step(np.zeros(2, np.int64))
    # no episode has been left where the last picture is shown by itself
    env = VectorLatentObservation(SyncVectorEnv(factories, autoreset_mode=AutoresetMode.NEXT_STEP), encoder)
    env.reset(seed=0)
    codes = env.step(np.zeros(2, np.int64))[0]
    np.testing.assert_allclose(codes[0], _code(encoder, 0, 1), atol=1e-6)


def test_the_wrapper_that_the_warning_names_cures_it(encoder: FrozenEncoder) -> None:
    venv = VecLatentObservation(DummyVecEnv([lambda: CopiedObservation(OneBuffer(1))]), encoder)
    np.testing.assert_allclose(_last_observation(venv, 1), _code(encoder, 0, 1), atol=1e-6)
    env = VectorLatentObservation(
        SyncVectorEnv([lambda: CopiedObservation(OneBuffer(1))], autoreset_mode=AutoresetMode.SAME_STEP), encoder
    )
    env.reset(seed=0)
    last = env.step(np.zeros(1, np.int64))[4]["final_obs"][0]
    np.testing.assert_allclose(last, _code(encoder, 0, 1), atol=1e-6)


def test_pictures_that_are_really_equal_are_believed_where_they_are_copies(encoder: FrozenEncoder) -> None:
    class Still(Frames):
        def look(self) -> Any:
            return picture(0, 0)

    _last_observation(make_latent_vec_env(Still, encoder, env_kwargs={"length": 1}), 1)
    with pytest.warns(UserWarning, match="If the two pictures are indeed the same, ignore this"):
        _last_observation(VecLatentObservation(DummyVecEnv([lambda: Still(1)]), encoder), 1)


def test_a_picture_that_was_not_drawn_over_ends_the_doubt(encoder: FrozenEncoder) -> None:
    class Returning(Frames):
        """From the second episode on the last picture is the first one of the next."""

        def look(self) -> Any:
            return picture(min(self.episode, 1), self.clock if self.episode < 1 else 0)

    venv = VecLatentObservation(DummyVecEnv([lambda: Returning(1)]), encoder)
    _last_observation(venv, 3)


def test_kept_pictures_are_copies(encoder: FrozenEncoder) -> None:
    env = LatentObservation(OneBuffer(), encoder, keep_image=True)
    first = env.reset(seed=0)[1]["image"]
    second = env.step(0)[4]["image"]
    np.testing.assert_array_equal(first, picture(0, 0))
    np.testing.assert_array_equal(second, picture(0, 1))

    vector = SyncVectorEnv([OneBuffer] * 2, copy=False)
    twin = VectorLatentObservation(vector, encoder, keep_image=True)
    images = twin.reset(seed=[0, 0])[1]["image"]
    twin.step(np.zeros(2, np.int64))
    np.testing.assert_array_equal(images, [picture(0, 0)] * 2)


class _OneBatch(DummyVecEnv):
    """Hands out the array that it writes the pictures of all environments to."""

    def _obs_from_buf(self) -> Any:
        return self.buf_obs[None]


def test_kept_pictures_are_copies_of_vectorised_ones(encoder: FrozenEncoder) -> None:
    venv = VecLatentObservation(_OneBatch([Frames]), encoder, keep_image=True)
    venv.seed(0)
    venv.reset()
    first = venv.reset_infos[0]["image"]
    second = venv.step(np.zeros(1))[3][0]["image"]
    venv.step(np.zeros(1))
    np.testing.assert_array_equal(first, picture(0, 0))
    np.testing.assert_array_equal(second, picture(0, 1))


def test_what_passes_through_a_wrapper_is_a_copy(encoder: FrozenEncoder) -> None:
    env = LatentObservation(OneBuffer(named=True), encoder, image_keys=["back"])
    first = env.reset(seed=0)[0]
    env.step(0)
    np.testing.assert_array_equal(first["position"], [0, 0])
    np.testing.assert_array_equal(first["front"], picture(0, 0))


def test_loaded_agents_get_copies_too(encoder: FrozenEncoder, tmp_path: Any) -> None:
    agent = PPO("MlpPolicy", make_latent_vec_env(OneBuffer, encoder), n_steps=4, batch_size=4, device="cpu")
    _, venv = load_agent(save_agent(tmp_path / "agent.zip", agent), OneBuffer(1), device="cpu")
    assert venv is not None
    np.testing.assert_allclose(_last_observation(venv, 1), _code(encoder, 0, 1), atol=1e-6)


def test_copies_are_recorded_in_the_spec() -> None:
    env = CopiedObservation(gym.make("envs:SparseRepr/SpriteReach-v0"))
    assert env.spec is not None
    assert isinstance(gym.make(env.spec), CopiedObservation)
