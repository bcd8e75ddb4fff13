"""`python -m rl.record`: frames of any Gymnasium image environment, as an HDF5 data set to pretrain on."""

from __future__ import annotations

import dataclasses
import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import gymnasium as gym
import h5py
import numpy as np
import numpy.typing as npt
import tyro
from tqdm import tqdm

from sparse_repr.files import require_space

Policy = Callable[[Any], Any]
"""Batched observations of all environments -> batched actions."""

_Venv = gym.vector.SyncVectorEnv | gym.vector.AsyncVectorEnv
# Frames between two moments at which an interrupted recording can be continued.
_FLUSH_FRAMES = 512


@dataclasses.dataclass(frozen=True)
class RecordConfig:
    """What to record."""

    env: Annotated[str, tyro.conf.Positional]
    """Environment id; MODULE:ID imports MODULE first, e.g. envs:SparseRepr/SpriteReach-v0."""
    out: str
    """HDF5 file to write; pretrain on it with --dataset h5 --data-path FILE."""
    frames: int = 10_000
    """Number of frames."""
    every: int = 1
    """Record one of so many steps of each environment: neighbouring frames show nearly the same, and a score of codes
    on them counts the same picture many times."""
    envs: int = 8
    """Environments stepped together."""
    parallel: bool = False
    """Step each environment in a process of its own: worth it where one step takes milliseconds."""
    render: bool = False
    """Record render() frames (render_mode rgb_array) instead of observations."""
    key: str | None = None
    """Which entry of a Dict observation is the picture."""
    env_kwargs: str | None = None
    """Keyword arguments of the environment as a JSON object, e.g. '{"domain": "source"}'."""
    policy: str | None = None
    """MODULE:FUNCTION that turns batched observations into batched actions; by default actions are random."""
    seed: int = 0
    """Seed of the environments and of the random actions."""
    resume: bool = False
    """Continue an interrupted recording; its frames so far are kept."""
    overwrite: bool = False
    """Replace an existing file, or an interrupted recording."""
    progress: bool = True
    """Show a progress bar."""

    def __post_init__(self) -> None:
        for name in ("frames", "every", "envs"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} needs at least 1, got {getattr(self, name)}")
        if self.resume and self.overwrite:
            raise ValueError("resume keeps the frames recorded so far and overwrite drops them: give one of the two")
        _keyword_arguments(self)


def _keyword_arguments(config: RecordConfig) -> dict[str, Any]:
    if config.env_kwargs is None:
        return {}
    try:
        found = json.loads(config.env_kwargs)
    except json.JSONDecodeError as error:
        raise ValueError(f"env_kwargs needs a JSON object, got {config.env_kwargs!r} ({error})") from error
    if not isinstance(found, dict):
        raise ValueError(f'env_kwargs needs a JSON object such as {{"domain": "source"}}, got {config.env_kwargs!r}')
    return found


def record(config: RecordConfig, policy: Policy | None = None) -> Path:
    """Record frames of an environment into the layout of the data set ``h5`` (`sparse_repr.data.recorded`).

    Where the environment reports `info["factors"]` (float32 (K,)) and has `unwrapped.factor_names`, the factor values
    are recorded beside the images, and the bins of `unwrapped.factor_bins` where it states them. While it records, the
    frames lie in FILE.partial; an interrupted recording is continued from there with fresh episodes.

    Args:
        config: what to record.
        policy: batched observations -> batched actions, in place of `config.policy`.

    Returns:
        The file written.

    Raises:
        FileExistsError: the file or an interrupted recording exists, and neither `overwrite` nor `resume` is on.
        FileNotFoundError: `resume` is on and there is nothing to resume.
        TypeError: the environment gives no uint8 images.
        ValueError: the interrupted recording has other settings; the policy cannot be imported.
        OSError: the folder cannot be written or has no room.
    """
    out = Path(config.out)
    partial = out.with_name(f"{out.name}.partial")
    _check_files(config, out, partial)
    act = policy or _import_policy(config.policy)
    done = _done_so_far(config, partial) if config.resume else 0
    # not passed unless asked for: some environments do not take it
    options = {**_keyword_arguments(config), **({"render_mode": "rgb_array"} if config.render else {})}
    vectorization = "async" if config.parallel else "sync"
    venv = gym.make_vec(config.env, num_envs=config.envs, vectorization_mode=vectorization, **options)
    assert isinstance(venv, gym.vector.SyncVectorEnv | gym.vector.AsyncVectorEnv)
    try:
        _record(config, venv, partial, done, act)
    finally:
        venv.close()
    partial.replace(out)
    return out


def _check_files(config: RecordConfig, out: Path, partial: Path) -> None:
    if out.exists() and not config.overwrite:
        raise FileExistsError(f"{out} exists; give --overwrite, or another --out")
    if config.resume and not partial.exists():
        raise FileNotFoundError(f"nothing to resume: no interrupted recording at {partial}; leave --resume out")
    if partial.exists() and not (config.resume or config.overwrite):
        raise FileExistsError(f"an interrupted recording is at {partial}: continue it with --resume, or --overwrite it")


def _import_policy(name: str | None) -> Policy | None:
    if name is None:
        return None
    module, _, attribute = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"policy needs MODULE:FUNCTION that can be imported, got {name!r} ({error})") from error
    if not callable(found):
        raise ValueError(f"policy needs a function (observations -> actions), {name!r} is {type(found).__name__}")
    return found


