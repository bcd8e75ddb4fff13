"""The tables and the picture of `experiments.time_to_quality`."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean
from typing import Any

_SCORES = {
    "bound_nats": "bound (nats)",
    "kl_nats": "KL (nats)",
    "psnr_db": "PSNR (dB)",
    "mig": "MIG",
    "aam": "AAM",
    "active_units": "active units",
}
_ENDS = {"plain": "published", "at_share": "chosen, a third of the time", "whole": "chosen, the same time"}


def _cells(row: dict[str, Any]) -> str:
    return " | ".join(f"{row[name]:.4g}" for name in _SCORES)


def as_markdown(results: dict[str, Any]) -> str:
    """The sweep, the confirmation, the scores of both, and what the steps cost."""
    titles = " | ".join(_SCORES.values())
    lines = [f"`{results['command']}`", "", "Sweep; time as a share of that of the published settings.", ""]
    lines += [f"| arm | reached | share of the time | steps | {titles} |", f"|{'---|' * (4 + len(_SCORES))}"]
    for arm, row in results["sweep"].items():
        name = f"**{arm}**" if arm == results["chosen"] else arm
        there = "yes" if row["reached"] else "no"
        lines.append(f"| {name} | {there} | {row['share']:.3f} | {row['step']:.0f} | {_cells(row)} |")
    lines += ["", "The quickest arm of each kind of initial weights on every seed, at the bound.", ""]
    lines += [f"| arm | seed | reached | share of the time | steps | {titles} |", f"|{'---|' * (5 + len(_SCORES))}"]
    for arm, seeds in results["finalists"].items():
        for seed, row in seeds.items():
            there = "yes" if row["reached"] else "no"
            lines.append(f"| {arm} | {seed} | {there} | {row['share']:.3f} | {row['step']:.0f} | {_cells(row)} |")
    lines += ["", "Chosen arm on every seed: share of the published settings' time until their last bound is first", ""]
    lines[-2] += " reached, until no later point is below it, and until their highest bound is reached."
    lines += ["| objective | seed | target (nats) | first | for good | highest |", "|---|---|---|---|---|---|"]
    for objective, seeds in results["confirmed"].items():
        for seed, row in seeds.items():
            shares = ["–" if share is None else f"{share:.3f}" for share in row["shares"].values()]
            lines.append(f"| {objective} | {seed} | {row['target_bound_nats']:.1f} | {' | '.join(shares)} |")
    lines += ["", f"| objective | seed | settings | steps | {titles} |", f"|{'---|' * (4 + len(_SCORES))}"]
    for objective, seeds in results["confirmed"].items():
        for seed, confirmed in seeds.items():
            for end, row in confirmed["scores"].items():
                lines.append(f"| {objective} | {seed} | {_ENDS[end]} | {row['step']:.0f} | {_cells(row)} |")
    lines += [""]
    for objective, seeds in results["confirmed"].items():
        ends = {end: [row["scores"][end] for row in seeds.values()] for end in ("plain", "at_share")}
        means = {end: {name: fmean(row[name] for row in rows) for name in _SCORES} for end, rows in ends.items()}
        compared = (
            f"{title} {means['plain'][name]:.3g} published, {means['at_share'][name]:.3g} chosen"
            for name, title in _SCORES.items()
        )
        lines.append(f"Means over the seeds of {objective}, {len(seeds)}: {'; '.join(compared)}.")
    lines += ["", "| step | ms of processor time (median) | least | greatest |", "|---|---|---|---|"]
    for kind, cost in results["costs"].items():
        times = [f"{1000 * cost[name]:.1f}" for name in ("median", "least", "greatest")]
        lines.append(f"| {kind} | {' | '.join(times)} |")
    return "\n".join(lines) + "\n"


def draw_curves(results: dict[str, Any], path: Path) -> None:
    """The bound against the time, one panel per objective, published settings beside the chosen ones."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    confirmed = results["confirmed"]
    figure = Figure(figsize=(5.5 * len(confirmed), 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    for panel, (objective, seeds) in enumerate(confirmed.items()):
        axes = figure.add_subplot(1, len(confirmed), panel + 1)
        for place, (seed, row) in enumerate(seeds.items()):
            for name, colour, label in (("plain", "tab:gray", "published"), ("chosen", "tab:blue", "fast")):
                times, bounds = zip(*row["curves"][name], strict=True)
                axes.plot(times, bounds, color=colour, alpha=0.8, lw=1.2, label=None if place else label)
            axes.plot(row["plain_cost_s"], row["target_bound_nats"], "k.", ms=5)
            axes.annotate(f"seed {seed}", (row["plain_cost_s"], row["target_bound_nats"]), fontsize=7)
        axes.set(title=objective, xlabel="seconds on one core (sum of step costs)", ylabel="held-out bound (nats)")
        axes.set_ylim(-250, -80)
        axes.legend(frameon=False)
    figure.savefig(path, dpi=110)
