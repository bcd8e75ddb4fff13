"""A collapsed encoder is told once, wherever it is made, scored or taken."""

from __future__ import annotations

import dataclasses
import re
import warnings
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

from rl import LatentExtractor, LatentObservation
from sparse_repr import FrozenEncoder, PretrainConfig, load_encoder, pretrain_encoder, untrained_encoder
from sparse_repr.encoder import UnitStatistics, collapse
from sparse_repr.encoder.collapse import CollapsedEncoderWarning, warn_if_collapsed
from sparse_repr.evaluate.__main__ import main as evaluate
from sparse_repr.models import ARCHITECTURES, build_vae
from sparse_repr.pretrain.__main__ import main
from sparse_repr.pretrain.presets import PRESETS
from tests.conftest import make_encoder

WORDS = r"none of the 4 units of FrozenEncoder\(.*\) is active: .*train for more steps"


def _encoder(active: tuple[bool, ...], seed: int) -> FrozenEncoder:
    """Each `seed` is another encoder: what was told once is not told again."""
    encoder = make_encoder(code_size=4)
    units = UnitStatistics((0.001,) * 4, (0.0,) * 4, (0.02, 0.01, 0.03, 0.02), active)
    objective = {"name": "sparse", "weights": {"beta": 1.0, "sparsity_weight": 16.0}, "steps": 900, "seed": seed}
    return FrozenEncoder(
        dataclasses.replace(encoder.spec, units=units, objective=objective), encoder.network().state_dict()
    )


def test_the_warning_has_cause_and_remedy_and_comes_once() -> None:
    encoder = _encoder((False,) * 4, seed=1)
    with pytest.warns(CollapsedEncoderWarning, match=WORDS) as told:
        warn_if_collapsed(encoder)
    assert "varies by more than 0.03 (standard deviation)" in str(told[0].message)
    assert "After 900 steps the penalties (beta 1, sparsity_weight 16)" in str(told[0].message)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_if_collapsed(encoder)
        warn_if_collapsed(_encoder((False, True, False, False), seed=2))
        warn_if_collapsed(make_encoder())


def test_weights_that_reward_a_unit_are_no_penalties() -> None:
    told = _told_of({"information_weight": 0.1})
    assert "no unit is used yet: train for more steps" in told
    assert "lower weights" not in told
    assert "the penalties (beta 1) still outweigh" in _told_of(
        {"beta": 1.0, "sparsity_weight": 0.0, "feature_weight": 1.0}
    )
    assert "lower weights" not in _told_of({"matching_weight": 20.0})  # pulls units up to what is aimed at
    assert "the penalties (covariance_weight 10) still" in _told_of(
        {"covariance_weight": 10.0, "variance_weight": 100.0}
    )


def _told_of(weights: dict[str, float]) -> str:
    encoder = _encoder((False,) * 4, seed=1)
    spec = dataclasses.replace(encoder.spec, objective={**encoder.spec.objective, "weights": weights})
    with pytest.warns(CollapsedEncoderWarning) as told:
        warn_if_collapsed(FrozenEncoder(spec, encoder.network().state_dict()))
    return str(told[0].message)


class _Pictures(gym.Env):  # type: ignore[type-arg]
    observation_space = gym.spaces.Box(0, 255, (1, 64, 64), np.uint8)
    action_space = gym.spaces.Discrete(2)


def test_each_way_into_an_agent_tells() -> None:
    with pytest.warns(CollapsedEncoderWarning, match=WORDS) as told:
        LatentObservation(_Pictures(), _encoder((False,) * 4, seed=3))
    assert told[0].filename == __file__
    with pytest.warns(CollapsedEncoderWarning, match=WORDS):
        LatentExtractor(_Pictures.observation_space, encoder=_encoder((False,) * 4, seed=4))


