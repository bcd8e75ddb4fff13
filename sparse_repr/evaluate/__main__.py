"""`python -m sparse_repr.evaluate RUN...`: scores and pictures of pretrained encoders, into their run folders."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Annotated

import tyro

from sparse_repr.command_line.bounds import require_name
from sparse_repr.command_line.plugins import PLUGIN_HELP, take_plugins
from sparse_repr.command_line.running import parse_options, run_command
from sparse_repr.evaluate.comparison import COMPARISON_FILES, comparison_markdown
from sparse_repr.evaluate.report import summary
from sparse_repr.evaluate.run import EvaluateConfig, compare_runs, evaluate_run


@dataclasses.dataclass(frozen=True)
class ComparisonConfig(EvaluateConfig):
    """The command line: one run or several."""

    run: tyro.conf.Suppress[str] = ""
    """Set for each run."""
    runs: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """Run folders of python -m sparse_repr.pretrain; several are compared."""
    out: str | None = None
    """Folder for the comparison of several runs; by default the one that holds the first run."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.runs:
            raise ValueError("evaluate needs at least one run folder, got none")
        for run in self.runs:
            require_name("run", run)
        require_name("out", self.out)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    return run_command(lambda: _evaluate_as_asked(arguments))


def _evaluate_as_asked(arguments: list[str] | None) -> None:
    config = parse_options(
        ComparisonConfig,
        take_plugins(arguments),
        program="python -m sparse_repr.evaluate",
        description=(
            "Score pretraining runs: writes metrics.json and figures/ into each folder, and a comparison of several."
            f"\n\n{PLUGIN_HELP}"
        ),
    )
    # runs/* finds the comparison of last time beside the runs, too
    runs = tuple(run for run in config.runs if Path(run).name not in COMPARISON_FILES)
    if not runs:
        raise ValueError(f"evaluate needs run folders, got {', '.join(config.runs)}, which it wrote itself")
    if len(runs) == 1:
        run = Path(runs[0])
        print(summary(evaluate_run(dataclasses.replace(config, run=runs[0]))))
        print(f"metrics: {run / 'metrics.json'}")
        print(f"figures: {run / 'figures'}")
        return
    out = Path(config.out) if config.out else Path(runs[0]).parent
    print(comparison_markdown(compare_runs(runs, config, out)), end="")
    print(f"comparison: {out / 'comparison.csv'}, .md and .png")


if __name__ == "__main__":
    sys.exit(main())
