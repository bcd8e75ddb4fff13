"""The tables of speed and memory: training, agents, and everything else that was measured."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from experiments.pages.committed import markdown_table, read_results


def training_table() -> str:
    """Training against what people would use instead, with one thread and with one per core."""
    results, seeds = read_results("benchmark/training.json"), read_results("benchmark/seeds.json")
    counts = sorted(int(key.removeprefix("threads_")) for key in results if key.startswith("threads_"))
    names = {
        "ours": f"this package ({results['settings']['precision_of_ours']})",
        "ours_float32": "this package (float32)",
        "usual": "the usual pattern: `DataLoader`, `ToTensor`, `.item()` (float32)",
        "usual_2_workers": "the same with 2 workers",
        "pythae": "pythae 0.1.2 (float32)",
    }
    rows = []
    for arm, name in names.items():
        cells = [name]
        for count in counts:
            arms = results[f"threads_{count}"]["arms"]
            if arm not in arms:
                break
            speed = arms[arm]["images_per_s"]
            ratio = arms["ours"]["images_per_s"]["median"] / speed["median"]
            cells += [
                f"{speed['median']:,.0f} ({speed['least']:,.0f}–{speed['greatest']:,.0f})",
                f"{ratio:.2f}",
                f"{100 * arms[arm]['share_of_ceiling']:.0f} %",
            ]
        else:
            rows.append(cells)
    header = ["images/s of"]
    for count in counts:
        header += [f"{count} thread{'s' * (count > 1)}", "ours is faster by", "of the ceiling"]
    profiles = results[f"threads_{counts[0]}"]["arms"]
    where = "; ".join(
        f"{arm}: "
        + ", ".join(
            f"{group.replace('_', ' ')} {100 * share:.0f} %"
            for group, share in sorted(profiles[arm]["profile"].items(), key=lambda pair: -pair[1])
        )
        for arm in ("usual", "ours")
    )
    most = max(seeds["models"], key=int)
    ways = ", ".join(
        f"{name} {seeds['models'][most][way]['times_one']:.1f}"
        for way, name in {
            "sequential": "one after another",
            "processes": "a process per core",
            "vectorized": "one vectorised loop",
        }.items()
    )
    machine, drawn = results["machine"], profiles["ours"]["drawing_share_of_step"]
    return (
        f"{markdown_table(header, rows)}\n\n"
        f"The same network, VAE on dSprites, batch {results['settings']['batch']}; the arms take turns in one run; the "
        f"ceiling is the best matrix product of the same precision. Drawing a batch takes {100 * drawn:.1f} % of our "
        f"step. Where a step goes with {counts[0]} thread, usual pattern against ours: {where}. Training {most} models "
        f"takes, in times of one model with {machine['cores']} threads: {ways}; `--together auto` takes "
        f"{seeds['automatic']['way']} here.\n\n"
        f"`python -m experiments.benchmark training` and `… seeds`, {machine['cores']} cores of an "
        f"{machine['processor']} with AVX512-BF16, torch {machine['torch']}, {machine['date']}."
    )


def measured_table() -> str:
    """The speeds and sizes."""
    drawing, encode, envs = (read_results(f"benchmark/{name}.json") for name in ("drawing", "encode", "envs"))
    data, metrics = read_results("benchmark/data.json"), read_results("benchmark/metrics.json")
    agents, streaming = read_results("benchmark/agents.json"), read_results("benchmark/streaming.json")
    published = read_results("benchmark/metrics_with_published_dci.json")["published_learner_dci_s"]
    built, information = drawing["built"], metrics["mutual_information"]["encoder"]
    # results of the version with 4 widths per octave say nothing of how far they were off
    bound = f"{information['reported_error_nats']:.0e} nats" if "widths_per_octave" in information else ""
    exactness = f"exact to {bound}" if bound else "by an earlier version, a quarter faster and less exact"
    frames = f"{drawing['wrong_pixels']} wrong pixels in {drawing['real_frames']} real frames"
    rows = [
        (
            "dSprites drawn",
            f"{frames}; {built['seconds']:.1f} s, {built['peak_memory_gb']:.2f} GB at most",
            "drawing",
        ),
        (
            "a batch of 64 from it, in a loop by itself",
            f"{100 * drawing['batch_share_of_step']:.2f} % of a training step",
            "drawing",
        ),
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
        *_encoding_rows(encode),
        *_recoding_rows(read_results("benchmark/recoding.json")),
        *_streaming_rows(streaming),
        _environments_row(envs),
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
            f"{information['seconds']:.1f} s, {exactness}",
            "metrics --run RUN",
        ),
        ("all other scores", f"{metrics['suite_s']:.0f} s", "metrics --run RUN --skip-slow"),
        ("DCI with the published learner", f"{published:.0f} s", "metrics --run RUN"),
    ]
    shown = [(what, figure, f"`python -m experiments.benchmark {part}`") for what, figure, part in rows]
    return (
        f"{markdown_table(('what', 'measured', 'command'), shown)}\n\n"
        f"{_machines({part.split()[0] for _, _, part in rows})} Every file is in "
        "experiments/results. Nothing here was measured on a GPU."
    )


def _recoding_rows(recoding: dict[str, Any]) -> list[tuple[str, str, str]]:
    """An agent's step on expanded codes, and one image of keypoints."""
    steps = ", ".join(
        f"{views['expand']['over_plain']:.2f} ({codes})" for codes, views in recoding["agent_step_s"].items()
    )
    images = {name: f"{1e3 * one['median']:.2f} ms" for name, one in recoding["one_image_s"].items()}
    return [
        ('a PPO step with `recode="expand"`, in steps on the code itself', steps, "recoding"),
        (
            "one 64x64 image as 32 keypoints on one core",
            f"{images['32 keypoints']}; by the network burgess {images['burgess, 32 units']}",
            "recoding",
        ),
    ]


