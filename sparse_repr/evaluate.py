"""`python -m sparse_repr.evaluate RUN...`: scores and pictures of pretrained encoders, into their run folders."""

from __future__ import annotations

import dataclasses
import math
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import torch
import tyro
from torch import Tensor
from tqdm import tqdm

from sparse_repr import comparison
from sparse_repr.bounds import MOST_SEED, require_name, require_threads, require_whole
from sparse_repr.collapse import warn_if_collapsed
from sparse_repr.command_line import parse_options, run_command
from sparse_repr.data import FactorDataset, load_dataset
from sparse_repr.data.base import IntArray
from sparse_repr.devices import cpu_threads, resolve_device
from sparse_repr.encoder import FrozenEncoder, load_encoder
from sparse_repr.files import write_json
from sparse_repr.json_reader import OBJECT, TEXT, require, whole
from sparse_repr.metrics import lpips, ssim
from sparse_repr.metrics.image_quality import mean_squared_errors
from sparse_repr.metrics.lpips import default_weights_path
from sparse_repr.models import VAE
from sparse_repr.preprocessing import Preprocessing
from sparse_repr.resident import image_reader
from sparse_repr.run_figures import draw_run
from sparse_repr.run_folder import read_settings
from sparse_repr.scoring import choose_metrics, code_scores, disentanglement_scores
from sparse_repr.trained_vae import encode_dataset, kl_per_unit, load_vae

_MEAN_IMAGE_ITEMS = 10_000
_SLAB = 512
_MOST_REPETITIONS = 1_000_000


@dataclasses.dataclass(frozen=True)
class EvaluateConfig:
    """What to evaluate and how."""

    run: Annotated[str, tyro.conf.Positional]
    """Run folder of python -m sparse_repr.pretrain."""
    metrics: str | None = None
    """Scores to compute, such as mig,dci; by default all but dci, whose published learner takes minutes."""
    n_bootstrap: int = 0
    """Repetitions of the 95 % interval of each sampled score; each costs as much as the scores themselves."""
    sample: int | None = None
    """Score codes on this many random items instead of all; metrics.json states it."""
    seed: int = 0
    """Seed of the random items of --sample and of the scores that draw."""
    image_items: int = 10_000
    """PSNR and SSIM are computed on this many fixed random images."""
    lpips_items: int = 1_000
    """LPIPS is computed on the first images of these, up to the slab of 512 that reaches this many; 0 for none. VGG16
    sees about 100 images a second on two cores."""
    data_path: str | None = None
    """Your own copy of the data; by default the path the run was trained with."""
    factor_sizes: str | None = None
    """Numbers of values of the factors, such as 6,6,2,3,3,40,40, for images without factors that are in the order of a
    grid, the last factor changing fastest; by default those the run was trained with."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:N or mps."""
    threads: int | None = None
    """CPU threads; by default torch's choice."""
    progress: bool = True
    """Show progress bars."""

    def __post_init__(self) -> None:
        if self.sample is not None and self.sample < 2:
            raise ValueError(f"sample needs at least 2 items, got {self.sample}")
        if self.image_items < 1:
            raise ValueError(f"image_items needs at least 1, got {self.image_items}")
        if self.lpips_items < 0:
            raise ValueError(f"lpips_items needs at least 0, got {self.lpips_items}")
        if self.n_bootstrap and not 2 <= self.n_bootstrap <= _MOST_REPETITIONS:
            raise ValueError(f"n_bootstrap needs 0 or 2..{_MOST_REPETITIONS} repetitions, got {self.n_bootstrap}")
        require_whole("seed", self.seed, least=0, most=MOST_SEED)
        require_threads(self.threads)
        require_name("data_path", self.data_path)
        choose_metrics(self.metrics)


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


def evaluate_run(config: EvaluateConfig) -> dict[str, Any]:
    """Score a run and write `metrics.json` and `figures/` into its folder.

    Images: PSNR (true, and in the convention that fits the paper's tables) and SSIM of the decoded posterior mean,
    beside an all-black and a mean-image reconstruction, and LPIPS where its weights are present. Codes: sparsity, and,
    where factors are known, the mutual-information matrix and the chosen scores. The data is encoded once. A posterior
    that is not Gaussian has no exact mutual information: its MIG is the histogram one alone.

    Returns:
        The content of `metrics.json`; undefined or infinite values are None.

    Raises:
        FileNotFoundError: not a run folder.
        ValueError: a damaged file, an unknown score, or data that the run was not trained on.
    """
    return _evaluate(config)[0]


