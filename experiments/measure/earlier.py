"""Results of an earlier call: what may stand beside what is computed now, and what may not."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

_DECIDES_SPEED = ("processor", "cores", "threads", "torch")


def require_same_settings(
    path: Path, earlier: Mapping[str, Any], asked: Mapping[str, Any], *, but: Collection[str] = ()
) -> None:
    """Refuse to put results of one setting beside those of another.

    Args:
        path: file that holds the earlier ones.
        earlier: their settings.
        asked: the present ones; what the earlier ones do not name is not compared.
        but: names of those that may differ.

    Raises:
        ValueError: some differ; the message names them and says what to do.
    """
    different = [
        f"{name} {_plain(earlier[name])!r} there, {_plain(value)!r} asked for"
        for name, value in asked.items()
        if name in earlier and name not in but and _plain(earlier[name]) != _plain(value)
    ]
    if different:
        raise ValueError(
            f"{path} holds results of other settings ({'; '.join(different)}): give another folder (--out), or the "
            "same settings"
        )


def _plain(value: Any) -> Any:
    """As JSON gives it back."""
    return list(value) if isinstance(value, tuple) else value


def as_fast(machine: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether seconds that were measured on these two machines can stand beside one another."""
    return all(machine.get(name) == other.get(name) for name in _DECIDES_SPEED)
