"""`python -m sparse_repr.explore RUN...`: one HTML file in which visitors try runs out."""

from __future__ import annotations

import dataclasses
import sys
from typing import Annotated

import tyro

from sparse_repr.command_line.bounds import require_name, require_whole
from sparse_repr.command_line.plugins import PLUGIN_HELP, take_plugins
from sparse_repr.command_line.running import parse_options, run_command
from sparse_repr.explore.page import MOST_EXAMPLES, write_explorer


@dataclasses.dataclass(frozen=True)
class ExploreConfig:
    """What the page holds."""

    runs: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """Run folders of python -m sparse_repr.pretrain; several stand side by side."""
    output: str = "explorer.html"
    """The file."""
    film: str | None = None
    """Film of an agent on the codes of one of the runs (python -m experiments.film)."""
    data_path: str | None = None
    """Your own copy of the data; by default the path a run was trained with."""
    examples: int = 24
    """Images of the data set in the page; they are in the file for whoever gets it."""

    def __post_init__(self) -> None:
        if not self.runs:
            raise ValueError("explore needs at least one run folder, got none")
        for run in self.runs:
            require_name("run", run)
        for name in ("output", "film", "data_path"):
            require_name(name, getattr(self, name))
        require_whole("examples", self.examples, most=MOST_EXAMPLES)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    return run_command(lambda: _explore_as_asked(arguments))


def _explore_as_asked(arguments: list[str] | None) -> None:
    config = parse_options(
        ExploreConfig,
        take_plugins(arguments),
        program="python -m sparse_repr.explore",
        description=(
            f"Write a page in which the units of runs can be moved: one file, no server, no network.\n\n{PLUGIN_HELP}"
        ),
    )
    page = write_explorer(
        config.runs, config.output, film=config.film, data_path=config.data_path, examples=config.examples
    )
    print(f"explorer: {page.resolve()} ({page.stat().st_size / 1e6:.1f} MB)")


if __name__ == "__main__":
    sys.exit(main())
