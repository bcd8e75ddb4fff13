"""make_latent_vec_env: training and evaluation environments from one place, with every wrapper where it belongs."""

from __future__ import annotations

import functools
import numbers
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gymnasium as gym
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecEnv, VecNormalize

from rl.code_scaling import Scaling
from rl.copied_observation import CopiedObservation
from rl.observation import VecLatentObservation
from rl.recoding import Recode
from sparse_repr import FrozenEncoder
from sparse_repr.command_line.bounds import require_whole


def make_latent_vec_env(
    env: str | Callable[..., gym.Env[Any, Any]],
    encoder: FrozenEncoder | str | os.PathLike[str],
    *,
    n_envs: int = 1,
    seed: int | None = None,
    env_kwargs: dict[str, Any] | None = None,
    wrapper_class: Callable[..., gym.Env[Any, Any]] | None = None,
    wrapper_kwargs: dict[str, Any] | None = None,
    monitor_dir: str | None = None,
    monitor_kwargs: dict[str, Any] | None = None,
    start_index: int = 0,
    vec_env_cls: type[DummyVecEnv] | type[SubprocVecEnv] | None = None,
    vec_env_kwargs: dict[str, Any] | None = None,
    image_keys: Sequence[str] | None = None,
    n_stack: int = 1,
    code_scaling: Scaling = "none",
    include_log_variance: bool = False,
    keep_image: bool = False,
    normalize: bool | Mapping[str, Any] = False,
    training: bool = True,
    device: str = "cpu",
    recode: Recode | None = None,
) -> VecEnv:
    """Environments that show codes: env -> Monitor -> `wrapper_class` -> copies -> VecEnv -> codes -> VecNormalize.

    Call it with the same arguments but `training=False` and another seed for evaluation: the wrappers are then those
    that `EvalCallback` needs, and it copies the statistics of `VecNormalize` over before each evaluation.

    Args:
        env: an id, or what returns an environment.
        encoder: a frozen encoder, a run folder or an artefact file.
        n_envs: how many environments.
        seed: of the first environment; the others count on from it.
        env_kwargs: arguments of the environment.
        wrapper_class: a wrapper of each environment, around its Monitor; it must leave uint8 images.
        wrapper_kwargs: its arguments.
        monitor_dir: where to write each environment's episodes as CSV.
        monitor_kwargs: of each `Monitor`, such as ``{"info_keywords": ("is_success",)}``.
        start_index: number of the first environment, in seeds and in the names of those files.
        vec_env_cls: `SubprocVecEnv` for one process per environment; the encoder stays in this one.
        vec_env_kwargs: its arguments.
        image_keys: as in `LatentObservation`, like the following five.
        n_stack: how many of the last codes to show.
        code_scaling: none, scale or standardize, by the artefact's statistics.
        include_log_variance: show log-variances, too.
        keep_image: keep pictures in the infos.
        normalize: True or arguments of `VecNormalize` (give the agent's `gamma`) to normalise codes and rewards by
            running statistics, outside of the codes.
        training: False for evaluation: statistics are not updated, and rewards are shown as they are.
        device: where to encode.
        recode: what to show in place of each code, as in `LatentObservation`.

    Returns:
        The outermost wrapper: `VecNormalize` where asked for, else `VecLatentObservation`.

    Raises:
        TypeError, ValueError: as `VecLatentObservation`; also no environment at all, where `wrapper_class` normalises
            or stacks pictures, and where `normalize` sets `training`.
    """
    if isinstance(normalize, Mapping) and "training" in normalize:
        raise ValueError("make_latent_vec_env: give training=... beside normalize, not inside of it")
    if not (isinstance(env, str) or callable(env)):
        raise TypeError(
            f"make_latent_vec_env makes {n_envs} environments, and needs an id or what makes one (a class, or "
            f"lambda: ...), got an instance of {type(env).__name__}"
        )
    n_envs, start_index = _whole("n_envs", n_envs, 1), _whole("start_index", start_index, 0)
    if seed is not None:
        seed = _whole("seed", seed, 0)
    venv = make_vec_env(
        env,
        n_envs=n_envs,
        seed=seed,
        monitor_dir=monitor_dir,
        monitor_kwargs=monitor_kwargs,
        start_index=start_index,
        wrapper_class=functools.partial(_copied, wrapper_class, wrapper_kwargs or {}),
        env_kwargs=env_kwargs,
        vec_env_cls=vec_env_cls,
        vec_env_kwargs=vec_env_kwargs,
    )
    try:
        latent = VecLatentObservation(
            venv,
            encoder,
            image_keys=image_keys,
            n_stack=n_stack,
            code_scaling=code_scaling,
            include_log_variance=include_log_variance,
            keep_image=keep_image,
            device=device,
            recode=recode,
        )
        if normalize is False:
            return latent
        arguments = {} if normalize is True else dict(normalize)
        if not training:
            arguments["norm_reward"] = False
        return VecNormalize(latent, training=training, **arguments)
    except BaseException:
        venv.close()  # the processes of a SubprocVecEnv must not outlive the refusal
        raise


def _whole(name: str, value: Any, least: int) -> int:
    # numbers of numpy count, as tuners give them
    whole = int(value) if isinstance(value, numbers.Integral) and not isinstance(value, bool) else value
    require_whole(f"make_latent_vec_env: {name}", whole, least=least)
    return int(whole)


def _copied(
    wrapper: Callable[..., gym.Env[Any, Any]] | None, arguments: Mapping[str, Any], env: gym.Env[Any, Any]
) -> gym.Env[Any, Any]:
    return CopiedObservation(env if wrapper is None else wrapper(env, **arguments))
