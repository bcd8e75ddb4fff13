"""What it costs to read images from a file batch by batch: memory from 10,000 to a million images, and throughput."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from PIL import Image

from experiments.measure.side_by_side import summary
from sparse_repr import PretrainConfig
from sparse_repr.command_line.running import run_command
from sparse_repr.data import FactorDataset, MappedImages, load_dataset
from sparse_repr.data.base import ImageArray
from sparse_repr.data.faces import render_faces
from sparse_repr.data.folder import load_folder
from sparse_repr.data.recorded import load_recorded
from sparse_repr.figures import PALETTE, chart, panels_figure, save_chart
from sparse_repr.files import require_space
from sparse_repr.pretrain.batches import BatchOrder
from sparse_repr.pretrain.schedules import BatchSizes
from sparse_repr.pretrain.trainer import Trainer

SIZES = (10_000, 100_000, 1_000_000)
"""Images in each file."""
_IN_MEMORY_SIZES = SIZES[:2]
_FOLDER_SIZES = (2_000, 20_000)
_SIDE = 64
_BATCH = 64
_SLAB = 4096
_STEPS = 20
_READ_BYTES = 16 * 1024**2
_COMPRESSION: dict[str, Any] = {"compression": "gzip", "chunks": 64}


def _pictures(channels: int) -> ImageArray:
    """4,096 drawn faces, uint8 (4096, C, 64, 64)."""
    values = load_dataset("faces").factor_values
    assert values is not None
    faces = render_faces(*values[np.random.default_rng(0).integers(0, len(values), _SLAB)].T)
    return np.ascontiguousarray(faces[:, :channels])


def _write(path: Path, count: int, pictures: ImageArray, compressed: bool = False) -> Path:
    """A file as `rl.record` writes it, slab by slab; every slab the same pictures with other bits inverted."""
    options = {**_COMPRESSION, "chunks": (_COMPRESSION["chunks"], *pictures.shape[1:])} if compressed else {}
    with h5py.File(path, "w") as file:
        images = file.create_dataset("images", (count, *pictures.shape[1:]), np.uint8, **options)
        for number, start in enumerate(range(0, count, _SLAB)):
            images[start : start + _SLAB] = pictures[: count - start] ^ np.uint8(number % 256)
    with path.open("rb") as written:
        os.fsync(written.fileno())  # pages that wait to be written cannot be dropped
    return path


def _add_factors(path: Path, count: int) -> None:
    """Five continuous factors with ten bins each, as `rl.record` writes them."""
    with h5py.File(path, "r+") as file:
        file["factor_values"] = np.random.default_rng(0).random((count, 5), dtype=np.float32)
        file.attrs["factor_names"] = [f"factor_{k}" for k in range(5)]
        for k in range(5):
            file[f"factor_bins/factor_{k}"] = np.linspace(0.1, 0.9, 9)


def _forget(path: Path) -> None:
    """Drop a file's pages from the system's page cache, so that the next reads come from the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


def _remember(path: Path) -> None:
    """Bring a whole file into the system's page cache."""
    with path.open("rb", buffering=0) as file:
        while file.read(_READ_BYTES):
            pass


def _memory_mb() -> dict[str, float]:
    """Memory of this process: its own (anonymous), and all, with the pages of mapped files."""
    kept = {"RssAnon": "anonymous_mb", "VmRSS": "all_mb"}
    lines = (line.split() for line in Path("/proc/self/status").read_text().splitlines())
    return {kept[words[0][:-1]]: int(words[1]) * 1024 / 1e6 for words in lines if words[0][:-1] in kept}


@contextlib.contextmanager
def _peak_memory() -> Iterator[dict[str, float]]:
    """Filled with the greatest memory of the block, looked at every 10 ms."""
    peak, done = _memory_mb(), threading.Event()

    def watch() -> None:
        while not done.wait(0.01):
            peak.update({name: max(peak[name], value) for name, value in _memory_mb().items()})

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield peak
    finally:
        done.set()
        watcher.join()


def _open(arm: str, path: Path) -> FactorDataset:
    if arm == "memory_mapped":
        with h5py.File(path, "r") as file:
            images = file["images"]
            return FactorDataset("h5", MappedImages(path, images.id.get_offset(), images.shape), str(path))
    if arm == "unpacked_at_every_read":
        return load_recorded(path, in_memory=False, unpack=False)
    return load_recorded(path, in_memory=arm == "in_memory")


def _trainer(data: FactorDataset, folder: str) -> Callable[[], Any]:
    """A plain step, `sparse` on the Burgess network, on the CPU."""
    settings = PretrainConfig(dataset="h5", run_dir=folder, device="cpu", progress=False).resolve()
    trainer = Trainer(settings, data)
    trainer.objective.vae.train()
    return trainer.train_step


