"""`python -m experiments.pixels_to_agent ENV`: record an image environment, pretrain, train PPO, film the agent."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import operator
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import gymnasium as gym
import numpy as np
import torch
import tyro
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import VecEnv

from experiments.film.for_explorer import can_be_filmed, record_agent_film
from experiments.film.recording import KeepFrames, film_agent
from experiments.film.views import see_codes
from experiments.measure.machine import machine_facts
from rl import make_latent_vec_env, save_agent
from rl.code_scaling import Scaling
from rl.episodes import make_players
from rl.record import RecordConfig, record
from sparse_repr import PretrainConfig, load_encoder, pretrain_encoder
from sparse_repr.command_line.bounds import require_sensible
from sparse_repr.command_line.running import parse_options, run_command
from sparse_repr.devices import cpu_threads
from sparse_repr.encoder.vae import load_vae
from sparse_repr.evaluate.run import EvaluateConfig, evaluate_run
from sparse_repr.explore import write_explorer
from sparse_repr.files import write_json
from sparse_repr.files.json_reader import OBJECT, read_json
from sparse_repr.objectives import choose_objective
from sparse_repr.pretrain.on_the_way import as_one_command

_GREY_AXES = 2
_NO_MATTER = ("parallel", "threads", "progress")


@dataclasses.dataclass(frozen=True)
class PixelsToAgentConfig:
    """How long each part runs; with the defaults all of it is a check that everything fits, no trained agent."""

    env: Annotated[str, tyro.conf.Positional]
    """Environment id; MODULE:ID imports MODULE first, such as ale_py:ALE/Pong-v5."""
    out: str = "runs/pixels_to_agent"
    """Folder; what is finished in there is kept, and an agent with other settings is not overwritten."""
    render: bool = False
    """Show the encoder what the environment draws (render_mode rgb_array), where its observations are no pictures."""
    key: str | None = None
    """Which entry of a Dict observation is the picture; the agent sees its code alone."""
    frames: int = 5_000
    """Frames recorded with random actions."""
    parallel: bool = False
    """Step each environment in a process of its own while recording."""
    crop: str | None = None
    """TOP,LEFT,HEIGHT,WIDTH in pixels of the frames: what the encoder sees of them; by default all."""
    objective: str = "sparse"
    """Objective of the encoder."""
    code_size: int = 32
    """D, units of the code."""
    pretrain_steps: int = 2_000
    """Steps of pretraining, 64 images each."""
    learning_rate: float = 1e-3
    """Learning rate of pretraining."""
    environments: int = 4
    """Environments stepped together."""
    n_stack: int = 4
    """Codes shown to the agent at once: one picture does not tell speeds."""
    code_scaling: Scaling = "scale"
    """What the agent sees of the code: none, scale or standardize, by the artefact's statistics."""
    agent_steps: int = 4_096
    """Environment steps of PPO."""
    film_steps: int = 200
    """Length of the film."""
    seed: int = 0
    """Seed of everything."""
    threads: int | None = None
    """CPU threads; by default torch's choice."""
    progress: bool = True
    """Show progress bars."""

    def __post_init__(self) -> None:
        require_sensible(self)
        if self.render and self.key is not None:
            raise ValueError(f"take either what is drawn (--render) or an entry (--key {self.key}), got both")


def _pictures_alone(config: PixelsToAgentConfig) -> gym.Env[Any, Any]:
    """The environment, whose observations are the pictures that were recorded, and nothing else."""
    env: gym.Env[Any, Any] = gym.make(config.env, render_mode="rgb_array") if config.render else gym.make(config.env)
    if config.render:
        env = gym.wrappers.AddRenderObservation(env, render_only=True)
    elif config.key is not None:
        assert isinstance(env.observation_space, gym.spaces.Dict)  # `record` has looked
        picture = env.observation_space[config.key]
        env = gym.wrappers.TransformObservation(env, operator.itemgetter(config.key), picture)
    shape = env.observation_space.shape
    if shape is not None and len(shape) == _GREY_AXES:  # wrappers need the axis of the channels
        env = gym.wrappers.ReshapeObservation(env, (*shape, 1))
    return env


def _takes_id(config: PixelsToAgentConfig) -> bool:
    """Whether wrappers can be given the environment by its id; checks that PPO can act in it.

    Raises:
        ValueError: its actions are none of those that PPO takes.
    """
    env = config.env
    with contextlib.closing(make_players(env, 1, parallel=False, options={})) as made:
        space, shape = made.single_action_space, made.single_observation_space.shape
    bounded = isinstance(space, gym.spaces.Box) and space.is_bounded()
    if not bounded and not isinstance(space, gym.spaces.Discrete | gym.spaces.MultiDiscrete | gym.spaces.MultiBinary):
        raise ValueError(
            f"{env} needs actions that PPO takes (Discrete, MultiDiscrete, MultiBinary or a bounded Box), found {space}"
        )
    return not config.render and config.key is None and (shape is None or len(shape) != _GREY_AXES)


def _record(config: PixelsToAgentConfig, out: Path) -> None:
    record(  # what is there goes on, unless it is of other settings
        RecordConfig(
            env=config.env,
            out=str(out / "frames.h5"),
            frames=config.frames,
            envs=config.environments,
            parallel=config.parallel,
            render=config.render,
            key=config.key,
            seed=config.seed,
            resume=True,
            progress=config.progress,
        )
    )


