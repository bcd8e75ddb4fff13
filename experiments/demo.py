"""`python -m experiments.demo`: a trained agent and its film in a minute, from an encoder that comes with the package.

Nothing is recorded or pretrained: PPO learns SpriteReach on the codes of `shipped:sprite_reach/vae`, shown expanded,
and is judged beside random actions.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnv
from tqdm import tqdm

import envs  # noqa: F401 (registers the environments)
from experiments.film.recording import KeepFrames, play, write_films
from experiments.film.views import see_codes
from experiments.measure.judging import judge
from experiments.measure.machine import machine_facts
from rl import make_latent_vec_env, save_agent
from sparse_repr import load_encoder
from sparse_repr.command_line.bounds import require_sensible
from sparse_repr.command_line.running import parse_options, run_command
from sparse_repr.devices import cpu_threads
from sparse_repr.files import write_json

ENVIRONMENT = "SparseRepr/SpriteReach-v0"
ENCODER = "shipped:sprite_reach/vae"
_RECODE = "expand"
# those of the study of agents, with fewer environments: the runs are shorter
PPO_SETTINGS: dict[str, Any] = {"n_steps": 128, "batch_size": 256, "n_epochs": 4}
_EVALUATION_SEED, _FILM_SEED = 1_000_000, 2_000_000


@dataclasses.dataclass(frozen=True)
class DemoConfig:
    """How long each part runs; the defaults take about a minute on two cores."""

    out: str = "runs/demo"
    """Folder of the film, the agent and the results; an earlier demo there is replaced."""
    agent_steps: int = 40_960
    """Environment steps of PPO."""
    environments: int = 8
    """Environments stepped together."""
    episodes: int = 100
    """Episodes on which the agent, and random actions, are judged."""
    film_steps: int = 150
    """Length of the film."""
    seed: int = 0
    """Seed of everything."""
    threads: int | None = None
    """CPU threads; by default torch's choice."""
    progress: bool = True
    """Show a progress bar."""

    def __post_init__(self) -> None:
        require_sensible(self)


class _Bar(BaseCallback):
    def __init__(self, total: int, show: bool) -> None:
        super().__init__()
        self._bar = tqdm(total=total, desc="PPO on codes", unit="step", disable=not show)

    def _on_step(self) -> bool:
        self._bar.update(self.num_timesteps - self._bar.n)
        return True

    def _on_training_end(self) -> None:
        self._bar.close()


def run_demo(config: DemoConfig) -> dict[str, Any]:
    """Train, judge and film; returns what `results.json` in `config.out` holds.

    Raises:
        OSError: the folder cannot be written.
    """
    out = Path(config.out)
    out.mkdir(parents=True, exist_ok=True)
    encoder = load_encoder(ENCODER)
    started = time.perf_counter()

    def made(count: int, **further: Any) -> VecEnv:
        settings: dict[str, Any] = {"env_kwargs": {"domain": "source"}, "recode": _RECODE, **further}
        return make_latent_vec_env(ENVIRONMENT, encoder, n_envs=count, seed=config.seed, **settings)

    with cpu_threads(config.threads):
        venv = made(config.environments)
        agent = PPO("MlpPolicy", venv, seed=config.seed, device="cpu", **PPO_SETTINGS)
        agent.learn(config.agent_steps, callback=_Bar(config.agent_steps, config.progress))
        space = venv.action_space
        space.seed(config.seed)
        players: dict[str, Callable[[Any], Any]] = {
            "random actions": lambda observations: np.stack([space.sample() for _ in observations]),
            "agent": lambda observations: agent.predict(observations, deterministic=True)[0],
        }
        judged = {name: _judged(venv, config.episodes, act) for name, act in players.items()}
        save_agent(out / "agent.zip", agent)
        venv.close()
        shown = made(1, wrapper_class=KeepFrames)
        films = [
            play(
                shown,
                act,
                see=see_codes(encoder, recode=_RECODE),
                caption=name,
                steps=config.film_steps,
                seed=_FILM_SEED,
            )
            for name, act in players.items()
        ]
        shown.close()
        write_films(films, out / "agent.gif")
    results = {
        "settings": {name: value for name, value in dataclasses.asdict(config).items() if name != "out"},
        "encoder": {"address": ENCODER, "fingerprint": encoder.fingerprint, "recode": _RECODE},
        "episodes": judged,
        "seconds": round(time.perf_counter() - started, 1),
        "machine": machine_facts(),
    }
    write_json(out / "results.json", results)
    return results


def _judged(venv: VecEnv, episodes: int, act: Callable[[Any], Any]) -> dict[str, float]:
    found = judge(venv, episodes, act, seed=_EVALUATION_SEED)
    return {
        "success_rate": float(np.mean([episode["success"] for episode in found])),
        "mean_return": float(np.mean([episode["return"] for episode in found])),
    }


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    return run_command(lambda: _as_asked(arguments))


def _as_asked(arguments: list[str] | None) -> None:
    config = parse_options(DemoConfig, arguments, program="python -m experiments.demo", description=__doc__)
    results = run_demo(config)
    out = Path(config.out)
    for name, found in results["episodes"].items():
        print(f"{name:15s} success {100 * found['success_rate']:3.0f} %, return {found['mean_return']:.2f}")
    print(f"film:  {(out / 'agent.gif').resolve()}")
    print(f"agent: {(out / 'agent.zip').resolve()} (rl.load_agent)")


if __name__ == "__main__":
    sys.exit(main())
