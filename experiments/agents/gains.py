"""What one arm gains over another, pair by pair: agents of one seed, which play the same episodes while learning."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from experiments.agents.analysis import recoded_pairs
from experiments.agents.arms import ARMS, PRICES, RATED, RATES, SECOND_ROUND, rated
from experiments.agents.results import AgentStudy
from experiments.agents.scores import anchors_of, paired_seeds
from experiments.agents.table_parts import NORMALISED, note_of
from experiments.agents.tasks import TASKS
from experiments.measure.intervals import CentredInterval, t_interval
from experiments.measure.kinds import KINDS
from experiments.pages.tables import SPREAD_NOTE, Table, laid_out, spread

PAIRS = (
    *recoded_pairs(),
    *(
        ("vae_expand", control)
        for control in ("vae_cosine", "vae_cosine_wide", "vae_project", "vae_simplicial", "vae_tiles", "vae_one_hot")
    ),
    ("vae_expand", "untrained_expand"),
    *((rated("vae", rate), other) for other in ("vae", "vae_expand") for rate in RATES),
    *((rated(arm, rate), arm) for arm in RATED if arm != "vae" for rate in RATES),
    *((rated("vae_expand", rate), rated("vae", rate)) for rate in RATES),
    *((rated("sparse_keypoints", rate), rated("pixels", rate)) for rate in RATES),
    ("sparse_keypoints", "keypoints"),
    *(("sparse_keypoints", other) for other in ("vae", "sparse", "pixels")),
    ("keypoints", "vae"),
    ("vae_denoised", "vae"),
    ("sparse_keypoints_denoised", "sparse_keypoints_10"),
    ("vae_robust", "vae"),
    *((f"vae_{seen}_expand", "vae_expand") for seen in ("denoised", "robust")),
    ("sparse_keypoints_robust", "sparse_keypoints"),
    *((f"sparse_keypoints_{name}", "sparse_keypoints") for name in PRICES),
    ("sparse_keypoints_10", "pixels"),
    ("few_sparse_keypoints", "sparse_keypoints"),
    ("few_sparse_keypoints", "vae"),
    ("sparse_keypoints_cropped", "sparse_keypoints"),
    *(("sparse_keypoints_cropped", other) for other in ("pixels", "pixels_cropped")),
    ("pixels_cropped", "pixels"),
    ("sparse_keypoints_looks", "sparse_keypoints"),
    ("sparse_keypoints_looks", "vae"),
    *SECOND_ROUND.items(),
    *((recoded, "pixels") for recoded in ("vae_expand", "sparse_expand")),
    ("vae_dictionary", "vae_expand"),
    ("wide_vae", "vae"),
    *((kind, "wide_vae") for kind in KINDS if kind != "wide_vae"),
)
"""Arms that differ in one thing: what is shown, the learning rate, the price on presences, or the kind of encoder."""


@dataclasses.dataclass(frozen=True)
class Gain:
    """The differences of two arms on a task, at least 2."""

    task: str
    """Key of `TASKS`."""
    first: str
    """Key of `ARMS`."""
    second: str
    """Key of `ARMS`."""
    seeds: tuple[int, ...]
    """Those that both have."""
    values: tuple[float, ...]
    """Of each seed, normalised return of the first minus that of the second."""

    @property
    def interval(self) -> CentredInterval:
        """Mean and 95 % t-interval over the pairs."""
        return t_interval(self.values)


def gains_of(study: AgentStudy, task: str, algorithm: str = "ppo") -> list[Gain]:
    """Every pair of `PAIRS` that has at least two seeds in common.

    Args:
        study: what is finished.
        task: key of `TASKS`.
        algorithm: ppo, sac or dqn.

    Returns:
        In the order of `PAIRS`; none where returns on the task cannot be normalised.
    """
    anchors, arms = anchors_of(study, task, algorithm), study.of(task, algorithm)
    if anchors is None:
        return []
    played = {arm: [agent for agent in agents if agent.returns.get("source")] for arm, agents in arms.items()}
    returns = {arm: {agent.seed: agent.mean_return() for agent in agents} for arm, agents in played.items()}
    found = []
    for first, second in PAIRS:
        seeds = paired_seeds(played.get(first, []), played.get(second, []))
        if len(seeds) > 1:
            values = tuple((returns[first][seed] - returns[second][seed]) / anchors.span for seed in seeds)
            found.append(Gain(task, first, second, seeds, values))
    return found


def gains_in_words(study: AgentStudy, pairs: Sequence[tuple[str, str]], algorithm: str = "ppo") -> str:
    """The gains of some pairs in one sentence; empty where none has two seeds in common."""
    found = [gain for task in TASKS for gain in gains_of(study, task, algorithm) if (gain.first, gain.second) in pairs]
    if not found:
        return ""
    told = "; ".join(
        f"{ARMS[gain.first].title} over {ARMS[gain.second].title} on {gain.task} {gain.interval.centre:+.2f} ± "
        f"{gain.interval.half:.2f} ({len(gain.seeds)} pairs)"
        for gain in found
    )
    return f"Gains, pair by pair of agents with the same seed, with their 95 % intervals: {told}."


def gains_table(study: AgentStudy, algorithm: str = "ppo") -> Table | None:
    """The paired gains on every task; None where no pair has two seeds in common."""
    found = [gain for task in TASKS for gain in gains_of(study, task, algorithm)]
    if not found:
        return None
    rows = [
        [
            gain.task,
            ARMS[gain.first].title,
            ARMS[gain.second].title,
            str(len(gain.seeds)),
            spread(gain.values, 2),
            f"{sum(value > 0 for value in gain.values)} of {len(gain.values)}",
        ]
        for gain in found
    ]
    header = ["task", "arm", "against", "pairs", "gain", "above 0"]
    words = (
        "Gain: difference of the normalised returns in the source of agents of the same seed, which for a recoded code "
        "is on the same encoder too; an interval that leaves 0 out is a gain or a loss."
    )
    wanted = {(gain.task, arm, seed) for gain in found for arm in (gain.first, gain.second) for seed in gain.seeds}
    entries = [
        agent
        for task in TASKS
        for agents in study.of(task, algorithm).values()
        for agent in agents
        if (agent.task, agent.arm, agent.seed) in wanted
    ]
    note = note_of(study, entries, SPREAD_NOTE, words, NORMALISED)
    return laid_out(f"Gains, pair by pair ({algorithm.upper()})", header, rows, note)
