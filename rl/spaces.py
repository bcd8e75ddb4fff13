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


def require_uint8_images(space: gym.Space[Any], encoder: FrozenEncoder, asker: str) -> None:
    """Check that the observations are raw images the encoder takes.

    Raises:
        TypeError: not a Box of uint8.
        ValueError: a size or channel count the encoder was not trained on, stacks of pictures among them.
    """
    if not isinstance(space, gym.spaces.Box) or space.dtype != np.uint8:
        raise TypeError(f"{asker} needs a Box of uint8 images in 0..255, got {space}")
    try:
        encoder.preprocessing.layout_of(space.shape)
    except ValueError as error:
        raise ValueError(f"{asker}: {error}{_stack_remedy(space.shape, encoder)}") from error


def _stack_remedy(shape: tuple[int, ...], encoder: FrozenEncoder) -> str:
    """What to do where the shape is that of several pictures: (k, H, W, C), (k * C, H, W) or (H, W, k * C)."""
    channels, sizes = encoder.preprocessing.channels, encoder.preprocessing.sizes
    if len(shape) == 4:
        frames = shape[0]
    elif len(shape) == 3 and shape[1:] in sizes and shape[0] % channels == 0:
        frames = shape[0] // channels
    elif len(shape) == 3 and shape[:2] in sizes and shape[2] % channels == 0:
        frames = shape[2] // channels
    else:
        return ""
    return (
        f" If these are {frames} stacked pictures, remove the stacking and give n_stack={frames}, which stacks their "
        "codes: pictures are not taken out of a stack, because colour channels look like one."
    )
