"""The command line that asks for what was measured, written beside the results."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Collection, Mapping
from typing import Any


def command_of(
    program: str,
    config: Any,
    *,
    but: Collection[str] = ("out",),
    positional: Collection[str] = (),
    always: Collection[str] = (),
    places: Mapping[str, str] | None = None,
) -> str:
    """The command line that asks for `config`: `program`, and every option that is not its default.

    Args:
        program: what is typed before the options, such as ``python -m experiments.benchmark``.
        config: a dataclass of options.
        but: fields that are left out, such as folders of one machine.
        positional: fields whose values are written without a name.
        always: fields that are written even where they have their default.
        places: words for the values of fields that are places on one machine: field -> such as ``RUN``.
    """
    words = [program]
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if field.name in but or (value == field.default and field.name not in always):
            continue
        name = field.name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{name}" if value else f"--no-{name}")
            continue
        if field.name not in positional:
            words.append(f"--{name}")
        if places is not None and field.name in places:
            words.append(places[field.name])
        else:
            words += [shlex.quote(str(part)) for part in (value if isinstance(value, tuple) else (value,))]
    return " ".join(words)
