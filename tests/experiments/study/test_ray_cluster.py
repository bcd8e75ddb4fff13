"""The study on a local Ray cluster: what it computes, and a worker that is killed while it trains."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from experiments.paper.cells import Stop
from experiments.paper.runs import complete_cells, is_finished
from experiments.study import ray_cluster as ray_study
from experiments.study.ray_cluster import run_study_on_ray
from sparse_repr import PretrainConfig
from tests.experiments.study.test_running import agenda_of, out_of, small_cells
from tests.sparse_repr.pretrain.test_trainer import _same, _state


def test_without_ray_the_extra_is_named(small_study: PretrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    cells = small_cells(small_study)
    with pytest.raises(ImportError, match=r"--ray needs Ray, .*pip install 'sparse-repr\[distributed\]'"):
        run_study_on_ray(agenda_of(cells), out_of(cells), "local", processes=2, threads=1, gpus=0)


def _workers(name: str) -> list[int]:
    """Processes of Ray that compute, by the title it gives them."""
    listed = subprocess.run(["ps", "-eo", "pid,ppid,args"], capture_output=True, text=True, check=True).stdout
    return [int(line.split()[0]) for line in listed.splitlines() if f"ray::{name}" in line]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Ray leaves sockets and files open, and warns about settings of its own
def test_a_killed_worker_changes_no_bit(small_study: PretrainConfig, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="pip install 'sparse-repr[distributed]'")
    steps = 3_000
    longer = dataclasses.replace(small_study, steps=steps, save_every=100, log_every=100, picture_every=10**6)
    stops = (Stop(steps, "mig_histogram", None, 8),)
    cells = [dataclasses.replace(cell, stops=stops) for cell in small_cells(longer, 2)]
    killed: list[int] = []

    def kill() -> None:
        deadline = time.monotonic() + 900
        while time.monotonic() < deadline and not (cells[0].folder / "state.pt").exists():
            time.sleep(0.05)
        before = _workers(ray_study._complete.__name__)
        assert before, "no worker computes"
        killed.append(before[0])
        os.kill(before[0], signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    agenda = agenda_of(cells)
    run_study_on_ray(agenda, out_of(cells), "local", processes=2, threads=1, gpus=0)
    killer.join()
    assert len(killed) == 1
    assert agenda.failures == {}
    assert agenda.steps == 2 * steps
    assert all(is_finished(cell) for cell in cells)
    for cell in cells:
        alone = dataclasses.replace(cell.training, run_dir=str(tmp_path / "alone" / cell.name))
        undisturbed = dataclasses.replace(cell, training=alone)
        complete_cells([undisturbed], lambda _: None)
        assert _same(_state(cell.folder), _state(undisturbed.folder))
    # one of them was begun twice: its events are in two files
    assert sorted(len(list(cell.folder.glob("events*"))) for cell in cells) == [1, 2]
