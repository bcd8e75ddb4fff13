"""`python -m sparse_repr.encoder [NAME...]`: the encoders that come with the package, their scores and their pictures.

`load_encoder("shipped:NAME")` loads one. A picture shows images, what a decoder made of their codes, and what each unit
does; decoders do not come with the package.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Annotated

import tyro

from sparse_repr.command_line.running import parse_options, run_command
from sparse_repr.encoder.shipped import SHIPPED, copy_picture, in_words


@dataclasses.dataclass(frozen=True)
class ListConfig:
    """What to show."""

    names: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """Of encoders, such as dsprites/sparse; by default all."""
    pictures: str | None = None
    """Folder to put their pictures into."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    return run_command(lambda: _as_asked(arguments))


def _as_asked(arguments: list[str] | None) -> None:
    config = parse_options(ListConfig, arguments, program="python -m sparse_repr.encoder", description=__doc__)
    names = config.names or tuple(SHIPPED)
    print("\n\n".join(map(in_words, names)))
    if config.pictures is not None:
        print()
        for name in names:
            print(f"picture: {copy_picture(name, Path(config.pictures))}")


if __name__ == "__main__":
    sys.exit(main())
