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

from experiments.agents.arms import ARMS, ENCODERS, FOREIGN, SECOND_ROUND, UNTRAINED, Arm
from experiments.agents.tasks import SPRITES, TASKS, Task
from sparse_repr.pretrain.config import PretrainConfig
from sparse_repr.registry import lookup

TRAIN_FRAMES, TEST_FRAMES = "train", "test"
"""The two recordings of a task: what encoders learn from, and what they are scored on."""
RANDOM_FRAMES = "random"
"""What probes of an encoder of the second round learn from, `TRAIN_FRAMES` of the task, as those of all others do."""


@dataclasses.dataclass(frozen=True)
class Algorithm:
    """How agents learn; the same for every arm."""

    steps: int
    """Environment steps."""
    environments: int
    """Environments stepped together."""
    settings: Mapping[str, Any]
    """Arguments of the Stable-Baselines3 algorithm; all others are its defaults."""
    arms: tuple[str, ...]
    """Keys of `ARMS`."""
    tasks: tuple[str, ...]
    """Keys of `TASKS`."""
    of_tasks: Mapping[str, int] = dataclasses.field(default_factory=dict)
    """Task -> its environment steps, where they are others."""

    def of(self, task: str) -> Algorithm:
        """How agents learn a task."""
        return dataclasses.replace(self, steps=self.of_tasks.get(task, self.steps), of_tasks={})


@dataclasses.dataclass(frozen=True)
class AgentScale:
    """How long and how often everything is trained."""

    summary: str
    """What its results are called."""
    seeds: int
    """Of every arm; each has encoders of its own."""
    algorithms: Mapping[str, Algorithm]
    """ppo, and perhaps sac."""
    frames: Mapping[str, int]
    """Frames of the recordings `TRAIN_FRAMES` and `TEST_FRAMES`."""
    spacing: Mapping[str, int]
    """Of how many environment steps one is recorded. Within an episode neighbouring frames are nearly the same:
    encoders learn less from them, and a probe that has seen one need not read the other."""
    pretraining_steps: Mapping[str, int]
    """Task -> optimisation steps on its frames, of every encoder but those of keypoints."""
    pretraining: Mapping[str, Any]
    """Further settings of `PretrainConfig` for every encoder but those of keypoints, which take the precision alone."""
    perceptual: Mapping[str, Any]
    """Further ones of encoders that compare features."""
    predicted: Mapping[str, Any]
    """Further ones of encoders that predict features."""
    keypoints: Mapping[str, Any]
    """What differs from `KEYPOINT_RECIPES`."""
    metrics: str
    """Scores of encoders, as `sparse_repr.evaluate --metrics`."""
    image_items: int
    """Test frames that PSNR and SSIM are computed on."""
    episodes: int
    """Episodes of the evaluation in each domain."""
    device: str
    """As in `PretrainConfig`; agents learn on the CPU, which is faster for networks of this size."""


# Stable-Baselines3's defaults but for shorter rollouts of more environments, batches of 256 and 4 instead of 10 epochs,
# as is usual for pixels. Tuned for no arm.
_PPO: dict[str, Any] = {"n_steps": 128, "batch_size": 256, "n_epochs": 4}
# The entropy coefficient starts at 0.01. From its default of 1 entropy outweighs rewards of less than 0.1 a step: an
# agent on ground-truth factors had learned nothing after 20,000 steps, and from 0.01 succeeds after 2,000.
_SAC: dict[str, Any] = {
    "buffer_size": 100_000,
    "learning_starts": 1_000,
    "train_freq": 1,
    "gradient_steps": -1,
    "ent_coef": "auto_0.01",
}
HIDDEN_WIDTHS: dict[str, list[int]] = {"ppo": [64, 64], "sac": [256, 256]}
"""Algorithm -> widths of the dense layers of policy and value on top of what an arm observes, the same for all."""

# episodes have at most 100 steps: about one test frame of each; primes, so that no phase of an episode is left out
_SPACING = {TRAIN_FRAMES: 11, TEST_FRAMES: 53}
_FROZEN = tuple(name for name, arm in ARMS.items() if arm.plain)
# asked for by name at scale cpu, which they would take beyond its time
_BY_NAME = (
    *("sparse_4", "sparse_16", "feature_prediction", *FOREIGN),
    *("keypoints", "sparse_keypoints", "vae_denoised", "sparse_keypoints_denoised", *SECOND_ROUND),
)
_SCORES = "mig,aam,mig_histogram,modularity,dci_histogram,sap,linear_probe"

