"""The tables and the picture of `experiments.time_to_quality`."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean
from typing import Any

from experiments.pages.committed import markdown_table

_SCORES = {
    "bound_nats": "bound (nats)",
    "kl_nats": "KL (nats)",
    "psnr_db": "PSNR (dB)",
    "mig": "MIG",
    "aam": "AAM",
    "active_units": "active units",
}
_ENDS = {"plain": "published", "at_share": "chosen, a third of the time", "whole": "chosen, the same time"}


def _cells(row: dict[str, Any]) -> list[str]:
    return [f"{row[name]:.4g}" for name in _SCORES]


def _progress(row: dict[str, Any]) -> list[str]:
    return ["yes" if row["reached"] else "no", f"{row['share']:.3f}", f"{row['step']:.0f}", *_cells(row)]


def as_markdown(results: dict[str, Any]) -> str:
    """The sweep, the confirmation, the scores of both, and what the steps cost."""
    confirmed, progress = results["confirmed"], ("reached", "share of the time", "steps", *_SCORES.values())
    swept = [
        (f"**{arm}**" if arm == results["chosen"] else arm, *_progress(row)) for arm, row in results["sweep"].items()
    ]
    finalists = [
        (arm, seed, *_progress(row)) for arm, seeds in results["finalists"].items() for seed, row in seeds.items()
    ]
    shares = [
        (
            objective,
            seed,
            f"{row['target_bound_nats']:.1f}",
            *("–" if share is None else f"{share:.3f}" for share in row["shares"].values()),
        )
        for objective, seeds in confirmed.items()
        for seed, row in seeds.items()
    ]
    scores = [
        (objective, seed, _ENDS[end], f"{row['step']:.0f}", *_cells(row))
        for objective, seeds in confirmed.items()
        for seed, entry in seeds.items()
        for end, row in entry["scores"].items()
    ]
    means = []
    for objective, seeds in confirmed.items():
        rows = {end: [entry["scores"][end] for entry in seeds.values()] for end in ("plain", "at_share")}
        published, chosen = (
            {name: fmean(row[name] for row in found) for name in _SCORES} for found in (rows["plain"], rows["at_share"])
        )
        compared = (
            f"{title} {published[name]:.3g} published, {chosen[name]:.3g} chosen" for name, title in _SCORES.items()
        )
        means.append(f"Means over the seeds of {objective}, {len(seeds)}: {'; '.join(compared)}.")
    costs = [
        (kind, *(f"{1000 * cost[name]:.1f}" for name in ("median", "least", "greatest")))
        for kind, cost in results["costs"].items()
    ]
    parts = [
        f"`{results['command']}`",
        "Sweep; time as a share of that of the published settings.",
        markdown_table(("arm", *progress), swept),
        "The quickest arm of each kind of initial weights on every seed, at the bound.",
        markdown_table(("arm", "seed", *progress), finalists),
        "Chosen arm on every seed: share of the published settings' time until their last bound is first reached, "
        "until no later point is below it, and until their highest bound is reached.",
        markdown_table(("objective", "seed", "target (nats)", "first", "for good", "highest"), shares),
        markdown_table(("objective", "seed", "settings", "steps", *_SCORES.values()), scores),
        "\n".join(means),
        markdown_table(("step", "ms of processor time (median)", "least", "greatest"), costs),
    ]
    return "\n\n".join(parts) + "\n"


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
