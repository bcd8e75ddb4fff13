"""`python -m experiments.time_to_quality`: how soon other settings reach what 10,000 published steps reach on dSprites.

Every run has one CPU thread. Its time is the sum of what its steps cost, measured in turns, so that a busy machine
favours none. Its quality is the evidence bound of 2,000 frames that it has not seen.

The sweep trains every arm on one seed until it reaches the bound of the published settings, or has cost as much as the
best arm before it with the same kind of initial weights, or a third of what they cost. The MIG of a single run is luck,
so it has no say there: of each kind the quickest arm is a finalist, trained on one seed after another until it reaches
the bound, or misses it. Chosen is the finalist with the highest mean MIG among those that reach it on every seed.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from experiments.measure.asked import command_of
from experiments.measure.earlier import as_fast, require_same_settings
from experiments.measure.machine import machine_facts
from experiments.measure.step_costs import cost_of, kind_of_step, measure_step_costs, steps_worth
from experiments.time_to_quality.bound_curve import Point, held_out_items, train_with_curve
from experiments.time_to_quality.report import as_markdown, draw_curves
from sparse_repr import PretrainConfig, load_encoder
from sparse_repr.command_line.bounds import require_sensible
from sparse_repr.command_line.running import parse_options, run_command
from sparse_repr.data import FactorDataset, load_dataset
from sparse_repr.devices import cpu_threads
from sparse_repr.encoder.statistics import encode_dataset
from sparse_repr.encoder.vae import load_vae
from sparse_repr.files import write_bytes, write_json
from sparse_repr.files.json_reader import read_json
from sparse_repr.metrics import aam_score, active_units, mig_score, mutual_information_matrix, psnr

# what may be asked for anew in a folder that holds results
_OF_ONE_CALL = ("objectives", "seeds", "other_seeds", "whole_seeds", "cost_rounds", "out")
_LAST_STAGE = 10_000
"""Steps by which every arm has its last batch size."""
PLAIN: dict[str, Any] = {"learning_rate": 5e-4, "batch_size": 64}
"""The published protocol."""
_BIAS: dict[str, Any] = {"learning_rate": 2e-3, "initialisation": "output_bias"}
_GROWING: dict[str, Any] = {"first_batch_size": 16, "batch_growth_steps": 500}
_AVERAGE: dict[str, Any] = {"weight_averaging": 0.999}
ARMS: dict[str, dict[str, Any]] = {
    "bias, lr 2e-3, batch 16-64, average": {**_BIAS, **_GROWING, **_AVERAGE},
    "bias, lr 2e-3, batch 16-64": {**_BIAS, **_GROWING},
    "bias, lr 2e-3, batch 8-64, average": {**_BIAS, **_AVERAGE, "first_batch_size": 8, "batch_growth_steps": 500},
    "bias, lr 1e-3, batch 16-64, average": {**_BIAS, **_GROWING, **_AVERAGE, "learning_rate": 1e-3},
    "bias, lr 3e-3 warmed up, batch 16-64, average": {
        **_BIAS,
        **_GROWING,
        **_AVERAGE,
        "learning_rate": 3e-3,
        "learning_rate_warmup": 200,
    },
    "bias, lr 2e-3 by a cosine to 2e-4, batch 16-64": {
        **_BIAS,
        **_GROWING,
        "learning_rate_decay": "cosine",
        "learning_rate_decay_steps": 1_500,
        "final_learning_rate": 2e-4,
    },
    "bias, lr 2e-3, average": {**_BIAS, **_AVERAGE},
    "he, lr 2e-3, batch 16-64, average": {**_BIAS, **_GROWING, **_AVERAGE, "initialisation": "he"},
    "he, lr 1e-3": {"learning_rate": 1e-3, "initialisation": "he"},
    "bias, lr 5e-4": {"initialisation": "output_bias"},
    "lr 2e-3, batch 16-64": {**_GROWING, "learning_rate": 2e-3},
    "lr 2e-3": {"learning_rate": 2e-3},
}
"""What is tried: name -> settings in place of the published ones."""


@dataclasses.dataclass(frozen=True)
class TimeToQualityConfig:
    """What to measure; the same command goes on where it was stopped."""

    objectives: tuple[str, ...] = ("vae", "sparse")
    """The arms are swept on the first; on the others the chosen one is confirmed alone."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of the finalists and of the confirmation; the sweep takes the first."""
    other_seeds: tuple[int, ...] = (0,)
    """Seeds of the confirmation on the other objectives."""
    whole_seeds: tuple[int, ...] = ()
    """Seeds whose confirmation goes on for as long as the published settings take."""
    plain_steps: int = 10_000
    """Steps of the published settings."""
    share: float = 1 / 3
    """Of the cost of the published settings: the most that an arm may cost, and where the chosen one is scored."""
    every_images: int = 6_400
    """Training images between points of a curve; twice as many for the published settings."""
    cost_rounds: int = 9
    """Rounds of the measurement of what a step costs."""
    items: int = 50_000
    """Random items that codes are scored on in the confirmation."""
    sweep_items: int = 10_000
    """Random items that codes are scored on before it."""
    out: str = "experiments/results/time_to_quality"
    """Folder for results.json, results.md and curves.png; the runs go into its folder runs/, which can be deleted."""

    def __post_init__(self) -> None:
        require_sensible(self)


