"""The tables of the study of agents, from what is finished: scores, sample efficiency and cost of the arms.

Returns are means over the seeds with their 95 % t-interval, every value beside it with fewer than 5 seeds; aggregates
over tasks are interquartile means with an interval of the same kind, from 3 seeds on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean

from envs.domains import TARGETS
from experiments.agents.analysis import best_frozen, compared_pairs, improvement, iqm, iqm_of_arms
from experiments.agents.arms import ARMS
from experiments.agents.curves import SHARE, curves_of, learned_return, mean_over_training, steps_to
from experiments.agents.results import AgentResult, AgentStudy
from experiments.agents.scores import FACTORS, RANDOM, anchors_of
from experiments.agents.table_parts import IQM, NORMALISED, not_new_to, note_of_arms, shown, titled
from experiments.agents.tasks import TASKS
from experiments.agents.transfer import unseen_scores
from experiments.agents.transfer_tables import ends_table, kept_table, transfer_table
from experiments.pages.tables import EMPTY, SPREAD_NOTE, Table, laid_out, spread


def _every_arm(study: AgentStudy, algorithm: str) -> dict[str, list[AgentResult]]:
    found: dict[str, list[AgentResult]] = {}
    for arm in ARMS:
        agents = [agent for task in TASKS for agent in study.of(task, algorithm).get(arm, ())]
        if agents:
            found[arm] = agents
    return found


def overall_table(study: AgentStudy, algorithm: str = "ppo") -> Table | None:
    """IQM of the normalised return of every arm over all tasks, and on each; None where no score is normalised.

    Args:
        study: what is finished.
        algorithm: ppo, sac or dqn.
    """
    overall = iqm_of_arms(study, algorithm=algorithm)
    each = {task: iqm_of_arms(study, [task], algorithm=algorithm) for task in TASKS}
    targets = {domain: iqm_of_arms(study, algorithm=algorithm, domain=domain) for domain in TARGETS}
    rows = []
    for arm in ARMS:
        if any(arm in found for found in (overall, *each.values())):
            over = overall.get(arm)
            cells = [shown(found.get(arm)) for found in (overall, *each.values(), *targets.values())]
            done = [task for task in TASKS if arm in each[task]]
            own = {str(each[task][arm].seeds): None for task in done}
            seeds = "; ".join(own) if len(own) == 1 or over is None else f"{'; '.join(own)} ({over.seeds} in all tasks)"
            rows.append([ARMS[arm].title, seeds, ", ".join(done), *cells])
    if not rows:
        return None
    header = ["arm", "seeds", "tasks", "IQM in the source", *each, *(name.replace("_", " ") for name in targets)]
    words = (
        "Columns of a task are in its source, the others over all tasks: an arm that lacks one which others have is in "
        "none of them."
    )
    arms = _every_arm(study, algorithm)
    words = f"{words} {not_new_to(arms)}".strip()
    return laid_out(
        titled("Normalised return over tasks", algorithm),
        header,
        rows,
        note_of_arms(study, arms, NORMALISED, IQM, words),
    )


def summary_table(study: AgentStudy, algorithm: str = "ppo", *, arms: Sequence[str] = tuple(ARMS)) -> Table | None:
    """The study in brief: normalised returns in the source and in domains that no agent has seen, and the time it took.

    Args:
        study: what is finished.
        algorithm: ppo, sac or dqn.
        arms: keys of `ARMS`, in the order of the rows.

    Returns:
        None where no score is normalised.
    """
    tasks = [task for task in TASKS if anchors_of(study, task, algorithm) is not None]
    source = {task: iqm_of_arms(study, [task], algorithm=algorithm) for task in tasks}
    times = [_time_against_pixels(study.of(task, algorithm)) for task in tasks]
    timed = [found for found in times if found]
    rows = []
    for arm in arms:
        if not any(arm in found for found in source.values()):
            continue
        cells = [shown(source[task].get(arm)) for task in tasks]
        for task in tasks:
            unseen = unseen_scores(study, arm, [task], algorithm=algorithm)
            cells.append(shown(None if unseen is None else iqm(unseen)))
        known = [found[arm] for found in times if arm in found]
        time = f"{fmean(known):.2f}" if known and len(known) == len(timed) else EMPTY
        seeds = {source[task][arm].seeds for task in tasks if arm in source[task]}
        counted = "–".join(str(count) for count in dict.fromkeys((min(seeds), max(seeds))))
        rows.append([ARMS[arm].title, counted, *cells, time])
    if not rows:
        return None
    header = ["agent sees", "seeds", *tasks, *(f"{task}, unseen" for task in tasks), "time against pixels"]
    words = (
        "Time is that of a step of training, mean over the tasks, for arms that have all of them. Unseen: the mean "
        f"over the domains {', '.join(TARGETS)}, new to encoder and agent."
    )
    entries = {arm: agents for arm, agents in _every_arm(study, algorithm).items() if arm in arms}
    note = note_of_arms(study, entries, NORMALISED, IQM, words, not_new_to(entries))
    return laid_out(titled("Normalised return in brief", algorithm), header, rows, note)


def final_table(study: AgentStudy, task: str, algorithm: str = "ppo") -> Table | None:
    """Return, successes and normalised return in the source after training; None where no agent is finished.

    Args:
        study: what is finished.
        task: key of `TASKS`.
        algorithm: ppo, sac or dqn.
    """
    arms = study.of(task, algorithm)
    if not arms:
        return None
    aggregates = iqm_of_arms(study, [task], algorithm=algorithm)
    rows = []
    for arm, agents in arms.items():
        steps = EMPTY if arm == "random_policy" else ", ".join(f"{one:,}" for one in sorted({a.steps for a in agents}))
        returns = spread([agent.mean_return() for agent in agents if agent.returns.get("source")], 3)
        successes = [100 * fmean(agent.successes["source"]) for agent in agents if agent.successes.get("source")]
        rows.append(
            [ARMS[arm].title, steps, str(len(agents)), returns, spread(successes, 1), shown(aggregates.get(arm))]
        )
    header = ["arm", "steps", "seeds", "return", "success (%)", "normalised, IQM"]
    episodes = sorted({len(agent.returns["source"]) for agents in arms.values() for agent in agents})
    words = f"{' or '.join(map(str, episodes))} episodes per seed in the source, the policy deterministic."
    title = titled(f"Return after training on {task}", algorithm)
    return laid_out(title, header, rows, note_of_arms(study, arms, SPREAD_NOTE, words, NORMALISED, IQM))


def _thousands(found: Sequence[int], count: int, steps: int) -> str:
    """Steps of the seeds that got there, in thousands."""
    if not found:
        return f"> {steps / 1000:,.0f}"
    if len(found) == count:
        return spread([one / 1000 for one in found], 0)
    return f"{len(found)} of {count} ({', '.join(f'{one / 1000:,.0f}' for one in sorted(found))})"


def efficiency_table(study: AgentStudy, task: str, algorithm: str = "ppo") -> Table | None:
    """How fast the arms learn a task; None where no learning agent is finished."""
    arms = {arm: agents for arm, agents in study.of(task, algorithm).items() if arm != RANDOM}
    if not arms:
        return None
    level, anchors = learned_return(study, task, algorithm), anchors_of(study, task, algorithm)
    rows = []
    for arm, agents in arms.items():
        reached = EMPTY
        if level is not None:
            found = [steps for agent in agents if (steps := steps_to(agent, level)) is not None]
            reached = _thousands(found, len(agents), max(agent.steps for agent in agents))
        means = [mean for agent in agents if (mean := mean_over_training(agent)) is not None]
        normalised = [anchors.normalised(mean) for mean in means] if anchors else []
        rows.append([ARMS[arm].title, str(len(agents)), reached, spread(means, 3), spread(normalised, 2)])
    percent = f"{100 * SHARE:.0f} %"
    header = ["arm", "seeds", f"thousand steps to {percent}", "mean return while training", "normalised"]
    words = "Ground truth is not clearly above the random policy yet."
    if level is not None:
        words = (
            f"{percent}: a mean return of {level:.3f} over three windows of the curve, which is {percent} of the way "
            "from the random policy to where the agents on ground-truth factors end; > means that no seed gets there, "
            "“3 of 5” that only those do whose steps follow."
        )
    windows = {len(curve.steps) for agents in arms.values() if (curve := curves_of(agents)) is not None}
    if windows:
        words += f" Curves have {max(windows)} windows; mean return while training is the mean over them."
    title = titled(f"Sample efficiency on {task}", algorithm)
    return laid_out(title, header, rows, note_of_arms(study, arms, SPREAD_NOTE, words, NORMALISED if anchors else ""))


def _time_against_pixels(arms: Mapping[str, Sequence[AgentResult]]) -> dict[str, float]:
    """Arm that learns -> seconds of a step of its training over those of pixels end to end; empty without these.

    Compared on each processor that agents of both ran on, and the geometric mean of these: an arm that shares none has
    no entry.
    """
    per_step: dict[str, dict[str | None, float]] = {}
    for arm, agents in arms.items():
        groups: dict[str | None, list[float]] = {}
        for agent in agents:
            groups.setdefault(agent.machine.get("processor"), []).append(agent.seconds["training"] / agent.steps)
        if arm != RANDOM:
            per_step[arm] = {processor: fmean(seconds) for processor, seconds in groups.items()}
    pixels, found = per_step.get("pixels", {}), {}
    for arm, own in per_step.items():
        shared = [math.log(own[processor] / pixels[processor]) for processor in own if processor in pixels]
        if shared:
            found[arm] = math.exp(fmean(shared))
    return found


def cost_table(study: AgentStudy, task: str, algorithm: str = "ppo") -> Table | None:
    """Time and memory of training; None where no learning agent is finished."""
    arms = {arm: agents for arm, agents in study.of(task, algorithm).items() if arm != RANDOM}
    if not arms:
        return None
    against_pixels = _time_against_pixels(arms)
    encoders: dict[str, list[float]] = {}
    for encoder in study.encoders:
        seconds = encoder.seconds.get("training")
        if encoder.task == task and seconds:
            encoders.setdefault(encoder.encoder, []).append(seconds)
    stored = {
        arm: [agent.replay_memory_mb for agent in agents if agent.replay_memory_mb is not None]
        for arm, agents in arms.items()
    }
    rows = [
        [
            ARMS[arm].title,
            str(len(agents)),
            spread([agent.seconds["training"] for agent in agents], 0),
            spread([agent.steps / agent.seconds["training"] for agent in agents], 0),
            f"{against_pixels[arm]:.2f}" if arm in against_pixels else EMPTY,
            spread([agent.seconds["evaluation"] for agent in agents], 0),
            spread([agent.peak_memory_mb for agent in agents], 0),
            spread(encoders.get(ARMS[arm].encoder or "", []), 0),
            spread(stored[arm], 0),
        ]
        for arm, agents in arms.items()
    ]
    header = ["arm", "seeds", "training (s)", "steps per s", "time against pixels", "evaluation (s)", "memory (MB)"]
    header += ["encoder's training (s)", "replay buffer (MB)"]
    if not any(stored.values()):
        header, rows = header[:-1], [row[:-1] for row in rows]
    words = (
        "Time against pixels is per step, on processors that agents of both ran on; other times are means over the "
        "processors that seeds ran on, some of which take four times as long. Memory is the largest resident memory of "
        "the process that trained."
    )
    title = titled(f"Cost of training on {task}", algorithm)
    return laid_out(title, header, rows, note_of_arms(study, arms, SPREAD_NOTE, words))


def improvement_table(study: AgentStudy, algorithm: str = "ppo") -> Table | None:
    """Probability that one arm does better than another, for the pairs that matter; None where none has enough seeds.

    Args:
        study: what is finished.
        algorithm: ppo, sac or dqn.
    """
    rows = []
    begun = [task for task in TASKS if any(arm not in (RANDOM, FACTORS) for arm in study.of(task, algorithm))]
    best = best_frozen(study, algorithm=algorithm)
    for first, second in compared_pairs(study, algorithm=algorithm):
        each = {task: improvement(study, first, second, [task], algorithm=algorithm) for task in TASKS}
        # over the tasks of the study, and not of those alone that the pair has
        whole = improvement(study, first, second, begun, algorithm=algorithm) if all(map(each.get, begun)) else None
        cells = [shown(one.probability if one else None) for one in (whole, *each.values())]
        if any(cell != EMPTY for cell in cells):
            rows.append([ARMS[first].title, ARMS[second].title, *cells])
    if not rows:
        return None
    words = (
        "Share of the pairs of seeds in which the first arm has the higher return in the source, 0.5 being none, with "
        "its 95 % interval (Wilson's, of as many trials as seeds and tasks). All tasks: the mean, where both arms have "
        "three seeds on each."
    )
    if best is not None and rows[-1][:2] == [ARMS[best].title, ARMS["pixels"].title]:
        words += (
            " The last pair is the frozen encoder that does best against pixels: chosen by the same numbers, which "
            "favours it."
        )
    header = ["arm", "against", "all tasks", *TASKS]
    note = note_of_arms(study, _every_arm(study, algorithm), words)
    return laid_out(titled("Probability of improvement", algorithm), header, rows, note)


def agent_tables(study: AgentStudy, algorithm: str = "ppo") -> list[Table]:
    """Every table of the arms that has a row: over tasks, then of each task."""
    found = [
        summary_table(study, algorithm),
        overall_table(study, algorithm),
        improvement_table(study, algorithm),
    ]
    for task in TASKS:
        found.append(final_table(study, task, algorithm))
        rest = (ends_table, efficiency_table, transfer_table, kept_table, cost_table)
        found += [table(study, task, algorithm) for table in rest]
    return [table for table in found if table is not None]
