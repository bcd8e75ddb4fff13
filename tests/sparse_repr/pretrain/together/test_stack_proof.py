"""Models share one loop on a card only where its step is theirs; whatever is wrong with it, their runs are the same."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from sparse_repr import PretrainConfig, load_encoder
from sparse_repr.pretrain.step_proof import tensors_in
from sparse_repr.pretrain.together import ensemble
from sparse_repr.pretrain.together.ensemble import pretrain_encoders
from sparse_repr.pretrain.together.stack_proof import why_stack_differs
from sparse_repr.pretrain.together.stacked import StackedModels
from sparse_repr.pretrain.trainer import Trainer
from sparse_repr.pretrain.variations import vary

Take = Callable[[StackedModels, Tensor, Tensor, Any], dict[str, Tensor]]


def _runs(settings: PretrainConfig, folder: Path) -> list[PretrainConfig]:
    return vary(dataclasses.replace(settings, objective="sparse", steps=6, run_dir=str(folder)), seeds=range(3))


def _trained(settings: PretrainConfig, folder: Path, together: str) -> list[str]:
    return [load_encoder(run).fingerprint for run in pretrain_encoders(_runs(settings, folder), together=together)]


def _other_noise(take: Take) -> Take:
    return lambda stack, drawn, noise, number: take(stack, drawn, noise.roll(1, 0), number)


def _other_loss(take: Take) -> Take:
    def faulty(stack: StackedModels, drawn: Tensor, noise: Tensor, number: Any) -> dict[str, Tensor]:
        terms = take(stack, drawn, noise, number)
        return {**terms, "loss": terms["loss"] * torch.tensor([1, 1, 1.01])}

    return faulty


def _left_behind(take: Take) -> Take:
    def faulty(stack: StackedModels, drawn: Tensor, noise: Tensor, number: Any) -> dict[str, Tensor]:
        terms = take(stack, drawn, noise, number)
        with torch.no_grad():
            next(iter(stack.optimiser.state.values()))["exp_avg"][1] = 0
        return terms

    return faulty


def _refused(take: Take) -> Take:
    def faulty(*_: Any) -> dict[str, Tensor]:
        raise RuntimeError("vmap: it looks like you're attempting to use something\nmore of it")

    return faulty


FAULTS: dict[str, tuple[Callable[[Take], Take], str]] = {
    "noise": (_other_noise, "the moments of .* of model 1 are off by|the loss of model 1 is"),
    "loss": (_other_loss, "the loss of model 3 is .* in the stack and .* alone"),
    "parameter": (_left_behind, "the moments of .* of model 2 are off by 1 of their norm"),
    "refused": (_refused, "RuntimeError: vmap: it looks like you're attempting to use something$"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_stack_that_is_not_its_models_is_trained_one_after_another(
    fault: str, small_study: PretrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = _trained(small_study, tmp_path / "alone", "sequential")
    spoil, message = FAULTS[fault]
    monkeypatch.setattr(ensemble, "PROVEN_ON", ("cpu",))
    monkeypatch.setattr(StackedModels, "take", spoil(StackedModels.take))
    with pytest.warns(UserWarning, match=f"one after another, not in one loop: ({message})"):
        assert _trained(small_study, tmp_path / "faulty", "vectorized") == expected


def test_a_stack_that_proves_itself_trains_as_without(
    small_study: PretrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = _trained(small_study, tmp_path / "unproven", "vectorized")
    monkeypatch.setattr(ensemble, "PROVEN_ON", ("cpu",))
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*not in one loop")
        assert _trained(small_study, tmp_path / "proven", "vectorized") == expected


def test_the_models_are_left_as_they_are(small_study: PretrainConfig, tmp_path: Path) -> None:
    trainers = [Trainer(config.resolve(), _data(config)) for config in _runs(small_study, tmp_path)]
    for steps in (0, 2):
        for trainer in trainers:
            for _ in range(steps):
                trainer.train_step()
        before = [{name: tensor.clone() for name, tensor in tensors_in(trainer.state())} for trainer in trainers]
        assert why_stack_differs(trainers) is None
        for trainer, state in zip(trainers, before, strict=True):
            found = dict(tensors_in(trainer.state()))
            assert found.keys() == state.keys()
            assert all(torch.equal(found[name], value) for name, value in state.items())
    trainers[0].train_step()
    assert why_stack_differs(trainers[:2]) is None  # at different steps: nothing to compare
    trainers[1].step = trainers[2].step = 6
    assert why_stack_differs(trainers[1:]) is None  # nothing left to train


def _data(config: PretrainConfig) -> Any:
    from sparse_repr.data import load_dataset

    return load_dataset(config.dataset, config.data_path)
