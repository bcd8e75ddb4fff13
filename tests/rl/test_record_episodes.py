"""`python -m rl.record --format minari`: whole episodes that Minari's own loader and ours read back."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from rl import record_episodes
from rl.record import RecordConfig, RecordingInterrupted, main, record
from sparse_repr.data import load_dataset

ENV = "envs:SparseRepr/SpriteReach-v0"
NAME = "sprites/reach-v0"


def _config(**changes: Any) -> RecordConfig:
    return RecordConfig(**{"env": ENV, "out": NAME, "format": "minari", "frames": 130, "progress": False, **changes})


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where Minari keeps its data sets."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "datasets"))
    return tmp_path / "datasets"


@pytest.fixture
def minari(home: Path) -> Any:
    del home
    return pytest.importorskip("minari")


def downwards(observations: Any) -> Any:
    """A policy: batched observations -> batched actions."""
    return np.tile(np.float32([0.5, 1.0]), (len(observations), 1))


def test_episodes_are_played_as_the_environment_has_them(minari: Any, home: Path) -> None:
    assert record(_config(env_kwargs='{"domain": "source"}', policy=f"{__name__}:downwards")) == home / NAME
    data = minari.load_dataset(NAME)
    assert list(minari.list_local_datasets()) == [NAME]
    episodes = list(data.iterate_episodes())
    assert sum(len(episode.rewards) + 1 for episode in episodes) >= 130
    assert len(episodes) == data.total_episodes >= 3
    env = data.recover_environment()
    assert env.unwrapped.domain.combinations == "source"
    names = env.get_wrapper_attr("factor_names")
    assert data.storage.metadata["factor_names"] == list(names)
    for number, episode in enumerate(episodes):
        seed = record_episodes.seed_of(0, 0, 0, number)
        observation, info = env.reset(seed=seed)
        frames, factors = [observation.copy()], [info["factors"]]
        for step, action in enumerate(episode.actions):
            assert action.tolist() == [0.5, 1.0]
            observation, reward, terminated, truncated, info = env.step(action)
            frames.append(observation.copy())
            factors.append(info["factors"])
            assert reward == episode.rewards[step]
            ended = episode.terminations[step] or episode.truncations[step]
            assert ended == (step == len(episode.actions) - 1)
            assert bool(episode.terminations[step]) == terminated
            if number < len(episodes) - 1:  # the last one is cut
                assert bool(episode.truncations[step]) == truncated
        assert np.array_equal(episode.observations, frames)  # pictures come back as they were
        assert np.array_equal(episode.infos["factors"], factors)
    ours = load_dataset("minari", NAME)
    expected = np.concatenate([episode.observations for episode in episodes]).transpose(0, 3, 1, 2)
    assert np.array_equal(ours.images(np.arange(len(ours))), expected)
    # with its factors, as a recording of frames has them
    assert ours.factor_values is not None
    assert ours.factors is not None
    assert np.array_equal(ours.factor_values, np.concatenate([episode.infos["factors"] for episode in episodes]))
    frames = load_dataset("h5", record(RecordConfig(ENV, str(home / "frames.h5"), frames=20, progress=False)))
    assert ours.factor_names == frames.factor_names
    assert ours.factor_sizes == frames.factor_sizes
    assert ours.nominal_factors == frames.nominal_factors
    assert ours.factors.max(0).tolist() <= [size - 1 for size in ours.factor_sizes]


def test_random_actions_are_others_in_each_episode(minari: Any) -> None:
    record(_config())
    first, second, *_ = minari.load_dataset(NAME).iterate_episodes()
    count = min(len(first.actions), len(second.actions))
    assert not np.allclose(first.actions[:count], second.actions[:count])
    assert len(np.unique(first.actions, axis=0)) == len(first.actions)


class _Cameras(gym.Env[Any, Any]):
    """Two pictures and a state, all drawn into the same arrays, and actions of two parts."""

    observation_space = gym.spaces.Dict(
        {
            "front": gym.spaces.Box(0, 255, (8, 8, 3), np.uint8),
            "back": gym.spaces.Box(0, 255, (8, 8, 3), np.uint8),
            "state": gym.spaces.Box(-1, 1, (2,), np.float32),
        }
    )
    action_space = gym.spaces.Tuple((gym.spaces.Discrete(3), gym.spaces.Box(-1, 1, (2,), np.float32)))

    def __init__(self) -> None:
        self._shown = {name: np.zeros(part.shape, part.dtype) for name, part in self.observation_space.items()}
        self._steps = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self._steps = 0
        self._shown["front"][:] = 200
        return self._shown, {"words": "none", "depth": 1.5}

    def step(self, action: Any) -> Any:
        assert self.action_space.contains(action)
        self._steps += 1
        self._shown["front"][:] = self._steps
        self._shown["state"][:] = action[1]
        return self._shown, 1, self._steps == 4, False, {"depth": 2.5, "later": 1}


def test_observations_and_actions_of_several_parts(minari: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        gym.registry, "Cameras-v0", gym.envs.registration.EnvSpec("Cameras-v0", _Cameras, disable_env_checker=True)
    )
    record(_config(env="Cameras-v0", out="cameras-v0", frames=10))
    data = minari.load_dataset("cameras-v0")
    assert data.env_spec is None  # a class that has no name cannot be written down
    one, two = data.iterate_episodes()
    for episode in (one, two):
        assert episode.observations["front"][:, 0, 0, 0].tolist() == [200, 1, 2, 3, 4]
        np.testing.assert_array_equal(episode.observations["state"][1:], episode.actions[1])
        assert episode.actions[0].shape == (4,)
        assert list(episode.infos) == ["depth"]  # what every step has, and is a number
        assert episode.infos["depth"].tolist() == [1.5, 2.5, 2.5, 2.5, 2.5]
    assert load_dataset("minari", "cameras-v0#front").images([1])[0].max() == 1


def test_an_interrupted_recording_goes_on_as_if_nothing_had_happened(
    minari: Any, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(_config(out="sprites/whole-v0"))
    played = record_episodes._episode

    def interrupted(config: Any, env: Any, number: int, *others: Any) -> Any:
        if number == 1:
            signal.raise_signal(signal.SIGINT)
        return played(config, env, number, *others)

    monkeypatch.setattr(record_episodes, "_episode", interrupted)
    with pytest.raises(RecordingInterrupted, match=r"stopped after \d+ frames; .*\.reach-v0\.partial") as stopped:
        record(_config())
    assert "plus --resume continues" in stopped.value.advice
    monkeypatch.setattr(record_episodes, "_episode", played)
    assert not (home / NAME).exists()
    assert list(minari.list_local_datasets()) == ["sprites/whole-v0"]
    with pytest.raises(FileExistsError, match="an interrupted recording is at .*: continue it with --resume, or"):
        record(_config())
    with pytest.raises(ValueError, match=r"was recorded with other settings \(seed: 0 there, 1 asked for\)"):
        record(_config(seed=1, resume=True))
    record(_config(resume=True))
    whole, gone_on = (list(minari.load_dataset(name).iterate_episodes()) for name in ("sprites/whole-v0", NAME))
    assert len(whole) == len(gone_on) > 1
    for one, other in zip(whole, gone_on, strict=True):
        assert np.array_equal(one.observations, other.observations)
        assert np.array_equal(one.actions, other.actions)
        assert np.array_equal(one.infos["factors"], other.infos["factors"])
    assert not list(home.rglob("*partial"))


def test_what_is_finished_is_kept_or_replaced_when_asked(minari: Any, home: Path) -> None:
    record(_config(frames=20))
    before = (home / NAME / "data/main_data.hdf5").read_bytes()
    with pytest.raises(FileExistsError, match="exists; give --overwrite, or another --out"):
        record(_config(frames=20))
    record(_config(frames=20, resume=True))
    assert (home / NAME / "data/main_data.hdf5").read_bytes() == before
    with pytest.raises(ValueError, match=r"other settings \(frames: 20 there, 30 asked for\)"):
        record(_config(frames=30, resume=True))
    record(_config(frames=30, seed=5, overwrite=True))
    assert minari.load_dataset(NAME).total_steps > 20
    assert sorted(path.name for path in (home / "sprites").iterdir() if path.is_dir()) == ["reach-v0"]
    metadata = home / NAME / "data/metadata.json"
    metadata.write_text(json.dumps({"total_steps": 3}))
    with pytest.raises(FileExistsError, match="exists, and is no recording"):
        record(_config(frames=30, resume=True))


def test_a_damaged_recording_is_not_continued(minari: Any, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    del minari
    monkeypatch.setattr(record_episodes, "_play", lambda *_: signal.raise_signal(signal.SIGINT))
    with pytest.raises(RecordingInterrupted):
        record(_config())
    partial = home / "sprites/.reach-v0.partial"
    metadata = partial / "data/metadata.json"
    metadata.write_text(json.dumps({**json.loads(metadata.read_text()), "total_episodes": 2, "total_steps": 9}))
    with pytest.raises(ValueError, match=r"reach-v0\.partial: cannot be continued .*start again with --overwrite"):
        record(_config(resume=True))


def test_environments_without_pictures_are_refused(minari: Any, home: Path) -> None:
    del minari
    with pytest.raises(TypeError, match="CartPole-v1 needs uint8 image observations .*--format hdf5 --render"):
        record(_config(env="CartPole-v1"))
    assert not list(home.rglob("*.partial"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"out": "frames.h5"}, "out needs the name of a Minari data set, NAMESPACE/NAME-v0, got 'frames.h5'"),
        ({"out": "sprites/reach"}, "for example sprites/reach-v0"),
        ({"out": "../reach-v0"}, "out needs the name of a Minari data set"),
        ({"every": 3}, "format minari records whole episodes .* leave every out"),
        ({"render": True}, "leave render out"),
        ({"key": "rgb"}, "leave key out"),
        ({"parallel": True}, "leave parallel out"),
    ],
)
def test_settings_that_do_not_fit_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _config(**changes)


def test_minari_that_is_not_installed_is_named(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("minari", "minari.dataset", "minari.dataset.minari_storage", "minari.storage"):
        monkeypatch.setitem(sys.modules, name, None)
    assert main([ENV, "--out", NAME, "--format", "minari"]) == 2
    assert "--format minari needs minari: install sparse-repr[minari]" in capsys.readouterr().err
    assert not home.exists()


def test_the_command_says_how_to_go_on(minari: Any, capsys: pytest.CaptureFixture[str]) -> None:
    del minari
    assert main([ENV, "--out", NAME, "--format", "minari", "--frames", "20", "--no-progress"]) == 0
    assert f"next:     python -m sparse_repr.pretrain --dataset minari --data-path {NAME}" in capsys.readouterr().out
