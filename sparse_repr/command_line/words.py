"""Options that are taken from the words of a command line before tyro reads the others."""

from __future__ import annotations

from collections.abc import Sequence


def take_option(arguments: Sequence[str], name: str) -> tuple[list[str], list[str]]:
    """Every value of an option, and the other words.

    Args:
        arguments: the words.
        name: of the option, such as ``--preset``.

    Returns:
        Values in their order, "" where one is missing, and what is left.
    """
    values: list[str] = []
    others: list[str] = []
    rest = list(arguments)
    while rest:
        key, equals, value = rest[0].partition("=")
        if key != name:
            others.append(rest.pop(0))
            continue
        del rest[0]
        if not equals and rest and not rest[0].startswith("--"):
            value = rest.pop(0)
        values.append(value)
    return values, others
