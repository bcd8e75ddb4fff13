"""The page about a card, from what is known by now."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from experiments.pages.committed import markdown_table
from experiments.pages.tables import EMPTY
from experiments.paper.cells import METHODS
from experiments.paper.published import published_results
from experiments.paper.tables import disentanglement_table, reconstruction_table

_FAILED = "failed"
_WAYS = {"none": "kernel by kernel", "cuda_graph": "CUDA graph", "compile": "compiled"}
_NOTHING = "Not measured yet."


def as_markdown(content: Mapping[str, Any], study: Path) -> str:
    """The page.

    Args:
        content: of `results.json`.
        study: folder of the study's published cells.
    """
    machine, pieces = content["machine"], content["pieces"]
    place = (
        machine.get("gpu") or f"no GPU, {machine['processor']}: a test that everything runs, whose numbers mean nothing"
    )
    parts = [
        f"# {place}",
        f"`{content['command']}`, torch {machine['torch']}, {machine['date']}, git {machine['git_revision']}. Every "
        "further figure is written as soon as it is there; the same command goes on with what is missing.",
    ]
    sections: dict[str, tuple[str, Callable[[dict[str, Any]], str]]] = {
        "tests": ("Tests that need a CUDA device", _tests),
        "speed": ("Speed and memory", _speed),
        "equality": ("Are a graph, a stack and single runs the same?", _equality),
        "evaluation": ("Evaluation on the device and on the CPU", _evaluation),
    }
    for piece, (title, write) in sections.items():
        parts += [f"## {title}", _with_failures(pieces.get(piece, {}), write)]
    parts += ["## The paper's study", _study(content["scale"], pieces, study)]
    return "\n\n".join(parts) + "\n"


def _with_failures(items: Mapping[str, Any], write: Callable[[dict[str, Any]], str]) -> str:
    """What is written of the items that are there, and a line for each that failed or warned."""
    good = {name: item for name, item in items.items() if _FAILED not in item}
    lines = [f"- {name} failed: {item[_FAILED]}" for name, item in items.items() if _FAILED in item]
    lines += [f"- {name} warned: {text}" for name, item in good.items() for text in item.get("warnings", ())]
    parts = [write(good) if good else "" if lines else _NOTHING, "\n".join(lines)]
    return "\n\n".join(part for part in parts if part)


def _tests(items: dict[str, Any]) -> str:
    lines = []
    for item in items.values():
        failures = item["failures"]
        lines.append(f"{item['passed']} passed, {len(failures)} failed, {item['skipped']} skipped.")
        lines += [f"- {name}: {said}" for name, said in failures.items()]
    return "\n".join(lines)


def _speed(items: dict[str, Any]) -> str:
    limits = items.pop("ceilings", None)
    words = ""
    if limits is not None:
        words = (
            f"Measured ceilings: {limits['bytes_per_s'] / 1e9:,.0f} GB/s copied (read and written), "
            f"{limits['float32_flops_per_s'] / 1e12:,.2f} TFLOP/s float32 and "
            f"{limits['bfloat16_flops_per_s'] / 1e12:,.2f} TFLOP/s bf16 in a product of matrices. "
        )
    header = ["models", "steps are launched", "images/s", "ms per step", "of the matrix ceiling", "of the bandwidth"]
    header += ["most memory (GB)", "of it data (GB)"]
    rows = []
    for item in items.values():
        step_s = {name: 1000 * value for name, value in item["step_s"].items()}
        rows.append(
            (
                str(item["models"]),
                f"{_WAYS[item['way']]}, {item['precision']}",
                f"{item['images_per_s']:,.0f}",
                f"{step_s['median']:.3g} ({step_s['least']:.3g}–{step_s['greatest']:.3g})",
                _shown(item.get("share_of_matrix_ceiling"), "{:.2%}"),
                _shown(item.get("share_of_bandwidth"), "{:.1%}"),
                _shown(item.get("peak_memory_gb"), "{:.2f}"),
                _shown(item.get("resident_data_gb"), "{:.2f}"),
            )
        )
    words += (
        "Batches of 64 images of 64x64 for every model, the sparse VAE on dSprites; a step is the time of all models. "
        "The traffic of a step is what its operations read and write when each is launched by itself, without caches."
    )
    return f"{markdown_table(header, rows)}\n\n{words}" if rows else words


def _equality(items: dict[str, Any]) -> str:
    rows = [
        (
            name,
            str(item["models"]),
            str(item["steps"]),
            *(f"{item[key]:.1e}" for key in ("first_loss", "loss", "parameters")),
        )
        for name, item in items.items()
    ]
    header = ("what is compared", "models", "steps", "first loss", "greatest of any loss", "parameters")
    return (
        f"{markdown_table(header, rows)}\n\nDifferences of losses as shares of the loss, and the norm of the "
        "difference of the parameters as a share of the norm of their change. What differs from itself does so by the "
        "order of additions."
    )


def _evaluation(items: dict[str, Any]) -> str:
    lines = []
    if (item := items.get("encoding")) is not None:
        lines.append(
            f"- Encoding {item['images']:,} images: {item['device_images_per_s']:,.0f} images/s on the device, "
            f"{item['cpu_images_per_s']:,.0f} on the CPU; means differ by at most "
            f"{item['mean_difference_in_standard_deviations']:.1e} standard deviations of their unit, log-variances by "
            f"{item['log_variance_difference']:.1e}."
        )
    if (item := items.get("mutual information")) is not None:
        lines.append(
            f"- Mutual information of {item['items']:,} items: {item['device_s']:.2f} s on the device, "
            f"{item['cpu_s']:.2f} s on the CPU; they differ by at most {item['difference_nats']:.1e} nats (the "
            f"integral's own error is {item['error_nats']:.1e}); MIG {item['mig_on_device']:.4f} and "
            f"{item['mig_on_cpu']:.4f}."
        )
    return "\n".join(lines)


def _study(scale: str, pieces: Mapping[str, Any], folder: Path) -> str:
    results = published_results(folder, scale)
    parts = []
    for dataset in results.datasets():
        tables = (reconstruction_table(results, dataset), disentanglement_table(results, dataset))
        parts += [f"**{table.title}**\n\n{table.as_markdown()}" for table in tables if table is not None]
    done = {(one.record["dataset"], METHODS[one.record["method"]].title) for one in results.evaluations}
    latest = {
        run: item
        for item in pieces.get("so far", {}).values()
        if _FAILED not in item and (run := (item["dataset"], item["method"])) not in done
    }
    if latest:
        rows = [
            (
                item["dataset"],
                item["method"],
                f"{item['steps']:,} of {item['of_steps']:,}",
                _shown(item["psnr_db"], "{:.2f}"),
                _shown(item["ssim"], "{:.3f}"),
                _shown(item["mig"], "{:.3f}"),
                _shown(item["aam"], "{:.3f}"),
                str(item["active_units"]),
            )
            for item in latest.values()
        ]
        header = ("data set", "method", "steps", "PSNR (dB)", "SSIM", "MIG", "AAM", "active units")
        words = "Runs that were cut off, the first seed of each, on a sample: what they had come to, no result."
        parts.append(f"{markdown_table(header, rows)}\n\n{words}")
    study = pieces.get("study", {})
    if (left_out := study.get("left out")) is not None:
        parts.append(f"Left out: {left_out['cells']}. {left_out['reason']}.")
    parts += [f"- {name} failed: {item[_FAILED]}" for name, item in study.items() if _FAILED in item]
    return "\n\n".join(parts) or "No run has come far enough yet."


def _shown(value: float | None, form: str) -> str:
    return EMPTY if value is None else form.format(value)
