"""Made-up finished evaluations for the tests of tables, figures and publishing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from experiments.paper.results import StudyResults
from experiments.paper.runs import Finished

FACTORS = ["shape", "scale", "orientation", "position_x", "position_y"]


def finished(
    method: str = "vae",
    seed: int = 0,
    *,
    dataset: str = "dsprites",
    steps: int = 8_000,
    last: bool = True,
    folder: Path = Path("nowhere"),
    **scores: Any,
) -> Finished:
    """An evaluation whose scores are those given, 0.5 where none is given; faces and celeba have held-out images."""
    model = {"psnr_db": scores.pop("psnr_db", 20.0), "psnr_range_255_db": 68.13, "ssim": scores.pop("ssim", 0.9)}
    model.update({name: scores.pop(name) for name in ("lpips", "laplacian_sharpness") if name in scores})
    candidates = {
        "model": model,
        "black": {"psnr_db": 13.7, "psnr_range_255_db": 61.83, "ssim": 0.883},
        "mean_image": {"psnr_db": 14.2, "psnr_range_255_db": 62.36, "ssim": 0.37},
    }
    images: dict[str, Any] = {"protocol": "of a test"}
    if dataset == "celeba":
        images["train"] = {**candidates, "model": {**model, "psnr_db": 33.25}}
        images["held_out"] = candidates
    else:
        images["in_sample"] = candidates
    codes = {
        "active_units": scores.pop("active_units", 2),
        "hoyer_sparsity": scores.pop("hoyer_sparsity", 0.5),
        "exact_zero_fraction": scores.pop("exact_zero_fraction", 0.0),
        "near_zero_fraction": 0.5,
        "population_sparseness": 0.5,
        "l1_per_image": 2.0,
        "kl_nats": 6.0,
        "kl_nats_per_unit": scores.pop("kl_nats_per_unit", [2.0, 0.001, 4.0]),
        "mean_per_unit": [0.0, 0.0, 0.5],
        "std_per_unit": [1.0, 0.01, 0.75],
    }
    disentanglement = {
        **dict.fromkeys(("mig", "aam", "mig_without_shape", "aam_without_shape"), 0.5),
        "mutual_information_nats": [[0.0] * 3 for _ in FACTORS],
        "factor_entropies_nats": [1.0986, 1.7918, 3.6889, 3.4657, 3.4657],
        "factor_names": FACTORS,
        "over": "the full grid",
        "notes": {},
        **scores,
    }
    record = {
        "cell": f"{dataset}-{method}-seed{seed}",
        "dataset": dataset,
        "method": method,
        "seed": seed,
        "steps": steps,
        "last": last,
        "training": {"dataset": dataset, "seed": seed, "steps": steps, "data_path": None},
        "evaluation": {"steps": steps},
        "seconds": {"training": 12.5, "evaluation": 3.25},
        "machine": {"processor": "P", "cores": 2, "torch": "2.9", "date": "2026-01-02", "git_revision": "abc"},
    }
    sampled = {"items": 100_000, "sampled": scores.get("over") == "random items of a full grid"}
    run = {"dataset": dataset, "objective": "vae", "seed": seed, "steps": steps, "code_size": 3}
    report = {"run": run, "trained_steps": steps, **sampled, "images": images, "codes": codes}
    if dataset != "celeba":  # it has no factors
        report["disentanglement"] = disentanglement
    return Finished(folder, record, report)


def study(*evaluations: Finished, scale: str = "cpu", selection: dict[str, Any] | None = None) -> StudyResults:
    """Results of a scale."""
    return StudyResults(scale, evaluations, selection)
