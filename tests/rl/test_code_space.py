"""The space of codes knows what made them, so that Stable-Baselines3's own checks tell encoders apart."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cloudpickle
import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv
from gymnasium.vector.utils import batch_space
from stable_baselines3 import A2C, SAC
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import EvalCallback
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecFrameStack, VecNormalize

from rl import LatentObservation, SameCodes, VecLatentObservation, require_same_codes
from rl.code_space import CodeSpace, same_codes
from tests.conftest import make_encoder
from tests.frame_envs import Frames
from tests.rl.test_agents import Continuous, other_encoder

BOX = gym.spaces.Box(-np.inf, np.inf, (4,), np.float32)
ONE, OTHER = make_encoder(3), other_encoder()
REFUSED = (
    rf"Observation spaces do not match: .*codes of encoder {ONE.fingerprint[:12]} with n_stack=1, .* != "
    rf".*codes of encoder {OTHER.fingerprint[:12]} with n_stack=1"
)
DIFFER = rf"was trained on .*{ONE.fingerprint[:12]}.* shows .*{OTHER.fingerprint[:12]}.*wrap it in the same encoder"


def _agent(env: Any) -> BaseAlgorithm:
    named = not isinstance(env, str) and isinstance(env.observation_space, gym.spaces.Dict)
    kind = "MultiInputPolicy" if named else "MlpPolicy"
    return A2C(kind, env, n_steps=4, device="cpu", seed=0)


def _single(encoder: Any, **options: Any) -> Any:
    return Monitor(LatentObservation(Frames(), encoder, **options))


def _vectorised(encoder: Any, **options: Any) -> Any:
    return VecLatentObservation(DummyVecEnv([Frames]), encoder, **options)


def _normalised(encoder: Any, **options: Any) -> Any:
    return VecNormalize(_vectorised(encoder, **options))


def _named(encoder: Any, **options: Any) -> Any:
    venv = DummyVecEnv([lambda: Frames(named=True)])
    return VecLatentObservation(venv, encoder, image_keys=["front", "back"], **options)


def test_spaces_are_equal_where_codes_mean_the_same() -> None:
    space = CodeSpace(ONE, n_stack=2)
    assert space == CodeSpace(make_encoder(3), n_stack=2)
    assert space != CodeSpace(OTHER, n_stack=2)
    assert CodeSpace(OTHER, n_stack=2) != space
    # of the same width and another meaning
    assert space != CodeSpace(ONE, include_log_variance=True)
    assert space != CodeSpace(ONE, n_stack=2, code_scaling="scale")
    for plain in (gym.spaces.Box(-np.inf, np.inf, (8,), np.float32),):
        assert space == plain
        assert plain == space
    assert space != BOX
    assert space != gym.spaces.Discrete(8)


COPIES: dict[str, Callable[[Any], Any]] = {
    "deepcopy": copy.deepcopy,
    "copy": copy.copy,
    "pickle": lambda space: pickle.loads(pickle.dumps(space)),
    "cloudpickle": lambda space: cloudpickle.loads(cloudpickle.dumps(space)),
    "cloudpickle twice": lambda space: cloudpickle.loads(
        cloudpickle.dumps(cloudpickle.loads(cloudpickle.dumps(space)))
    ),
}


@pytest.mark.parametrize("name", COPIES)
def test_copies_know_what_made_the_codes(name: str) -> None:
    for space in (CodeSpace(ONE), gym.spaces.Dict({"front": CodeSpace(ONE), "speed": BOX})):
        found = COPIES[name](space)
        assert found == space
        assert space == found
        other = CodeSpace(OTHER)
        different = gym.spaces.Dict({"front": other, "speed": BOX}) if isinstance(space, gym.spaces.Dict) else other
        assert found != different
        assert different != found
        assert f"codes of encoder {ONE.fingerprint[:12]}" in repr(found)
    space = CodeSpace(ONE)
    space.seed(3)
    drawn = COPIES[name](space).sample()
    space.seed(3)
    assert np.array_equal(drawn, space.sample())


@pytest.mark.parametrize("make", [_single, _vectorised, _normalised, _named])
def test_an_environment_of_another_encoder_is_refused(make: Any, tmp_path: Path) -> None:
    agent = _agent(make(ONE))
    agent.set_env(make(make_encoder(3)))
    agent.save(tmp_path / "agent.zip")
    with pytest.raises(ValueError, match=REFUSED):
        agent.set_env(make(OTHER))
    with pytest.raises(ValueError, match=REFUSED):
        A2C.load(tmp_path / "agent.zip", env=make(OTHER), device="cpu")
    loaded = A2C.load(tmp_path / "agent.zip", env=make(ONE), device="cpu")
    with pytest.raises(ValueError, match=REFUSED):
        loaded.set_env(make(OTHER))
    # a loaded agent that is saved again knows it still
    loaded.save(tmp_path / "again.zip")
    with pytest.raises(ValueError, match=REFUSED):
        A2C.load(tmp_path / "again.zip", env=make(OTHER), device="cpu")
    assert A2C.load(tmp_path / "again.zip", env=make(ONE), device="cpu").learn(4)


def test_other_options_of_equal_width_are_refused() -> None:
    agent = _agent(_vectorised(ONE, n_stack=2))
    with pytest.raises(
        ValueError, match="n_stack=2, .* != .*n_stack=1, code_scaling='none', include_log_variance=True"
    ):
        agent.set_env(_vectorised(ONE, include_log_variance=True))
    with pytest.raises(ValueError, match="code_scaling='none'.* != .*code_scaling='scale'"):
        agent.set_env(_vectorised(ONE, n_stack=2, code_scaling="scale"))
    agent.set_env(_vectorised(ONE, n_stack=2, keep_image=True))


# forked because a fresh interpreter would import torch for seconds; the children do not encode
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_codes_made_in_other_processes_are_told_apart(tmp_path: Path) -> None:
    def make(encoder: Any) -> SubprocVecEnv:
        return SubprocVecEnv([lambda: LatentObservation(Frames(), encoder)], start_method="fork")

    one, other = make(ONE), make(OTHER)
    try:
        agent = _agent(one)
        agent.save(tmp_path / "agent.zip")
        with pytest.raises(ValueError, match=REFUSED):
            agent.set_env(other)
        with pytest.raises(ValueError, match=REFUSED):
            A2C.load(tmp_path / "agent.zip", env=other, device="cpu")
    finally:
        one.close()
        other.close()


def test_agents_saved_before_spaces_knew_their_encoder_load(tmp_path: Path) -> None:
    venv = _vectorised(ONE)
    venv.observation_space = BOX  # as it was
    _agent(venv).save(tmp_path / "agent.zip")
    assert A2C.load(tmp_path / "agent.zip", env=_vectorised(ONE), device="cpu").learn(4)


def test_the_file_of_an_agent_loads_without_this_package(tmp_path: Path) -> None:
    _agent(_vectorised(ONE)).save(tmp_path / "agent.zip")
    # what A2C.load does with the entry, without the seconds that the import of torch takes
    program = """
