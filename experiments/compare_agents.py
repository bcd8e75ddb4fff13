"""`python -m experiments.compare_agents --scale cpu`: do sparse codes help an agent?

Frames of each task's source domain are recorded by a random policy, encoders are pretrained on them, and agents of
every arm learn with the same algorithm, heads and steps; all are then judged in domains that neither has seen. For an
arm of two rounds an agent of the first records what the encoder of the second learns from. The same command goes on
where it stopped; started several times it shares the work. Now and then, and at the end, it writes `report.html` there
from what is finished.
"""

from __future__ import annotations

import dataclasses
import functools
import sys
from pathlib import Path
from typing import Literal

from experiments.agents.arms import ARMS
from experiments.agents.budget import budget_as_markdown, measure_budget
from experiments.agents.cells import agent_cells
from experiments.agents.encoders import ENCODER_CELLS
from experiments.agents.ends import play_again
from experiments.agents.files import publish_study
from experiments.agents.films import draw_films
from experiments.agents.frames import record_frames
from experiments.agents.report import publish_agent_report, write_agent_report
from experiments.agents.rounds import Round, rounds_of
from experiments.agents.scales import AGENT_SCALES
from experiments.agents.tasks import TASKS
from experiments.agents.training import AGENT_CELLS
from experiments.study.command import check_requirements, run_study_command, split_names
from experiments.study.procedure import check_cells
from experiments.study.running import Agenda, Throttled, run_study
from sparse_repr.command_line.bounds import require_sensible
from sparse_repr.devices import available_cores
from sparse_repr.files import write_bytes, write_json
from sparse_repr.pretrain.variations import parse_seeds
from sparse_repr.registry import lookup


