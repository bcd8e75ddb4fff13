from __future__ import annotations

import json
from pathlib import Path

import pytest

from experiments.pixels_to_agent import main

TINY = [
    "envs:SparseRepr/SpriteReach-v0",
    *("--frames", "64", "--pretrain-steps", "4", "--agent-steps", "128", "--film-steps", "4", "--code-size", "4"),
    *("--environments", "1", "--code-scaling", "none", "--threads", "1", "--no-progress"),
]


def test_from_an_environment_to_a_film_and_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*TINY, "--out", str(tmp_path)]) == 0
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["finite_weights"]
    assert {"agent.gif", "agent.zip", "explorer.html", "frames.h5", "encoder"} <= {
        path.name for path in tmp_path.iterdir()
    }
    frames, state = (tmp_path / "frames.h5").stat().st_mtime, (tmp_path / "encoder" / "state.pt").read_bytes()

    def as_far_as_this(_: object) -> None:
        raise ValueError("recorded and pretrained")

    monkeypatch.setattr("experiments.pixels_to_agent.evaluate_run", as_far_as_this)
    assert main([*TINY, "--out", str(tmp_path)]) == 2
    assert "recorded and pretrained" in capsys.readouterr().err
    assert (tmp_path / "frames.h5").stat().st_mtime == frames
    assert (tmp_path / "encoder" / "state.pt").read_bytes() == state


def test_what_is_wrong_is_said_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["CartPole-v1", "--frames", "8", "--out", str(tmp_path), "--no-progress"]) == 2
    assert capsys.readouterr().err.startswith("error: ")