def _pretraining(config: PixelsToAgentConfig, out: Path) -> PretrainConfig:
    run = out / "encoder"
    return PretrainConfig(
        dataset="h5",
        data_path=str(out / "frames.h5"),
        crop=config.crop,
        objective=config.objective,
        code_size=config.code_size,
        steps=config.pretrain_steps,
        learning_rate=config.learning_rate,
        run_dir=str(run),
        seed=config.seed,
        threads=config.threads,
        resume=(run / "config.json").is_file(),
        progress=config.progress,
    )


def _finished(config: PixelsToAgentConfig, out: Path) -> dict[str, Any] | None:
    """What is finished in the folder; None where the agent is still to be trained.

    Raises:
        ValueError: it is of other settings, and would be lost.
    """
    path = out / "results.json"
    if not path.is_file():
        return None
    found: dict[str, Any] = read_json(path, {"settings": OBJECT}, remedy="give another folder (--out)")
    wanted = _settings(config)
    different = [
        f"{name}: {found['settings'].get(name)!r} there, {wanted[name]!r} asked for"
        for name in wanted
        if name not in _NO_MATTER and found["settings"].get(name) != wanted[name]
    ]
    if different:
        raise ValueError(
            f"{out} holds an agent with other settings ({'; '.join(different)}): give the same settings, or another "
            "folder (--out)"
        )
    return found


def _settings(config: PixelsToAgentConfig) -> dict[str, Any]:
    return {name: value for name, value in dataclasses.asdict(config).items() if name != "out"}


def _reward_per_step(venv: VecEnv, model: PPO, steps: int) -> float:
    observations, total = venv.reset(), 0.0
    for _ in range(steps):
        actions, _ = model.predict(observations)  # type: ignore[arg-type] # SB3 types an observation of reset wider
        observations, rewards, _, _ = venv.step(actions)
        total += float(np.sum(rewards))
    return total / (steps * venv.num_envs)


def pixels_to_agent(config: PixelsToAgentConfig) -> dict[str, Any]:
    """Record, pretrain, train and film; returns what `results.json` in `config.out` holds.

    Raises:
        ValueError, OSError: whatever recording, pretraining or wrapping finds wrong.
    """
    out = Path(config.out)
    seconds: dict[str, float] = {}
    pretraining = _pretraining(config, out)  # what is wrong with it is said before frames are recorded
    if not choose_objective(config.objective).decodes:
        raise ValueError(
            f"objective {config.objective!r} draws no pictures, which film and explorer are made of: choose another "
            "(--objective)"
        )
    by_id = _takes_id(config)
    finished = _finished(config, out)
    if finished is not None:
        return finished

    def timed(part: str, started: float) -> None:
        seconds[part] = round(time.perf_counter() - started, 1)

    started = time.perf_counter()
    with as_one_command():
        _record(config, out)
    timed("recording", started)
    started = time.perf_counter()
    with as_one_command():
        run = pretrain_encoder(pretraining)
    timed("pretraining", started)
    images = evaluate_run(EvaluateConfig(run=str(run), threads=config.threads, progress=config.progress))["images"]
    with cpu_threads(config.threads):
        started = time.perf_counter()
        venv = make_latent_vec_env(
            config.env if by_id else functools.partial(_pictures_alone, config),
            run,
            n_envs=config.environments,
            seed=config.seed,
            n_stack=config.n_stack,
            code_scaling=config.code_scaling,
            wrapper_class=KeepFrames,
        )
        model = PPO("MlpPolicy", venv, n_steps=128, device="cpu", seed=config.seed)
        before = _reward_per_step(venv, model, config.film_steps)
        model.learn(config.agent_steps, progress_bar=False)
        timed("agent", started)
        after = _reward_per_step(venv, model, config.film_steps)
        save_agent(out / "agent.zip", model)
        vae, _ = load_vae(run)
        film_agent(
            venv,
            lambda shown: model.predict(shown)[0],
            out / "agent.gif",
            see=see_codes(load_encoder(run), vae),
            caption=f"PPO on codes ({config.objective})",
            steps=config.film_steps,
        )
        film = None
        if can_be_filmed(venv.action_space):
            film = record_agent_film(
                model, out / "agent_film.safetensors", caption=f"PPO in {_name_of(config.env)}", steps=config.film_steps
            )
        write_explorer([run], out / "explorer.html", film=film)
        venv.close()
    finite = all(bool(torch.isfinite(weight).all()) for weight in model.policy.parameters())
    results = {
        "settings": _settings(config),
        "machine": machine_facts(),
        "seconds": seconds,
        "reconstruction": images,
        "reward_per_step_before": before,
        "reward_per_step_after": after,
        "finite_weights": finite,
    }
    write_json(out / "results.json", results)
    return results


def _name_of(env: str) -> str:
    """An environment's id without its module and namespace, for people."""
    return env.rpartition(":")[2].rpartition("/")[2]


_PROGRAM = "python -m experiments.pixels_to_agent"


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    return run_command(lambda: _as_asked(arguments), refused=(TypeError, ImportError, gym.error.Error))


def _as_asked(arguments: list[str] | None) -> None:
    config = parse_options(PixelsToAgentConfig, arguments, program=_PROGRAM, description=__doc__)
    print(json.dumps(pixels_to_agent(config), indent=1))
    out = Path(config.out)
    print(f"the film is {out / 'agent.gif'}; {out / 'explorer.html'} lets you ask the agent what it would do")


if __name__ == "__main__":
    sys.exit(main())
