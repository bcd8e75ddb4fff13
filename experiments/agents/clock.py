"""Who is there first by the clock: seconds until an agent has learned a task, what made its encoder included."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import fmean

from experiments.agents.arms import ARMS, SECOND_ROUND
from experiments.agents.curves import learned_return, steps_to
from experiments.agents.results import AgentResult, AgentStudy
from experiments.agents.tasks import TASKS
from experiments.measure.intervals import difference_interval, half_of_difference, t_interval


@dataclasses.dataclass(frozen=True)
class Time:
    """Seconds of one core until one agent has learned a task."""

    seed: int
    """Of the agent and its encoder."""
    before: float
    """Recording the frames and pretraining the encoder; 0 without one. In a second round all of the first one too."""
    learning: float
    """Until the threshold is reached; all of its training where it never is."""
    steps: int
    """The same in environment steps."""
    reached: bool
    """Whether it is."""

    @property
    def seconds(self) -> float:
        """All of it."""
        return self.before + self.learning


@dataclasses.dataclass(frozen=True)
class Ratio:
    """The time of an arm over that of another one."""

    value: float
    """Of the geometric means, or of what is expected (`expected_ratio`)."""
    low: float
    high: float
    """95 % interval, of the logarithms."""
    bounded: bool
    """Whether some agents of the other arm never get there: the truth is then below."""


def threshold_of(study: AgentStudy, task: str, algorithm: str = "ppo") -> float | None:
    """The return from which a task counts as learned: the one that was fixed for it, else `learned_return`."""
    stated = TASKS[task].threshold
    return learned_return(study, task, algorithm) if stated is None else stated


def of_one_processor(arms: Mapping[str, Sequence[AgentResult]]) -> dict[str, list[AgentResult]]:
    """The agents whose seconds can be compared: those that learned where pixels did, or else where most of them did.

    Args:
        arms: agents by arm.

    Returns:
        As `arms`, without arms of which none is left.
    """
    counts = Counter(agent.machine.get("processor") for agents in arms.values() for agent in agents if agent.curve)
    of_pixels = Counter(agent.machine.get("processor") for agent in arms.get("pixels", ()) if agent.curve)
    most = (of_pixels or counts).most_common(1)
    found = {
        arm: [agent for agent in agents if not most or agent.machine.get("processor") == most[0][0]]
        for arm, agents in arms.items()
    }
    return {arm: agents for arm, agents in found.items() if agents}


def seconds_before(study: AgentStudy, agent: AgentResult) -> float | None:
    """Seconds of recording frames and of pretraining an agent's encoder; 0 without one, None where not measured.

    Not measured either where the record is of another encoder than the agent learned on, or of another processor: those
    seconds cannot be added to the agent's.

    The recording is counted whole for every agent, though all of a task share one: who trains one agent needs it too.
    Before a second round there is all of the first one: its recording, pretraining and the whole training of its agent.
    """
    kind = ARMS[agent.arm].encoder
    if kind is None:
        return 0.0
    for encoder in study.encoders:
        if (encoder.task, encoder.encoder, encoder.seed) == (agent.task, kind, agent.seed):
            others = None not in (agent.encoder, encoder.fingerprint) and agent.encoder != encoder.fingerprint
            if others or encoder.machine.get("processor") != agent.machine.get("processor"):
                return None
            parts = [encoder.seconds.get(name) for name in ("recording", "training")]
            if kind in SECOND_ROUND:
                parts.append(_seconds_of_first_round(study, agent, SECOND_ROUND[kind]))
            return None if None in parts else sum(part for part in parts if part is not None)
    return None


def _seconds_of_first_round(study: AgentStudy, second: AgentResult, arm: str) -> float | None:
    """Until the agent that records for a second one has learned; None where not measured on the same processor."""
    for agent in study.of(second.task, "ppo").get(arm, []):
        same = agent.machine.get("processor") == second.machine.get("processor")
        if agent.seed == second.seed and agent.curve_seconds and same:
            before = seconds_before(study, agent)
            return None if before is None else before + agent.seconds["training"]
    return None


def times_to(study: AgentStudy, agents: Sequence[AgentResult], level: float, *, timed: bool = True) -> list[Time]:
    """The times of agents of one arm; those whose time was not measured are left out.

    Without `timed` they are there with their steps, and NaN for what was not measured.
    """
    found = []
    for agent in agents:
        before = seconds_before(study, agent)
        if timed and (before is None or not agent.curve_seconds):
            continue
        steps = steps_to(agent, level)
        ends = [window[0] for window in agent.curve]
        learning = agent.curve_seconds[-1 if steps is None else ends.index(steps)] if agent.curve_seconds else math.nan
        measured = math.nan if before is None else before
        found.append(Time(agent.seed, measured, learning, steps or agent.steps, steps is not None))
    return found


def ratio_of(first: Sequence[Time], second: Sequence[Time], *, reused: bool = False) -> Ratio | None:
    """How much of the second arm's time the first one takes; None with fewer than 2 of either, or one that fails.

    Of the second, agents that never get there count with all of their training.

    Args:
        first: times of an arm.
        second: of another one.
        reused: count the agents' learning alone, as for a second agent on an encoder that is there.
    """
    if len(first) < 2 or len(second) < 2 or not all(time.reached for time in first):
        return None
    logs = [[math.log(time.learning if reused else time.seconds) for time in times] for times in (first, second)]
    difference, half = difference_interval(*logs)
    value, low, high = (math.exp(difference + sign * half) for sign in (0, -1, 1))
    return Ratio(value, low, high, bounded=not all(time.reached for time in second))


def expected_seconds(times: Sequence[Time], *, reused: bool = False) -> float:
    """Expected running time until an agent is there, if those that fail are started again with new seeds.

    The seconds of all agents over the number of those that get there (Auger & Hansen 2005; Hansen et al. 2010, ERT):
    one that fails costs all of its training, and a new encoder each time. Infinite where none gets there.

    Args:
        times: of an arm.
        reused: count the agents' learning alone, as for an encoder that is there.
    """
    there = sum(time.reached for time in times)
    spent = sum(time.learning if reused else time.seconds for time in times)
    return spent / there if there else math.inf


def expected_ratio(first: Sequence[Time], second: Sequence[Time], *, reused: bool = False) -> Ratio | None:
    """How much of the second arm's `expected_seconds` the first one takes, with failures on either side.

    The interval is Welch's, of the logarithm, by the delta method. In simulations of 3, 5 and 10 agents that get
    there 4 to 10 times of 10 it holds the truth in 0.88 to 1.00 of the draws (tests/experiments/agents/test_clock.py).

    Args:
        first: times of an arm.
        second: of another one.
        reused: count the agents' learning alone.

    Returns:
        None with fewer than 3 of either, or where none of either gets there.
    """
    if min(len(first), len(second)) < 3 or not all(any(time.reached for time in times) for times in (first, second)):
        return None
    centre = math.log(expected_seconds(first, reused=reused) / expected_seconds(second, reused=reused))
    half = half_of_difference(
        [_variance_of_expected(times, reused) for times in (first, second)], (len(first), len(second))
    )
    value, low, high = (math.exp(centre + sign * half) for sign in (0, -1, 1))
    return Ratio(value, low, high, bounded=False)


def _variance_of_expected(times: Sequence[Time], reused: bool) -> float:
    """Variance of the logarithm of `expected_seconds`, by the delta method.

    Each agent moves it by its share of the seconds less its share of the successes. Where few failures were seen their
    share is known worse than their own spread tells, not at all where there was none: the share's variance is that of
    half a success and half a failure more.
    """
    count, there = len(times), sum(time.reached for time in times)
    spent = [time.learning if reused else time.seconds for time in times]
    moves = [cost / fmean(spent) - time.reached * count / there for cost, time in zip(spent, times, strict=True)]
    seen, more = ((1 - share) / (count * share) for share in (there / count, (there + 0.5) / (count + 1)))
    return sum(move**2 for move in moves) / (count - 1) / count + max(0.0, more - seen)


def paired_steps(first: Sequence[Time], second: Sequence[Time]) -> Ratio | None:
    """How much of the second arm's steps the first one needs, seed by seed; None with fewer than 3 in common.

    None too where an agent of the first never gets there; where one of the second does not, the truth is below.
    """
    others = {time.seed: time for time in second}
    pairs = [(time, others[time.seed]) for time in first if time.seed in others]
    if len(pairs) < 3 or not all(time.reached for time, _ in pairs):
        return None
    centre, half = t_interval([math.log(time.steps / other.steps) for time, other in pairs])
    value, low, high = (math.exp(centre + sign * half) for sign in (0, -1, 1))
    return Ratio(value, low, high, bounded=not all(other.reached for _, other in pairs))
