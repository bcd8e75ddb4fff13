"""`python -m experiments.compare_objectives`: train every objective on dSprites alike, and table what each achieves."""

from __future__ import annotations

import dataclasses
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import tyro
from torch import Tensor

from experiments.measure.asked import command_of
from experiments.measure.earlier import as_fast, require_same_settings
from experiments.measure.machine import machine_facts
from experiments.pages.committed import markdown_table
from sparse_repr import PretrainConfig, pretrain_encoder
from sparse_repr.command_line.bounds import require_sensible
from sparse_repr.command_line.running import parse_options, run_command
from sparse_repr.data import FactorDataset, load_dataset
from sparse_repr.devices import cpu_threads
from sparse_repr.encoder.vae import load_vae
from sparse_repr.evaluate.report import read_report
from sparse_repr.evaluate.run import EvaluateConfig, evaluate_run
from sparse_repr.files import write_bytes, write_json
from sparse_repr.files.json_reader import OBJECT, each, read_json
from sparse_repr.models import VAE
from sparse_repr.objectives import OBJECTIVES
from sparse_repr.objectives.reconstruction import bernoulli
from sparse_repr.pretrain.presets import ONE_RESOLUTION, PRESETS, RECIPES
from sparse_repr.pretrain.trainer import Trainer
from sparse_repr.pretrain.training_state import read_state

_ITEMS = 10_000
_SLAB = 512
_METRICS = "mig,aam,mig_histogram"
# settings that rows of one table need not have in common
_MAY_DIFFER = ("objectives", "cost_steps", "cost_rounds", "threads", "out")
_COMPARED = tuple(
    name for name, choice in OBJECTIVES.items() if "targets" not in choice.needs and "keypoints" not in choice.heads
)
ARMS = (*OBJECTIVES, "perceptual", "sparse_perceptual", "perceptual_dae")
"""Names of what can be compared: every objective at its defaults, and the perceptual losses."""
COLUMNS = {
    "reconstruction_nats": "reconstruction (nats)",
    "kl_nats": "KL (nats)",
    "psnr_db": "PSNR (dB)",
    "ssim": "SSIM",
    "lpips": "LPIPS",
    "mig": "MIG",
    "aam": "AAM",
    "mig_histogram": "MIG (histogram)",
    "active_units": "active units",
    "exact_zeros": "exact zeros",
    "hoyer": "Hoyer",
    "images_per_s": "images/s",
}
"""Entry of an arm's results -> title of its column."""


@dataclasses.dataclass(frozen=True)
class CompareConfig:
    """What to compare and for how long."""

    objectives: Annotated[tuple[str, ...], tyro.conf.Positional] = _COMPARED
    """Names of arms: objectives (by default all but feature_prediction, which needs VGG16, and those of keypoints,
    which have no posterior), perceptual, sparse_perceptual (VGG16, presets) or perceptual_dae."""
    steps: int = 2_000
    """Optimisation steps of each arm."""
    batch_size: int = 64
    """Images per step."""
    seed: int = 0
    """Seed of every arm."""
    cost_steps: int = 20
    """Steps per arm and round of the interleaved cost measurement; 0 leaves it out."""
    cost_rounds: int = 5
    """Rounds of it: the arms take turns, so that a busy moment of the machine hits all."""
    sample: int | None = 100_000
    """Score codes on this many random items; None for all."""
    device: str = "cpu"
    """auto, cpu, cuda, cuda:N or mps."""
    precision: str = "float32"
    """float32 or bf16."""
    threads: int | None = None
    """CPU threads; by default torch's choice."""
    dae_steps: int = 2_000
    """Steps of the denoising autoencoder of perceptual_dae."""
    out: str = "experiments/results/compare_objectives"
    """Folder for results-STEPS.json and .md; the runs go into its folder runs/, which can be deleted."""

    def __post_init__(self) -> None:
        require_sensible(self)
        unknown = [name for name in self.objectives if name not in ARMS]
        if unknown or not self.objectives:
            raise ValueError(f"objectives needs names of {', '.join(ARMS)}, got {', '.join(unknown) or 'none'}")
        for name in ("steps", "batch_size", "cost_rounds"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} needs a whole number of at least 1, got {getattr(self, name)!r}")


