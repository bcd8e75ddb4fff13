"""What the study of agents says, in words: no claim without 95 % intervals that do not overlap."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean

from experiments.agents.analysis import best_frozen, compared_pairs
from experiments.agents.arms import ARMS
from experiments.agents.clock import of_one_processor
from experiments.agents.clock_pages import clock_in_words
from experiments.agents.correlations import CHANCE, OUTCOMES, correlations
from experiments.agents.curves import SHARE, learned_return, mean_over_training, steps_to
from experiments.agents.encoder_tables import score_title, shown_p
from experiments.agents.results import AgentResult, AgentStudy
from experiments.agents.scores import FACTORS, RANDOM, anchors_of
from experiments.agents.tasks import TASKS
from experiments.agents.transfer import mean_share_kept, mean_target_return
from experiments.measure.intervals import CentredInterval, t_interval


@dataclasses.dataclass(frozen=True)
class Order:
    """Whether ground-truth factors are above the best frozen encoder, and that above the random policy, on a task."""

    task: str
    best: str | None
    """Arm of `analysis.best_frozen` on this task."""
    intervals: Mapping[str, CentredInterval]
    """Of the mean return in the source over seeds, of those of the three arms that have at least 2."""
    holds: bool | None
    """Whether each interval lies above the next; None while one is missing."""


@dataclasses.dataclass(frozen=True)
class Finding:
    """An answer."""

    question: str
    """order, final return, sample efficiency, transfer, cost or prediction."""
    task: str
    """Key of `TASKS`."""
    sentence: str
    """Plain words, with the numbers."""


def apart(first: CentredInterval, second: CentredInterval) -> int:
    """1 where the first interval lies above the second, -1 where below, 0 where they overlap."""
    if first.centre - first.half > second.centre + second.half:
        return 1
    return -1 if first.centre + first.half < second.centre - second.half else 0


def ground_truth_order(study: AgentStudy, task: str, algorithm: str = "ppo") -> Order:
    """Whether ground truth > best frozen encoder > random policy in the source, with t-intervals over seeds apart."""
    arms, best = study.of(task, algorithm), best_frozen(study, [task], algorithm=algorithm)
    returns = {arm: [agent.mean_return() for agent in arms.get(arm, ())] for arm in (FACTORS, best, RANDOM) if arm}
    intervals = {arm: t_interval(values) for arm, values in returns.items() if len(values) > 1}
    if best is None or len(intervals) < 3:
        return Order(task, best, intervals, None)
    holds = apart(intervals[FACTORS], intervals[best]) == apart(intervals[best], intervals[RANDOM]) == 1
    return Order(task, best, intervals, holds)


def order_sentence(order: Order) -> str:
    """The order in words."""
    shown = {arm: f"{ARMS[arm].title} {_shown(interval)}" for arm, interval in order.intervals.items()}
    if order.holds is None or order.best is None:
        missing = [ARMS[arm].title for arm in (FACTORS, order.best, RANDOM) if arm and arm not in shown]
        missing += [] if order.best else ["a frozen encoder"]
        return f"Not enough seeds yet of {', '.join(missing)}."
    names = (FACTORS, order.best, RANDOM)
    if order.holds:
        return f"{' > '.join(shown[arm] for arm in names)}: the 95 % intervals do not overlap."
    sides = {1: "is above", -1: "is below", 0: "cannot be told apart from"}
    words = [
        f"{ARMS[first].title} {sides[apart(order.intervals[first], order.intervals[second])]} {ARMS[second].title}"
        for first, second in itertools.pairwise(names)
    ]
    return f"{', '.join(shown[arm] for arm in names)}: {'; '.join(words)}."


def _shown(interval: CentredInterval, digits: int = 2) -> str:
    return f"{interval.centre:,.{digits}f} ± {interval.half:,.{digits}f}"


def comparison_words(values: Mapping[str, Sequence[float]], pairs: Sequence[tuple[str, str]], digits: int = 2) -> str:
    """Which arms are above which, with their numbers, and how many pairs cannot be told apart; tables list the rest.

    Args:
        values: arm -> one value per seed; an arm with fewer than 2 is left out.
        pairs: the arms to compare.
        digits: shown.

    Returns:
        Sentences; empty where no pair has enough seeds.
    """
    intervals = {arm: t_interval(found) for arm, found in values.items() if len(found) > 1}
    known = [pair for pair in pairs if set(pair) <= intervals.keys()]
    if not known:
        return ""
    sides = [apart(intervals[first], intervals[second]) for first, second in known]
    ordered = [
        (first, second) if side > 0 else (second, first)
        for (first, second), side in zip(known, sides, strict=True)
        if side
    ]
    if not ordered:
        pairs_in_words = (
            f"any of the {len(known)} compared pairs of arms" if len(known) > 1 else "the one compared pair of arms"
        )
        return f"No intervals are apart in {pairs_in_words}."
    shown = {arm: f"{ARMS[arm].title} {_shown(interval, digits)}" for arm, interval in intervals.items()}
    claims = "; ".join(f"{shown[higher]} over {shown[lower]}" for higher, lower in ordered)
    rest = len(known) - len(ordered)
    others = f" {rest} of the {len(known)} pairs that were to be compared cannot be told apart." if rest else ""
    return f"With intervals apart: {claims}.{others}"


def _known(
    arms: Mapping[str, Sequence[AgentResult]], value: Callable[[AgentResult], float | None]
) -> dict[str, list[float]]:
    found = {arm: [value(agent) for agent in agents] for arm, agents in arms.items()}
    return {arm: [one for one in values if one is not None] for arm, values in found.items()}


def reached_words(study: AgentStudy, task: str, algorithm: str = "ppo") -> str:
    """After how many steps the seeds of each arm reach 80 % of ground truth; empty without ground truth."""
    level = learned_return(study, task, algorithm)
    if level is None:
        return ""
    words = []
    for arm, agents in study.of(task, algorithm).items():
        if arm == RANDOM:
            continue
        found = [steps for agent in agents if (steps := steps_to(agent, level)) is not None]
        after = f" after {fmean(found):,.0f} steps on average" if found else ""
        words.append(f"{ARMS[arm].title} {len(found)} of {len(agents)} seeds{after}")
    if not words:
        return ""
    return f"{100 * SHARE:.0f} % of ground truth (a return of {level:.2f}) is reached by {'; '.join(words)}."


def prediction_words(study: AgentStudy, task: str, algorithm: str = "ppo") -> str:
    """Which scores of the encoders go with the agents' return; empty where there are too few points."""
    found = correlations(study, task, algorithm)
    words = []
    for outcome, title in OUTCOMES.items():
        known = [one for one in found if one.outcome == outcome and one.p is not None and one.p_of_all is not None]
        if not known:
            continue
        clear = sorted((one for one in known if (one.p or 0) < CHANCE), key=lambda one: one.p or 0)
        many = f"by chance alone about {CHANCE * len(known):.0f} of {len(known)} would"
        if not clear:
            words.append(
                f"No score goes with the {title} by more than chance (p < {CHANCE} over the kinds of encoder)."
            )
            continue
        named = "; ".join(
            f"{score_title(one.score)} ρ {one.rho_of_means:+.2f} over {one.kinds} kinds, p {shown_p(one.p)}, of any "
            f"score {shown_p(one.p_of_all)}"
            for one in clear[:3]
        )
        goes = "goes" if len(clear) == 1 else "go"
        beyond = "" if any((one.p_of_all or 0) < CHANCE for one in clear) else ", so that none is settled"
        words.append(
            f"{len(clear)} of {len(known)} scores {goes} with the {title} (p < {CHANCE} over the kinds of encoder); "
            f"{many}{beyond}. The clearest: {named}."
        )
    return " ".join(words)


