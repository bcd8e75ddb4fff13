"""Domains: the source in which encoders and agents are trained, and targets that differ from it in one thing each."""

from __future__ import annotations

import dataclasses
from typing import Literal

from sparse_repr.registry import lookup

Combinations = Literal["all", "source", "held_out"]


@dataclasses.dataclass(frozen=True)
class Domain:
    """What a domain draws and how it looks."""

    description: str
    """One sentence for people."""
    combinations: Combinations = "source"
    """Which combinations of factors episodes draw: those that are not held out, those that are, or all."""
    new_colors: bool = False
    """Sprites in colours that the source never shows."""
    background: bool = False
    """A dim colour gradient in place of black, another one in every episode."""
    noise: bool = False
    """Every value of every picture is moved at random."""
    camera: tuple[int, int] = (0, 0)
    """The picture is moved by so many pixels to the right and downwards; black moves in."""

    def allows(self, held_out: bool) -> bool:
        """Whether an episode may draw a combination that is (not) among the held-out ones."""
        return self.combinations == "all" or held_out == (self.combinations == "held_out")

    @property
    def plain(self) -> bool:
        """Whether pictures look as in the source."""
        return not (self.new_colors or self.background or self.noise or any(self.camera))


DOMAINS: dict[str, Domain] = {
    "source": Domain("every combination that is not held out"),
    "held_out": Domain("only the held-out combinations", combinations="held_out"),
    "new_colors": Domain("sprites in other colours", new_colors=True),
    "background": Domain("a dim gradient in place of black", background=True),
    "noise": Domain("noise on every picture", noise=True),
    "camera": Domain("the view is shifted", camera=(6, -4)),
    "all": Domain("every combination, held out or not", combinations="all"),
}
"""Name -> domain, the same names for every environment; what is held out is the environment's own."""

TARGETS = ("held_out", "new_colors", "background", "noise", "camera")
"""Domains that training in the source never shows."""


def find_domain(name: str, environment: str) -> Domain:
    """The domain of that name.

    Raises:
        ValueError: there is none; the message lists close matches.
    """
    return lookup(DOMAINS, name, f"domain of {environment}")
