"""CodeSpace: the space of codes, which knows what made them."""

from __future__ import annotations

import dataclasses
from typing import Any

import cloudpickle
import gymnasium as gym
import numpy as np

from rl.code_features import CodeFeatures
from rl.code_scaling import Scaling
from rl.recoding import Recode, described
from sparse_repr import FrozenEncoder


class CodeSpace(gym.spaces.Box):
    """`Box(-inf, inf, (F,), float32)`, unequal to the codes of another encoder or of other options.

    Stable-Baselines3 compares spaces in `set_env` and `load(env=...)`, so it refuses an environment whose codes are of
    the right size and mean something else. A plain Box of the same shape is equal: agents that were saved before
    spaces knew this, or that observe codes from elsewhere, load as they did.
    """

    def __init__(
        self,
        encoder: FrozenEncoder,
        *,
        n_stack: int = 1,
        code_scaling: Scaling = "none",
        include_log_variance: bool = False,
        recode: Recode | None = None,
    ) -> None:
        """The space of what the wrappers show with these options.

        F = n_stack * D, with the recoding's width in place of D, and D more per frame with log-variances.
        """
        features = CodeFeatures(
            encoder, code_scaling=code_scaling, include_log_variance=include_log_variance, recode=recode
        )
        super().__init__(-np.inf, np.inf, (n_stack * features.width,), np.float32)
        self.made_by: dict[str, Any] = {
            "encoder": encoder.fingerprint,
            "n_stack": n_stack,
            "code_scaling": code_scaling,
            "include_log_variance": include_log_variance,
        }
        """What the codes depend on, as JSON values."""
        if features.recoding is not None:  # left out without one: agents saved before there were any show the same
            self.made_by["recode"] = described(features.recoding.settings)
        self.units = dataclasses.asdict(encoder.spec.units)
        """Statistics of the encoder's units on its training images, as JSON values: what `RecodedCodes` goes by."""
        # What repr shows as the upper bound. Set here, so that a plain Box that was loaded from an agent's file, which
        # keeps its attributes, tells of its encoder in the message of a refusal, too.
        options = ", ".join(f"{name}={value!r}" for name, value in list(self.made_by.items())[1:])
        self.low_repr, self.high_repr = "-inf", f"inf, codes of encoder {encoder.fingerprint[:12]} with {options}"

    def __eq__(self, other: object) -> bool:
        """Whether `other` is a Box of the same shape, and not of codes that were made otherwise."""
        return super().__eq__(other) and getattr(other, "made_by", self.made_by) == self.made_by


def _as_plain_box(space: CodeSpace) -> tuple[Any, ...]:
    """How a CodeSpace is rebuilt where this package may be missing: as a Box that keeps the attributes."""
    state = dict(space.__dict__)
    return gym.spaces.Box, (space.low, space.high, space.shape, space.dtype), state


# Stable-Baselines3 writes spaces into agents' files with cloudpickle. They load with nothing but Gymnasium there; all
# other pickles, those between processes among them, give the class itself.
cloudpickle.CloudPickler.dispatch_table[CodeSpace] = _as_plain_box


def restore(space: gym.spaces.Space[Any]) -> None:
    """Make a space what it was before it went through cloudpickle, such as into a process of `SubprocVecEnv`."""
    for part in space.values() if isinstance(space, gym.spaces.Dict) else (space,):
        if type(part) is gym.spaces.Box and hasattr(part, "made_by"):
            part.__class__ = CodeSpace


def same_codes(one: gym.spaces.Space[Any], other: gym.spaces.Space[Any]) -> bool:
    """Whether two spaces are equal, and of codes that were made alike where both tell, as plain boxes too.

    A picture that stays one beside the codes of a Dict may have its channels in front: behind SB3's
    `VecTransposeImage` they are.
    """
    if isinstance(one, gym.spaces.Dict) and isinstance(other, gym.spaces.Dict):
        return one.keys() == other.keys() and all(
            same_codes(one[key], other[key]) or _transposed(one[key], other[key]) for key in one
        )
    told = [getattr(space, "made_by", None) for space in (one, other)]
    return one == other and (None in told or told[0] == told[1])


def _transposed(one: gym.spaces.Space[Any], other: gym.spaces.Space[Any]) -> bool:
    """Whether two spaces are of the same pictures, one (H, W, C) and one (C, H, W)."""
    if not (isinstance(one, gym.spaces.Box) and isinstance(other, gym.spaces.Box)):
        return False
    pictures = len(one.shape) == len(other.shape) == 3 and one.dtype == other.dtype == np.uint8
    return pictures and other.shape in (one.shape[2:] + one.shape[:2], one.shape[1:] + one.shape[:1])
