"""What an entry of `OBJECTIVES` says: how an objective is described, which settings it takes and how it is built."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

from sparse_repr.objectives.base import Objective

Option = float | int | str | bool
Check = Callable[[str, Any], None]
"""check(name, value) raises ValueError for a value that cannot be used."""


class Setting(NamedTuple):
    """An option of an objective."""

    default: Option
    """What it is unless the user says otherwise; the user's value has its type."""
    check: Check
    """Which values it takes."""


@dataclasses.dataclass(frozen=True)
class ObjectiveChoice:
    """An entry of `OBJECTIVES`: how an objective is described, which weights it takes and how it is built."""

    summary: str
    """One line with its paper, for --help."""
    weights: Mapping[str, float]
    """Weights of its terms, each with what it is unless set; a weight that is not listed cannot be set."""
    build: Callable[..., Objective]
    """build(vae, reconstruction, learning_rate=..., **weights, **options), and what `needs` lists."""
    options: Mapping[str, Setting] = dataclasses.field(default_factory=dict)
    """Its further settings: schedules, places, estimators."""
    check: Callable[..., object] | None = None
    """check(**options) raises ValueError where options do not fit together."""
    check_code: Callable[..., object] | None = None
    """check_code(code_size, **options) raises ValueError where options do not fit a code of that many units."""
    needs: tuple[str, ...] = ()
    """What else `build` takes: "seed" (of further networks), "dataset_size" (training images), "targets" (frozen
    features, a `feature_prediction.Targets`) or "background_loss" (what the encoder's background alone loses, nats)."""
    heads: tuple[str, ...] = ("gaussian", "shrinkage")
    """Heads of the encoder it can train (see `models.Architecture`); the first is its own, and may be a network's."""
    reconstructs: bool = True
    """Whether it compares a reconstruction with the image."""
    decodes: bool = True
    """Whether it trains a decoder of pictures; a run without has no `vae.safetensors` and no reconstructions."""
    reconstruction: str = "bernoulli"
    """How it compares them unless set."""
    learns_variance: bool = False
    """Whether it divides its error by the error itself, so that a weight of the pixels alone changes nothing, and the
    error must be a sum of squares."""
    standard_normal: bool = True
    """Whether N(0, 1) is the prior of its units, where they have one."""
    needs_likelihood: bool = False
    """Whether the reconstruction must be a density, which a perceptual distance is not."""
    smallest_batch: int = 1
    """Images per step that it needs at least."""
    discriminates: bool = False
    """Whether it trains a discriminator with an optimiser of its own; else it is a `WeightedLoss`."""
    couples_images: str = ""
    """Why its loss is not a mean over the images of a batch, where it is not: parts of a batch would not add up."""


def number(low: float, high: float) -> Check:
    """A check for numbers between `low` and `high`, both left out."""

    def check(name: str, value: Any) -> None:
        if not low < value < high:
            wanted = f"a number between {low:g} and {high:g}" if math.isfinite(high) else "a positive number"
            raise ValueError(f"{name} needs {wanted}, got {value!r}")

    return check


def weight(name: str, value: Any) -> None:
    """The check for a weight: a finite number of at least 0."""
    if not 0 <= value < math.inf:
        raise ValueError(f"{name} needs a finite number of at least 0, got {value!r}")


def one_of(names: Collection[str]) -> Check:
    """A check for one of `names`."""

    def check(name: str, value: Any) -> None:
        if value not in names:
            raise ValueError(f"{name} needs one of {', '.join(names)}, got {value!r}")

    return check


def flag(name: str, value: Any) -> None:
    """The check for True or False."""
    if not isinstance(value, bool):
        raise ValueError(f"{name} needs True or False, got {value!r}")