def _environments_row(envs: dict[str, Any]) -> tuple[str, str, str]:
    """Steps per second of each environment; the discrete twins are as fast."""
    speeds = {
        name.removeprefix("SparseRepr/").removesuffix("-v0"): entry["steps_per_s"]
        for name, entry in envs.items()
        if name.startswith("SparseRepr/") and "Discrete" not in name
    }
    return (
        f"{', '.join(speeds)} on one core",
        f"{', '.join(f'{speed:,.0f}' for speed in speeds.values())} steps/s",
        "envs",
    )


def _machines(parts: Iterable[str]) -> str:
    """Which parts were measured on which machine: figures of different ones are not comparable."""
    measured: dict[tuple[Any, ...], list[str]] = {}
    for part in sorted(parts):
        machine = read_results(f"benchmark/{part}.json")["machine"]
        place = tuple(machine[key] for key in ("cores", "processor", "torch", "date"))
        measured.setdefault(place, []).append(f"`{part}`")
    sentences = [
        f"{', '.join(names)}: {cores} cores of an {processor} with AVX512-BF16, torch {torch}, {date}."
        for (cores, processor, torch, date), names in measured.items()
    ]
    return " ".join(sentences)


def _encoding_rows(encode: dict[str, Any]) -> list[tuple[str, str, str]]:
    one, many = encode["large_batch_1_threads"], encode["whole_data_set"]
    deviation, latency = encode["bf16_deviation"], encode["latency"]["1"]
    speeds, faster = one["images_per_s"], one["times_best_eager"]
    return [
        (
            "64x64 images encoded on one core",
            f"{speeds['float32']:,.0f} images/s, {faster['float32']:.2f} times the best eager chunk "
            f"({one['best_eager_chunk']}); in bf16 {speeds['bf16']:,.0f}, {faster['bf16']:.2f} times, codes move by at "
            f"most {deviation['largest']:.3f} standard deviations",
            "encode --run RUN",
        ),
        (
            "all of dSprites encoded, drawing included",
            f"{many['seconds']['float32']:.0f} s, {many['times_best_eager']['float32']:.2f} times the best eager "
            f"chunk; in bf16 {many['seconds']['bf16']:.0f} s, {many['times_best_eager']['bf16']:.2f} times",
            "encode --run RUN",
        ),
        (
            "one 64x64 image encoded on one core",
            f"{1000 * latency['encode']['median']:.2f} ms, the forward pass alone "
            f"{1000 * latency['bare_forward']['median']:.2f}",
            "encode --run RUN",
        ),
    ]


def _streaming_rows(streaming: dict[str, Any]) -> list[tuple[str, str, str]]:
    memory = streaming["memory"]
    ratios = [
        ratio for state in streaming["training_images_per_s"].values() for ratio in state["over_in_memory"].values()
    ]
    peaks = {count: entry["peak"]["all_mb"] / 1000 for count, entry in memory["streaming"].items()}
    fewest, most = min(peaks, key=int), max(peaks, key=int)
    return [
        (
            f"training from a file of {int(most):,} colour images",
            f"{peaks[most]:.2f} GB at most (of {int(fewest):,}: {peaks[fewest]:.2f} GB; memory-mapped "
            f"{memory['memory_mapped'][most]['peak']['all_mb'] / 1000:.1f} GB), "
            f"{min(ratios):.2f} to {max(ratios):.2f} of the speed in memory",
            "streaming",
        )
    ]


def agents_table() -> str:
    """What a frozen encoder costs an agent, in the policy and outside it."""
    results = read_results("benchmark/agents.json")
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
        f"{markdown_table(header, rows)}\n\n"
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
