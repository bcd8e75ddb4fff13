"""Which wrappers may be around the codes of an agent that is saved or exported."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
from gymnasium.wrappers import (
    Autoreset,
    ClipReward,
    HumanRendering,
    NormalizeReward,
    OrderEnforcing,
    PassiveEnvChecker,
    RecordEpisodeStatistics,
    RecordVideo,
    RenderCollection,
    TimeLimit,
    TransformReward,
)
from stable_baselines3.common.atari_wrappers import ClipRewardEnv
from stable_baselines3.common.env_util import is_wrapped, unwrap_wrapper
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import (
    DummyVecEnv,
    VecCheckNan,
    VecEnv,
    VecEnvWrapper,
    VecMonitor,
    VecNormalize,
    VecTransposeImage,
    VecVideoRecorder,
)

from rl.copied_observation import CopiedObservation
from rl.observation import LatentObservation, VecLatentObservation
from rl.wrapper_order import refused_inside

_CODES = (LatentObservation, VecLatentObservation)

# They change neither what an agent observes nor what it does. By exact class: a class derived from one of them may.
_HARMLESS: frozenset[type] = frozenset(
    {
        Autoreset,
        ClipReward,
        ClipRewardEnv,
        CopiedObservation,
        HumanRendering,
        Monitor,
        NormalizeReward,
        OrderEnforcing,
        PassiveEnvChecker,
        RecordEpisodeStatistics,
        RecordVideo,
        RenderCollection,
        TimeLimit,
        TransformReward,
    }
)
# by name, because their packages need not be here
_HARMLESS_ELSEWHERE = frozenset({"sb3_contrib.common.wrappers.action_masker.ActionMasker"})
# VecNormalize changes what an agent observes, but its statistics are saved.
_HARMLESS_VECTORISED: frozenset[type] = frozenset(
    {VecCheckNan, VecMonitor, VecNormalize, VecTransposeImage, VecVideoRecorder}
)


_NESTED = (
    "the codes of one encoder are around those of another, and an agent's file holds one encoder: encode all pictures "
    "by one, with image_keys of all of them, or save the agent by its own save and both encoders beside it"
)


def require_harmless(venv: VecEnv, wrappers: Sequence[VecEnvWrapper]) -> None:
    """Check what is around the codes, in this process or in others.

    Args:
        venv: shows codes, by a `VecLatentObservation` or a `LatentObservation` in each environment.
        wrappers: vectorised ones around it.

    Raises:
        ValueError: a wrapper may change what the agent observes or does, or there are several of a kind of which an
            agent's file holds one.
    """
    if sum(isinstance(wrapper, VecNormalize) for wrapper in wrappers) > 1:
        raise ValueError(
            "several VecNormalize are around the codes, and an agent's file holds the statistics of one: use one, with "
            "norm_obs and norm_reward as both had them"
        )
    for wrapper in wrappers:
        if type(wrapper) not in _HARMLESS_VECTORISED:
            raise ValueError(_refusal(type(wrapper), "VecLatentObservation", "venv"))
    if isinstance(venv, VecLatentObservation):
        if type(venv) is not VecLatentObservation:
            raise ValueError(_refusal(type(venv), "VecLatentObservation", "venv"))
        if _makes_codes(venv.venv):
            raise ValueError(_NESTED)
    elif any(venv.env_is_wrapped(_NestedCodes)):
        raise ValueError(_NESTED)
    elif any(venv.env_is_wrapped(_ChangesCodes)):
        raise ValueError(_refusal(_found_in(venv, _ChangesCodes), "LatentObservation", "env"))


def changes_actions(venv: VecEnv) -> str | None:
    """The name of a wrapper between an agent and its environment that changes actions; None where none is known to."""
    while isinstance(venv, VecEnvWrapper):
        if venv.action_space != venv.venv.action_space:
            return type(venv).__name__
        venv = venv.venv
    if not any(venv.env_is_wrapped(_ChangesActions)):
        return None
    found = _found_in(venv, _ChangesActions)
    return found if isinstance(found, str) else found.__name__


class _AskedOfEachWrapper(type):
    """Makes `isinstance(wrapper, cls)` ask the wrapper itself, in the process where it is.

    `VecEnv.env_is_wrapped(cls)` is the one question about wrappers that environments in other processes answer too.
    """

    def __instancecheck__(cls, instance: Any) -> bool:
        return bool(cls.answer(instance))  # type: ignore[attr-defined]


class _ChangesCodes(gym.Wrapper[Any, Any, Any, Any], metaclass=_AskedOfEachWrapper):
    """Any wrapper around a `LatentObservation` that is not known to be harmless, and any variant of that wrapper."""

    @staticmethod
    def answer(wrapper: Any) -> bool:
        kind = type(wrapper)
        if isinstance(wrapper, LatentObservation):
            return kind is not LatentObservation
        if kind in _HARMLESS or f"{kind.__module__}.{kind.__qualname__}" in _HARMLESS_ELSEWHERE:
            return False
        return is_wrapped(wrapper.env, LatentObservation)


class _NestedCodes(gym.Wrapper[Any, Any, Any, Any], metaclass=_AskedOfEachWrapper):
    """A `LatentObservation` around another."""

    @staticmethod
    def answer(wrapper: Any) -> bool:
        return isinstance(wrapper, LatentObservation) and is_wrapped(wrapper.env, LatentObservation)


def _makes_codes(venv: VecEnv) -> bool:
    while isinstance(venv, VecEnvWrapper):
        if isinstance(venv, VecLatentObservation):
            return True
        venv = venv.venv
    return any(venv.env_is_wrapped(LatentObservation))


class _ChangesActions(gym.Wrapper[Any, Any, Any, Any], metaclass=_AskedOfEachWrapper):
    """Any wrapper that is known to change actions, by its class or by its action space."""

    @staticmethod
    def answer(wrapper: Any) -> bool:
        return isinstance(wrapper, gym.ActionWrapper) or wrapper.action_space != wrapper.env.action_space


def _found_in(venv: VecEnv, kind: type[gym.Wrapper[Any, Any, Any, Any]]) -> type | str:
    """The class of a wrapper that is of this kind, or words for it where it is in another process."""
    base = venv.unwrapped
    for env in base.envs if isinstance(base, DummyVecEnv) else ():
        found = unwrap_wrapper(env, kind)
        if found is not None:
            return type(found)
    # the text of an environment lists its wrappers, outermost first; the wrappers themselves cannot always be sent
    return f"a wrapper in {venv.env_method('__str__', indices=0)[0]}"


def _refusal(found: type | str, wrapper: str, inner: str) -> str:
    name = found if isinstance(found, str) else found.__name__
    remedy = "to change codes use n_stack, code_scaling, recode or VecNormalize, as in make_latent_vec_env, instead"
    if isinstance(found, str) or not (refused_inside(found) or issubclass(found, _CODES)):
        given = "It" if isinstance(found, str) else found.__name__
        inside = f"{wrapper}({given}({inner}), ...)"
        remedy = f"if it works on pictures, actions or rewards, put it inside, {inside}; {remedy}"
    return (
        f"{name} is around the codes and not known to leave observations and actions as they are, and an agent's file "
        f"cannot hold it: {remedy}"
    )
