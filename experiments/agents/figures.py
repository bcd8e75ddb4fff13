"""The figures of the study of agents: learning, aggregates, profiles, transfer, and scores against return."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from statistics import fmean
from typing import Any

import numpy as np

from envs.domains import TARGETS
from experiments.agents.analysis import Estimate, iqm_of_arms, performance_profiles
from experiments.agents.arms import ARMS
from experiments.agents.clock_pages import clock_figure
from experiments.agents.correlations import Point, correlations, points_of
from experiments.agents.curves import SHARE, curves_of, learned_return
from experiments.agents.doses import doses_figure
from experiments.agents.encoder_tables import MAIN_SCORES, score_title
from experiments.agents.kinds import kinds_figure
from experiments.agents.palette import add_legend, colour_of, line_style, mark_style, new_figure, panels_of
from experiments.agents.results import AgentResult, AgentStudy
from experiments.agents.scores import RANDOM, episodes_of
from experiments.agents.tasks import TASKS
from experiments.agents.updates import updates_figure
from experiments.measure.intervals import t_interval
from sparse_repr.figures import add_note, chart

MANY = 5
"""With fewer seeds every one is drawn, without an interval."""
_PROFILE = np.linspace(-0.2, 1.3, 151)
_SHIFT = 0.8
"""Of the distance of two domains: how far their dots are spread."""


@dataclasses.dataclass(frozen=True)
class AgentFigure:
    """A figure that can be drawn from what is finished."""

    name: str
    """Of its files, without .png and .svg."""
    title: str
    caption: str
    """Below it: what it shows and how to read it."""
    figure: Any
    """Of matplotlib, for `sparse_repr.figures.save_chart`."""


@chart
def learning_figure(study: AgentStudy, task: str, algorithm: str = "ppo") -> Any | None:
    """Mean return of the episodes while learning against steps; None where no agent has a curve.

    The line is the mean over the seeds, the band its 95 % t-interval; with fewer than 5 seeds every one is a thin line.
    """
    arms = study.of(task, algorithm)
    curves = {arm: found for arm, agents in arms.items() if (found := curves_of(agents)) is not None}
    if not curves:
        return None
    groups, level = panels_of(list(curves)), learned_return(study, task, algorithm)
    figure, panels = new_figure(len(groups), 1, 4.4, 3.6)
    handles: dict[str, Any] = {}
    for axes, (title, names) in zip(panels.flat, groups, strict=True):
        for arm in names:
            found, style = curves[arm], line_style(arm)
            steps = found.steps / 1000
            (handles[ARMS[arm].title],) = axes.plot(steps, found.returns.mean(0), linewidth=1.6, **style)
            if len(found.returns) >= MANY:
                bands = [t_interval(column.tolist()) for column in found.returns.T]
                low, high = ([one.centre + sign * one.half for one in bands] for sign in (-1, 1))
                axes.fill_between(steps, low, high, color=style["color"], alpha=0.15, linewidth=0)
            elif len(found.returns) > 1:
                for returns in found.returns:
                    axes.plot(steps, returns, linewidth=0.6, alpha=0.6, **style)
        randoms = episodes_of(arms.get(RANDOM, []))
        if randoms:
            handles[ARMS[RANDOM].title] = axes.axhline(fmean(randoms), linewidth=1.2, **line_style(RANDOM))
        if level is not None:
            handles[f"{100 * SHARE:.0f} % of ground truth"] = axes.axhline(
                level, color="0.4", linewidth=0.8, linestyle="-."
            )
        axes.set_title(title)
        axes.set_xlabel("thousand steps")
    panels[0, 0].set_ylabel(f"return on {task}")
    for axes in panels.flat[1:]:
        axes.sharey(panels[0, 0])
    add_note(
        figure, f"lines: means over the seeds; bands: 95 % t-intervals; fewer than {MANY} seeds: each is a thin line"
    )
    add_legend(figure, handles)
    return figure


@chart
def aggregates_figure(study: AgentStudy, algorithm: str = "ppo") -> Any | None:
    """IQM of the normalised return of every arm, over all tasks and on each; None where no score is normalised."""
    columns: dict[str, dict[str, Estimate]] = {}
    for title, tasks in {"all tasks": list(TASKS), **{task: [task] for task in TASKS}}.items():
        arms = iqm_of_arms(study, tasks, algorithm=algorithm)
        if arms:
            columns[title] = arms
    if len(columns) == 2:  # a single task: the same as all
        del columns["all tasks"]
    if not columns:
        return None
    names = [arm for arm in ARMS if any(arm in arms for arms in columns.values())]
    figure, panels = new_figure(len(columns), 1, 3.0, 0.9 + 0.25 * len(names))
    for number, (axes, (title, arms)) in enumerate(zip(panels.flat, columns.items(), strict=True)):
        for place, arm in enumerate(names):
            if arm not in arms:
                continue
            one = arms[arm]
            if one.low is not None and one.high is not None:
                axes.plot([one.low, one.high], [place, place], color=colour_of(arm), linewidth=2.5, alpha=0.6)
            axes.plot(one.value, place, markersize=6, **mark_style(arm))
        axes.set_yticks(range(len(names)), [ARMS[arm].title for arm in names] if not number else [])
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_title(title)
        axes.set_xlabel("normalised return, IQM")
    add_note(figure, "0: random policy; 1: ground truth; bars: 95 % intervals over the seeds, from 3 seeds on")
    return figure


@chart
def profiles_figure(study: AgentStudy, algorithm: str = "ppo") -> Any | None:
    """Share of the runs above every normalised return; None where no score is normalised."""
    profiles = performance_profiles(study, _PROFILE, algorithm=algorithm)
    if not profiles:
        return None
    groups = panels_of(list(profiles))
    figure, panels = new_figure(len(groups), 1, 4.4, 3.4)
    handles: dict[str, Any] = {}
    for axes, (title, names) in zip(panels.flat, groups, strict=True):
        for arm in names:
            (handles[ARMS[arm].title],) = axes.plot(_PROFILE, profiles[arm], linewidth=1.6, **line_style(arm))
        axes.set_title(title)
        axes.set_xlabel("normalised return τ")
        axes.set_ylim(-0.02, 1.02)
    panels[0, 0].set_ylabel("share of runs above τ")
    add_note(
        figure, "no intervals: a share of 10 runs is known to ± 0.26, one of 5 to ± 0.33 (95 %, Wilson's, at a half)"
    )
    add_legend(figure, handles)
    return figure


@chart
def transfer_figure(study: AgentStudy, task: str, algorithm: str = "ppo") -> Any | None:
    """Return in every domain; None where no agent was evaluated in a target.

    Dots are means over the seeds, bars 95 % t-intervals; with fewer than 5 seeds every seed is a short line and
    there is no bar.
    """
    arms = study.of(task, algorithm)
    domains = [name for name in ("source", *TARGETS) if any(_returns(agents, name) for agents in arms.values())]
    if not set(domains) & set(TARGETS):
        return None
    groups = panels_of(list(arms))
    figure, panels = new_figure(1, len(groups), 8.6, 3.0)
    handles: dict[str, Any] = {}
    for axes, (title, names) in zip(panels.flat, groups, strict=True):
        for number, arm in enumerate(names):
            shift = _SHIFT * ((number + 0.5) / len(names) - 0.5)
            for place, domain in enumerate(domains):
                values = _returns(arms[arm], domain)
                if not values:
                    continue
                if len(values) >= MANY:
                    half = t_interval(values).half
                    axes.errorbar(place + shift, fmean(values), half, color=colour_of(arm), linewidth=1.2, capsize=2)
                elif len(values) > 1:
                    axes.plot([place + shift] * len(values), values, "_", color=colour_of(arm), markersize=10)
                (handles[ARMS[arm].title],) = axes.plot(place + shift, fmean(values), markersize=5.5, **mark_style(arm))
        for edge in range(len(domains) - 1):
            axes.axvline(edge + 0.5, color="0.8", linewidth=0.8)
        axes.grid(visible=False, axis="x")
        axes.set_xlim(-0.5, len(domains) - 0.5)
        axes.set_xticks(range(len(domains)), [name.replace("_", " ") for name in domains])
        axes.set_title(title)
        axes.set_ylabel(f"return on {task}")
    add_note(
        figure, f"dots: means over the seeds; bars: 95 % t-intervals; fewer than {MANY} seeds: each is a short line"
    )
    add_legend(figure, handles)
    return figure


def _returns(agents: Sequence[AgentResult], domain: str) -> list[float]:
    return [agent.mean_return(domain) for agent in agents if agent.returns.get(domain)]


@chart
def scatter_figure(study: AgentStudy, task: str, algorithm: str = "ppo") -> Any | None:
    """Scores of the encoders against what agents reach on their frozen codes; None where no score differs."""
    points = points_of(study, task, algorithm)
    found = {one.score: one for one in correlations(study, task, algorithm) if one.outcome == "source"}
    drawn = [name for name in MAIN_SCORES if len({point.encoder.scores.get(name) for point in points} - {None}) > 1]
    if not drawn:
        return None
    across = min(4, len(drawn))
    figure, panels = new_figure(across, -(-len(drawn) // across), 2.4, 2.3)
    handles: dict[str, Any] = {}
    for axes, name in zip(panels.flat, drawn, strict=False):
        for point in points:
            handles.update(_dot(axes, point, name))
        rho = found[name].rho
        axes.set_xlabel(score_title(name))
        axes.set_title("" if rho is None else f"ρ = {rho:+.2f}, n = {found[name].count}")
    for axes in panels.flat[len(drawn) :]:
        axes.axis("off")
    for row in panels:
        row[0].set_ylabel("return in the source")
    add_note(figure, "a dot: an encoder and the agent on its frozen codes, of one seed; ρ: Spearman's")
    add_legend(figure, handles)
    return figure


def _dot(axes: Any, point: Point, name: str) -> dict[str, Any]:
    value, reached = point.encoder.scores.get(name), point.outcomes["source"]
    if value is None or reached is None:
        return {}
    (handle,) = axes.plot(value, reached, markersize=5, alpha=0.8, **mark_style(point.agent.arm))
    return {ARMS[point.agent.arm].title: handle}


_SEEDS = "With fewer than 5 seeds every one is drawn, without an interval."
_COLOUR_WORDS = "An arm has the same colour in every figure; fine-tuned encoders are dashed, with open marks."


def figures_of(study: AgentStudy, algorithm: str = "ppo") -> list[AgentFigure]:
    """The figures that can be drawn from what is finished.

    Args:
        study: what is finished.
        algorithm: ppo, sac or dqn.
    """
    over: list[tuple[str, str, str, Callable[[], Any | None]]] = [
        (
            "normalised",
            "Normalised return",
            "Interquartile mean over seeds and tasks, in the source, with its 95 % interval over the seeds from 3 "
            "seeds on. 0 is the random policy, 1 the agents on ground-truth factors.",
            functools.partial(aggregates_figure, study, algorithm),
        ),
        (
            "profiles",
            "Performance profiles",
            "Share of the runs, over seeds and tasks, whose normalised return in the source is above τ: higher is "
            "better at every τ. A share of 10 runs is known to ± 0.26, one of 5 to ± 0.33 (95 %, Wilson's, at a half), "
            "which is not drawn: bands of so many arms hide each other.",
            functools.partial(profiles_figure, study, algorithm),
        ),
    ]
    for task in TASKS:
        over += [
            (
                f"learning-{task}",
                f"Learning {task}",
                "Mean return of the episodes of each window while learning; lines are means over the seeds, bands "
                f"their 95 % t-intervals. {_SEEDS}",
                functools.partial(learning_figure, study, task, algorithm),
            ),
            (
                f"clock-{task}",
                f"{task} by the clock",
                "Mean return of the episodes of each window against minutes of one core, recording and pretraining "
                "included: a line starts when its encoder is ready. Thick lines are means over the seeds.",
                functools.partial(clock_figure, study, task, algorithm),
            ),
            (
                f"transfer-{task}",
                f"Zero-shot return on {task}",
                f"Return after training in the source alone; means over the seeds, bars are 95 % t-intervals. {_SEEDS}",
                functools.partial(transfer_figure, study, task, algorithm),
            ),
            (
                f"kinds-{task}",
                f"What each kind of sparsity buys on {task}",
                "How many units are not exactly 0, how well the picture is redrawn, how well a line reads the places, "
                "and the return of agents on the code and on its expansion.",
                functools.partial(kinds_figure, study, task, algorithm),
            ),
            (
                f"doses-{task}",
                f"How much of it, on {task}",
                "Return of agents by the width of the expansion, by how much of it is 1, by the learning rate on "
                "what is shown, and by the price of a presence of keypoints. Small dots are seeds, large ones their "
                "means, bars 95 % t-intervals.",
                functools.partial(doses_figure, study, task, algorithm),
            ),
            (
                f"updates-{task}",
                f"What an update moves, on {task}",
                "Return of agents by how far an update of PPO moves their policy at the start, and by how far the "
                "first layer moves while they learn, a dot an arm: means over the seeds, bars 95 % t-intervals.",
                functools.partial(updates_figure, study, task, algorithm),
            ),
            (
                f"scores-{task}",
                f"Scores of encoders against return on {task}",
                "Every point is an encoder and the agent that learned on its frozen codes, of one seed; ρ is "
                "Spearman's. Points of one colour are not independent.",
                functools.partial(scatter_figure, study, task, algorithm),
            ),
        ]
    found = []
    for name, title, caption, draw in over:
        figure = draw()
        if figure is not None:
            titled = f"{title} ({algorithm.upper()})"
            found.append(AgentFigure(f"{name}-{algorithm}", titled, f"{caption} {_COLOUR_WORDS}", figure))
    return found
