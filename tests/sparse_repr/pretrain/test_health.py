"""Runs whose decoder ignores the code are told of, with the cause in their settings; others never, nor does it cost."""

from __future__ import annotations

import dataclasses
import json
import warnings
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from sparse_repr import PretrainConfig, pretrain_encoder
from sparse_repr.encoder.code_use import CodeUse
from sparse_repr.encoder.collapse import CollapsedEncoderWarning, IgnoredCodeWarning
from sparse_repr.evaluate.report import summary
from sparse_repr.evaluate.run import EvaluateConfig, evaluate_run
from sparse_repr.models import Presences
from sparse_repr.pretrain.causes import likely_causes
from sparse_repr.pretrain.health import ignored_code_message, presence_message
from sparse_repr.pretrain.together.ensemble import pretrain_encoders

DEAD, ALIVE = CodeUse(1e-5, 1.09, 0), CodeUse(0.8, 0.2, 6)


def _dead(config: PretrainConfig, **changes: Any) -> PretrainConfig:
    settings: dict[str, Any] = {"sparsity_weight": 1e4, "health_check": 5, "steps": 12, "save_every": 12}
    return dataclasses.replace(config, **{**settings, **changes})


def _scalars(folder: Path, name: str) -> dict[int, float]:
    events = EventAccumulator(str(folder))
    events.Reload()
    return {event.step: event.value for event in events.Scalars(name)}


@pytest.fixture(scope="module")
def dead_run(rectangles: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[PretrainConfig, list[str]]:
    """A dead run, looked at after 5 and 10 steps, and what was said of it."""
    config = PretrainConfig(
        dataset="folder",
        data_path=str(rectangles),
        run_dir=str(tmp_path_factory.mktemp("dead") / "run"),
        image_size=32,
        batch_size=8,
        precision="float32",
        device="cpu",
        threads=1,
        progress=False,
    )
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        pretrain_encoder(_dead(config))
    assert sum(issubclass(one.category, CollapsedEncoderWarning) for one in told) == 1
    return _dead(config), [str(one.message) for one in told if issubclass(one.category, IgnoredCodeWarning)]


def test_a_dead_run_is_told_of_once_and_goes_on(dead_run: tuple[PretrainConfig, list[str]]) -> None:
    config, messages = dead_run
    assert len(messages) == 1
    assert messages[0].startswith(f"{config.run_folder()}: after 5 steps the decoder ignores the code")
    assert "(1) the L1 weight 10000 counts from step 0" in messages[0]
    assert "--sparsity-warmup 1000" in messages[0]
    assert list(_scalars(config.run_folder(), "health/spread")) == [5, 10]
    assert max(_scalars(config.run_folder(), "health/spread").values()) < 0.01
    assert set(_scalars(config.run_folder(), "health/active_units").values()) == {0}
    assert max(_scalars(config.run_folder(), "train/loss")) == 12


def test_a_run_that_is_looked_at_has_the_bits_of_one_that_is_not(
    dead_run: tuple[PretrainConfig, list[str]], tmp_path: Path
) -> None:
    looked_at = dead_run[0]
    with pytest.warns(CollapsedEncoderWarning) as told:
        other = pretrain_encoder(dataclasses.replace(looked_at, health_check=0, run_dir=str(tmp_path / "run")))
    assert not any(issubclass(one.category, IgnoredCodeWarning) for one in told)
    for name in ("config.json", "state.pt", "encoder.safetensors", "vae.safetensors"):
        assert (other / name).read_bytes() == (looked_at.run_folder() / name).read_bytes()


def test_evaluate_says_it_of_any_folder(dead_run: tuple[PretrainConfig, list[str]], tmp_path: Path) -> None:
    run = dead_run[0].run_folder()
    settings = json.loads((run / "config.json").read_text())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CollapsedEncoderWarning)
        report = evaluate_run(EvaluateConfig(run=str(run), progress=False))
        assert report["health"]["spread"] < 0.01
        assert "WARNING: after 12 steps the decoder ignores the code" in summary(report)
        assert "the L1 weight 10000 counts from step 0" in report["health"]["warning"]
        # as an earlier version wrote it
        del settings["sparsity_warmup"], settings["perceptual_resolution"]
        (run / "config.json").write_text(json.dumps(settings))
        assert evaluate_run(EvaluateConfig(run=str(run), progress=False))["health"] == report["health"]


def test_runs_in_one_loop_are_each_told_of(small_study: PretrainConfig, tmp_path: Path) -> None:
    config = _dead(small_study, step_graph="none", steps=6)
    folders = [tmp_path / str(seed) for seed in (0, 1)]
    configs = [dataclasses.replace(config, seed=seed, run_dir=str(folder)) for seed, folder in enumerate(folders)]
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        pretrain_encoders(configs, together="vectorized")
    messages = [str(one.message) for one in told if issubclass(one.category, IgnoredCodeWarning)]
    assert [message.partition(":")[0] for message in messages] == [str(folder) for folder in folders]


