"""The scores of one run's pictures: reconstructions beside trivial ones."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from tqdm import tqdm

from sparse_repr.data import FactorDataset
from sparse_repr.data.base import IntArray
from sparse_repr.data.storage.resident import image_reader
from sparse_repr.encoder.preprocessing import Preprocessing
from sparse_repr.metrics import lpips, ssim
from sparse_repr.metrics.contrast import ContrastSums
from sparse_repr.metrics.image_quality import mean_squared_errors
from sparse_repr.metrics.lpips import default_weights_path
from sparse_repr.metrics.sharpness import laplacian_energy, sharpness_of
from sparse_repr.models import VAE

_MEAN_IMAGE_ITEMS = 10_000
_SLAB = 512


def image_scores(
    vae: VAE,
    preprocessing: Preprocessing,
    data: FactorDataset,
    *,
    image_items: int,
    lpips_items: int,
    device: torch.device,
    progress: bool = False,
) -> dict[str, Any]:
    """The `images` part of metrics.json: PSNR, SSIM, sharpness and contrast of reconstructions and trivial ones, LPIPS.

    Args:
        vae: the model; the posterior mean is decoded.
        preprocessing: images as the network takes them.
        data: the data set; train and held-out images are scored apart where it has both.
        image_items: number of fixed random images of each part.
        lpips_items: number of them, random ones again, that LPIPS is computed on.
        device: where to compute.
        progress: show a bar.

    Returns:
        Scores by part and candidate (model, black, mean_image), and the protocol in words; None for infinite values.
    """
    train, held_out = data.split
    read = image_reader(data, device)
    mean_image = _mean_image(preprocessing, read, train, device)
    vae = vae.to(device)
    parts = {"in_sample": train} if not len(held_out) else {"train": train, "held_out": held_out}
    counted = ", ".join(f"{name} {min(len(indices), image_items)}" for name, indices in parts.items())
    scores: dict[str, Any] = {"protocol": f"fixed random items ({counted}), decoded posterior mean, range 1"}
    has_weights = default_weights_path().is_file()
    with_lpips = lpips_items > 0 and has_weights and data.image_shape[0] in (1, 3)
    if with_lpips:
        scores["protocol"] += f"; LPIPS of at most {lpips_items} random ones of them"
    if lpips_items and not with_lpips:
        scores["protocol"] += "; no LPIPS (python -m sparse_repr.perceptual fetch)"
    for name, indices in parts.items():
        drawn = np.random.default_rng(0).permutation(indices)[:image_items]
        # sorted, they are read faster: what LPIPS sees is not to be the first of them
        judged, chosen = drawn[:lpips_items], np.sort(drawn)
        errors: dict[str, list[Tensor]] = {"model": [], "black": [], "mean_image": []}
        similarities = dict.fromkeys(errors, 0.0)
        energies, energy = dict.fromkeys(errors, 0.0), 0.0
        contrasts = {candidate: ContrastSums(mean_image) for candidate in errors}
        distance = 0.0
        bar = tqdm(total=len(chosen), desc=f"reconstructing {name}", unit="img", disable=not progress)
        with bar, torch.no_grad():
            for start in range(0, len(chosen), _SLAB):
                items = chosen[start : start + _SLAB]
                images = preprocessing(read(items))
                candidates = {
                    "model": torch.sigmoid(vae.decoder(vae.encoder(images).mean)),
                    "black": torch.zeros_like(images),
                    "mean_image": mean_image.expand_as(images),
                }
                energy += float(laplacian_energy(images).sum())
                for candidate, pictures in candidates.items():
                    energies[candidate] += float(laplacian_energy(pictures).sum())
                    contrasts[candidate].add(images, pictures)
                    errors[candidate].append(mean_squared_errors(images, pictures, data_range=1.0))
                    similarities[candidate] += ssim(images, pictures, data_range=1.0) * len(images)
                if with_lpips and len(seen := np.flatnonzero(np.isin(items, judged))):
                    distance += lpips(images[seen], candidates["model"][seen]) * len(seen)
                bar.update(len(images))
        scores[name] = {
            candidate: {
                **_quality(torch.cat(values), similarities[candidate] / len(chosen)),
                "laplacian_sharpness": _finite(sharpness_of(energies[candidate], energy)),
                "contrast_slope": _finite(contrasts[candidate].slope()),
            }
            for candidate, values in errors.items()
        }
        if with_lpips:
            scores[name]["model"]["lpips"] = distance / len(judged)
    return scores


def no_image_scores(objective: str) -> dict[str, Any]:
    """The `images` part of metrics.json of a run without a decoder: why it has no scores, in words.

    >>> no_image_scores("feature_prediction")
    {'protocol': 'no reconstructions: objective feature_prediction trains no decoder'}
    """
    return {"protocol": f"no reconstructions: objective {objective} trains no decoder"}


def _quality(errors: Tensor, similarity: float) -> dict[str, float | None]:
    """Entries of one candidate from its mean squared errors (n,), images in 0..1."""
    pooled = float(-10 * torch.log10(errors.mean()))
    return {
        "psnr_db": _finite(pooled),
        "psnr_range_255_db": _finite(pooled + 20 * math.log10(255)),
        "psnr_mean_of_images_db": _finite(float((-10 * torch.log10(errors)).mean())),
        "ssim": similarity,
        "mse": float(errors.mean()),
    }


def _mean_image(
    preprocessing: Preprocessing,
    read: Callable[[IntArray], Tensor],
    train: npt.NDArray[np.int64],
    device: torch.device,
) -> Tensor:
    """Mean of (at most 10,000 random) training images, (1, C, h, w)."""
    chosen = np.sort(np.random.default_rng(1).permutation(train)[:_MEAN_IMAGE_ITEMS])
    summing = torch.device("cpu") if device.type == "mps" else device  # MPS has no float64
    total = torch.zeros((1, preprocessing.channels, *preprocessing.network_size), dtype=torch.float64, device=summing)
    for start in range(0, len(chosen), _SLAB):
        images = preprocessing(read(chosen[start : start + _SLAB]))
        total += images.to(summing).double().sum(0, keepdim=True)
    return (total / len(chosen)).float().to(device)


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
