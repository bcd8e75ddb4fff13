"""Seeded damage for files: what disks, copies and editors do to one, and what a hostile hand would write."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np

Loaded = TypeVar("Loaded")

# Where the structure of most formats lies: their header stands at the beginning or at the end.
_EDGE_BYTES = 4096
_EXTREMES = (
    b"\x00" * 8,
    b"\xff" * 8,
    b"\xff" * 7 + b"\x7f",
    b"\xff\xff\xff\x7f",
    b"\x00\x00\x00\x80",
    b"\x01" + b"\x00" * 7,
)


def mutations(content: bytes, count: int, *, seed: int = 0) -> Iterator[tuple[str, bytes]]:
    """Damaged copies of a file; one in two is hit where its structure lies.

    Args:
        content: the sound file.
        count: how many copies.
        seed: the same seed gives the same copies.

    Yields:
        What was done, for messages, and the damaged content, which always differs from `content`.
    """
    for number in range(count):
        generator = np.random.default_rng((seed, number))
        name = list(_DAMAGES)[number % len(_DAMAGES)]
        damaged = _DAMAGES[name](bytearray(content), _place(len(content), generator), generator)
        if damaged != content:
            yield f"{name}, seed ({seed}, {number})", bytes(damaged)
        else:
            flipped = bytearray(content)
            flipped[_place(len(content), generator)] ^= 1
            yield f"flip, seed ({seed}, {number})", bytes(flipped)


def json_mutations(content: Any, count: int, *, seed: int = 0) -> Iterator[tuple[str, bytes]]:
    """A JSON value of which one entry is another than it should be, and texts that are no such value.

    Args:
        content: the sound value: a dict or a list.
        count: how many copies.
        seed: the same seed gives the same copies.

    Yields:
        What was done, for messages, and the text, encoded.
    """
    whole = json.dumps(content)
    places = list(_places(content))
    for number in range(count):
        generator = np.random.default_rng((seed, number))
        if number < len(UNREADABLE):
            yield f"unreadable text {number}", UNREADABLE[number]
            continue
        changed = json.loads(whole)
        path = places[generator.integers(len(places))]
        parent = changed
        for step in path[:-1]:
            parent = parent[step]
        way = generator.integers(10)
        if way == 0:
            del parent[path[-1]]
            yield f"without {path}", json.dumps(changed).encode()
        elif way == 1 and isinstance(parent, dict):
            parent[f"{path[-1]}_"] = parent.pop(path[-1])
            yield f"renamed {path}", json.dumps(changed).encode()
        else:
            other = ODD_VALUES[generator.integers(len(ODD_VALUES))]
            parent[path[-1]] = "@"
            yield f"{path} is {other[:40]}", json.dumps(changed).replace('"@"', other, 1).encode()


def load_or_refusal(
    load: Callable[[], Loaded], errors: type[Exception] | tuple[type[Exception], ...] = ValueError
) -> tuple[Loaded | None, str]:
    """What `load` returns and no message, or None and the message of one of the `errors`; others go on."""
    try:
        return load(), ""
    except errors as error:
        return None, f"{error}"


def _place(length: int, generator: np.random.Generator) -> int:
    edge = min(_EDGE_BYTES, length)
    return int(
        (generator.integers(edge), length - 1 - generator.integers(edge), *generator.integers(length, size=2))[
            generator.integers(4)
        ]
    )


def _flip(content: bytearray, place: int, generator: np.random.Generator) -> bytearray:
    content[place] ^= 1 << int(generator.integers(8))
    return content


def _flip_several(content: bytearray, place: int, generator: np.random.Generator) -> bytearray:
    for _ in range(5):
        content = _flip(content, place, generator)
        place = _place(len(content), generator)
    return content


def _overwrite(content: bytearray, place: int, generator: np.random.Generator) -> bytearray:
    length = min(int(generator.integers(1, 64)), len(content) - place)
    content[place : place + length] = generator.bytes(length)
    return content


def _zero(content: bytearray, place: int, generator: np.random.Generator) -> bytearray:
    length = min(int(generator.choice([1, 8, 512, 4096])), len(content) - place)
    content[place : place + length] = bytes(length)
    return content


def _write_extreme(content: bytearray, place: int, generator: np.random.Generator) -> bytearray:
    number = _EXTREMES[generator.integers(len(_EXTREMES))]
    content[place : place + len(number)] = number
    return content


def _cut(content: bytearray, place: int, generator: np.random.Generator) -> bytearray:
    return content[:place]


def _drop(content: bytearray, place: int, generator: np.random.Generator) -> bytearray:
    return content[:place] + content[place + int(generator.integers(1, 600)) :]


def _repeat(content: bytearray, place: int, generator: np.random.Generator) -> bytearray:
    length = int(generator.integers(1, 600))
    return content[: place + length] + content[place:]


def _append(content: bytearray, place: int, generator: np.random.Generator) -> bytearray:
    return content + generator.bytes(int(generator.integers(1, 200)))


def _swap(content: bytearray, place: int, generator: np.random.Generator) -> bytearray:
    other = _place(len(content), generator)
    length = min(int(generator.integers(1, 64)), abs(place - other), len(content) - max(place, other))
    first, second = content[place : place + length], content[other : other + length]
    content[place : place + length], content[other : other + length] = second, first
    return content


_Damage = Callable[[bytearray, int, np.random.Generator], bytearray]
_DAMAGES: dict[str, _Damage] = {
    "flip": _flip,
    "flip several": _flip_several,
    "overwrite": _overwrite,
    "zero": _zero,
    "extreme number": _write_extreme,
    "cut": _cut,
    "drop": _drop,
    "repeat": _repeat,
    "append": _append,
    "swap": _swap,
}

DEEP = 100_000
"""Brackets that no parser follows to the end."""
UNREADABLE = (
    b"",
    b"\xff\xfe\x00",
    b"{",
    b"[" * DEEP + b"]" * DEEP,
    b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    b"[" * 500 + b"]" * 500,
    b"[]",
    b"null",
    b"true",
    b'"text"',
    b"1",
    b"NaN",
    b"{} {}",
    b"<html><body>404</body></html>",
    '{"a": 1}'.encode("utf-16"),
    b'{"a": "\x00"}',
)
"""What is no JSON object at all, or none that any of our files holds."""
ODD_VALUES: Sequence[str] = (
    "null",
    "true",
    "false",
    '"False"',
    '"1"',
    '""',
    '"\\u0000"',
    '"\\ud800"',
    "0",
    "-1",
    "7",
    "0.5",
    "1e400",
    "-1e400",
    "NaN",
    "Infinity",
    "9" * 30,
    "9" * 5000,
    "[]",
    "{}",
    "[null]",
    '{"a": 1}',
    "[" * 500 + "]" * 500,
    "[" * DEEP + "]" * DEEP,
)
"""Values that stand in for an entry, as JSON."""


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every entry inside of a JSON value."""
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, entry in entries:
        yield (*path, key)
        yield from _places(entry, (*path, key))
