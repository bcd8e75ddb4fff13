"""The study of agents by the clock, as a table, a figure and a sentence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, median
from typing import Any

import numpy as np

from experiments.agents.analysis import recoded_pairs
from experiments.agents.arms import ARMS, UNTRAINED
from experiments.agents.clock import (
    Ratio,
    Time,
    expected_ratio,
    expected_seconds,
    of_one_processor,
    paired_steps,
    ratio_of,
    seconds_before,
    threshold_of,
    times_to,
)
from experiments.agents.gains import PAIRS
from experiments.agents.palette import add_legend, line_style, new_figure, panels_of
from experiments.agents.results import AgentResult, AgentStudy
from experiments.agents.scores import paired_seeds
from experiments.agents.table_parts import note_of
from experiments.measure.intervals import t_interval
from experiments.pages.tables import EMPTY, Table, laid_out
from sparse_repr.figures import add_note, chart

_PIXELS = "pixels"
_POINTS = 200


def _times(
    study: AgentStudy, task: str, algorithm: str, *, compared: bool = True
) -> tuple[float, dict[str, list[Time]]]:
    """The threshold of a task, and the times of every arm that has any; no arm while there is no threshold.

    Where seconds are compared, only those of one processor.
    """
    level = threshold_of(study, task, algorithm)
    if level is None:
        return math.nan, {}
    arms = study.of(task, algorithm)
    found = (of_one_processor(arms) if compared else arms).items()
    times = {arm: times_to(study, agents, level, timed=compared) for arm, agents in found}
    return level, {arm: each for arm, each in times.items() if each}


def _shown(ratio: Ratio | None) -> str:
    if ratio is None:
        return EMPTY
    if ratio.bounded:  # how far below it is nobody has seen
        return f"< {ratio.high:.2f}"
    return f"{ratio.value:.2f} [{ratio.low:.2f}, {ratio.high:.2f}]"


def _median(times: Sequence[Time], what: str) -> float:
    """Of agents of which most get there: what the others would need is longer than all."""
    return median(float(getattr(time, what)) if time.reached else math.inf for time in times)


def clock_table(study: AgentStudy, task: str, algorithm: str = "ppo") -> Table | None:
    """Steps and minutes of a core until every arm has learned a task; None where no time was measured.

    Args:
        study: what is finished.
        task: key of `TASKS`.
        algorithm: ppo, sac or dqn.
    """
    level, times = _times(study, task, algorithm)
    if not times:
        return None
    rows = []
    for arm, found in times.items():
        there = [time for time in found if time.reached]
        most = len(there) > len(found) / 2
        rows.append(
            [
                ARMS[arm].title,
                f"{len(there)} of {len(found)}",
                f"{_median(found, 'steps'):,.0f}" if most else EMPTY,
                f"{median(time.before for time in found) / 60:.1f}",
                f"{_median(found, 'seconds') / 60:.1f}" if most else EMPTY,
                *(
                    EMPTY if arm == _PIXELS else _shown(ratio_of(found, times.get(_PIXELS, []), reused=reused))
                    for reused in (False, True)
                ),
                f"{expected_seconds(found) / 60:.1f}" if there else EMPTY,
                EMPTY if arm == _PIXELS else _shown(expected_ratio(found, times.get(_PIXELS, []))),
            ]
        )
    words = (
        f"Threshold: a return of {level:.4g} while learning, over three windows of a fortieth of the steps. Minutes "
        "are of the processor, on one core: frames recorded, encoder pretrained, agent trained. Medians over seeds; "
        "those that never get there count as the longest. Against pixels: ratio of geometric means with its 95 % "
        "interval, where every seed gets there; <: some agents on pixels do not, and count with all of their training, "
        "and what is known is the upper end of the interval. "
        "With an encoder that is there: the same of the agent's learning alone. With failures started again: the "
        "expected running time, all seconds of an arm over the number of its agents that get there (Hansen et al. "
        "2010), and its ratio to that of pixels with a 95 % interval by the delta method, where some of both do."
    )
    header = ["arm", "seeds that get there", "steps", "minutes before", "minutes in all", "time against pixels"]
    header += ["with an encoder that is there", "minutes with failures started again", "against pixels so"]
    entries = [agent for agents in of_one_processor(study.of(task, algorithm)).values() for agent in agents]
    title = f"Time until {task} is learned ({algorithm.upper()})"
    return laid_out(title, header, rows, note_of(study, entries, words))


def paired_table(study: AgentStudy, task: str, algorithm: str = "ppo") -> Table | None:
    """Steps that one arm needs of those of another one, over agents of the same seed; None where no pair has three.

    Args:
        study: what is finished.
        task: key of `TASKS`.
        algorithm: ppo, sac or dqn.
    """
    level, times = _times(study, task, algorithm, compared=False)
    arms = study.of(task, algorithm)
    rows, entries = [], []
    for first, second in (*PAIRS, *((arm, UNTRAINED) for arm in times if arm != UNTRAINED)):
        paired = paired_seeds(arms.get(first, []), arms.get(second, []))
        one, other = ([time for time in times.get(arm, []) if time.seed in paired] for arm in (first, second))
        ratio = paired_steps(one, other)
        if ratio is None:
            continue
        seeds = {time.seed for time in one} & {time.seed for time in other}
        rows.append([ARMS[first].title, ARMS[second].title, str(len(seeds)), _shown(ratio)])
        entries += [agent for arm in (first, second) for agent in arms[arm] if agent.seed in seeds]
    if not rows:
        return None
    words = (
        f"Steps until a return of {level:.4g}, as in the table by the clock: geometric mean of the ratios of agents of "
        "one seed, and on one encoder where both show its codes, with its 95 % interval; <: some of the other arm do "
        "not get there, and count with all of theirs, and what is known is the upper end of the interval."
    )
    title = f"Steps until {task} is learned, one arm against another ({algorithm.upper()})"
    return laid_out(title, ["arm", "against", "pairs", "share of its steps"], rows, note_of(study, entries, words))


def recoding_cost_table(study: AgentStudy, task: str, algorithm: str = "ppo") -> Table | None:
    """How long a step takes on recoded codes, of one on the codes themselves; None where no recoding has a pair.

    Args:
        study: what is finished.
        task: key of `TASKS`.
        algorithm: ppo, sac or dqn.
    """
    arms = study.of(task, algorithm)
    rows, entries = [], []
    for recoded, plain in recoded_pairs():
        ones, others = ({agent.seed: agent for agent in arms.get(arm, [])} for arm in (recoded, plain))
        pairs = [(ones[seed], others[seed]) for seed in paired_seeds(list(ones.values()), list(others.values()))]
        pairs = [pair for pair in pairs if pair[0].machine.get("processor") == pair[1].machine.get("processor")]
        if not pairs:
            continue
        per_step = [[agent.seconds["training"] / agent.steps for agent in pair] for pair in pairs]
        logs = [math.log(one / other) for one, other in per_step]
        interval = EMPTY
        if len(pairs) >= 3:
            centre, half = t_interval(logs)
            interval = f"{math.exp(centre - half):.2f} to {math.exp(centre + half):.2f}"
        rows.append([ARMS[recoded].title, ARMS[plain].title, str(len(pairs)), f"{math.exp(fmean(logs)):.2f}", interval])
        entries += [agent for pair in pairs for agent in pair]
    if not rows:
        return None
    words = (
        "Seconds of training over steps, the environment and the agent's learning included: geometric mean of the "
        "ratios of agents of one seed, encoder and processor, with its 95 % interval from three pairs on. Other work "
        "on the same machine is in it."
    )
    title = f"Time of a step on {task} by what is shown of the code ({algorithm.upper()})"
    header = ["arm", "against", "pairs", "times its time", "95 % interval"]
    return laid_out(title, header, rows, note_of(study, entries, words))


def _curve(agent: AgentResult, before: float, minutes: Any) -> Any:
    """Return at every minute: NaN before the first window's end and after the training."""
    ends = (np.array(agent.curve_seconds) + before) / 60
    return np.interp(minutes, ends, [window[1] for window in agent.curve], left=np.nan, right=np.nan)


