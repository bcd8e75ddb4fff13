from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from sparse_repr.pretrain import freed_memory
from sparse_repr.pretrain.freed_memory import keep_freed_memory

glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")

# eight buffers of 4 MiB are taken, written and freed 20 times
_CODE = """
import resource, runpy, sys
import numpy as np
if sys.argv[1] == "keep":
    assert runpy.run_path(sys.argv[2])["keep_freed_memory"]()
for turn in range(22):
    if turn == 2:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    buffers = [np.ones(2**19) for _ in range(8)]
    del buffers
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@glibc
def test_freed_memory_is_used_again_without_page_faults() -> None:
    faults = {}
    for choice in ("default", "keep"):
        # in a process of its own: the setting lasts as long as the process; the module alone, which needs no torch
        command = [sys.executable, "-c", _CODE, choice, freed_memory.__file__]
        run = subprocess.run(command, capture_output=True, text=True, check=True)
        faults[choice] = int(run.stdout)
    assert faults["keep"] < 200 < faults["default"]


def test_what_the_environment_sets_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "131072")
    assert not keep_freed_memory()
