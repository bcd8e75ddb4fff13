"""Reading what the study of agents has finished, from its folder or from the published files, and publishing it."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from experiments.agents import encoders as agent_encoders
from experiments.agents import training as agent_training
from experiments.agents.arms import ARMS, ENCODERS, FOREIGN, UNTRAINED
from experiments.agents.cells import EncoderCell, agent_cell, encoder_cell
from experiments.agents.ends import ENDS
from experiments.agents.results import AgentResult, AgentStudy, EncoderResult, EpisodeEnds
from experiments.agents.scales import AGENT_SCALES
from experiments.agents.tasks import TASKS
from experiments.pages.committed import PLACES, portable
from experiments.study.procedure import check_cells, refuse_other_settings
from sparse_repr.files import write_json
from sparse_repr.files.json_reader import (
    FLAG,
    OBJECT,
    Shape,
    each,
    many,
    number,
    one_of,
    optional,
    read_json,
    require,
    whole,
)

# published folder -> folder of the runs and name of the file in each
_KINDS = {
    "agents": ("agents", agent_training.RECORD),
    "encoders": ("encoders", agent_encoders.RECORD),
    "ends": ("agents", ENDS),
}
_REMEDY = "remove it and compute that cell again"
# settings of an encoder that may be others where it was trained
_OF_A_MACHINE = (*PLACES, "device", "precision", "threads", "step_graph")
# what tables need of each file; it holds more
_SETTINGS: Shape = {
    "task": one_of(*TASKS),
    "arm": one_of(*ARMS),
    "algorithm": one_of(*dict.fromkeys(name for scale in AGENT_SCALES.values() for name in scale.algorithms)),
    "seed": whole(0),
    "steps": whole(0),
}
_SHAPES: dict[str, Shape] = {
    "agents": {
        "settings": _SETTINGS,
        "curve": many(many(number(), 4)),
        "evaluation": each({"returns": many(number()), "successes": many(FLAG)}),
        "seconds": each(number(0)),
        "peak_memory_mb": number(0),
        "machine": OBJECT,
    },
    "encoders": {
        "task": one_of(*TASKS),
        "encoder": one_of(UNTRAINED, *FOREIGN, *ENCODERS),
        "seed": whole(0),
        "scores": each(optional(number())),
        "small_objects": {
            "class_accuracy": each(number()),
            "position_r2": each(number()),
            "linear_position_r2": each(number()),
        },
        "seconds": each(optional(number(0))),
        "machine": OBJECT,
    },
    "ends": {"settings": _SETTINGS, "kinds": each(each(whole(0))), "machine": OBJECT},
}


def live_study(out: Path, scale_name: str) -> AgentStudy:
    """What is finished in the folder of a study."""
    records = {
        kind: [_read(path, kind) for path in sorted((out / runs).glob(f"*/{name}"))]
        for kind, (runs, name) in _KINDS.items()
    }
    return _study(scale_name, **records)


def _require_training_of(cell: EncoderCell) -> None:
    """Refuse an encoder that was pretrained by other settings than its cell's, but for what a machine decides."""
    found = _read(cell.folder / agent_encoders.RECORD, "encoders").get("training") or {}
    wanted = {}
    if cell.training is not None:
        here = dataclasses.replace(cell.training, device="cpu", precision="float32", step_graph="none", threads=1)
        wanted = here.resolve().to_json()
    refuse_other_settings(
        cell.folder,
        [
            f"{name}: {found[name]!r} there, {value!r} asked for"
            for name, value in wanted.items()
            if name in found and name not in _OF_A_MACHINE and found[name] != value
        ],
    )


def published_study(folder: Path, scale_name: str) -> AgentStudy:
    """What is published of a scale; a folder that is not there holds nothing.

    Raises:
        ValueError: a file is damaged.
    """
    records = {kind: [_read(path, kind) for path in sorted((folder / kind).glob("*.json"))] for kind in _KINDS}
    return _study(scale_name, **records)


def publish_study(out: Path, folder: Path, scale_name: str) -> AgentStudy:
    """Write what is finished in the folder of a study into that of its published files, and return all that is there.

    Adds and replaces: what another machine published stays. So does the record of an encoder that published agents
    learned on, where another encoder of its name was trained anew; a warning names it. Of the same encoder the seconds
    stay, and the machine: they are part of those agents' clock.

    Args:
        out: folder of the study.
        folder: of the scale's published files: one of each agent in `agents`, one of each encoder in `encoders`, and
            how episodes end in `ends`.
        scale_name: key of `AGENT_SCALES`.

    Raises:
        ValueError: nothing is finished in `out`, or an agent or an encoder there learned otherwise than this scale's
            do, or an agent on another encoder than the one that is there; nothing is written then.
    """
    live = live_study(out, scale_name)
    if not live.agents and not live.encoders:
        raise ValueError(f"nothing to publish: no cell of {out} is finished")
    scale = AGENT_SCALES[scale_name]
    who = [(one.task, one.arm, one.algorithm, one.seed) for one in live.agents]
    check_cells([agent_cell(scale, *names, out) for names in who], agent_training.AGENT_CELLS)
    for encoder in live.encoders:
        _require_training_of(encoder_cell(scale, encoder.task, encoder.encoder, encoder.seed, out))
    kept = []
    for kind, (runs, name) in _KINDS.items():  # agents first: those that are replaced need their encoders no longer
        for path in sorted((out / runs).glob(f"*/{name}")):
            content = _read(path, kind)
            known = _learned_on(folder, path.parent.name) if kind == "encoders" else None
            if known is not None and known["fingerprint"] != content.get("fingerprint"):
                kept.append(path.parent.name)
                continue
            if known is not None:  # the clock of those agents began where their encoder was pretrained
                content |= {key: known[key] for key in ("seconds", "machine") if key in known}
            if content.get("training"):
                content["training"] = {key: value for key, value in content["training"].items() if key not in PLACES}
            if kind == "agents":
                _forget_ends(folder, path.parent.name, content)
            settings = content.get("settings", content)
            command = command_of(scale_name, kind, settings)
            write_json(folder / kind / f"{path.parent.name}.json", portable({"command": command, **content}))
    if kept:
        warnings.warn(
            f"kept the records of {', '.join(kept)} in {folder}: published agents learned on these encoders, and those "
            f"of {out} are others of the same name",
            stacklevel=2,
        )
    return published_study(folder, scale_name)


