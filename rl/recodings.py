"""Recodings: what an agent can be shown in place of a code, so that small heads find what the code holds.

Each is a fixed map of standardised units z (n, D): active ones have mean 0 and variance 1 on the training images, dead
ones are 0 and count for nothing. A below is the number of active units, W (D, width) standard normal and fixed by its
seed. Widths depend on D alone. Defaults never change, so that agents mean what they were trained on. `rl.dictionaries`
has the one that is learned.
"""

from __future__ import annotations

import dataclasses
import math
import os
import statistics
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rl.dictionaries import Dictionary, load_dictionary
from rl.recoding import MOST_VALUES, Map, Recode, Recoding
from sparse_repr.explore.networks import Layer
from sparse_repr.registry import lookup

_TIMES_AS_WIDE = 20


@dataclasses.dataclass(frozen=True)
class _Projected(Recoding):
    """Of those that project first, h = z W."""

    width: int | None = None
    """Values; 20 D by default."""
    seed: int = 0
    """Of the projection, 0..2^32 - 1."""

    def _check(self) -> None:
        if self.width is not None:
            self._whole("width", 1, MOST_VALUES)
        self._whole("seed", 0, 2**32 - 1)

    def resolved(self, code_size: int) -> Recoding:
        return dataclasses.replace(self, width=self.size(code_size))

    def size(self, code_size: int) -> int:
        return _TIMES_AS_WIDE * code_size if self.width is None else self.width

    def _drawn(self, code_size: int) -> tuple[Tensor, Tensor]:
        """W (D, width) and numbers (width,) uniform in 0..1, both float32."""
        # the one stream of numbers that NumPy promises never to change
        random = np.random.RandomState(self.seed)
        width = self.size(code_size)
        weights, uniform = random.standard_normal((code_size, width)), random.random_sample(width)
        return torch.from_numpy(weights.astype(np.float32)), torch.from_numpy(uniform.astype(np.float32))


def _projecting(weights: Tensor) -> Layer:
    """z W, for W (D, width), as a layer of the explorer's kernel."""
    return {"op": "linear", "weight": weights.T.contiguous(), "bias": torch.zeros(weights.shape[1])}


