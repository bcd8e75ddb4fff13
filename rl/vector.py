"""LatentObservation for Gymnasium's vector environments: all of them encoded in one forward pass."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium.utils import RecordConstructorArgs
from gymnasium.vector.utils import batch_space

from rl.code_scaling import Scaling
from rl.latent_encoding import LatentEncoding, LatentOptions
from rl.observation import recordable
from rl.wrapper_order import require_images_inside
from sparse_repr import FrozenEncoder


class LatentObservation(gym.vector.VectorWrapper, RecordConstructorArgs):
    """Observe codes in every environment of a Gymnasium vector environment, in any of its autoreset modes.

    In SAME_STEP mode the last observations of ended episodes, `infos["final_obs"]`, are encoded in the same forward
    pass; with NEXT_STEP the stack starts anew at the step after the end, and with DISABLED where `reset` is asked for.
    """

    def __init__(
        self,
        env: gym.vector.VectorEnv[Any, Any, Any],
        encoder: FrozenEncoder | str | os.PathLike[str],
        *,
        image_keys: Sequence[str] | None = None,
        n_stack: int = 1,
        code_scaling: Scaling = "none",
        include_log_variance: bool = False,
        keep_image: bool = False,
        device: str = "cpu",
    ) -> None:
        """Wrap a vector environment of images; arguments and errors as in `rl.LatentObservation`.

        With `keep_image` the pictures behind the newest codes are in `infos["image"]`, an array (n, ...) or a dict of
        such, and beside `infos["final_obs"]` the pictures behind it in `infos["final_image"]`, an array of objects.
        """
        options = LatentOptions(image_keys, n_stack, code_scaling, include_log_variance, keep_image, device)
        RecordConstructorArgs.__init__(self, encoder=recordable(encoder), **options.arguments())
        gym.vector.VectorWrapper.__init__(self, env)
        require_images_inside(env, "LatentObservation")
        self._latent = LatentEncoding(env.single_observation_space, encoder, options, "LatentObservation")
        self.single_observation_space = self._latent.space
        self.observation_space = batch_space(self._latent.space, env.num_envs)
        # by name: Gymnasium 1.0 has this one mode and no name for it
        self._autoreset = getattr(env.metadata.get("autoreset_mode"), "name", "NEXT_STEP")
        self._ended = np.zeros(env.num_envs, dtype=bool)

    @property
    def encoder(self) -> FrozenEncoder:
        """The frozen encoder."""
        return self._latent.encoder

    @property
    def latent_options(self) -> LatentOptions:
        """How observations become codes."""
        return self._latent.options

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Codes of the first pictures, float32 (n, n_stack * D); `options["reset_mask"]` is understood."""
        # taken before the call: Gymnasium removes the mask from the options
        mask = (options or {}).get("reset_mask")
        observations, infos = self.env.reset(seed=seed, options=options)
        started = np.ones(self.num_envs, dtype=bool) if mask is None else np.array(mask, dtype=bool)
        self._ended = self._ended & ~started
        return self._latent.start(observations, started), self._kept(infos, observations)

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Codes of the next pictures."""
        observations, rewards, terminations, truncations, infos = self.env.step(actions)
        ended = np.logical_or(terminations, truncations)
        finals = self._finals(infos)
        never = np.zeros(self.num_envs, dtype=bool)
        started = {"NEXT_STEP": self._ended, "SAME_STEP": ended}.get(self._autoreset, never)
        encoded, last = self._latent.step(observations, started, finals)
        self._ended = ended
        infos = self._kept(infos, observations)
        if finals:
            infos = {**infos, "final_obs": self._objects(last)}
            if self.latent_options.keep_image:
                infos["final_image"] = self._objects({i: self._latent.images(final) for i, final in finals.items()})
                infos["_final_image"] = infos["_final_obs"].copy()
        return encoded, rewards, terminations, truncations, infos

    @staticmethod
    def _finals(infos: dict[str, Any]) -> dict[int, Any]:
        if "final_obs" not in infos:
            return {}
        return {int(i): infos["final_obs"][i] for i in np.flatnonzero(infos["_final_obs"])}

    def _objects(self, values: dict[int, Any]) -> npt.NDArray[np.object_]:
        array = np.full(self.num_envs, None, dtype=object)
        for i, value in values.items():
            array[i] = value
        return array

    def _kept(self, infos: dict[str, Any], observations: Any) -> dict[str, Any]:
        if not self.latent_options.keep_image:
            return infos
        kept = {"image": self._latent.images(observations), "_image": np.ones(self.num_envs, dtype=bool)}
        return {**infos, **kept}
