"""Images and factors out of what environments observe, draw and report, for the recorder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from rl.episodes import VectorEnv
from rl.record_config import RecordConfig
from sparse_repr.data.pixel_range import DARK


def check_bounds(config: RecordConfig, venv: VectorEnv) -> None:
    """Refuse pictures whose declared pixels reach no brightness, such as 0..1 kept in uint8."""
    space = venv.single_observation_space
    if config.render:
        return
    if isinstance(space, gym.spaces.Dict):
        space = space.spaces.get(config.key or "", space)
    elif config.key is not None:
        raise ValueError(f"key names a part of Dict observations, and {config.env} observes {space}; leave --key out")
    if isinstance(space, gym.spaces.Box) and space.dtype == np.uint8 and space.high.max() < DARK:
        raise ValueError(
            f"{config.env} declares pixels in {space.low.min()}..{space.high.max()}, and 255 is taken for white: all "
            "would be nearly black; leave out what scales its pictures, or record what it draws with --render"
        )


def images_of(config: RecordConfig, venv: VectorEnv, observations: Any) -> npt.NDArray[np.uint8]:
    """The pictures of all environments, uint8 (n, C, H, W)."""
    found: Any = _drawn(config, venv) if config.render else observations
    advice = "" if config.render else "; record what it draws with --render"
    if isinstance(found, dict):
        if config.key not in found:
            raise TypeError(
                f"{config.env} has Dict observations: name the picture with --key, one of {sorted(found)}, or record "
                "what it draws with --render"
            )
        found = found[config.key]
    if not isinstance(found, np.ndarray) or found.dtype != np.uint8:
        kind = found.dtype if isinstance(found, np.ndarray) else type(found).__name__
        what = "to draw uint8 pictures" if config.render else "uint8 image observations"
        raise TypeError(f"{config.env} needs {what}, got {kind}{advice}")
    if found.ndim == 3:
        found = found[..., None]
    if found.ndim == 4 and found.shape[3] in (1, 3):
        return found.transpose(0, 3, 1, 2)
    if found.ndim == 4 and found.shape[1] in (1, 3):
        return found
    raise TypeError(
        f"{config.env} needs images (H, W), (H, W, C) or (C, H, W) with 1 or 3 channels, got {found.shape[1:]}{advice}"
    )


def _drawn(config: RecordConfig, venv: VectorEnv) -> npt.NDArray[Any]:
    frames = [np.asarray(frame) for frame in venv.render() or ()]
    if len(frames) != config.envs or len({frame.shape for frame in frames}) != 1:
        shapes = sorted({str(frame.shape) for frame in frames})
        raise TypeError(f"{config.env} needs to draw one picture of one size per environment, got {', '.join(shapes)}")
    return np.stack(frames)


def factor_values(config: RecordConfig, infos: Mapping[str, Any], count: int) -> npt.NDArray[np.float32]:
    """The factors of all environments, float32 (n, K)."""
    reported = np.asarray(infos.get("_factors", False))
    if reported.shape != (config.envs,) or not reported.all():
        raise ValueError(
            f"{config.env} reported factors at first, and then none: info['factors'] is needed at each step"
        )
    try:
        values = np.stack(list(infos["factors"])).astype(np.float32)
    except (TypeError, ValueError):
        values = np.empty(0, dtype=np.float32)
    if values.shape != (config.envs, count):
        found = np.shape(infos["factors"][0])
        raise ValueError(f"{config.env} needs info['factors'] of {count} numbers, as factor_names says, got {found}")
    return values
