"""What may be around the codes of an agent that is saved or exported, in this process and in others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import wrappers
from sb3_contrib.common.wrappers import ActionMasker
from stable_baselines3 import A2C
from stable_baselines3.common.atari_wrappers import ClipRewardEnv
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import (
    DummyVecEnv,
    SubprocVecEnv,
    VecCheckNan,
    VecEnv,
    VecFrameStack,
    VecNormalize,
)

from rl import CopiedObservation, LatentObservation, VecLatentObservation, load_agent, save_agent
from rl.export import export_agent
from tests.conftest import make_encoder
from tests.frame_envs import Frames, picture
from tests.rl.test_agents import Continuous, other_encoder

# forked because a fresh interpreter would import torch for seconds; the children encode, but with one thread
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")

Wrap = Callable[[Any], Any]


class Doubled(gym.Wrapper[Any, Any, Any, Any]):
    """An own wrapper that is no ObservationWrapper and changes codes all the same."""

    def step(self, action: Any) -> Any:
        observation, *others = self.env.step(action)
        return (2 * observation, *others)


class Counting(Monitor):
    """Derived from a harmless one: may do anything."""


class OwnNormalize(VecNormalize):
    """Derived from one whose state is saved."""


class OwnLatent(LatentObservation):
    """Derived from what makes the codes."""


class OwnVecLatent(VecLatentObservation):
    """Derived from what makes the codes."""


def _codes() -> LatentObservation:
    return LatentObservation(Continuous(), make_encoder(3))


@pytest.fixture(params=[DummyVecEnv, SubprocVecEnv])
def vectorised(request: pytest.FixtureRequest) -> Iterator[Callable[[Callable[[], Any]], VecEnv]]:
    made: list[VecEnv] = []

    def make(factory: Callable[[], Any]) -> VecEnv:
        options = {"start_method": "fork"} if request.param is SubprocVecEnv else {}
        made.append(request.param([factory], **options))
        return made[-1]

    yield make
    for venv in made:
        venv.close()


def _agent(env: Any) -> BaseAlgorithm:
    return A2C("MlpPolicy", env, n_steps=4, device="cpu", seed=0)


AROUND: dict[str, Wrap] = {
    "MaxAndSkipObservation": lambda env: wrappers.MaxAndSkipObservation(env, skip=2),
    "DelayObservation": lambda env: wrappers.DelayObservation(env, delay=1),
    "TimeAwareObservation": lambda env: wrappers.TimeAwareObservation(wrappers.TimeLimit(env, 9)),
    "NormalizeObservation": wrappers.NormalizeObservation,
    "FrameStackObservation": lambda env: wrappers.FlattenObservation(wrappers.FrameStackObservation(env, 2)),
    "RescaleAction": lambda env: wrappers.RescaleAction(env, np.float32(-2), np.float32(2)),
    "TransformAction": lambda env: wrappers.TransformAction(env, lambda action: action / 2, env.action_space),
    "StickyAction": lambda env: wrappers.StickyAction(env, 0.5),
    "RepeatAction": lambda env: wrappers.RepeatAction(env, 2),
    "Doubled": Doubled,
    "Counting": Counting,
    "a wrapper under a harmless one": lambda env: Monitor(Doubled(env)),
}


@pytest.mark.parametrize("name", AROUND)
def test_a_wrapper_that_may_change_codes_or_actions_is_refused(name: str, vectorised: Any, tmp_path: Path) -> None:
    agent = _agent(vectorised(lambda: AROUND[name](_codes())))
    found = {"a wrapper under a harmless one": "Doubled", "FrameStackObservation": "FlattenObservation"}.get(name, name)
    with pytest.raises(ValueError, match=rf"{found}.* is around the codes and not known to leave"):
        save_agent(tmp_path / "agent.zip", agent)
    with pytest.raises(ValueError, match=rf"{found}.* is around the codes and not known to leave"):
        export_agent(agent, tmp_path / "agent.pt2")
    assert not list(tmp_path.iterdir())


HARMLESS: list[Wrap] = [
    Monitor,
    CopiedObservation,
    ClipRewardEnv,
    wrappers.OrderEnforcing,
    wrappers.PassiveEnvChecker,
    wrappers.RecordEpisodeStatistics,
    lambda env: wrappers.TimeLimit(env, 10),
    lambda env: wrappers.ClipReward(env, -1, 1),
    lambda env: wrappers.TransformReward(env, lambda reward: 2 * reward),
    lambda env: ActionMasker(env, lambda _: np.ones(1, bool)),
]


def _in_all_of_them() -> Any:
    env: Any = _codes()
    for wrap in HARMLESS:
        env = wrap(env)
    return env


# what the checker says of codes, whose range is not known
@pytest.mark.filterwarnings("ignore:.*A Box observation space (minimum|maximum) value is -?infinity:UserWarning")
def test_harmless_wrappers_are_none_of_an_agents_business(vectorised: Any, tmp_path: Path) -> None:
    agent = _agent(VecNormalize(VecCheckNan(vectorised(_in_all_of_them))))
    model, venv = load_agent(save_agent(tmp_path / "agent.zip", agent), Continuous(), device="cpu")
    assert venv is not None
    images = np.stack([picture(0, 0), picture(0, 1)])
    normalised = agent.get_vec_normalize_env().normalize_obs(make_encoder(3).encode(images))  # type: ignore[union-attr]
    expected = agent.predict(normalised, deterministic=True)[0]
    np.testing.assert_allclose(model.predict(normalised, deterministic=True)[0], expected, atol=1e-6)
    # the shape of images is asked of the environment, wherever it is
    path = export_agent(agent, tmp_path / "agent.pt2")
    actions = torch.export.load(path).module()(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(actions, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("build", "found"),
    [
        (lambda venv: VecFrameStack(VecLatentObservation(venv, make_encoder(3)), 2), "VecFrameStack"),
        (lambda venv: OwnNormalize(VecLatentObservation(venv, make_encoder(3))), "OwnNormalize"),
        (lambda venv: OwnVecLatent(venv, make_encoder(3)), "OwnVecLatent"),
        (lambda venv: VecFrameStack(DummyVecEnv([_codes]), 2), "VecFrameStack"),
        (lambda venv: DummyVecEnv([lambda: OwnLatent(Continuous(), make_encoder(3))]), "OwnLatent"),
        (lambda venv: DummyVecEnv([_codes, lambda: Doubled(_codes())]), "Doubled"),
    ],
)
def test_vectorised_wrappers_variants_and_later_environments_are_seen(build: Any, found: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"{found} is around the codes .*use n_stack"):
        save_agent(tmp_path / "agent.zip", _agent(build(DummyVecEnv([Continuous]))))


def test_the_remedy_is_to_put_it_inside_where_it_can_be(tmp_path: Path) -> None:
    outside = _agent(wrappers.MaxAndSkipObservation(_codes(), skip=2))
    with pytest.raises(ValueError, match=r"put it inside, LatentObservation\(MaxAndSkipObservation\(env\), \.\.\.\)"):
        save_agent(tmp_path / "agent.zip", outside)
    inside = _agent(LatentObservation(wrappers.MaxAndSkipObservation(Continuous(), skip=2), make_encoder(3)))
    assert save_agent(tmp_path / "agent.zip", inside).is_file()
    with pytest.raises(
        ValueError, match="cannot hold it: to change codes use n_stack, code_scaling, recode or VecNormalize"
    ):
        save_agent(tmp_path / "other.zip", _agent(wrappers.NormalizeObservation(_codes())))


@pytest.mark.parametrize("kind", ["RescaleAction", "TransformAction"])
def test_actions_that_are_changed_inside_are_named_when_exporting(kind: str, vectorised: Any, tmp_path: Path) -> None:
    venv = vectorised(lambda: AROUND[kind](Continuous()))
    agent = _agent(VecLatentObservation(venv, make_encoder(3)))
    with pytest.warns(UserWarning, match=f"gives the actions of predict, in Box.*{kind}.* changes them"):
        path = export_agent(agent, tmp_path / "agent.pt2")
    images = np.stack([picture(0, 0), picture(0, 1)])
    expected = agent.predict(make_encoder(3).encode(images), deterministic=True)[0]
    actions = torch.export.load(path).module()(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(actions, expected, atol=1e-5)


def test_environments_that_differ_are_refused(tmp_path: Path) -> None:
    def agent(*factories: Callable[[], Any]) -> BaseAlgorithm:
        return _agent(DummyVecEnv(list(factories)))

    def scaled() -> Any:
        return LatentObservation(Frames(), make_encoder(3), n_stack=2, include_log_variance=False)

    def uncertain() -> Any:
        return LatentObservation(Frames(), make_encoder(3), include_log_variance=True)

    def other() -> Any:
        return LatentObservation(Frames(), other_encoder(), n_stack=2)

    with pytest.raises(ValueError, match=r"one set of options in all environments, got .*n_stack=1.*n_stack=2"):
        save_agent(tmp_path / "agent.zip", agent(scaled, uncertain))
    with pytest.raises(ValueError, match="one encoder in all environments, got .*FrozenEncoder.*FrozenEncoder"):
        save_agent(tmp_path / "agent.zip", agent(scaled, other))


def test_an_encoder_that_is_not_the_environments_is_not_exported(tmp_path: Path) -> None:
    agent = _agent(_codes())
    with pytest.raises(ValueError, match="is wrapped in FrozenEncoder.*given were FrozenEncoder.*: leave encoder and"):
        export_agent(agent, tmp_path / "agent.pt2", encoder=other_encoder())
    assert export_agent(agent, tmp_path / "agent.pt2", encoder=make_encoder(3)).is_file()


def test_an_encoder_that_the_agent_never_saw_is_not_exported(tmp_path: Path) -> None:
    agent = _agent(_codes())
    agent.save(tmp_path / "agent.zip")
    alone = A2C.load(tmp_path / "agent.zip", device="cpu")
    one, other = make_encoder(3), other_encoder()
    with pytest.raises(ValueError, match=rf"observes .*{one.fingerprint[:12]}.* makes .*{other.fingerprint[:12]}"):
        export_agent(alone, tmp_path / "agent.pt2", encoder=other, image_shape=(64, 64, 3))
    assert export_agent(alone, tmp_path / "agent.pt2", encoder=one, image_shape=(64, 64, 3)).is_file()
