"""`python -m experiments.readme_tables`: write the tables of the README and other pages from the committed results."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from experiments.agents.pages import FIGURES as AGENT_FIGURES
from experiments.agents.pages import TABLES as AGENT_TABLES
from experiments.agents.pages import agents_summary
from experiments.benchmark.kinds import kinds_on_dsprites
from experiments.benchmark.quantised import quantised_table
from experiments.benchmark.tables import agents_table, measured_table, training_table
from experiments.benchmark.way_of_kinds import way_of_kinds_table
from experiments.compare_objectives import COLUMNS
from experiments.pages.committed import RESULTS, ROOT, markdown_table, read_results
from experiments.pages.report import replace_between
from experiments.paper.pages import CHOICES as PAPER_CHOICES
from experiments.paper.pages import FIGURES as PAPER_FIGURES
from experiments.paper.pages import TABLES as PAPER_TABLES
from experiments.paper.pages import paper_table
from sparse_repr.command_line.running import parse_options, run_command
from sparse_repr.files import write_bytes


def quickstart_table() -> str:
    """Success of the quickstart's agents."""
    results = read_results("quickstart/results.json")
    rows = []
    for arm in results["agents"]:
        low, high = (f"{100 * bound:.0f}" for bound in arm["interval_95"])
        rows.append((arm["name"], arm["description"], f"{100 * arm['success_rate']:.1f} %", f"{low}–{high} %"))
    table = markdown_table(("agent sees", "", "success", "95 % interval"), rows)
    settings = results["settings"]
    minutes, machine = results["seconds"]["all"] / 60, results["machine"]
    return (
        f"{table}\n\n`make quickstart`: {settings['pretrain_steps']:,} pretraining steps, then "
        f"{settings['agent_steps']:,} steps per agent, {settings['episodes']} episodes each, one seed; {minutes:.1f} "
        f"minutes on {'a core' if machine['cores'] == 1 else str(machine['cores']) + ' cores'} ({machine['date']}). "
        f"{results['verdict']}"
    )


def long_table() -> str:
    """Scores of the longer run."""
    metrics, probes = read_results("dsprites/metrics.json"), read_results("dsprites/probes.json")
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
    table = markdown_table(("sparse VAE", f"{metrics['trained_steps']:,} steps"), rows)
    return f"{table}\n\nOne seed, over {scores['over']}; drawn grids are in-sample. Chance for the shape is 33 %."


_FORMATS = {
    "reconstruction_nats": ".1f",
    "kl_nats": ".1f",
    "psnr_db": ".2f",
    "active_units": "d",
    "exact_zeros": ".2f",
    "hoyer": ".2f",
    "images_per_s": ",.0f",
}


def objectives_table(steps: int) -> str:
    """Every objective after `steps` steps on dSprites."""
    results = read_results(f"compare_objectives/results-{steps}.json")
    rows = [
        (
            f"`{arm}`",
            *("–" if row[name] is None else format(row[name], _FORMATS.get(name, ".3f")) for name in COLUMNS),
        )
        for arm, row in results["arms"].items()
    ]
    machine = results["machine"]
    table = markdown_table(("arm", *COLUMNS.values()), rows)
    return f"{table}\n\n`{results['command']}`, {machine['processor']}, {machine['date']}."


def costs_table() -> str:
    """Milliseconds of one step of each objective."""
    results = read_results("compare_objectives/results-500.json")
    rows = [
        (
            f"`{arm}`",
            f"{1000 * cost['median_s']:.1f}",
            f"{1000 * cost['least_s']:.1f}–{1000 * cost['greatest_s']:.1f}",
            f"{cost['ratio']:.2f}",
        )
        for arm, cost in results["costs"].items()
    ]
    machine, settings = results["machine"], results["settings"]
    return (
        f"{markdown_table(('arm', 'ms per step', 'range', 'against vae'), rows)}\n\n"
        f"Batch {settings['batch_size']}, {settings['precision']}, "
        f"{settings['threads'] or machine['threads']} thread(s) of an "
        f"{machine['processor']}; the arms took turns, {settings['cost_rounds']} rounds of {settings['cost_steps']} "
        f"steps; {machine['date']}."
    )


