"""Training one agent of the study and judging it in every domain."""

from __future__ import annotations

import dataclasses
import inspect
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from stable_baselines3 import DQN, PPO, SAC
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.preprocessing import is_image_space, is_image_space_channels_first
from stable_baselines3.common.vec_env import VecEnv, VecFrameStack, VecNormalize, VecTransposeImage

import envs  # noqa: F401 (registers the environments)
from experiments.agents.arms import DICTIONARY, Arm
from experiments.agents.cells import AgentCell, recording_of
from experiments.agents.learning import FirstLayer, LearningCurve, UpdateSizes
from experiments.agents.part_of_frames import PartOfFrames
from experiments.agents.scales import HIDDEN_WIDTHS, TRAIN_FRAMES
from experiments.film.recording import KeepFrames
from experiments.measure.judging import judge
from experiments.measure.machine import machine_facts, peak_memory_mb
from experiments.measure.side_by_side import family_clock
from experiments.study.procedure import Procedure, claimed, refuse_other_settings
from rl import FactorObservation, LatentExtractor, make_latent_vec_env
from rl.code_scaling import Scaling
from rl.dictionary import DictionarySettings, fit_to_images
from rl.recodings import Expand
from sparse_repr import FrozenEncoder, load_encoder
from sparse_repr.data import load_dataset
from sparse_repr.data.crop import parse_crop
from sparse_repr.devices import cpu_threads
from sparse_repr.files import write_json
from sparse_repr.files.json_reader import FLAG, OBJECT, Shape, many, number, read_json

RECORD = "agent-cell.json"
_REMEDY = "remove it and compute that cell again"
"""File of an agent's folder that is written last: settings, curve, evaluation, seconds, memory and machine."""
AGENT = "agent.zip"
"""File of the trained agent, by Stable-Baselines3; the random policy has none."""
_ALGORITHMS: dict[str, type[BaseAlgorithm]] = {"ppo": PPO, "sac": SAC, "dqn": DQN}
_ACTIONS: dict[str, type[gym.Space[Any]]] = {"sac": gym.spaces.Box, "dqn": gym.spaces.Discrete}
_EVALUATION_SEED = 1_000_000
JUDGED_TOGETHER = 20
"""Environments of an evaluation: a divisor of the episodes at every scale, so that each plays as many."""


def agent_is_finished(cell: AgentCell) -> bool:
    """Whether all of an agent's cell is there."""
    return (cell.folder / RECORD).is_file()


def _steps_taken(cell: AgentCell) -> int:
    if not agent_is_finished(cell):
        return 0
    _check_agent(cell)
    return cell.steps


def _check_agent(cell: AgentCell) -> None:
    """Check that a finished agent learned by the settings of its cell, on the encoder that its folder holds.

    Raises:
        ValueError: it learned otherwise.
    """
    record = read_json(cell.folder / RECORD, {"settings": OBJECT}, remedy=_REMEDY)
    found = record["settings"]
    wanted = json.loads(json.dumps(cell.settings()))
    different = [
        f"{name}: {found.get(name)!r} there, {wanted.get(name)!r} asked for"
        for name in sorted(found.keys() | wanted.keys())
        if found.get(name) != wanted.get(name)
    ]
    refuse_other_settings(cell.folder, different)
    if cell.encoder_folder is None or not (cell.encoder_folder / "encoder.safetensors").is_file():
        return
    there, learned_on = load_encoder(cell.encoder_folder).fingerprint, record.get("encoder")
    if there != learned_on:
        raise ValueError(
            f"{cell.folder} learned on the codes of the encoder {str(learned_on)[:12]}, but {cell.encoder_folder} "
            f"holds {there[:12]}: remove the agent's folder and run the same command again, or put its encoder back"
        )


def scaling_of(encoder: FrozenEncoder) -> Scaling:
    """How codes are scaled for agents: to zero mean and unit variance, so that no arm suffers from its units' sizes.

    An encoder without an active unit has nothing to scale by; its codes are shown as they are.
    """
    return "standardize" if any(encoder.spec.units.active) else "none"


