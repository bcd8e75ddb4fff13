"""`python -m sparse_repr.evaluate RUN`: scores and pictures of a pretrained encoder, written into its run folder."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import torch
import tyro
from torch import Tensor
from tqdm import tqdm

from sparse_repr import figures
from sparse_repr.data import FactorDataset, load_dataset
from sparse_repr.devices import resolve_device, torch_threads
from sparse_repr.encoder import FrozenEncoder, load_encoder
from sparse_repr.files import write_json
from sparse_repr.metrics import (
    aam_score,
    active_units,
    hoyer_sparsity,
    mig_histogram_score,
    mig_score,
    mutual_information_matrix,
    near_zero_fraction,
    ssim,
)
from sparse_repr.metrics.image_quality import mean_squared_errors
from sparse_repr.models import VAE
from sparse_repr.preprocessing import Preprocessing
from sparse_repr.trained_vae import encode_dataset, kl_per_unit, load_vae

_MEAN_IMAGE_ITEMS = 10_000
_SLAB = 512
_PICTURES = 10
_TRAVERSAL_STEPS = 11


@dataclasses.dataclass(frozen=True)
class EvaluateConfig:
    """What to evaluate and how."""

    run: Annotated[str, tyro.conf.Positional]
    """Run folder of python -m sparse_repr.pretrain."""
    sample: int | None = None
    """Score codes on this many random items instead of all; metrics.json states it."""
    seed: int = 0
    """Seed of the random items of --sample."""
    image_items: int = 10_000
    """PSNR and SSIM are computed on this many fixed random images."""
    data_path: str | None = None
    """Your own copy of the data; by default the path the run was trained with."""
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


def evaluate_run(config: EvaluateConfig) -> dict[str, Any]:
    """Score a run and write `metrics.json` and `figures/` into its folder.

    Images: PSNR (true, and in the convention that fits the paper's tables) and SSIM of the decoded posterior mean,
    beside an all-black and a mean-image reconstruction. Codes: the mutual-information matrix, MIG and AAM with and
    without shape, active units, Hoyer sparsity, near-zero share. A posterior that is not Gaussian has no exact mutual
    information: its MIG is the histogram one alone.

    Returns:
        The content of `metrics.json`; undefined or infinite values are None.

    Raises:
        FileNotFoundError: not a run folder.
        ValueError: a damaged file, or data that the run was not trained on.
    """
    run = Path(config.run)
    encoder = load_encoder(run)
    vae, _ = load_vae(run)
    settings = _read_settings(run)
    data = load_dataset(settings["dataset"], config.data_path or settings["data_path"])
    if data.image_shape != encoder.image_shape:
        raise ValueError(
            f"{run} was trained on images {encoder.image_shape}, {data.source} has {data.image_shape}: "
            "give --data-path, or evaluate the run that belongs to this data"
        )
    device = resolve_device(config.device)
    started = time.perf_counter()
    with torch_threads(config.threads):
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
            "codes": _code_scores(mean, kl_per_unit(encoder, data, items, mean, log_variance)),
        }
        scores = _disentanglement(encoder, mean, log_variance, data, items)
        if scores is not None:
            report["disentanglement"] = scores
        report["seconds"] = round(time.perf_counter() - started, 2)
        _draw(run, encoder, vae, data, mean, report)
    write_json(run / "metrics.json", report)
    return report


def _read_settings(run: Path) -> dict[str, Any]:
    path = run / "config.json"
    try:
        settings = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise FileNotFoundError(f"no config.json in {run}: expected a run folder of sparse_repr.pretrain") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is damaged ({error})") from error
    return dict(settings)


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
    mean_image = _mean_image(preprocessing, data, train)
    vae = vae.to(device)
    parts = {"in_sample": train} if not len(held_out) else {"train": train, "held_out": held_out}
    scores: dict[str, Any] = {"protocol": f"{config.image_items} fixed random items, decoded posterior mean, range 1"}
    for name, indices in parts.items():
        chosen = np.sort(np.random.default_rng(0).permutation(indices)[: config.image_items])
        errors: dict[str, list[Tensor]] = {"model": [], "black": [], "mean_image": []}
        similarities = dict.fromkeys(errors, 0.0)
        bar = tqdm(total=len(chosen), desc=f"reconstructing {name}", unit="img", disable=not config.progress)
        with bar, torch.no_grad():
            for start in range(0, len(chosen), _SLAB):
                pixels = torch.from_numpy(data.images(chosen[start : start + _SLAB])).to(device)
                images = preprocessing(pixels)
                candidates = {
                    "model": torch.sigmoid(vae.decoder(vae.encoder(images).mean)),
                    "black": torch.zeros_like(images),
                    "mean_image": mean_image.to(device).expand_as(images),
                }
                for candidate, pictures in candidates.items():
                    errors[candidate].append(mean_squared_errors(images, pictures).cpu())
                    similarities[candidate] += ssim(images, pictures, data_range=1.0) * len(images)
                bar.update(len(images))
        scores[name] = {
            candidate: _quality(torch.cat(values), similarities[candidate] / len(chosen))
            for candidate, values in errors.items()
        }
    vae.to("cpu")
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


def _mean_image(preprocessing: Preprocessing, data: FactorDataset, train: npt.NDArray[np.int64]) -> Tensor:
    """Mean of (at most 10,000 random) training images, (1, C, h, w)."""
    chosen = np.sort(np.random.default_rng(1).permutation(train)[:_MEAN_IMAGE_ITEMS])
    total = torch.zeros((1, preprocessing.channels, *preprocessing.network_size), dtype=torch.float64)
    for start in range(0, len(chosen), _SLAB):
        images = preprocessing(torch.from_numpy(data.images(chosen[start : start + _SLAB])))
        total += images.double().sum(0, keepdim=True)
    return (total / len(chosen)).float()


def _code_scores(mean: npt.NDArray[np.float32], kl_nats: list[float]) -> dict[str, Any]:
    return {
        "active_units": active_units(mean),
        "hoyer_sparsity": hoyer_sparsity(mean) if mean.shape[1] > 1 else None,
        "near_zero_fraction": near_zero_fraction(mean),
        "exact_zero_fraction": near_zero_fraction(mean, tolerance=0),
        "l1_per_image": float(np.abs(mean).sum(axis=1, dtype=np.float64).mean()),
        "kl_nats": math.fsum(kl_nats),
        "kl_nats_per_unit": kl_nats,
        "mean_per_unit": mean.mean(axis=0, dtype=np.float64).tolist(),
        "std_per_unit": mean.std(axis=0, dtype=np.float64).tolist(),
    }


def _disentanglement(
    encoder: FrozenEncoder,
    mean: npt.NDArray[np.float32],
    log_variance: npt.NDArray[np.float32],
    data: FactorDataset,
    items: npt.NDArray[np.int64],
) -> dict[str, Any] | None:
    """Scores against the factors; None where no factor is known or takes two values.

    On anything but a full grid the mixtures are those of the items present.
    """
    if data.factors is None:
        return None
    factors = data.factors[items]
    varying = [k for k in range(factors.shape[1]) if (factors[:, k] != factors[0, k]).any()]
    if not varying:
        return None
    factors, names = factors[:, varying], [data.factor_names[k] for k in varying]
    if data.is_full_grid:
        over = "the full grid" if len(items) == len(data) else "random items of a full grid"
    else:
        over = "the items present, which are no full grid: factors that go together there are not told apart"
    scores: dict[str, Any] = {
        "over": over,
        "factor_names": names,
        "constant_factors_left_out": [name for name in data.factor_names if name not in names],
        "mig_histogram": mig_histogram_score(mean, factors),
    }
    if encoder.spec.posterior != "gaussian":
        posterior = f"{encoder.spec.posterior}: no exact mutual information, histograms of the codes instead"
        return {**scores, "posterior": posterior}
    information = mutual_information_matrix(mean, log_variance, factors)
    entropies = information.factor_entropies_nats
    scores["mig"] = mig_score(information.matrix, entropies)
    scores["aam"] = aam_score(information.matrix)
    if "shape" in names and len(names) > 1:
        shape = (names.index("shape"),)
        scores["mig_without_shape"] = mig_score(information.matrix, entropies, exclude=shape)
        scores["aam_without_shape"] = aam_score(information.matrix, exclude=shape)
    return {
        **scores,
        "factor_entropies_nats": entropies.tolist(),
        "mutual_information_nats": information.matrix.tolist(),
        "mutual_information_error_nats": information.error_nats,
    }


def _draw(
    run: Path,
    encoder: FrozenEncoder,
    vae: VAE,
    data: FactorDataset,
    mean: npt.NDArray[np.float32],
    report: dict[str, Any],
) -> None:
    """The three figures of a run."""
    folder = run / "figures"
    title = f"{report['run']['objective']} on {report['run']['dataset']}, {report['trained_steps']:,} steps"
    held_out = data.split[1] if len(data.split[1]) else data.split[0]
    chosen = np.random.default_rng(2).permutation(held_out)[:_PICTURES]
    with torch.no_grad():
        images = encoder.preprocessing(torch.from_numpy(data.images(chosen)))
        codes = vae.encoder(images).mean
        reconstructed = torch.sigmoid(vae.decoder(codes))
    figures.save_figure(figures.reconstructions_figure(images, reconstructed, title), folder / "reconstructions.png")
    values = figures.quantile_values(mean, _TRAVERSAL_STEPS)
    pictures = figures.decode_traversals(vae.decoder, codes[0], torch.from_numpy(values))
    kl = report["codes"]["kl_nats_per_unit"]
    figures.save_figure(figures.traversals_figure(pictures, values, kl, title), folder / "traversals.png")
    scores = report.get("disentanglement", {})
    if "mutual_information_nats" in scores:
        figure = figures.mutual_information_figure(
            np.asarray(scores["mutual_information_nats"]),
            scores["factor_names"],
            np.asarray(scores["factor_entropies_nats"]),
            title,
        )
        figures.save_figure(figure, folder / "mutual_information.png")


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
    description = "Score a pretraining run: writes metrics.json and figures/ into its folder."
    try:
        config = tyro.cli(
            EvaluateConfig, args=arguments, prog="python -m sparse_repr.evaluate", description=description
        )
        report = evaluate_run(config)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(summary(report))
    print(f"metrics: {Path(config.run) / 'metrics.json'}")
    print(f"figures: {Path(config.run) / 'figures'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
