"""The statistics of an SB3 VecNormalize as plain arrays: SB3's own way of saving them is a pickle."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from sparse_repr.files.json_reader import FLAG, TEXT, Shape, many, optional, require
from sparse_repr.files.stored_archive import read_stored_archive

# attribute of a VecNormalize: whether rewards are normalised in training, where it shows them as they are
_REWARDS = "norm_reward_in_training"
_NUMBERS = ("clip_obs", "clip_reward", "gamma", "epsilon")
_MOMENTS = ("mean", "variance", "count")
_SETTINGS: Shape = {"norm_obs": FLAG, "norm_reward": FLAG, "norm_obs_keys": optional(many(TEXT))}


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
        rewards = venv.norm_reward or getattr(venv, _REWARDS, False)
        settings = {"norm_obs": venv.norm_obs, "norm_reward": rewards, "norm_obs_keys": keys}
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
            # so that an agent that was only played keeps, when it is saved again, how it learned
            setattr(normalized, _REWARDS, bool(self.settings["norm_reward"]))
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
            ValueError: not such a file, or what is in it are no statistics; `origin` is named.
        """
        require(settings, _SETTINGS, f"{origin}: the description of it", closed=True, remedy="save the agent again")
        try:
            read_stored_archive(content)
            with np.load(io.BytesIO(content), allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
        except Exception as error:  # numpy raises what the zip and its own header reader do
            raise ValueError(f"{origin}: expected an npz file of plain arrays, found another or damaged one") from error
        found = cls(settings, arrays)
        try:
            found._check()
        except ValueError as error:
            raise ValueError(f"{origin}: {error}; copy the file or save the agent again") from error
        return found

    @property
    def _observations(self) -> tuple[str, ...]:
        """What the statistics of observations are called."""
        if not self.settings["norm_obs"]:
            return ()
        keys = self.settings["norm_obs_keys"]
        return ("observation",) if keys is None else tuple(f"observation_{i}" for i in range(len(keys)))

    def _check(self) -> None:
        """Raise ValueError where entries are missing or are not what a VecNormalize has."""
        moments = [f"{name}_{part}" for name in ("returns", *self._observations) for part in _MOMENTS]
        for name in (*_NUMBERS, *moments):
            if name not in self.arrays:
                raise ValueError(f"expected an entry {name!r}, found {sorted(self.arrays)}")
            if self.arrays[name].dtype != np.float64:
                raise ValueError(f"{name} needs float64, found {self.arrays[name].dtype}")
        unknown = sorted(self.arrays.keys() - {*_NUMBERS, *moments})
        if unknown:
            raise ValueError(f"expected no entries but {', '.join((*_NUMBERS, *moments))}, found {', '.join(unknown)}")
        for name, words, fits in (
            ("clip_obs", "a positive number", lambda value: value > 0),
            ("clip_reward", "a positive number", lambda value: value > 0),
            ("gamma", "a number in 0..1", lambda value: 0 <= value <= 1),
            ("epsilon", "a finite number of at least 0", lambda value: 0 <= value < np.inf),
        ):
            if self.arrays[name].shape != () or not fits(self.arrays[name]):
                raise ValueError(f"{name} needs {words}, found {self.arrays[name].tolist()!r:.60}")
        for name in ("returns", *self._observations):
            mean, variance, count = (self.arrays[f"{name}_{part}"] for part in _MOMENTS)
            shape = () if name == "returns" else variance.shape
            if mean.shape != shape or variance.shape != shape:
                raise ValueError(
                    f"expected statistics of shape {shape} for {name}, found {mean.shape} and {variance.shape}"
                )
            if not (np.isfinite(mean).all() and np.isfinite(variance).all() and (variance >= 0).all()):
                raise ValueError(f"{name} needs finite means and finite variances of at least 0, found others")
            if count.shape != () or not 0 < count < np.inf:
                raise ValueError(f"{name}_count needs a positive number, found {count.tolist()!r:.60}")

    def require_codes(self, size: int, image_keys: Sequence[str] | None, origin: str) -> None:
        """Check that the statistics of codes are as long as the codes.

        Args:
            size: of the codes that the agent observes.
            image_keys: of a Dict observation whose images became codes; None where the observation is one image.
            origin: where they come from, for messages.

        Raises:
            ValueError: another length; `origin` is named.
        """
        keys = self.settings["norm_obs_keys"]
        for i, name in enumerate(self._observations):
            shape = self.arrays[f"{name}_mean"].shape
            if (image_keys is None or (keys is not None and keys[i] in image_keys)) and shape != (size,):
                raise ValueError(f"{origin}: expected statistics of shape {(size,)}, as the codes have, found {shape}")


def _observation_statistics(venv: VecNormalize, keys: list[str] | None) -> list[tuple[str, RunningMeanStd]]:
    statistics: Any = venv.obs_rms  # SB3 declares the dict it is for Dict observations, but not the other case
    if keys is None:
        return [("observation", statistics)]
    # by number, because a key may hold what cannot be a name inside a zip file
    return [(f"observation_{i}", statistics[key]) for i, key in enumerate(keys)]


def _moments(name: str, statistics: RunningMeanStd) -> dict[str, npt.NDArray[Any]]:
    parts = {"mean": statistics.mean, "variance": statistics.var, "count": statistics.count}
    return {f"{name}_{part}": np.array(value, dtype=np.float64) for part, value in parts.items()}