def arm_settings(config: CompareConfig, arm: str) -> PretrainConfig:
    """The training of one arm: the preset of that name where there is one, else the objective at its defaults."""
    if arm == "perceptual_dae":
        settings: dict[str, Any] = {**PRESETS["dsprites/perceptual"], **ONE_RESOLUTION, "perceptual_features": "dae"}
        settings["dae_steps"] = config.dae_steps
    elif arm in RECIPES:
        settings = dict(PRESETS[f"dsprites/{arm}"])
        if settings.get("perceptual_weight"):
            settings |= ONE_RESOLUTION  # as the committed tables were computed
    else:
        settings = {"objective": arm}
    if settings["objective"] == "beta_vae_capacity":
        # the published schedule takes 100,000 steps; here it spans the run
        settings["capacity_steps"] = config.steps
    return PretrainConfig(
        **{
            **settings,
            "dataset": "dsprites",
            "batch_size": config.batch_size,
            "steps": config.steps,
            "seed": config.seed,
            "device": config.device,
            "precision": config.precision,
            "threads": config.threads,
            "run_dir": str(Path(config.out) / "runs" / f"{arm}-{config.steps}-seed{config.seed}"),
            "progress": False,
        }
    )


def train_arm(settings: PretrainConfig) -> float | None:
    """Train an arm unless its folder holds the finished run; returns images per second, None where nothing was done."""
    folder = settings.run_folder()
    if (folder / "encoder.safetensors").is_file():
        described = read_json(folder / "config.json")
        state = read_state(folder / "state.pt")
        if state["step"] == settings.steps and described == settings.resolve().to_json():
            return None
    resumed = (folder / "config.json").is_file()
    started = time.perf_counter()
    pretrain_encoder(dataclasses.replace(settings, resume=resumed))
    return settings.steps * settings.batch_size / (time.perf_counter() - started) if not resumed else None


@torch.no_grad()
def reconstruction_nats(vae: VAE, images: Tensor) -> Tensor:
    """Bernoulli nats of the decoded posterior mean, (B,): one yardstick for arms trained on different losses."""
    return bernoulli(vae.decoder(vae.encoder(images).mean), images)


def score_arm(settings: PretrainConfig, data: FactorDataset, sample: int | None) -> dict[str, Any]:
    """The row of the table: scores of `evaluate_run`, and Bernoulli nats whatever the arm was trained on."""
    folder = settings.run_folder()
    report = read_report(folder) if (folder / "metrics.json").is_file() else None
    if report is None or report["trained_steps"] != settings.steps:
        report = evaluate_run(
            EvaluateConfig(run=str(folder), metrics=_METRICS, sample=sample, device=settings.device, progress=False)
        )
    image = report["images"].get("in_sample", {}).get("model", {})  # none without a decoder
    codes, scores = report["codes"], report["disentanglement"]
    return {
        "reconstruction_nats": _mean_nats(folder, data) if image else None,
        "kl_nats": codes["kl_nats"],
        "psnr_db": image.get("psnr_db"),
        "ssim": image.get("ssim"),
        "lpips": image.get("lpips"),
        "mig": scores.get("mig"),
        "aam": scores.get("aam"),
        "mig_histogram": scores["mig_histogram"],
        "active_units": codes["active_units"],
        "exact_zeros": codes["exact_zero_fraction"],
        "hoyer": codes["hoyer_sparsity"],
    }


def _mean_nats(folder: Path, data: FactorDataset) -> float:
    vae, spec = load_vae(folder)
    chosen = np.sort(np.random.default_rng(0).permutation(len(data))[:_ITEMS])
    nats = [
        reconstruction_nats(vae, spec.preprocessing(torch.from_numpy(data.images(chosen[start : start + _SLAB]))))
        for start in range(0, len(chosen), _SLAB)
    ]
    return float(torch.cat(nats).double().mean())


def measure_costs(config: CompareConfig, data: FactorDataset) -> dict[str, dict[str, float]]:
    """Seconds of one training step of each arm, measured in turns: median, least and greatest of the rounds."""
    trainers = {}
    for arm in config.objectives:
        settings = dataclasses.replace(arm_settings(config, arm), dae_steps=1).resolve()
        trainers[arm] = Trainer(settings, data)
        trainers[arm].prepare()
        # warm-up: optimiser state, kernels chosen for these shapes
        trainers[arm].train_step()
    seconds: dict[str, list[float]] = {arm: [] for arm in trainers}
    for _ in range(config.cost_rounds):
        for arm, trainer in trainers.items():
            started = time.perf_counter()
            for _ in range(config.cost_steps):
                terms = trainer.train_step()
            float(terms["loss"])  # waits for the device
            seconds[arm].append((time.perf_counter() - started) / config.cost_steps)
    base = float(np.median(seconds.get("vae", next(iter(seconds.values())))))
    return {
        arm: {
            "median_s": float(np.median(times)),
            "least_s": min(times),
            "greatest_s": max(times),
            "ratio": float(np.median(times)) / base,
        }
        for arm, times in seconds.items()
    }


