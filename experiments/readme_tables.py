"""`python -m experiments.readme_tables`: write the README's tables from the committed results."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from experiments.report import replace_between
from sparse_repr.files import write_bytes

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "experiments" / "results"
README = ROOT / "README.md"


def _read(name: str) -> dict[str, Any]:
    return dict(json.loads((RESULTS / name).read_text(encoding="utf-8")))


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(header) + " |", "|---" * len(header) + "|"]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def quickstart_table() -> str:
    """Success of the quickstart's agents."""
    results = _read("quickstart/results.json")
    rows = []
    for arm in results["agents"]:
        low, high = (f"{100 * bound:.0f}" for bound in arm["interval_95"])
        rows.append((arm["name"], arm["description"], f"{100 * arm['success_rate']:.1f} %", f"{low}–{high} %"))
    table = _table(("agent sees", "", "success", "95 % interval"), rows)
    settings = results["settings"]
    minutes, machine = results["seconds"]["all"] / 60, results["machine"]
    return (
        f"{table}\n\n`make quickstart`: {settings['pretrain_steps']:,} pretraining steps, then "
        f"{settings['agent_steps']:,} steps per agent, {settings['episodes']} episodes each, one seed; {minutes:.1f} "
        f"minutes on {machine['cores']} cores ({machine['date']}). {results['verdict']}"
    )


def long_table() -> str:
    """Scores of the longer run."""
    metrics, probes = _read("dsprites/metrics.json"), _read("dsprites/probes.json")
    scores, images, codes = metrics["disentanglement"], metrics["images"]["in_sample"], metrics["codes"]
    rows = [
        ("PSNR, SSIM of the reconstructions", f"{images['model']['psnr_db']:.2f} dB, {images['model']['ssim']:.3f}"),
        ("the same of an all-black picture", f"{images['black']['psnr_db']:.2f} dB, {images['black']['ssim']:.3f}"),
        ("MIG with shape, without", f"{scores['mig']:.3f}, {scores['mig_without_shape']:.3f}"),
        ("AAM with shape, without", f"{scores['aam']:.3f}, {scores['aam_without_shape']:.3f}"),
        ("active units, near-zero codes", f"{codes['active_units']}, {100 * codes['near_zero_fraction']:.0f} %"),
        ("shape read by a probe, full size", f"{100 * probes['one_size']:.0f} %"),
        ("shape read by a probe, all sizes mixed", f"{100 * probes['all_sizes']:.0f} %"),
    ]
    table = _table(("sparse VAE", f"{metrics['trained_steps']:,} steps"), rows)
    return f"{table}\n\nOne seed, over {scores['over']}; drawn grids are in-sample. Chance for the shape is 33 %."


def measured_table() -> str:
    """The speeds and sizes."""
    drawing, encode, envs = (_read(f"benchmark/{name}.json") for name in ("drawing", "encode", "envs"))
    data, metrics = _read("benchmark/data.json"), _read("benchmark/metrics.json")
    published = _read("benchmark/metrics_with_published_dci.json")["published_learner_dci_s"]
    built, information = drawing["built"], metrics["mutual_information"]["encoder"]
    difference = information["difference_from_4_times_finer_grid_nats"]
    frames = f"{drawing['wrong_pixels']} wrong pixels in {drawing['real_frames']} real frames"
    rows = [
        (
            "dSprites drawn",
            f"{frames}; {built['seconds']:.1f} s, {built['peak_memory_gb']:.2f} GB at most",
            "drawing",
        ),
        ("a batch of 64 from it", f"{100 * drawing['batch_share_of_step']:.2f} % of a training step", "drawing"),
        ("training", f"{drawing['training_images_per_s']:,.0f} images/s ({drawing['precision']})", "drawing"),
        (
            "CelebA decoded",
            f"{data['celeba']['decoded_images_per_s']:,.0f} images/s; then {data['celeba']['cached_start_s']:.2f} s",
            "data",
        ),
        (
            "faces, chairs drawn on one core",
            f"{data['faces_images_per_s_batch_1024']:,.0f}, {data['chairs3d_images_per_s_batch_1024']:,.0f} images/s",
            "data",
        ),
        ("one 64x64 image encoded on one core", f"{1000 * encode['one_image_s']['median']:.2f} ms", "encode"),
        ("SpriteReach on one core", f"{envs['SparseRepr/SpriteReach-v0']['steps_per_s']:,.0f} steps/s", "envs"),
        (
            "exact mutual information, 737,280 x 10",
            f"{information['seconds']:.1f} s, within {difference:.0e} nats of a 4 times finer grid",
            "metrics",
        ),
        ("all other scores", f"{metrics['suite_s']:.0f} s", "metrics --skip-slow"),
        ("DCI with the published learner", f"{published:.0f} s", "metrics"),
    ]
    shown = [(what, figure, f"`python -m experiments.benchmark {part}`") for what, figure, part in rows]
    machine = drawing["machine"]
    return (
        f"{_table(('what', 'measured', 'command'), shown)}\n\n"
        f"On {machine['cores']} cores of an {machine['processor']} with AVX512-BF16, torch {machine['torch']}, "
        f"{machine['date']}; every file is in [experiments/results/](experiments/results). "
        "Nothing here was measured on a GPU."
    )


TABLES: dict[str, Callable[[], str]] = {"quickstart": quickstart_table, "long": long_table, "measured": measured_table}


def fill(page: str) -> str:
    """The page with every table written anew."""
    for name, table in TABLES.items():
        page = replace_between(page, name, table())
    return page


def main() -> int:
    """Rewrite the README; returns the exit code."""
    write_bytes(README, fill(README.read_text(encoding="utf-8")).encode())
    print(README)
    return 0


if __name__ == "__main__":
    sys.exit(main())