AGENT_SCALES = {
    "smoke": AgentScale(
        summary="a minute's test that everything runs: its numbers mean nothing",
        seeds=2,
        algorithms={
            "ppo": Algorithm(
                256,
                4,
                {"n_steps": 16, "batch_size": 32, "n_epochs": 1},
                ("random_policy", "factors", "pixels", "untrained", "vae", "vae_tuned"),
                ("SpriteReach",),
            )
        },
        frames={TRAIN_FRAMES: 600, TEST_FRAMES: 400},
        spacing={TRAIN_FRAMES: 2, TEST_FRAMES: 3},
        pretraining_steps=dict.fromkeys(TASKS, 20),
        pretraining={"batch_size": 16, "learning_rate": 1e-3, "precision": "float32"},
        perceptual={"perceptual_features": "dae", "dae_steps": 5},
        predicted={"feature_network": "dae", "dae_steps": 5},
        keypoints={"steps": 20, "batch_size": 16, "learning_rate_warmup": 5},
        metrics="mig_histogram,linear_probe",
        image_items=64,
        episodes=4,
        device="cpu",
    ),
    "cpu": AgentScale(
        summary="a short run on a CPU",
        seeds=5,
        algorithms={
            "ppo": Algorithm(
                102_400,
                16,
                _PPO,
                (
                    *("random_policy", "factors", "pixels"),
                    *(name for name in _FROZEN if name not in _BY_NAME),
                    *("vae_tuned", "sparse_tuned"),
                ),
                ("SpriteReach", "SpriteChase"),
            ),
            "sac": Algorithm(10_000, 8, _SAC, ("factors", "untrained", "vae", "beta_vae", "sparse"), ("SpriteReach",)),
        },
        frames={TRAIN_FRAMES: 50_000, TEST_FRAMES: 6_000},
        spacing=_SPACING,
        # five sprites in colour take longer than one in white
        pretraining_steps={**dict.fromkeys(TASKS, 6_000), "SpriteReach": 3_000},
        # the starting weights of the preset fast: the published ones stay on a plateau for thousands of steps
        pretraining={
            "batch_size": 64,
            "learning_rate": 1e-3,
            "initialisation": "he",
            "precision": "bf16",
        },
        perceptual={"perceptual_layers": "relu2_2", "perceptual_images": 16, "save_every": 200},
        # features of every image at each step: a third of the steps, of half of the images
        predicted={"steps": 2_000, "batch_size": 32},
        keypoints={},
        metrics=_SCORES,
        image_items=2_000,
        episodes=100,
        device="cpu",
    ),
    "public": AgentScale(
        summary="tasks that no one here wrote, on a CPU",
        seeds=5,
        algorithms={
            "ppo": Algorithm(
                102_400,
                16,
                _PPO,
                (
                    *("random_policy", "factors", "pixels", "untrained", "autoencoder", "vae", "beta_vae", "sparse"),
                    *("sparse_keypoints", "vae_expand", "sparse_expand"),
                ),
                ("VizDoomBasic", "DoorKey"),
                of_tasks={"LunarLander": 1_024_000, "Pong": 2_048_000},
            ),
        },
        frames={TRAIN_FRAMES: 10_000, TEST_FRAMES: 4_000},
        # what a user would wait for counts: few frames, not far apart
        spacing={TRAIN_FRAMES: 3, TEST_FRAMES: 7},
        # of seed 100, whose agents are not reported: after 600 steps a network reads everything that DoorKey shows
        pretraining_steps={**dict.fromkeys(TASKS, 3_000), "DoorKey": 600, "DoorKey8": 1_200},
        pretraining={"batch_size": 64, "learning_rate": 1e-3, "initialisation": "he", "precision": "bf16"},
        perceptual={"perceptual_layers": "relu2_2", "perceptual_images": 16, "save_every": 200},
        predicted={"steps": 2_000, "batch_size": 32},
        keypoints={},
        metrics="mig,aam,linear_probe",
        image_items=2_000,
        episodes=100,
        device="cpu",
    ),
    "gpu": AgentScale(
        summary="the full study",
        seeds=10,
        algorithms={
            "ppo": Algorithm(
                1_024_000,
                16,
                _PPO,
                # networks of others by name: on the CPU, where agents learn, a million codes of VGG16 take three hours
                tuple(name for name, arm in ARMS.items() if arm.encoder not in (*FOREIGN, *SECOND_ROUND)),
                SPRITES,
            ),
            "sac": Algorithm(
                100_000,
                8,
                _SAC,
                ("factors", *(name for name in _FROZEN if name not in (*FOREIGN, *SECOND_ROUND))),
                ("SpriteReach",),
            ),
        },
        frames={TRAIN_FRAMES: 100_000, TEST_FRAMES: 20_000},
        spacing=_SPACING,
        pretraining_steps=dict.fromkeys(TASKS, 50_000),
        pretraining={
            "batch_size": 64,
            "learning_rate": 1e-3,
            "initialisation": "he",
            "precision": "bf16",
        },
        perceptual={},
        predicted={},
        keypoints={},
        metrics=_SCORES,
        image_items=10_000,
        episodes=200,
        device="cuda",
    ),
}
"""Name -> scale."""


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
    """ppo or sac."""
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
            **({"n_stack": self.task.n_stack} if self.task.n_stack > 1 else {}),
            **({"scaled_rewards": True} if self.task.scaled_rewards else {}),
            **self.algorithm.settings,
        }


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
        ValueError: an unknown name, with its close matches.
    """
    lookup(TASKS, task_name, "task")
    settings = lookup({**ENCODERS, **{name: {} for name in (UNTRAINED, *FOREIGN)}}, encoder, "encoder")
    folder = out / "encoders" / f"{task_name}-{encoder}-seed{seed}"
    frames = {part: recording_of(out, task_name, part) for part in (TRAIN_FRAMES, TEST_FRAMES)}
    recorded = None
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


def _of_scale(scale: AgentScale, task_name: str, encoder: str) -> dict[str, Any]:
    """What a scale says of the training of an encoder."""
    if "keypoints" in ENCODERS[encoder]:
        return {"precision": scale.pretraining["precision"], **scale.keypoints}
    return {
        **scale.pretraining,
        **(scale.perceptual if "perceptual_weight" in ENCODERS[encoder] else {}),
        "steps": scale.pretraining_steps[task_name],
        "code_size": TASKS[task_name].code_size,
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
        ValueError: an unknown name, with its close matches.
    """
    lookup(TASKS, task_name, "task")
    arm = lookup(ARMS, arm_name, "arm")
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
    wanted = [
        (seed, algorithm, task, arm)
        for algorithm in algorithms or scale.algorithms
        for task in tasks or lookup(scale.algorithms, algorithm, "algorithm of this scale").tasks
        for arm in arms or scale.algorithms[algorithm].arms
        for seed in seeds or range(scale.seeds)
    ]
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
