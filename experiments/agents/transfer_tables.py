"""Tables of how agents fare outside of the source, and of how their episodes end in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from envs.domains import DOMAINS, TARGETS
from experiments.agents.arms import ARMS
from experiments.agents.results import OUTCOMES, AgentStudy, EpisodeEnds
from experiments.agents.table_parts import not_new_to, note_of, note_of_arms, titled
from experiments.agents.tasks import TASKS
from experiments.agents.transfer import DomainScores, zero_shot
from experiments.pages.tables import EMPTY, SPREAD_NOTE, Table, laid_out, spread


def _domains_table(
    study: AgentStudy,
    task: str,
    algorithm: str,
    title: str,
    listed: Sequence[str],
    cell: Callable[[DomainScores], str],
    *sentences: str,
) -> Table | None:
    found = zero_shot(study, task, algorithm)
    domains = [name for name in listed if any(name in scores for scores in found.values())]
    rows = []
    for arm, scores in found.items():
        cells = [cell(scores[name]) if name in scores else EMPTY for name in domains]
        if any(text != EMPTY for text in cells):
            rows.append([ARMS[arm].title, str(max(len(one.returns) for one in scores.values())), *cells])
    if not rows:
        return None
    header = ["arm", "seeds", *(name.replace("_", " ") for name in domains)]
    note = note_of_arms(study, study.of(task, algorithm), SPREAD_NOTE, *sentences, not_new_to(found))
    return laid_out(titled(f"{title} {task}", algorithm), header, rows, note)


def transfer_table(study: AgentStudy, task: str, algorithm: str = "ppo") -> Table | None:
    """Return in every domain; None where no agent is finished."""
    words = "All domains but the source are new to encoder and agent."
    return _domains_table(
        study, task, algorithm, "Zero-shot return on", list(DOMAINS), lambda scores: spread(scores.returns, 3), words
    )


def kept_table(study: AgentStudy, task: str, algorithm: str = "ppo") -> Table | None:
    """Share of what was learned that is left in every target; None where nothing was clearly learned."""
    words = (
        "Percent of the source's return above the random policy's that is left: 100 keeps everything, 0 is as good as "
        "acting at random. Seeds that are not clearly better than random in the source are left out; where some are, "
        "how many are left is said."
    )
    return _domains_table(
        study,
        task,
        algorithm,
        "Share of the return kept in unseen domains of",
        TARGETS,
        _kept,
        words,
    )


def _kept(scores: DomainScores) -> str:
    told, count = spread([100 * share for share in scores.kept], 0), len(scores.kept)
    return told if count in (0, len(scores.returns)) else f"{told}; {count} of {len(scores.returns)} seeds"


def ends_table(study: AgentStudy, task: str, algorithm: str = "ppo") -> Table | None:
    """How episodes end in the source, and how often each kind succeeds; None where no agent was played again."""
    arms = study.ends_of(task, algorithm)
    if not arms:
        return None
    decided_by = TASKS[task].decided_by
    kinds = decided_by[1] if decided_by else ()
    rows = []
    for arm, agents in arms.items():
        shares = [[_percent(one, [kind], "success") for one in agents] for kind in kinds]
        shares += [[_percent(one, list(one.kinds), outcome) for one in agents] for outcome in OUTCOMES]
        cells = [spread([value for value in values if value is not None], 0) for values in shares]
        rows.append([ARMS[arm].title, str(len(agents)), *cells])
    header = ["arm", "seeds", *(f"{kind}: success (%)" for kind in kinds), *(f"{outcome} (%)" for outcome in OUTCOMES)]
    found = [one for agents in arms.values() for one in agents]
    episodes = sorted({sum(sum(counts.values()) for counts in one.kinds.values()) for one in found})
    words = (
        f"{' or '.join(map(str, episodes))} new episodes per seed in the source, the policy deterministic. Failure: "
        "an end that is none of success, such as a wrong corner or being caught; time limit: no end at all."
    )
    return laid_out(
        titled(f"How episodes of {task} end", algorithm), header, rows, note_of(study, found, SPREAD_NOTE, words)
    )


def _percent(one: EpisodeEnds, kinds: Sequence[str], outcome: str) -> float | None:
    """Share of some kinds of episodes with an outcome; None where there were none."""
    count = sum(sum(one.kinds[kind].values()) for kind in kinds)
    return 100 * sum(one.kinds[kind][outcome] for kind in kinds) / count if count else None
