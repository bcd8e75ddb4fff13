from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from experiments import compare_objectives
from experiments.compare_objectives import (
    ARMS,
    COLUMNS,
    CompareConfig,
    arm_settings,
    as_markdown,
    compare,
    main,
    own_command,
)


@pytest.mark.parametrize("arm", ARMS)
def test_every_arm_trains_alike(arm: str) -> None:
    settings = arm_settings(CompareConfig(steps=500, seed=3), arm)
    assert (settings.dataset, settings.steps, settings.batch_size, settings.seed) == ("dsprites", 500, 64, 3)
    assert (settings.device, settings.precision) == ("cpu", "float32")
    assert settings.run_dir == f"experiments/results/compare_objectives/runs/{arm}-500-seed3"
    if arm == "beta_vae_capacity":
        assert settings.capacity_steps == 500
    assert bool(settings.perceptual_weight) == ("perceptual" in arm)


def test_the_table_shows_what_is_missing_as_a_dash() -> None:
    row: dict[str, float | None] = {**dict.fromkeys(COLUMNS, 1.25), "mig": None}
    costs = {"vae": {"median_s": 0.02, "least_s": 0.01, "greatest_s": 0.03, "ratio": 1.0}}
    text = as_markdown({"command": "python -m x", "arms": {"vae": row}, "costs": costs})
    assert "| vae | 1.25 | 1.25 | 1.25 | 1.25 | 1.25 | – |" in text
    assert "| vae | 20.0 | 10.0 | 30.0 | 1.00 |" in text


def test_unknown_arms_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="objectives needs names of vae, .*, got betavae"):
        CompareConfig(objectives=("betavae",))
    assert main(["--steps", "0"]) == 2
    assert "steps" in capsys.readouterr().err


def test_the_command_names_everything_that_is_not_the_default() -> None:
    program = "python -m experiments.compare_objectives"
    assert own_command(CompareConfig(out="elsewhere")) == f"{program} --steps 2000 --seed 0"
    config = CompareConfig(objectives=("vae", "perceptual"), steps=500, precision="bf16", sample=None)
    assert own_command(config) == (f"{program} vae perceptual --steps 500 --seed 0 --sample None --precision bf16")


def test_later_arms_join_a_table_of_the_same_settings_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Quick:
        """A trainer whose steps take no time."""

        def __init__(self, *_: object) -> None:
            self.prepare = lambda: None
            self.train_step = lambda: {"loss": 0.0}

    monkeypatch.setattr(compare_objectives, "Trainer", Quick)
    monkeypatch.setattr(compare_objectives, "load_dataset", lambda _: SimpleNamespace())
    monkeypatch.setattr(compare_objectives, "train_arm", lambda _: 100.0)
    monkeypatch.setattr(compare_objectives, "score_arm", lambda *_: dict.fromkeys(COLUMNS, 1.0))
    path = tmp_path / "results-500.json"
    common = {"steps": 500, "out": str(tmp_path), "threads": 1}
    compare(CompareConfig(objectives=("vae", "beta_vae"), **common))
    compare(CompareConfig(objectives=("sparse",), **common))
    found = json.loads(path.read_text())
    # a ratio is of one measurement in turns, and everything says what all rows are of
    assert set(found["costs"]) == {"vae", "beta_vae", "sparse"}
    assert found["costs"]["vae"]["ratio"] == 1
    assert list(found["arms"]) == found["settings"]["objectives"] == ["vae", "beta_vae", "sparse"]
    assert found["command"].startswith("python -m experiments.compare_objectives vae beta_vae sparse --steps 500")
    with pytest.raises(ValueError, match=r"results-500.json holds .* other settings \(seed 0 there, 1 asked for"):
        compare(CompareConfig(objectives=("sparse",), seed=1, **common))
    assert json.loads(path.read_text()) == found
