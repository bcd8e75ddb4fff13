"""What agents keep in domains that they never saw: returns, normalised scores and the share that is kept."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from statistics import fmean

import numpy as np

from envs.domains import DOMAINS, TARGETS
from experiments.agents.results import AgentResult, AgentStudy
from experiments.agents.scores import RANDOM, Scores, anchors_of, clear_difference, episodes_of, normalised_scores
from experiments.agents.tasks import TASKS


@dataclasses.dataclass(frozen=True)
class DomainScores:
    """What the seeds of an arm reach in a domain."""

    returns: tuple[float, ...]
    """Mean return of every seed."""
    successes: tuple[float, ...]
    """Share of successes of every seed, 0..1."""
    normalised: tuple[float, ...]
    """As `scores.normalised_scores`; none without anchors."""
    kept: tuple[float, ...]
    """`share_kept` of the seeds that have one."""


def share_kept(agent: AgentResult, random_policy: Sequence[AgentResult], domain: str) -> float | None:
    """Share of what an agent has learned that is left in a domain.

    (return there - the random policy's there) / (return in the source - the random policy's in the source): 1 keeps
    everything, 0 is as good as acting at random, below 0 is worse.

    Args:
        agent: the agent.
        random_policy: those of its task.
        domain: name of a domain.

    Returns:
        None where one of them has no episodes, or the agent is not clearly better than random in the source
        (`scores.clear_difference` of their episodes).
    """
    there = episodes_of(random_policy, domain)
    learned = clear_difference(episodes_of([agent]), episodes_of(random_policy))
    if learned is None or not there or not agent.returns.get(domain):
        return None
    return (agent.mean_return(domain) - fmean(there)) / learned


def mean_share_kept(agent: AgentResult, random_policy: Sequence[AgentResult]) -> float | None:
    """Mean of `share_kept` over the domains of `TARGETS`; None where one has none."""
    shares = [share_kept(agent, random_policy, domain) for domain in TARGETS]
    known = [share for share in shares if share is not None]
    return fmean(known) if len(known) == len(TARGETS) else None


def mean_target_return(agent: AgentResult) -> float | None:
    """Mean of the mean returns over the domains of `TARGETS`; None where one was not evaluated."""
    if not all(agent.returns.get(domain) for domain in TARGETS):
        return None
    return fmean(agent.mean_return(domain) for domain in TARGETS)


def unseen_scores(
    study: AgentStudy, arm: str, tasks: Sequence[str] = tuple(TASKS), *, algorithm: str = "ppo"
) -> Scores | None:
    """Mean of an arm's `normalised_scores` over the domains of `TARGETS`, of the seeds that have all of them.

    Returns:
        None where some domain has none, or not on the same tasks.
    """
    found = [normalised_scores(study, arm, tasks, algorithm=algorithm, domain=domain) for domain in TARGETS]
    known = [scores for scores in found if scores is not None]
    if len(known) < len(TARGETS) or len({scores.tasks for scores in known}) > 1:
        return None
    seeds = sorted(set.intersection(*(set(scores.seeds) for scores in known)))
    if not seeds:
        return None
    values = [scores.values[[scores.seeds.index(seed) for seed in seeds]] for scores in known]
    return Scores(arm, known[0].tasks, tuple(seeds), np.mean(values, axis=0))


def zero_shot(study: AgentStudy, task: str, algorithm: str = "ppo") -> dict[str, dict[str, DomainScores]]:
    """What every arm reaches in every domain, without having learned there.

    Returns:
        Arm, in the order of `ARMS` -> domain, in the order of `DOMAINS` -> scores; domains without episodes left out.
    """
    arms, anchors = study.of(task, algorithm), anchors_of(study, task, algorithm)
    randoms = arms.get(RANDOM, [])
    found: dict[str, dict[str, DomainScores]] = {}
    for arm, agents in arms.items():
        for domain in DOMAINS:
            here = [agent for agent in agents if agent.returns.get(domain)]
            if not here:
                continue
            returns = tuple(agent.mean_return(domain) for agent in here)
            known = anchors is not None and domain in anchors.random
            shares = [] if arm == RANDOM else [share_kept(agent, randoms, domain) for agent in here]
            found.setdefault(arm, {})[domain] = DomainScores(
                returns,
                tuple(fmean(agent.successes[domain]) for agent in here if agent.successes.get(domain)),
                tuple(anchors.normalised(value, domain) for value in returns) if anchors and known else (),
                tuple(share for share in shares if share is not None),
            )
    return found