def findings(study: AgentStudy, algorithm: str = "ppo") -> list[Finding]:
    """The study's answers, as far as it is finished, by task and question.

    Args:
        study: what is finished.
        algorithm: ppo, sac or dqn.
    """
    found = []
    for task in TASKS:
        arms = study.of(task, algorithm)
        if not arms:
            continue
        randoms, anchors = arms.get(RANDOM, []), anchors_of(study, task, algorithm)
        learning = {arm: agents for arm, agents in arms.items() if arm != RANDOM}
        pairs = compared_pairs(study, [task], algorithm=algorithm)
        kept = comparison_words(_known(learning, lambda agent: mean_share_kept(agent, randoms)), pairs)  # noqa: B023
        targets = comparison_words(_known(arms, mean_target_return), pairs)
        training = comparison_words(_known(learning, mean_over_training), pairs)
        seconds = _known(of_one_processor(learning), lambda agent: agent.seconds["training"] / agent.steps * 1e6)
        answers = {
            "order": order_sentence(ground_truth_order(study, task, algorithm)),
            "final return": comparison_words(_known(arms, lambda agent: agent.mean_return()), pairs),
            "sample efficiency": " ".join(
                part
                for part in (
                    reached_words(study, task, algorithm),
                    training and f"Mean return while training. {training}",
                )
                if part
            ),
            "time by the clock": clock_in_words(study, task, algorithm),
            "transfer": " ".join(
                part
                for part in (
                    targets and f"Mean return over the target domains. {targets}",
                    kept and f"Share kept, where the agent learned anything. {kept}",
                    "" if anchors else "Without clearly better ground truth nothing is normalised.",
                )
                if part
            ),
            "cost": comparison_words(seconds, _cost_pairs(pairs), 0),
            "prediction": prediction_words(study, task, algorithm),
        }
        if answers["cost"]:
            answers["cost"] = f"Training seconds per million steps. {answers['cost']}"
        found += [Finding(question, task, words) for question, words in answers.items() if words]
    return found


def _cost_pairs(pairs: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """A frozen encoder costs about what any other does: with fine-tuning against without, and against pixels."""
    return [(first, second) for first, second in pairs if ARMS[first].fine_tuned or second == "pixels"]
