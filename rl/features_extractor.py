"""LatentExtractor: a frozen encoder as the features extractor of any Stable-Baselines3 policy."""

from __future__ import annotations

import os
from collections.abc import Sequence

import gymnasium as gym
import numpy as np
import torch
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor

from rl.spaces import as_encoder
from sparse_repr import FrozenEncoder


class _ImageInput:
    """Turns what SB3 hands to an extractor for one image space back into the uint8 picture it came from."""

    def __init__(self, space: gym.Space, encoder: FrozenEncoder, images_in_0_1: bool | None, name: str) -> None:
        if not isinstance(space, gym.spaces.Box):
            raise TypeError(f"LatentExtractor needs {name} to be a Box of images, got {space}")
        try:
            encoder.preprocessing.layout_of(space.shape)
        except ValueError as error:
            raise ValueError(f"LatentExtractor: {name}: {error}") from error
        self._name = name
        self._scaled = self._expects_0_1(space, images_in_0_1, name)
        self._checked = False

    @staticmethod
    def _expects_0_1(space: gym.spaces.Box, images_in_0_1: bool | None, name: str) -> bool:
        if images_in_0_1 is not None:
            return images_in_0_1
        if space.dtype == np.uint8 and len(space.shape) == 3 and (space.low == 0).all() and (space.high == 255).all():
            return True  # SB3's preprocess_obs divides exactly these by 255, unless normalize_images=False
        raise ValueError(
            f"LatentExtractor: {name} is {space}; Stable-Baselines3 scales only uint8 boxes in 0..255 to 0..1. "
            "Say what reaches the extractor: images_in_0_1=True for 0..1, images_in_0_1=False for 0..255"
        )

    def __call__(self, observations: Tensor) -> Tensor:
        """Float or uint8 (B, C, H, W) or (B, H, W, C) -> uint8 of the same shape."""
        if observations.dtype == torch.uint8 and not self._scaled:
            return observations
        if not self._checked:
            self._check_range(observations)
            self._checked = True
        values = observations * 255 if self._scaled else observations
        # exact for all 256 values: SB3's x / 255 is off by less than half a level
        return values.round().clamp(0, 255).to(torch.uint8)

    def _check_range(self, observations: Tensor) -> None:
        low, high = float(observations.min()), float(observations.max())
        if self._scaled and (low < 0 or high > 1 + 1e-6):
            raise ValueError(
                f"LatentExtractor: {self._name} should be in 0..1 here but is in {low:g}..{high:g}; "
                "with normalize_images=False give features_extractor_kwargs images_in_0_1=False"
            )
        if not self._scaled and (low < 0 or high > 255 or (0 < high <= 1 and not _whole(observations))):
            raise ValueError(
                f"LatentExtractor: {self._name} should be in 0..255 here but is in {low:g}..{high:g}; "
                "give features_extractor_kwargs images_in_0_1=True"
            )


def _whole(values: Tensor) -> bool:
    return bool((values == values.round()).all())


class LatentExtractor(BaseFeaturesExtractor):
    """Codes of a frozen encoder as SB3 features; the encoder cannot be trained, averaged or re-initialised.

    The encoder is held outside the module tree: it is in no `parameters()`, `buffers()` or optimiser, orthogonal
    initialisation, `train()` mode and target-network averaging cannot touch it, and however many networks a policy
    has, one copy is in memory. Its fingerprint travels in the `state_dict` and is verified at load; the weights in
    memory are verified at the first forward pass after construction or loading.

    The observation wrapper (`rl.LatentObservation`) is the faster way; this class is for agents that must take images.
    """

    def __init__(
        self,
        observation_space: gym.Space,
        encoder: FrozenEncoder | str | os.PathLike[str],
        *,
        image_keys: Sequence[str] | None = None,
        images_in_0_1: bool | None = None,
    ) -> None:
        """Check the space against the encoder.

        Args:
            observation_space: a Box of images, or a Dict that holds some.
            encoder: with `load_encoder(...)` the agent's zip carries the encoder; with a path it needs that path.
            image_keys: which keys of a Dict are images; the others pass through, flattened.
            images_in_0_1: what reaches the extractor, where SB3 does not tell: True for 0..1 (for example a float box
                in 0..1), False for 0..255 (for example `normalize_images=False`).

        Raises:
            TypeError: a Dict without `image_keys`, or not a Box.
            ValueError: size, channels or range do not fit; the message says what to do.
        """
        frozen = as_encoder(encoder)
        if isinstance(observation_space, gym.spaces.Dict):
            if not image_keys:
                raise TypeError(f"LatentExtractor: a Dict space needs image_keys, some of {sorted(observation_space)}")
            missing = sorted(set(image_keys) - set(observation_space))
            if missing:
                raise ValueError(f"LatentExtractor: image_keys {missing} are not in {sorted(observation_space)}")
            inputs = {
                key: _ImageInput(observation_space[key], frozen, images_in_0_1, f"observation {key!r}")
                for key in image_keys
            }
            others = [key for key in observation_space if key not in inputs]
            size = len(inputs) * frozen.code_size
            size += sum(gym.spaces.utils.flatdim(observation_space[key]) for key in others)
        else:
            if image_keys is not None:
                raise TypeError(f"LatentExtractor: image_keys needs a Dict space, got {observation_space}")
            inputs = {"": _ImageInput(observation_space, frozen, images_in_0_1, "the observation")}
            others = []
            size = frozen.code_size
        super().__init__(observation_space, features_dim=size)
        # In a tuple, so that no torch container or SB3 helper ever mistakes it for a part of the module.
        self._held = (frozen,)
        self._inputs = inputs
        self._others = others
        self._verified = False

    @property
    def encoder(self) -> FrozenEncoder:
        """The frozen encoder."""
        return self._held[0]

    def forward(self, observations: Tensor | dict[str, Tensor]) -> Tensor:
        """Observations as SB3 hands them over -> (B, features_dim); codes carry no gradient."""
        if not self._verified:
            self.encoder.verify()
            self._verified = True
        if isinstance(observations, Tensor):
            return self._codes(self._inputs[""], observations)
        parts = [self._codes(prepare, observations[key]) for key, prepare in self._inputs.items()]
        parts += [observations[key].flatten(1).to(parts[0].dtype) for key in self._others]
        return torch.cat(parts, dim=1)

    def _codes(self, prepare: _ImageInput, observations: Tensor) -> Tensor:
        codes = self.encoder.encode(prepare(observations))
        return codes.to(observations.dtype) if observations.is_floating_point() else codes

    def get_extra_state(self) -> Tensor:
        """The encoder's fingerprint as 32 bytes, uint8 (32,)."""
        return torch.frombuffer(bytearray.fromhex(self.encoder.fingerprint), dtype=torch.uint8)

    def set_extra_state(self, state: Tensor) -> None:
        """Verify that the agent was saved with this encoder.

        Raises:
            ValueError: it was saved with another one.
        """
        saved = bytes(state.cpu().tolist()).hex()
        if saved != self.encoder.fingerprint:
            raise ValueError(
                f"the agent was saved with encoder {saved[:12]}, but {self.encoder!r} was given; "
                "load it with the encoder it was trained on"
            )
        self._verified = False
