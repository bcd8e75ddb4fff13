"""Bounds of the numbers and names in settings, so that what no machine can do is refused before any work."""

from __future__ import annotations

import dataclasses
import numbers
import os
from collections.abc import Mapping
from typing import Any, get_args, get_type_hints

import numpy as np

MOST_THREADS = 1_024
MOST_TORCH_SEED = 2**63 - 1
"""Largest seed of a generator of torch."""
MOST_SEED = 2**32 - 1
"""Largest seed that scikit-learn takes too."""
_MOST_COUNT = 10**12
_PLACES = ("out", "results", "run", "runs", "page", "baseline", "real_frames")


def require_whole(name: str, value: object, *, least: int = 1, most: int | None = None) -> None:
    """Check that a setting is a whole number between two bounds.

    Raises:
        ValueError: it is not; `name` is named.
    """
    bounds = f"of at least {least}" if most is None else f"in {least}..{most}"
    if isinstance(value, bool) or not isinstance(value, int) or value < least or (most is not None and value > most):
        raise ValueError(f"{name} needs a whole number {bounds}, got {value!r}")


def require_threads(value: int | None) -> None:
    """Check a number of CPU threads; None leaves it to torch.

    Raises:
        ValueError: not a whole number in 1..1024.
    """
    if value is not None:
        require_whole("threads", value, most=MOST_THREADS)


def require_name(name: str, value: str | os.PathLike[str] | None) -> None:
    """Check that a path that was given is not empty: that would mean the present folder, or be taken for the default.

    Raises:
        ValueError: it is empty.
    """
    if value is not None and not str(value).strip():
        raise ValueError(f"{name} needs the name of a file or folder, got {str(value)!r}")


def take_plain_numbers(settings: object) -> None:
    """Put plain numbers and truth values in the place of numpy's, as tuners give them, in a frozen dataclass."""
    for field in dataclasses.fields(settings):  # type: ignore[arg-type]
        value = getattr(settings, field.name)
        if isinstance(value, np.generic):
            object.__setattr__(settings, field.name, value.item())


def require_types(settings: object, *, whole: bool = True) -> None:
    """Check that the settings of a dataclass are of the types that they are declared with: plain ones, or None.

    A whole number will do for any number, a path for text.

    Args:
        settings: the dataclass.
        whole: check whole numbers too; not where each has bounds that its own message names.

    Raises:
        ValueError: one of them is something else, such as the text "1e-3" for a number; it is named.
    """
    for name, (kinds, words) in _declared(type(settings)).items():
        value = getattr(settings, name)
        if not whole and int in kinds:
            continue
        fits = isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool))
        if not fits:
            raise ValueError(f"{name} needs {words}, got {value!r}")


_KINDS: Mapping[type, tuple[tuple[type, ...], str]] = {
    float: ((numbers.Real,), "a number"),
    int: ((int,), "a whole number"),
    str: ((str, os.PathLike), "text"),
    bool: ((bool,), "True or False"),
    type(None): ((type(None),), "None"),
}


_KNOWN: dict[type, Mapping[str, tuple[tuple[type, ...], str]]] = {}


def _declared(settings: type) -> Mapping[str, tuple[tuple[type, ...], str]]:
    """Name -> what its value may be, and in words; settings of other types are left out."""
    if settings not in _KNOWN:
        _KNOWN[settings] = _read_declared(settings)
    return _KNOWN[settings]


def _read_declared(settings: type) -> dict[str, tuple[tuple[type, ...], str]]:
    hints, found = get_type_hints(settings), {}
    for field in dataclasses.fields(settings):
        parts = get_args(hints[field.name]) or (hints[field.name],)
        if all(part in _KINDS for part in parts):
            kinds = tuple(kind for part in parts for kind in _KINDS[part][0])
            found[field.name] = kinds, " or ".join(_KINDS[part][1] for part in parts)
    return found


def require_sensible(settings: Any) -> None:
    """Check what a dataclass of settings of an experiment has in common with others: counts, seeds and places.

    A whole number whose default is positive counts something, and needs at least 1.

    Raises:
        ValueError: one of them cannot be used; it is named.
    """
    for field in dataclasses.fields(settings):
        name, value = field.name, getattr(settings, field.name)
        if name in ("seed", "seeds", "other_seeds", "whole_seeds") and not isinstance(value, str | None):
            for seed in value if isinstance(value, tuple) else (value,):
                require_whole(name, seed, least=0, most=MOST_SEED)
        elif name in ("threads", "processes", "environments") and value is not None:
            require_whole(name, value, most=MOST_THREADS)
        elif isinstance(value, int) and not isinstance(value, bool):
            default = field.default
            require_whole(name, value, least=int(isinstance(default, int) and default > 0), most=_MOST_COUNT)
        elif name in _PLACES and isinstance(value, str):
            require_name(name, value)
