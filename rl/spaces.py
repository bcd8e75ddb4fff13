"""What an observation space tells about its images, checked against what an encoder takes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np

from sparse_repr import FrozenEncoder, load_encoder

PLAIN_IMAGE = ""
"""The key under which an observation that is nothing but an image is held."""


def as_encoder(encoder: FrozenEncoder | str | os.PathLike[str], *, in_policy: bool = False) -> FrozenEncoder:
    """The encoder itself, or the one loaded from a run folder or artefact file.

    Raises:
        FileNotFoundError: the path does not exist; `in_policy` the message tells how an agent saved with it is loaded.
        TypeError: neither an encoder nor a path.
    """
    if isinstance(encoder, FrozenEncoder):
        return encoder
    if not isinstance(encoder, str | os.PathLike):
        raise TypeError(f"encoder needs a FrozenEncoder or a path, got {type(encoder).__name__}")
    try:
        return load_encoder(encoder)
    except FileNotFoundError as error:
        if not in_policy:
            raise
        raise FileNotFoundError(
            f"{error}. If an agent was saved with this path, load it with "
            "custom_objects={'policy_kwargs': {**KWARGS, 'features_extractor_kwargs': {'encoder': "
            "load_encoder(NEW_PATH)}}}, where KWARGS are the policy_kwargs it "
            "was made with; agents built with encoder=load_encoder(...) carry the encoder in their zip"
        ) from error


def require_keys(image_keys: Sequence[str] | None, caller: str = "") -> None:
    """Check that keys are several, and not the letters of one.

    Raises:
        TypeError: one string; the message begins with `caller`.
    """
    if isinstance(image_keys, str):
        raise TypeError(f"{caller}image_keys needs a sequence of keys, got the string {image_keys!r}: put it in a list")


def image_spaces(space: gym.Space[Any], image_keys: Sequence[str] | None, caller: str) -> dict[str, gym.Space[Any]]:
    """The spaces of the images by key, in the order of `image_keys`; one that is no Dict has the key `PLAIN_IMAGE`.

    Raises:
        TypeError: a Dict without `image_keys`, `image_keys` without a Dict, or one string.
        ValueError: a key that the Dict does not have.
    """
    require_keys(image_keys, f"{caller}: ")
    if not isinstance(space, gym.spaces.Dict):
        if image_keys is not None:
            raise TypeError(f"{caller}: image_keys needs a Dict space, got {space}")
        return {PLAIN_IMAGE: space}
    if not image_keys:
        raise TypeError(f"{caller}: a Dict space needs image_keys, some of {sorted(space)}")
    missing = sorted(set(image_keys) - set(space))
    if missing:
        raise ValueError(f"{caller}: image_keys {missing} are not in {sorted(space)}")
    return {key: space[key] for key in image_keys}


def is_image_space(space: gym.Space[Any]) -> bool:
    """Whether a space may be one of images: of three or more axes, or of uint8 with two."""
    if not isinstance(space, gym.spaces.Box):
        return False
    return len(space.shape) >= 3 or (len(space.shape) == 2 and space.dtype == np.uint8)


def frame_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """That of the one image in a stack of one, (1, H, W, C), as ALE's vector environments show it; else `shape`."""
    return shape[1:] if len(shape) == 4 and shape[0] == 1 else shape


def stacked_frames(shape: tuple[int, ...], encoder: FrozenEncoder) -> int:
    """How many pictures `shape` may be a stack of, as (k, H, W, C), (k * C, H, W) or (H, W, k * C); 0 for none."""
    if len(shape) == 4:
        return shape[0]
    if len(shape) != 3:
        return 0
    frames, rest = divmod(min(shape[0], shape[2]), encoder.preprocessing.channels)
    return frames if frames > 1 and not rest else 0


def require_uint8_images(
    space: gym.Space[Any], encoder: FrozenEncoder, caller: str, *, n_stack: int = 1, in_dict: bool = False
) -> None:
    """Check that the observations are raw images the encoder takes; `n_stack` codes are to be stacked.

    Raises:
        TypeError: not a Box of uint8.
        ValueError: a size or channel count the encoder was not trained on, stacks of pictures among them, or bounds
            that say 0..1.
    """
    if not isinstance(space, gym.spaces.Box) or space.dtype != np.uint8:
        raise TypeError(f"{caller} needs a Box of uint8 images in 0..255, got {space}{_remedy_of_type(space, in_dict)}")
    if space.high.max() <= 1:
        raise ValueError(
            f"{caller} needs uint8 images in 0..255, got {space}, whose pixels would all be black: leave out what "
            "rescales them (gymnasium.wrappers.RescaleObservation), or multiply by 255"
        )
    shape = frame_shape(space.shape)
    if encoder.preprocessing.find_layout(shape) is None:
        frames = stacked_frames(shape, encoder)
        stacking = f": n_stack={frames}" if n_stack == frames else f" and give n_stack={frames}, which"
        remedy = (
            f" If these are {frames} stacked pictures, remove the stacking{stacking} stacks their codes: pictures are "
            "not taken out of a stack, because colour channels look like one."
        )
        raise ValueError(f"{caller}: {unfit(shape, encoder, in_dict=in_dict)}{remedy if frames else ''}")