@chart
def clock_figure(study: AgentStudy, task: str, algorithm: str = "ppo") -> Any | None:
    """Mean return of the episodes while learning against minutes of a core; None where no time was measured.

    A line is the mean over the seeds, as far as all of them are still learning; each starts where its encoder is there.
    """
    timed: dict[str, list[tuple[AgentResult, float]]] = {}
    for arm, agents in of_one_processor(study.of(task, algorithm)).items():
        for agent in agents:
            before = seconds_before(study, agent)
            if before is not None and agent.curve_seconds:
                timed.setdefault(arm, []).append((agent, before))
    if not timed:
        return None
    groups, level = panels_of(list(timed)), threshold_of(study, task, algorithm)
    figure, panels = new_figure(len(groups), 1, 4.4, 3.6)
    handles: dict[str, Any] = {}
    for axes, (title, names) in zip(panels.flat, groups, strict=True):
        for arm in names:
            last = min((agent.curve_seconds[-1] + before) / 60 for agent, before in timed[arm])
            minutes = np.linspace(0, last, _POINTS)
            curves = np.array([_curve(agent, before, minutes) for agent, before in timed[arm]])
            style = line_style(arm)
            (handles[ARMS[arm].title],) = axes.plot(minutes, curves.mean(0), linewidth=1.6, **style)
            if len(curves) > 1:
                for curve in curves:
                    axes.plot(minutes, curve, linewidth=0.5, alpha=0.4, **style)
        if level is not None:
            handles["threshold"] = axes.axhline(level, color="0.4", linewidth=0.8, linestyle="-.")
        axes.set_title(title)
        axes.set_xlabel("minutes of one core, recording and pretraining included")
    panels[0, 0].set_ylabel(f"return on {task}")
    for axes in panels.flat[1:]:
        axes.sharey(panels[0, 0])
    add_note(figure, "thick: mean over the seeds; thin: every seed; a line starts when its encoder is ready")
    add_legend(figure, handles)
    return figure


