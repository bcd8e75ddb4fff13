"""Images per second, beside what the device's memory and matrix units can do, and the memory that it takes."""

from __future__ import annotations

import functools
import gc
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from experiments.benchmark.training import step_flops
from experiments.gpu.record import FAILED, Work
from experiments.gpu.ways import BATCH, make_models, noted_warnings
from experiments.measure.side_by_side import seconds_of
from experiments.measure.step_costs import time_steps
from sparse_repr.data import load_dataset
from sparse_repr.data.storage.resident import is_resident
from sparse_repr.devices import resolve_precision

# the first steps warm up, one more is preceded by the proof of its recording
_WARM_UP = 6
_MOST_STEPS = 500
_MATRIX = {"cuda": 8192, "cpu": 256}
_COPIED_BYTES = {"cuda": 2**29, "cpu": 2**22}


def measure_speed(work: Work) -> None:
    """Every way for every number of models, the compiled ones last as they take longest."""
    sizes = work.sizes
    arms = [(count, way) for count in sizes.models for way in ("none", "cuda_graph")]
    arms += [(count, "compile") for count in sizes.compiled]
    items: dict[str, Callable[[], Mapping[str, Any]]] = {"ceilings": lambda: ceilings(work.device)}
    items |= {f"{count} {way}": functools.partial(_arm, work, count, way) for count, way in arms}
    work.do("speed", items)


def ceilings(device: torch.device) -> dict[str, float]:
    """Bytes per second of a copy, read and written, and operations per second of the product of square matrices."""
    source = torch.empty(_COPIED_BYTES[device.type], dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    size = _MATRIX[device.type]
    works: dict[str, Callable[[], Any]] = {"bytes": lambda: target.copy_(source)}
    for dtype in (torch.float32, torch.bfloat16):
        matrix = torch.ones((size, size), dtype=dtype, device=device)
        works[f"{dtype}".removeprefix("torch.")] = functools.partial(torch.mm, matrix, matrix)
    seconds = seconds_of({name: _waiting(call, device) for name, call in works.items()}, inner=5)
    moved = 2 * source.nbytes / seconds["bytes"]["least"]
    flops = {f"{name}_flops_per_s": 2 * size**3 / taken["least"] for name, taken in seconds.items() if name != "bytes"}
    return {"bytes_per_s": moved, **flops}


def _waiting(call: Callable[[], Any], device: torch.device) -> Callable[[], None]:
    def wait() -> None:
        call()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return wait


class _Traffic(TorchDispatchMode):
    """Bytes that operations read and write, from and to memory, as if nothing stayed in a cache; views are free."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        read, written = ([leaf for leaf in tree_leaves(part) if isinstance(leaf, Tensor)] for part in (args, result))
        places = {tensor.untyped_storage().data_ptr() for tensor in read}
        changes = any(
            argument.alias_info is not None and argument.alias_info.is_write for argument in func._schema.arguments
        )
        new = [tensor for tensor in written if tensor.untyped_storage().data_ptr() not in places]
        if new or changes:
            self.bytes += sum(tensor.nbytes for tensor in [*read, *new])
        return result


def _arm(work: Work, count: int, way: str) -> dict[str, Any]:
    device, sizes = work.device, work.sizes
    data = load_dataset("dsprites")
    if device.type == "cuda":
        gc.collect()  # models of the arm before are in cycles
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    precision = resolve_precision("auto", device)
    models = make_models(data, sizes.device, precision, way, range(count), stacked=True)
    with noted_warnings() as said:
        for _ in range(_WARM_UP):
            models.train_step()
    step_s = time_steps({way: models}, seconds=sizes.turn_s, most_steps=_MOST_STEPS)[way]
    found: dict[str, Any] = {
        "models": count,
        "way": way,
        "precision": precision,
        "step_s": step_s,
        "images_per_s": count * BATCH / step_s["median"],
        "flops_per_s": count * step_flops() / step_s["median"],
        "warnings": said,
    }
    if way == "none":
        with _Traffic() as traffic:
            models.train_step()
        found["bytes_per_step"] = traffic.bytes
    if device.type == "cuda":
        found["peak_memory_gb"] = torch.cuda.max_memory_allocated(device) / 1e9
    if is_resident(data, device):
        found["resident_data_gb"] = data.store.stored().rows.nbytes / 1e9  # type: ignore[attr-defined]
    models.close()
    return {**found, **_shares(work, count, found)}


def _shares(work: Work, count: int, found: Mapping[str, Any]) -> dict[str, float]:
    """How much of the ceilings a step reaches; its traffic is what its kernels have when launched one by one."""
    known = work.record.items("speed")
    limits = known.get("ceilings", {FAILED: ""})
    if FAILED in limits:
        return {}
    dtype = "bfloat16" if found["precision"] == "bf16" else "float32"
    shares = {"share_of_matrix_ceiling": found["flops_per_s"] / limits[f"{dtype}_flops_per_s"]}
    moved = found.get("bytes_per_step") or known.get(f"{count} none", {}).get("bytes_per_step")
    if moved:
        shares["share_of_bandwidth"] = moved / found["step_s"]["median"] / limits["bytes_per_s"]
    return shares