def shown_of(cell: AgentCell, encoder: FrozenEncoder) -> dict[str, Any]:
    """How an arm is shown the codes of a frozen encoder, as arguments of `VecLatentObservation`.

    A recoding standardises the units by itself; without an active unit it has nothing to go by, and the codes are shown
    as they are.
    """
    scaling = scaling_of(encoder)
    if cell.arm.recode is None or scaling == "none":
        return {"code_scaling": scaling}
    if cell.arm.recode == DICTIONARY:
        return {"recode": str(_dictionary_of(_encoder_folder(cell), cell))}
    if cell.arm.bandwidth is not None:
        return {"recode": {"name": cell.arm.recode, "bandwidth": cell.arm.bandwidth}}
    if (cell.arm.times, cell.arm.share) != (None, None):
        return {"recode": _dose_of(cell.arm, encoder.code_size)}
    return {"recode": cell.arm.recode}


def _dose_of(arm: Arm, code_size: int) -> Expand:
    """The expansion of an arm that is there for the curve of its settings."""
    width = Expand().size(code_size) if arm.times is None else arm.times * code_size
    if arm.share is None:
        return Expand(width)
    return Expand(width, k=max(1, round(arm.share * width)))


def _dictionary_of(folder: Path, cell: AgentCell) -> Path:
    """The file of a dictionary of the codes of an encoder's frames, fitted by the first that asks."""
    file = folder / "dictionary.safetensors"
    if not file.is_file():
        frames = load_dataset("h5", recording_of(folder.parents[1], cell.task_name, TRAIN_FRAMES))
        with cpu_threads(cell.threads):
            fit_to_images(load_encoder(folder), frames, DictionarySettings(seed=cell.seed)).save(file)
    return file


def make_environments(cell: AgentCell, domain: str, count: int, seed: int, *, keep_frames: bool = False) -> VecEnv:
    """Environments of a cell's task as its arm observes them, each with a Monitor.

    Args:
        cell: the agent; its encoder's folder must be finished.
        domain: name of a domain.
        count: how many environments.
        seed: of the first; the others count on from it.
        keep_frames: keep every image in the infos, for films.
    """
    task, arm = cell.task, cell.arm
    arguments = task.arguments(domain)
    kept = KeepFrames if keep_frames else None
    if arm.frozen:
        encoder = load_encoder(_encoder_folder(cell))
        return make_latent_vec_env(
            task.environment,
            encoder,
            n_envs=count,
            seed=seed,
            env_kwargs=arguments,
            wrapper_class=kept,
            n_stack=task.n_stack,
            **shown_of(cell, encoder),
        )
    if arm.observes == "factors":

        def shown(env: gym.Env[Any, Any]) -> gym.Env[Any, Any]:
            return FactorObservation(env if kept is None else kept(env), one_hot=dict(task.one_hot))

        venv = make_vec_env(task.environment, count, seed=seed, env_kwargs=arguments, wrapper_class=shown)
    else:

        def seen(env: gym.Env[Any, Any]) -> gym.Env[Any, Any]:
            whole = env if kept is None else kept(env)
            if not arm.cropped:
                return whole
            assert task.crop is not None  # `agent_cell` has looked
            return PartOfFrames(whole, parse_crop(task.crop))

        venv = make_vec_env(task.environment, count, seed=seed, env_kwargs=arguments, wrapper_class=seen)
    return venv if task.n_stack == 1 else VecFrameStack(venv, task.n_stack)


def _encoder_folder(cell: AgentCell) -> Path:
    assert cell.encoder_folder is not None
    return cell.encoder_folder


def load_trained(cell: AgentCell) -> BaseAlgorithm:
    """The agent of a finished cell; the file is Stable-Baselines3's and holds pickles: it is the study's own."""
    return _ALGORITHMS[cell.algorithm_name].load(cell.folder / AGENT, device="cpu")


def _default_of(algorithm: type[BaseAlgorithm], name: str) -> float:
    """What Stable-Baselines3 takes for an argument of an algorithm that is not given."""
    return float(inspect.signature(algorithm).parameters[name].default)