def _settings(config: RecordConfig) -> str:
    """What must be the same for a recording to be continued."""
    kept = ["env", "frames", "render", "key", "policy", "seed"]
    # left out where it is not given: recordings of earlier versions can be continued
    kept += ["env_kwargs"] * (config.env_kwargs is not None) + ["every"] * (config.every != 1)
    return json.dumps({name: getattr(config, name) for name in kept}, sort_keys=True)


def _done_so_far(config: RecordConfig, partial: Path) -> int:
    try:
        with h5py.File(partial, "r") as file:
            found, done = str(file.attrs["settings"]), int(file.attrs["frames_done"])
    except (OSError, KeyError) as error:
        raise ValueError(f"{partial}: cannot be continued ({error}); start again with --overwrite") from error
    if found != _settings(config):
        raise ValueError(f"{partial} was recorded with other settings: {found} there, {_settings(config)} asked for")
    return done


def _record(config: RecordConfig, venv: _Venv, partial: Path, done: int, act: Policy | None) -> None:
    # a continued recording starts fresh episodes: repeating the first ones would record the same frames again
    observations, infos = venv.reset(seed=config.seed + done)
    venv.action_space.seed(config.seed + done)
    images = _images(config, venv, observations)
    # before the file is opened: it may be the first in its folder
    require_space(partial.parent, int(1.05 * (config.frames - done) * images[0].nbytes), "the recording")
    with h5py.File(partial, "r+" if done else "w") as file:
        if not done:
            _create(config, venv, file, images, infos)
        values = file.get("factor_values")
        bar = tqdm(total=config.frames, initial=done, desc=config.env, unit="frame", disable=not config.progress)
        with bar:
            while done < config.frames:
                count = min(config.envs, config.frames - done)
                file["images"][done : done + count] = images[:count]
                if values is not None:
                    values[done : done + count] = np.stack(list(infos["factors"]))[:count]
                done += count
                bar.update(count)
                if done // _FLUSH_FRAMES != (done - count) // _FLUSH_FRAMES or done == config.frames:
                    file.attrs["frames_done"] = done
                    file.flush()
                if done < config.frames:
                    for _ in range(config.every):
                        actions = venv.action_space.sample() if act is None else act(observations)
                        observations, _, _, _, infos = venv.step(actions)
                    images = _images(config, venv, observations)


def _create(
    config: RecordConfig,
    venv: _Venv,
    file: Any,
    images: npt.NDArray[np.uint8],
    infos: dict[str, Any],
) -> None:
    # contiguous, so that large recordings are read through a memory map
    file.create_dataset("images", (config.frames, *images.shape[1:]), np.uint8)
    file.attrs["environment"] = config.env
    file.attrs["settings"] = _settings(config)
    file.attrs["frames_done"] = 0
    if "factors" not in infos:
        return
    # through get_attr it works in other processes too
    names = [str(name) for name in venv.get_attr("factor_names")[0]]
    file.create_dataset("factor_values", (config.frames, len(names)), np.float32)
    file.attrs["factor_names"] = names
    try:
        bins = venv.get_attr("factor_bins")[0]
    except AttributeError:
        return
    for name, edges in zip(names, bins, strict=True):
        file.create_dataset(f"factor_bins/{name}", data=np.asarray(edges, dtype=np.float64))


def _images(config: RecordConfig, venv: _Venv, observations: Any) -> npt.NDArray[np.uint8]:
    """The pictures of all environments, uint8 (n, C, H, W)."""
    frames = np.asarray(venv.render()) if config.render else observations
    if isinstance(frames, dict):
        if config.key not in frames:
            raise TypeError(
                f"{config.env} has Dict observations: name the picture with --key, one of {sorted(frames)}, or record "
                "what it draws with --render"
            )
        frames = frames[config.key]
    if not isinstance(frames, np.ndarray) or frames.dtype != np.uint8:
        found = frames.dtype if isinstance(frames, np.ndarray) else type(frames).__name__
        raise TypeError(f"{config.env} needs uint8 image observations, got {found}; record its pictures with --render")
    if frames.ndim == 3:
        frames = frames[..., None]
    if frames.ndim == 4 and frames.shape[3] in (1, 3):
        return frames.transpose(0, 3, 1, 2)
    if frames.ndim == 4 and frames.shape[1] in (1, 3):
        return frames
    raise TypeError(
        f"{config.env} needs images (H, W), (H, W, C) or (C, H, W) with 1 or 3 channels, got {frames.shape[1:]}; "
        "record its pictures with --render"
    )


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    description = (
        "Record frames of an image environment under a random (or your) policy into an HDF5 file. Ctrl-C keeps the "
        "frames so far; the same command plus --resume continues."
    )
    try:
        config = tyro.cli(RecordConfig, args=arguments, prog="python -m rl.record", description=description)
        out = record(config)
    except KeyboardInterrupt:
        print("interrupted; the same command plus --resume continues", file=sys.stderr)
        return 130
    except (ValueError, TypeError, OSError, gym.error.Error) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"recorded: {out}")
    print(f"next:     python -m sparse_repr.pretrain --dataset h5 --data-path {out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