def _evaluate(config: EvaluateConfig) -> tuple[dict[str, Any], npt.NDArray[np.float32]]:
    """The report of a run and its codes."""
    run = Path(config.run)
    encoder = load_encoder(run)
    vae, _ = load_vae(run)
    settings = read_settings(run)
    data = load_dataset(
        settings["dataset"],
        config.data_path or settings["data_path"],
        factor_sizes=config.factor_sizes or settings.get("factor_sizes"),
    )
    if data.image_shape != encoder.image_shape:
        raise ValueError(
            f"{run} was trained on images {encoder.image_shape}, {data.source} has {data.image_shape}: "
            "give data_path (--data-path), or evaluate the run that belongs to this data"
        )
    _check_described(run, encoder, settings)
    device = resolve_device(config.device)
    started = time.perf_counter()
    with cpu_threads(config.threads):
        items = _chosen_items(len(data), config)
        with tqdm(total=len(items), desc="encoding", unit="img", disable=not config.progress) as bar:
            mean, log_variance = encode_dataset(encoder, data, items, device=device, on_slab=bar.update)
        report: dict[str, Any] = {
            "run": {key: settings[key] for key in ("dataset", "objective", "seed", "steps", "code_size")},
            "encoder": encoder.fingerprint,
            "weights": dict(encoder.spec.objective["weights"]),
            "trained_steps": encoder.spec.objective["steps"],
            "items": len(items),
            "sampled": config.sample is not None and len(items) < len(data),
            "data": {"source": "drawn" if data.source == "drawn" else "file", "items": len(data)},
            "images": _image_scores(vae, encoder.preprocessing, data, device, config),
            "codes": code_scores(mean, kl_per_unit(encoder, data, items, mean, log_variance, device=device)),
        }
        scores = disentanglement_scores(
            mean,
            log_variance,
            data,
            items,
            choose_metrics(config.metrics),
            posterior=encoder.spec.posterior,
            n_bootstrap=config.n_bootstrap,
            seed=config.seed,
            progress=config.progress,
            device=device,
        )
        if scores is not None:
            report["disentanglement"] = scores
        report["seconds"] = round(time.perf_counter() - started, 2)
        draw_run(run, encoder, vae, data, mean, report, device=device)
    write_json(run / "metrics.json", report)
    warn_if_collapsed(encoder)
    return report, mean


def compare_runs(runs: Sequence[str], config: EvaluateConfig, out: Path) -> list[dict[str, Any]]:
    """Evaluate several runs and write `comparison.csv`, `comparison.md` and `comparison.png` into `out`.

    Args:
        runs: at least 2 run folders.
        config: how each is evaluated.
        out: folder of the comparison.

    Returns:
        One row per run; runs of the same data and code size also have a UDR.

    Raises:
        FileNotFoundError, ValueError: as `evaluate_run`.
    """
    names = [Path(run).name for run in runs]
    if len(set(names)) < len(names):
        names = [str(Path(run)) for run in runs]
    reports: dict[str, dict[str, Any]] = {}
    codes: dict[str, npt.NDArray[np.float32]] = {}
    for name, run in zip(names, runs, strict=True):
        reports[name], codes[name] = _evaluate(dataclasses.replace(config, run=run))
    rows = comparison.comparison_rows(reports, comparison.udr_across(codes, reports))
    comparison.write_comparison(out, rows)
    return rows


def _check_described(run: Path, encoder: FrozenEncoder, settings: dict[str, Any]) -> None:
    """Check that `config.json` and the encoder beside it tell of one run."""
    path = run / "encoder.safetensors"
    require(
        encoder.spec.objective,
        {"name": TEXT, "weights": OBJECT, "steps": whole(0), "seed": whole(0)},
        f"{path}: the objective in the header",
        remedy="evaluate a run of sparse_repr.pretrain",
    )
    described = {
        "dataset": encoder.spec.dataset.get("name"),
        "objective": encoder.spec.objective["name"],
        "seed": encoder.spec.objective["seed"],
        "code_size": encoder.code_size,
    }
    different = [
        f"{name} {settings[name]!r} and {value!r}" for name, value in described.items() if settings[name] != value
    ]
    if different:
        raise ValueError(
            f"{run / 'config.json'} and {path.name} are of different runs ({', '.join(different)}): put back the file "
            "that the run wrote"
        )