def clock_in_words(study: AgentStudy, task: str, algorithm: str = "ppo") -> str:
    """Which frozen arms get there in less time than pixels, with the interval apart; empty where nothing is known."""
    _, times = _times(study, task, algorithm)
    pixels = times.get(_PIXELS, [])
    sentences = []
    if pixels:
        there = sum(time.reached for time in pixels)
        most = there > len(pixels) / 2
        seconds = _median(pixels, "seconds") if most else median(time.seconds for time in pixels)
        told = f"{seconds / 60:.1f} minutes of a core (median; {there} of {len(pixels)} seeds)"
        sentences.append(
            f"Pixels get there in {told}."
            if most
            else f"Most agents on pixels do not get there in all of their {told}."
        )
    for arm, found in times.items():
        ratio = ratio_of(found, pixels) if ARMS[arm].frozen else None
        again = expected_ratio(found, pixels) if ARMS[arm].frozen and ratio is None else None
        if again is not None:
            there = sum(time.reached for time in found)
            sentences.append(
                f"{ARMS[arm].title} ({there} of {len(found)} seeds): {_shown(again)} of the time that pixels are "
                "expected to take if who fails is started again."
            )
        if ratio is not None:
            verdict = (
                "faster" if ratio.high < 1 else "slower" if ratio.low > 1 and not ratio.bounded else "not told apart"
            )
            sentences.append(f"{ARMS[arm].title}: {_shown(ratio)} of that time, {verdict}.")
    return " ".join(sentences)
