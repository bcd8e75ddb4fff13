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
    values, others = [], []
    rest = iter(arguments)
    for argument in rest:
        key, _, value = argument.partition("=")
        if key == name:
            values.append(value or next(rest, ""))
        else:
            others.append(argument)
    return values, others
