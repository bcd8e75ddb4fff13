"""The curve of a run: what counts as leaving the mean picture, the checks, and how the command goes on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from experiments.time_to_quality.training_curves.__main__ import CurvesConfig, main
from experiments.time_to_quality.training_curves.curve import mean_picture_nats
from experiments.time_to_quality.training_curves.settings import settings_of
from sparse_repr.pretrain.presets import preset_config

_QUICK = ("--arms", "vae", "--batch-size", "8", "--items", "200", "--shown", "20")


def test_the_mean_picture_costs_its_entropy() -> None:
    images = torch.zeros(4, 1, 2, 2)
    images[0, 0, 0, 0] = images[1, 0, 0, 0] = 1  # one pixel is on in half of the images: log 2 nats; the others are off
    assert mean_picture_nats(images) == pytest.approx(0.6931 + 3e-4, abs=2e-4)


def test_schedules_are_shares_of_the_run_and_go_to_whom_they_concern() -> None:
    assert settings_of("sparse", "bias-above", 4_000) == {
        "objective": "sparse",
        "beta": 1.0,
        "sparsity_weight": 1.0,
        "learning_rate": 1e-3,
        "learning_rate_decay": "cosine",
        "final_learning_rate": 1e-5,
        "initialisation": "output_bias",
        "beta_start": 10.0,
        "beta_steps": 1_000,
        "sparsity_warmup": 1_000,
    }
    assert settings_of("capacity", "published", 4_000)["capacity_steps"] == 4_000
    assert "beta_start" not in settings_of("capacity", "bias-above", 4_000)
    opened = settings_of("sparse", "he-opened", 4_000)
    assert (opened["beta_steps"], opened["opening_step"], opened["opening_steps"]) == (640, 640, 1_760)
    assert opened["sparsity_start"] == 2_400
    turned = settings_of("vae", "he-turned", 16_000)
    preset = preset_config("dsprites/vae/turned")
    assert all(getattr(preset, name) == value for name, value in turned.items())
    assert settings_of("vae", "he-warmed", 16_000) == {**turned, "opening_warmup": 800}
    # the first part of a longer run stays as it is there
    first = {"beta_steps": 2_560, "opening_step": 2_560, "learning_rate_warmup": 400}
    long = settings_of("sparse", "he-warmed", 76_000)
    assert settings_of("sparse", "he-prompt", 76_000) == {**long, **first, "sparsity_start": 36_000}
    assert settings_of("sparse", "he-prompt", 16_000) == settings_of("sparse", "he-warmed", 16_000)
    quick = settings_of("vae", "he-quick", 4_000)
    assert (quick["learning_rate"], quick["learning_rate_warmup"]) == (2e-3, 100)
    assert "learning_rate_warmup" not in settings_of("vae", "he", 4_000)


def test_runs_end_where_they_leave_the_mean_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [*_QUICK, "--ways", "he", "--seeds", "7", "--steps", "400", "--until-left", "--out", str(tmp_path)]
    assert main(command) == 0
    curve = json.loads((tmp_path / "results.json").read_text())["curves"]["vae"]["he"]["7"]
    assert 0 < curve["left_at"] == curve["steps"] < 400
    assert curve["left_at"] % 20 == 0
    assert curve["points"] == []
    assert f"| vae | he | 1 | 0 | {curve['left_at']} | {curve['left_at']} |" in capsys.readouterr().out


def test_a_measurement_goes_on_and_refuses_another_protocol(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [*_QUICK, "--ways", "published", "--steps", "16", "--out", str(tmp_path)]
    assert main([*command, "--seeds", "7"]) == 0
    before = json.loads((tmp_path / "results.json").read_text())["curves"]["vae"]["published"]
    assert (
        [point["step"] for point in before["7"]["points"]] == list(CurvesConfig(steps=16).checks()) == [1, 2, 4, 8, 16]
    )
    assert before["7"]["left_at"] is None
    results = json.loads((tmp_path / "results.json").read_text())
    del results["protocol"]["precision"]  # as in the first results, which were float32
    (tmp_path / "results.json").write_text(json.dumps(results))
    assert main([*command, "--seeds", "7", "8"]) == 0
    after = json.loads((tmp_path / "results.json").read_text())["curves"]["vae"]["published"]
    assert after["7"] == before["7"]
    assert set(after) == {"7", "8"}
    assert (tmp_path / "curves.png").is_file()
    assert main([*command, "--steps", "32"]) == 2
    assert "take another --out" in capsys.readouterr().err
    assert main([*command, "--precision", "bf16"]) == 2
    assert "take another --out" in capsys.readouterr().err
    assert main([*command, "--precision", "half"]) == 2
    assert "precision needs float32 or bf16, got 'half'" in capsys.readouterr().err