def make_agent(cell: AgentCell, venv: VecEnv) -> BaseAlgorithm:
    """The agent before it has learned anything; its heads are those of every arm.

    Raises:
        ValueError: the algorithm does not know the actions of the task.
    """
    actions = _ACTIONS.get(cell.algorithm_name)
    if actions is not None and not isinstance(venv.action_space, actions):
        raise ValueError(
            f"{cell.algorithm_name} takes actions of {actions.__name__}, {cell.task_name} has {venv.action_space}: "
            "take --algorithm ppo, or another --task"
        )
    policy_kwargs: dict[str, Any] = {"net_arch": HIDDEN_WIDTHS[cell.algorithm_name]}
    policy = "MlpPolicy"
    if cell.arm.observes == "pixels":
        policy = "CnnPolicy"  # features by Mnih et al. 2015's network, as Stable-Baselines3 has it
    elif cell.arm.fine_tuned:
        encoder = load_encoder(_encoder_folder(cell))
        policy_kwargs["features_extractor_class"] = LatentExtractor
        policy_kwargs["features_extractor_kwargs"] = {
            "encoder": encoder,
            "trainable": True,
            "code_scaling": scaling_of(encoder),
        }
    algorithm: Any = _ALGORITHMS[cell.algorithm_name]
    settings = dict(cell.algorithm.settings)
    if (rate := cell.learning_rate()) is not None:
        settings["learning_rate"] = rate
    elif cell.arm.rate is not None:
        settings["learning_rate"] = cell.arm.rate * _default_of(algorithm, "learning_rate")
    return algorithm(policy, venv, seed=cell.seed, device="cpu", policy_kwargs=policy_kwargs, **settings)


def complete_agents(cells: Sequence[AgentCell], on_steps: Callable[[int], None]) -> None:
    """Train and judge agents that are neither finished nor claimed.

    One that was interrupted is trained anew, so that every result is that of one undisturbed run with its seed.

    Args:
        cells: the agents; their encoders must be finished.
        on_steps: called with the number of steps taken since its last call.

    Raises:
        FileNotFoundError: an encoder is not there.
        ValueError, OSError: a folder cannot be used.
    """
    with claimed([cell for cell in cells if not agent_is_finished(cell)]) as held:
        for cell in held:
            if not agent_is_finished(cell):
                with cpu_threads(cell.threads):
                    _complete(cell, on_steps)


def _complete(cell: AgentCell, on_steps: Callable[[int], None]) -> None:
    _forget_peak_memory()
    clock = family_clock(cell.threads)
    started = clock()
    agent, learned = (None, _Learned()) if cell.arm.observes == "nothing" else _train(cell, on_steps, clock)
    trained, memory = clock(), peak_memory_mb()
    evaluation = {domain: _judge(cell, agent, domain) for domain in cell.task.domains}
    record = {
        "settings": cell.settings(),
        "encoder": None if cell.encoder_folder is None else load_encoder(cell.encoder_folder).fingerprint,
        "curve": learned.curve,
        "curve_seconds": learned.seconds,
        "updates": learned.updates,
        "first_layer": learned.first_layer,
        "evaluation": evaluation,
        "seconds": {
            "training": round(trained - started, 2),
            "evaluation": round(clock() - trained, 2),
        },
        "peak_memory_mb": memory,
        "replay_memory_mb": replay_memory_mb(agent),
        "parameters": 0 if agent is None else _trained_parameters(agent),
        "machine": machine_facts(),
    }
    write_json(cell.folder / RECORD, record)


@dataclasses.dataclass(frozen=True)
class _Learned:
    """What is kept of an agent's training; nothing of one that does not learn."""

    curve: Sequence[Any] = ()
    seconds: Sequence[float] = ()
    updates: Mapping[str, Sequence[float | None]] = dataclasses.field(default_factory=dict)
    first_layer: Mapping[str, float] = dataclasses.field(default_factory=dict)


