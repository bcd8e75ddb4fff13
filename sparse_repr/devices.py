"""Which device and which precision to compute with."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from threadpoolctl import threadpool_limits

from sparse_repr.command_line.bounds import require_threads

DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("auto", "float32", "bf16")
_THREAD_COUNTS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_forked = False


def _compute_with_one_thread() -> None:
    """What every forked child does first: it has none of its parent's threads.

    OpenMP believes that they are still there, and the first forward pass, or the first large tensor, would wait for
    them for ever. As in torch's own DataLoader workers, one thread computes instead; the parent keeps its own. Work
    that needs several threads belongs in a spawned process.
    """
    global _forked
    _forked = True
    torch.set_num_threads(1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_compute_with_one_thread)


def resolve_device(name: str) -> torch.device:
    """The device called `name`; ``"auto"`` takes CUDA, then MPS, then the CPU. ``"cuda:1"`` is understood too.

    Raises:
        ValueError: unknown name, or a device this machine or this build of torch does not have.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"device needs one of {', '.join(DEVICES)}, got {name!r}") from error
    if device.type not in DEVICES:
        raise ValueError(f"device {name!r} is not available here; use auto or cpu")
    require_device(device)
    return device


def require_device(device: torch.device | str) -> None:
    """Check that tensors can be computed with on `device`.

    Raises:
        ValueError: unknown, without values (meta), or one that this machine or this build of torch does not have.
    """
    try:
        place = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"device needs one of {', '.join(DEVICES)}, got {device!r}") from error
    if place.type == "cpu":
        return
    if place.type == "cuda":
        present = torch.cuda.is_available() and (place.index or 0) < torch.cuda.device_count()
    elif place.type == "mps":
        present = torch.backends.mps.is_available()
    else:
        # other back ends are modules of torch with the same question; meta and those not built in have none
        present = getattr(getattr(torch, place.type, None), "is_available", bool)()
    if not present:
        raise ValueError(f"device {str(device)!r} is not available here; use auto or cpu")


def resolve_precision(name: str, device: torch.device) -> str:
    """``"float32"`` or ``"bf16"``; ``"auto"`` takes bf16 where the hardware multiplies it natively.

    Raises:
        ValueError: unknown name.
    """
    if name not in PRECISIONS:
        raise ValueError(f"precision needs one of {', '.join(PRECISIONS)}, got {name!r}")
    if name != "auto":
        return name
    return "bf16" if multiplies_bf16(device) else "float32"


def multiplies_bf16(device: torch.device) -> bool:
    """Whether the hardware multiplies bf16; a CPU that does not emulates it, and takes ten times as long as float32."""
    if device.type == "cuda":
        with torch.cuda.device(device):  # it asks the current device
            return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and _processor_multiplies_bf16()


@functools.cache
def _processor_multiplies_bf16() -> bool:
    # torch has no public query for this; elsewhere than on Linux the answer is the safe one
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def autocast_for(device: torch.device, precision: str) -> torch.autocast:
    """The autocast context of a resolved precision; disabled for float32."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")


@contextlib.contextmanager
def whole_float32(device: torch.device) -> Iterator[None]:
    """Compute float32 on a CUDA device as float32 inside the block; elsewhere it is nothing else.

    By default torch lets cuDNN round what a convolution multiplies to the 10 bits of TF32. The block sets torch's flags
    for the whole process, and puts them back. Inside it torch refuses to read the older flags (`allow_tf32`), as
    `torch.compile` does: nothing may be compiled there.
    """
    if device.type != "cuda":
        yield
        return
    backends: Any = torch.backends  # its types do not know of them
    flags = (backends.cudnn.conv, backends.cuda.matmul)
    before = [flag.fp32_precision for flag in flags]
    try:
        for flag in flags:
            flag.fp32_precision = "ieee"
        yield
    finally:
        for flag, precision in zip(flags, before, strict=True):
            flag.fp32_precision = precision


def available_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextlib.contextmanager
def cpu_threads(count: int | None) -> Iterator[int]:
    """Compute with `count` CPU threads inside the block (None keeps the present number), then restore.

    They are those of torch and those of BLAS and OpenMP in other libraries, which would otherwise start one per core
    in each of several processes and wait for each other. A library that is first loaded inside the block keeps them.
    A forked process computes with one, whatever `count` says.
    """
    if _forked:
        count = 1
    if count is None:
        yield torch.get_num_threads()
        return
    require_threads(count)
    before = torch.get_num_threads()
    environment = {name: os.environ.get(name) for name in _THREAD_COUNTS}
    os.environ.update(dict.fromkeys(_THREAD_COUNTS, str(count)))  # for libraries that are loaded later
    torch.set_num_threads(count)
    try:
        with threadpool_limits(count):
            yield torch.get_num_threads()
    finally:
        torch.set_num_threads(before)
        for name, value in environment.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