def test_training_and_evaluation_tell(
    small_study: PretrainConfig, rectangles: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    strong = dataclasses.replace(small_study, sparsity_weight=1e4)
    with pytest.warns(CollapsedEncoderWarning, match="none of the 10 units .*sparsity_weight 10000") as told:
        folder = pretrain_encoder(strong)
    assert told[0].filename == __file__
    assert not any(load_encoder(folder).spec.units.active)
    words = ["--dataset", "folder", "--data-path", str(rectangles), "--image-size", "32", "--batch-size", "8"]
    words += ["--sparsity-weight", "10000", "--steps", "5", "--no-progress", "--run-dir", str(tmp_path / "run")]
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        assert main([*words, "--seed", "7"]) == 0
        said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: ")]
        assert len(said) == 1
        assert said[0].startswith("warning: none of the 10 units of FrozenEncoder(sparse on folder")
        collapse._TOLD.clear()  # as in another process
        assert evaluate([str(tmp_path / "run"), "--no-progress"]) == 0
        said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: none of the 10")]
        assert len(said) == 1


def test_units_that_are_0_everywhere_are_not_told_to_go_on() -> None:
    encoder = make_encoder(code_size=4)
    units = UnitStatistics((0.0,) * 4, (0.0,) * 4, (0.0,) * 4, (False,) * 4)
    spec = dataclasses.replace(
        encoder.spec,
        architecture="burgess_rectified",
        posterior="point",
        units=units,
        objective={"name": "rectified_gaussian", "weights": {"matching_weight": 20.0}, "steps": 400, "seed": 5},
    )
    rectified = build_vae("burgess_rectified", encoder.spec.arguments, seed=0).encoder.state_dict()
    with pytest.warns(CollapsedEncoderWarning, match="More steps do not help: start again in another folder") as told:
        warn_if_collapsed(FrozenEncoder(spec, rectified))
    assert "train for more steps" not in str(told[0].message)


@pytest.mark.parametrize("head", ["shrinkage", "quantised"])
def test_units_that_hear_although_they_are_0_need_more_steps(head: str) -> None:
    encoder = make_encoder(code_size=4)
    units = UnitStatistics((0.0,) * 4, (0.0,) * 4, (0.0,) * 4, (False,) * 4)
    spec = dataclasses.replace(
        encoder.spec,
        architecture=f"burgess_{head}",
        posterior="gaussian" if head == "shrinkage" else "point",
        units=units,
        objective={"name": head, "weights": {"quantise_weight": 0.01}, "steps": 3, "seed": 6},
    )
    network = build_vae(f"burgess_{head}", encoder.spec.arguments, seed=0).encoder.state_dict()
    with pytest.warns(CollapsedEncoderWarning, match="train for more steps") as told:
        warn_if_collapsed(FrozenEncoder(spec, network))
    assert "lower weights" not in str(told[0].message)


@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
def test_an_encoder_of_any_architecture_can_have_no_active_unit(architecture: str) -> None:
    arguments = {"channels": 1, "size": 64, "code_size": 21}
    encoder = untrained_encoder(1, code_size=21)
    network = build_vae(architecture, arguments, seed=0).encoder
    spec = dataclasses.replace(
        encoder.spec,
        architecture=architecture,
        arguments=arguments,
        posterior=ARCHITECTURES[architecture].posterior,
        units=UnitStatistics((0.0,) * 21, (0.0,) * 21, (0.0,) * 21, (False,) * 21),
        objective={"name": "any", "weights": {}, "steps": 2, "seed": 0},
    )
    with pytest.warns(CollapsedEncoderWarning, match="none of the 21 units") as told:
        warn_if_collapsed(FrozenEncoder(spec, network.state_dict()))
    preset = re.search(r"--preset DATASET/([a-z_]+)", str(told[0].message))
    assert (preset is not None) == ("keypoints" in architecture)
    assert preset is None or f"dsprites/{preset[1]}" in PRESETS
    assert preset is None or preset[1].endswith("_looks") == architecture.endswith("_looks")