def _train(
    cell: AgentCell, on_steps: Callable[[int], None], clock: Callable[[], float]
) -> tuple[BaseAlgorithm, _Learned]:
    started = clock()
    # seeds of the environments are far apart, so that no two agents see the same episodes
    venv = make_environments(cell, "source", cell.algorithm.environments, 1_000 * cell.seed)
    if cell.task.scaled_rewards:
        gamma = cell.algorithm.settings.get("gamma", _default_of(_ALGORITHMS[cell.algorithm_name], "gamma"))
        space = venv.observation_space
        if isinstance(space, gym.spaces.Box) and is_image_space(space) and not is_image_space_channels_first(space):
            # inside, since off-policy algorithms store what it was given; outside, pictures have their channels first
            venv = VecTransposeImage(venv)
        venv = VecNormalize(venv, norm_obs=False, gamma=gamma)
    try:
        agent = make_agent(cell, venv)
        curve = LearningCurve(cell.steps, on_steps, lambda: clock() - started)
        updates, first = UpdateSizes(), FirstLayer()
        agent.learn(cell.steps, callback=[curve, updates, first])
        cell.folder.mkdir(parents=True, exist_ok=True)
        agent.save(cell.folder / AGENT)
        return agent, _Learned(curve.windows(), curve.seconds(), updates.values, first.found)
    finally:
        venv.close()


def replay_memory_mb(agent: BaseAlgorithm | None) -> float | None:
    """Megabytes of the arrays of an agent's replay buffer, full or not; None of one that has none."""
    buffer = getattr(agent, "replay_buffer", None)
    if buffer is None:
        return None
    parts = [
        part for value in vars(buffer).values() for part in (value.values() if isinstance(value, dict) else (value,))
    ]
    return round(sum(part.nbytes for part in parts if isinstance(part, np.ndarray)) / 1e6, 1)


def _trained_parameters(agent: BaseAlgorithm) -> int:
    return sum(parameter.numel() for parameter in agent.policy.parameters() if parameter.requires_grad)


def act_of(agent: BaseAlgorithm | None, venv: VecEnv, seed: int) -> Callable[[Any], Any]:
    """Observations -> the most probable actions of an agent; without one, uniformly random actions."""
    if agent is None:
        space = venv.action_space
        space.seed(seed)
        return lambda observations: np.stack([space.sample() for _ in observations])
    return lambda observations: agent.predict(observations, deterministic=True)[0]


def _judge(cell: AgentCell, agent: BaseAlgorithm | None, domain: str) -> dict[str, list[Any]]:
    """Every arm and seed plays the same episodes."""
    venv = make_environments(cell, domain, min(JUDGED_TOGETHER, cell.episodes), _EVALUATION_SEED)
    try:
        episodes = judge(venv, cell.episodes, act_of(agent, venv, cell.seed), seed=_EVALUATION_SEED)
    finally:
        venv.close()
    return {
        "returns": [round(float(episode["return"]), 6) for episode in episodes],
        "successes": [bool(episode["success"]) for episode in episodes],
        "steps": [int(episode["steps"]) for episode in episodes],
    }


def _forget_peak_memory() -> None:
    """Begin a new peak, where the system can: several cells may be computed in one process."""
    if sys.platform == "linux":
        Path("/proc/self/clear_refs").write_text("5")


def describe_agent(cell: AgentCell) -> str:
    """One line about a finished agent."""
    shape: Shape = {
        "evaluation": {"source": {"returns": many(number()), "successes": many(FLAG)}},
        "seconds": {"training": number(0)},
    }
    content = read_json(cell.folder / RECORD, shape, remedy=_REMEDY)
    source = content["evaluation"]["source"]
    return (
        f"{cell.name}: return {np.mean(source['returns']):.2f}, success {100 * np.mean(source['successes']):.0f} % "
        f"({content['seconds']['training']:.0f} s)"
    )


AGENT_CELLS = Procedure(
    complete=complete_agents,
    steps=lambda cell: cell.steps,
    steps_taken=_steps_taken,
    is_finished=agent_is_finished,
    describe=describe_agent,
    arm=lambda cell: (cell.task_name, cell.arm_name, cell.algorithm_name),
)
"""How the agents of `experiments.agents.cells` are computed."""
