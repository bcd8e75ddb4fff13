"""How do an agent's episodes end? Successes, failures and time limits, by what an episode asks for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tqdm import tqdm

from experiments.agents.cells import AgentCell
from experiments.agents.results import OUTCOMES
from experiments.agents.training import JUDGED_TOGETHER, act_of, agent_is_finished, load_trained, make_environments
from experiments.measure.judging import judge
from experiments.measure.machine import machine_facts
from sparse_repr.devices import cpu_threads
from sparse_repr.files import write_json

ENDS = "ends.json"
"""File in an agent's folder."""
# the kind of every episode of a task where none asks for anything else
_ALL = "all"
_SEED = 3_000_000


def play_again(cells: Sequence[AgentCell], *, progress: bool = True) -> int:
    """Write `ends.json` into the folder of every finished agent that has none, from new episodes in the source.

    Args:
        cells: the agents; unfinished ones are passed over.
        progress: show a bar.

    Returns:
        The number of agents that have the file.
    """
    finished = [cell for cell in cells if agent_is_finished(cell)]
    for cell in tqdm(finished, desc="agents", unit="agent", disable=not progress):
        if not (cell.folder / ENDS).is_file():
            with cpu_threads(cell.threads):
                write_json(cell.folder / ENDS, _record(cell))
    return len(finished)


def _record(cell: AgentCell) -> dict[str, Any]:
    venv = make_environments(cell, "source", min(JUDGED_TOGETHER, cell.episodes), _SEED)
    decided_by = cell.task.decided_by
    column = None if decided_by is None else venv.get_attr("factor_names")[0].index(decided_by[0])

    def more(info: Mapping[str, Any]) -> dict[str, float]:
        kind = -1 if column is None else round(float(info["factors"][column]))
        return {"kind": kind, "truncated": info.get("TimeLimit.truncated", False)}

    try:
        agent = None if cell.arm.observes == "nothing" else load_trained(cell)
        episodes = judge(venv, cell.episodes, act_of(agent, venv, cell.seed), seed=_SEED, more=more)
    finally:
        venv.close()
    names = (_ALL,) if decided_by is None else decided_by[1]
    return {
        "settings": cell.settings(),
        "kinds": {
            name: counted(episode for episode in episodes if episode["kind"] in (-1, value))
            for value, name in enumerate(names)
        },
        "machine": machine_facts(),
    }


def counted(episodes: Iterable[Mapping[str, float]]) -> dict[str, int]:
    """Number of episodes, as `judge` tells them with "truncated" beside, by `OUTCOMES`."""
    counts = dict.fromkeys(OUTCOMES, 0)
    for episode in episodes:
        # a success in the last step allowed is one
        counts["success" if episode["success"] else "time limit" if episode["truncated"] else "failure"] += 1
    return counts