def _chosen_items(count: int, config: EvaluateConfig) -> npt.NDArray[np.int64]:
    if config.sample is None or config.sample >= count:
        return np.arange(count, dtype=np.int64)
    return np.sort(np.random.default_rng(config.seed).choice(count, config.sample, replace=False)).astype(np.int64)


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _image_scores(
    vae: VAE, preprocessing: Preprocessing, data: FactorDataset, device: torch.device, config: EvaluateConfig
) -> dict[str, Any]:
    """PSNR and SSIM of the model and of the trivial baselines; train and held-out where the data has both."""
    train, held_out = data.split
    read = image_reader(data, device)
    mean_image = _mean_image(preprocessing, read, train, device)
    vae = vae.to(device)
    parts = {"in_sample": train} if not len(held_out) else {"train": train, "held_out": held_out}
    scores: dict[str, Any] = {"protocol": f"{config.image_items} fixed random items, decoded posterior mean, range 1"}
    has_weights = default_weights_path().is_file()
    with_lpips = config.lpips_items > 0 and has_weights and data.image_shape[0] in (1, 3)
    if config.lpips_items and not with_lpips:
        scores["protocol"] += "; no LPIPS (python -m sparse_repr.perceptual fetch)"
    for name, indices in parts.items():
        chosen = np.sort(np.random.default_rng(0).permutation(indices)[: config.image_items])
        errors: dict[str, list[Tensor]] = {"model": [], "black": [], "mean_image": []}
        similarities = dict.fromkeys(errors, 0.0)
        distance, compared = 0.0, 0
        bar = tqdm(total=len(chosen), desc=f"reconstructing {name}", unit="img", disable=not config.progress)
        with bar, torch.no_grad():
            for start in range(0, len(chosen), _SLAB):
                images = preprocessing(read(chosen[start : start + _SLAB]))
                candidates = {
                    "model": torch.sigmoid(vae.decoder(vae.encoder(images).mean)),
                    "black": torch.zeros_like(images),
                    "mean_image": mean_image.expand_as(images),
                }
                for candidate, pictures in candidates.items():
                    errors[candidate].append(mean_squared_errors(images, pictures, data_range=1.0))
                    similarities[candidate] += ssim(images, pictures, data_range=1.0) * len(images)
                if with_lpips and compared < config.lpips_items:
                    distance += lpips(images, candidates["model"]) * len(images)
                    compared += len(images)
                bar.update(len(images))
        scores[name] = {
            candidate: _quality(torch.cat(values), similarities[candidate] / len(chosen))
            for candidate, values in errors.items()
        }
        if with_lpips:
            scores[name]["model"]["lpips"] = distance / compared
    return scores


def _quality(errors: Tensor, similarity: float) -> dict[str, float | None]:
    """Entries of one candidate from its mean squared errors (n,), images in 0..1."""
    pooled = float(-10 * torch.log10(errors.mean()))
    return {
        "psnr_db": _finite(pooled),
        "psnr_range_255_db": _finite(pooled + 20 * math.log10(255)),
        "psnr_mean_of_images_db": _finite(float((-10 * torch.log10(errors)).mean())),
        "ssim": similarity,
        "mse": float(errors.mean()),
    }


def _mean_image(
    preprocessing: Preprocessing,
    read: Callable[[IntArray], Tensor],
    train: npt.NDArray[np.int64],
    device: torch.device,
) -> Tensor:
    """Mean of (at most 10,000 random) training images, (1, C, h, w)."""
    chosen = np.sort(np.random.default_rng(1).permutation(train)[:_MEAN_IMAGE_ITEMS])
    summing = torch.device("cpu") if device.type == "mps" else device  # MPS has no float64
    total = torch.zeros((1, preprocessing.channels, *preprocessing.network_size), dtype=torch.float64, device=summing)
    for start in range(0, len(chosen), _SLAB):
        images = preprocessing(read(chosen[start : start + _SLAB]))
        total += images.to(summing).double().sum(0, keepdim=True)
    return (total / len(chosen)).float().to(device)


def summary(report: dict[str, Any]) -> str:
    """The main numbers of a report as a few lines of text."""
    lines = []
    for part, candidates in report["images"].items():
        if part == "protocol":
            continue
        for name, quality in candidates.items():
            decibel = "inf" if quality["psnr_db"] is None else f"{quality['psnr_db']:.2f}"
            lines.append(f"{part:10s} {name:11s} PSNR {decibel:>6s} dB   SSIM {quality['ssim']:.4f}")
    codes = report["codes"]
    lines.append(
        f"active units {codes['active_units']}, KL {codes['kl_nats']:.2f} nats, "
        f"near-zero codes {100 * codes['near_zero_fraction']:.1f} %"
    )
    if "disentanglement" in report:
        scores = {name: value for name, value in report["disentanglement"].items() if isinstance(value, float)}
        lines.append("  ".join(f"{name} {value:.4f}" for name, value in scores.items()))
        lines.append(f"(over {report['disentanglement']['over']})")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    return run_command(lambda: _evaluate_as_asked(arguments))


def _evaluate_as_asked(arguments: list[str] | None) -> None:
    config = parse_options(
        ComparisonConfig,
        arguments,
        program="python -m sparse_repr.evaluate",
        description=(
            "Score pretraining runs: writes metrics.json and figures/ into each folder, and a comparison of several."
        ),
    )
    if len(config.runs) == 1:
        run = Path(config.runs[0])
        print(summary(evaluate_run(dataclasses.replace(config, run=config.runs[0]))))
        print(f"metrics: {run / 'metrics.json'}")
        print(f"figures: {run / 'figures'}")
        return
    out = Path(config.out) if config.out else Path(config.runs[0]).parent
    print(comparison.comparison_markdown(compare_runs(config.runs, config, out)), end="")
    print(f"comparison: {out / 'comparison.csv'}, .md and .png")


if __name__ == "__main__":
    sys.exit(main())
