"""What --help says of the objectives and of their settings, from their registry."""

from __future__ import annotations

from typing import Any

import tyro

from sparse_repr.objectives import OBJECTIVES, default_settings


def objectives_in_words() -> str:
    """What --help says of the objectives: what each is, one by one."""
    return "What is minimised:\n" + ";\n".join(f"{name}: {choice.summary}" for name, choice in OBJECTIVES.items()) + "."


def behind_setting(name: str) -> Any:
    """What --help says behind a setting of objectives: which take it, and what it is for each unless set."""
    takers: dict[str, list[str]] = {}
    for objective in OBJECTIVES:
        defaults = default_settings(objective)
        if name in defaults:
            takers.setdefault(f"{defaults[name]}", []).append(objective)
    unless_set = "; ".join(f"{', '.join(names)}: {default}" for default, names in takers.items())
    return tyro.conf.arg(
        help_behavior_hint=lambda given: f"({unless_set} unless set)" if given == "None" else f"(default: {given})"
    )
