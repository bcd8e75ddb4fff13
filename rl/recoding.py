"""Recoding: what every map from a code to what an agent is shown in its place has in common."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from torch import Tensor

from sparse_repr.explore.networks import Layer

Map = Callable[[Tensor], Tensor]
MOST_VALUES = 2**20
"""Values in place of a code: what is more is a slip, or a damaged file."""


@dataclasses.dataclass(frozen=True)
class Recoding(ABC):
    """What all of them share; the fields of each are its settings."""

    name: ClassVar[str]
    """Key of `RECODINGS`."""
    differentiable: ClassVar[bool]
    """Whether a gradient reaches the code."""
    fitted_to: ClassVar[str | None] = None
    """Fingerprint of the encoder whose codes it was fitted to; None where nothing was fitted."""

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            ValueError: one is out of its range; it is named.
        """
        self._check()

    @abstractmethod
    def _check(self) -> None: ...

    def resolved(self, code_size: int) -> Recoding:  # noqa: ARG002 - for those whose defaults depend on it
        """The same with every default filled in for codes of D units."""
        return self

    @abstractmethod
    def size(self, code_size: int) -> int:
        """How many values stand in place of D units."""

    @abstractmethod
    def map_for(self, active: npt.NDArray[np.bool_]) -> Map:
        """The map, float32 (n, D) to float32 (n, size), for codes whose `active` units (D,), at least one, count."""

    def layers_for(self, active: npt.NDArray[np.bool_]) -> list[Layer] | None:  # noqa: ARG002
        """The same map as layers of the explorer's kernel; None where it has none for it."""
        return None

    def settings(self) -> dict[str, Any]:
        """Name and settings as JSON values."""
        return {"name": self.name, **dataclasses.asdict(self)}

    def _whole(self, name: str, least: int, most: int | None = None) -> None:
        value = getattr(self, name)
        if type(value) is not int or value < least or (most is not None and value > most):
            bounds = f"of at least {least}" if most is None else f"in {least}..{most}"
            raise ValueError(f"recode={self.name!r}: {name} needs a whole number {bounds}, got {value!r}")

    def _positive(self, name: str) -> None:
        value = getattr(self, name)
        if type(value) not in (int, float) or not 0 < value < math.inf:
            raise ValueError(f"recode={self.name!r}: {name} needs a positive number, got {value!r}")


Recode = str | os.PathLike[str] | Mapping[str, Any] | Recoding
"""Name of a recoding, a mapping of "name" and settings, the file of a dictionary, or the recoding itself."""


def described(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a recoding with the sha256 of what was fitted in place of its content: for spaces and messages.

    >>> described({"name": "expand", "k": 8})
    {'name': 'expand', 'k': 8}
    """
    if "artefact" not in settings:
        return dict(settings)
    return {**settings, "artefact": hashlib.sha256(str(settings["artefact"]).encode()).hexdigest()}


def fitted_digest(settings: Mapping[str, Any] | None) -> bytes:
    """32 bytes of what was fitted for a recoding; zeros where nothing was, and without one."""
    told = described(settings or {}).get("artefact")
    return bytes(32) if told is None else bytes.fromhex(told)


def require_same_fit(saved: bytes, settings: Mapping[str, Any] | None) -> None:
    """Check that an agent is loaded with the dictionary that it was saved with.

    Args:
        saved: `fitted_digest` of what it was saved with.
        settings: of the recoding that it is loaded with.

    Raises:
        ValueError: another one.
    """
    if saved != fitted_digest(settings):
        raise ValueError(
            "the agent was saved with another dictionary than that of recode=: its file was written again, or is "
            "another one. Load it with the dictionary it was trained on; save_agent keeps that in the agent's file"
        )
