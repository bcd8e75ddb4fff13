"""The cells of the study of agents: which encoder is trained on which frames, and which agent on what it shows.

An encoder cell is one (task, encoder, seed), trained on frames of the task's source domain that a random policy
recorded, or (`SECOND_ROUND`) a random policy and an agent that is another cell. An agent cell is one (task, arm,
algorithm, seed); it learns in the source domain, on the codes of the encoder of its own seed, so that the spread over
seeds is that of encoder and agent together.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.agents.arms import ARMS, CROPPED, ENCODERS, FOREIGN, SECOND_ROUND, UNTRAINED, Arm
from experiments.agents.scales import HIDDEN_WIDTHS, RANDOM_FRAMES, TEST_FRAMES, TRAIN_FRAMES, AgentScale, Algorithm
from experiments.agents.tasks import TASKS, Task
from sparse_repr.pretrain.config import PretrainConfig
from sparse_repr.registry import lookup


@dataclasses.dataclass(frozen=True)
class EncoderCell:
    """One (task, encoder, seed): its run folder."""

    task_name: str
    """Key of `TASKS`."""
    encoder: str
    """Key of `ENCODERS`, or `UNTRAINED`, or one of `FOREIGN`."""
    seed: int
    """Of its weights and its training."""
    folder: Path
    """Holds encoder.safetensors and, of a trained one, all of a run."""
    training: PretrainConfig | None
    """The run; None where nothing is trained."""
    initialisation: str
    """How the weights start, as in `PretrainConfig`."""
    frames: Mapping[str, Path]
    """The recordings `TRAIN_FRAMES` and `TEST_FRAMES`; where an agent records the first, also `RANDOM_FRAMES`."""
    metrics: str
    """Scores, as `sparse_repr.evaluate --metrics`."""
    image_items: int
    """Test frames that PSNR and SSIM are computed on."""
    threads: int
    """CPU threads."""
    recorded: AgentFrames | None = None
    """How `TRAIN_FRAMES` come about, where an agent records them; None: they are those of the task."""

    @property
    def name(self) -> str:
        """What the cell, and its folder, is called."""
        return self.folder.name

    @property
    def task(self) -> Task:
        """What its frames show."""
        return TASKS[self.task_name]

    @property
    def steps(self) -> int:
        """Optimisation steps."""
        return 0 if self.training is None else self.training.steps


@dataclasses.dataclass(frozen=True)
class AgentCell:
    """One (task, arm, algorithm, seed)."""

    task_name: str
    """Key of `TASKS`."""
    arm_name: str
    """Key of `ARMS`."""
    algorithm_name: str
    """ppo, sac or dqn."""
    seed: int
    """Of the agent, its environments and its encoder."""
    folder: Path
    """Holds the agent and what it reached."""
    algorithm: Algorithm
    """How it learns."""
    encoder_folder: Path | None
    """Run folder of its encoder; None for arms without one."""
    episodes: int
    """Of the evaluation in each domain."""
    threads: int
    """CPU threads."""

    @property
    def name(self) -> str:
        """What the cell, and its folder, is called."""
        return self.folder.name

    @property
    def task(self) -> Task:
        """What it plays."""
        return TASKS[self.task_name]

    @property
    def arm(self) -> Arm:
        """What it observes."""
        return ARMS[self.arm_name]

    @property
    def steps(self) -> int:
        """Environment steps that it learns from; none for the random policy."""
        return 0 if self.arm.observes == "nothing" else self.algorithm.steps

    def settings(self) -> dict[str, Any]:
        """All that decides the result but the encoder, as JSON content."""
        return {
            "task": self.task_name,
            "arm": self.arm_name,
            "algorithm": self.algorithm_name,
            "seed": self.seed,
            "steps": self.steps,
            "environments": self.algorithm.environments,
            "heads": HIDDEN_WIDTHS[self.algorithm_name],
            "episodes": self.episodes,
            **({} if self.arm.recode is None else {"recode": self.arm.recode}),
            **{name: value for name in ("times", "share", "rate") if (value := getattr(self.arm, name)) is not None},
            **({"crop": self.task.crop} if self.arm.cropped else {}),
            **({"n_stack": self.task.n_stack} if self.task.n_stack > 1 else {}),
            **({"scaled_rewards": True} if self.task.scaled_rewards else {}),
            **self.algorithm.settings,
            **({} if (rate := self.learning_rate()) is None else {"learning_rate": rate}),
        }

    def learning_rate(self) -> float | None:
        """The scale's, times that of its arm; None: the algorithm's own default."""
        usual = self.algorithm.settings.get("learning_rate")
        return usual if usual is None or self.arm.rate is None else usual * self.arm.rate


@dataclasses.dataclass(frozen=True)
class AgentFrames:
    """A recording that an agent makes of its task, for an encoder of the second round."""

    agent: AgentCell
    """Who records."""
    frames: int
    """As many as of the task's `TRAIN_FRAMES`."""
    every: int
    """Their spacing."""


