"""From observations to codes: the one object behind all three wrappers, so that none can differ from another."""

from __future__ import annotations

import copy
import dataclasses
import os
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import torch

from rl.code_features import CodeFeatures
from rl.code_scaling import Scaling
from rl.code_space import CodeSpace
from rl.code_stack import Codes, CodesByKey, CodeStack
from rl.pixel_range import PixelRange
from rl.recoding import Recode, described
from rl.recodings import recoding_of
from rl.spaces import PLAIN_IMAGE, as_encoder, frame_shape, image_spaces, require_keys, require_uint8_images
from sparse_repr import FrozenEncoder
from sparse_repr.command_line.bounds import take_plain_numbers
from sparse_repr.devices import resolve_device
from sparse_repr.encoder.collapse import warn_if_collapsed

Images = dict[str, npt.NDArray[np.uint8]]


@dataclasses.dataclass(frozen=True)
class LatentOptions:
    """How observations become codes, apart from the encoder: the keyword arguments that all wrappers share."""

    image_keys: Sequence[str] | None = None
    """Keys of a Dict observation whose images become codes; the others pass through. None for a plain image."""
    n_stack: int = 1
    """Codes shown at once, oldest first; at reset all are the first one."""
    code_scaling: Scaling = "none"
    """`scale` divides active units by their standard deviation on the training images, `standardize` also subtracts
    their mean; both set dead units to 0."""
    include_log_variance: bool = False
    """Show [code, log-variance] of each frame. The log-variance is that of the unscaled code."""
    keep_image: bool = False
    """Keep the picture behind the newest code in the infos, for recording."""
    device: str = "cpu"
    """Where to encode; one small image is fastest on the CPU."""
    recode: Recode | None = None
    """What to show in place of each code: a name of `rl.recodings`, such as `expand`, a mapping of name and settings,
    or the file of a dictionary."""

    def __post_init__(self) -> None:
        """Check what can be checked without an encoder.

        Raises:
            TypeError: `image_keys` is one string, or `recode` neither a name nor a mapping with one.
            ValueError: an unknown recoding or setting of it.
        """
        take_plain_numbers(self)
        require_keys(self.image_keys)
        if self.image_keys is not None:
            object.__setattr__(self, "image_keys", tuple(self.image_keys))
        if self.recode is not None:
            given = recoding_of(self.recode)
            if isinstance(self.recode, Mapping):
                object.__setattr__(self, "recode", dict(self.recode))
            elif self.recode != given.name:  # a file may be gone later: options hold what was in it
                object.__setattr__(self, "recode", given.settings())

    def __str__(self) -> str:
        """For messages: what was fitted for the recoding is told by its sha256."""
        recode = described(self.recode) if isinstance(self.recode, Mapping) else self.recode
        told = {**{field.name: getattr(self, field.name) for field in dataclasses.fields(self)}, "recode": recode}
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in told.items())})"

    def arguments(self) -> dict[str, Any]:
        """The keyword arguments as plain JSON values."""
        values = dataclasses.asdict(self)
        if self.recode is None:
            del values["recode"]  # agents and specs from before there were recodings have no such entry
        return {**values, "image_keys": None if self.image_keys is None else list(self.image_keys)}

    def meaning(self) -> dict[str, Any]:
        """Those of the arguments that decide what the codes are; two agents can share codes if these are equal."""
        return {name: value for name, value in self.arguments().items() if name not in ("keep_image", "device")}

    def features(self, encoder: FrozenEncoder) -> CodeFeatures:
        """What is shown of each posterior of this encoder."""
        return CodeFeatures(
            encoder,
            code_scaling=self.code_scaling,
            include_log_variance=self.include_log_variance,
            recode=self.recode,
        )

    def resolved(self, encoder: FrozenEncoder) -> LatentOptions:
        """The same with every setting of the recoding written out for this encoder."""
        recoding = self.features(encoder).recoding
        return self if recoding is None else dataclasses.replace(self, recode=recoding.settings)

    def code_space(self, encoder: FrozenEncoder) -> CodeSpace:
        """The space of one image's codes."""
        return CodeSpace(
            encoder,
            n_stack=self.n_stack,
            code_scaling=self.code_scaling,
            include_log_variance=self.include_log_variance,
            recode=self.recode,
        )


