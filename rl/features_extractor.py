"""LatentExtractor: a pretrained encoder, frozen or fine-tuned, as the features extractor of any SB3 policy."""

from __future__ import annotations

import numbers
import os
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import gymnasium as gym
import torch
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor, nn

from rl.code_cache import CodeCache
from rl.code_features import CodeFeatures
from rl.code_scaling import Scaling
from rl.image_input import ImageInput
from rl.recoding import Recode, fitted_digest, require_same_fit
from rl.recodings import RECODINGS
from rl.spaces import PLAIN_IMAGE, as_encoder, image_spaces, require_named
from rl.trainable_encoder import TrainableEncoder
from sparse_repr import FrozenEncoder
from sparse_repr.encoder.collapse import warn_if_collapsed

Self = TypeVar("Self", bound="LatentExtractor")


class LatentExtractor(BaseFeaturesExtractor):
    """Codes of a pretrained encoder as SB3 features.

    Frozen (the default), the encoder is held outside the module tree: it is in no `parameters()`, `buffers()` or
    optimiser, orthogonal initialisation, `train()` mode and target-network averaging cannot touch it, and however many
    networks a policy has, one copy is in memory. Its fingerprint travels in the `state_dict` and is verified at load;
    the weights in memory are verified at the first forward pass after construction or loading, and at each saving.

    With `trainable=True` each extractor has weights of its own that start from the pretrained ones, also under SB3's
    orthogonal initialisation, and are trained, averaged and saved like the rest of the policy.

    The observation wrapper (`rl.LatentObservation`) is the faster way; this class is for agents that must take images,
    and for fine-tuning.

    Example:
        >>> from gymnasium.spaces import Box
        >>> from sparse_repr import untrained_encoder
        >>> extractor = LatentExtractor(Box(0, 255, (64, 64, 1), np.uint8), encoder=untrained_encoder(channels=1))
        >>> extractor(torch.zeros(2, 1, 64, 64, dtype=torch.uint8)).shape
        torch.Size([2, 10])
    """

    def __init__(
        self,
        observation_space: gym.Space,
        encoder: FrozenEncoder | str | os.PathLike[str],
        *,
        trainable: bool = False,
        encoder_lr_multiplier: float = 1.0,
        image_keys: Sequence[str] | None = None,
        raw_keys: Sequence[str] = (),
        n_stack: int = 1,
        images_in_0_1: bool | None = None,
        code_scaling: Scaling = "none",
        include_log_variance: bool = False,
        trunk: Sequence[int] | None = None,
        cache_frames: int = 0,
        recode: Recode | None = None,
    ) -> None:
        """Check the space against the encoder.

        Args:
            observation_space: a Box of images, or a Dict that holds some.
            encoder: with `load_encoder(...)` the agent's zip carries the encoder; with a path it needs that path.
            trainable: fine-tune a copy of the encoder with the policy.
            encoder_lr_multiplier: with `trainable`, the encoder moves this many times as far as the policy's learning
                rate says, whatever the optimiser and schedule.
            image_keys: which keys of a Dict are images; the others pass through, flattened.
            raw_keys: which of the others are pictures or grids that pass through as they are, a feature per value.
            n_stack: frames that `VecFrameStack` stacked along the channels, or `FrameStackObservation` along a first
                axis; each is encoded by itself, the codes follow one another. The black frames `VecFrameStack` starts
                an episode with are encoded as black pictures. Stacking codes (`rl.LatentObservation`) costs less.
            images_in_0_1: what reaches the extractor, where SB3 does not tell: True for 0..1 (for example a float box
                in 0..1), False for 0..255 (for example `normalize_images=False`).
            code_scaling: none, scale (unit variance per active unit, zeros stay zeros) or standardize (and zero mean),
                by the artefact's statistics; dead units give 0.
            include_log_variance: features are the codes of all frames, then their log-variances.
            trunk: widths of dense layers with ReLU on top of the features, trained with the policy.
            cache_frames: remember the codes of this many frames, frozen encoder on the CPU only; PPO needs
                `(n_steps + 1) * n_envs * n_stack` of them, and `n_stack` more for each episode of a rollout that is cut
                off, to encode each frame once instead of once per epoch.
            recode: what stands in place of each code, as in `rl.LatentObservation`.

        Raises:
            TypeError: a Dict without `image_keys`, a picture in it that is in neither list, or not a Box.
            ValueError: size, channels or range do not fit, or arguments contradict each other; the message says what
                to do.
        """
        frozen = as_encoder(encoder, in_policy=True)
        warn_if_collapsed(frozen)
        _check_options(trainable, encoder_lr_multiplier, n_stack, cache_frames, trunk)
        images = image_spaces(observation_space, image_keys, "LatentExtractor")
        inputs = {
            key: ImageInput(
                space,
                frozen,
                n_stack=n_stack,
                images_in_0_1=images_in_0_1,
                name=_name_of(key),
                in_dict=key != PLAIN_IMAGE,
            )
            for key, space in images.items()
        }
        named = observation_space.spaces if isinstance(observation_space, gym.spaces.Dict) else {}
        others = {key: space for key, space in named.items() if key not in images}
        require_named(others, image_keys, raw_keys, "LatentExtractor")
        features = CodeFeatures(
            frozen, code_scaling=code_scaling, include_log_variance=include_log_variance, recode=recode
        )
        _require_gradient(features, trainable)
        width = len(inputs) * n_stack * features.width
        width += sum(gym.spaces.utils.flatdim(space) for space in others.values())
        super().__init__(observation_space, features_dim=trunk[-1] if trunk else width)
        # In a tuple, so that no torch container or SB3 helper ever mistakes it for a part of the module.
        self._held = (frozen,)
        self._inputs = inputs
        self._others = list(others)
        self.code_features = features
        """What stands in place of each code; scaled or recoded."""
        self.n_stack = n_stack
        """Frames that are encoded together."""
        self._cache = CodeCache(self._frozen_features, cache_frames) if cache_frames else None
        self._verified = False
        self.trainable_encoder = TrainableEncoder(frozen, encoder_lr_multiplier) if trainable else None
        """The copy that is fine-tuned; None where the encoder is frozen."""
        self._saved_multiplier: float | None = None
        self.register_load_state_dict_post_hook(_keep_loaded_weights)
        self.trunk = _dense_layers(width, trunk or ())
        """Dense layers on top of the features; empty without `trunk`."""

    @property
    def encoder(self) -> FrozenEncoder:
        """The frozen encoder; with `trainable`, the one that fine-tuning starts from."""
        return self._held[0]

    @property
    def recoding_settings(self) -> Mapping[str, Any] | None:
        """Name and settings of what stands in place of each code, with what was fitted; None for codes themselves."""
        return None if self.code_features.recoding is None else self.code_features.recoding.settings

    def forward(self, observations: Tensor | dict[str, Tensor]) -> Tensor:
        """Observations as SB3 hands them over -> (B, features_dim); a frozen encoder's codes carry no gradient."""
        if not self._verified:
            self.encoder.verify()
            self._verified = True
        if isinstance(observations, Tensor):
            return self.trunk(self._image_features(self._inputs[PLAIN_IMAGE], observations))
        parts = [self._image_features(images, observations[key]) for key, images in self._inputs.items()]
        parts += [observations[key].flatten(1).to(parts[0].dtype) for key in self._others]
        return self.trunk(torch.cat(parts, dim=1))

    def _image_features(self, images: ImageInput, observations: Tensor) -> Tensor:
        """Images of one space, (B, ...) -> (B, n_stack * D [* 2])."""
        frames = images.frames(observations)
        if self.trainable_encoder is not None:
            features = self.code_features.torch(*self.trainable_encoder(frames))
        elif self._cache is not None and frames.device.type == "cpu" and not torch.compiler.is_exporting():
            features = self._cache(frames)
        else:
            features = self._frozen_features(frames)
        if observations.is_floating_point():
            features = features.to(observations.dtype)
        # (B * n_stack, F) -> codes of all frames, then their log-variances
        each = features.reshape(observations.shape[0], images.n_stack, self.code_features.width)
        codes, log_variances = each.tensor_split((self.code_features.code_width,), dim=2)
        return torch.cat((codes.flatten(1), log_variances.flatten(1)), dim=1)

    def _frozen_features(self, frames: Tensor) -> Tensor:
        return self.code_features.torch(*self.encoder.posterior(frames))

    def apply(self: Self, fn: Callable[[nn.Module], None]) -> Self:
        """`nn.Module.apply` on everything but the pretrained layers.

        SB3 and sb3-contrib initialise a policy orthogonally through `apply`; it would erase what was pretrained. The
        layers of `trunk` are initialised as SB3 asks.
        """
        for child in self.children():
            if child is not self.trainable_encoder:
                child.apply(fn)
        fn(self)
        return self

    def get_extra_state(self) -> Tensor:
        """The encoder's fingerprint, the digest of a dictionary and the multiplier of its steps, uint8 (72,).

        Raises:
            RuntimeError: the weights are not those of the fingerprint any more; what is saved would say they are.
        """
        self.encoder.verify()
        multiplier = self.trainable_encoder.learning_rate_multiplier if self.trainable_encoder is not None else 1.0
        told = (
            bytes.fromhex(self.encoder.fingerprint)
            + fitted_digest(self.recoding_settings)
            + struct.pack("<d", multiplier)
        )
        return torch.frombuffer(bytearray(told), dtype=torch.uint8)

    def set_extra_state(self, state: Tensor) -> None:
        """Verify that the agent was saved with this encoder and this dictionary.

        Agents that were saved before there was more than the fingerprint tell nothing else. Where the multiplier of a
        fine-tuned encoder is another one, its weights stay what they were.

        Raises:
            ValueError: it was saved with other ones.
        """
        told = bytes(state.cpu().tolist())
        saved, digest, multiplier = told[:_DIGEST].hex(), told[_DIGEST : 2 * _DIGEST], told[2 * _DIGEST :]
        if saved != self.encoder.fingerprint:
            raise ValueError(
                f"the agent was saved with encoder {saved[:12]}, but {self.encoder!r} was given; "
                "load it with the encoder it was trained on"
            )
        if digest:
            require_same_fit(digest, self.recoding_settings)
        self._saved_multiplier = struct.unpack("<d", multiplier)[0] if multiplier else None
        self._verified = False