def measure_epoch(arm: str, path: Path) -> dict[str, Any]:
    """Peak memory of loading a file, drawing each of its images once in training order, and some training steps."""
    before = _memory_mb()
    with _peak_memory() as peak, tempfile.TemporaryDirectory() as folder:
        data = _open(arm, path)
        order = BatchOrder(data.split[0], BatchSizes(_BATCH), seed=0)
        for step in range(len(data.split[0]) // _BATCH):
            data.images(order(step))
        train_step = _trainer(data, folder)
        for _ in range(_STEPS):
            train_step()
    return {"before": before, "peak": peak}


def measure_folder(_: str, path: Path) -> dict[str, Any]:
    """Peak memory of decoding a folder of pictures into the cache and drawing each once."""
    before = _memory_mb()
    with _peak_memory() as peak:
        data = load_folder(path, progress=False)
        order = BatchOrder(data.split[0], BatchSizes(_BATCH), seed=0)
        for step in range(len(data.split[0]) // _BATCH):
            data.images(order(step))
    return {"before": before, "peak": peak}


def measure_unpacking(_: str, path: Path) -> dict[str, Any]:
    """Images per second of unpacking a compressed file into the cache."""
    started = time.perf_counter()
    data = load_recorded(path, progress=False, in_memory=False)
    return {"images_per_s": len(data) / (time.perf_counter() - started)}


_MEASUREMENTS: dict[str, Callable[[str, Path], dict[str, Any]]] = {
    "epoch": measure_epoch,
    "folder": measure_folder,
    "unpacking": measure_unpacking,
}


def _in_own_process(measurement: str, arm: str, path: Path) -> dict[str, Any]:
    """In a process of its own with an empty cache folder, so that its peak memory is that of this arm."""
    command = [sys.executable, "-m", "experiments.benchmark.streaming", measurement, arm, str(path)]
    with tempfile.TemporaryDirectory(dir=path.parent) as cache:
        environment = {**os.environ, "SPARSE_REPR_CACHE": cache}
        run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if run.returncode:
        raise OSError(f"{' '.join(command)} failed:\n{run.stderr}")
    measured: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return measured


def _images_per_s(
    arms: Mapping[str, Callable[[], Callable[[int], Any]]], *, rounds: int, inner: int, cold: Path | None = None
) -> dict[str, dict[str, float]]:
    """Images per second of each arm, taking turns; an arm opens its data and gives what is done at each step.

    Where `cold` is given, an arm is opened anew each round, after that file was dropped from the page cache.
    """
    rates: dict[str, list[float]] = {arm: [] for arm in arms}
    opened = {} if cold else {arm: arms[arm]() for arm in arms}
    for arm in opened:
        opened[arm](0)
    for number in range(rounds):
        for arm in arms:
            if cold:
                _forget(cold)
            work = arms[arm]() if cold else opened[arm]
            started = time.perf_counter()
            for step in range(number * inner, (number + 1) * inner):
                work(step)
            rates[arm].append(inner * _BATCH / (time.perf_counter() - started))
            del work  # mapped pages cannot be dropped
    return {arm: summary(values) for arm, values in rates.items()}


def _measure_draws(files: Mapping[int, Path], compressed: Path) -> dict[str, Any]:
    def draw(arm: str, path: Path) -> Callable[[], Callable[[int], Any]]:
        def opened() -> Callable[[int], Any]:
            data = _open(arm, path)
            order = BatchOrder(data.split[0], BatchSizes(_BATCH), seed=0)
            order(0)
            return lambda step: data.images(order(step))

        return opened

    middle, largest = files[SIZES[1]], files[SIZES[2]]
    warm = {arm: draw(arm, middle) for arm in ("in_memory", "streaming", "memory_mapped")}
    warm["streaming_of_the_largest"] = draw("streaming", largest)
    cold = {arm: draw(arm, largest) for arm in ("streaming", "memory_mapped")}
    _remember(largest)
    slow = {"unpacked_at_every_read": draw("unpacked_at_every_read", compressed)}
    return {
        "page_cache_warm": _images_per_s(warm, rounds=7, inner=200),
        "page_cache_cold": _images_per_s(cold, rounds=3, inner=100, cold=largest),
        "compressed": {
            **_COMPRESSION,
            **_images_per_s(slow, rounds=3, inner=10),
            "unpacked_once": _in_own_process("unpacking", "", compressed),
        },
    }


def _measure_training(files: Mapping[int, Path]) -> dict[str, Any]:
    middle, largest = files[SIZES[1]], files[SIZES[2]]
    with tempfile.TemporaryDirectory() as folder:
        steps = {
            name: _trainer(_open(arm, path), f"{folder}/{name}")
            for name, arm, path in (
                ("in_memory", "in_memory", middle),
                ("streaming", "streaming", middle),
                ("streaming_of_the_largest", "streaming", largest),
            )
        }
        arms = {name: (lambda work=work: lambda _: work()) for name, work in steps.items()}
        results: dict[str, Any] = {"page_cache_warm": _images_per_s(arms, rounds=7, inner=_STEPS)}
        del arms["streaming"]
        results["page_cache_cold"] = _images_per_s(arms, rounds=5, inner=_STEPS, cold=largest)
    for rates in results.values():
        in_memory = rates["in_memory"]["median"]
        streaming = {arm: rate["median"] for arm, rate in rates.items() if arm != "in_memory"}
        rates["over_in_memory"] = {arm: median / in_memory for arm, median in streaming.items()}
    return results


def _measure_memory(files: Mapping[int, Path], pictures: ImageArray, folder: Path) -> dict[str, Any]:
    results: dict[str, Any] = {"streaming": {}, "memory_mapped": {}, "in_memory": {}, "folder_decoded": {}}
    for arm in ("streaming", "memory_mapped", "in_memory"):
        for count in _IN_MEMORY_SIZES if arm == "in_memory" else SIZES:
            results[arm][str(count)] = _in_own_process("epoch", arm, files[count])
    _add_factors(files[SIZES[-1]], SIZES[-1])
    results["streaming_with_5_factors"] = {str(SIZES[-1]): _in_own_process("epoch", "streaming", files[SIZES[-1]])}
    for count in _FOLDER_SIZES:
        own = folder / f"{count}_pictures"
        own.mkdir()
        for k in range(count):
            Image.fromarray(pictures[k % _SLAB].transpose(1, 2, 0).squeeze()).save(
                own / f"{k:07}.png", compress_level=1
            )
        results["folder_decoded"][str(count)] = _in_own_process("folder", "", own)
    first, last = (results["streaming"][str(count)]["peak"] for count in (SIZES[0], SIZES[-1]))
    results["growth_of_streaming"] = {name: last[name] - first[name] for name in first}
    return results


@chart
def _draw_memory(memory: Mapping[str, Any], path: Path) -> None:
    figure, ((axes,),) = panels_figure(1, 1, 6.4, 4.4)
    for arm, colour in zip(("streaming", "in_memory", "memory_mapped"), PALETTE, strict=False):
        for kind, style in (("all_mb", "-"), ("anonymous_mb", ":")):
            points = {int(count): values["peak"][kind] for count, values in memory[arm].items()}
            label = f"{arm.replace('_', ' ')}, {'all' if kind == 'all_mb' else 'anonymous'}"
            axes.plot(list(points), list(points.values()), style, color=colour, marker="o", label=label)
    axes.set(xscale="log", yscale="log", xlabel="images in the file", ylabel="peak memory of the process in MB")
    axes.legend()
    save_chart(figure, path)


def measure_streaming(out: Path) -> dict[str, Any]:
    """Memory and throughput of streaming beside a memory map and an array in memory; `streaming_memory.png` too.

    Raises:
        OSError: no room for the temporary files, or not on Linux, which alone tells a process's anonymous memory.
    """
    if not Path("/proc/self/status").is_file():
        raise OSError("streaming needs Linux's /proc/self/status to tell anonymous memory from mapped files")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pixels = sum(SIZES) * _SIDE**2
        # in grey where three colours do not fit
        channels = 3 if shutil.disk_usage(folder).free > 4 * pixels else 1
        require_space(folder, int(1.1 * channels * pixels), "the synthetic files (folder: TMPDIR)")
        pictures = _pictures(channels)
        files = {count: _write(folder / f"{count}.h5", count, pictures) for count in SIZES}
        compressed = _write(folder / "compressed.h5", SIZES[0], pictures, compressed=True)
        results: dict[str, Any] = {
            "images": f"{_SIDE}x{_SIDE}x{channels}",
            "batch_size": _BATCH,
            "training_images_per_s": _measure_training(files),
            "drawn_images_per_s": _measure_draws(files, compressed),
            "memory": _measure_memory(files, pictures, folder),
        }
    _draw_memory(results["memory"], out / "streaming_memory.png")
    return results


if __name__ == "__main__":
    sys.exit(run_command(lambda: print(json.dumps(_MEASUREMENTS[sys.argv[1]](sys.argv[2], Path(sys.argv[3]))))))
