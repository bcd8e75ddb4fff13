"""Encoders of keypoints, as tests ask for other ones."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch

from sparse_repr import FrozenEncoder, untrained_encoder
from sparse_repr.data.base import ArrayImages, FactorDataset
from sparse_repr.encoder import Preprocessing
from sparse_repr.encoder.statistics import unit_statistics
from sparse_repr.models import ARCHITECTURES, VAE, build_vae


def keypoint_vae(keypoints: int = 4, *, channels: int = 3, size: int = 64) -> VAE:
    """One whose weights depend on nothing but the arguments, with presences between all and nothing."""
    vae = build_vae("keypoints", {"channels": channels, "size": size, "code_size": 3 * keypoints}, seed=0)
    with torch.no_grad():
        for name, parameter in vae.encoder.named_parameters():
            if name.endswith("weight"):
                parameter.mul_(3)
    return vae


def make_keypoint_encoder(keypoints: int = 4, *, channels: int = 3, size: int = 64) -> FrozenEncoder:
    """The encoder of `keypoint_vae` as an artefact, with the statistics of its codes of noise."""
    network = keypoint_vae(keypoints, channels=channels, size=size).encoder
    noise: Any = np.random.default_rng(0).integers(0, 256, (40, channels, size, size), np.uint8)
    data = FactorDataset("noise", ArrayImages(noise), "drawn")
    spec = dataclasses.replace(
        untrained_encoder(channels, code_size=3 * keypoints).spec,
        architecture="keypoints",
        arguments={"channels": channels, "size": size, "code_size": 3 * keypoints},
        preprocessing=Preprocessing(channels, (size, size), (size, size)),
        posterior=ARCHITECTURES["keypoints"].posterior,
    )
    untold = FrozenEncoder(spec, network.state_dict())
    # on noise alone untrained keypoints hardly move
    units = dataclasses.replace(unit_statistics(untold, data), active=(True,) * 3 * keypoints)
    return FrozenEncoder(dataclasses.replace(spec, units=units), network.state_dict())
