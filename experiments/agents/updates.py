"""How far PPO moves a policy and its first layer, beside what agents reach: does a wide input act as a larger rate?"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from statistics import fmean, geometric_mean
from typing import Any

from experiments.agents.arms import ARMS
from experiments.agents.palette import mark_style, new_figure
from experiments.agents.results import AgentResult, AgentStudy
from experiments.agents.scores import paired_seeds, returns_of
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
    input_l1: float | None
    """Mean L1 norm of what the first layer is shown; None of agents from before it was kept."""
    first_layer: float | None
    """How far its outputs moved from the start to the end, in their spread at the start; None as above."""
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
    layer = agent.first_layer
    return Movement(
        seed=agent.seed,
        kl=fmean(kl),
        clipped=fmean(clipped),
        explained=fmean(last) if last else None,
        input_l1=layer.get("input_l1"),
        first_layer=layer.get("moved"),
        reached=reached,
    )


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
        algorithm: ppo, sac or dqn; something is kept of ppo alone.
    """
    arms = movements_of(study, task, algorithm)
    if not arms:
        return None
    itself, agents = {one.seed: one.kl for one in arms.get(_ITSELF, ())}, study.of(task, algorithm)
    rows = []
    for arm, moved in arms.items():
        paired = paired_seeds(agents[arm], agents.get(_ITSELF, []))
        both = [one for one in moved if one.seed in paired]
        ratios = [one.kl / itself[one.seed] for one in both if itself.get(one.seed, 0) > 0 and one.kl > 0]
        rows.append(
            [
                ARMS[arm].title,
                str(len(moved)),
                spread([_MILLI * one.kl for one in moved], 2),
                EMPTY if arm == _ITSELF or not ratios else f"{geometric_mean(ratios):.2f}",
                spread([100 * one.clipped for one in moved], 1),
                spread([one.explained for one in moved if one.explained is not None], 2),
                spread([one.input_l1 for one in moved if one.input_l1 is not None], 1),
                spread([one.first_layer for one in moved if one.first_layer is not None], 2),
                spread([one.reached for one in moved], 2),
            ]
        )
    kept = [agent for arm, agents in study.of(task, algorithm).items() if arm in arms for agent in agents]
    words = (
        f"Moved and clipped: means over the first of {PART} parts of the updates, in the last epoch of each: KL "
        "divergence of the policy that recorded the rollout from what learning made of it, and the share of "
        "probability ratios beyond the clipping range. Against the code itself: geometric mean of the ratios of agents "
        "of the same seed, and of the same encoder if it is the same code. Returns foretold: explained variance, over "
        "the last part. As Stable-Baselines3 logs them. "
        "Input: L1 norm of what the first layer is shown, by which one step of Adam moves its outputs at most, in "
        "learning rates. First layer moved: root mean square change of its outputs, from before learning to its end, "
        "over their spread before, on what the untrained policy saw."
    )
    header = ["arm", "seeds", "moved, 1e-3 nats", "against the code itself", "clipped, %", "returns foretold"]
    header += ["input", "first layer moved", "return"]
    note = note_of(study, [agent for agent in kept if agent.updates], SPREAD_NOTE, words)
    return laid_out(titled(f"What an update moves, on {task}", algorithm), header, rows, note)


@chart
def updates_figure(study: AgentStudy, task: str, algorithm: str = "ppo") -> Any | None:
    """Return against how far updates move the policy, and its first layer, an arm a dot; None with fewer than 3 arms.

    Means over the seeds; bars are 95 % t-intervals, from 3 seeds on. Arms whose policy has not moved have no place on a
    logarithmic axis.
    """
    from matplotlib.ticker import LogLocator

    found = movements_of(study, task, algorithm)
    arms = {arm: moved for arm, moved in found.items() if any(one.kl > 0 for one in moved)}
    if len(arms) < _LEAST:
        return None
    figure, panels = new_figure(2, 1, 4.4, 4.0)
    for number, (arm, moved) in enumerate(arms.items(), start=1):
        layers = [one.first_layer for one in moved if one.first_layer]
        values = [one.reached for one in moved]
        _dot(panels[0, 0], number, arm, fmean(_MILLI * one.kl for one in moved), values)
        if layers:
            _dot(panels[0, 1], number, arm, fmean(layers), values)
    panels[0, 0].set_xlabel(f"policy moved by an update, first {100 // PART} %, 1e-3 nats")
    panels[0, 1].set_xlabel("first layer moved by all of them, in its spread")
    panels[0, 0].set_ylabel(f"return on {task}")
    for axes in panels.flat:
        if not axes.lines:
            axes.axis("off")
            continue
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter("")
    panels[0, 1].sharey(panels[0, 0])
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", fontsize="small")
    add_note(figure, f"dots: means over the seeds; bars: 95 % t-intervals of the return, from {_LEAST} seeds on")
    return figure


def _dot(axes: Any, number: int, arm: str, place: float, reached: Sequence[float]) -> None:
    style, centre = mark_style(arm), fmean(reached)
    if len(reached) >= _LEAST:
        half = t_interval(reached).half
        axes.plot([place, place], [centre - half, centre + half], color=style["color"], linewidth=1.5, alpha=0.5)
    axes.plot(place, centre, markersize=7, label=f"{number}  {ARMS[arm].title}", **style)
    axes.annotate(str(number), (place, centre), (5, 4), textcoords="offset points", fontsize="small")
