"""Which wrappers must not be between an encoder and its images, why not, and where they belong instead."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gymnasium as gym
from gymnasium.wrappers import FrameStackObservation, NormalizeObservation
from gymnasium.wrappers.vector import NormalizeObservation as VectorNormalizeObservation
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper, VecFrameStack, VecNormalize

_NORMALISED = "it would standardise pixels, and the encoder needs them as they are, uint8 in 0..255"
_STACKED = "stacks of pictures are not what the encoder was trained on, and a stack must never pass as colour channels"
# SB3's off-policy algorithms store what lies inside the VecNormalize that they find, and would store images as codes.
_SB3_NORMALISED = f"{_NORMALISED}; off-policy algorithms would also store pictures in place of codes"

_INSIDE: dict[type, tuple[str, str]] = {
    NormalizeObservation: (
        _NORMALISED,
        'put it outside: NormalizeObservation({wrapper}(env, ...)), or use code_scaling="scale"',
    ),
    VectorNormalizeObservation: (
        _NORMALISED,
        'put it outside: NormalizeObservation({wrapper}(envs, ...)), or use code_scaling="scale"',
    ),
    FrameStackObservation: (_STACKED, "remove it and stack codes: {wrapper}(env, ..., n_stack=k)"),
    VecNormalize: (
        _SB3_NORMALISED,
        "remove it and normalise outside: VecNormalize({wrapper}(venv, ...)), as "
        "make_latent_vec_env(..., normalize=True) does",
    ),
    VecFrameStack: (_STACKED, "remove it and stack codes: {wrapper}(venv, ..., n_stack=k)"),
}
# What lies in the environments of a VecEnv cannot be put around it: these are their twins there.
_IN_A_VEC_ENV: dict[type, type] = {NormalizeObservation: VecNormalize, FrameStackObservation: VecFrameStack}
_IN_A_VECTOR_ENV: dict[type, type] = {NormalizeObservation: VectorNormalizeObservation}

_WRAPPERS: dict[type, tuple[str, str, str]] = {
    gym.Env: ("an environment of Gymnasium", "rl.LatentObservation", "gymnasium.make"),
    gym.vector.VectorEnv: ("a vector environment of Gymnasium", "rl.vector.LatentObservation", "gymnasium.make_vec"),
    VecEnv: ("a VecEnv of Stable-Baselines3", "rl.VecLatentObservation", "make_vec_env of Stable-Baselines3"),
}
"""Kind of environment -> what it is called, the wrapper around it that shows codes, and what makes one."""


def require_images_inside(env: gym.Env[Any, Any] | gym.vector.VectorEnv[Any, Any, Any] | VecEnv, wrapper: str) -> None:
    """Check that nothing inside of `env` spoils the images before `wrapper` encodes them.

    Raises:
        ValueError: a wrapper in the wrong place; the message tells the reason and the right order.
    """
    for kind in _kinds_inside(env):
        for refused, (reason, remedy) in _INSIDE.items():
            if issubclass(kind, refused):
                if isinstance(env, VecEnv):
                    reason, remedy = _INSIDE[_IN_A_VEC_ENV.get(refused, refused)]
                elif isinstance(env, gym.vector.VectorEnv):
                    reason, remedy = _INSIDE[_IN_A_VECTOR_ENV.get(refused, refused)]
                order = remedy.format(wrapper=wrapper)
                raise ValueError(f"{wrapper} cannot be around {kind.__name__}: {reason}. {order}")


def require_kind(env: object, kind: type, wrapper: str) -> None:
    """Check that a wrapper is put around the kind of environment that it is for.

    Args:
        env: what was given.
        kind: `gymnasium.Env`, `gymnasium.vector.VectorEnv` or `VecEnv`.
        wrapper: name, for the message.

    Raises:
        TypeError: another kind; the message names the wrapper for it.
    """
    if isinstance(env, kind):
        return
    other = next((name for each, (_, name, _) in _WRAPPERS.items() if isinstance(env, each)), None)
    remedy = f"make one first ({_WRAPPERS[kind][2]})" if other is None else f"use {other}"
    raise TypeError(f"{wrapper} needs {_WRAPPERS[kind][0]}, got {type(env).__name__}: {remedy}")


def refused_inside(kind: type) -> bool:
    """Whether a wrapper of this class spoils images, so that it cannot be inside of the codes."""
    return issubclass(kind, tuple(_INSIDE))


def _kinds_inside(env: Any) -> Iterator[type]:
    while isinstance(env, gym.Wrapper | gym.vector.VectorWrapper | VecEnvWrapper):
        yield type(env)
        env = env.venv if isinstance(env, VecEnvWrapper) else env.env
    if isinstance(env, gym.vector.VectorEnv):
        yield from _kinds_inside_vector(env)
    if isinstance(env, VecEnv):
        # the environments may live in other processes, which can only be asked
        yield from (kind for kind in (NormalizeObservation, FrameStackObservation) if any(env.env_is_wrapped(kind)))


def _kinds_inside_vector(env: gym.vector.VectorEnv[Any, Any, Any]) -> Iterator[type]:
    """Those of the environments of Gymnasium's vector environments, and of one that stacks by itself, as ALE's."""
    if type(env).__module__.startswith("ale_py") and (env.single_observation_space.shape or (1,))[0] > 1:
        yield FrameStackObservation  # ALE's own stack comes first: (k, H, W) and (k, H, W, 3)
    if hasattr(env, "call"):
        # the environments may live in other processes, which tell of their attributes alone
        for kind, attribute in ((NormalizeObservation, "obs_rms"), (FrameStackObservation, "obs_queue")):
            if any(env.call("has_wrapper_attr", attribute)):
                yield kind