@dataclasses.dataclass(frozen=True)
class Expand(_Projected):
    """The k largest of h = z W are 1, the others 0: expand and sparsify.

    Dasgupta, Stevens and Navlakha, "A neural algorithm for a fundamental computing problem" (Science 2017), whose
    projection is sparse and binary; this one is normal. The direction of z counts, not its length: one active unit
    alone tells its sign. Where h_k and the next one agree to rounding, another machine
    may choose the other.
    """

    name: ClassVar[str] = "expand"
    differentiable: ClassVar[bool] = False
    k: int | None = None
    """How many are 1; a tenth of the width by default, at least one."""

    def _check(self) -> None:
        super()._check()
        if self.k is not None:
            self._whole("k", 1, self.width)

    def resolved(self, code_size: int) -> Recoding:
        width = self.size(code_size)
        return dataclasses.replace(self, width=width, k=max(1, width // 10) if self.k is None else self.k)

    def map_for(self, active: npt.NDArray[np.bool_]) -> Map:
        found = self.resolved(len(active))
        assert isinstance(found, Expand)
        assert found.k is not None
        k, (weights, _) = found.k, self._drawn(len(active))

        def expand(units: Tensor) -> Tensor:
            h = units @ weights.to(units)  # (n, width)
            return torch.zeros_like(h).scatter(-1, h.topk(k, sorted=False).indices, 1.0)

        return expand

    def layers_for(self, active: npt.NDArray[np.bool_]) -> list[Layer]:
        found = self.resolved(len(active))
        assert isinstance(found, Expand)
        return [_projecting(self._drawn(len(active))[0]), {"op": "largest", "count": found.k, "binary": True}]


@dataclasses.dataclass(frozen=True)
class Cosine(_Projected):
    """cos(z W / (bandwidth sqrt(A)) + b), b uniform in 0..2 pi: random Fourier features of a Gaussian kernel.

    Rahimi and Recht, "Random Features for Large-Scale Kernel Machines" (NIPS 2007), algorithm 1, without its factor
    sqrt(2 / width). The square root keeps the kernel as wide, measured by the distance of two codes, whatever A is.
    """

    name: ClassVar[str] = "cosine"
    differentiable: ClassVar[bool] = True
    bandwidth: float = 0.3
    """Standard deviation of the kernel over sqrt(A); at A = 10 about the 1 that was measured without the root."""

    def _check(self) -> None:
        super()._check()
        self._positive("bandwidth")

    def map_for(self, active: npt.NDArray[np.bool_]) -> Map:
        weights, uniform = self._drawn(len(active))
        frequencies, phases = weights / (self.bandwidth * math.sqrt(active.sum())), 2 * math.pi * uniform
        return lambda units: torch.cos(units @ frequencies.to(units) + phases.to(units))


@dataclasses.dataclass(frozen=True)
class Project(_Projected):
    """z W / sqrt(A): as wide as the others, and linear, so that width alone can be told from what they add."""

    name: ClassVar[str] = "project"
    differentiable: ClassVar[bool] = True

    def map_for(self, active: npt.NDArray[np.bool_]) -> Map:
        weights = self._drawn(len(active))[0] / math.sqrt(active.sum())
        return lambda units: units @ weights.to(units)

    def layers_for(self, active: npt.NDArray[np.bool_]) -> list[Layer]:
        return [_projecting(self._drawn(len(active))[0] / math.sqrt(active.sum()))]


@dataclasses.dataclass(frozen=True)
class Simplicial(_Projected):
    """Softmax of z W / (temperature sqrt(A)) in groups of `group` values, each of which sums to 1.

    Lavoie et al., "Simplicial Embeddings in Self-Supervised Learning and Downstream Classification" (ICLR 2023), eq. 1;
    the projection is fixed and not learned.
    """

    name: ClassVar[str] = "simplicial"
    differentiable: ClassVar[bool] = True
    group: int = 10
    """Values per group, which divide the width."""
    temperature: float = 0.5
    """In standard deviations of what the softmax is of."""

    def _check(self) -> None:
        super()._check()
        self._whole("group", 2, MOST_VALUES)
        self._positive("temperature")
        if self.width is not None and self.width % self.group:
            raise ValueError(
                f"recode='simplicial': width needs a multiple of group, {self.group}, got {self.width}: change one"
            )

    def map_for(self, active: npt.NDArray[np.bool_]) -> Map:
        weights = self._drawn(len(active))[0] / (self.temperature * math.sqrt(active.sum()))

        def simplicial(units: Tensor) -> Tensor:
            return (units @ weights.to(units)).unflatten(-1, (-1, self.group)).softmax(-1).flatten(-2)

        return simplicial


@dataclasses.dataclass(frozen=True)
class OneHot(Recoding):
    """The quantile bin of each unit, one-hot; all 0 of a dead unit.

    The artefact has mean and standard deviation of each unit and no quantiles: they are those of a normal distribution.
    """

    name: ClassVar[str] = "one_hot"
    differentiable: ClassVar[bool] = False
    bins: int = 8
    """Of each unit."""

    def _check(self) -> None:
        self._whole("bins", 2, 1000)

    def size(self, code_size: int) -> int:
        return self.bins * code_size

    def map_for(self, active: npt.NDArray[np.bool_]) -> Map:
        normal = statistics.NormalDist()
        edges = [normal.inv_cdf(place / self.bins) for place in range(1, self.bins)]
        low, high = torch.tensor([-math.inf, *edges]), torch.tensor([*edges, math.inf])
        counts = torch.from_numpy(active)[:, None]

        def one_hot(units: Tensor) -> Tensor:
            each = units[..., None]  # (n, D, 1)
            inside = (each >= low.to(units)) & (each < high.to(units)) & counts.to(units.device)
            return inside.flatten(-2).to(units.dtype)

        return one_hot


@dataclasses.dataclass(frozen=True)
class Tiles(Recoding):
    """Fuzzy tiling of each unit: tile i over [c_i, c_i + delta] shows 1 - I(max(c_i - z, 0) + max(z - delta - c_i, 0)).

    I(x) is x up to eta and 1 above. Pan, Banman and White, "Fuzzy Tiling Activations" (ICLR 2021), eq. 4; z is clipped
    to the bounds, where theirs shows nothing outside of them. All 0 of a dead unit.
    """

    name: ClassVar[str] = "tiles"
    differentiable: ClassVar[bool] = True
    tiles: int = 20
    """Of each unit."""
    bound: float = 2.0
    """They tile -bound..bound, in standard deviations."""
    eta: float = 0.2
    """How far outside of a tile it still shows something, in standard deviations, at most 1."""

    def _check(self) -> None:
        self._whole("tiles", 2, 1000)
        self._positive("bound")
        self._positive("eta")
        if self.eta > 1:
            raise ValueError(f"recode='tiles': eta needs at most 1, got {self.eta}")

    def size(self, code_size: int) -> int:
        return self.tiles * code_size

    def map_for(self, active: npt.NDArray[np.bool_]) -> Map:
        delta = 2 * self.bound / self.tiles
        starts = -self.bound + delta * torch.arange(self.tiles)
        counts = torch.from_numpy(active)[:, None]

        def tiles(units: Tensor) -> Tensor:
            each, start = units.clamp(-self.bound, self.bound)[..., None], starts.to(units)
            outside = (start - each).clamp(min=0) + (each - delta - start).clamp(min=0)  # (n, D, tiles)
            shown = torch.where(outside <= self.eta, 1 - outside, 0.0) * counts.to(units)
            return shown.flatten(-2)

        return tiles


RECODINGS: dict[str, type[Recoding]] = {
    kind.name: kind for kind in (Expand, Cosine, OneHot, Tiles, Simplicial, Project)
}
"""Name -> recoding."""


def recoding_of(recode: Recode) -> Recoding:
    """The recoding that ``recode=`` names.

    Example:
        >>> recoding_of("expand").resolved(10).settings()
        {'name': 'expand', 'width': 200, 'seed': 0, 'k': 20}
        >>> recoding_of({"name": "one_hot", "bins": 4}).size(10)
        40

    Raises:
        TypeError: neither a name nor a mapping with one.
        ValueError: an unknown name or setting, with the known ones, or a setting out of its range.
    """
    if isinstance(recode, Recoding):
        return recode
    if isinstance(recode, os.PathLike) or (isinstance(recode, str) and recode.endswith(".safetensors")):
        return load_dictionary(recode)
    given = {"name": recode} if isinstance(recode, str) else recode
    if not isinstance(given, Mapping) or not isinstance(given.get("name"), str):
        raise TypeError(
            f"recode needs one of {', '.join(RECODINGS)}, or a mapping such as {{'name': 'expand', 'width': 400}}, or "
            f"the file of a dictionary, got {recode!r}"
        )
    if given["name"] == Dictionary.name and "artefact" not in given:
        raise ValueError(
            "recode='dictionary' needs the file of one, as python -m rl.dictionary writes it: recode='FILE.safetensors'"
        )
    kind = Dictionary if given["name"] == Dictionary.name else lookup(RECODINGS, given["name"], "recode")
    # numbers of numpy count, as tuners give them
    settings = {
        name: value.item() if isinstance(value, np.generic) else value
        for name, value in given.items()
        if name != "name"
    }
    known = [field.name for field in dataclasses.fields(kind)]
    unknown = [str(name) for name in settings if name not in known]
    if unknown:
        raise ValueError(f"recode={kind.name!r} has the settings {', '.join(known)}, got {', '.join(unknown)}")
    return kind(**settings)
