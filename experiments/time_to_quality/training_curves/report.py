"""The tables and the picture of `experiments.time_to_quality.training_curves`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from statistics import fmean, median
from typing import Any

from experiments.pages.committed import markdown_table
from sparse_repr.figures import PALETTE, add_note, chart, panels_figure, save_chart

SCORES = {
    "psnr_db": "PSNR (dB)",
    "ssim": "SSIM",
    "kl_nats": "KL (nats)",
    "active_units": "active units",
    "mig": "MIG",
    "aam": "AAM",
}
_LINES = ("-", "--", ":")
"""Of the ways that have had a colour each, of the next as many, and so on."""
_PANELS = ("psnr_db", "mig", "aam")

Curves = Mapping[str, Mapping[str, Mapping[str, Mapping[str, Any]]]]
"""Arm -> way -> seed -> what `measure_curve` returns."""


def as_markdown(results: Mapping[str, Any]) -> str:
    """The steps to leave the mean picture, and the scores at the last check, means over seeds with their extremes."""
    curves: Curves = results["curves"]
    machine = results["machine"]
    left = [
        (arm, way, str(len(seeds)), *_steps_to_leave([entry["left_at"] for entry in seeds.values()]))
        for arm, ways in curves.items()
        for way, seeds in ways.items()
    ]
    parts = [
        f"`{results['command']}`",
        "Steps until the reconstruction loss is below 85 % of that of the mean picture, looked at every 20.",
        markdown_table(("arm", "way", "seeds", "never", "median", "latest"), left),
    ]
    ends = [
        (arm, way, str(int(last[0]["step"])), *(_mean(last, name) for name in SCORES), f"{_mean(last, 'cpu_s')}")
        for arm, ways in curves.items()
        for way, seeds in ways.items()
        if (last := [entry["points"][-1] for entry in seeds.values() if entry["points"]])
    ]
    if ends:
        header = ("arm", "way", "step", *SCORES.values(), "processor time (s)")
        parts += ["At the last check: mean over the seeds (least to greatest).", markdown_table(header, ends)]
    parts.append(
        f"One thread, {machine['processor']} with {machine['cores']} cores, {machine['date']}; processor time, which a "
        "busy machine makes longer."
    )
    return "\n\n".join(parts) + "\n"


def _steps_to_leave(found: list[int | None]) -> tuple[str, str, str]:
    steps = [step for step in found if step is not None]
    never = len(found) - len(steps)
    return str(never), f"{median(steps):.0f}" if steps else "–", "–" if never else str(max(steps))


def _mean(rows: list[Mapping[str, float]], name: str) -> str:
    values = [row[name] for row in rows]
    mean = f"{fmean(values):.3g}"
    return mean if len(values) == 1 else f"{mean} ({min(values):.3g} to {max(values):.3g})"


@chart
def draw_curves(results: Mapping[str, Any], path: Path) -> None:
    """PSNR, MIG and AAM against the processor time: a row each, a column per arm, a colour per way."""
    from matplotlib.ticker import LogLocator, NullLocator, ScalarFormatter

    curves: Curves = results["curves"]
    arms = [arm for arm, ways in curves.items() if any(e["points"] for seeds in ways.values() for e in seeds.values())]
    if not arms:
        return
    ways = list(dict.fromkeys(way for arm in arms for way in curves[arm]))
    figure, panels = panels_figure(len(_PANELS), len(arms), 3.6 * len(arms) + 2.6, 7.8, sharex=True, sharey="row")
    for column, arm in enumerate(arms):
        for row, name in enumerate(_PANELS):
            axes = panels[row][column]
            for way, seeds in curves[arm].items():
                colour, line = PALETTE[ways.index(way) % len(PALETTE)], _LINES[ways.index(way) // len(PALETTE)]
                for place, entry in enumerate(seeds.values()):
                    points = entry["points"]
                    times, values = ([point[key] for point in points] for key in ("cpu_s", name))
                    axes.plot(times, values, color=colour, linestyle=line, marker=".", label=None if place else way)
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.xaxis.set_major_formatter(ScalarFormatter())
            axes.xaxis.set_minor_locator(NullLocator())
            if not column:
                axes.set_ylabel(SCORES[name])
        panels[0][column].set_title(arm)
        panels[-1][column].set_xlabel("seconds of one core")
    handles = {label: line for axes in panels[0] for line, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside right center")
    add_note(figure, "a line per seed")
    save_chart(figure, path)
