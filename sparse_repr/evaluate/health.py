"""Whether the decoder of a finished or stopped run uses the code, and what kept it from doing so where it does not."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import torch

from sparse_repr.data import FactorDataset
from sparse_repr.encoder.code_use import some_training_images, use_of_code
from sparse_repr.encoder.preprocessing import Preprocessing
from sparse_repr.models import VAE, KeypointEncoder, presences_of
from sparse_repr.pretrain.config import PretrainConfig
from sparse_repr.pretrain.health import ignored_code_message, presence_message


def run_health(
    vae: VAE,
    preprocessing: Preprocessing,
    data: FactorDataset,
    settings: Mapping[str, Any],
    *,
    steps: int,
    device: torch.device | str = "cpu",
) -> dict[str, Any]:
    """The `health` part of metrics.json.

    Args:
        vae: of the run, moved to `device`.
        preprocessing: images as the network takes them.
        data: that the run was trained on.
        settings: content of the run's `config.json`, of any version.
        steps: that were taken.
        device: where to compute.

    Returns:
        The measures of `CodeUse` on 128 training images, None where one is undefined; of keypoints how many are
        present in an image; and the `warning`, None where there is nothing to warn of.
    """
    images = some_training_images(data, preprocessing, device)
    use = use_of_code(vae.to(device), images)
    presences = presences_of(vae.encoder, images) if isinstance(vae.encoder, KeypointEncoder) else None
    measures = {name: value if math.isfinite(value) else None for name, value in dataclasses.asdict(use).items()}
    fields = {field.name for field in dataclasses.fields(PretrainConfig)}
    try:
        config = PretrainConfig(**{name: value for name, value in settings.items() if name in fields})
        warning = ignored_code_message(config.to_json(), use, steps)
        if warning is None and presences is not None:
            warning = presence_message(config.to_json(), presences, steps)
    except (TypeError, ValueError):  # settings of an objective that is registered elsewhere, or of a later version
        warning = f"after {steps:,} steps the decoder ignores the code: {use.in_words()}" if use.ignored else None
    return {**measures, **({} if presences is None else {"present": presences.mean}), "warning": warning}
