"""Look a name up in one of the package's plain-dict registries."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import TypeVar

T = TypeVar("T")
_MANY = 40


def lookup(registry: Mapping[str, T], name: str, kind: str, *, own: bool = False) -> T:
    """Return ``registry[name]``; an unknown name raises with its close matches.

    Args:
        registry: name -> entry.
        name: what the user asked for.
        kind: what the entries are called in the error, e.g. ``"data set"``.
        own: users register entries of their own there, which the error reminds of.

    Raises:
        ValueError: `name` is not in the registry; the message lists close matches and every known name; of more
            than 40 their number, where something is close.

    Example:
        >>> lookup({"faces": 1, "shapes3d": 2}, "face", "data set")
        Traceback (most recent call last):
            ...
        ValueError: unknown data set 'face'. Did you mean 'faces'? Known: faces, shapes3d.
    """
    if name in registry:
        return registry[name]
    close = difflib.get_close_matches(str(name), registry, n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(repr(match) for match in close)}?" if close else ""
    # a hundred names would hide the hint
    known = (
        f"Known are {len(registry)}." if close and len(registry) > _MANY else f"Known: {', '.join(sorted(registry))}."
    )
    first = " Your own must be registered first (--plugin FILE.py of pretrain, evaluate, explore, data)." if own else ""
    raise ValueError(f"unknown {kind} {name!r}.{hint} {known}{first}")