def as_markdown(results: dict[str, Any]) -> str:
    """The table of results and the table of costs."""
    scores = [
        (arm, *("–" if row[name] is None else f"{row[name]:.4g}" for name in COLUMNS))
        for arm, row in results["arms"].items()
    ]
    parts = [f"`{results['command']}`", markdown_table(("objective", *COLUMNS.values()), scores)]
    if results["costs"]:
        costs = [
            (
                arm,
                *(f"{1000 * cost[name]:.1f}" for name in ("median_s", "least_s", "greatest_s")),
                f"{cost['ratio']:.2f}",
            )
            for arm, cost in results["costs"].items()
        ]
        parts.append(markdown_table(("objective", "ms per step (median)", "least", "greatest", "ratio"), costs))
    return "\n\n".join(parts) + "\n"


def own_command(config: CompareConfig) -> str:
    """The command line that asks for `config`."""
    return command_of(_PROGRAM, config, positional=("objectives",), always=("steps", "seed"))


def compare(config: CompareConfig) -> dict[str, Any]:
    """Train and score every arm; each finished arm is kept, so the same command goes on where it stopped."""
    out = Path(config.out)
    earlier: dict[str, Any] = {}
    path = out / f"results-{config.steps}.json"
    if path.is_file():
        earlier = read_json(
            path, {"arms": each(OBJECT), "costs": OBJECT, "settings": OBJECT, "machine": OBJECT}, remedy="remove it"
        )
        require_same_settings(path, earlier["settings"], dataclasses.asdict(config), but=_MAY_DIFFER)
    # what is written tells of every row that is in it
    whole = dataclasses.replace(config, objectives=tuple(dict.fromkeys((*earlier.get("arms", {}), *config.objectives))))
    data = load_dataset("dsprites")
    results: dict[str, Any] = {
        "command": own_command(whole),
        "machine": machine_facts(),
        "settings": {name: value for name, value in dataclasses.asdict(whole).items() if name != "out"},
        "arms": dict(earlier.get("arms", {})),
        "costs": earlier.get("costs", {}),
    }
    with cpu_threads(config.threads):
        elsewhere = bool(earlier) and not as_fast(earlier["machine"], machine_facts())
        if config.cost_steps and (elsewhere or not set(config.objectives) <= set(results["costs"])):
            # in turns with all that were measured, since a ratio is of one measurement
            arms = tuple(dict.fromkeys(("vae", *results["costs"], *config.objectives)))
            results["costs"] = measure_costs(dataclasses.replace(config, objectives=arms), data)
            for arm in set(results["arms"]) & set(results["costs"]):
                results["arms"][arm]["images_per_s"] = config.batch_size / results["costs"][arm]["median_s"]
        for arm in config.objectives:
            settings = arm_settings(config, arm)
            rate = train_arm(settings)
            known = results["arms"].pop(arm, {})
            row = known if rate is None and set(known) >= set(COLUMNS) else score_arm(settings, data, config.sample)
            # from the measurement in turns where there is one: a whole run also loads, draws and exports
            cost = results["costs"].get(arm)
            speed = config.batch_size / cost["median_s"] if cost else rate
            # popped and put back: the table has the order that was asked for
            results["arms"][arm] = {**row, "images_per_s": known.get("images_per_s") if speed is None else speed}
            print(f"{arm}: {results['arms'][arm]}", flush=True)
            write_json(path, results)
    write_json(path, results)
    write_bytes(path.with_suffix(".md"), as_markdown(results).encode())
    return results


_PROGRAM = "python -m experiments.compare_objectives"


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    return run_command(lambda: _as_asked(arguments))


def _as_asked(arguments: list[str] | None) -> None:
    config = parse_options(CompareConfig, arguments, program=_PROGRAM, description=__doc__)
    print(as_markdown(compare(config)))


if __name__ == "__main__":
    sys.exit(main())
