"""How long and how often the study of agents trains everything, at each of its scales."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from experiments.agents.arms import ARMS, CROPPED, FOREIGN, PRICES, SECOND_ROUND
from experiments.agents.tasks import SPRITES, TASKS
from experiments.measure.kinds import KINDS

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
    """ppo, and perhaps sac or dqn."""
    frames: Mapping[str, int]
    """Frames of the recordings `TRAIN_FRAMES` and `TEST_FRAMES`."""
    spacing: Mapping[str, int]
    """Of how many environment steps one is recorded. Within an episode neighbouring frames are nearly the same:
    encoders learn less from them, and a probe that has seen one need not read the other."""
    pretraining_steps: Mapping[str, int]
    """Task -> optimisation steps on its frames, of every encoder but those of keypoints."""
    pretraining: Mapping[str, Any]
    """Further settings of `PretrainConfig` for every encoder but those of keypoints, which take the precision alone."""
    rise: float
    """Share of pretraining in which an L1 penalty rises to its weight."""
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
# A batch per four environment steps, as Mnih et al. 2015 have it. Their runs are hundreds of times as long: these begin
# to learn and renew the target sooner, and explore for half of their steps. Looked at on DoorKey's ground truth with
# seed 100 alone: with the default discount of 0.99 it learned while it explored and unlearned that when it acted
# greedily, since a step more or less is hardly worth anything.
_DQN: dict[str, Any] = {
    "buffer_size": 50_000,
    "learning_starts": 1_000,
    "train_freq": 1,
    "gradient_steps": 2,
    "target_update_interval": 1_000,
    "exploration_fraction": 0.5,
    "learning_rate": 6.3e-4,
    "batch_size": 64,
    "gamma": 0.95,
}
HIDDEN_WIDTHS: dict[str, list[int]] = {"ppo": [64, 64], "sac": [256, 256], "dqn": [64, 64]}
"""Algorithm -> widths of the dense layers of policy and value on top of what an arm observes, the same for all."""

# episodes have at most 100 steps: about one test frame of each; primes, so that no phase of an episode is left out
_SPACING = {TRAIN_FRAMES: 11, TEST_FRAMES: 53}
_FROZEN = tuple(name for name, arm in ARMS.items() if arm.plain)
_PRICED = tuple(f"sparse_keypoints_{name}" for name in PRICES)
# asked for by name at scale cpu, which they would take beyond its time
_BY_NAME = (
    *("sparse_4", "sparse_16", "feature_prediction", *FOREIGN),
    *(
        "keypoints",
        "sparse_keypoints",
        "sparse_keypoints_looks",
        "few_sparse_keypoints",
        *CROPPED,
        *_PRICED,
        "vae_denoised",
        "sparse_keypoints_denoised",
        "vae_robust",
        "sparse_keypoints_robust",
        *SECOND_ROUND,
    ),
    *KINDS,
)
# what has a study of its own, or codes that take hours where agents learn: by name at scale gpu
_NOT_AT_FULL = (*FOREIGN, *SECOND_ROUND, *KINDS, *_PRICED)
_SCORES = "mig,aam,mig_histogram,modularity,dci_histogram,sap,linear_probe"
# the starting weights of the preset fast: the published ones stay on a plateau for thousands of steps
_PRETRAINING = {"batch_size": 64, "learning_rate": 1e-3, "initialisation": "he"}
# five sprites in colour take longer than one in white
_STEPS_OF_SPRITES = {**dict.fromkeys(TASKS, 6_000), "SpriteReach": 3_000}
_SHORT_PERCEPTUAL = {"perceptual_layers": "relu2_2", "perceptual_images": 16, "save_every": 200}
# features of every image at each step: a third of the steps, of half of the images
_SHORT_PREDICTED = {"steps": 2_000, "batch_size": 32}

_CPU = AgentScale(
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
    pretraining_steps=_STEPS_OF_SPRITES,
    pretraining=_PRETRAINING,
    rise=0.0,
    perceptual=_SHORT_PERCEPTUAL,
    predicted=_SHORT_PREDICTED,
    keypoints={},
    metrics=_SCORES,
    image_items=2_000,
    episodes=100,
    device="cpu",
)

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
        rise=0.0,
        perceptual={"perceptual_features": "dae", "dae_steps": 5},
        predicted={"feature_network": "dae", "dae_steps": 5},
        keypoints={"steps": 20, "batch_size": 16, "learning_rate_warmup": 5},
        metrics="mig_histogram,linear_probe",
        image_items=64,
        episodes=4,
        device="cpu",
    ),
    "cpu": _CPU,
    "kinds": dataclasses.replace(
        _CPU,
        summary="what each kind of sparsity buys, on a CPU",
        algorithms={
            "ppo": Algorithm(
                102_400,
                16,
                _PPO,
                (
                    *("random_policy", "factors", "vae"),
                    *(name for name in _FROZEN if name in KINDS),
                    *("vae_expand", "vae_cosine", "vae_project", "vae_dictionary"),
                    *(f"{name}_expand" for name in KINDS),
                ),
                ("SpriteReach",),
            ),
            "sac": Algorithm(
                10_000, 8, _SAC, ("factors", "vae", *(name for name in _FROZEN if name in KINDS)), ("SpriteReach",)
            ),
        },
        metrics="linear_probe",
    ),
    "doses": dataclasses.replace(
        _CPU,
        summary="how much expansion, which learning rate and which price, on a CPU",
        seeds=3,
        algorithms={
            "ppo": Algorithm(
                102_400,
                16,
                _PPO,
                (
                    *("random_policy", "factors", "pixels", "vae", "vae_expand"),
                    *(name for name, arm in ARMS.items() if arm.dosed and not arm.sees_part),
                    *("keypoints", "sparse_keypoints", *_PRICED),
                ),
                ("SpriteReach", "SpriteChase"),
            ),
        },
    ),
    "pose": dataclasses.replace(
        _CPU,
        summary="the task in which size and angle count, on a CPU",
        algorithms={
            "ppo": Algorithm(
                102_400,
                16,
                _PPO,
                (
                    *("random_policy", "factors", "pixels", "vae", "vae_expand"),
                    *("sparse_keypoints", "sparse_keypoints_looks"),
                ),
                ("SpritePose",),
            ),
        },
    ),
    "million": dataclasses.replace(
        _CPU,
        summary="ten times as many steps of learning, on a CPU",
        seeds=3,
        algorithms={
            "ppo": Algorithm(
                1_024_000,
                16,
                _PPO,
                ("random_policy", "factors", "pixels", "sparse_keypoints", "vae_expand"),
                ("SpriteChase",),
            ),
        },
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
                of_tasks={"DoorKey6": 307_200, "LunarLander": 1_024_000, "Pong": 2_048_000, "Breakout": 2_048_000},
            ),
            "dqn": Algorithm(
                51_200,
                8,
                _DQN,
                ("random_policy", "factors", "pixels", "vae_expand"),
                ("VizDoomBasic", "DoorKey"),
            ),
        },
        frames={TRAIN_FRAMES: 10_000, TEST_FRAMES: 4_000},
        # what a user would wait for counts: few frames, not far apart
        spacing={TRAIN_FRAMES: 3, TEST_FRAMES: 7},
        # of seed 100, whose agents are not reported: after 600 steps a network reads everything that DoorKey shows
        pretraining_steps={**dict.fromkeys(TASKS, 3_000), "DoorKey": 600, "DoorKey6": 1_200, "DoorKey8": 1_200},
        pretraining=_PRETRAINING,
        # of seed 100: where the penalty is whole from the start, or after 300 of 600 steps, it leaves no active unit
        rise=1.0,
        perceptual=_SHORT_PERCEPTUAL,
        predicted=_SHORT_PREDICTED,
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
                # on the CPU, where agents learn, a million codes of VGG16 take three hours
                tuple(
                    name
                    for name, arm in ARMS.items()
                    if arm.encoder not in _NOT_AT_FULL and not (arm.dosed or arm.sees_part)
                ),
                SPRITES,
            ),
            "sac": Algorithm(
                100_000,
                8,
                _SAC,
                ("factors", *(name for name in _FROZEN if name not in _NOT_AT_FULL and not ARMS[name].sees_part)),
                ("SpriteReach",),
            ),
        },
        frames={TRAIN_FRAMES: 100_000, TEST_FRAMES: 20_000},
        spacing=_SPACING,
        pretraining_steps=dict.fromkeys(TASKS, 50_000),
        pretraining=_PRETRAINING,
        rise=0.0,
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
