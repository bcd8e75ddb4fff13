"""The tables and the picture of `experiments.time_to_quality`."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean
from typing import Any

from experiments.pages.committed import markdown_table
from sparse_repr.figures import PALETTE, add_note, chart, panels_figure, save_chart

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


@chart
def draw_curves(results: dict[str, Any], path: Path) -> None:
    """The bound against the time, one panel per objective, published settings beside the chosen ones."""
    confirmed = results["confirmed"]
    figure, (row,) = panels_figure(1, len(confirmed), 5.2 * len(confirmed), 4.2)
    for axes, (objective, seeds) in zip(row, confirmed.items(), strict=True):
        for place, (seed, run) in enumerate(seeds.items()):
            for name, colour, label in (("plain", "0.5", "published"), ("chosen", PALETTE[0], "fast")):
                times, bounds = zip(*run["curves"][name], strict=True)
                axes.plot(times, bounds, color=colour, alpha=0.8, lw=1.2, label=None if place else label)
            axes.plot(run["plain_cost_s"], run["target_bound_nats"], "k.", ms=5)
            axes.annotate(f"seed {seed}", (run["plain_cost_s"], run["target_bound_nats"]), fontsize=9)
        axes.set(title=objective, xlabel="seconds on one core (sum of step costs)", ylabel="held-out bound (nats)")
        axes.set_ylim(-250, -80)
        axes.legend()
    add_note(figure, "a line per seed; dots: the bound that 10,000 published steps reach")
    save_chart(figure, path)
