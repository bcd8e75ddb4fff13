"""`python -m experiments.benchmark PART`: the speeds and sizes that the README quotes."""

from __future__ import annotations

import dataclasses
import functools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any

import gymnasium as gym
import numpy as np
import tyro

import envs  # noqa: F401 (registers the environments)
from experiments.benchmark.agents import measure_agents
from experiments.benchmark.encoding import measure_encoding
from experiments.benchmark.first_units import measure_first_units
from experiments.benchmark.foreign import measure_foreign
from experiments.benchmark.kinds import CODES, measure_kinds
from experiments.benchmark.pong import measure_pong, measure_pong_of_others
from experiments.benchmark.pose import measure_pose
from experiments.benchmark.quantised import DATASETS, OBJECTIVES, SEEDS, STEPS, measure_quantised
from experiments.benchmark.recoding import measure_recoding
from experiments.benchmark.seeds import measure_seeds
from experiments.benchmark.streaming import measure_streaming
from experiments.benchmark.training import measure_training
from experiments.benchmark.unseen import measure_unseen
from experiments.benchmark.way import measure_way
from experiments.benchmark.way_of_kinds import CODES as WAY_CODES
from experiments.benchmark.way_of_kinds import measure_way_of_kinds
from experiments.measure.asked import command_of
from experiments.measure.machine import machine_facts, peak_memory_mb
from experiments.measure.side_by_side import seconds_of
from sparse_repr import PretrainConfig, load_encoder
from sparse_repr.command_line.bounds import require_sensible
from sparse_repr.command_line.running import parse_options, run_command
from sparse_repr.data import load_dataset
from sparse_repr.data.chairs3d import render_chairs
from sparse_repr.data.dsprites import render_sprites
from sparse_repr.data.faces import render_faces
from sparse_repr.devices import cpu_threads
from sparse_repr.encoder.statistics import encode_dataset
from sparse_repr.files import write_json
from sparse_repr.files.json_reader import OBJECT, Shape, each, read_json, whole
from sparse_repr.metrics import (
    FAMILIES,
    aam_score,
    active_units,
    hoyer_sparsity,
    lifetime_sparseness,
    mig_score,
    mutual_information_matrix,
    population_sparseness,
    probe_scores,
    ssim,
    udr_scores,
)
from sparse_repr.metrics.quadrature import Resolution
from sparse_repr.metrics.suite import SLOW
from sparse_repr.pretrain.trainer import Trainer
from sparse_repr.pretrain.variations import parse_seeds


@dataclasses.dataclass(frozen=True)
class BenchmarkConfig:
    """What to measure."""

    part: Annotated[str, tyro.conf.Positional]
    """drawing (the dSprites grid), data (stand-ins, and celeba and chairs where SPARSE_REPR_DATA holds them), encode
    (the dSprites grid, and an agent's batches), envs (steps per second), metrics (each score), agents (frozen encoders
    in and outside a policy), streaming (memory and throughput from ten thousand to a million images), training (images
    per second of the loop against the usual pattern and pythae), seeds (several models at a time against one),
    recoding (an agent's step on recoded codes, one image of keypoints), foreign (networks of others as encoders),
    pong (whether codes hold the ball and the paddles), pong_of_others (the same of networks of others), first_units
    (which units open first from a large weight of the KL, and what turning them does), kinds (what each kind of
    sparsity does to codes of dSprites, two minutes each; goes on in runs/kinds where it was stopped), quantised
    (whether latent quantisation disentangles by its authors' protocol, hours; goes on in runs/quantised), pose (whether
    codes hold size, angle and colour), unseen (what sparse keypoints say in domains that they never saw), way (how
    much must be learned to find the way, from codes of SpriteReach and recodings) or way_of_kinds (the same of each
    kind of sparsity; goes on in runs/way_of_kinds)."""
    run: str | None = None
    """Run folder whose encoder is measured (encode, metrics, foreign)."""
    frames: str | None = None
    """Recording of SpriteChase that is encoded (foreign)."""
    codes: str | None = None
    """Codes that are pretrained, separated by commas (kinds, quantised, way_of_kinds); what is finished of
    the others is in the results, too. By default all."""
    datasets: str = ",".join(DATASETS)
    """Data sets, separated by commas (quantised)."""
    seeds: str = ",".join(map(str, SEEDS))
    """Seeds of the encoders, separated by commas, or a range like 5-7 (quantised)."""
    steps: int = STEPS
    """Steps of pretraining (quantised); a run that stopped before goes on."""
    skip_slow: bool = False
    """Leave out the scores that take minutes (metrics): DCI with the published learner."""
    real_frames: str | None = None
    """An .npz of real dSprites frames (imgs, latents_classes) to compare the drawing with."""
    out: str = "experiments/results/benchmark"
    """Folder for PART.json."""

    def __post_init__(self) -> None:
        require_sensible(self)


