from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

from experiments.benchmark import __main__ as benchmark
from experiments.benchmark import training as training_costs
from experiments.benchmark import training_arms
from experiments.benchmark.training import (
    ArmProcess,
    group_of,
    matrix_product_ceiling,
    measure_arms,
    profile_shares,
    step_flops,
)
from experiments.benchmark.training_arms import UsualVAE, usual_loss
from sparse_repr.data import FactorDataset
from sparse_repr.models import build_vae
from sparse_repr.objectives import VariationalObjective, WeightedKL
from sparse_repr.objectives.reconstruction import bernoulli


def test_operations_of_a_step_by_hand() -> None:
    # multiplications and additions per image: outputs (inputs of a transposed convolution) x kernel x channels
    first, inner = 2 * 32 * 32 * 16 * 32, [2 * size * size * 16 * 32 * 32 for size in (16, 8, 4)]
    dense = [2 * inputs * outputs for inputs, outputs in ((512, 256), (256, 256), (256, 20))]
    dense += [2 * inputs * outputs for inputs, outputs in ((10, 256), (256, 256), (256, 512))]
    # the encoder's first layer and the decoder's last have one channel, and the others are mirrored
    forward = 2 * first + 2 * sum(inner) + sum(dense)
    # backward: twice as many, but nothing for the gradient of the images
    assert step_flops() == 64 * (3 * forward - first)


def test_the_usual_network_is_ours() -> None:
    usual, vae = UsualVAE(), build_vae("burgess", {"channels": 1, "size": 64, "code_size": 10}, seed=0)
    theirs, ours = list(usual.parameters()), list(vae.parameters())
    assert [parameter.shape for parameter in theirs] == [parameter.shape for parameter in ours]
    with torch.no_grad():
        for target, source in zip(theirs, ours, strict=True):
            target.copy_(source)
    images = torch.rand((3, 1, 64, 64), generator=torch.Generator().manual_seed(0))
    torch.manual_seed(1)
    noise = torch.randn(3, 10)
    torch.manual_seed(1)
    objective = VariationalObjective(vae, bernoulli, WeightedKL(1.0), learning_rate=1e-3)
    _, terms = objective.loss(images, noise, torch.autocast("cpu", enabled=False))
    for value, name in zip(usual_loss(usual, images), ("loss", "reconstruction", "kl"), strict=True):
        torch.testing.assert_close(value, terms[name])


def test_an_operator_counts_for_the_outermost_group() -> None:
    node = "autograd::engine::evaluate_function: _TransposedConvolutionBackward"
    assert group_of(["aten::sum", "aten::convolution_backward", node]) == "convolution_backward"
    assert group_of(["aten::copy_", "aten::to", "aten::conv2d"]) == "convolution_forward"
    assert group_of(["aten::mul_", "Optimizer.step#Adam.step"]) == "optimiser"
    assert group_of(["aten::addmm", "data"]) == "data"
    assert group_of(["aten::empty"]) is None


class _FakeProcess(ArmProcess):
    """An arm whose steps take a known time and which learns."""

    seconds: ClassVar[dict[str, float]] = {"ours": 0.5, "ours_float32": 1.0, "usual": 2.0, "usual_2_workers": 1.5}

    def __init__(self, name: str, threads: int, steps: int) -> None:
        self._step_s, self._steps, self._epochs = self.seconds[name], steps, 0

    def answer(self) -> dict[str, Any]:
        return {}

    def ask(self, word: str) -> dict[str, Any]:
        self._epochs += word == "epoch"
        answers: dict[str, dict[str, Any]] = {
            "epoch": {"seconds": self._step_s * self._steps, "loss": 700.0 - self._epochs},
            "draw": {"seconds": 0.01 * self._step_s * self._steps},
            "profile": {"loss": 1.0},
            "memory": {"peak_gb": 1.0},
        }
        return answers[word]

    def close(self) -> None:
        """Nothing runs."""


def test_the_ratios_are_those_of_the_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(training_costs, "has_pythae", lambda: False)
    monkeypatch.setattr(training_costs, "resolve_precision", lambda *_: "bf16")
    monkeypatch.setattr(
        training_costs, "matrix_product_ceiling", lambda: {"float32": {"8": 1e9}, "bfloat16": {"8": 2e9}}
    )
    monkeypatch.setattr(benchmark, "measure_training", lambda: training_costs.measure_training(start=_FakeProcess))
    assert benchmark.main(["training", "--out", str(tmp_path)]) == 0
    written = json.loads((tmp_path / "training.json").read_text())
    assert written["left_out"] == training_arms.MISSING_PEER
    assert 'pip install "sparse-repr[peers]"' in capsys.readouterr().err
    one = written["threads_1"]
    assert one["times_faster"] == {"ours_over_usual_pattern": 3.0, "ours_float32_over_usual_pattern": 1.5}
    assert one["arms"]["ours"]["images_per_s"]["median"] == 128
    assert one["arms"]["usual"]["drawing_share_of_step"] == pytest.approx(0.01)
    assert one["arms"]["ours"]["share_of_ceiling"] == pytest.approx(2 * written["flops_per_step"] / 2e9)


def test_an_arm_that_does_not_learn_is_an_error() -> None:
    with pytest.raises(ValueError, match="the arm 'ours' did not learn"):
        measure_arms(["ours"], 1, steps=2, rounds=1, start=_FakeProcess)


def test_both_ways_of_training_learn(dsprites: FactorDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_arms, "load_dataset", lambda _: dsprites)
    for arm in (training_arms.Ours(6, "float32"), training_arms.Usual(6, 0)):
        first = arm.epoch()
        assert first > arm.epoch() > 0
        images, *_ = next(arm.batches())
        assert images.shape[-3:] == (1, 64, 64)
        shares = profile_shares(arm, 2)
        assert sum(shares.values()) == pytest.approx(1)
        assert shares["convolution_forward"] > 0


def test_the_ceiling_is_that_of_the_fastest_round() -> None:
    ceiling = matrix_product_ceiling(repeats=1)
    assert ceiling.keys() == {"float32", "bfloat16"}
    assert all(value > 0 for sizes in ceiling.values() for value in sizes.values())
