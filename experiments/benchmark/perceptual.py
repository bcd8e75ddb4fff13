"""`python -m experiments.benchmark.perceptual`: what each way to a cheaper perceptual loss saves, and what it costs."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from experiments.measure.asked import command_of
from experiments.measure.earlier import as_fast, require_same_settings
from experiments.measure.machine import machine_facts
from experiments.measure.side_by_side import summary
from experiments.pages.committed import markdown_table
from sparse_repr import PretrainConfig, pretrain_encoder
from sparse_repr.command_line.bounds import require_sensible
from sparse_repr.command_line.running import parse_options, run_command
from sparse_repr.data import FactorDataset, load_dataset
from sparse_repr.devices import cpu_threads, resolve_precision
from sparse_repr.encoder.vae import load_vae
from sparse_repr.figures import PALETTE, chart, panels_figure, save_chart
from sparse_repr.files import write_bytes, write_json
from sparse_repr.files.json_reader import read_json
from sparse_repr.metrics import lpips, psnr
from sparse_repr.perceptual import PerceptualDistance, VGGFeatures, parse_layers
from sparse_repr.perceptual.vgg_weights import load_vgg16
from sparse_repr.pretrain.trainer import Trainer

PLAIN = "plain"
_LAYERS = "relu1_2,relu2_2,relu3_3"
VARIANTS: dict[str, dict[str, Any]] = {
    PLAIN: {},
    "relu2_2 alone": {"perceptual_layers": "relu2_2"},
    "relu1_2, relu2_2": {"perceptual_layers": "relu1_2,relu2_2"},
    "32x32": {"perceptual_resolution": 32},
    "every 4th step": {"perceptual_every": 4},
    "a quarter of the images": {"perceptual_images": 4},
    "32x32, every 2nd step": {"perceptual_resolution": 32, "perceptual_every": 2},
    "pixels alone": {"perceptual_weight": 0.0},
}
"""Name -> what differs from the plain perceptual loss beside the pixel loss; `perceptual_images` of every 16 images."""
_COSTS_ALONE: dict[str, dict[str, Any]] = {"plain, float32": {"precision": "float32"}}
_BEFORE = "before"
_TARGETS = "features of the images alone"
_SETTINGS_OF_EARLIER = (
    *("dataset", "objective", "pixel_weight", "perceptual_weight", "perceptual_layers", "code_size"),
    *("learning_rate", "batch_size", "device", "precision", "threads", "run_dir"),
)
# An earlier version of this package, in a process of its own: one step and its seconds for every line it reads.
_EARLIER = """
import json, sys, time
from sparse_repr import PretrainConfig
from sparse_repr.data import load_dataset
from sparse_repr.devices import autocast_for, cpu_threads
try:
    from sparse_repr.pretrain.trainer import Trainer
except ImportError:  # version 0.1
    from sparse_repr.training import Trainer

config = PretrainConfig(**json.loads(sys.argv[1])).resolve()
with cpu_threads(1):
    trainer = Trainer(config, load_dataset(config.dataset, config.data_path))
    given = [] if hasattr(trainer, "autocast") else [autocast_for(trainer.device, config.precision)]
    for _ in sys.stdin:
        started = time.process_time()
        trainer.train_step(*given)
        print(time.process_time() - started, flush=True)