def recording_of(out: Path, name: str, part: str) -> Path:
    """File of the recording of a task, or of an encoder of the second round, in the folder of a study."""
    return out / "frames" / f"{name}-{part}.h5"


def encoder_cell(
    scale: AgentScale, task_name: str, encoder: str, seed: int, out: Path, *, threads: int = 1
) -> EncoderCell:
    """The cell of an encoder.

    Args:
        scale: entry of `AGENT_SCALES`.
        task_name: key of `TASKS`.
        encoder: key of `ENCODERS`, or `UNTRAINED`, or one of `FOREIGN`.
        seed: of its weights and its training.
        out: folder of the study.
        threads: CPU threads; another number gives other bits.

    Raises:
        ValueError: an unknown name, with its close matches, or one of `CROPPED` for a task without a crop.
    """
    lookup(TASKS, task_name, "task")
    settings = lookup({**ENCODERS, **{name: {} for name in (UNTRAINED, *FOREIGN)}}, encoder, "encoder")
    folder = out / "encoders" / f"{task_name}-{encoder}-seed{seed}"
    frames = {part: recording_of(out, task_name, part) for part in (TRAIN_FRAMES, TEST_FRAMES)}
    recorded = None
    if encoder in CROPPED:
        _require_crop(encoder, task_name)
    if encoder in SECOND_ROUND:
        first = agent_cell(scale, task_name, SECOND_ROUND[encoder], "ppo", seed, out, threads=threads)
        recorded = AgentFrames(first, scale.frames[TRAIN_FRAMES], scale.spacing[TRAIN_FRAMES])
        frames[RANDOM_FRAMES] = frames[TRAIN_FRAMES]
        frames[TRAIN_FRAMES] = recording_of(out, folder.name, TRAIN_FRAMES)
    training = None
    if encoder in ENCODERS:
        training = PretrainConfig(
            **{
                **settings,
                **_of_scale(scale, task_name, encoder),
                **({"crop": TASKS[task_name].crop} if encoder in CROPPED else {}),
                "dataset": "h5",
                "data_path": str(frames[TRAIN_FRAMES]),
                "seed": seed,
                "device": scale.device,
                "threads": threads,
                "run_dir": str(folder),
                "progress": False,
            }
        )
    start = str(scale.pretraining.get("initialisation", "default"))
    return EncoderCell(
        task_name, encoder, seed, folder, training, start, frames, scale.metrics, scale.image_items, threads, recorded
    )


def _require_crop(name: str, task_name: str) -> None:
    if TASKS[task_name].crop is None:
        raise ValueError(f"{name} sees a part of the frames, and {task_name} names none (Task.crop): leave it out")


