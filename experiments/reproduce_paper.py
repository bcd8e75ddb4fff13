"""`python -m experiments.reproduce_paper --scale cpu`: train and evaluate what the paper's tables and figures need.

One cell is one (data set, method, seed): a run folder in `runs/paper-SCALE`. The same command goes on where it stopped;
started several times, on one machine or on several that share the folder, each takes cells that no other one holds.
Now and then, and at the end, it writes `report.html` and `results.csv` there from what is finished.
"""

from __future__ import annotations

import dataclasses
import functools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from experiments.paper.budget import as_markdown, measure_budget, write_budget
from experiments.paper.cells import PAPER_SCALES, PARTS, Cell, datasets_of, paper_cells, present_or_stand_in
from experiments.paper.published import publish
from experiments.paper.report import publish_figures, write_study_report
from experiments.paper.runs import PAPER_CELLS
from experiments.paper.sweep import fresh_cells, select, sweep_cells
from experiments.study.command import check_requirements, run_study_command, split_names
from experiments.study.ray_cluster import run_study_on_ray
from experiments.study.running import Agenda, Throttled, run_study
from sparse_repr.command_line.bounds import require_sensible
from sparse_repr.devices import available_cores
from sparse_repr.metrics.lpips import default_weights_path
from sparse_repr.pretrain.variations import parse_seeds
from sparse_repr.registry import lookup

_SWEEP = ("sweep", "fresh")


