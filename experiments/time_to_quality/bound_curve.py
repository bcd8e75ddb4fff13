"""How the evidence bound of held-out frames grows as a run trains: a curve of points, kept beside the run's state."""

from __future__ import annotations

import bisect
import dataclasses
import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sparse_repr import PretrainConfig
from sparse_repr.data import FactorDataset
from sparse_repr.devices import cpu_threads
from sparse_repr.files import write_json
from sparse_repr.files.json_reader import Shape, many, number, read_json, whole
from sparse_repr.models import VAE
from sparse_repr.objectives import kl_divergence
from sparse_repr.objectives.reconstruction import bernoulli
from sparse_repr.pretrain.run_folder import locked_run_folder, open_run_folder, write_config
from sparse_repr.pretrain.trainer import Trainer

HELD_OUT_ITEMS = 2_000
"""Frames that the bound is averaged over."""
_SLAB = 64

Point = dict[str, float]
_POINT: Shape = {"step": whole(0), "images": whole(0), "bound_nats": number(), "cpu_s": number(0)}


def held_out_items(config: PretrainConfig, data: FactorDataset) -> npt.NDArray[np.int64]:
    """The last items of the first epoch's order: what a run of less than an epoch has not seen, (n,) int64."""
    train = data.split[0]
    order = train[np.random.default_rng((config.seed, 0)).permutation(len(train))]
    return np.sort(order[-HELD_OUT_ITEMS:])


@torch.no_grad()
def evidence_bound(vae: VAE, images: Tensor, autocast: torch.autocast) -> dict[str, float]:
    """The evidence lower bound of images (n, C, S, S) in 0..1, and its two parts, in nats per image.

    Bernoulli log-likelihood of one sample of the posterior, whose noise is the same at every call, minus the KL term;
    higher is better.
    """
    noise = torch.randn((len(images), vae.code_size), generator=torch.Generator().manual_seed(0))
    reconstruction, kl = 0.0, 0.0
    for start in range(0, len(images), _SLAB):
        part = images[start : start + _SLAB].contiguous(memory_format=torch.channels_last)
        with autocast:
            posterior, _, logits = vae(part, noise[start : start + _SLAB])
        reconstruction += float(bernoulli(logits, part).double().sum())
        kl += float(kl_divergence(*posterior).double().sum())
    count = len(images)
    return {
        "bound_nats": -(reconstruction + kl) / count,
        "reconstruction_nats": reconstruction / count,
        "kl_nats": kl / count,
    }


def train_with_curve(
    config: PretrainConfig,
    data: FactorDataset,
    *,
    every_images: int,
    finished: Callable[[list[Point]], bool] | None = None,
    on_point: Callable[[list[Point]], None] | None = None,
) -> list[Point]:
    """Train on the CPU as `pretrain_encoder` does, and measure the bound as the run goes.

    The points are kept in ``curve.json`` of the run's folder, with the state as of the last of them: the same call goes
    on there, and one whose points are complete returns them.

    Args:
        config: the run; with averaged weights the bound is theirs.
        data: the data set.
        every_images: training images between points, measured at the first step that reaches them.
        finished: told the points so far after each; True ends the run early.
        on_point: told the points so far after each.

    Returns:
        Points from step 0 on: step, images, bound_nats, reconstruction_nats, kl_nats, and cpu_s, the processor time of
        the training steps alone.

    Raises:
        ValueError: the run is long enough to train on what is held out, or its bound is no number.
    """
    config = dataclasses.replace(config, resume=(config.run_folder() / "config.json").is_file()).resolve()
    folder = config.run_folder()
    curve = folder / "curve.json"
    points: list[Point] = (
        read_json(curve, many(_POINT), remedy="remove it and its run") if config.resume and curve.is_file() else []
    )

    def ended() -> bool:
        return points[-1]["step"] >= config.steps or (finished is not None and finished(points))

    if points and ended():
        return points
    with cpu_threads(config.threads), locked_run_folder(folder):
        state: dict[str, Any] | None = open_run_folder(config)
        trainer = Trainer(config, data)
        _require_held_out(trainer)
        if state is not None and points:
            trainer.load_state(state)
            points = [point for point in points if point["step"] <= trainer.step]
        else:
            points = []
        write_config(config)
        items = held_out_items(config, data)
        held_out = trainer.preprocessing(torch.from_numpy(data.images(items)))

        def measure(cpu_s: float) -> None:
            bound = evidence_bound(evaluated_network(trainer), held_out, trainer.autocast)
            if not math.isfinite(bound["bound_nats"]):
                raise ValueError(f"{folder}: the bound became NaN or infinite at step {trainer.step}")
            points.append({"step": trainer.step, "images": images_taken(trainer), **bound, "cpu_s": cpu_s})
            trainer.save()
            write_json(curve, points)
            if on_point is not None:
                on_point(points)

        trainer.prepare()
        trainer.objective.vae.train()
        if not points:
            measure(0.0)
        cpu_s = points[-1]["cpu_s"]
        while not ended():
            due = (images_taken(trainer) // every_images + 1) * every_images
            started = time.process_time()
            while trainer.step < config.steps and images_taken(trainer) < due:
                trainer.train_step()
            cpu_s += time.process_time() - started
            measure(cpu_s)
        trainer.export()
    return points


def _require_held_out(trainer: Trainer) -> None:
    """Refuse a run that is long enough to train on what is held out of its first epoch."""
    sizes, train = trainer.batch_sizes.times(trainer.objective.batches), len(trainer.data.split[0])
    steps, most = trainer.config.steps, train - HELD_OUT_ITEMS
    if sizes.position(steps) > most:
        fits = bisect.bisect_right(range(steps), most, key=sizes.position) - 1
        raise ValueError(
            f"{trainer.folder}: {steps:,} steps take {sizes.position(steps):,} images, and {HELD_OUT_ITEMS:,} of the "
            f"{train:,} are held out of the first epoch alone; take {fits:,} steps at most"
        )


def images_taken(trainer: Trainer) -> int:
    """Training images of the steps so far."""
    return trainer.images_since(0)


def evaluated_network(trainer: Trainer) -> VAE:
    """The network whose bound is measured: what the run exports."""
    return trainer.network
