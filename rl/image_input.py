"""What Stable-Baselines3 hands to a features extractor, turned back into the uint8 frames it came from."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from rl.pixel_range import PixelRange
from rl.spaces import frame_shape, remedy_of, stacked_frames, unfit
from sparse_repr import FrozenEncoder


class ImageInput:
    """The images of one space: their range and layout are worked out once, from the space."""

    def __init__(
        self,
        space: gym.Space,
        encoder: FrozenEncoder,
        *,
        n_stack: int = 1,
        images_in_0_1: bool | None = None,
        name: str = "the observation",
        in_dict: bool = False,
    ) -> None:
        """Check the space against the encoder.

        Args:
            space: a Box of one image, or of `n_stack` images stacked along the channels or along a first axis.
            encoder: what the frames must fit.
            n_stack: frames per observation.
            images_in_0_1: what reaches the extractor, where SB3 does not tell: True for 0..1, False for 0..255.
            name: how errors call the space.
            in_dict: whether it is one of a Dict, which Gymnasium's wrappers of images do not take.

        Raises:
            TypeError: not a Box.
            ValueError: size, channels or range do not fit; the message says what to do.
        """
        if not isinstance(space, gym.spaces.Box):
            raise TypeError(f"LatentExtractor needs {name} to be a Box of images, got {space}")
        self.n_stack = n_stack
        self._name = name
        self._frame_shape, self._order = _split_stack(space.shape, encoder, n_stack, name, in_dict)
        self._scaled = _expects_0_1(space, images_in_0_1, name, self._frame_shape, in_dict)
        self._checked = False
        self._range = PixelRange(
            f"LatentExtractor: {name}",
            "multiply them by 255 in the environment"
            if self._scaled
            else "give features_extractor_kwargs images_in_0_1=True",
        )

    def frames(self, observations: Tensor) -> Tensor:
        """Float or uint8 observations (B, ...) -> uint8 frames (B * n_stack, C, H, W) or (B * n_stack, H, W, C).

        Raises:
            ValueError: the values contradict the expected range; the message says what to do. Checked until a batch
                shows that they fit: a black image fits every range.
        """
        images = self._unscaled(observations)
        if not (self._range.settled or torch.compiler.is_exporting()):
            self._range.see(images)
        if self._order is None:
            return images
        split = images.reshape(images.shape[0], *self._order[0])
        return split.permute(0, *self._order[1]).reshape(-1, *self._frame_shape)

    def _unscaled(self, observations: Tensor) -> Tensor:
        if observations.dtype == torch.uint8 and not self._scaled:
            return observations
        # an exported graph cannot ask its values
        if not (self._checked or torch.compiler.is_exporting()):
            self._checked = self._fits(observations)
        # Rounded by cutting off after adding a half, in as few passes over the pixels as can be; exact for all 256
        # values: SB3's x / 255 is off by less than half a level.
        half = observations.new_full((), 0.5)
        return torch.add(half, observations, alpha=255 if self._scaled else 1).clamp_(0, 255).to(torch.uint8)

    def _fits(self, observations: Tensor) -> bool:
        """Whether the values show that they are in the expected range; False: they could be in either."""
        if not observations.numel():
            return False
        low, high = (float(end) for end in torch.aminmax(observations))
        if low < 0:
            raise ValueError(f"LatentExtractor: {self._name} is in {low:g}..{high:g}; {_NORMALISED}")
        # negated, so that NaN is refused too
        if self._scaled:
            if not (low >= 0 and high <= 1 + 1e-6):
                raise ValueError(
                    f"LatentExtractor: {self._name} should be in 0..1 here but is in {low:g}..{high:g}; "
                    "with normalize_images=False give features_extractor_kwargs images_in_0_1=False"
                )
            return high > 0 and not _whole(observations)
        if not (low >= 0 and high <= 255) or (high <= 1 and not _whole(observations)):
            raise ValueError(
                f"LatentExtractor: {self._name} should be in 0..255 here but is in {low:g}..{high:g}; "
                "give features_extractor_kwargs images_in_0_1=True"
            )
        return high > 1


def _whole(values: Tensor) -> bool:
    return bool((values == values.round()).all())


_NORMALISED = (
    "no picture has negative values: if VecNormalize is around the environment, leave its observations as they are, "
    "norm_obs=False, or norm_obs_keys without the pictures; it can normalise rewards"
)


def _expects_0_1(
    space: gym.spaces.Box, images_in_0_1: bool | None, name: str, frame: tuple[int, ...], in_dict: bool
) -> bool:
    if np.isinf(space.low).any():
        how = ", whose function sees the whole Dict" if in_dict else "(env, lambda picture: picture, the Box)"
        raise ValueError(
            f"LatentExtractor: {name} is {space}, which does not say what range pictures have; declare it where the "
            f"picture is made, for 0..1 as gymnasium.spaces.Box(0, 1, {frame}, np.float32) "
            f"(gymnasium.wrappers.TransformObservation{how}). If VecNormalize is around the environment, leave its "
            "observations as they are, norm_obs=False"
        )
    if space.low.min() < 0:
        raise ValueError(f"LatentExtractor: {name} is {space}; {_NORMALISED}")
    if images_in_0_1 is False and space.high.max() <= 1:
        raise ValueError(
            f"LatentExtractor: {name} is {space}, but images_in_0_1=False says that 0..255 reaches the extractor; "
            "give images_in_0_1=True"
        )
    if images_in_0_1 is not None:
        return images_in_0_1
    if space.dtype == np.uint8 and len(space.shape) == 3 and (space.low == 0).all() and (space.high == 255).all():
        return True  # SB3's preprocess_obs divides exactly these by 255, unless normalize_images=False
    raise ValueError(
        f"LatentExtractor: {name} is {space}; Stable-Baselines3 scales only uint8 boxes of one picture in 0..255 to "
        "0..1. Say what reaches the extractor: images_in_0_1=True for 0..1, images_in_0_1=False for 0..255"
    )


def _split_stack(
    shape: tuple[int, ...], encoder: FrozenEncoder, n_stack: int, name: str, in_dict: bool
) -> tuple[tuple[int, ...], tuple[tuple[int, ...], tuple[int, ...]] | None]:
    """The shape of one frame, and how to reach (B, n_stack, *frame): a reshape without B and a permutation; or None."""
    preprocessing = encoder.preprocessing
    channels, sizes = preprocessing.channels, preprocessing.sizes
    if len(shape) == 4 and shape[0] == n_stack and preprocessing.find_layout(shape[1:]):
        return shape[1:], (shape, (1, 2, 3, 4))  # gymnasium.wrappers.FrameStackObservation
    if n_stack == 1:
        if preprocessing.find_layout(shape) is None:
            frame = frame_shape(shape)
            frames = stacked_frames(frame, encoder)
            remedy = (
                f" If these are {frames} stacked frames (VecFrameStack), say so with n_stack={frames}; if it is one "
                "colour picture, convert it to grey."
            )
            raise ValueError(
                f"LatentExtractor: {name}: {unfit(frame, encoder, in_dict=in_dict)}{remedy if frames else ''}"
            )
        return shape, None
    if len(shape) == 3 and shape[0] == n_stack * channels and shape[1:] in sizes:
        return (channels, *shape[1:]), ((n_stack, channels, *shape[1:]), (1, 2, 3, 4))
    if len(shape) == 3 and shape[2] == n_stack * channels and shape[:2] in sizes:
        return (*shape[:2], channels), ((*shape[:2], n_stack, channels), (3, 1, 2, 4))
    if preprocessing.find_layout(shape) is not None:
        raise ValueError(
            f"LatentExtractor: {name}: n_stack={n_stack} needs {n_stack} stacked frames, got single pictures "
            f"{tuple(shape)}: leave n_stack out, or stack frames first (VecFrameStack(env, {n_stack}))"
        )
    raise ValueError(
        f"LatentExtractor: {name}: n_stack={n_stack} needs {n_stack} frames of {preprocessing.describe()}, that is "
        f"{n_stack * channels} channels, got images of shape {tuple(shape)}."
        + _remedy_of_frames(shape, encoder, n_stack, in_dict)
    )


def _remedy_of_frames(shape: tuple[int, ...], encoder: FrozenEncoder, n_stack: int, in_dict: bool) -> str:
    """What mends one frame of a stack whose frames do not fit."""
    if len(shape) == 4 and shape[0] == n_stack:
        return remedy_of(shape[1:], encoder, in_dict=in_dict)
    if len(shape) == 3 and shape[0] < shape[2] and shape[0] % n_stack == 0:
        return remedy_of((shape[0] // n_stack, *shape[1:]), encoder, in_dict=in_dict)
    if len(shape) == 3 and shape[2] % n_stack == 0:
        return remedy_of((*shape[:2], shape[2] // n_stack), encoder, in_dict=in_dict)
    return ""