@dataclasses.dataclass(frozen=True)
class StudyConfig:
    """What to compute, and by what."""

    scale: Literal["smoke", "cpu", "long", "full", "gpu"]
    """smoke: a minute, its numbers mean nothing; cpu: a short run, far from converged; long: up to an hour of
    one core a run; full: 346,000 steps of one VAE, three and a half hours of one core; gpu: the full protocol, 346,000
    steps and 10 seeds."""
    only: str = ""
    """Tables and figures to compute the cells of, separated by commas: table1 to table3, fig1 to fig5; by default all.
    Beside them: sweep (does sparsity bring disentanglement?) and fresh (new seeds of what it chooses of every
    family that is finished)."""
    dataset: str = ""
    """Data sets, separated by commas: dsprites, celeba, faces, chairs, chairs3d; by default dsprites, and celeba and
    chairs where SPARSE_REPR_DATA has their files, else their stand-ins faces and chairs3d."""
    method: str = ""
    """Methods, separated by commas: vae, beta_vae, sparse, perceptual, sparse_perceptual, beta_sparse, capacity,
    factor_vae, beta_tcvae; by default those of the scale."""
    seeds: str = ""
    """Seeds, such as 0-4 or 0,7; by default as many as the scale has for a method."""
    out: str | None = None
    """Folder of the cells; by default runs/paper-SCALE."""
    processes: int | None = None
    """Cells at a time, a process each; by default one per core and its threads, and 1 for smoke and on a GPU."""
    threads: int = 1
    """CPU threads per process. Another number gives other bits, so that a study keeps the one it began with."""
    ray: str | None = None
    """Address of a Ray cluster that shares the folder, such as auto or ray://HOST:10001; local starts one here."""
    budget: bool = False
    """Only time a few steps of every kind of cell and write budget-SCALE.json and .md into the folder of results."""
    report: bool = False
    """Compute nothing, only write report.html and results.csv from what is finished."""
    publish: bool = False
    """Compute nothing, only add what is finished, and its pictures, to the folder of results."""
    results: str = "experiments/results/paper"
    """Folder of what is committed."""
    progress: bool = True
    """Show a bar over the steps of all cells, and a line per finished cell."""

    def __post_init__(self) -> None:
        require_sensible(self)
        for part in split_names(self.only):
            lookup({**PARTS, **dict.fromkeys(_SWEEP, "")}, part, "table or figure")
        if self.seeds:
            parse_seeds(self.seeds)
        modes = [name for name in ("budget", "report", "publish") if getattr(self, name)]
        if len(modes) > 1:
            raise ValueError(f"give one of --budget, --report and --publish, got --{' and --'.join(modes)}")

    def folder(self) -> Path:
        """Where the cells are, as an absolute path: processes elsewhere may have another working folder."""
        return Path(self.out or f"runs/paper-{self.scale}").resolve()

    def process_count(self) -> int:
        """Cells at a time."""
        if self.processes is not None:
            return self.processes
        return max(1, available_cores() // self.threads) if self.scale in ("cpu", "long", "full") else 1


def cells_of(config: StudyConfig) -> list[Cell]:
    """The cells that a command asks for, in the order they are started.

    Raises:
        ValueError: an unknown name, or the cells of `fresh` are asked for before a family of the sweep is finished.
    """
    scale, out, parts = PAPER_SCALES[config.scale], config.folder(), split_names(config.only)
    cells: list[Cell] = []
    of_paper = [part for part in parts if part not in _SWEEP]
    if of_paper or not parts:
        datasets: Sequence[str] = split_names(config.dataset)
        if not datasets:
            datasets = [present_or_stand_in(dataset) for dataset in datasets_of(of_paper or tuple(PARTS))]
        cells += paper_cells(
            scale,
            out,
            datasets=datasets,
            methods=split_names(config.method),
            seeds=parse_seeds(config.seeds) if config.seeds else (),
            threads=config.threads,
        )
    if "sweep" in parts:
        cells += sweep_cells(scale, out, threads=config.threads)
    if "fresh" in parts:
        chosen = select(scale, out, published=Path(config.results) / config.scale, threads=config.threads)
        cells += fresh_cells(scale, out, chosen, threads=config.threads)
    return list({cell.name: cell for cell in cells}.values())


def run(config: StudyConfig, command: str) -> dict[str, str]:
    """Compute what a command asks for; returns the messages of what failed by folder.

    Raises:
        TrainingInterrupted, ValueError, OSError, ImportError: as `run_study`, `run_study_on_ray` and `check_cells`.
    """
    if config.report or config.publish:
        _show(config, command)
        return {}
    cells = cells_of(config)
    check_requirements(config.scale, PAPER_SCALES[config.scale].device, [cell.training for cell in cells])
    if config.budget:
        budget = {"command": command, "scale": config.scale, **measure_budget(cells, config.process_count())}
        path = Path(config.results) / f"{'-'.join(('budget', config.scale, *split_names(config.only)))}.json"
        write_budget(budget, path)
        print(as_markdown(budget))
        return {}
    left = [cell for cell in cells if not PAPER_CELLS.is_finished(cell)]
    if any(stop.lpips_items for cell in left for stop in cell.stops) and not default_weights_path().is_file():
        print(
            "LPIPS is left out of all that is scored now: the weights of VGG16 are not here. To have it, stop this, "
            "run python -m sparse_repr.perceptual fetch, and start again",
            file=sys.stderr,
        )
    on_gpu = PAPER_SCALES[config.scale].device == "cuda"
    report = functools.partial(write_study_report, config.folder(), config.scale, command, threads=config.threads)
    agenda = Agenda(cells, PAPER_CELLS, together=on_gpu, progress=config.progress, on_finished=Throttled(report))
    if config.ray is None:
        run_study(agenda, config.folder(), processes=config.process_count())
    else:
        run_study_on_ray(
            agenda,
            config.folder(),
            config.ray,
            processes=config.process_count(),
            threads=config.threads,
            gpus=float(on_gpu),
        )
    print(f"report: {report()}")
    return agenda.failures


def _show(config: StudyConfig, command: str) -> None:
    """Write the report or publish, from what is finished."""
    out = config.folder()
    if config.report:
        print(f"report: {write_study_report(out, config.scale, command, threads=config.threads, anew=True)}")
        return
    folder = Path(config.results) / config.scale
    published = publish(out, folder, config.scale)
    kept = publish_figures(out, folder, config.scale, threads=config.threads)
    for name, reason in kept.items():
        print(f"{name}: {reason}", file=sys.stderr)
    print(f"{len(published.evaluations)} evaluations are published in {folder}")


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    return run_study_command("python -m experiments.reproduce_paper", __doc__, StudyConfig, run, arguments)


if __name__ == "__main__":
    sys.exit(main())
