"""`python -m rl.record`: frames of any Gymnasium image environment under a random policy, as an HDF5 data set."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Annotated, Any

import gymnasium as gym
import h5py
import numpy as np
import numpy.typing as npt
import tyro
from tqdm import tqdm

from sparse_repr.files import atomic_path, require_space

_CHUNK_FRAMES = 64


@dataclasses.dataclass(frozen=True)
class RecordConfig:
    """What to record."""

    env: Annotated[str, tyro.conf.Positional]
    """Environment id; MODULE:ID imports MODULE first, e.g. envs:SparseRepr/SpriteReach-v0."""
    out: str
    """HDF5 file to write; pretrain on it with --dataset h5 --data-path FILE."""
    frames: int = 10_000
    """Number of frames."""
    envs: int = 8
    """Environments stepped together."""
    render: bool = False
    """Record render() frames (render_mode rgb_array) instead of observations."""
    seed: int = 0
    """Seed of the environments and of the random actions."""
    overwrite: bool = False
    """Replace an existing file."""
    progress: bool = True
    """Show a progress bar."""

    def __post_init__(self) -> None:
        for name in ("frames", "envs"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} needs at least 1, got {getattr(self, name)}")


def record(config: RecordConfig) -> Path:
    """Record frames of an environment under a random policy into the layout of the data set ``h5``.

    Where the environment reports `info["factors"]` (float32 (K,)) and has `unwrapped.factor_names`, the factor values
    are recorded beside the images.

    Returns:
        The file written.

    Raises:
        FileExistsError: the file exists and `overwrite` is off.
        TypeError: the environment does not give uint8 images.
        OSError: the folder cannot be written or has no room.
    """
    out = Path(config.out)
    if out.exists() and not config.overwrite:
        raise FileExistsError(f"{out} exists; give --overwrite, or another --out")
    mode = "rgb_array" if config.render else None
    venv = gym.make_vec(config.env, num_envs=config.envs, vectorization_mode="sync", render_mode=mode)
    try:
        return _record(config, venv, out)
    finally:
        venv.close()


def _record(config: RecordConfig, venv: gym.vector.VectorEnv[Any, Any, Any], out: Path) -> Path:
    observations, infos = venv.reset(seed=config.seed)
    venv.action_space.seed(config.seed)
    images = _images(config, venv, observations)
    names = tuple(venv.get_attr("unwrapped")[0].factor_names) if "factors" in infos else ()  # type: ignore[attr-defined]
    require_space(out.parent, int(1.05 * config.frames * images[0].nbytes), "the recording")
    with atomic_path(out) as temporary, h5py.File(temporary, "w") as file:
        shape = images.shape[1:]
        stored = file.create_dataset(
            "images", (config.frames, *shape), np.uint8, chunks=(min(_CHUNK_FRAMES, config.frames), *shape)
        )
        values = file.create_dataset("factor_values", (config.frames, len(names)), np.float32) if names else None
        file.attrs["environment"] = config.env
        if names:
            file.attrs["factor_names"] = list(names)
        with tqdm(
            total=config.frames, desc=f"recording {config.env}", unit="frame", disable=not config.progress
        ) as bar:
            done = 0
            while done < config.frames:
                count = min(config.envs, config.frames - done)
                stored[done : done + count] = images[:count]
                if values is not None:
                    values[done : done + count] = np.stack(list(infos["factors"]))[:count]
                done += count
                bar.update(count)
                observations, _, _, _, infos = venv.step(venv.action_space.sample())
                images = _images(config, venv, observations)
    return out


def _images(
    config: RecordConfig, venv: gym.vector.VectorEnv[Any, Any, Any], observations: Any
) -> npt.NDArray[np.uint8]:
    """The pictures of all environments, uint8 (n, C, H, W)."""
    frames = np.asarray(venv.render()) if config.render else observations
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
    description = "Record frames of an image environment under a random policy into an HDF5 file."
    try:
        config = tyro.cli(RecordConfig, args=arguments, prog="python -m rl.record", description=description)
        out = record(config)
    except (ValueError, TypeError, OSError, gym.error.Error) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"recorded: {out}")
    print(f"next:     python -m sparse_repr.pretrain --dataset h5 --data-path {out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