def run_config(config: TimeToQualityConfig, arm: str, objective: str, seed: int, steps: int) -> PretrainConfig:
    """The training of one arm, or of ``"plain"``, the published settings."""
    name = arm.replace(", ", "-").replace(" ", "_")
    settings = {**PLAIN, **ARMS.get(arm, {}), "objective": objective, "seed": seed, "steps": steps}
    folder = Path(config.out) / "runs" / f"{objective}-{name}-seed{seed}"
    return PretrainConfig(**settings, device="cpu", threads=1, run_dir=str(folder), progress=False)


def _kind(arm: str) -> str:
    return str(ARMS[arm].get("initialisation", "default"))


def reached(points: list[Point], target: float) -> Point | None:
    """The first point whose bound is at least `target`."""
    return next((point for point in points if point["bound_nats"] >= target), None)


def stays(points: list[Point], target: float) -> Point | None:
    """The point from which on no bound is below `target`."""
    below = [place for place, point in enumerate(points) if point["bound_nats"] < target]
    rest = points[below[-1] + 1 :] if below else points
    return rest[0] if rest else None


def score_codes(run: PretrainConfig, step: int, data: FactorDataset, items: int) -> dict[str, float]:
    """MIG, AAM and active units on random items (seed 0), and PSNR of the frames that the bound is measured on."""
    folder = run.run_folder()
    chosen = np.sort(np.random.default_rng(0).choice(len(data), items, replace=False))
    encoder = load_encoder(folder)
    if encoder.spec.objective["steps"] != step:
        raise ValueError(f"{folder} went on beyond step {step} before its codes were scored: delete it")
    encoded = encode_dataset(encoder, data, chosen, slab=64)
    assert data.factors is not None
    matrix = mutual_information_matrix(encoded.mean, encoded.log_variance, data.factors[chosen]).matrix
    vae, spec = load_vae(folder)
    held_out = spec.preprocessing(torch.from_numpy(data.images(held_out_items(run, data))))
    with torch.no_grad():
        pictures = torch.cat([torch.sigmoid(vae.decoder(vae.encoder(part).mean)) for part in held_out.split(64)])
    return {
        "mig": mig_score(matrix, np.log(data.factor_sizes)),
        "aam": aam_score(matrix),
        "active_units": active_units(encoded.mean),
        "psnr_db": psnr(held_out, pictures, data_range=1.0),
    }


