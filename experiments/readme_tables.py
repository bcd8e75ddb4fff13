"""`python -m experiments.readme_tables`: write the tables of the README and other pages from the committed results."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from experiments.compare_objectives import COLUMNS
from experiments.report import replace_between
from sparse_repr.files import write_bytes

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "experiments" / "results"


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
    agents = _read("benchmark/agents.json")
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
            "PPO on codes of `VecLatentObservation`",
            f"{agents['ppo']['latent_wrapper']['steps_per_s']['median']:,.0f} steps/s, "
            f"{agents['ppo']['frozen_extractor']['wrapper_is_times_faster']:.1f} times a frozen encoder in the policy, "
            f"{agents['ppo']['nature_cnn']['wrapper_is_times_faster']:.1f} times NatureCNN",
            "agents",
        ),
        (
            "SAC replay of 100,000 steps, 64x64x3",
            f"{agents['sac_replay']['pixels_over_codes']:.0f} times smaller in codes",
            "agents",
        ),
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


def agents_table() -> str:
    """What a frozen encoder costs an agent, in the policy and outside it."""
    results = _read("benchmark/agents.json")
    ppo, replay, settings = results["ppo"], results["sac_replay"], results["settings"]
    names = {
        "latent_wrapper": "`VecLatentObservation`",
        "frozen_extractor_cached": "`LatentExtractor` with `cache_frames`",
        "frozen_extractor": "`LatentExtractor`",
        "nature_cnn": "NatureCNN, trained end to end",
    }
    rows = [
        (
            name,
            f"{ppo[arm]['steps_per_s']['median']:,.0f}",
            f"{ppo[arm]['steps_per_s']['least']:,.0f}–{ppo[arm]['steps_per_s']['greatest']:,.0f}",
            f"{ppo[arm]['wrapper_is_times_faster']:.1f}",
            f"{ppo[arm]['peak_memory_gb']['median']:.2f} GB",
        )
        for arm, name in names.items()
    ]
    header = ("PPO sees pictures through", "steps/s", "range", "wrapper is faster by", "peak memory")
    vectorised, overhead = results["encoding_for_16_envs"], results["overhead"]
    over = ", ".join(
        f"{name} {100 * overhead[f'{key}_of_{batch}']['over_bare']:+.0f} % (batch {batch})"
        for key, name in (("encode", "`encode`"), ("extractor", "`LatentExtractor`"))
        for batch in (1, 8, 64)
    )
    machine = results["machine"]
    return (
        f"{_table(header, rows)}\n\n"
        f"PPO with SB3's 10 epochs, {settings['envs']} environments, {settings['image']} pictures, D = "
        f"{settings['code_size']}, the same heads; peak memory is that of the process. A SAC replay buffer of "
        f"{settings['replay']:,} steps holds {replay['frozen_extractor']['observations_gb']:.2f} GB of pictures or "
        f"{replay['latent_wrapper']['observations_gb']:.3f} GB of codes: {replay['pixels_over_codes']:.0f} times less. "
        f"One step of 16 environments that cost nothing: {1000 * vectorised['VecLatentObservation']['median']:.1f} ms "
        f"with `VecLatentObservation`, {1000 * vectorised['LatentObservation_each']['median']:.1f} ms with a wrapper "
        f"each, {vectorised['times_faster']:.1f} times more. Time over the bare forward pass: {over}.\n\n"
        f"`python -m experiments.benchmark agents`, {machine['cores']} cores of an {machine['processor']}, "
        f"{machine['date']}."
    )


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
    results = _read(f"compare_objectives/results-{steps}.json")
    rows = [
        (
            f"`{arm}`",
            *("–" if row[name] is None else format(row[name], _FORMATS.get(name, ".3f")) for name in COLUMNS),
        )
        for arm, row in results["arms"].items()
    ]
    machine = results["machine"]
    table = _table(("arm", *COLUMNS.values()), rows)
    return f"{table}\n\n`{results['command']}`, {machine['processor']}, {machine['date']}."


def costs_table() -> str:
    """Milliseconds of one step of each objective."""
    results = _read("compare_objectives/results-500.json")
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
        f"{_table(('arm', 'ms per step', 'range', 'against vae'), rows)}\n\n"
        f"Batch {settings['batch_size']}, {settings['precision']}, "
        f"{settings['threads'] or machine['threads']} thread(s) of an "
        f"{machine['processor']}; the arms took turns, {settings['cost_rounds']} rounds of {settings['cost_steps']} "
        f"steps; {machine['date']}."
    )


def perceptual_table() -> str:
    """What each cheaper perceptual loss saves, and what it reaches in the same time."""
    results = _read("perceptual_costs/results.json")
    settings, machine = results["settings"], results["machine"]
    costs = results["costs"][max(results["costs"], key=int)]
    rows = []
    for name, cost in costs.items():
        cells = [name, f"{1000 * cost['least']:,.0f}", f"{cost['ratio']:.2f}"]
        for seed in map(str, settings["seeds"]):
            points = results["variants"].get(name, {}).get(seed)
            if points is None:
                cells += ["–"] * 4
                continue
            early, last = points[0], points[-1]
            cells += [f"{last['steps']:,}", f"{early['lpips']:.3f}, {last['lpips']:.3f}"]
            cells += [f"{last['psnr_db']:.2f}", f"{last['feature_distance']:.3f}"]
        rows.append(cells)
    header = ["perceptual loss", f"ms per step of {max(map(int, results['costs']))}", "against plain"]
    header += ["steps", f"LPIPS at {settings['points'][0]:.0%}, at the end", "PSNR (dB)", "feature distance"] * len(
        settings["seeds"]
    )
    budget_s = settings["plain_steps"] * results["costs"][str(settings["batch_size"])]["plain"]["least"]
    return (
        f"{_table(header, rows)}\n\n"
        f"Every variant trained for {budget_s:.0f} s on one core, {settings['plain_steps']} plain steps of "
        f"{settings['batch_size']} pictures of {settings['dataset']}, code size {settings['code_size']}, learning rate "
        f"{settings['learning_rate']:g}, {settings['precision']}, pixel and perceptual weight 1, seed "
        f"{', '.join(map(str, settings['seeds']))}; scored on {settings['items']} held-out pictures. Milliseconds are "
        f"the least of {settings['cost_rounds']} rounds in turns, one thread of an {machine['processor']}.\n\n"
        f"`{results['command']}`, {machine['date']}."
    )


PAGES: dict[Path, dict[str, Callable[[], str]]] = {
    ROOT / "README.md": {"quickstart": quickstart_table, "long": long_table, "measured": measured_table},
    ROOT / "rl" / "README.md": {"agents": agents_table},
    ROOT / "sparse_repr" / "objectives" / "README.md": {
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


def main() -> int:
    """Rewrite the pages; returns the exit code."""
    for path in PAGES:
        write_bytes(path, fill(path).encode())
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