def test_a_run_that_has_left_the_mean_picture_is_not_told_of(small_study: PretrainConfig) -> None:
    settings: dict[str, Any] = {"objective": "vae", "initialisation": "he", "learning_rate": 1e-3, "steps": 160}
    folder = pretrain_encoder(dataclasses.replace(small_study, **settings, health_check=160, log_every=160))
    assert _scalars(folder, "health/spread")[160] > 0.1


def _causes(step: int = 500, **changes: Any) -> list[str]:
    return list(likely_causes(PretrainConfig(**changes).resolve().to_json(), step))


QUICK: dict[str, Any] = {"initialisation": "he", "learning_rate": 1e-3}
FEATURES: dict[str, Any] = {"pixel_weight": 0.0, "perceptual_weight": 1.0, "objective": "vae", **QUICK}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"objective": "vae"}, ["--initialisation output_bias or he", "--learning-rate 1e-3"]),
        ({"objective": "vae", **QUICK}, ["too few steps"]),
        ({**QUICK, "sparsity_weight": 4.0}, ["--sparsity-warmup 20000", "too few steps"]),
        ({**QUICK, "sparsity_weight": 40.0, "sparsity_warmup": 1_000}, ["the L1 weight, 20 by now", "too few steps"]),
        ({**QUICK, "objective": "beta_vae", "beta": 8.0}, ["beta 8 makes every nat", "too few steps"]),
        ({**QUICK, "objective": "vae", "beta_start": 9.0, "beta_steps": 1_000}, ["beta 5 makes", "too few steps"]),
        ({**QUICK, "objective": "vae", "pixel_weight": 0.1}, ["pixel_weight 0.1", "too few steps"]),
        (FEATURES, ["a perceptual loss alone at 64x64", "too few steps"]),
        ({**FEATURES, "perceptual_resolution": 16}, ["too few steps"]),
        ({**FEATURES, "perceptual_levels": "16,64@900"}, ["too few steps"]),
        ({**FEATURES, "perceptual_levels": "32,16@900"}, ["a perceptual loss alone at 32x32 sees", "too few steps"]),
        ({**FEATURES, "perceptual_features": "dae"}, ["denoising autoencoder alone", "too few steps"]),
        ({**QUICK, "objective": "beta_vae_capacity"}, ["no more than 0.12 of 25 nats", "too few steps"]),
    ],
)
def test_causes_are_those_in_the_settings(settings: dict[str, Any], words: list[str]) -> None:
    causes = _causes(**settings)
    assert len(causes) == len(words)
    for cause, expected in zip(causes, words, strict=True):
        assert expected in cause


def test_a_schedule_that_still_holds_a_run_is_waited_for() -> None:
    def told(step: int, **changes: Any) -> bool:
        settings = PretrainConfig(**changes).resolve().to_json()
        assert ignored_code_message(settings, ALIVE, step) is None
        return ignored_code_message(settings, DEAD, step) is not None

    capacity: dict[str, Any] = {"objective": "beta_vae_capacity", "capacity_nats": 25.0, "capacity_steps": 100_000}
    assert not told(4_000, **capacity)  # 1 nat of 25, which the run reaches
    assert told(8_000, **capacity)
    assert told(500, **capacity, steps=2_000)  # half a nat in the end
    assert not told(500, objective="vae", learning_rate_warmup=1_000)
    assert told(1_000, objective="vae", learning_rate_warmup=1_000)
    assert not told(500, objective="info_gan")
    from_above: dict[str, Any] = {"objective": "beta_vae", "beta": 4.0, "beta_start": 40.0, "beta_steps": 1_000}
    assert not told(500, **from_above)  # 22 on its way to 4
    assert told(1_000, **from_above)
    assert told(500, **from_above, steps=1_500)  # two thirds of the run


def test_presences_that_tell_nothing_are_told_of_with_the_remedy() -> None:
    settings = PretrainConfig(objective="sparse_keypoints").resolve().to_json()
    every, none, some = Presences(8.0, 8, 0, 8), Presences(0.0, 0, 8, 8), Presences(3.5, 1, 2, 8)
    assert presence_message(settings, every, 1_000) is None  # the price is not what it will be yet
    assert "all 8 keypoints are present in every image: raise" in str(presence_message(settings, every, 2_000))
    assert "none of 8 keypoints is present in any image: lower" in str(presence_message(settings, none, 2_000))
    assert presence_message(settings, some, 2_000) is None
    assert presence_message(PretrainConfig(objective="keypoints").resolve().to_json(), every, 2_000) is None
