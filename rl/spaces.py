"""What an observation space tells about its images, checked against what an encoder takes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np

from sparse_repr import FrozenEncoder, load_encoder

ALONE = ""
"""The key under which an observation that is nothing but an image is held."""


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


def image_spaces(space: gym.Space[Any], image_keys: Sequence[str] | None, asker: str) -> dict[str, gym.Space[Any]]:
    """The spaces of the images by key, in the order of `image_keys`; `ALONE` is the key of a space that is no Dict.

    Raises:
        TypeError: a Dict without `image_keys`, or `image_keys` without a Dict.
        ValueError: a key that the Dict does not have.
    """
    if not isinstance(space, gym.spaces.Dict):
        if image_keys is not None:
            raise TypeError(f"{asker}: image_keys needs a Dict space, got {space}")
        return {ALONE: space}
    if not image_keys:
        raise TypeError(f"{asker}: a Dict space needs image_keys, some of {sorted(space)}")
    missing = sorted(set(image_keys) - set(space))
    if missing:
        raise ValueError(f"{asker}: image_keys {missing} are not in {sorted(space)}")
    return {key: space[key] for key in image_keys}


def is_picture(space: gym.Space[Any]) -> bool:
    """Whether a space may be one of pictures: of three or more axes, or of uint8 with two."""
    if not isinstance(space, gym.spaces.Box):
        return False
    return len(space.shape) >= 3 or (len(space.shape) == 2 and space.dtype == np.uint8)


def stacked_frames(shape: tuple[int, ...], encoder: FrozenEncoder) -> int:
    """How many pictures `shape` may be a stack of, as (k, H, W, C), (k * C, H, W) or (H, W, k * C); 0 for none."""
    channels, sizes = encoder.preprocessing.channels, encoder.preprocessing.sizes
    if len(shape) == 4:
        return shape[0]
    if len(shape) == 3:
        for planes, size in ((shape[0], shape[1:]), (shape[2], shape[:2])):
            if size in sizes and planes % channels == 0:
                return planes // channels
    return 0


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
        frames = stacked_frames(space.shape, encoder)
        remedy = (
            f" If these are {frames} stacked pictures, remove the stacking and give n_stack={frames}, which stacks "
            "their codes: pictures are not taken out of a stack, because colour channels look like one."
        )
        raise ValueError(f"{asker}: {error}{remedy if frames else ''}") from error
