"""The tables and figures of the study of agents on the pages of the repository, from its published files."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path

from experiments.agents.clock_pages import clock_table, paired_table, recoding_cost_table
from experiments.agents.doses import doses_table
from experiments.agents.encoder_tables import correlations_table, encoders_table, objects_table
from experiments.agents.files import published_study
from experiments.agents.findings import findings
from experiments.agents.gains import gains_in_words, gains_table
from experiments.agents.kinds import kinds_table
from experiments.agents.report import CAPTIONS
from experiments.agents.results import AgentStudy
from experiments.agents.scales import AGENT_SCALES
from experiments.agents.table_parts import not_new_to
from experiments.agents.tables import (
    cost_table,
    efficiency_table,
    final_table,
    improvement_table,
    overall_table,
    summary_table,
)
from experiments.agents.tasks import TASKS
from experiments.agents.transfer_tables import ends_table, kept_table, transfer_table
from experiments.agents.updates import updates_table
from experiments.pages import committed
from experiments.pages.tables import Table
from sparse_repr.files.json_reader import TEXT, many, read_json

RESULTS = committed.RESULTS / "agents"
"""Published files, one folder per scale."""
_NOTHING = "No agent of this table is published yet."


@functools.cache  # every table is of these hundreds of files
def published(results: Path = RESULTS) -> list[AgentStudy]:
    """What is published of every scale but the smoke test's, the longest first; scales without an agent left out.

    The files of a folder are read once: what is published later does not show.
    """
    scales = sorted((name for name in AGENT_SCALES if name != "smoke"), key=lambda name: -AGENT_SCALES[name].seeds)
    found = [published_study(results / name, name) for name in scales]
    return [study for study in found if study.agents]


def shown(
    table: Callable[..., Table | None], *, tasks: Sequence[str] = (), algorithms: bool = True, results: Path = RESULTS
) -> str:
    """A table as Markdown, one per scale, task and algorithm that has any published agent.

    Args:
        table: takes the study and, where they are given, a task and an algorithm.
        tasks: those to show; none where the table is of all tasks.
        algorithms: whether it is of one algorithm.
        results: folder of the published files.
    """
    found = [
        table(study, *task, *algorithm)
        for study in published(results)
        for task in _each(tasks)
        for algorithm in _each(study.learned_by() if algorithms else ())
    ]
    return "\n\n".join(f"**{each.title}**\n\n{each.as_markdown()}" for each in found if each is not None) or _NOTHING


def _each(names: Sequence[str]) -> list[tuple[str, ...]]:
    """The arguments to call a table with: every name by itself; none once where there are no names."""
    return [(name,) for name in names] or [()]


def answers(results: Path = RESULTS) -> str:
    """What was found, in words, as Markdown: a list for every task and algorithm."""
    parts: list[str] = []
    for study in published(results):
        for algorithm in study.learned_by():
            found = findings(study, algorithm)
            for task in dict.fromkeys(finding.task for finding in found):
                lines = [f"- **{finding.question}**: {finding.sentence}" for finding in found if finding.task == task]
                parts.append("\n".join([f"**{task} ({algorithm.upper()})**", "", *lines]))
    return "\n\n".join(parts) or _NOTHING


def pictures(results: Path = RESULTS) -> str:
    """The published figures and films with their captions, as Markdown for a page of that folder.

    Args:
        results: folder of the published files.
    """
    found: list[str] = []
    for study in published(results):
        path = results / study.scale_name / CAPTIONS
        listed = read_json(path, many({"title": TEXT, "file": TEXT, "caption": TEXT})) if path.is_file() else []
        found += [
            f"**{entry['title']}**\n\n![{entry['title']}]({study.scale_name}/{entry['file']})\n\n{entry['caption']}"
            for entry in listed
        ]
    return "\n\n".join(found) or "No figure is published yet."


_HEADLINE = (
    *("random_policy", "factors", "pixels", "vae", "sparse", "vae_expand", "sparse_expand"),
    *("vae_robust_expand", "keypoints", "sparse_keypoints", "sparse_keypoints_robust", "vae_tuned"),
)
# experiments/agents/public.md, kinds.md, the curves of `doses`, and paragraphs of README.md
_PAGES_OF_THEIR_OWN = ("public", "kinds", "doses", "pose", "million")
# fewer have no interval, and no place on the first page
_LEAST_SEEDS = 3
_HEADLINE_GAINS = (
    ("vae_expand", "vae"),
    ("sparse_expand", "sparse"),
    ("sparse_keypoints", "keypoints"),
    ("sparse_keypoints_expand", "sparse_keypoints"),
)


def agents_summary(results: Path = RESULTS) -> str:
    """The study in the one table that the README has room for, and what was gained."""
    parts: list[str] = []
    for study in published(results):
        if study.scale_name in _PAGES_OF_THEIR_OWN:
            continue
        runs = [study.of(task, "ppo") for task in TASKS]
        arms = [arm for arm in _HEADLINE if any(len(agents.get(arm, ())) >= _LEAST_SEEDS for agents in runs)]
        table = summary_table(study, arms=arms)
        if table is not None:
            steps = AGENT_SCALES[study.scale_name].algorithms["ppo"].steps
            note = (
                "0 is the random policy, 1 ground truth: interquartile means over the seeds with their 95 % intervals. "
                f"PPO, {steps:,} steps, the same two small layers in every row. Time: of a step of learning. Unseen: "
                f"five domains that are new to encoder and agent. {not_new_to(arms)}"
            ).strip()
            parts += [dataclasses.replace(table, note=note).as_markdown(), gains_in_words(study, _HEADLINE_GAINS)]
    return "\n\n".join(part for part in parts if part) or _NOTHING


TABLES: dict[str, Callable[[], str]] = {
    "agents-answers": answers,
    "agents-brief": lambda: shown(summary_table),
    "agents-overall": lambda: shown(overall_table),
    "agents-final": lambda: shown(final_table, tasks=tuple(TASKS)),
    "agents-ends": lambda: shown(ends_table, tasks=tuple(TASKS)),
    "agents-efficiency": lambda: shown(efficiency_table, tasks=tuple(TASKS)),
    "agents-kinds": lambda: shown(kinds_table, tasks=tuple(TASKS)),
    "agents-doses": lambda: shown(doses_table, tasks=tuple(TASKS)),
    "agents-updates": lambda: shown(updates_table, tasks=tuple(TASKS)),
    "agents-clock": lambda: shown(clock_table, tasks=tuple(TASKS)),
    "agents-clock-pairs": lambda: shown(paired_table, tasks=tuple(TASKS)),
    "agents-transfer": lambda: shown(transfer_table, tasks=tuple(TASKS)),
    "agents-kept": lambda: shown(kept_table, tasks=tuple(TASKS)),
    "agents-gains": lambda: shown(gains_table),
    "agents-improvement": lambda: shown(improvement_table),
    "agents-cost": lambda: shown(cost_table, tasks=tuple(TASKS)),
    "agents-recoding-cost": lambda: shown(recoding_cost_table, tasks=tuple(TASKS)),
    "agents-encoders": lambda: shown(encoders_table, tasks=tuple(TASKS), algorithms=False),
    "agents-objects": lambda: shown(objects_table, tasks=tuple(TASKS), algorithms=False),
    "agents-objects-linear": lambda: shown(
        functools.partial(objects_table, linear=True), tasks=tuple(TASKS), algorithms=False
    ),
    "agents-correlations": lambda: shown(correlations_table, tasks=tuple(TASKS)),
}
"""Name of the marks in experiments/results/agents/tables.md -> what stands between them."""
FIGURES: dict[str, Callable[[], str]] = {"agents-figures": pictures}
"""The same of experiments/results/agents/figures.md."""
