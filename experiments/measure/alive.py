"""`python -m experiments.measure.alive`: do runs that stay on their plateau get the warning, and no other ones?

Every arm is trained at 32x32 with batches of 32 for 500 steps per seed, and looked at after 250 and 500 of them.
"""

from __future__ import annotations

import dataclasses
import shlex
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # type: ignore[import-untyped]

from experiments.measure.machine import machine_facts
from sparse_repr import PretrainConfig, pretrain_encoder
from sparse_repr.command_line.running import parse_options, run_command
from sparse_repr.encoder.collapse import IgnoredCodeWarning
from sparse_repr.files import write_json

_COMMON: dict[str, Any] = {
    "image_size": 32,
    "batch_size": 32,
    "steps": 500,
    "health_check": 250,
    "log_every": 500,
    "save_every": 500,
    "picture_every": 10_000,
    "threads": 1,
    "device": "cpu",
    "precision": "float32",
    "progress": False,
}
_QUICK: dict[str, Any] = {"initialisation": "he", "learning_rate": 1e-3}
_FEATURES: dict[str, Any] = {"pixel_weight": 0.0, "perceptual_weight": 1.0}
ARMS: dict[str, tuple[dict[str, Any], int]] = {
    "VAE, he start, learning rate 1e-3": ({"objective": "vae", **_QUICK}, 20),
    "VAE, published start": ({"objective": "vae"}, 3),
    "L1 weight 100, he start, learning rate 1e-3": ({"objective": "sparse", "sparsity_weight": 100.0, **_QUICK}, 3),
    "perceptual alone at 64x64, published start": (
        {"objective": "vae", **_FEATURES, "image_size": 64, "batch_size": 8},
        1,
    ),
}
"""Arm -> settings beside the common ones, and how many seeds."""


@dataclasses.dataclass(frozen=True)
class AliveConfig:
    """What to measure."""

    out: str = "experiments/results/alive"
    """Folder of alive.json."""
    seeds: int | None = None
    """Seeds of every arm; by default each has its own number."""


def spreads_of(settings: dict[str, Any], seed: int) -> dict[str, Any]:
    """One run: the spread of its reconstructions at its looks, its active units, and whether it was warned of."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        started = time.perf_counter()
        run = pretrain_encoder(PretrainConfig(**{**_COMMON, **settings}, seed=seed, run_dir=str(Path(folder) / "run")))
        seconds = time.perf_counter() - started
        events = EventAccumulator(str(run))
        events.Reload()
        found = {
            name: {str(event.step): event.value for event in events.Scalars(f"health/{name}")}
            for name in ("spread", "error", "active_units")
        }
    warned = sum(issubclass(one.category, IgnoredCodeWarning) for one in told)
    return {"seed": seed, "warnings": warned, **found, "seconds": round(seconds, 1)}


def measure(config: AliveConfig) -> None:
    """Train the arms and write `alive.json`, anew after each."""
    torch.set_num_threads(1)
    command = shlex.join(["python", "-m", "experiments.measure.alive", *sys.argv[1:]])
    arms: dict[str, Any] = {}
    for name, (settings, seeds) in ARMS.items():
        runs = [spreads_of(settings, seed) for seed in range(config.seeds or seeds)]
        arms[name] = {"settings": settings, "runs": runs}
        content = {"command": command, "common": _COMMON, "machine": machine_facts(), "arms": arms}
        write_json(Path(config.out) / "alive.json", content)
        warned = sum(run["warnings"] > 0 for run in runs)
        print(f"{name}: {warned} of {len(runs)} runs warned", flush=True)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    return run_command(
        lambda: measure(
            parse_options(AliveConfig, arguments, program="python -m experiments.measure.alive", description=__doc__)
        )
    )


if __name__ == "__main__":
    sys.exit(main())