def _remedy_of_type(space: gym.Space[Any], in_dict: bool) -> str:
    if not isinstance(space, gym.spaces.Box):
        return ""
    wanted = f"gymnasium.spaces.Box(0, 255, {space.shape}, np.uint8)"
    if in_dict:
        return f": make them {wanted} (gymnasium.wrappers.TransformObservation, whose function sees the whole Dict)"
    if space.low.min() == 0 and space.high.max() == 255:
        return ": convert them to uint8 (gymnasium.wrappers.DtypeObservation(env, np.uint8))"
    return (
        ": leave out what scales them (RescaleObservation, scale_obs), or make them uint8 in 0..255 "
        f"(gymnasium.wrappers.TransformObservation(env, f, {wanted}))"
    )


def unfit(shape: tuple[int, ...], encoder: FrozenEncoder, *, in_dict: bool = False) -> str:
    """Why images of `shape` are not what the encoder takes, and the wrapper that mends it."""
    return f"{encoder.preprocessing.mismatch(shape)}.{remedy_of(shape, encoder, in_dict=in_dict)}"


def remedy_of(shape: tuple[int, ...], encoder: FrozenEncoder, *, in_dict: bool = False) -> str:
    """The wrapper of each environment that turns images of `shape` into those that the encoder takes, as a sentence."""
    channels, (height, width) = encoder.preprocessing.channels, encoder.preprocessing.source_size
    planes = {shape[0], shape[2]} if len(shape) == 3 else {1} if len(shape) == 2 else set()
    last = "" if len(shape) != 3 or shape[2] in (1, 3) else " after the channels were moved last"

    def by(wrapper: str) -> str:
        # Gymnasium's wrappers of images take no Dict
        return (
            f"gymnasium.wrappers.{'TransformObservation, whose function sees the whole Dict' if in_dict else wrapper}"
        )

    if channels == 1 and 3 in planes:
        return f" Convert to grey first ({by('GrayscaleObservation(env, keep_dim=True)')}{last})."
    if channels == 3 and 1 in planes:
        return " The encoder was trained on colour images; pretrain one on grey images instead."
    if len(shape) == 2:
        return f" Add the channel axis ({by(f'ReshapeObservation(env, {(*shape, 1)})')})."
    if channels in planes:
        return (
            f" Resize the observation to {height}x{width} ({by(f'ResizeObservation(env, {(height, width)})')}{last}; "
            "it needs opencv-python), or pretrain on images of your size."
        )
    return ""


def require_named(
    others: Mapping[str, gym.Space[Any]], image_keys: Sequence[str] | None, raw_keys: Sequence[str], name: str
) -> None:
    """Check that no picture becomes a feature per pixel unless it was asked for.

    Args:
        others: what is not encoded, by its key.
        image_keys: what is.
        raw_keys: what may be pictures or grids all the same.
        name: the class that is checked, for errors.

    Raises:
        TypeError: a picture is in neither list.
        ValueError: `raw_keys` is no list of keys of `others`.
    """
    if isinstance(raw_keys, str) or not set(raw_keys) <= others.keys():
        raise ValueError(
            f"{name}: raw_keys needs a list of keys that are not in image_keys, some of {sorted(others)}, got "
            f"{raw_keys!r}"
        )
    for key, space in others.items():
        if key not in raw_keys and is_image_space(space):
            encoded, raw = [*(image_keys or ()), key], [*raw_keys, key]
            before = (
                f"custom_objects={{'policy_kwargs': {{..., 'features_extractor_kwargs': {{..., 'raw_keys': {raw}}}}}}}"
            )
            wrapped = "" if name == "LatentExtractor" else " of the wrapper"
            raise TypeError(
                f"{name}: observation {key!r} is a picture, {space}, and would become "
                f"{gym.spaces.utils.flatdim(space):,} raw features: encode it with image_keys={encoded}{wrapped}, "
                f"remove it with FilterObservation, or take its values as they are with raw_keys={raw}. An agent that "
                f"was trained on them is loaded with {before}"
            )
