"""The curve of one run: the step at which it leaves the mean picture, and its scores at some steps."""

from __future__ import annotations

import dataclasses
import time
from collections import deque
from collections.abc import Callable, Sequence
from statistics import fmean
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sparse_repr import PretrainConfig
from sparse_repr.data import FactorDataset
from sparse_repr.devices import cpu_threads
from sparse_repr.metrics import aam_score, active_units, mig_score, mutual_information_matrix, psnr, ssim
from sparse_repr.objectives import kl_divergence
from sparse_repr.objectives.reconstruction import bernoulli
from sparse_repr.pretrain.trainer import Trainer

LEFT = 0.85
"""A run has left the mean picture once its reconstruction loss is below this share of that picture's."""
_LOOK_EVERY = 20
_SLAB = 500


@dataclasses.dataclass(frozen=True)
class Items:
    """The items of a data set that curves are scored on, the same for every run."""

    scored: np.ndarray
    """(n,) int64, whose codes are scored."""
    shown: np.ndarray
    """(m,) int64, whose reconstructions are."""

    @classmethod
    def draw(cls, data: FactorDataset, *, scored: int, shown: int) -> Items:
        """Random items (seed 0), as many as there are at most."""
        order = np.random.default_rng(0).permutation(len(data))
        return cls(np.sort(order[:scored]), np.sort(order[-shown:]))


def measure_curve(
    config: PretrainConfig,
    data: FactorDataset,
    items: Items,
    checks: Sequence[int],
    *,
    until_left: bool = False,
    on_steps: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """Train on the CPU without a run folder, and score the run at some steps.

    Args:
        config: the run; its reconstruction loss is that of the pixels.
        data: with factors of known sizes.
        items: what is scored.
        checks: steps to score at, ascending.
        until_left: end at the step at which the run leaves the mean picture.
        on_steps: called with the number of steps taken since its last call.

    Returns:
        ``left_at`` (step, looked at every 20; None: never), ``mean_picture_nats``, ``steps``, ``cpu_s`` (of the steps
        alone) and ``points``, one per check: step, cpu_s, reconstruction_nats (mean of the last 20 batches), and what
        `score_network` returns.
    """
    config = config.resolve()
    left_at, points, cpu_s = None, [], 0.0
    recent: deque[float] = deque(maxlen=_LOOK_EVERY)
    with cpu_threads(config.threads):
        trainer = Trainer(config, data)
        trainer.prepare()
        trainer.objective.vae.train()
        still = mean_picture_nats(_network_images(trainer, data, items.shown))
        while trainer.step < config.steps:
            look = trainer.step + _LOOK_EVERY - trainer.step % _LOOK_EVERY
            due = min([look, config.steps, *(check for check in checks if check > trainer.step)])
            started = time.process_time()
            while trainer.step < due:
                recent.append(float(trainer.train_step()["reconstruction"]))
            cpu_s += time.process_time() - started
            if on_steps is not None:
                on_steps(trainer.step)
            if left_at is None and due == look and fmean(recent) < LEFT * still:
                left_at = trainer.step
                if until_left:
                    break
            if trainer.step in checks:
                scores = score_network(trainer, data, items)
                points.append({"step": trainer.step, "cpu_s": cpu_s, "reconstruction_nats": fmean(recent), **scores})
    return {
        "left_at": left_at,
        "mean_picture_nats": still,
        "steps": trainer.step,
        "cpu_s": cpu_s,
        "points": points,
    }


def mean_picture_nats(images: Tensor) -> float:
    """Bernoulli loss of the mean of images (n, C, S, S) in 0..1, drawn for each of them; nats per image."""
    mean = images.mean(0, keepdim=True).clamp(1e-4, 1 - 1e-4)
    return float(bernoulli(torch.logit(mean).expand_as(images), images).double().mean())


@torch.no_grad()
def score_network(trainer: Trainer, data: FactorDataset, items: Items) -> dict[str, float]:
    """PSNR and SSIM of reconstructions from the posterior mean; KL, active units, MIG and AAM of the codes."""
    vae = trainer.network
    images = _network_images(trainer, data, items.shown)
    pictures = torch.cat([torch.sigmoid(vae.decoder(vae.encoder(part).mean)) for part in images.split(_SLAB)])
    posteriors = [
        vae.encoder(_network_images(trainer, data, items.scored[start : start + _SLAB]))
        for start in range(0, len(items.scored), _SLAB)
    ]
    mean, log_variance = (torch.cat(parts).float() for parts in zip(*posteriors, strict=True))
    assert data.factors is not None
    matrix = mutual_information_matrix(mean.numpy(), log_variance.numpy(), data.factors[items.scored]).matrix
    return {
        "psnr_db": psnr(images, pictures, data_range=1.0),
        "ssim": float(np.mean(np.asarray(ssim(images, pictures, data_range=1.0)))),
        "kl_nats": float(kl_divergence(mean, log_variance).sum(1).double().mean()),
        "active_units": active_units(mean.numpy()),
        "mig": mig_score(matrix, np.log(data.factor_sizes)),
        "aam": aam_score(matrix),
    }


def _network_images(trainer: Trainer, data: FactorDataset, indices: np.ndarray) -> Tensor:
    pixels = torch.from_numpy(data.images(indices))
    return trainer.preprocessing(pixels).contiguous(memory_format=torch.channels_last)
