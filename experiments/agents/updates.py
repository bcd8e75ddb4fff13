"""How far each update of PPO moves the policy, beside what its agents reach: does a wide input act as a larger rate?"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from statistics import fmean
from typing import Any

import numpy as np

from experiments.agents.arms import ARMS
from experiments.agents.palette import mark_style, new_figure
from experiments.agents.results import AgentResult, AgentStudy
from experiments.agents.scores import returns_of
from experiments.agents.table_parts import note_of, titled
from experiments.measure.intervals import t_interval
from experiments.pages.tables import EMPTY, SPREAD_NOTE, Table, laid_out, spread
from sparse_repr.figures import add_note, chart

PART = 5
"""The first of so many equal parts of the updates is what is compared: later, policies differ too much."""
_MILLI = 1_000.0
_ITSELF = "vae"
_LEAST = 3
"""Arms from which there is a figure, and seeds from which an interval is drawn."""


@dataclasses.dataclass(frozen=True)
class Movement:
    """What the updates of one agent did."""

    seed: int
    """Of the agent."""
    kl: float
    """Mean of the first part of the updates: KL divergence of the policy that recorded a rollout from that in the last
    epoch on it, in nats, as Stable-Baselines3 estimates it."""
    clipped: float
    """The same of the share of probability ratios beyond the clipping range, 0..1."""
    explained: float | None
    """Mean of the last part: which share of the variance of returns was foretold, at most 1; None where none is a
    number."""
    reached: float
    """Return in the source, normalised where it can be."""


def _first(values: Sequence[float | None]) -> list[float]:
    return [value for value in values[: max(1, len(values) // PART)] if value is not None]


def _movement(agent: AgentResult, reached: float) -> Movement | None:
    kl, clipped = (_first(agent.updates.get(name, ())) for name in ("approx_kl", "clip_fraction"))
    if not kl or not clipped:
        return None
    explained = agent.updates.get("explained_variance", ())
    last = [value for value in explained[-max(1, len(explained) // PART) :] if value is not None]
    return Movement(agent.seed, fmean(kl), fmean(clipped), fmean(last) if last else None, reached)


def movements_of(study: AgentStudy, task: str, algorithm: str = "ppo") -> dict[str, list[Movement]]:
    """Arm -> what the updates of its agents did, of those of which it was kept."""
    returns, found = returns_of(study, task, algorithm), {}
    for arm, agents in study.of(task, algorithm).items():
        moved = [
            one
            for agent in agents
            if agent.seed in returns.get(arm, {}) and (one := _movement(agent, returns[arm][agent.seed])) is not None
        ]
        if moved:
            found[arm] = moved
    return found


def updates_table(study: AgentStudy, task: str, algorithm: str = "ppo") -> Table | None:
    """What the updates of every arm did; None where none was kept.

    Args:
        study: what is finished.
        task: key of `TASKS`.
        algorithm: ppo or sac; nothing is kept of sac.
    """
    arms = movements_of(study, task, algorithm)
    if not arms:
        return None
    itself = {one.seed: one.kl for one in arms.get(_ITSELF, ())}
    rows = []
    for arm, moved in arms.items():
        ratios = [np.log(one.kl / itself[one.seed]) for one in moved if itself.get(one.seed, 0) > 0 and one.kl > 0]
        rows.append(
            [
                ARMS[arm].title,
                str(len(moved)),
                spread([_MILLI * one.kl for one in moved], 2),
                EMPTY if arm == _ITSELF or not ratios else f"{np.exp(fmean(ratios)):.2f}",
                spread([100 * one.clipped for one in moved], 1),
                spread([one.explained for one in moved if one.explained is not None], 2),
                spread([one.reached for one in moved], 2),
            ]
        )
    kept = [agent for arm, agents in study.of(task, algorithm).items() if arm in arms for agent in agents]
    words = (
        f"Moved and clipped: means over the first of {PART} parts of the updates, in the last epoch of each: KL "
        "divergence of the policy that recorded the rollout from what learning made of it, and the share of "
        "probability ratios beyond the clipping range. Against the code itself: ratio of geometric means over agents "
        "of the same seed. Returns foretold: explained variance, over the last part. As Stable-Baselines3 logs them."
    )
    header = ["arm", "seeds", "moved, 1e-3 nats", "against the code itself", "clipped, %", "returns foretold", "return"]
    note = note_of(study, [agent for agent in kept if agent.updates], SPREAD_NOTE, words)
    return laid_out(titled(f"What an update moves, on {task}", algorithm), header, rows, note)


@chart
def updates_figure(study: AgentStudy, task: str, algorithm: str = "ppo") -> Any | None:
    """Return against how far an update moves the policy, an arm a dot; None with fewer than three arms.

    Means over the seeds; bars are 95 % t-intervals, from 3 seeds on.
    """
    arms = movements_of(study, task, algorithm)
    if len(arms) < _LEAST:
        return None
    figure, panels = new_figure(1, 1, 6.4, 4.6)
    axes = panels[0, 0]
    for number, (arm, moved) in enumerate(arms.items(), start=1):
        kl, reached = fmean(_MILLI * one.kl for one in moved), fmean(one.reached for one in moved)
        style = mark_style(arm)
        if len(moved) >= _LEAST:
            half = t_interval([one.reached for one in moved]).half
            axes.plot([kl, kl], [reached - half, reached + half], color=style["color"], linewidth=1.5, alpha=0.5)
        axes.plot(kl, reached, markersize=7, label=f"{number}  {ARMS[arm].title}", **style)
        axes.annotate(str(number), (kl, reached), (5, 4), textcoords="offset points", fontsize="small")
    axes.set_xscale("log")
    axes.set_xlabel(f"how far an update moves the policy, first {100 // PART} % of them, 1e-3 nats")
    axes.set_ylabel(f"return on {task}")
    figure.legend(loc="outside right upper", fontsize="small")
    add_note(figure, f"dots: means over the seeds; bars: 95 % t-intervals of the return, from {_LEAST} seeds on")
    return figure
