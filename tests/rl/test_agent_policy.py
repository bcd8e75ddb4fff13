"""Recordings by the agent in a file: what it sees, what it does, and that they repeat and go on."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Any

import gymnasium as gym
import h5py
import numpy as np
import pytest
import torch
from sb3_contrib import RecurrentPPO
from stable_baselines3 import DQN, PPO, SAC, TD3
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BasePolicy

from rl import LatentExtractor, make_latent_vec_env, save_agent
from rl.agent_graph import require_memoryless
from rl.agent_policy import AgentPolicy
from rl.random_share import is_random_episode, random_environments
from rl.record import RecordConfig, main, record
from tests.conftest import make_encoder
from tests.record_envs import Drifting, Gliding, Wandering

ENV = "tests.record_envs:Recorded/Wandering-v0"
GLIDING = "tests.record_envs:Recorded/Gliding-v0"
_SETTINGS: dict[Any, dict[str, Any]] = {
    PPO: {"n_steps": 8, "batch_size": 8, "n_epochs": 1},
    DQN: {"learning_starts": 4, "exploration_final_eps": 0.5, "buffer_size": 50},
    SAC: {"learning_starts": 4, "buffer_size": 50},
    TD3: {"learning_starts": 4, "buffer_size": 50},
}


def _agent(
    algorithm: Any = PPO, *, env: str = ENV, policy: str = "MlpPolicy", settings: Any = None, **options: Any
) -> BaseAlgorithm:
    venv = make_latent_vec_env(env, make_encoder(3), n_envs=1, seed=0, **options)
    chosen = {**_SETTINGS[PPO if algorithm is RecurrentPPO else algorithm], **(settings or {})}
    model: BaseAlgorithm = algorithm(policy, venv, device="cpu", seed=0, policy_kwargs={"net_arch": [8]}, **chosen)
    return model.learn(16)


def _always(model: BaseAlgorithm, action: int) -> BaseAlgorithm:
    with torch.no_grad():
        model.policy.action_net.weight.zero_()
        model.policy.action_net.bias.copy_(torch.eye(5)[action] * 100)
    return model


def _decided(model: BaseAlgorithm) -> BaseAlgorithm:
    """What it does depends on what it sees, and still on what it draws."""
    with torch.no_grad():
        model.policy.action_net.weight.mul_(300)
    return model


@pytest.fixture(scope="module")
def third(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An agent that always takes action 3."""
    return save_agent(tmp_path_factory.mktemp("agents") / "third.zip", _always(_agent(), 3))