import base64, json, sys, zipfile
import cloudpickle, gymnasium
entry = json.loads(zipfile.ZipFile("agent.zip").read("data"))["observation_space"]
space = cloudpickle.loads(base64.b64decode(entry[":serialized:"]))
assert type(space) is gymnasium.spaces.Box and space.contains(space.sample())
assert not {"rl", "sparse_repr"} & set(sys.modules)
print(space, entry["made_by"]["encoder"])
"""
    command = [sys.executable, "-I", "-c", program]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert f"codes of encoder {ONE.fingerprint[:12]}" in run.stdout
    assert run.stdout.strip().endswith(ONE.fingerprint)


def test_statistics_saved_by_vec_normalize_keep_the_space(tmp_path: Path) -> None:
    _normalised(ONE).save(str(tmp_path / "statistics.pkl"))
    venv = VecNormalize.load(str(tmp_path / "statistics.pkl"), _vectorised(ONE))
    assert venv.observation_space == CodeSpace(ONE)
    assert venv.observation_space != CodeSpace(OTHER)


# forked because a fresh interpreter would import torch for seconds; the children do not encode
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_gymnasium_vectors_take_the_space() -> None:
    factories = [lambda: LatentObservation(Frames(), ONE)] * 2
    venvs = [SyncVectorEnv(factories), AsyncVectorEnv(factories, context="fork")]
    for venv in venvs:
        assert venv.single_observation_space == CodeSpace(ONE)
        assert venv.observation_space == batch_space(BOX, 2)
        venv.close()
    with pytest.raises(RuntimeError, match="spaces"):
        SyncVectorEnv([factories[0], lambda: LatentObservation(Frames(), OTHER)])


@pytest.mark.parametrize("make", [_single, _vectorised, _normalised, _named])
def test_evaluation_on_other_codes_is_refused(make: Any) -> None:
    agent = _agent(make(ONE))
    with pytest.raises(ValueError, match=DIFFER):
        agent.learn(4, callback=[SameCodes(make(OTHER)), EvalCallback(make(OTHER), eval_freq=2)])
    check = make(make_encoder(3))
    agent.learn(4, callback=[SameCodes(check), EvalCallback(check, eval_freq=100, warn=False, verbose=0)])


@pytest.mark.parametrize(
    "wrap",
    [
        lambda encoder: VecFrameStack(_vectorised(encoder), 2),
        lambda encoder: VecFrameStack(DummyVecEnv([lambda: _single(encoder)]), 2),
        lambda encoder: gym.wrappers.NormalizeObservation(LatentObservation(Frames(), encoder)),
    ],
)
def test_wrappers_that_make_a_space_of_their_own_do_not_hide_the_codes(wrap: Any) -> None:
    agent = _agent(wrap(ONE))
    with pytest.raises(ValueError, match=DIFFER):
        agent.learn(4, callback=SameCodes(wrap(OTHER)))
    agent.learn(4, callback=SameCodes(wrap(ONE)))


def test_an_agent_and_an_environment_are_compared_where_nothing_else_does(tmp_path: Path) -> None:
    agent = _agent(_normalised(ONE))
    agent.save(tmp_path / "agent.zip")
    _normalised(ONE).save(str(tmp_path / "statistics.pkl"))
    alone = A2C.load(tmp_path / "agent.zip", device="cpu")
    for model in (agent, alone):
        require_same_codes(model, _normalised(ONE))
        require_same_codes(model, _single(ONE))
        for other in (_normalised(OTHER), _single(OTHER), DummyVecEnv([lambda: _single(OTHER)])):
            with pytest.raises(ValueError, match=DIFFER):
                require_same_codes(model, other)
        with pytest.raises(ValueError, match="n_stack=1.* shows .*n_stack=2"):
            require_same_codes(model, _vectorised(ONE, n_stack=2))
    # VecNormalize.load shows the space it was saved with, whatever is inside
    restored = VecNormalize.load(str(tmp_path / "statistics.pkl"), _vectorised(OTHER))
    with pytest.raises(ValueError, match=DIFFER):
        require_same_codes(alone, restored)
    with pytest.raises(ValueError, match=DIFFER):
        A2C.load(tmp_path / "agent.zip", env=restored, device="cpu").learn(4, callback=SameCodes(_normalised(ONE)))
    # of agents on anything else nothing is known
    require_same_codes(_agent("CartPole-v1"), _single(OTHER))


def test_a_replay_buffer_holds_eight_bytes_per_unit_and_step() -> None:
    venv = VecLatentObservation(DummyVecEnv([Continuous]), ONE, n_stack=2)
    buffer = SAC("MlpPolicy", venv, buffer_size=100, device="cpu").replay_buffer
    assert buffer is not None
    assert buffer.observations.nbytes + buffer.next_observations.nbytes == 100 * 8 * 2 * ONE.code_size


def test_ready_made_environments_in_other_processes_tell_what_made_their_codes(tmp_path: Path) -> None:
    agent = A2C("MlpPolicy", LatentObservation(Continuous(), ONE), device="cpu")
    agent.save(tmp_path / "agent.zip")
    same, wrong = (LatentObservation(Continuous(), encoder) for encoder in (ONE, OTHER))
    venv = SubprocVecEnv([lambda: wrong])
    try:
        assert type(venv.observation_space) is CodeSpace
        with pytest.raises(ValueError, match=REFUSED):
            A2C.load(tmp_path / "agent.zip", env=venv)
        with pytest.raises(ValueError, match=DIFFER):
            require_same_codes(agent, venv)
    finally:
        venv.close()
    venv = SubprocVecEnv([lambda: same])
    try:
        require_same_codes(A2C.load(tmp_path / "agent.zip", env=venv), venv)
    finally:
        venv.close()


def test_codes_are_compared_in_plain_boxes_too() -> None:
    one, other = (cloudpickle.loads(cloudpickle.dumps(CodeSpace(encoder))) for encoder in (ONE, OTHER))
    assert type(one) is gym.spaces.Box
    assert one == other  # Gymnasium's own comparison knows of bounds alone
    assert not same_codes(one, other)
    assert same_codes(one, CodeSpace(ONE))
    both = [gym.spaces.Dict({"code": box, "speed": BOX}) for box in (one, other)]
    assert not same_codes(*both)
    assert same_codes(both[0], copy.deepcopy(both[0]))