"""


@dataclasses.dataclass(frozen=True)
class CostsConfig:
    """What to measure and for how long; everything runs on one thread.

    Times are processor seconds of that thread: on a free core they are the wall-clock. What else the machine does can
    only add to them, through shared caches and memory, so that the least of the rounds is what a step is taken to cost.
    """

    dataset: str = "faces"
    """Data set with held-out images; celeba is the real one."""
    plain_steps: int = 250
    """Every variant trains for the time that this many steps of the plain loss take."""
    batch_size: int = 16
    """Images per step of the training, a multiple of 4."""
    cost_batch_sizes: tuple[int, ...] = (16, 64)
    """Batch sizes whose steps are measured; batch_size must be among them."""
    cost_rounds: int = 5
    """Rounds of that measurement: the variants take turns."""
    points: tuple[float, ...] = (0.25, 0.5, 1.0)
    """Shares of the time at which held-out images are scored."""
    items: int = 192
    """Held-out images that are scored."""
    seeds: tuple[int, ...] = (0,)
    """Seeds; every variant trains with each."""
    code_size: int = 32
    """D."""
    learning_rate: float = 1e-3
    """Of Adam."""
    precision: str = "auto"
    """auto (bf16 where the processor multiplies it), float32 or bf16."""
    baseline: str | None = None
    """Folder of an earlier version of this package, whose plain step is measured too."""
    variants: tuple[str, ...] = tuple(VARIANTS)
    """Which variants to train; the costs are those of all."""
    runs: str = "runs/perceptual_costs"
    """Folder of the run folders."""
    out: str = "experiments/results/perceptual_costs"
    """Folder for results.json, results.md and curve.png."""

    def __post_init__(self) -> None:
        require_sensible(self)
        unknown = [name for name in self.variants if name not in VARIANTS]
        if unknown:
            raise ValueError(f"variants needs names of {', '.join(VARIANTS)}, got {', '.join(unknown)}")
        if self.batch_size not in self.cost_batch_sizes:
            raise ValueError(f"cost_batch_sizes needs batch_size {self.batch_size}, got {self.cost_batch_sizes}")
        if any(size < 4 or size % 4 for size in self.cost_batch_sizes):
            raise ValueError(f"cost_batch_sizes needs multiples of 4, got {self.cost_batch_sizes}")
        if not self.points or any(not 0 < point <= 1 for point in self.points):
            raise ValueError(f"points needs shares in 0..1, got {self.points}")


def variant_settings(
    config: CostsConfig, variant: str, *, batch_size: int | None = None, seed: int = 0
) -> PretrainConfig:
    """The training of one variant; its steps are still to be set."""
    size = config.batch_size if batch_size is None else batch_size
    changes = dict({**VARIANTS, **_COSTS_ALONE}[variant])
    if "perceptual_images" in changes:
        changes["perceptual_images"] = changes["perceptual_images"] * size // 16
    name = variant.replace(",", "").replace(" ", "-")
    return PretrainConfig(
        **{
            "dataset": config.dataset,
            "objective": "vae",
            "pixel_weight": 1.0,
            "perceptual_weight": 1.0,
            "perceptual_layers": _LAYERS,
            "code_size": config.code_size,
            "learning_rate": config.learning_rate,
            "batch_size": size,
            "seed": seed,
            "device": "cpu",
            "precision": resolve_precision(config.precision, torch.device("cpu")),
            "threads": 1,
            "run_dir": str(Path(config.runs) / f"{config.dataset}-{name}-seed{seed}"),
            "progress": False,
            **changes,
        }
    )


def _stepper(settings: PretrainConfig, data: FactorDataset) -> Callable[[], float]:
    """Processor seconds of one step, averaged over a cycle of steps with and without the perceptual loss."""
    trainer = Trainer(settings.resolve(), data)

    def work() -> float:
        started = time.process_time()
        for _ in range(settings.perceptual_every):
            trainer.train_step()
        return (time.process_time() - started) / settings.perceptual_every

    return work


def _targets(settings: PretrainConfig, data: FactorDataset) -> Callable[[], float]:
    """Processor seconds of the features of the images, all that keeping them from step to step could save."""
    trainer = Trainer(settings.resolve(), data)
    features = VGGFeatures(load_vgg16(), parse_layers(_LAYERS), precision=settings.precision)
    images = trainer.network_input(trainer.batches.draw(0))

    def work() -> float:
        started = time.process_time()
        with torch.no_grad():
            for part in images.split(16):
                features(part)
        return time.process_time() - started

    return work


@contextlib.contextmanager
def _earlier_version(folder: str, settings: PretrainConfig) -> Iterator[Callable[[], float]]:
    """Processor seconds of one plain step of the version in `folder`."""
    given = json.dumps({name: getattr(settings, name) for name in _SETTINGS_OF_EARLIER})
    command = [sys.executable, "-c", _EARLIER, given]
    with subprocess.Popen(command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        requests, answers = process.stdin, process.stdout

        def work() -> float:
            requests.write("\n")
            requests.flush()
            return float(answers.readline())

        yield work
        requests.close()


def measure_costs(config: CostsConfig, data: FactorDataset, batch_size: int) -> dict[str, dict[str, float]]:
    """Seconds of one step of each thing compared, in turns: least, median, greatest, and the ratio of the leasts."""
    settings = {name: variant_settings(config, name, batch_size=batch_size) for name in (*VARIANTS, *_COSTS_ALONE)}
    with contextlib.ExitStack() as stack:
        works = {name: _stepper(setting, data) for name, setting in settings.items()}
        works[_TARGETS] = _targets(settings[PLAIN], data)
        if config.baseline is not None:
            works[_BEFORE] = stack.enter_context(_earlier_version(config.baseline, settings[PLAIN]))
        for work in works.values():
            work()  # kernels chosen for these shapes, state of the optimisers
        times: dict[str, list[float]] = {name: [] for name in works}
        for _ in tqdm(range(config.cost_rounds), desc=f"steps of {batch_size}", unit="round"):
            for name, work in works.items():
                times[name].append(work())
    return {name: {**summary(values), "ratio": min(values) / min(times[PLAIN])} for name, values in times.items()}


@torch.no_grad()
def score(settings: PretrainConfig, data: FactorDataset, items: int) -> dict[str, float]:
    """Held-out LPIPS, PSNR and plain perceptual distance per pixel of the reconstructions of posterior means."""
    vae, spec = load_vae(settings.run_folder())
    held_out = data.split[1]
    chosen = np.sort(np.random.default_rng(0).permutation(held_out)[:items])
    images = spec.preprocessing(torch.from_numpy(data.images(chosen)))
    logits = vae.decoder(vae.encoder(images).mean)
    distance = PerceptualDistance(VGGFeatures(load_vgg16(), parse_layers(_LAYERS)))
    shown = torch.sigmoid(logits)
    return {
        "lpips": lpips(images, shown),
        "psnr_db": psnr(images, shown, data_range=1),
        "feature_distance": float(distance(logits, images).double().mean()) / images[0].numel(),
    }


def train_variant(
    settings: PretrainConfig, data: FactorDataset, goals: list[int], items: int, points: list[dict[str, float]]
) -> Iterator[dict[str, float]]:
    """Train to each goal (steps) and score there; goals that have an entry in `points` are passed over."""
    known = {point["steps"] for point in points}
    for goal in goals:
        if goal in known:
            continue
        folder = settings.run_folder()
        begun = (folder / "config.json").is_file()
        goal_settings = dataclasses.replace(settings, steps=goal, resume=begun)
        with tqdm(total=goal, desc=folder.name, unit="step") as bar:
            pretrain_encoder(goal_settings, data=data, on_steps=bar.update)
        yield {"steps": goal, **score(settings, data, items)}


def as_markdown(results: dict[str, Any]) -> str:
    """The costs and the scores as tables."""
    parts = ["\n".join(f"`{command}`  " for command in results["commands"])]
    for batch_size, costs in results["costs"].items():
        rows = [
            (name, *(f"{1000 * cost[key]:.0f}" for key in ("least", "median", "greatest")), f"{cost['ratio']:.2f}")
            for name, cost in costs.items()
        ]
        parts.append(markdown_table((f"step of {batch_size}", "ms", "median", "greatest", "against plain"), rows))
    scores = [
        (
            variant,
            seed,
            f"{point['steps']:,}",
            f"{point['seconds']:.1f}",
            f"{point['lpips']:.4f}",
            f"{point['psnr_db']:.2f}",
            f"{point['feature_distance']:.4f}",
        )
        for variant, seeds in results["variants"].items()
        for seed, points in seeds.items()
        for point in points
    ]
    header = ("variant", "seed", "steps", "seconds", "LPIPS", "PSNR (dB)", "feature distance")
    return "\n\n".join([*parts, markdown_table(header, scores)]) + "\n"


@chart
def draw_curve(results: dict[str, Any], path: Path) -> None:
    """Held-out LPIPS of every variant against the seconds it trained."""
    figure, ((axes,),) = panels_figure(1, 1, 7, 4.8)
    for place, (variant, seeds) in enumerate(results["variants"].items()):
        for points in seeds.values():
            axes.plot(
                [point["seconds"] for point in points],
                [point["lpips"] for point in points],
                color=PALETTE[place % len(PALETTE)],
                marker="o",
                markersize=3,
                linewidth=2.5 if variant == PLAIN else 1.2,
                label=variant if points is next(iter(seeds.values())) else None,
            )
    axes.set_xlabel("training time on one core (s)")
    axes.set_ylabel("held-out LPIPS (lower is better)")
    axes.legend()
    save_chart(figure, path)


def own_command(config: CostsConfig) -> str:
    """The command line that asks for `config`."""
    return command_of(
        "python -m experiments.benchmark.perceptual", config, but=("runs", "out"), places={"baseline": "EARLIER"}
    )


def compare(config: CostsConfig) -> dict[str, Any]:
    """Measure, train and score; what is finished is kept, so that the same command goes on where it stopped."""
    out = Path(config.out)
    path = out / "results.json"
    earlier: dict[str, Any] = read_json(path, remedy="remove it") if path.is_file() else {}
    of_one_call = ("out", "runs", "baseline", "variants", "seeds", "cost_batch_sizes")  # entries of costs and variants
    require_same_settings(path, earlier.get("settings", {}), dataclasses.asdict(config), but=of_one_call)
    data = load_dataset(config.dataset)
    with cpu_threads(1):
        here = machine_facts()
    # costs of another machine stay where nothing is measured now, with the machine that they are of
    measured = all(str(size) in earlier.get("costs", {}) for size in config.cost_batch_sizes)
    if earlier and not measured and not as_fast(earlier["machine"], here):
        raise ValueError(
            f"{path} holds costs of another machine ({earlier['machine']['processor']}): give another folder (--out)"
        )
    results: dict[str, Any] = {
        "commands": list(dict.fromkeys([*earlier.get("commands", []), own_command(config)])),
        "machine": earlier["machine"] if earlier and measured else here,
        "settings": {name: value for name, value in dataclasses.asdict(config).items() if name not in of_one_call},
        "costs": earlier.get("costs", {}),
        "variants": earlier.get("variants", {}),
    }
    out.mkdir(parents=True, exist_ok=True)
    with cpu_threads(1):
        for batch_size in config.cost_batch_sizes:
            if str(batch_size) not in results["costs"]:
                results["costs"][str(batch_size)] = measure_costs(config, data, batch_size)
                write_json(path, results)
        costs = results["costs"][str(config.batch_size)]
        budget_s = config.plain_steps * costs[PLAIN]["least"]
        for seed in config.seeds:
            for variant in config.variants:
                settings = variant_settings(config, variant, seed=seed)
                step_s = costs[variant]["least"]
                goals = [max(1, round(share * budget_s / step_s)) for share in sorted(config.points)]
                points = results["variants"].setdefault(variant, {}).setdefault(str(seed), [])
                for point in points:  # of an earlier call, whose costs may have been measured again
                    point["seconds"] = point["steps"] * step_s
                for point in train_variant(settings, data, goals, config.items, points):
                    points.append({**point, "seconds": point["steps"] * step_s})
                    write_json(path, results)
    write_bytes(out / "results.md", as_markdown(results).encode())
    draw_curve(results, out / "curve.png")
    return results


_PROGRAM = "python -m experiments.benchmark.perceptual"


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    return run_command(lambda: _as_asked(arguments))


def _as_asked(arguments: list[str] | None) -> None:
    config = parse_options(CostsConfig, arguments, program=_PROGRAM, description=__doc__)
    print(as_markdown(compare(config)))


if __name__ == "__main__":
    sys.exit(main())
