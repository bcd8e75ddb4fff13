from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv
from gymnasium.wrappers import FrameStackObservation, NormalizeObservation
from gymnasium.wrappers.vector import NormalizeObservation as VectorNormalizeObservation
from stable_baselines3 import SAC
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack, VecMonitor, VecNormalize, VecTransposeImage

from rl import LatentObservation, VecLatentObservation
from rl.vector import LatentObservation as VectorLatentObservation
from tests.conftest import make_encoder
from tests.frame_envs import Frames


def _venv(*wrappers: Any) -> Any:
    venv: Any = DummyVecEnv([Frames])
    for wrapper in wrappers:
        venv = wrapper(venv)
    return venv


@pytest.mark.parametrize("around", [(), (VecMonitor,)])
def test_trap_12_normalisation_inside_is_refused_in_a_vec_env(around: Any) -> None:
    reason = r"cannot be around VecNormalize: it would standardise pixels.*store pictures in place of codes"
    with pytest.raises(ValueError, match=reason + r".*outside: VecNormalize\(VecLatentObservation\(venv"):
        VecLatentObservation(_venv(VecNormalize, *around), make_encoder(3))


def test_trap_10_stacked_pictures_inside_are_refused_in_a_vec_env() -> None:
    with pytest.raises(ValueError, match=r"around VecFrameStack: .*VecLatentObservation\(venv, \.\.\., n_stack=k\)"):
        VecLatentObservation(_venv(lambda venv: VecFrameStack(venv, 4)), make_encoder(3))


@pytest.mark.parametrize(
    ("wrapper", "remedy", "vectorised"),
    [
        (NormalizeObservation, r"outside: NormalizeObservation\(LatentObservation\(env, ", r"VecNormalize\(VecLatent"),
        (
            FrameStackObservation,
            r"LatentObservation\(env, \.\.\., n_stack=k",
            r"VecLatentObservation\(venv, .*n_stack=k",
        ),
    ],
)
def test_trap_12_the_order_is_checked_inside_each_environment(wrapper: Any, remedy: str, vectorised: str) -> None:
    def make() -> Any:
        # something else around it must not hide it
        return Monitor(wrapper(Frames(), 2) if wrapper is FrameStackObservation else wrapper(Frames()))

    match = rf"cannot be around {wrapper.__name__}: .*"
    with pytest.raises(ValueError, match=f"^LatentObservation {match}{remedy}"):
        LatentObservation(make(), make_encoder(3))
    with pytest.raises(ValueError, match=f"VecLatentObservation {match}{vectorised}"):
        VecLatentObservation(DummyVecEnv([make]), make_encoder(3))


def test_trap_12_the_order_is_checked_in_gymnasium_vectors() -> None:
    inside = VectorNormalizeObservation(gym.vector.SyncVectorEnv([Frames]))
    with pytest.raises(ValueError, match=r"NormalizeObservation\(LatentObservation\(envs"):
        VectorLatentObservation(inside, make_encoder(3))


def test_trap_12_what_belongs_outside_works_there() -> None:
    encoder = make_encoder(3)
    env = NormalizeObservation(LatentObservation(Frames(), encoder))
    assert env.reset()[0].shape == (4,)
    envs = VectorNormalizeObservation(VectorLatentObservation(gym.vector.SyncVectorEnv([Frames] * 2), encoder))
    assert envs.reset()[0].shape == (2, 4)
    venv = VecNormalize(VecLatentObservation(_venv(VecTransposeImage, VecMonitor), encoder))
    assert np.asarray(venv.reset()).shape == (1, 4)


def test_trap_12_off_policy_agents_store_codes_with_normalisation_outside() -> None:
    class Continuous(Frames):
        def __init__(self) -> None:
            super().__init__()
            self.action_space = gym.spaces.Box(-1, 1, (1,), np.float32)

    venv = VecNormalize(VecLatentObservation(DummyVecEnv([Continuous]), make_encoder(3)))
    agent = SAC("MlpPolicy", venv, learning_starts=2, buffer_size=20, device="cpu", policy_kwargs={"net_arch": [8]})
    agent.learn(6)
    assert agent.replay_buffer is not None
    assert agent.replay_buffer.observations.shape == (20, 1, 4)


@pytest.mark.parametrize("vectorised", [SyncVectorEnv, AsyncVectorEnv])
@pytest.mark.parametrize(
    ("wrapper", "remedy"),
    [
        (NormalizeObservation, r"outside: NormalizeObservation\(LatentObservation\(envs, "),
        (lambda env: FrameStackObservation(env, 3), r"remove it and stack codes: LatentObservation\(env, .*n_stack=k"),
    ],
)
def test_trap_10_the_order_is_checked_inside_gymnasium_s_vector_environments(
    vectorised: Any, wrapper: Any, remedy: str
) -> None:
    envs = vectorised([lambda: gym.wrappers.TimeLimit(wrapper(Frames()), 9)] * 2)
    try:
        with pytest.raises(ValueError, match=f"LatentObservation cannot be around .*: .*{remedy}"):
            VectorLatentObservation(envs, make_encoder(3))
    finally:
        envs.close()


@pytest.mark.parametrize("options", [{}, {"grayscale": False}])
def test_trap_10_ale_s_vector_environments_that_stack_by_themselves_are_refused(options: dict[str, Any]) -> None:
    vector_env = pytest.importorskip("ale_py.vector_env")
    size = {"img_height": 64, "img_width": 64}
    envs = vector_env.AtariVectorEnv("pong", num_envs=1, stack_num=3, **size, **options)
    try:
        with pytest.raises(ValueError, match="cannot be around FrameStackObservation: stacks of pictures"):
            VectorLatentObservation(envs, make_encoder(3))
    finally:
        envs.close()


@pytest.mark.parametrize(
    ("make", "right"),
    [
        (Frames, LatentObservation),
        (lambda: SyncVectorEnv([Frames] * 3), VectorLatentObservation),
        (lambda: DummyVecEnv([Frames] * 3), VecLatentObservation),
    ],
)
def test_a_wrapper_for_another_kind_of_environment_names_the_right_one(make: Any, right: Any) -> None:
    env = make()
    right(env, make_encoder(3))
    for wrapper in {LatentObservation, VectorLatentObservation, VecLatentObservation} - {right}:
        name = "rl.vector.LatentObservation" if right is VectorLatentObservation else f"rl.{right.__name__}"
        with pytest.raises(TypeError, match=rf"Observation needs an? .*, got {type(env).__name__}: use {name}$"):
            wrapper(env, make_encoder(3))
    maker = {LatentObservation: "gymnasium.make", VectorLatentObservation: "gymnasium.make_vec"}.get(
        right, "make_vec_env"
    )
    with pytest.raises(TypeError, match=rf"got str: make one first \({maker}"):
        right("SparseRepr/SpriteReach-v0", make_encoder(3))
