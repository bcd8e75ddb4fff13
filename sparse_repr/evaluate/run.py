"""Scoring a run: metrics.json and figures, written into its folder, and the comparison of several runs."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import tyro
from tqdm import tqdm

from sparse_repr.command_line.bounds import (
    MOST_SEED,
    require_name,
    require_threads,
    require_types,
    require_whole,
    take_plain_numbers,
)
from sparse_repr.devices import cpu_threads, resolve_device, whole_float32
from sparse_repr.encoder import FrozenEncoder, load_encoder
from sparse_repr.encoder.collapse import warn_if_collapsed
from sparse_repr.encoder.statistics import EncodedItems, encode_dataset, kl_per_unit
from sparse_repr.encoder.vae import decodes, load_vae
from sparse_repr.evaluate import comparison
from sparse_repr.evaluate.codes import choose_metrics, code_scores, disentanglement_scores
from sparse_repr.evaluate.health import run_health
from sparse_repr.evaluate.images import image_scores, no_image_scores
from sparse_repr.evaluate.report import with_earlier_scores
from sparse_repr.evaluate.run_figures import draw_run
from sparse_repr.files import removed_if_empty, require_space, write_json
from sparse_repr.files.json_reader import OBJECT, TEXT, read_json, require, whole
from sparse_repr.pretrain.run_folder import data_of_run, read_settings

_MOST_REPETITIONS = 1_000_000


@dataclasses.dataclass(frozen=True)
class EvaluateConfig:
    """What to evaluate and how."""

    run: Annotated[str, tyro.conf.Positional]
    """Run folder of python -m sparse_repr.pretrain."""
    metrics: str | None = None
    """Scores to compute, such as mig,dci; by default all but dci, whose published learner takes minutes, and beyond 64
    units all but dci_histogram and dci_forest too. Others that metrics.json has of the same codes stay there."""
    n_bootstrap: int = 0
    """Repetitions of the 95 % interval of each sampled score; each costs as much as the scores themselves."""
    sample: int | None = None
    """Score codes on this many random items instead of all; metrics.json states it."""
    seed: int = 0
    """Seed of the random items of --sample and of the scores that draw."""
    image_items: int = 10_000
    """PSNR and SSIM are computed on this many fixed random images."""
    lpips_items: int = 1_000
    """LPIPS is computed on this many of them, random ones too; 0 for none. VGG16 sees about 100 images a second on two
    cores."""
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
        take_plain_numbers(self)
        require_types(self)
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


def evaluate_run(config: EvaluateConfig) -> dict[str, Any]:
    """Score a run and write `metrics.json` and `figures/` into its folder.

    Images: PSNR (true, and in the convention that fits the paper's tables) and SSIM of the decoded posterior mean,
    beside an all-black and a mean-image reconstruction, and LPIPS where its weights are present. Health: whether the
    decoder uses the code, with the likely cause where it does not. Codes: sparsity, and,
    where factors are known, the mutual-information matrix and the chosen scores. The data is encoded once. A posterior
    that is not Gaussian has no exact mutual information: its MIG is the histogram one alone. A run without a decoder
    has no scores of images and no pictures, and says so in their protocol.

    Returns:
        The content of `metrics.json`; undefined or infinite values are None.

    Raises:
        FileNotFoundError: not a run folder.
        ValueError: a damaged file, an unknown score, or data that the run was not trained on.
    """
    return _evaluate(config)[0]


def _evaluate(config: EvaluateConfig) -> tuple[dict[str, Any], EncodedItems]:
    """The report of a run, and its codes."""
    run = Path(config.run)
    encoder = load_encoder(run)
    vae = load_vae(run)[0] if decodes(encoder.spec) else None
    settings = read_settings(run)
    data = data_of_run(
        run, settings, data_path=config.data_path, factor_sizes=config.factor_sizes, progress=config.progress
    )
    if data.image_shape != encoder.image_shape:
        raise ValueError(
            f"{run} was trained on images {encoder.image_shape}, {data.source} has {data.image_shape}: "
            "give data_path (--data-path), or evaluate the run that belongs to this data"
        )
    _check_described(run, encoder, settings)
    device = resolve_device(config.device)
    started = time.perf_counter()
    with cpu_threads(config.threads), whole_float32(device):
        items = _chosen_items(len(data), config)
        with tqdm(total=len(items), desc="encoding", unit="img", disable=not config.progress) as bar:
            encoded = encode_dataset(encoder, data, items, device=device, on_slab=bar.update)
        report: dict[str, Any] = {
            "run": {key: settings[key] for key in ("dataset", "objective", "seed", "steps", "code_size")},
            "encoder": encoder.fingerprint,
            "weights": dict(encoder.spec.objective["weights"]),
            "posterior": encoder.spec.posterior,
            "trained_steps": encoder.spec.objective["steps"],
            "items": len(items),
            "sampled": config.sample is not None and len(items) < len(data),
            "scored": {"seed": config.seed, "images": data.digest(items), "factors": data.factors_digest(items)},
            "data": {"source": "drawn" if data.source == "drawn" else "file", "items": len(data)},
            "images": no_image_scores(settings["objective"])
            if vae is None
            else image_scores(
                vae,
                encoder.preprocessing,
                data,
                image_items=config.image_items,
                lpips_items=config.lpips_items,
                device=device,
                progress=config.progress,
            ),
            "codes": code_scores(encoded.mean, kl_per_unit(encoder, data, encoded, device=device)),
        }
        if vae is not None:
            report["health"] = run_health(
                vae, encoder.preprocessing, data, settings, steps=report["trained_steps"], device=device
            )
        scores = disentanglement_scores(
            encoded,
            data,
            choose_metrics(config.metrics, encoder.code_size),
            posterior=encoder.spec.posterior,
            n_bootstrap=config.n_bootstrap,
            seed=config.seed,
            progress=config.progress,
            device=device,
        )
        if scores is not None:
            report["disentanglement"] = scores
        report["seconds"] = round(time.perf_counter() - started, 2)
        report = with_earlier_scores(report, _earlier(run / "metrics.json"))
        write_json(run / "metrics.json", report)  # before the pictures, which may find no place
        draw_run(run, encoder, vae, data, encoded, report, device=device)
    warn_if_collapsed(encoder)
    return report, encoded


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
    places = [Path(run).resolve() for run in runs]
    twice = [run for number, run in enumerate(runs) if places[number] in places[:number]]
    if twice:
        raise ValueError(f"a comparison needs different run folders, got {twice[0]} twice; leave one of them out")
    with removed_if_empty(out):
        require_space(out, 0, "the comparison")
        _require_readable(runs, config)
    names = [place.name for place in places]
    if len(set(names)) < len(names):
        names = [str(Path(run)) for run in runs]
    reports: dict[str, dict[str, Any]] = {}
    codes: dict[str, npt.NDArray[np.float32]] = {}
    for name, run in zip(names, runs, strict=True):
        reports[name], encoded = _evaluate(dataclasses.replace(config, run=run))
        codes[name] = encoded.mean  # the log-variances of many runs would only fill the memory
    digests = {name: report["scored"]["images"] for name, report in reports.items()}
    rows = comparison.comparison_rows(reports, comparison.udr_across(codes, reports, digests))
    comparison.write_comparison(out, rows)
    return rows


def _require_readable(runs: Sequence[str], config: EvaluateConfig) -> None:
    """Check what `_evaluate` needs of each run before the first is scored, which takes long.

    Raises:
        FileNotFoundError, ValueError: the run, its decoder or its data is not there, or damaged.
    """
    for run in runs:
        encoder, settings = load_encoder(run), read_settings(Path(run))
        if decodes(encoder.spec):
            load_vae(Path(run))
        place = config.data_path or settings["data_path"]
        # the names of data sets of minari are no files
        if place is not None and settings["dataset"] != "minari" and not Path(place).expanduser().exists():
            raise FileNotFoundError(
                f"no data at {place}, which {run} was trained on: put it back, give your copy (--data-path), or leave "
                "the run out"
            )


def _earlier(path: Path) -> Any:
    """What an earlier evaluation wrote; None where there is nothing that can be read."""
    try:
        return read_json(path) if path.is_file() else None
    except ValueError:
        return None


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
