"""Whole episodes as a Minari data set: `python -m rl.record ENV --format minari --out NAMESPACE/NAME-v0`."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from tqdm import tqdm

from rl.episodes import Policy, SeededEpisodes, actions_of, seed_of
from rl.random_share import is_random_episode
from rl.record_config import RecordConfig
from rl.recording import RecordedFactors, RecordingInterrupted, compare_settings, recording_lock
from sparse_repr.files import require_space
from sparse_repr.files.json_reader import TEXT, Shape, read_json, whole

# Between two moments at which a killed recording can be continued: what is done again then.
_SAVE_S = 5.0
_SAVE_BYTES = 2**28
_SETTINGS = "sparse_repr_settings"
_METADATA: Shape = {_SETTINGS: TEXT, "total_episodes": whole(0), "total_steps": whole(0)}


def record_episodes(config: RecordConfig, act: Policy | None, signals: list[int]) -> Path:
    """Record whole episodes of an environment into Minari's folder of data sets; `rl.record.record` comes here.

    Observations, actions, rewards, how each step ended and, of the infos, the numbers that every step has, `factors`
    among them, are kept as they are, pictures without JPEG. Episodes are played one after another, each with a seed of
    its own, until there are as many frames as asked for; the last one is cut there. While it records, what there is
    lies in the hidden folder .NAME.partial; an interrupted recording goes on behind its last saved episode.

    Args:
        config: what to record; `out` is the name of the data set.
        act: batched observations -> batched actions, in place of an agent's file; None draws them at random.
        signals: those that came; the first one stops it.

    Returns:
        The folder of the data set.
    """
    storage_class = _minari().dataset.minari_storage.MinariStorage
    folder = _minari().storage.get_dataset_path(config.out)
    partial = folder.with_name(f".{folder.name}.partial")
    if _is_finished(config, folder, partial):
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with recording_lock(folder), contextlib.closing(_made(config)) as env:
        _require_pictures(config, env.observation_space)
        if config.resume and partial.is_dir():
            storage = _continued(config, storage_class, partial)
        else:
            space = env.observation_space.sample()
            require_space(folder.parent, int(1.05 * config.frames * _bytes_of(space)), "the recording")
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            storage = _begun(config, storage_class, partial, env)
        act = act or config.loaded_agent(env.observation_space, env.action_space, 1)
        if not _play(config, env, storage, act, signals):
            raise RecordingInterrupted(partial, _frames_of(storage), signals[0], overwriting=config.overwrite)
        _name_it(config, folder, partial)
    return folder


def _minari() -> Any:
    try:
        import minari.dataset.minari_storage
        import minari.storage
    except ImportError as error:
        raise ImportError("--format minari needs minari: install sparse-repr[minari]") from error
    return minari


def _is_finished(config: RecordConfig, folder: Path, partial: Path) -> bool:
    """Whether there is nothing left to do, after the checks of what lies there."""
    if partial.exists() and not (config.resume or config.overwrite):
        raise FileExistsError(f"an interrupted recording is at {partial}: continue it with --resume, or --overwrite it")
    if not folder.exists() or config.overwrite or (config.resume and partial.exists()):
        return False
    if not config.resume:
        raise FileExistsError(f"{folder} exists; give --overwrite, or another --out")
    try:
        found = json.loads(read_json(folder / "data" / "metadata.json", _METADATA)[_SETTINGS])
    except (OSError, ValueError) as error:
        raise FileExistsError(f"{folder} exists, and is no recording; give --overwrite, or another --out") from error
    compare_settings(folder, found, config.settings())
    return True


def _made(config: RecordConfig) -> gym.Env[Any, Any]:
    try:
        return gym.make(config.env, **config.env_arguments())
    except (gym.error.Error, ImportError):
        raise
    except Exception as error:  # what the constructors of others raise is no documented set
        options = config.env_arguments()
        raise ValueError(f"{config.env} could not be made with {options} ({type(error).__name__}: {error})") from error


def _require_pictures(config: RecordConfig, space: gym.Space[Any]) -> None:
    if not any(map(_is_of_pictures, _parts(space))):
        raise TypeError(
            f"{config.env} needs uint8 image observations (H, W, C) or (C, H, W) with 1 or 3 channels, also in a Dict, "
            f"it observes {space}; wrap it so that it does, or record what it draws with --format hdf5 --render"
        )


def _parts(space: gym.Space[Any]) -> list[gym.Space[Any]]:
    if isinstance(space, gym.spaces.Dict):
        return [part for below in space.spaces.values() for part in _parts(below)]
    if isinstance(space, gym.spaces.Tuple):
        return [part for below in space.spaces for part in _parts(below)]
    return [space]


def _is_of_pictures(space: gym.Space[Any]) -> bool:
    if not isinstance(space, gym.spaces.Box) or space.dtype != np.uint8 or len(space.shape) != 3:
        return False
    return space.shape[2] in (1, 3) or space.shape[0] in (1, 3)


def _begun(config: RecordConfig, storage_class: Any, partial: Path, env: gym.Env[Any, Any]) -> Any:
    """New storage, with what Minari says of a data set."""
    from importlib.metadata import version

    storage = storage_class.new(
        partial / "data",
        observation_space=env.observation_space,
        action_space=env.action_space,
        env_spec=_told(env.spec),
        data_format="hdf5",
        jpeg_encoding=False,
    )
    storage.update_metadata(
        {
            "dataset_id": config.out,
            "algorithm_name": _name_of_policy(config),
            "description": f"Recorded by sparse-repr: python -m rl.record {config.env} --format minari",
            "minari_version": version("minari"),
            _SETTINGS: json.dumps(config.settings(), sort_keys=True),
            **_factors_of(env),
        }
    )
    return storage


def _name_of_policy(config: RecordConfig) -> str:
    agent = config.agent_path()
    name = config.policy or "random actions" if agent is None else agent.name
    return f"{name}, random actions in {config.random_share:g} of the episodes" if config.random_share else name


def _told(spec: Any) -> Any:
    """How to make the environment again, where that can be written down: not with a function among its arguments."""
    try:
        spec.to_json()
    except (AttributeError, TypeError, ValueError):
        return None
    return spec


def _factors_of(env: gym.Env[Any, Any]) -> dict[str, Any]:
    """What an environment says of its factors, for our own reader."""
    declared = SeededEpisodes(env, os.getpid()).declared_factors()
    if declared is None:
        return {}
    known = RecordedFactors(*declared)  # which checks that they fit
    told: dict[str, Any] = {"factor_names": known.names, "nominal_factors": known.nominal}
    return {**told, "factor_bins": [known.edges[name].tolist() for name in known.names]} if known.edges else told


def _continued(config: RecordConfig, storage_class: Any, partial: Path) -> Any:
    """The storage of an interrupted recording, after the check that it is sound and of the same settings."""
    import h5py

    try:
        found = read_json(partial / "data" / "metadata.json", _METADATA)
        with h5py.File(partial / "data" / "main_data.hdf5", "r") as file:
            held = len(file) if found["total_episodes"] else 0
            steps = sum(int(file[name].attrs["total_steps"]) for name in file) if held else 0
        if (held, steps) != (found["total_episodes"], found["total_steps"]):
            raise ValueError(f"it holds {held} episodes, and says {found['total_episodes']}")
        settings = json.loads(found[_SETTINGS])
    except Exception as error:  # h5py raises nearly any type on a damaged file
        raise ValueError(
            f"{partial}: cannot be continued ({error or type(error).__name__}); start again with --overwrite"
        ) from error
    compare_settings(partial, settings, config.settings())
    return storage_class.read(partial / "data")


def _frames_of(storage: Any) -> int:
    return int(storage.total_steps + storage.total_episodes)


class _Episode(NamedTuple):
    """One episode of T steps, as Minari stores it."""

    seed: int
    observations: Any
    """T + 1 of each."""
    actions: Any
    rewards: list[float]
    terminations: list[bool]
    truncations: list[bool]
    infos: dict[str, Any]
    """T + 1 of each."""

    @property
    def frames(self) -> int:
        return len(self.rewards) + 1


def _play(config: RecordConfig, env: gym.Env[Any, Any], storage: Any, act: Policy | None, signals: list[int]) -> bool:
    """Record until all frames are there, or a signal came; returns whether they are."""
    buffer = _minari().data_collector.EpisodeBuffer
    number, frames = storage.total_episodes, _frames_of(storage)
    waiting: list[_Episode] = []

    def save() -> None:
        storage.update_episodes([buffer(**episode._asdict()) for episode in waiting])
        waiting.clear()

    saved = time.monotonic()
    with tqdm(total=config.frames, initial=frames, desc=config.env, unit="frame", disable=not config.progress) as bar:
        while frames < config.frames and not signals:
            episode = _episode(config, env, number, act, config.frames - frames, signals)
            if episode is None:
                break
            waiting.append(episode)
            number, frames = number + 1, frames + episode.frames
            bar.update(episode.frames)
            if time.monotonic() - saved >= _SAVE_S or sum(map(_size_of, waiting)) >= _SAVE_BYTES:
                save()
                saved = time.monotonic()
    if waiting:
        save()
    return frames >= config.frames


def _episode(
    config: RecordConfig, env: gym.Env[Any, Any], number: int, act: Policy | None, most: int, signals: list[int]
) -> _Episode | None:
    """The next episode, cut at `most` frames, of which it has two at least; None where a signal came within it."""
    seed = seed_of(config.seed, 0, 0, number)
    policy = None if is_random_episode(config.random_share, number) else act
    observation, info = env.reset(seed=seed)
    env.action_space.seed(seed_of(config.seed, 1, 0, number))
    observations, infos = [_copied(observation)], [_numbers(info)]
    actions: list[Any] = []
    rewards, terminations, truncations = [], [], []
    while True:
        if signals:
            return None
        if policy is None:
            action = env.action_space.sample()
        else:
            drawn_by = seed_of(config.seed, 2, 0, number, len(actions) + 1)
            started = np.array([not actions])
            action = _first(actions_of(policy, _batch_of_one(observation), started=started, seed=drawn_by))
        observation, reward, terminated, truncated, info = env.step(action)
        observations.append(_copied(observation))
        infos.append(_numbers(info))
        actions.append(action)
        rewards.append(float(reward))
        terminations.append(bool(terminated))
        truncations.append(bool(truncated) or (not terminated and len(observations) >= most))
        if terminated or truncations[-1]:
            break
    kept = set.intersection(*(set(row) for row in infos))
    same = sorted(name for name in kept if len({row[name].shape for row in infos}) == 1)
    return _Episode(
        seed,
        _stacked(observations),
        _stacked(actions),
        rewards,
        terminations,
        truncations,
        {name: np.stack([row[name] for row in infos]) for name in same},
    )


def _numbers(info: dict[str, Any]) -> dict[str, Any]:
    """Those infos that are numbers, as arrays: others can be anything."""
    found = {
        name: np.array(value) for name, value in info.items() if isinstance(value, bool | int | float | np.generic)
    }
    found |= {name: value.copy() for name, value in info.items() if isinstance(value, np.ndarray)}
    return {name: value for name, value in found.items() if value.dtype.kind in "biuf"}


def _copied(observation: Any) -> Any:
    """Environments may draw all pictures into one array."""
    if isinstance(observation, dict):
        return {name: _copied(part) for name, part in observation.items()}
    if isinstance(observation, tuple):
        return tuple(map(_copied, observation))
    return np.array(observation)


def _stacked(rows: Sequence[Any]) -> Any:
    """Many of a space, as Minari has them: a dict of many, a tuple of many or an array."""
    if isinstance(rows[0], dict):
        return {name: _stacked([row[name] for row in rows]) for name in rows[0]}
    if isinstance(rows[0], tuple):
        return tuple(_stacked(part) for part in zip(*rows, strict=True))
    return np.stack([np.asarray(row) for row in rows])


def _batch_of_one(observation: Any) -> Any:
    if isinstance(observation, dict):
        return {name: _batch_of_one(part) for name, part in observation.items()}
    if isinstance(observation, tuple):
        return tuple(map(_batch_of_one, observation))
    return np.asarray(observation)[None]


def _first(actions: Any) -> Any:
    if isinstance(actions, dict):
        return {name: _first(part) for name, part in actions.items()}
    return tuple(map(_first, actions)) if isinstance(actions, tuple) else np.asarray(actions)[0]


def _bytes_of(observation: Any) -> int:
    parts = observation.values() if isinstance(observation, dict) else observation
    return sum(map(_bytes_of, parts)) if isinstance(observation, dict | tuple) else np.asarray(observation).nbytes


def _size_of(episode: _Episode) -> int:
    return _bytes_of(episode.observations)


def _name_it(config: RecordConfig, folder: Path, partial: Path) -> None:
    """Give the whole recording its name, in place of an earlier one."""
    if folder.exists():
        earlier = folder.with_name(f".{folder.name}.replaced")
        shutil.rmtree(earlier, ignore_errors=True)
        folder.rename(earlier)
        partial.rename(folder)
        shutil.rmtree(earlier)
    else:
        partial.rename(folder)
    from minari.namespace import create_namespace, list_local_namespaces

    namespace = os.path.dirname(config.out)
    if namespace and namespace not in list_local_namespaces():
        create_namespace(namespace)
