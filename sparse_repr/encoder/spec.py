"""EncoderSpec: all that an encoder's file says of it beside its weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from sparse_repr.artefact import FORMAT_VERSION
from sparse_repr.encoder.preprocessing import Preprocessing
from sparse_repr.encoder.read_only import read_only
from sparse_repr.files.json_reader import FLAG, OBJECT, TEXT, Shape, many, number, one_of, require, whole
from sparse_repr.models import EXPORTED, POSTERIOR_FAMILIES, posterior_of

_ARGUMENTS: dict[str, Shape] = {"channels": whole(1), "size": whole(1), "code_size": whole(1)}
_HEADER: dict[str, Shape] = {
    "format": whole(),
    "kind": TEXT,
    "architecture": TEXT,
    "arguments": _ARGUMENTS,
    "posterior": one_of(*POSTERIOR_FAMILIES),
    "preprocessing": OBJECT,
    "code_size": whole(1),
    "objective": OBJECT,
    "dataset": OBJECT,
    # a KL divergence computed in float32 may be rounded to just below 0
    "units": {"kl_nats": many(number(-1e-3)), "mean": many(number()), "std": many(number(0)), "active": many(FLAG)},
    "package_version": TEXT,
}
_HEADER_OF_EXPORTED: Shape = {**_HEADER, "arguments": {**_ARGUMENTS, "graph": OBJECT}}


def package_version() -> str:
    """The installed version of sparse-repr."""
    try:
        return version("sparse-repr")
    except PackageNotFoundError:
        return "unknown"


@dataclasses.dataclass(frozen=True)
class UnitStatistics:
    """What each unit of the code did on the training images; D entries each."""

    kl_nats: tuple[float, ...]
    """Mean KL divergence of the posterior from the prior."""
    mean: tuple[float, ...]
    """Mean of the code."""
    std: tuple[float, ...]
    """Standard deviation of the code."""
    active: tuple[bool, ...]
    """Whether the variance of the unit's code is above 0.01; the others are dead."""


@dataclasses.dataclass(frozen=True)
class EncoderSpec:
    """Everything about an encoder except its weights; what it holds cannot be edited, at any depth."""

    architecture: str
    """Name in `models.ARCHITECTURES`, or ``"exported"`` for a network of others."""
    arguments: Mapping[str, Any]
    """channels, size and code_size; an exported network's graph beside them."""
    preprocessing: Preprocessing
    """From observation to network input."""
    objective: Mapping[str, Any]
    """name, weights, reconstruction, steps and seed of the training."""
    dataset: Mapping[str, Any]
    """name and factor_names of the training data."""
    units: UnitStatistics
    """Statistics of the code on the training images."""
    posterior: str = "gaussian"
    """Family of q(z|x), as the architecture has it, one of `models.POSTERIOR_FAMILIES`."""
    package_version: str = ""
    """Version of sparse-repr that trained it."""

    def __post_init__(self) -> None:
        for name in ("arguments", "objective", "dataset"):
            object.__setattr__(self, name, read_only(getattr(self, name)))

    def to_header(self) -> dict[str, Any]:
        """The JSON header of the artefact."""
        return {
            "format": FORMAT_VERSION,
            "kind": "encoder",
            "architecture": self.architecture,
            "arguments": dict(self.arguments),
            "posterior": self.posterior,
            "preprocessing": self.preprocessing.to_header(),
            "code_size": self.arguments["code_size"],
            "objective": dict(self.objective),
            "dataset": dict(self.dataset),
            "units": {name: list(values) for name, values in dataclasses.asdict(self.units).items()},
            "package_version": self.package_version,
        }

    @classmethod
    def from_header(cls, header: Mapping[str, Any], origin: str) -> EncoderSpec:
        """Read `to_header` back.

        Raises:
            ValueError: an entry is missing, unknown, of the wrong kind or does not fit the others; `origin` is named.
        """
        try:
            shape = _HEADER_OF_EXPORTED if header.get("architecture") == EXPORTED else _HEADER
            require(header, shape, "the header", closed=True, remedy="copy or save it again")
            spec = cls(
                architecture=header["architecture"],
                arguments=header["arguments"],
                preprocessing=Preprocessing.from_header(header["preprocessing"]),
                objective=header["objective"],
                dataset=header["dataset"],
                units=UnitStatistics(**{name: tuple(values) for name, values in header["units"].items()}),
                posterior=header["posterior"],
                package_version=header["package_version"],
            )
            spec._check_fit(header["code_size"])
        except ValueError as error:
            raise ValueError(f"{origin}: the header does not describe an encoder ({error})") from error
        return spec

    def _check_fit(self, code_size: int) -> None:
        """Raise ValueError where entries contradict each other."""
        family = posterior_of(self.architecture)
        if family != self.posterior:
            raise ValueError(f"{self.architecture} has a {family} posterior, not {self.posterior}")
        lengths = {len(values) for values in dataclasses.astuple(self.units)}
        if lengths != {code_size} or self.arguments["code_size"] != code_size:
            raise ValueError(
                f"code_size {code_size} does not fit the network's code_size {self.arguments['code_size']} and the "
                f"unit statistics of lengths {sorted(lengths)}"
            )
        channels, size = self.arguments["channels"], self.arguments["size"]
        if (self.preprocessing.channels, self.preprocessing.network_size) != (channels, (size, size)):
            raise ValueError(
                f"a network of {channels} channels of {size}x{size} does not fit the preprocessing {self.preprocessing}"
            )