@dataclasses.dataclass(frozen=True)
class CompareConfig:
    """What to compute, and by what."""

    scale: Literal["smoke", "cpu", "kinds", "doses", "pose", "million", "public", "gpu"]
    """smoke: a minute, its numbers mean nothing; cpu: 5 seeds and two tasks in a few hours of two cores; kinds: what
    each kind of sparsity buys, in codes of 64 units; doses: how wide to expand, how much of it is 1, and which price
    on presences; pose: SpritePose, in which size and angle count; million: whether pixels catch up in ten times the
    steps; public: the same as cpu on tasks that no one here wrote, by the clock; gpu: 10 seeds, longer, every arm
    fine-tuned too."""
    task: str = ""
    """Tasks, separated by commas: SpriteReach, SpriteChase, SpritePose; with the extra envs VizDoomBasic, MiniGrid's
    DoorKey, DoorKey6 and DoorKey8 (5, 6 and 8 tiles), LunarLander, Pong and Breakout; by default those of the scale."""
    arm: str = ""
    """Arms, separated by commas: random_policy, factors, pixels, untrained; frozen encoders autoencoder, vae,
    beta_vae, sparse, sparse_perceptual, each fine-tuned with _tuned behind its name; sparse_4 and sparse_16,
    stronger penalties; keypoints and sparse_keypoints, which at other prices are sparse_keypoints_3, _10 and _30;
    few_sparse_keypoints, sparse_keypoints_looks; of VizDoomBasic sparse_keypoints_cropped and pixels_cropped, which
    see a part of each frame; vgg16_features and random_vit, networks of others; vae_denoised, vae_robust,
    sparse_keypoints_denoised and sparse_keypoints_robust; vae_two_rounds and sparse_keypoints_two_rounds, whose
    encoders learn from what the finished agent of vae or sparse_keypoints sees, which is computed first; codes
    shown recoded, with _expand behind the name of an encoder; with other settings vae_expand_2d to _50d (sizes of
    the code) and vae_expand_0pc to _50pc (percent that are 1, 0 for one unit); vae_rate_03, _3 and _10 and the same
    of factors, pixels, vae_expand, sparse_keypoints and sparse_keypoints_cropped, whose agents learn at that many
    times the rate; other recodings vae_cosine, vae_cosine_wide, vae_project, vae_simplicial, vae_tiles and
    vae_one_hot, and vae_dictionary, a learned expansion; the kinds of sparsity wide_autoencoder, wide_vae, wide_sparse,
    sparse_shrinkage, spike_and_slab, vaease, top_k, batch_top_k, jump_relu, rectified_gaussian,
    tight_rectified_gaussian and latent_quantisation; by default those of the scale."""
    algorithm: str = ""
    """ppo, sac or dqn, or several separated by commas; by default those of the scale."""
    seeds: str = ""
    """Seeds, such as 0-4 or 0,7; by default as many as the scale has."""
    out: str | None = None
    """Folder of the study; by default runs/agents-SCALE."""
    processes: int | None = None
    """Cells at a time, a process each; by default one per core and its threads, and 1 for smoke."""
    threads: int = 1
    """CPU threads per process. Another number gives other bits, so that a study keeps the one it began with."""
    encoders_only: bool = False
    """Stop when the encoders are trained and scored; of the agents train those alone whose frames encoders need."""
    budget: bool = False
    """Only run every kind of cell for a moment, and write what all would take to budget-SCALE.json and .md in the
    folder of results."""
    films: bool = False
    """Compute nothing, only film the finished agents of the first seed, and draw what their encoders show of the small
    objects."""
    film_domain: str = "source"
    """What they are filmed in: source, or a domain that they have not seen, such as noise."""
    ends: bool = False
    """Train nothing, only play every finished agent again, and count how its episodes end by what they ask for."""
    report: bool = False
    """Compute nothing, only write report.html from what is finished."""
    publish: bool = False
    """Compute nothing, only add what is finished, and its pictures, to the folder of results."""
    results: str = "experiments/results/agents"
    """Folder of what is committed."""
    progress: bool = True
    """Show a bar over the steps, and a line per finished cell."""

    def __post_init__(self) -> None:
        require_sensible(self)
        for task in split_names(self.task):
            lookup(TASKS, task, "task")
        for arm in split_names(self.arm):
            lookup(ARMS, arm, "arm")
        if self.seeds:
            parse_seeds(self.seeds)
        known = ("budget", "films", "ends", "report", "publish", "encoders_only")
        modes = [name for name in known if getattr(self, name)]
        if len(modes) > 1:
            raise ValueError(f"give one of --{' and --'.join(mode.replace('_', '-') for mode in modes)}")

    def folder(self) -> Path:
        """Where the study is, as an absolute path: processes elsewhere may have another working folder."""
        return Path(self.out or f"runs/agents-{self.scale}").resolve()

    def process_count(self) -> int:
        """Cells at a time."""
        if self.processes is not None:
            return self.processes
        return 1 if self.scale == "smoke" else max(1, available_cores() // self.threads)


def run(config: CompareConfig, command: str) -> dict[str, str]:
    """Compute what a command asks for; returns the messages of what failed by folder.

    Raises:
        TrainingInterrupted, ValueError, OSError, ImportError: as `run_study` and `check_cells`.
    """
    out, scale = config.folder(), AGENT_SCALES[config.scale]
    report = functools.partial(write_agent_report, out, config.scale, command)
    if config.report:
        print(f"report: {report()}")
        return {}
    if config.publish:
        folder = Path(config.results) / config.scale
        study = publish_study(out, folder, config.scale)
        publish_agent_report(out, folder, config.scale)
        print(f"{len(study.agents)} agents and {len(study.encoders)} encoders are published in {folder}")
        return {}
    agents = agent_cells(
        scale,
        out,
        algorithms=split_names(config.algorithm),
        tasks=split_names(config.task),
        arms=split_names(config.arm),
        seeds=parse_seeds(config.seeds) if config.seeds else (),
        threads=config.threads,
    )
    if config.films or config.ends:
        check_cells(agents, AGENT_CELLS)
        if config.films:
            print(*draw_films(scale, agents, out, domain=config.film_domain), sep="\n")
        else:
            print(f"{play_again(agents, progress=config.progress)} agents know how their episodes end")
        return {}
    rounds = rounds_of(scale, agents, out, threads=config.threads)
    encoders = [cell for one in rounds for cell in one.encoders]
    check_requirements(
        config.scale,
        scale.device,
        [cell.training for cell in encoders if cell.training is not None],
        vgg16=any(cell.encoder == "vgg16_features" for cell in encoders),
    )
    if config.budget:
        budget = {"command": command, "scale": config.scale, **measure_budget(scale, agents, config.process_count())}
        path = Path(config.results) / f"budget-{config.scale}.json"
        write_json(path, budget)
        write_bytes(path.with_suffix(".md"), budget_as_markdown(budget).encode())
        print(budget_as_markdown(budget))
        return {}
    # before anything is computed, so that what is wrong with a folder is said at once
    check_cells([cell for one in rounds for cell in one.agents], AGENT_CELLS)
    check_cells(encoders, ENCODER_CELLS)
    # agents without an encoder need none, and do not wait for a process that records
    record_frames(scale, list(dict.fromkeys(cell.task_name for cell in encoders)), out, progress=config.progress)
    failures: dict[str, str] = {}
    for one in rounds:
        failures |= _compute(one, config, Throttled(report))
    if not config.encoders_only:
        print(f"report: {report()}")
    return failures


def _compute(one: Round, config: CompareConfig, report: Throttled) -> dict[str, str]:
    """Compute a round, but for what needs something that has failed; returns the messages of what fails by folder."""
    out, processes = config.folder(), config.process_count()
    encoders = [cell for cell in one.encoders if cell.recorded is None or AGENT_CELLS.is_finished(cell.recorded.agent)]
    training = Agenda(encoders, ENCODER_CELLS, progress=config.progress)
    run_study(training, out, processes=processes)
    there = {cell.folder for cell in encoders if ENCODER_CELLS.is_finished(cell)}
    wanted = one.recording if config.encoders_only else one.agents
    ready = [cell for cell in wanted if cell.encoder_folder is None or cell.encoder_folder in there]
    if not ready:
        return training.failures
    learning = Agenda(ready, AGENT_CELLS, progress=config.progress, on_finished=report)
    run_study(learning, out, processes=processes)
    return {**training.failures, **learning.failures}


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    return run_study_command("python -m experiments.compare_agents", __doc__, CompareConfig, run, arguments)


if __name__ == "__main__":
    sys.exit(main())
