"""`python -m experiments.film AGENT ENV`: a film of an agent, for python -m sparse_repr.explore --film."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Annotated, Any

import gymnasium as gym
import tyro
from stable_baselines3.common.env_util import make_vec_env

from experiments.film.for_explorer import record_agent_film
from experiments.film.recording import KeepFrames
from rl import CopiedObservation, load_agent
from sparse_repr.command_line.bounds import require_sensible
from sparse_repr.command_line.running import parse_options, run_command


@dataclasses.dataclass(frozen=True)
class FilmConfig:
    """What is filmed."""

    agent: Annotated[str, tyro.conf.Positional]
    """File of rl.save_agent. The SB3 model in it holds pickles, which can run code: film only agents you trust."""
    env: Annotated[str, tyro.conf.Positional]
    """Environment id, as in training; MODULE:ID imports MODULE first."""
    output: str = "agent_film.safetensors"
    """The file, which holds no pickle."""
    steps: int = 200
    """Frames."""
    caption: str | None = None
    """What the agent is; by default the name of its algorithm and environment."""
    action_names: str | None = None
    """Names of the actions, such as up,down; by default what the environment calls them."""
    seed: int = 0
    """Of the environment."""

    def __post_init__(self) -> None:
        require_sensible(self)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    return run_command(lambda: _as_asked(arguments), refused=(TypeError, ImportError, gym.error.Error))


def _as_asked(arguments: list[str] | None) -> None:
    config = parse_options(FilmConfig, arguments, program="python -m experiments.film", description=__doc__)
    model, venv = load_agent(config.agent, make_vec_env(config.env, wrapper_class=_kept), training=False)
    assert venv is not None
    names = tuple(name.strip() for name in (config.action_names or "").split(",") if name.strip())
    path = record_agent_film(
        model,
        config.output,
        caption=config.caption or f"{type(model).__name__} in {config.env.rpartition(':')[2].rpartition('/')[2]}",
        steps=config.steps,
        seed=config.seed,
        action_names=names,
    )
    venv.close()
    print(f"film: {Path(path).resolve()}")


def _kept(env: gym.Env[Any, Any]) -> gym.Env[Any, Any]:
    return CopiedObservation(KeepFrames(env))


if __name__ == "__main__":
    sys.exit(main())
