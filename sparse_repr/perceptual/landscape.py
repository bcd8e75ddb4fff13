"""What a vague guess earns under a perceptual loss: whether a run can start by it, and at which resolutions."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from sparse_repr.perceptual.distance import content_distance
from sparse_repr.perceptual.features import Features
from sparse_repr.perceptual.levels import COARSE_TO_FINE, Level
from sparse_repr.perceptual.vagueness import empty_pictures, vague_guesses

PIXELS = "pixels"
# What a guess may have of the best empty picture's loss to count as a slope: clear of the noise of some images, and
# steep enough to be found.
_SLOPE = 0.9
_AT_ONCE = 16
_FLOOR = 1e-12
# Pictures up to this size show where, and cost little.
_COARSE = 16


@dataclasses.dataclass(frozen=True)
class Landscape:
    """The loss of guesses as a share of the best empty picture's: below 1 where the loss prefers the guess.

    An empty picture shows nothing of its image: the mean picture, or a constant one. A run begins there, and where no
    vague guess is better it ends there.
    """

    kinds: Mapping[str, tuple[str, ...]]
    """Kind of guess -> its guesses, vaguest first: empty, place, blur and neighbours."""
    columns: tuple[str, ...]
    """``"pixels"``, then LAYER@RESOLUTION."""
    shares: Mapping[str, Mapping[str, float]]
    """Guess -> column -> share of the best empty picture's mean squared distance."""
    stages: Mapping[str, Mapping[str, float]]
    """Stage of a loss from coarse to fine, such as ``"8,16"`` -> guess -> share."""
    resolutions: Mapping[int, Mapping[str, float]]
    """Resolution -> guess -> share, under the layers of that loss at this one resolution."""

    def slope(self, shares: Mapping[str, float]) -> str | None:
        """The vaguest guess that is clearly better than any empty picture, of places or neighbours; None without one.

        Of places the widest two count, a quarter and an eighth of the image: what is first learned of an object is
        roughly where it is. Of neighbours the nearest half and quarter of the data, which is what a bit or two tell.

        Args:
            shares: guess -> share, of a stage or a resolution.
        """
        return next((name for name in self.vague() if shares[name] < _SLOPE), None)

    def vague(self) -> list[str]:
        """The guesses that a run has to find better than nothing."""
        return [*self.kinds["place"][:2], *self.kinds["neighbours"][:2]]

    def column(self, name: str) -> dict[str, float]:
        """Guess -> share of one column."""
        return {guess: shares[name] for guess, shares in self.shares.items()}

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "kinds": {kind: list(names) for kind, names in self.kinds.items()},
            "shares_of_the_best_empty_picture": {guess: dict(shares) for guess, shares in self.shares.items()},
            "stages": {stage: dict(shares) for stage, shares in self.stages.items()},
            "resolutions": {f"{size}": dict(shares) for size, shares in self.resolutions.items()},
        }