def _seconds(work: Callable[[], Any], *, inner: int = 1) -> dict[str, float]:
    """Median, least and greatest seconds of one call over several repeats."""
    return seconds_of({"": work}, inner=inner)[""]


def measure_drawing(config: BenchmarkConfig) -> dict[str, Any]:
    """Wrong pixels against real frames, time and memory of the full grid, cost of a batch as a share of a step."""
    results: dict[str, Any] = {}
    if config.real_frames:
        with np.load(config.real_frames, allow_pickle=False) as file:
            frames, classes = file["imgs"] > 0, file["latents_classes"]
        values = (classes[:, 1], np.linspace(0.5, 1, 6)[classes[:, 2]], np.linspace(0, 2 * np.pi, 40)[classes[:, 3]])
        wrong = (render_sprites(*values, classes[:, 4] / 31, classes[:, 5] / 31) > 0) != frames
        results["real_frames"] = len(frames)
        results["wrong_pixels"] = int(wrong.sum())
        results["wrong_pixels_worst_frame"] = int(wrong.sum((1, 2)).max())
    # in a process of its own with an empty cache, so that its peak memory is that of the drawing
    code = (
        "import time; from experiments.measure.machine import peak_memory_mb; "
        "from sparse_repr.data import load_dataset; before = peak_memory_mb(); t = time.perf_counter(); "
        "load_dataset('dsprites'); s = time.perf_counter() - t; "
        "print(s, peak_memory_mb(), before)"
    )
    with tempfile.TemporaryDirectory() as cache:
        for name in ("built", "cached"):
            environment = {**os.environ, "SPARSE_REPR_CACHE": cache}
            environment.pop("SPARSE_REPR_DATA", None)
            run = subprocess.run(
                [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
            )
            seconds, peak, imports = run.stdout.split()
            results[name] = {
                "seconds": float(seconds),
                "peak_memory_gb": float(peak) / 1e3,
                "of_which_imports_gb": float(imports) / 1e3,
            }
    data = load_dataset("dsprites")
    indices = np.random.default_rng(0).integers(0, len(data), 64)
    results["batch_of_64_s"] = _seconds(lambda: data.images(indices), inner=200)
    with tempfile.TemporaryDirectory() as folder:
        settings = PretrainConfig(run_dir=folder, progress=False).resolve()
        trainer = Trainer(settings, data)
        results["training_step_s"] = _seconds(trainer.train_step, inner=10)
        results["precision"] = settings.precision
    results["batch_share_of_step"] = results["batch_of_64_s"]["median"] / results["training_step_s"]["median"]
    results["training_images_per_s"] = 64 / results["training_step_s"]["median"]
    return results


def measure_data(_: BenchmarkConfig) -> dict[str, Any]:
    """Drawing rate of the stand-ins on one core; decoding rate and cached start of the files that are there."""
    results: dict[str, Any] = {}
    rng = np.random.default_rng(0)
    for name, render in (("chairs3d", render_chairs), ("faces", render_faces)):
        values = load_dataset(name).factor_values
        assert values is not None
        for batch in (64, 1024):
            chosen = values[rng.integers(0, len(values), batch)].T
            seconds = _seconds(lambda render=render, chosen=chosen: render(*chosen), inner=max(1, 512 // batch))  # type: ignore[misc]
            results[f"{name}_images_per_s_batch_{batch}"] = batch / seconds["median"]
    for name in ("celeba", "chairs"):
        with tempfile.TemporaryDirectory() as cache:
            seconds = {}
            for run in ("decoded", "cached"):
                code = (
                    f"import time; from sparse_repr.data import load_dataset; t = time.perf_counter(); "
                    f"d = load_dataset({name!r}); print(time.perf_counter() - t, len(d))"
                )
                environment = {**os.environ, "SPARSE_REPR_CACHE": cache}
                process = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
                if process.returncode:
                    break
                seconds[run], count = float(process.stdout.split()[0]), int(process.stdout.split()[1])
            if len(seconds) == 2:
                results[name] = {
                    "images": count,
                    "decoded_images_per_s": count / seconds["decoded"],
                    "cached_start_s": seconds["cached"],
                }
    return results


def measure_encode(config: BenchmarkConfig) -> dict[str, Any]:
    """The full grid and one observation, see `encoding_costs`."""
    if config.run is None:
        raise ValueError("encode needs --run: a run folder of sparse_repr.pretrain on dsprites")
    return measure_encoding(load_encoder(config.run), load_dataset("dsprites"))


def measure_envs(_: BenchmarkConfig) -> dict[str, Any]:
    """Steps per second of each environment on one core, through `gym.make`."""
    results = {}
    tasks = ("SpriteReach", "SpriteChase", "SpritePose")
    for name in (f"SparseRepr/{task}{suffix}-v0" for task in tasks for suffix in ("", "-Discrete")):
        env = gym.make(name)
        env.action_space.seed(0)
        actions = [env.action_space.sample() for _ in range(4000)]

        def play(env: gym.Env[Any, Any] = env, actions: list[Any] = actions) -> None:
            env.reset(seed=0)
            for action in actions:
                _, _, terminated, truncated, _ = env.step(action)
                if terminated or truncated:
                    env.reset()

        with cpu_threads(1):
            seconds = _seconds(play)
        results[name] = {"steps_per_s": len(actions) / seconds["median"], "seconds_per_4000_steps": seconds}
    return results


def measure_metrics(config: BenchmarkConfig) -> dict[str, Any]:
    """Each score on the full grid's codes (737,280 x D); mutual information also for posteriors of all widths."""
    if config.run is None:
        raise ValueError("metrics needs --run: a run folder of sparse_repr.pretrain on dsprites")
    data = load_dataset("dsprites")
    # slab by slab: all images at once would take 3 GB, more than what is measured
    encoded = encode_dataset(load_encoder(config.run), data, np.arange(len(data), dtype=np.int64))
    mean, log_variance = encoded.mean, encoded.log_variance
    assert data.factors is not None
    # sigmas spread evenly over three decades in every unit: the hardest case
    spread = 2 * np.random.default_rng(0).uniform(np.log(3e-4), np.log(0.5), mean.shape).astype(np.float32)
    information = {
        name: _measure_information(mean, variance, data.factors)
        for name, variance in (("encoder", log_variance), ("sigmas_3e-4_to_0.5", spread))
    }
    kl = 0.5 * (mean**2 + np.exp(log_variance) - 1 - log_variance).mean(0)
    matrix, _, entropies = mutual_information_matrix(mean[::97], log_variance[::97], data.factors[::97])
    works: dict[str, Callable[[], Any]] = {
        "mig_and_aam_of_the_matrix": lambda: (mig_score(matrix, entropies), aam_score(matrix)),
        "active_units": lambda: active_units(mean),
        "hoyer_sparsity": lambda: hoyer_sparsity(mean),
        "population_sparseness": lambda: population_sparseness(mean),
        "lifetime_sparseness": lambda: lifetime_sparseness(mean),
        "udr_of_2": lambda: udr_scores([mean, mean], [kl, kl]),
        "probe_r2_linear": lambda: probe_scores(mean, data.factor_values),
        "probe_r2_boosted": lambda: probe_scores(mean, data.factor_values, learner="boosted"),
        **{
            name: functools.partial(metric, mean, data.factors)
            for name, metric in FAMILIES.items()
            if not (config.skip_slow and name in SLOW)
        },
    }
    seconds = {"mutual_information": information["encoder"]["seconds"]}
    for name, work in works.items():
        started = time.perf_counter()
        work()
        seconds[name] = time.perf_counter() - started
        print(f"{name}: {seconds[name]:.2f} s", file=sys.stderr, flush=True)
    published = None if config.skip_slow else sum(seconds.pop(name) for name in SLOW)
    return {
        "mutual_information": information,
        "smallest_sigma": float(np.exp(log_variance.min() / 2)),
        "seconds": seconds,
        "suite_s": sum(seconds.values()),
        "published_learner_dci_s": published,
        "ssim": _measure_ssim(),
        "peak_memory_gb": peak_memory_mb() / 1e3,
    }


def _measure_information(mean: Any, log_variance: Any, factors: Any) -> dict[str, float]:
    started = time.perf_counter()
    information = mutual_information_matrix(mean, log_variance, factors)
    seconds = time.perf_counter() - started
    peak = peak_memory_mb() / 1e3
    return {
        "seconds": seconds,
        "reported_error_nats": information.error_nats,
        "widths_per_octave": Resolution.nodes_per_octave,
        "peak_memory_so_far_gb": peak,
    }


def _measure_ssim() -> dict[str, Any]:
    """512 pairs of 64x64 images in one batch against scikit-image's loop over them."""
    from skimage.metrics import structural_similarity

    rng = np.random.default_rng(0)
    images = rng.random((512, 1, 64, 64), dtype=np.float32)
    others = np.clip(images + rng.normal(0, 0.1, images.shape), 0, 1).astype(np.float32)

    def loop() -> float:
        pairs = zip(images[:, 0], others[:, 0], strict=True)
        return float(np.mean([structural_similarity(a, b, data_range=1.0) for a, b in pairs]))

    def batch() -> float:
        return ssim(images, others, data_range=1.0)

    batched, looped = seconds_of({"batch": batch, "loop": loop}).values()
    return {
        "batch_s": batched,
        "scikit_image_loop_s": looped,
        "times_faster": looped["median"] / batched["median"],
        "difference": abs(batch() - loop()),
    }


def _measure_kinds(config: BenchmarkConfig) -> dict[str, Any]:
    shape: Shape = {"steps": whole(1), "items": whole(1), "codes": each(each(OBJECT)), "machine": OBJECT}
    return measure_kinds(Path("runs/kinds"), codes=_codes(config, CODES), earlier=_earlier(config, shape))


def _measure_quantised(config: BenchmarkConfig) -> dict[str, Any]:
    shape: Shape = {"items": whole(1), "runs": each(each(each(each(OBJECT)))), "machine": OBJECT}
    return measure_quantised(
        Path("runs/quantised"),
        datasets=_names(config.datasets),
        objectives=_codes(config, OBJECTIVES),
        seeds=parse_seeds(config.seeds),
        steps=config.steps,
        earlier=_earlier(config, shape),
    )


def _measure_way_of_kinds(config: BenchmarkConfig) -> dict[str, Any]:
    shape: Shape = {"steps": whole(1), "codes": each(each(OBJECT)), "machine": OBJECT}
    return measure_way_of_kinds(
        Path("runs/way_of_kinds"), codes=_codes(config, WAY_CODES), earlier=_earlier(config, shape)
    )


def _earlier(config: BenchmarkConfig, shape: Shape) -> dict[str, Any] | None:
    """What the part wrote to the folder of results before."""
    written = Path(config.out) / f"{config.part}.json"
    return (
        read_json(written, shape, remedy="put it back, or give another folder (--out)") if written.is_file() else None
    )


def _codes(config: BenchmarkConfig, known: Iterable[str]) -> list[str]:
    return list(known) if config.codes is None else _names(config.codes)


def _names(listed: str) -> list[str]:
    return [name.strip() for name in listed.split(",")]


PARTS: dict[str, Callable[[BenchmarkConfig], dict[str, Any]]] = {
    "drawing": measure_drawing,
    "data": measure_data,
    "encode": measure_encode,
    "envs": measure_envs,
    "metrics": measure_metrics,
    "agents": lambda _: measure_agents(),
    "training": lambda _: measure_training(),
    "seeds": lambda _: measure_seeds(),
    "recoding": lambda _: measure_recoding(),
    "foreign": lambda config: measure_foreign(config.frames, config.run),
    "pong": lambda _: measure_pong(),
    "pong_of_others": lambda _: measure_pong_of_others(),
    "first_units": lambda config: measure_first_units(Path(config.out)),
    "pose": lambda _: measure_pose(),
    "unseen": lambda _: measure_unseen(),
    "way": lambda _: measure_way(),
    "way_of_kinds": _measure_way_of_kinds,
    "kinds": _measure_kinds,
    "quantised": _measure_quantised,
    "streaming": lambda config: measure_streaming(Path(config.out)),
}


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    return run_command(lambda: _as_asked(arguments))


def _as_asked(arguments: list[str] | None) -> None:
    config = parse_options(BenchmarkConfig, arguments, program="python -m experiments.benchmark", description=__doc__)
    if config.part not in PARTS:
        raise ValueError(f"part needs one of {', '.join(PARTS)}, got {config.part!r}")
    path = Path(config.out) / f"{config.part}.json"
    command = command_of(
        "python -m experiments.benchmark",
        config,
        but=("out", "codes", "datasets", "seeds", "steps"),  # what was measured before is in the results, too
        positional=("part",),
        places={"run": "RUN", "frames": "FRAMES.h5", "real_frames": "FRAMES.npz"},
    )
    write_json(path, {"command": command, "machine": machine_facts(), **PARTS[config.part](config)})
    print(path.read_text())


if __name__ == "__main__":
    sys.exit(main())
