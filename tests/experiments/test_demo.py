"""`make demo`: an agent, its film and how often it succeeds, from an encoder that comes with the package."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from experiments import demo
from rl import load_agent, make_latent_vec_env
from sparse_repr import load_encoder


def test_a_tiny_demo_has_an_agent_a_film_and_numbers(
    short_episodes: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "PPO_SETTINGS", {"n_steps": 16, "batch_size": 32, "n_epochs": 1})
    options = {"agent-steps": 64, "environments": 2, "episodes": 4, "film-steps": 5}
    arguments = [text for name, value in options.items() for text in (f"--{name}", str(value))]
    assert demo.main(["--out", str(tmp_path / "demo"), "--no-progress", *arguments]) == 0
    said = capsys.readouterr().out
    assert f"film:  {tmp_path / 'demo' / 'agent.gif'}" in said
    results = json.loads((tmp_path / "demo" / "results.json").read_text())
    assert set(results["episodes"]) == {"random actions", "agent"}
    assert all(0 <= found["success_rate"] <= 1 for found in results["episodes"].values())
    encoder = load_encoder(demo.ENCODER)
    assert results["encoder"]["fingerprint"] == encoder.fingerprint
    with Image.open(tmp_path / "demo" / "agent.gif") as film:
        assert film.n_frames == 5
    venv = make_latent_vec_env(demo.ENVIRONMENT, encoder, n_envs=1, recode="expand")
    agent, _ = load_agent(tmp_path / "demo" / "agent.zip", venv)
    assert agent.predict(venv.reset())[0].shape == (1, 2)
    venv.close()
    # another one takes its place
    assert demo.main(["--out", str(tmp_path / "demo"), "--no-progress", *arguments, "--seed", "1"]) == 0
    assert json.loads((tmp_path / "demo" / "results.json").read_text())["settings"]["seed"] == 1


def test_settings_are_checked(capsys: pytest.CaptureFixture[str]) -> None:
    assert demo.main(["--episodes", "0"]) == 2
    assert "episodes" in capsys.readouterr().err