def _keep_loaded_weights(extractor: LatentExtractor, keys: Any) -> None:
    """After loading: let the weights of a fine-tuned encoder be those that were saved, whatever its steps count."""
    saved, extractor._saved_multiplier = extractor._saved_multiplier, None
    left_out = any(name.endswith(".original") for name in keys.missing_keys)
    if saved is not None and extractor.trainable_encoder is not None and not left_out:
        extractor.trainable_encoder.rescale(saved)


_DIGEST = 32


def _check_options(
    trainable: bool, multiplier: float, n_stack: int, cache_frames: int, trunk: Sequence[int] | None
) -> None:
    if n_stack < 1:
        raise ValueError(f"LatentExtractor: n_stack needs at least 1 frame, got {n_stack}")
    if cache_frames < 0:
        raise ValueError(f"LatentExtractor: cache_frames needs 0 or more, got {cache_frames}")
    if not trainable and multiplier != 1:
        raise ValueError(
            f"LatentExtractor: encoder_lr_multiplier={multiplier} needs trainable=True: a frozen encoder does not move"
        )
    if trainable and cache_frames:
        raise ValueError("LatentExtractor: cache_frames needs a frozen encoder: codes of a trainable one change")
    if trunk is not None and not (isinstance(trunk, Sequence) and trunk and all(map(_is_width, trunk))):
        raise ValueError(f"LatentExtractor: trunk needs a list of widths of at least 1, such as [64], got {trunk!r}")


def _is_width(value: Any) -> bool:
    # numbers of numpy count, as tuners give them
    return isinstance(value, numbers.Integral) and not isinstance(value, bool) and int(value) >= 1


def _require_gradient(features: CodeFeatures, trainable: bool) -> None:
    if trainable and features.recoding is not None and not features.recoding.differentiable:
        name = features.recoding.settings["name"]
        known = ", ".join(name for name, kind in RECODINGS.items() if kind.differentiable)
        raise ValueError(
            f"LatentExtractor: recode={name!r} lets no gradient through, so that trainable=True would train nothing of "
            f"the encoder: take one of {known}, or leave the encoder frozen"
        )


def _name_of(key: str) -> str:
    return "the observation" if key == PLAIN_IMAGE else f"observation {key!r}"


def _dense_layers(width: int, sizes: Sequence[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for size in sizes:
        layers += [nn.Linear(width, size), nn.ReLU()]
        width = size
    return nn.Sequential(*layers)
