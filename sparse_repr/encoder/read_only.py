"""Dicts and lists that cannot be edited: what describes frozen weights must not change beside them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn


def _refuse(self: Any, *_: Any, **__: Any) -> NoReturn:
    raise TypeError(
        "this is part of a frozen description and cannot be edited: make another one with dataclasses.replace, or take "
        f"a copy with {type(self).__mro__[1].__name__}(...)"
    )


class ReadOnlyDict(dict[str, Any]):
    """A dict that refuses edits; it stays equal to a plain one, JSON takes it, and copies and pickles refuse too."""

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (dict(self),)


class ReadOnlyList(list[Any]):
    """A list that refuses edits; it stays equal to a plain one, JSON takes it, and copies and pickles refuse too."""

    __setitem__ = __delitem__ = __iadd__ = __imul__ = _refuse
    append = clear = extend = insert = pop = remove = reverse = sort = _refuse

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (list(self),)


def read_only(value: Any) -> Any:
    """The same plain value with dicts and lists that cannot be edited, at any depth."""
    if isinstance(value, Mapping):
        return ReadOnlyDict({name: read_only(entry) for name, entry in value.items()})
    if isinstance(value, list):
        return ReadOnlyList(read_only(entry) for entry in value)
    if isinstance(value, tuple):
        return tuple(read_only(entry) for entry in value)
    return value
