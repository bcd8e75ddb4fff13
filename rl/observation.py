"""Wrappers that replace image observations by codes: one environment, or all of an SB3 VecEnv in one forward pass."""

from __future__ import annotations

import inspect
import os
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium.utils import RecordConstructorArgs
from gymnasium.wrappers import Autoreset
from stable_baselines3.common.env_util import unwrap_wrapper
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvObs, VecEnvStepReturn

from rl.code_scaling import Scaling
from rl.code_space import restore
from rl.code_stack import Codes
from rl.copied_observation import CopiedObservation
from rl.latent_encoding import LatentEncoding, LatentOptions
from rl.recoding import Recode
from rl.wrapper_order import require_images_inside, require_kind
from sparse_repr import FrozenEncoder

_GOALS = ("achieved_goal", "desired_goal")


def recordable(encoder: FrozenEncoder | str | os.PathLike[str]) -> FrozenEncoder | str:
    """What a wrapper's spec records of its encoder: the object, or the path as text, which JSON can hold."""
    return os.fspath(encoder) if isinstance(encoder, os.PathLike) else encoder


class LatentObservation(gym.ObservationWrapper[Any, Any, Any], RecordConstructorArgs):
    """Observe the code of each image: a `CodeSpace` of shape (n_stack * D,), float32, instead of uint8 pictures.

    The encoder runs once per frame, outside the agent, so it can neither be trained nor overwritten, and replay buffers
    hold codes. For several environments use `VecLatentObservation` or `rl.vector.LatentObservation`: one forward pass
    for all.

    `gymnasium.make(env.spec)` makes it again. The spec holds the encoder as it was given: `env.spec.to_json()` needs
    it given as a path.

    Example:
        >>> from sparse_repr import untrained_encoder
        >>> pictures = gym.make("envs:SparseRepr/SpriteReach-v0")
        >>> env = LatentObservation(pictures, untrained_encoder(channels=1), n_stack=2)
        >>> env.reset(seed=0)[0].shape  # the last two codes
        (20,)
    """

    def __init__(
        self,
        env: gym.Env[Any, Any],
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
        """Wrap an image environment.

        Args:
            env: its images are uint8 (H, W, C) or (C, H, W) of a size the encoder takes.
            encoder: a frozen encoder, a run folder or an artefact file.
            image_keys: which keys of a Dict are images; each is replaced by its code, the others pass through.
            n_stack: how many of the last codes to show, oldest first; at reset all are the first one.
            code_scaling: `scale` divides active units by their standard deviation on the training images,
                `standardize` also subtracts their mean; both set dead units to 0.
            include_log_variance: show [code, log-variance] of each frame; the log-variance is of the unscaled code.
            keep_image: keep the picture behind the newest code in `info["image"]` (for a Dict, a dict of pictures),
                in place of an entry of that name.
            device: where to encode; one small image is fastest on the CPU.
            recode: what to show in place of each code: `expand` (recommended), `cosine`, `one_hot`, `tiles`,
                `simplicial` or `project`, a mapping such as ``{"name": "expand", "width": 400}`` (see `rl.recodings`),
                or a dictionary or its file, which ``python -m rl.dictionary`` fits to the encoder's codes. Units are
                standardised by the artefact's statistics, dead ones count for nothing.

        Raises:
            TypeError, ValueError: the observation space is not what the encoder takes, or a wrapper inside spoils
                the images; the message says what to do.
        """
        require_kind(env, gym.Env, "LatentObservation")
        options = LatentOptions(image_keys, n_stack, code_scaling, include_log_variance, keep_image, device, recode)
        RecordConstructorArgs.__init__(self, encoder=recordable(encoder), **options.arguments())
        gym.ObservationWrapper.__init__(self, env)
        require_images_inside(env, "LatentObservation")
        self._latent = LatentEncoding(env.observation_space, encoder, options, "LatentObservation")
        self._first = True
        self._ended = False
        self._autoreset = unwrap_wrapper(env, Autoreset) is not None
        self.observation_space = self._latent.space

    @property
    def encoder(self) -> FrozenEncoder:
        """The frozen encoder."""
        return self._latent.encoder

    @property
    def latent_options(self) -> LatentOptions:
        """How observations become codes."""
        return self._latent.options

    @property
    def image_space(self) -> gym.Space[Any]:
        """The space of what is encoded: also told by environments in other processes."""
        return self.env.observation_space

    @property
    def code_space(self) -> gym.Space[Any]:
        """The space of what this wrapper shows, whatever is around it; told in the same way."""
        return self._latent.space

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Know what made the codes in another process, too: on the way there spaces become plain boxes."""
        self.__dict__.update(state)
        for space in (self.observation_space, self.code_space):
            restore(space)

    def get_wrapper_attr(self, name: str) -> Any:
        """As Gymnasium's; but rewards of goals that were pictures cannot be computed from their codes.

        Raises:
            ValueError: `HerReplayBuffer` asks for rewards of goals that the environment knows as pictures.
        """
        if name == "compute_reward":
            _require_goals_as_they_are(self.latent_options)
        return super().get_wrapper_attr(name)

    def observation(self, observation: Any) -> Any:
        """The newest observation with its images replaced by codes: uint8 pictures -> float32 (n_stack * D,)."""
        first, self._first = self._first, False
        return self._latent.single(observation, first=first)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Code of the first picture."""
        observation, info = self.env.reset(seed=seed, options=options)
        self._first, self._ended = True, False
        return self.observation(observation), self._kept(info, observation)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Code of the next picture."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        # an Autoreset inside shows the first picture of the next episode in the step behind the last one
        self._first, self._ended = self._ended, self._autoreset and bool(terminated or truncated)
        return self.observation(observation), reward, terminated, truncated, self._kept(info, observation)

    def _kept(self, info: dict[str, Any], observation: Any) -> dict[str, Any]:
        return {**info, "image": self._latent.images(observation)} if self.latent_options.keep_image else info


class VecLatentObservation(VecEnvWrapper):
    """Observe codes in every environment of a Stable-Baselines3 VecEnv, all encoded in one forward pass.

    The final pictures that SB3 keeps in `infos[i]["terminal_observation"]` are encoded in the same pass. Put
    `VecNormalize` outside of it, never inside: `make_latent_vec_env` builds the whole chain.

    Example:
        >>> from stable_baselines3.common.env_util import make_vec_env
        >>> from sparse_repr import untrained_encoder
        >>> venv = make_vec_env("envs:SparseRepr/SpriteReach-v0", n_envs=3)
        >>> VecLatentObservation(venv, untrained_encoder(channels=1)).reset().shape
        (3, 10)
    """

    def __init__(
        self,
        venv: VecEnv,
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
        """Wrap a vectorised image environment; arguments and errors as in `LatentObservation`.

        With `keep_image` the picture behind the newest code is in `infos[i]["image"]`, the final one of an episode
        that has just ended in `infos[i]["terminal_image"]`, and that of a reset in `reset_infos[i]["image"]`.
        """
        options = LatentOptions(image_keys, n_stack, code_scaling, include_log_variance, keep_image, device, recode)
        require_kind(venv, VecEnv, "VecLatentObservation")
        require_images_inside(venv, "VecLatentObservation")
        self._latent = LatentEncoding(venv.observation_space, encoder, options, "VecLatentObservation")
        if all(venv.env_is_wrapped(CopiedObservation)):
            self._latent.trust_finals()
        super().__init__(venv, observation_space=self._latent.space)

    @property
    def encoder(self) -> FrozenEncoder:
        """The frozen encoder."""
        return self._latent.encoder

    @property
    def latent_options(self) -> LatentOptions:
        """How observations become codes."""
        return self._latent.options

    def env_method(
        self, method_name: str, *method_args: Any, indices: VecEnvIndices = None, **method_kwargs: Any
    ) -> Any:
        """As SB3's; but rewards of goals that were pictures cannot be computed from their codes.

        Raises:
            ValueError: `HerReplayBuffer` asks for rewards of goals that the environment knows as pictures.
        """
        if method_name == "compute_reward":
            _require_goals_as_they_are(self.latent_options)
        return super().env_method(method_name, *method_args, indices=indices, **method_kwargs)

    def __getstate__(self) -> dict[str, Any]:
        # SB3 keeps the members of the class with each wrapper, and they cannot be pickled
        return {name: value for name, value in self.__dict__.items() if name != "class_attributes"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.class_attributes = dict(inspect.getmembers(type(self)))

    def reset(self) -> VecEnvObs:
        """Codes of the first pictures, float32 (n, n_stack * D)."""
        observations = self.venv.reset()
        # a copy: SB3's own wrappers leave theirs empty, and the inner one must not change under the environments
        self.reset_infos = [dict(info) for info in self.venv.reset_infos]
        self._keep_images(self.reset_infos, observations)
        encoded: VecEnvObs = self._latent.start(observations)
        return encoded

    def step_wait(self) -> VecEnvStepReturn:
        """Codes, rewards, dones and infos of the pending step."""
        observations, rewards, dones, infos = self.venv.step_wait()
        # an environment may hand out the same info at every step, with what SB3 has put into it at the end of another
        finals = {
            i: info["terminal_observation"]
            for i, info in enumerate(infos)
            if dones[i] and "terminal_observation" in info
        }
        for begun in np.flatnonzero(dones).tolist():
            self.reset_infos[begun] = dict(self.venv.reset_infos[begun])
            self._keep_image(self.reset_infos[begun], observations, begun)
        encoded, last = self._latent.step(observations, np.asarray(dones, dtype=bool), finals)
        self._keep_images(infos, observations)
        for i, observation in last.items():
            infos[i]["terminal_observation"] = observation
            if self.latent_options.keep_image:
                infos[i]["terminal_image"] = self._latent.images(finals[i])
        return encoded, rewards, dones, infos

    def _keep_images(self, infos: Sequence[dict[str, Any]], observations: Any) -> None:
        for i, info in enumerate(infos):
            self._keep_image(info, observations, i)

    def _keep_image(self, info: dict[str, Any], observations: Any, i: int) -> None:
        if self.latent_options.keep_image:
            info["image"] = self._latent.images(observations, i)


def _require_goals_as_they_are(options: LatentOptions) -> None:
    goals = sorted({*_GOALS} & {*(options.image_keys or ())})
    if goals:
        raise ValueError(
            f"{' and '.join(goals)} of the environment {'are pictures' if len(goals) > 1 else 'is a picture'}, and "
            "rewards are asked for by codes (HerReplayBuffer), which it cannot know: keep goals as vectors, or encode "
            "in the policy (LatentExtractor with image_keys), so that the replay buffer holds pictures"
        )


class FactorObservation(gym.Wrapper[Codes, Any, npt.NDArray[np.uint8], Any], RecordConstructorArgs):
    """Observe the ground-truth factors in `info["factors"]`: the upper bound of what any code can give.

    Example:
        >>> env = FactorObservation(gym.make("envs:SparseRepr/SpriteReach-v0"), keep=["position_x", "position_y"])
        >>> env.reset(seed=0)[0].shape
        (2,)
    """

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
