"""What figures depend on: the machine, the versions and the revision of the source."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch


def git_revision() -> str:
    """Revision of the source, with ``-dirty`` where something is uncommitted; "unknown" outside a checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def processor_of(cpuinfo: str) -> str:
    """The processor's name with its family and model, as virtual machines of several generations share the name.

    Args:
        cpuinfo: text of Linux's /proc/cpuinfo.

    Returns:
        Such as "AMD EPYC (family 25, model 1)"; empty where it names none.
    """
    fields: dict[str, str] = {}
    for line in cpuinfo.splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    name, kind = fields.get("model name", ""), [fields.get(key, "") for key in ("cpu family", "model")]
    return f"{name} (family {kind[0]}, model {kind[1]})" if name and all(kind) else name


def machine_facts() -> dict[str, Any]:
    """What the figures depend on."""
    cpuinfo = Path("/proc/cpuinfo")
    named = processor_of(cpuinfo.read_text(encoding="utf-8", errors="replace")) if cpuinfo.is_file() else ""
    return {
        "processor": named or platform.processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        **({"gpu": torch.cuda.get_device_name()} if torch.cuda.is_available() else {}),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "date": date.today().isoformat(),
        "git_revision": git_revision(),
    }


def peak_memory_mb() -> float:
    """Largest resident memory of this process, in 10^6 bytes.

    On Linux not by `getrusage`: there a child begins with the peak of the process that started it.
    """
    if sys.platform == "linux":
        lines = Path("/proc/self/status").read_text().splitlines()
        return round(int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024 / 1e6, 1)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak * (1 if sys.platform == "darwin" else 1024) / 1e6, 1)
