"""`python -m experiments.time_to_quality.training_curves`: when runs leave the mean picture, what they become.

Objectives (arms) are trained on dSprites in several ways to start and to schedule a run, seed by seed, on one CPU
thread. What is measured goes into results.json of the folder, a table and a picture; the same command goes on where it
was stopped.
"""

from __future__ import annotations

import dataclasses
import sys
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from experiments.measure.asked import command_of
from experiments.measure.machine import machine_facts
from experiments.time_to_quality.training_curves.curve import Items, measure_curve
from experiments.time_to_quality.training_curves.report import as_markdown, draw_curves
from experiments.time_to_quality.training_curves.settings import ARMS, WAYS, settings_of
from sparse_repr import PretrainConfig
from sparse_repr.command_line.bounds import require_sensible
from sparse_repr.command_line.running import parse_options, run_command
from sparse_repr.data import load_dataset
from sparse_repr.files import write_bytes, write_json
from sparse_repr.files.json_reader import OBJECT, read_json
from sparse_repr.registry import lookup

_PROGRAM = "python -m experiments.time_to_quality.training_curves"


@dataclasses.dataclass(frozen=True)
class CurvesConfig:
    """What to measure; the same command goes on where it was stopped."""

    arms: tuple[str, ...] = tuple(ARMS)
    """Objectives: vae, beta_vae, sparse, beta_sparse, capacity."""
    ways: tuple[str, ...] = tuple(WAYS)
    """Ways to start and to schedule a run, entries of `settings.WAYS`."""
    seeds: tuple[int, ...] = (100, 101)
    """Seeds of every arm and way. Those of the studies are 0 and up: settings are chosen on others."""
    steps: int = 4_000
    """Steps of every run."""
    image_size: int = 32
    """32 or 64; a step at 32 costs about a third."""
    batch_size: int = 32
    """Images per step."""
    precision: str = "float32"
    """float32, or bf16 where the processor multiplies it."""
    until_left: bool = False
    """End every run as soon as it has left the mean picture, and score nothing."""
    items: int = 10_000
    """Random items that codes are scored on."""
    shown: int = 500
    """Random items whose reconstructions are."""
    out: str = "runs/training-curves"
    """Folder of results.json, results.md and curves.png."""

    def __post_init__(self) -> None:
        require_sensible(self)
        for arm in self.arms:
            lookup(ARMS, arm, "arm")
        for way in self.ways:
            lookup(WAYS, way, "way")
        if self.precision not in ("float32", "bf16"):
            raise ValueError(f"precision needs float32 or bf16, got {self.precision!r}")

    def checks(self) -> tuple[int, ...]:
        """The steps that a run is scored at: its end, and one half of each before, down to a 16th."""
        return tuple(sorted({max(1, self.steps >> shift) for shift in range(5)}))

    def run(self, arm: str, way: str, seed: int) -> PretrainConfig:
        """The training of one arm in one way."""
        return PretrainConfig(
            dataset="dsprites",
            image_size=self.image_size,
            batch_size=self.batch_size,
            steps=self.steps,
            seed=seed,
            device="cpu",
            precision=self.precision,
            threads=1,
            progress=False,
            **settings_of(arm, way, self.steps),
        )


def measure(config: CurvesConfig) -> dict[str, Any]:
    """Measure what is not there yet, and write everything after each run.

    Raises:
        ValueError: the folder holds results of other steps, sizes or items, or damaged ones.
    """
    path = Path(config.out) / "results.json"
    protocol = {
        name: getattr(config, name)
        for name in ("steps", "image_size", "batch_size", "precision", "until_left", "items", "shown")
    }
    results: dict[str, Any] = {"protocol": protocol, "curves": {}}
    if path.is_file():
        found = read_json(path, {"protocol": OBJECT, "curves": OBJECT}, remedy="remove it and measure again")
        # the first results were measured before there was a choice of precision
        before = {"precision": "float32", **found["protocol"]}
        if before != protocol:
            raise ValueError(f"{path} was measured with {before}, asked for are {protocol}: take another --out")
        results["curves"] = found["curves"]
    results |= {"command": command_of(_PROGRAM, config), "machine": machine_facts()}
    data = load_dataset("dsprites")
    items = Items.draw(data, scored=config.items, shown=config.shown)
    wanted = [(arm, way, seed) for seed in config.seeds for arm in config.arms for way in config.ways]
    with tqdm(total=len(wanted) * config.steps, unit="step") as bar:
        for place, (arm, way, seed) in enumerate(wanted):
            bar.set_description(f"{arm}, {way}, seed {seed}")
            seeds = results["curves"].setdefault(arm, {}).setdefault(way, {})
            if str(seed) not in seeds:
                seeds[str(seed)] = measure_curve(
                    config.run(arm, way, seed),
                    data,
                    items,
                    () if config.until_left else config.checks(),
                    until_left=config.until_left,
                    on_steps=partial(_show, bar, place * config.steps),
                )
                write_json(path, results)
            bar.update((place + 1) * config.steps - bar.n)
    write_json(path, results)
    write_bytes(path.with_name("results.md"), as_markdown(results).encode())
    draw_curves(results, path.with_name("curves.png"))
    return results


def _show(bar: tqdm[Any], before: int, step: int) -> None:
    bar.update(before + step - bar.n)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    return run_command(lambda: _as_asked(arguments))


def _as_asked(arguments: list[str] | None) -> None:
    config = parse_options(CurvesConfig, arguments, program=_PROGRAM, description=__doc__)
    print(as_markdown(measure(config)))


if __name__ == "__main__":
    sys.exit(main())