@pytest.fixture(scope="module")
def wanderer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An agent that acts by stacked, scaled, normalised codes; do not write into it."""
    made = _decided(_agent(n_stack=3, code_scaling="scale", normalize=True))
    return save_agent(tmp_path_factory.mktemp("agents") / "wanderer.zip", made)


def _config(out: Path, **changes: Any) -> RecordConfig:
    return RecordConfig(**{"env": ENV, "out": str(out), "frames": 60, "envs": 4, "progress": False, **changes})


def _factors(path: Path) -> Any:
    """(steps, environments, 2)."""
    with h5py.File(path) as file:
        return file["factor_values"][:].reshape(-1, 4, 2)


def _content(path: Path) -> tuple[Any, Any, dict[str, Any]]:
    with h5py.File(path) as file:
        return file["images"][:], file["factor_values"][:], dict(file.attrs)


def test_an_agent_that_always_does_the_same_is_recorded_doing_it(tmp_path: Path, third: Path) -> None:
    found = _factors(record(_config(tmp_path / "f.h5", policy=str(third))))
    # the sum of its actions, of 3/7 each, since the start of an episode
    np.testing.assert_allclose(found[..., 0], found[..., 1] * 3 / 7, rtol=1e-5)
    assert (found[1:, :, 1] == 0).any()  # further episodes
    assert (found[..., 1] > 1).any()


def test_a_share_of_the_environments_acts_as_in_a_random_recording(tmp_path: Path, third: Path) -> None:
    half = _factors(record(_config(tmp_path / "half.h5", policy=str(third), random_share=0.5)))
    whole = _factors(record(_config(tmp_path / "agent.h5", policy=str(third))))
    chance = _factors(record(_config(tmp_path / "random.h5")))
    assert np.array_equal(half[:, :2], whole[:, :2])
    assert np.array_equal(half[:, 2:], chance[:, 2:])
    assert not np.array_equal(chance[:, :2], whole[:, :2])
    everywhere = _factors(record(_config(tmp_path / "all.h5", policy=str(third), random_share=1.0)))
    assert np.array_equal(everywhere, chance)


def _third(observations: Any) -> Any:
    return np.full(len(observations), 3)


def _third_of_the_first(observations: Any) -> Any:
    return _third(observations)[:1]


def test_a_function_has_a_random_share_too(tmp_path: Path, third: Path) -> None:
    config = _config(tmp_path / "a.h5", policy=f"{__name__}:_third", random_share=0.25)
    by_agent = record(_config(tmp_path / "b.h5", policy=str(third), random_share=0.25))
    assert np.array_equal(_factors(record(config)), _factors(by_agent))
    given = record(_config(tmp_path / "c.h5", random_share=0.25), policy=_third)
    assert np.array_equal(_factors(given), _factors(by_agent))
    with pytest.raises(ValueError, match=r"policy needs actions of shape \(4,\), one of each environment, got \(1,\)"):
        record(_config(tmp_path / "d.h5", random_share=0.25), policy=_third_of_the_first)


def test_which_environments_are_random() -> None:
    assert random_environments(0.0, 3).tolist() == [False] * 3
    assert random_environments(1.0, 3).tolist() == [True] * 3
    assert random_environments(0.4, 8).tolist() == [False] * 5 + [True] * 3
    assert [sum(is_random_episode(share, k) for k in range(10)) for share in (0, 0.3, 0.5, 1)] == [0, 3, 5, 10]
    with pytest.raises(ValueError, match=r"random_share 0\.1 of 4 environments is none of them: .*0\.25\.\.0\.75"):
        random_environments(0.1, 4)
    with pytest.raises(ValueError, match=r"random_share 0\.9 of 4 environments is all of them"):
        random_environments(0.9, 4)
    with pytest.raises(ValueError, match=r"random_share 0\.5 needs several environments \(--envs\), got 1"):
        random_environments(0.5, 1)


@pytest.mark.parametrize("number", [1, 6, 30, 57, 100, 170])
def test_a_stopped_recording_of_an_agent_ends_as_one_that_nobody_stopped(
    tmp_path: Path, wanderer: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"frames": 101, "every": 2, "policy": str(wanderer), "random_share": 0.5}
    whole = record(_config(tmp_path / "whole.h5", **options))
    steps, step = 0, Drifting.step

    def failing(self: Drifting, action: Any) -> Any:
        nonlocal steps
        steps += 1
        if steps == number:
            raise KeyError("the environment's own fault")
        return step(self, action)

    with monkeypatch.context() as patch:
        patch.setattr(Drifting, "step", failing)
        with pytest.raises(KeyError):
            record(_config(tmp_path / "f.h5", **options))
    moved = shutil.copy(wanderer, tmp_path / "moved.zip")  # the agent counts, not where it is
    continued = record(_config(tmp_path / "f.h5", resume=True, **{**options, "policy": str(moved)}))
    np.testing.assert_equal(_content(continued), _content(whole))
    # what it does depends on what it is shown, and differs from chance
    chance = record(_config(tmp_path / "random.h5", frames=101, every=2))
    assert not np.array_equal(_content(chance)[1], _content(whole)[1])


def test_another_agent_or_share_is_another_recording(tmp_path: Path, wanderer: Path, third: Path) -> None:
    out = record(_config(tmp_path / "f.h5", policy=str(wanderer), frames=8))
    for changes, said in (
        ({"policy": str(third)}, "policy: 'agent "),
        ({"policy": None}, "policy: 'agent .*None asked for"),
        ({"policy": str(wanderer), "random_share": 0.5}, r"random_share: None there, 0\.5 asked for"),
    ):
        with pytest.raises(ValueError, match=f"other settings .*{said}"):
            record(_config(out, frames=8, resume=True, **changes))


def test_the_agent_sees_what_it_was_shown_in_training(wanderer: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    env = Wandering()
    policy = AgentPolicy(
        wanderer, observation_space=env.observation_space, action_space=env.action_space, environments=2
    )
    seen: list[Any] = []
    predict = policy._agent.predict

    def watched(codes: Any, **options: Any) -> Any:
        seen.append(np.array(codes))
        return predict(codes, **options)

    monkeypatch.setattr(policy._agent, "predict", watched)
    images = np.random.default_rng(0).integers(0, 256, (5, 2, 64, 64, 3)).astype(np.uint8)
    # the second environment begins again with the third image, both do so with the last one
    starts = np.array([[True, True], [False, False], [False, True], [False, False], [True, True]])
    for observations, started in zip(images, starts, strict=True):
        assert policy.act(observations, started=started, seed=0).shape == (2,)
    encoder, statistics = make_encoder(3), policy._agent.get_vec_normalize_env()
    assert statistics is not None
    deviation = np.array(encoder.spec.units.std)
    codes = np.where(encoder.spec.units.active, encoder.encode(images.reshape(10, 64, 64, 3)) / deviation, 0)
    codes = codes.reshape(5, 2, -1)
    shown = [
        [[0, 0, 0], [0, 0, 0]],
        [[0, 0, 1], [0, 0, 1]],
        [[0, 1, 2], [2, 2, 2]],
        [[1, 2, 3], [2, 2, 3]],
        [[4, 4, 4], [4, 4, 4]],
    ]
    for found, places in zip(seen, shown, strict=True):
        stacked = np.stack([codes[places[row], row].reshape(-1) for row in range(2)])
        np.testing.assert_allclose(found, statistics.normalize_obs(stacked), atol=1e-5)
    assert statistics.training is False


@pytest.mark.parametrize(
    ("algorithm", "env", "settings"),
    [
        (PPO, ENV, {}),
        (DQN, ENV, {}),
        (SAC, GLIDING, {}),
        (PPO, GLIDING, {"use_sde": True}),
        (TD3, GLIDING, {}),
    ],
)
def test_what_any_agent_does_repeats_by_seed_and_leaves_the_generators_alone(
    tmp_path: Path, algorithm: Any, env: str, settings: dict[str, Any]
) -> None:
    agent = save_agent(tmp_path / "agent.zip", _agent(algorithm, env=env, settings=settings))
    made = Wandering() if env == ENV else Gliding()

    def states() -> list[str]:
        return [str(part) for part in (random.getstate(), np.random.get_state(), torch.get_rng_state().tolist())]  # noqa: NPY002

    before = states()
    policies = [
        AgentPolicy(agent, observation_space=made.observation_space, action_space=made.action_space, environments=40)
        for _ in range(2)
    ]
    images = np.random.default_rng(0).integers(0, 256, (40, 64, 64, 3)).astype(np.uint8)
    started = np.ones(40, dtype=bool)
    first, again = (policy.act(images, started=started, seed=5) for policy in policies)
    assert states() == before
    assert np.array_equal(first, again)
    # DQN draws once whether all act at random
    others = [policies[0].act(images, started=started, seed=seed) for seed in range(20)]
    assert any(not np.array_equal(first, other) for other in others) == (algorithm is not TD3)
    assert all(made.action_space.contains(action) for action in first)


def test_agents_that_take_pictures_act_too(tmp_path: Path) -> None:
    encoder = make_encoder(3)
    options = {"features_extractor_class": LatentExtractor, "features_extractor_kwargs": {"encoder": encoder}}
    kwargs = {**options, "net_arch": [8]}
    model = PPO("CnnPolicy", gym.make(ENV), device="cpu", seed=0, policy_kwargs=kwargs, n_steps=8, batch_size=8)
    agent = save_agent(tmp_path / "agent.zip", _always(model, 2))
    found = _factors(record(_config(tmp_path / "f.h5", policy=str(agent), frames=20)))
    np.testing.assert_allclose(found[..., 0], found[..., 1] * 2 / 7, rtol=1e-5)


def test_wrong_agents_are_refused(tmp_path: Path, third: Path) -> None:
    out = tmp_path / "f.h5"
    with pytest.raises(FileNotFoundError, match=r"no agent at .*none\.zip: expected a file that save_agent wrote"):
        record(_config(out, policy=str(tmp_path / "none.zip")))
    (tmp_path / "text.zip").write_text("hello")
    with pytest.raises(ValueError, match=r"text\.zip: expected a file that save_agent wrote, found a damaged"):
        record(_config(out, policy=str(tmp_path / "text.zip")))
    _agent().save(tmp_path / "plain.zip")
    with pytest.raises(ValueError, match=r"plain\.zip: .*found a plain Stable-Baselines3 model"):
        record(_config(out, policy=str(tmp_path / "plain.zip")))
    with pytest.raises(ValueError, match=r"observes and acts as this environment, with Box.*third\.zip: Action spaces"):
        record(_config(out, env=GLIDING, policy=str(third)))
    with pytest.raises(ValueError, match=r"observes and acts as this environment.*third\.zip: .*64x64"):
        record(_config(out, env="tests.record_envs:Recorded/Drifting-v0", policy=str(third)))
    recurrent = save_agent(tmp_path / "recurrent.zip", _agent(RecurrentPPO, policy="MlpLstmPolicy"))
    with pytest.raises(TypeError, match="policy needs a policy that acts on the observation alone"):
        record(_config(out, policy=str(recurrent)))
    assert not out.exists()
    assert not out.with_name("f.h5.partial").exists()


@pytest.mark.parametrize("share", [-0.1, 1.5, float("nan"), True, "half"])
def test_shares_outside_0_to_1_are_refused(share: Any) -> None:
    with pytest.raises(ValueError, match=r"random_share needs a number in 0\.\.1, got "):
        RecordConfig(ENV, "f.h5", policy="a.zip", random_share=share)


def test_a_share_needs_a_policy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [ENV, "--out", str(tmp_path / "f.h5"), "--random-share", "0.5", "--no-progress"]
    assert main(words) == 2
    assert "random_share 0.5 needs a policy that acts in the rest; without --policy all actions are random" in (
        capsys.readouterr().err
    )
    assert list(tmp_path.iterdir()) == []


def test_an_agent_plays_whole_episodes_and_chance_the_others(
    tmp_path: Path, third: Path, wanderer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    minari = pytest.importorskip("minari")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "datasets"))
    common: dict[str, Any] = {"format": "minari", "frames": 80, "envs": 1}

    def episodes(name: str, **options: Any) -> list[Any]:
        record(_config(name, **common, **options))  # type: ignore[arg-type]
        return list(minari.load_dataset(name).iterate_episodes())

    half = episodes("agents/half-v0", policy=str(third), random_share=0.5)
    chance = episodes("agents/random-v0")
    assert len(half) > 3
    assert all((episode.actions == 3).all() for episode in half[::2])
    assert not all((episode.actions == 3).all() for episode in half[1::2])
    for mine, other in zip(half[1::2], chance[1::2], strict=False):
        count = min(len(mine.actions), len(other.actions))
        assert np.array_equal(mine.actions[:count], other.actions[:count])
    told = minari.load_dataset("agents/half-v0").storage.metadata["algorithm_name"]
    assert told == "third.zip, random actions in 0.5 of the episodes"
    first = episodes("agents/first-v0", policy=str(wanderer))
    again = episodes("agents/again-v0", policy=str(wanderer))
    assert all(np.array_equal(one.actions, two.actions) for one, two in zip(first, again, strict=True))


def test_a_policy_that_does_not_compute_in_torch_is_refused() -> None:
    class Elsewhere(BasePolicy):
        """As those of SBX: a torch module by its class, without a parameter."""

        def _predict(self, observation: Any, deterministic: bool = False) -> Any:
            return observation

    policy = Elsewhere(gym.spaces.Box(0, 1, (2,)), gym.spaces.Discrete(2))
    with pytest.raises(TypeError, match="rl.record needs a policy that computes in torch, but .*Elsewhere has no"):
        require_memoryless(policy, "rl.record")
