"""The statistics of an SB3 VecNormalize as plain arrays: SB3's own way of saving them is a pickle."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

_NUMBERS = ("clip_obs", "clip_reward", "gamma", "epsilon")


@dataclasses.dataclass(frozen=True)
class Normalization:
    """What a VecNormalize has learned and how it was set up."""

    settings: Mapping[str, Any]
    """norm_obs, norm_reward and norm_obs_keys (None where observations are no Dict): plain JSON values."""
    arrays: Mapping[str, npt.NDArray[Any]]
    """mean, variance and count of the returns and of each normalised observation, and the numbers of the setup."""

    @classmethod
    def of(cls, venv: VecNormalize) -> Normalization:
        """Take the state of `venv`."""
        keys = venv.norm_obs_keys if isinstance(venv.observation_space, gym.spaces.Dict) else None
        arrays = {name: np.array(float(getattr(venv, name))) for name in _NUMBERS}
        arrays |= _moments("returns", venv.ret_rms)
        if venv.norm_obs:
            for name, statistics in _observation_statistics(venv, keys):
                arrays |= _moments(name, statistics)
        settings = {"norm_obs": venv.norm_obs, "norm_reward": venv.norm_reward, "norm_obs_keys": keys}
        return cls(settings, arrays)

    def wrap(self, venv: VecEnv, *, training: bool, origin: str) -> VecNormalize:
        """A VecNormalize around `venv` in this state.

        Args:
            venv: shows what the statistics are of.
            training: False: they are not updated, and rewards are shown as they are.
            origin: where they come from, for messages.

        Raises:
            ValueError: an array is missing or of another shape than the observations.
        """
        try:
            numbers = {name: float(self.arrays[name]) for name in _NUMBERS}
            normalized = VecNormalize(
                venv,
                training=training,
                norm_obs=bool(self.settings["norm_obs"]),
                norm_reward=bool(self.settings["norm_reward"]) and training,
                norm_obs_keys=self.settings["norm_obs_keys"],
                **numbers,
            )
            self._restore("returns", normalized.ret_rms, origin)
            if normalized.norm_obs:
                for name, statistics in _observation_statistics(normalized, self.settings["norm_obs_keys"]):
                    self._restore(name, statistics, origin)
        except KeyError as error:
            raise ValueError(f"{origin}: expected an entry {error}, found {sorted(self.arrays)}") from error
        return normalized

    def _restore(self, name: str, statistics: RunningMeanStd, origin: str) -> None:
        mean, variance = self.arrays[f"{name}_mean"], self.arrays[f"{name}_variance"]
        if mean.shape != np.shape(statistics.mean) or variance.shape != mean.shape:
            raise ValueError(
                f"{origin}: expected statistics of shape {np.shape(statistics.mean)}, as the observations have, found "
                f"{mean.shape} and {variance.shape}"
            )
        statistics.mean, statistics.var, statistics.count = mean, variance, float(self.arrays[f"{name}_count"])

    def to_bytes(self) -> bytes:
        """The arrays as an npz file."""
        content = io.BytesIO()
        # the names are ours, as numpy's stub cannot know: they never collide with savez's own arguments
        np.savez(content, **dict(self.arrays))  # type: ignore[arg-type]
        return content.getvalue()

    @classmethod
    def from_bytes(cls, settings: Mapping[str, Any], content: bytes, origin: str) -> Normalization:
        """Read `to_bytes` back; nothing is unpickled.

        Raises:
            ValueError: not such a file; `origin` is named.
        """
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as file:
                return cls(settings, {name: file[name] for name in file.files})
        except Exception as error:  # numpy raises what the zip and its own header reader do
            raise ValueError(f"{origin}: expected an npz file of plain arrays, found another or damaged one") from error


def _observation_statistics(venv: VecNormalize, keys: list[str] | None) -> list[tuple[str, RunningMeanStd]]:
    statistics: Any = venv.obs_rms  # SB3 declares the dict it is for Dict observations, but not the other case
    if keys is None:
        return [("observation", statistics)]
    # by number, because a key may hold what cannot be a name inside a zip file
    return [(f"observation_{i}", statistics[key]) for i, key in enumerate(keys)]


def _moments(name: str, statistics: RunningMeanStd) -> dict[str, npt.NDArray[Any]]:
    parts = {"mean": statistics.mean, "variance": statistics.var, "count": statistics.count}
    return {f"{name}_{part}": np.array(value, dtype=np.float64) for part, value in parts.items()}