class Study:
    """The stages of the measurement; what is trained is kept in the run folders, what is scored in ``results.json``."""

    def __init__(self, config: TimeToQualityConfig, data: FactorDataset) -> None:
        self.config = config
        self.data = data
        self.path = Path(config.out) / "results.json"
        earlier: dict[str, Any] = read_json(self.path, remedy="remove it") if self.path.is_file() else {}
        require_same_settings(self.path, earlier.get("settings", {}), dataclasses.asdict(config), but=_OF_ONE_CALL)
        self.results: dict[str, Any] = {
            "command": command_of("python -m experiments.time_to_quality", config),
            "machine": machine_facts(),
            "settings": {name: value for name, value in dataclasses.asdict(config).items() if name != "out"},
            # how far a run goes hangs on them: what was measured stays
            "costs": earlier.get("costs", {}),
            "scores": earlier.get("scores", {}),
            "sweep": {},
            "finalists": {},
            "confirmed": {},
        }
        runs = [
            run_config(config, arm, objective, 0, max(config.plain_steps, _LAST_STAGE))
            for objective in config.objectives
            for arm in ("plain", *ARMS)
        ]
        needed = {kind_of_step(run, size) for run in runs for size, _ in run.batch_sizes().stages(run.steps)}
        if not needed <= self.results["costs"].keys():
            if earlier and not as_fast(earlier["machine"], machine_facts()):
                raise ValueError(
                    f"{self.path} holds seconds of another machine ({earlier['machine']['processor']}), and those of "
                    "other steps are to stand beside them: give another folder (--out)"
                )
            self.results["costs"] = {
                **measure_step_costs(runs, data, rounds=config.cost_rounds),
                **self.results["costs"],
            }
        elif earlier:
            self.results["machine"] = earlier["machine"]
        self.write()

    def write(self) -> None:
        """Keep what is there so far."""
        write_json(self.path, self.results)

    def cost(self, run: PretrainConfig, steps: float) -> float:
        """Seconds that the first `steps` steps of a run cost."""
        return cost_of(run, steps, self.results["costs"])

    def train(self, run: PretrainConfig, *, plain: bool = False, until: float | None = None) -> list[Point]:
        """The curve of a run, to its last step or until its bound is `until`."""
        with tqdm(total=run.steps, unit="step", desc=run.run_folder().name) as bar:

            def show(points: list[Point]) -> None:
                bar.set_postfix(bound=f"{points[-1]['bound_nats']:.1f}", refresh=False)
                bar.update(int(points[-1]["step"]) - bar.n)

            return train_with_curve(
                run,
                self.data,
                every_images=self.config.every_images * (2 if plain else 1),
                finished=None if until is None else lambda points: reached(points, until) is not None,
                on_point=show,
            )

    def scores(self, run: PretrainConfig, point: Point, items: int) -> dict[str, float]:
        """The end of a run: its last point, and the scores of its codes, computed once."""
        name = f"{run.run_folder().name} at step {int(point['step'])}, {items} items"
        made = load_encoder(run.run_folder())
        known = self.results["scores"].get(name, {})
        # the file outlives the runs: what it says of another encoder is nothing about this one. A run that went on
        # was scored before it did
        went_on = bool(known) and made.spec.objective["steps"] != int(point["step"])
        if not went_on and known.get("fingerprint") != made.fingerprint:
            known = {"fingerprint": made.fingerprint, **score_codes(run, int(point["step"]), self.data, items)}
            self.results["scores"][name] = known
            self.write()
        return {**point, **{score: value for score, value in known.items() if score != "fingerprint"}}

    def plain(self, objective: str, seed: int) -> tuple[PretrainConfig, list[Point]]:
        """The published settings and their curve."""
        run = run_config(self.config, "plain", objective, seed, self.config.plain_steps)
        return run, self.train(run, plain=True)

    def arrive(self, arm: str, seed: int, share: float) -> dict[str, Any]:
        """Train an arm until its bound is that of the published settings, for at most a share of what they cost."""
        objective = self.config.objectives[0]
        plain, points = self.plain(objective, seed)
        whole, target = self.cost(plain, plain.steps), points[-1]["bound_nats"]
        run = run_config(self.config, arm, objective, seed, 1)
        run = dataclasses.replace(run, steps=steps_worth(run, share * whole, self.results["costs"]))
        row = self.scores(run, self.train(run, until=target)[-1], self.config.sweep_items)
        share = self.cost(run, row["step"]) / whole
        return {"reached": row["bound_nats"] >= target, "share": share, **row}

    def sweep(self) -> None:
        """Train every arm by the rule above."""
        least: dict[str, float] = {}
        for arm, settings in ARMS.items():
            kind = _kind(arm)
            row = self.arrive(arm, self.config.seeds[0], least.get(kind, self.config.share))
            self.results["sweep"][arm] = {"settings": settings, **row}
            if row["reached"]:
                least[kind] = row["share"]
            self.write()

    def choose(self) -> str:
        """Train the finalists on every seed; returns the one chosen by the rule above."""
        quickest: dict[str, str] = {}
        for arm, row in sorted(self.results["sweep"].items(), key=lambda item: item[1]["share"]):
            if row["reached"]:
                quickest.setdefault(_kind(arm), arm)
        means: dict[str, float] = {}
        for arm in quickest.values():
            rows = self.results["finalists"][arm] = {}
            for seed in self.config.seeds:
                rows[str(seed)] = self.arrive(arm, seed, self.config.share)
                self.write()
                if not rows[str(seed)]["reached"]:
                    break
            else:
                means[arm] = float(np.mean([row["mig"] for row in rows.values()]))
        if not means:
            raise ValueError(f"no arm reached the bound of every seed within {self.config.share:.2f} of the time")
        self.results["chosen"] = max(means, key=means.__getitem__)
        return str(self.results["chosen"])

    def confirm(self, arm: str, objective: str, seed: int) -> None:
        """The chosen arm on a seed: its time to the bound of the published settings, and the scores of both."""
        plain, plain_points = self.plain(objective, seed)
        whole, target = self.cost(plain, plain.steps), plain_points[-1]["bound_nats"]
        highest = max(point["bound_nats"] for point in plain_points)
        run = run_config(self.config, arm, objective, seed, 1)
        run = dataclasses.replace(run, run_dir=f"{run.run_dir}-confirmed")
        ends = {"at_share": self.config.share, **({"whole": 1.0} if seed in self.config.whole_seeds else {})}
        scored = {"plain": self.scores(plain, plain_points[-1], self.config.items)}
        for name, share in ends.items():
            run = dataclasses.replace(run, steps=steps_worth(run, share * whole, self.results["costs"]))
            points = self.train(run)
            last = next(point for point in reversed(points) if point["step"] <= run.steps)
            scored[name] = self.scores(run, last, self.config.items)
        arrivals = {
            "first": reached(points, target),
            "stays": stays(points, target),
            "highest": reached(points, highest),
        }
        self.results["confirmed"].setdefault(objective, {})[str(seed)] = {
            "target_bound_nats": target,
            "highest_plain_bound_nats": highest,
            "plain_cost_s": whole,
            "shares": {
                name: None if point is None else self.cost(run, point["step"]) / whole
                for name, point in arrivals.items()
            },
            "scores": scored,
            "curves": {
                name: [[round(self.cost(settings, point["step"]), 1), round(point["bound_nats"], 2)] for point in curve]
                for name, settings, curve in (("plain", plain, plain_points), ("chosen", run, points))
            },
        }
        self.write()


def measure(config: TimeToQualityConfig) -> dict[str, Any]:
    """Run all stages and write the results."""
    out = Path(config.out)
    with cpu_threads(1):
        study = Study(config, load_dataset("dsprites"))
        study.sweep()
        chosen = study.choose()
        for objective in config.objectives:
            for seed in config.seeds if objective == config.objectives[0] else config.other_seeds:
                study.confirm(chosen, objective, seed)
    study.write()
    write_bytes(out / "results.md", as_markdown(study.results).encode())
    draw_curves(study.results, out / "curves.png")
    return study.results


_PROGRAM = "python -m experiments.time_to_quality"


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    return run_command(lambda: _as_asked(arguments))


def _as_asked(arguments: list[str] | None) -> None:
    config = parse_options(TimeToQualityConfig, arguments, program=_PROGRAM, description=__doc__)
    print(as_markdown(measure(config)))


if __name__ == "__main__":
    sys.exit(main())
