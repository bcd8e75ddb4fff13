"""What --help says of the objectives and of their settings, from their registry."""

from __future__ import annotations

from typing import Any

import tyro

from sparse_repr.models import ARCHITECTURES
from sparse_repr.models.keypoints import LOOKS
from sparse_repr.objectives import OBJECTIVES, default_settings


def objectives_in_words() -> str:
    """What --help says of the objectives: what each is, one by one."""
    return "What is minimised:\n" + ";\n".join(f"{name}: {choice.summary}" for name, choice in OBJECTIVES.items()) + "."


def architectures_in_words() -> str:
    """What --help says of the networks."""
    ends = ", ".join(name for name, network in ARCHITECTURES.items() if name.endswith(f"_{network.head}"))
    return (
        "Network: burgess (4 convolutions of 32 channels, two dense layers of 256) or burgess_resize (the same "
        "encoder; its decoder enlarges and convolves, which draws no checkerboards: Odena et al. 2016); for the "
        "objectives keypoints and sparse_keypoints: keypoints (places and presences on a grid of a quarter of the "
        "height), keypoints_fine (of half of it) or keypoints_looks (of a quarter, and "
        f"{LOOKS} numbers by which each says what it looks like). Objectives whose encoder ends otherwise take their "
        "network by "
        f"themselves: {ends}."
    )


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
