"""Recordings of an environment under random actions, and encoders that are pretrained on them, for probes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rl.record import RecordConfig, record
from sparse_repr import FrozenEncoder, PretrainConfig, load_encoder, pretrain_encoder
from sparse_repr.data import FactorDataset, load_dataset
from sparse_repr.encoder.statistics import encode_dataset


def recordings(
    environment: str, folder: Path, frames: Mapping[str, tuple[int, int]], *, every: int, scale: float
) -> dict[str, FactorDataset]:
    """Record an environment under random actions, one file a part; what is there goes on.

    Args:
        environment: id, ``envs:...``.
        folder: of the files, PART.h5.
        frames: part -> how many frames, and the seed.
        every: of how many steps one is recorded.
        scale: share of the frames that is recorded.
    """
    data = {}
    for part, (count, seed) in frames.items():
        path = folder / f"{part}.h5"
        settings: dict[str, Any] = {"every": every, "envs": 4, "seed": seed, "resume": True, "progress": False}
        record(RecordConfig(environment, str(path), frames=round(scale * count), **settings))
        data[part] = load_dataset("h5", path)
    return data


def pretrained(folder: Path, name: str, seed: int, settings: Mapping[str, Any]) -> tuple[FrozenEncoder, float]:
    """An encoder that learned from the recording ``train`` of a folder on one thread, and the seconds it took.

    Args:
        folder: of the recordings; the run is kept there, and goes on where it was stopped.
        name: of the run.
        seed: of the run.
        settings: of `PretrainConfig`.
    """
    run = folder / f"{name}-{seed}"
    config = PretrainConfig(
        **{
            **settings,
            "dataset": "h5",
            "data_path": str(folder / "train.h5"),
            "run_dir": str(run),
            "resume": (run / "config.json").is_file(),
            "seed": seed,
            "device": "cpu",
            "threads": 1,
            "health_check": 0,
            "progress": False,
        }
    )
    started = time.process_time()
    encoder = load_encoder(pretrain_encoder(config))
    return encoder, time.process_time() - started


def every_arm(
    folder: Path,
    arms: Mapping[str, Mapping[str, Any]],
    seeds: Iterable[int],
    look: Callable[[FrozenEncoder], Mapping[str, Any]],
) -> dict[str, dict[str, dict[str, Any]]]:
    """Pretrain each arm with each seed, and look at the encoder.

    Args:
        folder: as `pretrained` has it.
        arms: name -> settings of `PretrainConfig`.
        seeds: of the runs.
        look: encoder -> what is told of it.

    Returns:
        Arm -> seed -> ``seconds`` of pretraining, and what `look` tells.
    """
    found: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in arms}
    for seed in seeds:
        for name, settings in arms.items():
            encoder, seconds = pretrained(folder, name, seed, settings)
            found[name][str(seed)] = {"seconds": seconds, **look(encoder)}
    return found


def codes_of(encoder: FrozenEncoder, data: Mapping[str, FactorDataset]) -> dict[str, npt.NDArray[np.float32]]:
    """Codes of every frame, part by part, (N, D)."""
    return {part: encode_dataset(encoder, frames, np.arange(len(frames))).mean for part, frames in data.items()}
