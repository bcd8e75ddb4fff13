"""Wrappers that replace image observations by codes: one environment, or all of an SB3 VecEnv in one forward pass."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import torch
from gymnasium.utils import RecordConstructorArgs
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvStepReturn

from rl.spaces import as_encoder, code_space, require_uint8_images
from sparse_repr import FrozenEncoder
from sparse_repr.devices import resolve_device

Codes = npt.NDArray[np.float32]


def _encode_on(encoder: FrozenEncoder, images: npt.NDArray[np.uint8], device: torch.device) -> Codes:
    if device.type == "cpu":
        return encoder.encode(images)
    return encoder.encode(torch.as_tensor(images, device=device)).cpu().numpy()


class LatentObservation(gym.ObservationWrapper[Codes, Any, npt.NDArray[np.uint8]], RecordConstructorArgs):
    """Observe the code of each image: `Box(-inf, inf, (D,), float32)` instead of uint8 pictures.

    The encoder runs once per frame, outside the agent, so it can neither be trained nor overwritten, and replay buffers
    hold codes. For several environments use `VecLatentObservation`: one forward pass for all.
    """

    def __init__(
        self, env: gym.Env[Any, Any], encoder: FrozenEncoder | str | os.PathLike[str], *, device: str = "cpu"
    ) -> None:
        """Wrap an image environment.

        Args:
            env: its observations are uint8 (H, W, C) or (C, H, W) of a size the encoder takes.
            encoder: a frozen encoder, a run folder or an artefact file.
            device: where to encode; one small image is fastest on the CPU.

        Raises:
            TypeError, ValueError: the observation space is not what the encoder takes; the message says what to do.
        """
        RecordConstructorArgs.__init__(self, encoder=encoder, device=device)
        gym.ObservationWrapper.__init__(self, env)
        self.encoder = as_encoder(encoder)
        self._device = resolve_device(device)
        require_uint8_images(env.observation_space, self.encoder, "LatentObservation")
        self.observation_space = code_space(self.encoder)

    def observation(self, observation: npt.NDArray[np.uint8]) -> Codes:
        """The code of one image: uint8 (H, W, C) or (C, H, W) -> float32 (D,)."""
        return _encode_on(self.encoder, observation[None], self._device)[0]


class VecLatentObservation(VecEnvWrapper):
    """Observe codes in every environment of a Stable-Baselines3 VecEnv, all encoded in one forward pass.

    The final pictures that SB3 keeps in `infos[i]["terminal_observation"]` are encoded in the same pass. Put
    `VecNormalize` outside of it, never inside.
    """

    def __init__(self, venv: VecEnv, encoder: FrozenEncoder | str | os.PathLike[str], *, device: str = "cpu") -> None:
        """Wrap a vectorised image environment; arguments and errors as in `LatentObservation`."""
        self.encoder = as_encoder(encoder)
        self._device = resolve_device(device)
        require_uint8_images(venv.observation_space, self.encoder, "VecLatentObservation")
        super().__init__(venv, observation_space=code_space(self.encoder))

    def reset(self) -> Codes:
        """Codes of the first pictures, float32 (n, D)."""
        return _encode_on(self.encoder, np.asarray(self.venv.reset()), self._device)

    def step_wait(self) -> VecEnvStepReturn:
        """Codes, rewards, dones and infos of the pending step."""
        images, rewards, dones, infos = self.venv.step_wait()
        batch = np.asarray(images)
        ended = [i for i, info in enumerate(infos) if "terminal_observation" in info]
        if ended:
            batch = np.concatenate([batch, np.stack([infos[i]["terminal_observation"] for i in ended])])
        codes = _encode_on(self.encoder, batch, self._device)
        count = len(codes) - len(ended)
        for row, i in enumerate(ended, start=count):
            infos[i]["terminal_observation"] = codes[row]
        return codes[:count], rewards, dones, infos


class FactorObservation(gym.Wrapper[Codes, Any, npt.NDArray[np.uint8], Any], RecordConstructorArgs):
    """Observe the ground-truth factors in `info["factors"]`: the upper bound of what any code can give."""

    def __init__(
        self, env: gym.Env[Any, Any], keep: Sequence[str] | None = None, *, one_hot: dict[str, int] | None = None
    ) -> None:
        """Wrap an environment that has `unwrapped.factor_names` and reports their values.

        Args:
            env: the environment.
            keep: names of the factors to show; None shows all.
            one_hot: factor name -> number of values, for categories to be shown as indicators.

        Raises:
            ValueError: the environment names no factors, or not those asked for.
        """
        RecordConstructorArgs.__init__(self, keep=keep, one_hot=one_hot)
        gym.Wrapper.__init__(self, env)
        names = tuple(getattr(env.unwrapped, "factor_names", ()))
        kept = names if keep is None else tuple(keep)
        self._one_hot = dict(one_hot or {})
        unknown = ({*kept} | self._one_hot.keys()) - {*names}
        if not names or unknown:
            raise ValueError(f"FactorObservation: {env.unwrapped} has the factors {names}, asked for {sorted(unknown)}")
        self._columns = [(names.index(name), self._one_hot.get(name)) for name in kept]
        size = sum(values or 1 for _, values in self._columns)
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (size,), np.float32)

    def _observe(self, info: dict[str, Any]) -> Codes:
        parts = []
        for column, values in self._columns:
            value = info["factors"][column]
            parts.append(np.array([value]) if values is None else np.arange(values) == int(value))
        return np.concatenate(parts).astype(np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Codes, dict[str, Any]]:
        """Factors of the first state."""
        _, info = self.env.reset(seed=seed, options=options)
        return self._observe(info), info

    def step(self, action: Any) -> tuple[Codes, Any, bool, bool, dict[str, Any]]:
        """Factors of the next state."""
        _, reward, terminated, truncated, info = self.env.step(action)
        return self._observe(info), reward, terminated, truncated, info
