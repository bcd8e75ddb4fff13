"""What an observation space tells about its images, checked against what an encoder takes."""

from __future__ import annotations

import os
from typing import Any

import gymnasium as gym
import numpy as np

from sparse_repr import FrozenEncoder, load_encoder


def as_encoder(encoder: FrozenEncoder | str | os.PathLike[str]) -> FrozenEncoder:
    """The encoder itself, or the one loaded from a run folder or artefact file.

    Raises:
        FileNotFoundError: the path does not exist; the message tells how an agent saved with a path is loaded.
        TypeError: neither an encoder nor a path.
    """
    if isinstance(encoder, FrozenEncoder):
        return encoder
    if not isinstance(encoder, str | os.PathLike):
        raise TypeError(f"encoder needs a FrozenEncoder or a path, got {type(encoder).__name__}")
    try:
        return load_encoder(encoder)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{error}. If an agent was saved with this path, load it with custom_objects="
            "{'policy_kwargs': {..., 'features_extractor_kwargs': {'encoder': load_encoder(NEW_PATH)}}}; "
            "agents built with encoder=load_encoder(...) carry the encoder in their zip"
        ) from error


def code_space(encoder: FrozenEncoder) -> gym.Space[Any]:
    """The space of codes: unbounded float32 (D,)."""
    return gym.spaces.Box(-np.inf, np.inf, (encoder.code_size,), np.float32)


def require_uint8_images(space: gym.Space, encoder: FrozenEncoder, asker: str) -> gym.spaces.Box:
    """The space, after checking that its observations are raw images the encoder takes.

    Raises:
        TypeError: not a Box of uint8.
        ValueError: a size or channel count the encoder was not trained on.
    """
    if isinstance(space, gym.spaces.Dict):
        raise TypeError(
            f"{asker} needs one image space, got a Dict with keys {sorted(space)}: select one of them first"
        )
    if not isinstance(space, gym.spaces.Box) or space.dtype != np.uint8:
        raise TypeError(f"{asker} needs a Box of uint8 images in 0..255, got {space}")
    try:
        encoder.preprocessing.layout_of(space.shape)
    except ValueError as error:
        raise ValueError(f"{asker}: {error}") from error
    return space