def perceptual_table() -> str:
    """What each cheaper perceptual loss saves, and what it reaches in the same time."""
    results = read_results("perceptual_costs/results.json")
    settings, machine, costs = results["settings"], results["machine"], results["costs"]
    trained, largest = str(settings["batch_size"]), max(costs, key=int)
    rows = []
    for name, seeds in results["variants"].items():
        ends = [points[-1] for _, points in sorted(seeds.items())]
        rows.append(
            (
                name,
                f"{1000 * costs[largest][name]['least']:,.0f}",
                f"{costs[largest][name]['ratio']:.2f}",
                f"{ends[0]['steps']:,}",
                *(", ".join(format(end[key], places) for end in ends) for key, places in _PERCEPTUAL_SCORES.items()),
            )
        )
    header = ("perceptual loss", f"ms per step of {largest}", "against plain", "steps", "LPIPS", "PSNR (dB)")
    budget_s = settings["plain_steps"] * costs[trained]["plain"]["least"]
    before = costs[largest].get("before")
    gained = f" Before, a plain step of {largest} took {before['ratio']:.2f} times as long." if before else ""
    commands = "  \n".join(f"`{command}`" for command in results["commands"])
    return (
        f"{markdown_table((*header, 'feature distance'), rows)}\n\n"
        f"Every variant trained for {budget_s:.0f} s on one core, the time of {settings['plain_steps']} plain steps of "
        f"{trained} pictures of {settings['dataset']}, code size {settings['code_size']}, learning rate "
        f"{settings['learning_rate']:g}, {settings['precision']}, pixel and perceptual weight 1; the scores are of "
        f"seeds {', '.join(sorted(results['variants']['plain']))} (one value: seed 0 alone) on {settings['items']} "
        f"held-out pictures. Milliseconds are the least of {settings['cost_rounds']} rounds in turns, one thread of an "
        f"{machine['processor']}, {machine['date']}.{gained}\n\n{commands}"
    )


_PERCEPTUAL_SCORES = {"lpips": ".3f", "psnr_db": ".2f", "feature_distance": ".3f"}


PAGES: dict[Path, dict[str, Callable[[], str]]] = {
    ROOT / "README.md": {"agents": agents_summary},
    ROOT / "docs" / "guide.md": {"quickstart": quickstart_table},
    ROOT / "docs" / "measured.md": {"long": long_table, "training": training_table, "measured": measured_table},
    ROOT / "experiments" / "paper" / "README.md": {"paper": paper_table},
    RESULTS / "paper" / "tables.md": PAPER_TABLES,
    RESULTS / "paper" / "figures.md": PAPER_FIGURES,
    ROOT / "experiments" / "paper" / "choices.md": PAPER_CHOICES,
    RESULTS / "agents" / "tables.md": AGENT_TABLES,
    RESULTS / "agents" / "figures.md": AGENT_FIGURES,
    ROOT / "rl" / "README.md": {"agents": agents_table},
    RESULTS / "benchmark" / "kinds.md": {"kinds-dsprites": kinds_on_dsprites},
    RESULTS / "benchmark" / "way_of_kinds.md": {"way-of-kinds": way_of_kinds_table},
    RESULTS / "benchmark" / "quantised.md": {"quantised": quantised_table},
    RESULTS / "compare_objectives" / "tables.md": {
        "costs": costs_table,
        "perceptual": perceptual_table,
        "objectives-2000": lambda: objectives_table(2000),
        "objectives-500": lambda: objectives_table(500),
    },
}


def fill(path: Path) -> str:
    """The page with every table written anew."""
    page = path.read_text(encoding="utf-8")
    for name, table in PAGES[path].items():
        page = replace_between(page, name, table())
    return page


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    program = "python -m experiments.readme_tables"
    return run_command(lambda: parse_options(write_pages, arguments, program=program, description=__doc__))


def write_pages() -> None:
    """Rewrite the pages and tell which."""
    for path in PAGES:
        write_bytes(path, fill(path).encode())
        print(path)


if __name__ == "__main__":
    sys.exit(main())
