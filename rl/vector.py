"""LatentObservation for Gymnasium's vector environments: all of them encoded in one forward pass."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium.utils import RecordConstructorArgs
from gymnasium.vector.utils import batch_space

from rl.code_scaling import Scaling
from rl.latent_encoding import LatentEncoding, LatentOptions
from rl.observation import recordable
from rl.recoding import Recode
from rl.wrapper_order import require_images_inside, require_kind
from sparse_repr import FrozenEncoder


class LatentObservation(gym.vector.VectorWrapper, RecordConstructorArgs):
    """Observe codes in every environment of a Gymnasium vector environment, in any of its autoreset modes.

    In SAME_STEP mode the last observations of ended episodes, `infos["final_obs"]`, are encoded in the same forward
    pass, whether they come as from Gymnasium's own environments, an array of objects with a mask, or as from ALE's, one
    array for all environments of which those that have ended count. With NEXT_STEP the stack starts anew at the step
    after the end, and with DISABLED where `reset` is asked for.

    Example:
        >>> from sparse_repr import untrained_encoder
        >>> pictures = gym.make_vec("envs:SparseRepr/SpriteReach-v0", num_envs=3)
        >>> LatentObservation(pictures, untrained_encoder(channels=1)).reset()[0].shape
        (3, 10)
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
        recode: Recode | None = None,
    ) -> None:
        """Wrap a vector environment of images; arguments and errors as in `rl.LatentObservation`.

        With `keep_image` the pictures behind the newest codes are in `infos["image"]`, an array (n, ...) or a dict of
        such, and beside `infos["final_obs"]` the pictures behind it in `infos["final_image"]`, an array of objects.

        Raises:
            ValueError: also an environment that does not show all of its parts at each step (ALE's `batch_size`), or
                an autoreset mode that Gymnasium does not have.
        """
        require_kind(env, gym.vector.VectorEnv, "rl.vector.LatentObservation")
        options = LatentOptions(image_keys, n_stack, code_scaling, include_log_variance, keep_image, device, recode)
        RecordConstructorArgs.__init__(self, encoder=recordable(encoder), **options.arguments())
        gym.vector.VectorWrapper.__init__(self, env)
        require_images_inside(env, "LatentObservation")
        self._latent = LatentEncoding(env.single_observation_space, encoder, options, "LatentObservation")
        self.single_observation_space = self._latent.space
        self.observation_space = batch_space(self._latent.space, env.num_envs)
        _require_all_at_once(env)
        self._autoreset = _autoreset_of(env)
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
        finals = self._finals(infos, ended)
        never = np.zeros(self.num_envs, dtype=bool)
        started = {"NEXT_STEP": self._ended, "SAME_STEP": ended}.get(self._autoreset, never)
        encoded, last = self._latent.step(observations, started, finals)
        self._ended = ended
        infos = self._kept(infos, observations)
        if finals:
            infos = {**infos, "final_obs": self._final_codes(infos["final_obs"], encoded, last)}
            if self.latent_options.keep_image:
                infos["final_image"] = self._objects({i: self._latent.images(final) for i, final in finals.items()})
                infos["_final_image"] = np.isin(np.arange(self.num_envs), list(finals))
        return encoded, rewards, terminations, truncations, infos

    @staticmethod
    def _finals(infos: dict[str, Any], ended: npt.NDArray[np.bool_]) -> dict[int, Any]:
        """Environment -> the last observation of the episode that it has just left."""
        finals = infos.get("final_obs")
        if finals is None:
            return {}
        rows = (int(row) for row in np.flatnonzero(infos.get("_final_obs", ended)))
        if isinstance(finals, Mapping):
            return {row: {key: part[row] for key, part in finals.items()} for row in rows}
        return {row: finals[row] for row in rows if finals[row] is not None}

    def _final_codes(self, finals: Any, encoded: Any, last: dict[int, Any]) -> Any:
        """The encoded last observations, in the form in which `finals` came; one array shows the newest elsewhere."""
        if isinstance(finals, Mapping):
            return {key: _with_rows(encoded[key], {row: part[key] for row, part in last.items()}) for key in finals}
        if np.asarray(finals).dtype == object:
            return self._objects(last)
        return _with_rows(encoded, last)

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


def _with_rows(newest: Any, last: dict[int, Any]) -> npt.NDArray[Any]:
    rows = np.array(newest)
    for row, value in last.items():
        rows[row] = value
    return rows


def _require_all_at_once(env: gym.vector.VectorEnv[Any, Any, Any]) -> None:
    space: Any = env.observation_space
    while isinstance(space, gym.spaces.Dict):
        space = next(iter(space.values()))
    if isinstance(space, gym.spaces.Box) and space.shape[0] != env.num_envs:
        raise ValueError(
            f"LatentObservation needs the observations of all {env.num_envs} environments at each step, got batches of "
            f"{space.shape[0]}, whose rows are other environments each time: make it with batch_size={env.num_envs}"
        )


def _autoreset_of(env: gym.vector.VectorEnv[Any, Any, Any]) -> str:
    """The name of the autoreset mode, which others than Gymnasium declare as text."""
    # Gymnasium 1.0 has this one mode and no name for it
    found = env.metadata.get("autoreset_mode") or "NEXT_STEP"
    name = getattr(found, "name", str(found)).upper().replace("_", "")
    known = {mode.replace("_", ""): mode for mode in ("NEXT_STEP", "SAME_STEP", "DISABLED")}
    if name not in known:
        raise ValueError(
            f"LatentObservation needs an autoreset mode of Gymnasium, {', '.join(known.values())}, in "
            f'metadata["autoreset_mode"], got {found!r}'
        )
    return known[name]
