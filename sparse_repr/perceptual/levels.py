"""Levels of a coarse-to-fine loss: at which resolutions pictures are compared, from which step, on which images."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

COARSE_TO_FINE = "8,16,32@0.12:1/4,64@0.35:1/8"
"""The levels of the presets: pictures of 32 and 64 join at 12 and 35 % of the run, on a quarter and an eighth."""
_LEVEL = re.compile(r"(?P<resolution>\d+)(?:@(?P<start>\d+(?:\.\d+)?))?(?::1/(?P<image_every>\d+))?")


@dataclasses.dataclass(frozen=True)
class Level:
    """One resolution of a coarse-to-fine loss."""

    resolution: int
    """Height and width that pictures are averaged down to."""
    start: int = 0
    """Step at which it joins, counted from 0."""
    image_every: int = 1
    """It is taken on every m-th image of a batch, m times as strong."""

    def __str__(self) -> str:
        """As `parse_levels` reads it."""
        start = f"@{self.start}" if self.start else ""
        return f"{self.resolution}{start}{f':1/{self.image_every}' if self.image_every > 1 else ''}"


def parse_levels(text: str, steps: int | None) -> tuple[Level, ...]:
    """Levels, separated by commas: RESOLUTION, RESOLUTION@START, RESOLUTION@START:1/M.

    Args:
        text: START is a step or, with a point in it, a share of the run below 1; a level without one is there from
            step 0. 1/M is the part of each batch it is taken on.
        steps: of the run, which shares are of.

    Returns:
        The levels in the order of their resolutions, joining at whole steps.

    Raises:
        ValueError: anything else, a resolution twice, or a share without `steps`.

    >>> [str(level) for level in parse_levels("8,16,32@0.12:1/4,64@600", 1_500)]
    ['8', '16', '32@180:1/4', '64@600']
    """
    levels: dict[int, Level] = {}
    for part in text.split(","):
        match = _LEVEL.fullmatch(part.strip())
        if match is None or int(match["image_every"] or 1) < 1:
            raise ValueError(
                "perceptual_levels needs resolutions separated by commas, each with the step or share of the run at "
                f"which it joins and the part of a batch it is taken on, such as 8,16,32@0.12:1/4,64@600, got {text!r}"
            )
        resolution, start = int(match["resolution"]), match["start"] or "0"
        if resolution in levels:
            raise ValueError(f"perceptual_levels needs every resolution once, got {resolution} twice in {text!r}")
        levels[resolution] = Level(resolution, _step(start, steps, text), int(match["image_every"] or 1))
    return tuple(levels[resolution] for resolution in sorted(levels))


def _step(start: str, steps: int | None, text: str) -> int:
    if "." not in start:
        return int(start)
    if float(start) >= 1 or steps is None:
        known = "below 1" if steps is not None else "of a run whose steps are known"
        raise ValueError(f"perceptual_levels needs shares {known}, got {start} in {text!r}")
    return round(float(start) * steps)


def in_words(levels: Sequence[Level]) -> str:
    """Levels as `parse_levels` reads them."""
    return ",".join(map(str, levels))