def _forget_ends(folder: Path, name: str, content: dict[str, Any]) -> None:
    """Remove how the episodes of a published agent end, where another agent takes its place."""
    there = folder / "agents" / f"{name}.json"
    if there.is_file() and _read(there, "agents")["evaluation"] != portable(content["evaluation"]):
        (folder / "ends" / f"{name}.json").unlink(missing_ok=True)


def _learned_on(folder: Path, name: str) -> dict[str, Any] | None:
    """The published encoder of that name, where published agents learned on it."""
    there = folder / "encoders" / f"{name}.json"
    if not there.is_file():
        return None
    known = _read(there, "encoders")
    if known.get("fingerprint") is None:
        return None
    agents = (folder / "agents").glob("*.json")
    return known if any(_read(path, "agents").get("encoder") == known["fingerprint"] for path in agents) else None


def command_of(scale_name: str, kind: str, settings: dict[str, Any]) -> str:
    """The command that computes a cell, beside what it needs."""
    program = f"python -m experiments.compare_agents --scale {scale_name} --task {settings['task']}"
    if kind == "encoders":
        arm = next(name for name, arm in ARMS.items() if arm.encoder == settings["encoder"])
        return f"{program} --arm {arm} --seeds {settings['seed']}"
    agent = f"{program} --arm {settings['arm']} --algorithm {settings['algorithm']} --seeds {settings['seed']}"
    return f"{agent} --ends" if kind == "ends" else agent


def _read(path: Path, kind: str) -> dict[str, Any]:
    content = dict(read_json(path, _SHAPES[kind], remedy=_REMEDY))
    if "curve_seconds" in content:  # agents from before it was measured have none
        windows = len(content["curve"])
        require(content, {"curve_seconds": many(number(0), windows)}, str(path), remedy=_REMEDY)
    later: dict[str, Shape] = {"updates": each(many(optional(number()))), "first_layer": each(number(0))}
    require(content, {key: shape for key, shape in later.items() if key in content}, str(path), remedy=_REMEDY)
    return content


def _study(
    scale_name: str,
    agents: Iterable[dict[str, Any]],
    encoders: Iterable[dict[str, Any]],
    ends: Iterable[dict[str, Any]],
) -> AgentStudy:
    tasks, arms = list(TASKS), list(ARMS)
    kinds = [UNTRAINED, *FOREIGN, *ENCODERS]
    algorithms = list(AGENT_SCALES[scale_name].algorithms)
    found = [_agent(content, scale_name) for content in agents]
    codes = [_encoder(content) for content in encoders]

    def place(agent: AgentResult | EpisodeEnds) -> tuple[int, ...]:
        return tasks.index(agent.task), algorithms.index(agent.algorithm), arms.index(agent.arm), agent.seed

    return AgentStudy(
        scale_name,
        sorted(found, key=place),
        sorted(codes, key=lambda code: (tasks.index(code.task), kinds.index(code.encoder), code.seed)),
        sorted((_ends(content) for content in ends), key=place),
    )


def _agent(content: dict[str, Any], scale_name: str) -> AgentResult:
    settings, evaluation = content["settings"], content["evaluation"]
    return AgentResult(
        task=settings["task"],
        arm=settings["arm"],
        algorithm=settings["algorithm"],
        seed=settings["seed"],
        steps=settings["steps"]
        or AGENT_SCALES[scale_name].algorithms[settings["algorithm"]].of(settings["task"]).steps,
        curve_seconds=content.get("curve_seconds", []),
        updates=content.get("updates", {}),
        first_layer=content.get("first_layer", {}),
        encoder=content.get("encoder"),
        curve=[(int(step), value, success, int(count)) for step, value, success, count in content["curve"]],
        returns={domain: part["returns"] for domain, part in evaluation.items()},
        successes={domain: part["successes"] for domain, part in evaluation.items()},
        seconds=content["seconds"],
        peak_memory_mb=content["peak_memory_mb"],
        replay_memory_mb=content.get("replay_memory_mb"),
        machine=content["machine"],
    )


def _ends(content: dict[str, Any]) -> EpisodeEnds:
    settings = content["settings"]
    who = {key: settings[key] for key in ("task", "arm", "algorithm", "seed")}
    return EpisodeEnds(**who, kinds=content["kinds"], machine=content["machine"])


def _encoder(content: dict[str, Any]) -> EncoderResult:
    objects = content["small_objects"]
    accuracies = list(objects["class_accuracy"].values())
    places = list(objects["position_r2"].values())
    return EncoderResult(
        task=content["task"],
        encoder=content["encoder"],
        seed=content["seed"],
        scores={
            **content["scores"],
            "position_r2": sum(places) / len(places),
            "class_accuracy": sum(accuracies) / len(accuracies) if accuracies else None,
        },
        position_r2=objects["position_r2"],
        linear_position_r2=objects["linear_position_r2"],
        units=(content.get("training") or {}).get("code_size"),
        fingerprint=content.get("fingerprint"),
        seconds=content["seconds"],
        machine=content["machine"],
    )