def _of_scale(scale: AgentScale, task_name: str, encoder: str) -> dict[str, Any]:
    """What a scale says of the training of an encoder."""
    if "keypoints" in ENCODERS[encoder]:
        return {"precision": scale.pretraining.get("precision", "auto"), **scale.keypoints}
    rise = round(scale.rise * scale.pretraining_steps[task_name])
    return {
        **scale.pretraining,
        **({"sparsity_warmup": rise} if rise and "sparsity_weight" in ENCODERS[encoder] else {}),
        **(scale.perceptual if "perceptual_weight" in ENCODERS[encoder] else {}),
        "steps": scale.pretraining_steps[task_name],
        "code_size": ENCODERS[encoder].get("code_size", TASKS[task_name].code_size),
        **(scale.predicted if encoder == "feature_prediction" else {}),
    }


def agent_cell(
    scale: AgentScale, task_name: str, arm_name: str, algorithm: str, seed: int, out: Path, *, threads: int = 1
) -> AgentCell:
    """The cell of an agent.

    Args:
        scale: entry of `AGENT_SCALES`.
        task_name: key of `TASKS`.
        arm_name: key of `ARMS`.
        algorithm: key of the scale's algorithms.
        seed: of the agent, its environments and its encoder.
        out: folder of the study.
        threads: CPU threads; another number gives other bits.

    Raises:
        ValueError: an unknown name, with its close matches, or an arm that sees a part of the frames for a task that
            names none.
    """
    lookup(TASKS, task_name, "task")
    arm = lookup(ARMS, arm_name, "arm")
    if arm.cropped:
        _require_crop(arm_name, task_name)
    learning = lookup(scale.algorithms, algorithm, "algorithm of this scale")
    folder = out / "agents" / f"{task_name}-{arm_name}-{algorithm}-seed{seed}"
    encoder = None
    if arm.encoder is not None:
        encoder = encoder_cell(scale, task_name, arm.encoder, seed, out, threads=threads).folder
    return AgentCell(
        task_name, arm_name, algorithm, seed, folder, learning.of(task_name), encoder, scale.episodes, threads
    )


def agent_cells(
    scale: AgentScale,
    out: Path,
    *,
    algorithms: Sequence[str] = (),
    tasks: Sequence[str] = (),
    arms: Sequence[str] = (),
    seeds: Sequence[int] = (),
    threads: int = 1,
) -> list[AgentCell]:
    """The agents to train, seed by seed, so that after each seed all arms can be compared.

    Args:
        scale: entry of `AGENT_SCALES`.
        out: folder of the study.
        algorithms: of the scale; by default all.
        tasks: keys of `TASKS`; by default those of each algorithm.
        arms: keys of `ARMS`; by default those of each algorithm.
        seeds: by default as many as the scale has.
        threads: CPU threads of each.

    Raises:
        ValueError: an unknown name, with its close matches.
    """
    # the random policy learns by none: it is every algorithm's, and called after the first one
    first = next(iter(scale.algorithms))
    wanted = dict.fromkeys(
        (seed, first if lookup(ARMS, arm, "arm").observes == "nothing" else algorithm, task, arm)
        for algorithm in algorithms or scale.algorithms
        for task in tasks or lookup(scale.algorithms, algorithm, "algorithm of this scale").tasks
        for arm in arms or scale.algorithms[algorithm].arms
        for seed in seeds or range(scale.seeds)
    )
    # sorted is stable: what belongs to a seed keeps its order
    return [
        agent_cell(scale, task, arm, algorithm, seed, out, threads=threads)
        for seed, algorithm, task, arm in sorted(wanted, key=lambda entry: entry[0])
    ]


def encoder_cells(scale: AgentScale, agents: Sequence[AgentCell], out: Path, *, threads: int = 1) -> list[EncoderCell]:
    """The encoders that some agents observe the codes of, in the order they are needed."""
    wanted = dict.fromkeys(
        (agent.task_name, agent.arm.encoder, agent.seed) for agent in agents if agent.arm.encoder is not None
    )
    return [encoder_cell(scale, task, encoder, seed, out, threads=threads) for task, encoder, seed in wanted]
