"""Reading JSON that others may have edited, cut or damaged: whatever is wrong, it is one ValueError with its origin."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

_DEEPEST = 32
_LARGEST = 2**63
_SHOWN = 60


@dataclasses.dataclass(frozen=True)
class Expected:
    """What an entry must be."""

    words: str
    """As in "needs WORDS, found ..."."""
    fits: Callable[[Any], bool]
    """Whether a value is it; values are what `json` reads, finite and not deep."""
    entries: Shape | None = None
    """What every entry of it must be, where it is a list or an object."""


Shape = Expected | Mapping[str, "Shape"]
"""What a value must be; a mapping names the entries that an object needs."""

ANYTHING = Expected("any value", lambda _: True)
FLAG = Expected("true or false", lambda value: isinstance(value, bool))
OBJECT = Expected("an object", lambda value: isinstance(value, dict))
TEXT = Expected("text", lambda value: isinstance(value, str))


def one_of(*choices: str) -> Expected:
    """One of some texts."""
    return Expected(f"one of {', '.join(choices)}", lambda value: isinstance(value, str) and value in choices)


def whole(minimum: int | None = None) -> Expected:
    """A whole number; true and 1.0 are none."""
    words = "a whole number" + ("" if minimum is None else f" of at least {minimum}")
    return Expected(
        words,
        lambda value: type(value) is int and (minimum is None or value >= minimum),
    )


def number(minimum: float | None = None, maximum: float | None = None) -> Expected:
    """A finite number, whole or not; true is none."""
    words = "a number"
    if minimum is not None:
        words += f" of at least {minimum}" if maximum is None else f" in {minimum}..{maximum}"
    return Expected(
        words,
        lambda value: (
            type(value) in (int, float)
            and (minimum is None or value >= minimum)
            and (maximum is None or value <= maximum)
        ),
    )


def optional(shape: Expected) -> Expected:
    """That, or null."""
    return dataclasses.replace(
        shape, words=f"{shape.words} or null", fits=lambda value: value is None or shape.fits(value)
    )


def many(shape: Shape, length: int | None = None) -> Expected:
    """A list whose entries are all that; `length` entries where given."""
    words = "a list" if length is None else f"a list of {length}"
    return Expected(words, lambda value: isinstance(value, list) and length in (None, len(value)), shape)


def each(shape: Shape) -> Expected:
    """An object whose entries, whatever they are called, are all that."""
    return Expected("an object", lambda value: isinstance(value, dict), shape)


def read_json(path: Path, shape: Shape = OBJECT, *, remedy: str = "copy or write it again") -> Any:
    """The content of a JSON file.

    Args:
        path: the file.
        shape: what its content must be.
        remedy: what to do about a damaged file, for messages.

    Raises:
        FileNotFoundError, OSError: there is no such file, or it cannot be read.
        ValueError: damaged, or another content; `path` is named.
    """
    return parse_json(path.read_bytes(), str(path), shape, remedy=remedy)


def parse_json(
    content: bytes | str,
    origin: str,
    shape: Shape = OBJECT,
    *,
    closed: bool = False,
    remedy: str = "copy or write it again",
) -> Any:
    """The value that a JSON text spells.

    Beyond what is no JSON, these are refused because none of our files holds them and all make trouble later: NaN and
    infinity, whole numbers beyond 64 bits, nesting deeper than 32, a name twice, and text that cannot be printed.

    Args:
        content: the text, UTF-8 where it is bytes.
        origin: what to call it in messages, usually its path.
        shape: what the value must be.
        closed: refuse entries that `shape` does not name, wherever it names any.
        remedy: what to do about it, for messages.

    Raises:
        ValueError: unreadable, or not of that shape; `origin`, the entry, what it needs and what was found are named.
    """
    try:
        value = json.loads(
            content if isinstance(content, str) else content.decode("utf-8"),
            object_pairs_hook=_without_repeats,
            parse_constant=_refuse_constant,
        )
        _require_plain(value, 0)
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        reason = "nested too deep" if isinstance(error, RecursionError) else f"{error}"
        raise ValueError(f"{origin} is damaged: it is not readable JSON ({reason}); {remedy}") from error
    require(value, shape, origin, closed=closed, remedy=remedy)
    return value


def require(
    value: Any, shape: Shape, origin: str, *, closed: bool = False, remedy: str = "copy or write it again"
) -> None:
    """Check that a value is of that shape; arguments and errors as in `parse_json`."""
    _require(value, shape, (), closed, f"{origin} is damaged: ", f"; {remedy}")


def _require(value: Any, shape: Shape, place: tuple[str | int, ...], closed: bool, before: str, after: str) -> None:
    if isinstance(shape, Expected):
        if not shape.fits(value):
            raise ValueError(f"{before}{_named(place)} needs {shape.words}, found {_shown(value)}{after}")
        if shape.entries is not None and value is not None:
            entries = value.items() if isinstance(value, dict) else enumerate(value)
            for key, entry in entries:
                _require(entry, shape.entries, (*place, key), closed, before, after)
        return
    if not isinstance(value, dict):
        raise ValueError(f"{before}{_named(place)} needs an object, found {_shown(value)}{after}")
    missing = [key for key in shape if key not in value]
    unknown = [key for key in value if key not in shape] if closed else []
    if missing or unknown:
        wrong = [*(f"no {key!r}" for key in missing), *(f"an unknown {key!r:.{_SHOWN}}" for key in unknown)]
        raise ValueError(
            f"{before}{_named(place)} needs the entries {', '.join(shape)}, found {', '.join(wrong)}{after}"
        )
    for key, part in shape.items():
        _require(value[key], part, (*place, key), closed, before, after)


def _named(place: tuple[str | int, ...]) -> str:
    """The place of an entry as messages spell it, such as ``curve[3].loss``; a number is one in a list."""
    spelled = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)
    return spelled.lstrip(".") or "its content"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name stands there twice")
    return found


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON number")


def _require_plain(value: Any, depth: int) -> None:
    if depth > _DEEPEST:
        raise ValueError(f"nested deeper than {_DEEPEST}")
    if isinstance(value, str):
        value.encode("utf-8")  # half of a surrogate pair, which json lets pass, could not be printed
        if "\0" in value:
            raise ValueError("text with a null character")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError("a number that is not finite")
    elif isinstance(value, int):
        if not -_LARGEST <= value < _LARGEST:
            raise ValueError("a whole number beyond 64 bits")
    elif isinstance(value, dict):
        for key, entry in value.items():
            _require_plain(key, depth + 1)
            _require_plain(entry, depth + 1)
    elif isinstance(value, list):
        for entry in value:
            _require_plain(entry, depth + 1)