class LatentEncoding:
    """Encodes the observations of n environments, all images in one forward pass, and stacks their codes.

    Observations are batched here: an array (n, ...) or a dict of arrays (n, ...).
    """

    def __init__(
        self,
        space: gym.Space[Any],
        encoder: FrozenEncoder | str | os.PathLike[str],
        options: LatentOptions,
        wrapper: str,
    ) -> None:
        """Check the space of one environment's observations against the encoder.

        Args:
            space: of one environment.
            encoder: a frozen encoder, a run folder or an artefact file.
            options: how observations become codes.
            wrapper: the wrapper's name, for messages.

        Raises:
            TypeError, ValueError: the space is not what the encoder takes; the message says what to do.
        """
        self.encoder = as_encoder(encoder)
        warn_if_collapsed(self.encoder, stacklevel=3)
        self.options = options = options.resolved(self.encoder)
        self._device = resolve_device(options.device)
        self._features = options.features(self.encoder)
        self._stack = CodeStack(options.n_stack)
        self._wrapper = wrapper
        codes = options.code_space(self.encoder)
        self.space: gym.Space[Any]
        """Of one environment's encoded observations."""
        images = image_spaces(space, options.image_keys, wrapper)
        self._keys = tuple(images)
        self._doubted = set(images)
        self._named = isinstance(space, gym.spaces.Dict)
        self._names = {key: f"{wrapper}: observation {key!r}" if self._named else wrapper for key in images}
        for key, part in images.items():
            require_uint8_images(part, self.encoder, self._names[key], n_stack=options.n_stack, in_dict=self._named)
        self._shapes = {key: part.shape or () for key, part in images.items()}
        remedy = "multiply them by 255 before they become uint8"
        self._ranges = {key: PixelRange(name, remedy) for key, name in self._names.items()}
        if isinstance(space, gym.spaces.Dict):
            self.space = gym.spaces.Dict({key: codes if key in images else part for key, part in space.items()})
        else:
            self.space = codes

    def images(self, observation: Any, row: int | None = None) -> Any:
        """What `keep_image` keeps of an observation, or of one `row` of a batch: the image, or a dict of images.

        Copies: environments may draw the next picture into the same array.
        """
        parts = {key: np.array(part if row is None else part[row]) for key, part in self._images(observation).items()}
        return parts if self._named else parts[PLAIN_IMAGE]

    def trust_finals(self) -> None:
        """Take final pictures for what they are, also where they equal the next episode's first one."""
        self._doubted.clear()

    def start(self, observations: Any, started: npt.NDArray[np.bool_] | None = None) -> Any:
        """Encode the first observations of episodes; where none has `started` (None: all have), stacks stay."""
        images = self._images(observations)
        codes = self._encode(images)
        begun = np.ones(len(codes[self._keys[0]]), dtype=bool) if started is None else started
        return self._replaced(observations, self._stack.restart(codes, begun))

    def step(
        self, observations: Any, started: npt.NDArray[np.bool_], finals: Mapping[int, Any] | None = None
    ) -> tuple[Any, dict[int, Any]]:
        """Encode a step.

        Args:
            observations: the newest ones, batched.
            started: (n,), where they are the first of an episode.
            finals: environment -> the last observation of the episode that it has just left, not batched.

        Returns:
            The encoded observations, and those of `finals`; all went through the network together.
        """
        rows = sorted(finals or {})
        images = self._images(observations)
        if finals:
            last = [self._images(finals[row]) for row in rows]
            self._warn_if_overwritten(images, {row: last[place] for place, row in enumerate(rows) if started[row]})
            images = {
                key: np.concatenate([batch, np.stack([parts[key] for parts in last])]) for key, batch in images.items()
            }
        codes = self._encode(images)
        if not finals:
            return self._replaced(observations, self._stack.push(codes, started)), {}
        count = len(started)
        ends = self._stack.finals({key: rows_of[count:] for key, rows_of in codes.items()}, rows)
        encoded = {
            row: self._replaced(finals[row], {key: end[place] for key, end in ends.items()}, copied=True)
            for place, row in enumerate(rows)
        }
        newest = {key: rows_of[:count] for key, rows_of in codes.items()}
        return self._replaced(observations, self._stack.push(newest, started)), encoded

    def single(self, observation: Any, *, first: bool) -> Any:
        """Encode the observation of the one environment, not batched; `first`: an episode starts with it."""
        codes = self._encode({key: image[None] for key, image in self._images(observation).items()})
        stacked = self._stack.push(codes, np.array([first]))
        return self._replaced(observation, {key: code[0] for key, code in stacked.items()}, copied=True)

    def _warn_if_overwritten(self, newest: Images, finals: Mapping[int, Images]) -> None:
        """Warn once where the last picture of every episode is the first one of the next, which `newest` shows."""
        if not finals:
            return
        # a picture that differs even once was not drawn over
        for key in list(self._doubted):
            if not all(np.array_equal(parts[key], newest[key][row]) for row, parts in finals.items()):
                self._doubted.remove(key)
        if not self._doubted:
            return
        self._doubted.clear()
        warnings.warn(
            f"{self._wrapper}: the last picture of an episode equals the first one of the next episode bit for bit. An "
            "environment that draws into one array overwrites its last picture at reset, and agents then bootstrap on "
            "the code of the wrong one: return copies, wrap each environment in rl.CopiedObservation or use "
            "make_latent_vec_env, which does. If the two pictures are indeed the same, ignore this",
            stacklevel=4,
        )

    def _images(self, observations: Any) -> Images:
        parts = {key: observations[key] for key in self._keys} if self._named else {PLAIN_IMAGE: observations}
        return {key: self._image(key, part) for key, part in parts.items()}

    def _image(self, key: str, observed: Any) -> npt.NDArray[np.uint8]:
        """One image or a batch, as the space declares it."""
        image, shape = np.asarray(observed), self._shapes[key]
        if image.dtype != np.uint8 or image.shape[-len(shape) :] != shape:
            raise TypeError(
                f"{self._names[key]}: the space declares uint8 images of shape {shape}, but the environment shows "
                f"{image.dtype} of shape {image.shape}: let it show what it declares"
            )
        return image if frame_shape(shape) == shape else image.squeeze(-4)

    def _replaced(self, observations: Any, codes: CodesByKey, *, copied: bool = False) -> Any:
        """With `copied`, what passes through cannot be overwritten by the environment while an agent holds it."""
        if not self._named:
            return codes[PLAIN_IMAGE]
        return {
            key: codes[key] if key in codes else copy.deepcopy(part) if copied else part
            for key, part in observations.items()
        }

    def _encode(self, images: Images) -> CodesByKey:
        """Images, each (n, ...) -> features, each float32 (n, F)."""
        for key, batch in images.items():
            self._ranges[key].see(batch)
        batches = list(images.values())
        if len(batches) > 1 and len({batch.shape for batch in batches}) == 1:
            features = np.split(self._features_of(np.concatenate(batches)), len(batches))
        else:
            features = [self._features_of(batch) for batch in batches]
        return dict(zip(images, features, strict=True))

    def _features_of(self, images: npt.NDArray[np.uint8]) -> Codes:
        if self._device.type == "cpu":
            mean, log_variance = self.encoder.posterior(images)
        else:
            on_device = self.encoder.posterior(torch.as_tensor(np.ascontiguousarray(images), device=self._device))
            mean, log_variance = (part.cpu().numpy() for part in on_device)
        return self._features.numpy(mean, log_variance)