@torch.no_grad()
def measure_landscape(
    features: Features,
    layers: Sequence[str],
    images: Tensor,
    others: Tensor,
    *,
    resolutions: Sequence[int],
    levels: Sequence[Level] = (),
    compared: Sequence[str] = (),
    seed: int = 0,
) -> Landscape:
    """Compare vague guesses of images with them.

    Args:
        features: the frozen network.
        layers: names of what it returns.
        images: (N, C, S, S) in 0..1, N at least 2.
        others: (M, C, S, S) in 0..1, more images of the data, whose mean is the mean picture.
        resolutions: heights and widths that are compared, divisors of S.
        levels: of a loss from coarse to fine, at some of `resolutions`; its stages are weighed as its levels are.
        compared: the layers of that loss, some of `layers`.
        seed: of the guesses.

    Raises:
        ValueError: the images are all the same.
    """
    kinds = vague_guesses(images, others, seed=seed)
    empty = empty_pictures(images, others)
    guesses = {**empty, **{name: guess for found in kinds.values() for name, guess in found}}
    distances = {name: {PIXELS: float((guess - images).square().mean())} for name, guess in guesses.items()}
    if not distances["mean picture"][PIXELS]:
        raise ValueError(f"landscape needs images that differ, got {len(images)} alike")
    variances: dict[str, float] = {}
    for resolution in resolutions:
        wanted = _features_at(features, images, resolution)
        for layer, theirs in zip(layers, wanted, strict=True):
            variances[f"{layer}@{resolution}"] = float(theirs.cpu().double().var(0).mean())
        for name, guess in guesses.items():
            for layer, ours, theirs in zip(layers, _features_at(features, guess, resolution), wanted, strict=True):
                distances[name][f"{layer}@{resolution}"] = float(content_distance(ours, theirs).mean())
    base = {column: min(distances[name][column] for name in empty) for column in distances["black"]}

    def shares_at(joined: Sequence[int]) -> dict[str, float]:
        columns = [f"{layer}@{resolution}" for resolution in joined for layer in compared]
        losses = {
            name: sum(found[column] / max(variances[column], _FLOOR) for column in columns)
            for name, found in distances.items()
        }
        least = min(losses[name] for name in empty)
        return {name: loss / least for name, loss in losses.items()}

    starts = sorted({level.start for level in levels})
    joined = [[level.resolution for level in levels if level.start <= start] for start in starts]
    return Landscape(
        kinds={"empty": tuple(empty), **{kind: tuple(name for name, _ in found) for kind, found in kinds.items()}},
        columns=tuple(base),
        shares={name: {c: found[c] / max(base[c], _FLOOR) for c in base} for name, found in distances.items()},
        stages={",".join(map(str, sizes)): shares_at(sizes) for sizes in joined},
        resolutions={resolution: shares_at([resolution]) for resolution in resolutions},
    )


def _features_at(features: Features, images: Tensor, resolution: int) -> list[Tensor]:
    parts = [
        features(F.avg_pool2d(part, images.shape[-1] // resolution) if images.shape[-1] > resolution else part)
        for part in images.split(_AT_ONCE)
    ]
    return [torch.cat(found) for found in zip(*parts, strict=True)]


@dataclasses.dataclass(frozen=True)
class Advice:
    """Whether a loss can start on data, and which levels can."""

    starts: bool
    """Whether the first stage of the loss has a slope."""
    sentences: tuple[str, ...]
    """In words."""
    levels: str | None
    """Levels to take, as `parse_levels` reads them; None where no resolution has a slope."""


def advise(landscape: Landscape, layers: Sequence[str]) -> Advice:
    """What to take from a landscape with at least one stage; `layers` are those of the loss."""
    first, shares = next(iter(landscape.stages.items()))
    by = landscape.slope(shares)
    if by is not None:
        sentences = [
            f"This loss can start: at its first levels ({first}) the guess {by!r} has {shares[by]:.2f} of the loss of "
            "the best picture that shows nothing."
        ]
    else:
        told = ", ".join(f"{name} {shares[name]:.2f}" for name in landscape.vague())
        sentences = [
            f"This loss cannot start: at its first levels ({first}) no vague guess is clearly better than a picture "
            f"that shows nothing ({told}): a run would stay at one."
        ]
    steep = [size for size in sorted(landscape.resolutions) if landscape.slope(landscape.resolutions[size])]
    flat = [size for size in sorted(landscape.resolutions) if size not in steep]
    if not steep:
        sentences.append(
            "No resolution has a slope in these layers: keep the pixels beside the features (--pixel-weight 1), or try "
            "other layers."
        )
        return Advice(by is not None, tuple(sentences), None)
    base = [size for size in steep if size <= _COARSE] or steep[:1]
    later = [size for size in sorted(landscape.resolutions) if size > base[-1]]
    levels = ",".join(
        [*map(str, base), *(f"{size}{join}" for size, join in zip(later, _joins(len(later)), strict=True))]
    )
    if flat:
        sentences.append(
            f"No slope from afar at {', '.join(f'{size}x{size}' for size in flat)}: from the first step on, it would "
            "hold the others back."
        )
    sentences.append(f"Take --perceptual-layers {','.join(layers)} --perceptual-levels {levels}")
    return Advice(by is not None, tuple(sentences), levels)


def _joins(count: int) -> list[str]:
    """When and on which part of a batch that many finer levels join: as in the presets, the last ones as theirs."""
    finer = [level.partition("@")[2] for level in COARSE_TO_FINE.split(",") if "@" in level]
    return [f"@{finer[max(0, place - count + len(finer))]}" for place in range(count)]
