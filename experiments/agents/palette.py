"""How the figures of the study of agents draw its arms: colours, lines, marks, panels and legends.

An arm has one colour everywhere, from the palette of Okabe and Ito, https://jfly.uni-koeln.de/color/, that people with
any colour vision tell apart; a stronger penalty has a darker shade of it, a fine-tuned encoder the colour of the frozen
one, dashed and with an open mark, a recoded one dash-dotted and with a mark half open.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from experiments.agents.arms import ARMS, DICTIONARY, UNTRAINED
from experiments.agents.scores import FACTORS, RANDOM
from experiments.measure.kinds import KINDS
from sparse_repr.figures import panels_figure

_COLOURS = {
    RANDOM: "#000000",
    FACTORS: "#000000",
    "pixels": "#E69F00",
    "pixels_cropped": "#B37B00",
    UNTRAINED: "#8C8C8C",
    "autoencoder": "#009E73",
    "vae": "#56B4E9",
    "beta_vae": "#0072B2",
    "sparse": "#D55E00",
    "sparse_4": "#9C4500",
    "sparse_16": "#5C2800",
    "sparse_perceptual": "#CC79A7",
    "feature_prediction": "#8C4A6E",
    "vgg16_features": "#6A3D9A",
    "random_vit": "#B2A1C7",
    "keypoints": "#F0E442",
    "sparse_keypoints": "#8F8600",
    "sparse_keypoints_3": "#6B6500",
    "sparse_keypoints_10": "#4D4800",
    "sparse_keypoints_30": "#2E2B00",
    "sparse_keypoints_looks": "#A68A00",
    "few_sparse_keypoints": "#C2B280",
    "sparse_keypoints_cropped": "#E0D48A",
    "vae_denoised": "#2F6B8C",
    "sparse_keypoints_denoised": "#5C5600",
    "vae_robust": "#3C8DB5",
    "sparse_keypoints_robust": "#7A7200",
    "vae_two_rounds": "#1D4A66",
    "sparse_keypoints_two_rounds": "#3B3700",
}
_MARKS: dict[str, Any] = {RANDOM: "x", FACTORS: "*", "pixels": "s", UNTRAINED: "X", "autoencoder": "v", "vae": "D"}
_MARKS |= {
    "beta_vae": "P",
    "sparse": "o",
    "sparse_4": "p",
    "sparse_16": "h",
    "sparse_perceptual": "^",
    "feature_prediction": "2",
    "vgg16_features": "3",
    "random_vit": "4",
}
_MARKS |= {"keypoints": "<", "sparse_keypoints": ">", "vae_denoised": "d", "sparse_keypoints_denoised": 7}
_MARKS |= {"sparse_keypoints_3": 4, "sparse_keypoints_10": 5, "sparse_keypoints_30": 6, "sparse_keypoints_looks": 11}
_MARKS |= {"few_sparse_keypoints": 8, "sparse_keypoints_cropped": 10, "pixels_cropped": "s"}
_MARKS |= {"vae_robust": 9, "sparse_keypoints_robust": "1"}
_MARKS |= {"vae_two_rounds": "H", "sparse_keypoints_two_rounds": "8"}
# a letter each, in shades of the colours of autoencoder, VAE and sparse by what they are made from
_OF_KINDS = (
    "#006B4E",
    "#2F86B5",
    "#E08A4A",
    "#B34700",
    "#8A3F0A",
    "#1B5E8A",
    "#4FB08F",
    "#2E8C6D",
    "#7FC8AE",
    "#B8860B",
    "#D9A92B",
    "#7A5195",
)
_COLOURS |= dict(zip(KINDS, _OF_KINDS, strict=True))
_MARKS |= {name: f"${letter}$" for name, letter in zip(KINDS, "ABCDEFGHIJLK", strict=True)}
_RECODED: dict[str, tuple[Any, str, str | None]] = {
    "expand": ("-.", "left", None),
    "cosine": ((0, (4, 1, 1, 1, 1, 1)), "right", None),
    "project": ((0, (1, 1)), "bottom", None),
    DICTIONARY: ((0, (6, 2)), "top", None),
    "simplicial": ((0, (8, 2, 2, 2)), "full", "$S$"),
    "tiles": ((0, (2, 3)), "full", "$T$"),
    "one_hot": ((0, (1, 3)), "full", "$1$"),
}
"""Recoding -> line, half of the marks that is filled, and a letter in place of the mark of the code."""
_OTHER_RATE = (0, (3, 1))
_FEW = 8
"""Arms that fit into one panel whatever they are."""


def colour_of(arm: str) -> str:
    """Colour of an arm, or of an encoder."""
    return _COLOURS[_base(arm)]


def _base(arm: str) -> str:
    """The arm that shows the same encoder frozen and plain; an arm without an encoder, and an encoder, itself."""
    if arm not in ARMS or ARMS[arm].cropped:
        return arm
    return {"factors": FACTORS, "pixels": "pixels"}.get(ARMS[arm].observes) or ARMS[arm].encoder or arm


def line_style(arm: str) -> dict[str, Any]:
    """How the lines of an arm are drawn."""
    recode, plain = ARMS[arm].recode, "-" if ARMS[arm].rate is None else _OTHER_RATE
    line = _RECODED[recode][0] if recode else ":" if arm == RANDOM else "--" if ARMS[arm].fine_tuned else plain
    return {"color": colour_of(arm), "linestyle": line}


def mark_style(arm: str) -> dict[str, Any]:
    """How the dots of an arm are drawn."""
    face, recode = "white" if ARMS[arm].fine_tuned else colour_of(arm), ARMS[arm].recode
    _, half, letter = _RECODED[recode] if recode else ("-", "full", None)
    return {
        "marker": letter or _MARKS[_base(arm)],
        "fillstyle": half,
        "markerfacecoloralt": "white",
        "markeredgecolor": colour_of(arm),
        "markerfacecolor": face,
        "color": colour_of(arm),
        "linestyle": "none",
    }


def panels_of(arms: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Title and arms of up to three panels, the references in all: too many arms to be told apart in one.

    Arms of other doses have a figure of their own, and stand here too where arms are few, or see a part of the frames.
    """
    arms = [arm for arm in arms if len(arms) <= _FEW or not ARMS[arm].dosed or ARMS[arm].sees_part]
    references = [arm for arm in arms if ARMS[arm].encoder in (None, UNTRAINED)]
    frozen = [arm for arm in arms if ARMS[arm].frozen and not ARMS[arm].recode and arm not in references]
    recoded = [arm for arm in arms if ARMS[arm].recode]
    tuned = [arm for arm in arms if ARMS[arm].fine_tuned]
    order = list(ARMS)
    groups = [
        ("frozen encoders", frozen),
        ("frozen encoders, recoded", recoded),
        ("fine-tuned encoders", tuned),
    ]
    found = [(title, sorted(references + own, key=order.index)) for title, own in groups if own]
    return found or [("", references)]


def add_legend(figure: Any, handles: Mapping[str, Any]) -> None:
    """One legend for all panels, to the right of them, in the order of `ARMS`, others last."""
    order = [ARMS[arm].title for arm in ARMS]
    titles = sorted(handles, key=lambda title: order.index(title) if title in order else len(order))
    figure.legend([handles[title] for title in titles], titles, loc="outside right upper")


def new_figure(across: int, down: int, width: float, height: float) -> tuple[Any, Any]:
    """A figure of panels (down, across) of so many inches each, with room for a legend on the right."""
    return panels_figure(down, across, across * width + 2.8, down * height)
