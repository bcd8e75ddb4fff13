"""Made-up results of the study of agents for the tests of its analysis, tables and figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from envs.domains import TARGETS
from experiments.agents.arms import ARMS
from experiments.agents.results import OUTCOMES, AgentResult, AgentStudy, EncoderResult, EpisodeEnds
from experiments.agents.tasks import TASKS

MACHINE = {"processor": "P", "cores": 2, "torch": "2.9", "date": "2026-01-02", "git_revision": "abc"}
Curve = Sequence[tuple[int, float, float, int]]


def agent(
    arm: str = "vae",
    seed: int = 0,
    source: float | Sequence[float] = 0.5,
    *,
    task: str = "SpriteReach",
    algorithm: str = "ppo",
    steps: int = 1_000,
    curve: Curve = (),
    targets: Mapping[str, float | Sequence[float]] | None = None,
    **changes: Any,
) -> AgentResult:
    """An agent with these returns: one number stands for four episodes that all have it."""
    given = {"source": source, **(targets or {})}
    returns = {name: [value] * 4 if isinstance(value, int | float) else list(value) for name, value in given.items()}
    values: dict[str, Any] = {
        "successes": {name: [value > 0.5 for value in found] for name, found in returns.items()},
        "seconds": {"training": 20.0, "evaluation": 2.0},
        "peak_memory_mb": 500.0,
        "curve_seconds": [20.0 * step / steps for step, *_ in curve],
        "machine": MACHINE,
        **changes,
    }
    return AgentResult(task, arm, algorithm, seed, steps, curve, returns, **values)


def encoder(
    name: str = "vae", seed: int = 0, *, task: str = "SpriteReach", sprites: float = 0.5, **scores: float | None
) -> EncoderResult:
    """An encoder with these scores."""
    positions = dict.fromkeys(TASKS[task].positions, sprites)
    return EncoderResult(task, name, seed, scores, positions, {"training": 100.0, "evaluation": 5.0}, MACHINE)


def ends(
    arm: str = "vae", seed: int = 0, *, task: str = "SpriteReach", algorithm: str = "ppo", **kinds: Sequence[int]
) -> EpisodeEnds:
    """Ends of an agent's episodes: kind -> number of successes, failures and time limits."""
    named = {kind: dict(zip(OUTCOMES, counts, strict=True)) for kind, counts in kinds.items()}
    return EpisodeEnds(task, arm, algorithm, seed, named, MACHINE)


def study(*found: AgentResult | EncoderResult | EpisodeEnds, scale: str = "tiny") -> AgentStudy:
    """A study of what is given, in its order."""
    agents = [entry for entry in found if isinstance(entry, AgentResult)]
    encoders = [entry for entry in found if isinstance(entry, EncoderResult)]
    return AgentStudy(scale, agents, encoders, [entry for entry in found if isinstance(entry, EpisodeEnds)])


def _end(arm: str) -> float:
    if arm == "random_policy":
        return 0.0
    level = 1.0 if arm == "factors" else 0.4 + 0.05 * list(ARMS).index(arm.removesuffix("_tuned"))
    return level + 0.1 * arm.endswith("_tuned")


def whole_study(
    seeds: int = 5, *, tasks: Sequence[str] = ("SpriteReach", "SpriteChase"), windows: int = 30
) -> AgentStudy:
    """Every arm and encoder, with noise from a fixed random state: the later an arm stands in `ARMS`, the better.

    Args:
        seeds: per arm.
        tasks: keys of `TASKS`.
        windows: of the curves.
    """
    noise = np.random.default_rng(0)
    falls = dict(zip(TARGETS, (0.95, 0.6, 0.3, 0.8, 0.5), strict=True))
    found: list[AgentResult | EncoderResult] = []
    for task in tasks:
        for arm in ARMS:
            for seed in range(seeds):
                end = _end(arm) + noise.normal(0, 0.03)
                at = np.arange(1, windows + 1)
                means = end * (1 - np.exp(-3 * at / windows)) + noise.normal(0, 0.02, windows)
                curve = (
                    []
                    if arm == "random_policy"
                    else [
                        (1_000 * int(k), float(mean), float(np.clip(mean, 0, 1)), 20)
                        for k, mean in zip(at, means, strict=True)
                    ]
                )
                returns = {name: (fall * end + noise.normal(0, 0.2, 30)).tolist() for name, fall in falls.items()}
                source = (end + noise.normal(0, 0.2, 30)).tolist()
                found.append(agent(arm, seed, source, task=task, steps=1_000 * windows, curve=curve, targets=returns))
        for name in dict.fromkeys(arm.encoder for arm in ARMS.values() if arm.encoder):
            for seed in range(seeds):
                level = _end(name)
                scores = {
                    "psnr_db": 20 + 5 * level + noise.normal(0, 0.2),
                    "ssim": 0.8 + 0.1 * level,
                    "mig": level / 4 + noise.normal(0, 0.05),
                    "dci_histogram_disentanglement": level / 2 + noise.normal(0, 0.05),
                    "linear_probe": level + noise.normal(0, 0.05),
                    "hoyer_sparsity": noise.uniform(0, 1),
                    "exact_zero_fraction": 0.0,
                    "active_units": float(noise.integers(5, 10)),
                    "position_r2": level,
                    "class_accuracy": None,
                }
                found.append(encoder(name, seed, task=task, sprites=level, **scores))
    return study(*found)
