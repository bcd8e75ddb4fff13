"""Films for the explorer: frames, codes, actions and the network that decides, in a file that holds no pickle."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnv, VecNormalize, unwrap_vec_wrapper

from rl.acting_network import NotCarriedError, acting_network, encoder_of
from sparse_repr.explore import AgentFilm


def can_be_filmed(actions: gym.spaces.Space[Any]) -> bool:
    """Whether the explorer's page has a place for such actions: one choice, or numbers."""
    return isinstance(actions, gym.spaces.Box | gym.spaces.Discrete)


def record_agent_film(
    model: BaseAlgorithm,
    path: str | os.PathLike[str],
    *,
    caption: str | None = None,
    steps: int = 200,
    seed: int | None = 0,
    action_names: tuple[str, ...] = (),
) -> Path:
    """Let an agent play in its environment, and write what the explorer shows of it.

    Args:
        model: an agent on codes, with its environment, which is in `KeepFrames` inside of all that changes frames
            (``wrapper_class=KeepFrames``); its first environment is filmed, and it acts deterministically.
        path: file to write, ends in ``.safetensors``.
        caption: what the agent is; None takes the name of its algorithm.
        steps: frames, at least 1; each is one that the agent saw and acted on.
        seed: of the environments; None goes on with the random numbers that they have.
        action_names: of discrete actions, or of the numbers of an action; empty takes what the environment's
            `get_action_meanings` says, if it has any.

    Returns:
        The path. Where the policy cannot be computed in a browser, the film says why and shows the actions alone.

    Raises:
        TypeError: the environment keeps no frames, or its actions are neither a Discrete nor a Box.
        ValueError: no environment, no codes, another ending, or less than one step.
    """
    if steps < 1:
        raise ValueError(f"a film needs at least 1 step, got {steps}")
    venv = model.get_env()
    if venv is None:
        raise ValueError("a film for the explorer needs a model with its environment: model.set_env(...) first")
    space = model.action_space
    if not can_be_filmed(space):
        raise TypeError(
            f"a film for the explorer shows a Discrete or a Box of actions, got {space}: the page has no place for "
            "several choices at once, but `film_agent` draws such an agent as a GIF"
        )
    encoder = encoder_of(model)
    if seed is not None:
        venv.seed(seed)
    observations: Any = venv.reset()
    normalised = unwrap_vec_wrapper(venv, VecNormalize)
    frame, step, gathered = _frame(venv.unwrapped.reset_infos[0], venv), 0, 0.0
    frames, actions, counts, returns = [], [], [], []
    for _ in range(steps):
        chosen, _state = model.predict(observations, deterministic=True)
        frames.append(frame)
        actions.append(np.asarray(chosen[0], dtype=np.float32).reshape(-1))
        counts.append(step)
        returns.append(gathered)
        observations, rewards, dones, infos = venv.step(chosen)
        reward = rewards[0] if normalised is None else normalised.get_original_reward()[0]
        frame, step, gathered = _frame(infos[0], venv), step + 1, gathered + float(reward)
        if dones[0]:  # what was shown last is the end of the episode, on which nobody acts
            frame, step, gathered = _frame(venv.unwrapped.reset_infos[0], venv), 0, 0.0
    images = np.stack(frames)
    film = AgentFilm(
        encoder=encoder.fingerprint,
        caption=type(model).__name__ if caption is None else caption,
        frames=images,
        codes=encoder.encode(images),
        actions=np.stack(actions),
        steps=np.array(counts, dtype=np.int64),
        returns=np.array(returns, dtype=np.float32),
        bounds=_bounds(space),
        action_names=tuple(action_names) or _named(venv),
        **_policy(model),
    )
    return film.save(path)


def _policy(model: BaseAlgorithm) -> dict[str, Any]:
    try:
        return {"policy": acting_network(model)}
    except NotCarriedError as reason:
        return {"note": f"What it would do with another code is not shown: {reason}."}


def _bounds(space: gym.Space[Any]) -> tuple[list[float], list[float]] | None:
    if not isinstance(space, gym.spaces.Box):
        return None
    return space.low.reshape(-1).astype(float).tolist(), space.high.reshape(-1).astype(float).tolist()


def _named(venv: VecEnv) -> tuple[str, ...]:
    try:
        return tuple(map(str, venv.env_method("get_action_meanings", indices=[0])[0]))
    except AttributeError:
        return ()


def _frame(info: dict[str, Any], venv: VecEnv) -> np.ndarray:
    """(C, H, W)."""
    if "frame" not in info:
        raise TypeError(f"a film needs environments in KeepFrames (wrapper_class=KeepFrames), got {venv}")
    frame = np.asarray(info["frame"])
    if frame.ndim == 2:
        return frame[None]
    return frame.transpose(2, 0, 1) if frame.shape[2] in (1, 3) else frame
