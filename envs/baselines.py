"""`python -m envs.baselines`: what chance and the scripted policy return on each public task, and how fast it steps."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np

import envs  # noqa: F401 (registers the environments)
from envs.scripted import POLICIES, scripted_action
from sparse_repr.command_line.bounds import require_whole
from sparse_repr.command_line.running import parse_options, run_command
from sparse_repr.registry import lookup

TASKS = ("VizDoomBasic", "LunarLander", "DoorKey", "DoorKey-6x6", "DoorKey-8x8", "Pong", "Breakout")


def play(env: gym.Env[Any, Any], policy: Callable[[Any], Any], episodes: int) -> tuple[list[float], float, int]:
    """What episodes with the seeds 0, 1 … return, the share of successes, and how many steps they took.

    Args:
        env: a public task.
        policy: factors -> action.
        episodes: how many.
    """
    returns, successes, steps = [], 0, 0
    for seed in range(episodes):
        _, info = env.reset(seed=seed)
        total, ended = 0.0, False
        while not ended:
            _, reward, terminated, truncated, info = env.step(policy(info["factors"]))
            total += float(reward)
            steps += 1
            ended = terminated or truncated
        returns.append(total)
        successes += info["is_success"]
    return returns, successes / episodes, steps


def _processor_s() -> float:
    """Of this process and of those that it started and that have ended."""
    return sum(os.times()[:4])


def row(name: str, episodes: int) -> str:
    """A line of the table.

    Args:
        name: of `TASKS`.
        episodes: of either policy.
    """
    started = _processor_s()
    env = gym.make(f"SparseRepr/{name}-v0")
    env.action_space.seed(0)
    returns, success, steps = play(env, lambda _: env.action_space.sample(), episodes)
    env.close()
    rate = steps / (_processor_s() - started)
    scripted = "–"
    if name in POLICIES:
        env = gym.make(f"SparseRepr/{name}-v0")
        scripted = _shown(*play(env, lambda factors: scripted_action(name, factors), episodes)[:2])
        env.close()
    return f"| `{name}` | {rate:,.0f} | {_shown(returns, success)} | {scripted} |"


def _shown(returns: list[float], success: float) -> str:
    return f"{np.mean(returns):.2f} ± {np.std(returns):.2f}, {success:.0%}"


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    return run_command(
        lambda: parse_options(
            show, arguments, program="python -m envs.baselines", description="The table of baselines of envs/public.md."
        )
    )


def show(tasks: tuple[str, ...] = TASKS, episodes: int = 100) -> None:
    """Print a table in Markdown.

    Args:
        tasks: which.
        episodes: of either policy.

    Raises:
        ValueError: an unknown task, or no episodes.
    """
    require_whole("episodes", episodes, most=1_000_000)
    for name in tasks:
        lookup(dict.fromkeys(TASKS), name, "task")
    print("| task | steps per second of a core | random: return, successes | scripted: return, successes |")
    print("|---|---|---|---|")
    for name in tasks:
        print(row(name, episodes), flush=True)


if __name__ == "__main__":
    sys.exit(main())
