"""Steps replayed on static tensors are the steps taken one by one: same bits, same schedules, same state."""

from __future__ import annotations

import dataclasses
import functools
import subprocess
import sys
from typing import Any

import pytest
import torch

from sparse_repr import PretrainConfig
from sparse_repr.data import FactorDataset
from sparse_repr.objectives import OBJECTIVES
from sparse_repr.pretrain import step_graph
from sparse_repr.pretrain.step_graph import StepGraph, resolve_step_graph
from sparse_repr.pretrain.together.distributed import check_distributed
from sparse_repr.pretrain.together.stacked import StackedModels
from sparse_repr.pretrain.trainer import Trainer
from tests.sparse_repr.pretrain.emulated_device import EmulatedDevice
from tests.sparse_repr.pretrain.together.test_stacked import SMALL

CPU, CARD = torch.device("cpu"), torch.device("cuda")
# every objective, those with schedules on a schedule that ends within the test (but one)
SETTINGS: list[dict[str, Any]] = [
    *(
        {"objective": name}
        for name, choice in OBJECTIVES.items()
        if name not in ("sparse", "beta_vae_capacity", "vae") and "targets" not in choice.needs
    ),
    {"objective": "vae", "data_on_device": "always"},
    {"objective": "sparse", "sparsity_warmup": 10},
    {"objective": "sparse", "sparsity_target": "weights", "sparsity_warmup": 30, "sparsity_proximal": True},
    {"objective": "beta_vae_capacity", "capacity_steps": 10},
    # between two replays the units and the state of Adam are changed
    {"objective": "vae", "opening_step": 8, "opening_steps": 3},
    {
        "objective": "sparse",
        "learning_rate_warmup": 4,
        "learning_rate_decay": "cosine",
        "learning_rate_decay_steps": 15,
        "first_batch_size": 2,
        "batch_growth_steps": 6,
        "weight_averaging": 0.9,
    },
]


@pytest.fixture(autouse=True)
def device(monkeypatch: pytest.MonkeyPatch) -> EmulatedDevice:
    """What the CPU's steps are recorded by: what is replayed are their operations, on the same memory."""
    emulated = EmulatedDevice()
    usual = step_graph.recorder_for
    monkeypatch.setattr(step_graph, "recorder_for", lambda place: emulated if place.type == "cpu" else usual(place))
    return emulated


def _as_graph(config: PretrainConfig) -> PretrainConfig:
    """What `resolve` refuses on a CPU."""
    return dataclasses.replace(config.resolve(), step_graph="cuda_graph")


def _assert_equal_states(first: Trainer, second: Trainer) -> None:
    expected, found = _tensors(first.objective.state_dict()), _tensors(second.objective.state_dict())
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        assert type(value) is type(found[name]), name
        if isinstance(value, torch.Tensor):
            assert torch.equal(value, found[name]), name
        else:
            assert value == found[name], name


def _tensors(state: Any, name: str = "") -> dict[str, Any]:
    items = state.items() if isinstance(state, dict) else enumerate(state) if isinstance(state, list) else None
    if items is None:
        return {name: state}
    parts: dict[str, Any] = {}
    for key, value in items:
        parts |= _tensors(value, f"{name}.{key}")
    return parts


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda settings: "-".join(map(str, settings.values())))
def test_replayed_steps_are_eager_steps(
    settings: dict[str, Any], dsprites: FactorDataset, device: EmulatedDevice
) -> None:
    config = dataclasses.replace(SMALL, **settings)
    eager = Trainer(dataclasses.replace(config, data_on_device="never").resolve(), dsprites)
    replayed = Trainer(_as_graph(config), dsprites)
    for step in range(12):
        expected, found = eager.train_step(), replayed.train_step()
        assert expected.keys() == found.keys()
        for name, term in expected.items():
            assert term.dtype == found[name].dtype, name
            assert torch.equal(term, found[name]), f"{name} at step {step}: {term} and {found[name]}"
    _assert_equal_states(eager, replayed)
    assert torch.equal(eager.generator.get_state(), replayed.generator.get_state())
    assert device.recorded == 1 + ("batch_growth_steps" in settings)


def test_a_run_goes_on_through_replays_and_without(dsprites: FactorDataset) -> None:
    config = dataclasses.replace(SMALL, objective="sparse", sparsity_warmup=15)
    whole, first = Trainer(config.resolve(), dsprites), Trainer(_as_graph(config), dsprites)
    for _ in range(12):
        whole.train_step()
    trainer = first
    for way in ("cuda_graph", "none"):
        for _ in range(4):
            trainer.train_step()
        state = {"step": trainer.step, "objective": trainer.objective.state_dict()}
        state["generator"] = trainer.generator.get_state()
        trainer = Trainer(dataclasses.replace(config.resolve(), step_graph=way), dsprites)
        trainer.load_state(state)
    for _ in range(4):
        trainer.train_step()
    assert trainer.step == whole.step == 12
    _assert_equal_states(whole, trainer)


def test_a_learning_rate_that_changes_is_that_of_the_replay(dsprites: FactorDataset) -> None:
    config = dataclasses.replace(SMALL, objective="vae")
    trainers = [Trainer(config.resolve(), dsprites), Trainer(_as_graph(config), dsprites)]
    for trainer in trainers:
        for step in range(6):
            for group in trainer.objective.optimisers[0].param_groups:
                group["lr"] = 1e-3 / (1 + step)
            trainer.train_step()
            assert trainer.objective.optimisers[0].param_groups[0]["lr"] == 1e-3 / (1 + step)  # a number as before
    _assert_equal_states(*trainers)
    still = {name: value.clone() for name, value in trainers[1].objective.vae.state_dict().items()}
    trainers[1].objective.optimisers[0].param_groups[0]["lr"] = 0.0
    trainers[1].train_step()
    assert all(torch.equal(value, still[name]) for name, value in trainers[1].objective.vae.state_dict().items())


@pytest.mark.parametrize("place", ["never", "always"])
def test_stacked_models_are_replayed_too(dsprites: FactorDataset, place: str) -> None:
    configs = [
        dataclasses.replace(SMALL, objective="sparse", sparsity_warmup=4, sparsity_weight=weight, seed=seed)
        for seed, weight in enumerate((0.5, 4.0))
    ]
    eager = StackedModels([Trainer(config.resolve(), dsprites) for config in configs])
    at_place = [dataclasses.replace(config, data_on_device=place) for config in configs]
    replayed = StackedModels([Trainer(_as_graph(config), dsprites) for config in at_place])
    for _ in range(6):
        expected, found = eager.train_step(), replayed.train_step()
        for name, term in expected.items():
            torch.testing.assert_close(found[name], term, rtol=1e-5, atol=1e-6)
    eager.write_back()
    replayed.write_back()
    for one, other in zip(eager.trainers, replayed.trainers, strict=True):
        assert one.step == other.step == 6
        torch.testing.assert_close(
            other.objective.vae.state_dict(), one.objective.vae.state_dict(), rtol=1e-3, atol=1e-5
        )


def test_three_steps_are_taken_before_one_is_recorded(device: EmulatedDevice) -> None:
    weight = torch.nn.Parameter(torch.ones(2))
    adam = torch.optim.Adam([weight], lr=0.1, fused=True)
    seen: list[tuple[bool, bool]] = []

    def step(values: torch.Tensor, _: torch.Tensor) -> dict[str, torch.Tensor]:
        group = adam.param_groups[0]
        seen.append((isinstance(group["lr"], torch.Tensor), group["capturable"]))
        return {"loss": (values * weight.detach()).sum()}

    graph = StepGraph(step, [adam], CPU, state=lambda: {"weight": weight})
    for number in range(6):
        assert float(graph(torch.full((2,), float(number)), step_number=number)["loss"]) == 2 * number
        # the fourth step is preceded by the proof: four steps, twice, and the recording
        assert (device.taken, device.recorded, len(seen)) == (
            (number + 1, 0, number + 1) if number < 3 else (11, 1, 12)
        )
    assert seen == [(True, False)] * 11 + [(True, True)]  # what a recording of Adam needs
    assert (adam.param_groups[0]["lr"], adam.param_groups[0]["capturable"]) == (0.1, False)


def test_a_device_that_records_nothing_reads_the_same_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_graph, "recorder_for", lambda _: None)
    read: list[int] = []

    def step(values: torch.Tensor, _: torch.Tensor) -> dict[str, torch.Tensor]:
        read.append(values.data_ptr())
        return {"loss": values.sum()}

    graph = StepGraph(step, [], CPU, state=dict)
    for number in range(6):
        assert float(graph(torch.full((2,), float(number)), step_number=number)["loss"]) == 2 * number
    assert len(set(read)) == 1


def test_a_compiled_step_trains_alike(dsprites: FactorDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    # what is traced is tested here, not the C++ that would be made of it, which takes half a minute
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))
    config = dataclasses.replace(SMALL, objective="sparse", sparsity_warmup=10, step_graph="compile").resolve()
    assert config.step_graph == "compile"
    eager = Trainer(dataclasses.replace(config, step_graph="none"), dsprites)
    compiled = Trainer(config, dsprites)
    traced = []
    for _ in range(5):
        torch.testing.assert_close(compiled.train_step()["loss"], eager.train_step()["loss"], rtol=1e-5, atol=0)
        traced.append(torch._dynamo.utils.counters["stats"]["unique_graphs"])
    assert 0 < traced[2] == traced[4]  # a step number baked into a graph would have it traced again at every step


def test_the_way_is_chosen_by_device_and_run() -> None:
    assert SMALL.resolve().step_graph == "none"
    assert resolve_step_graph("auto", CARD, None) == "cuda_graph"
    assert resolve_step_graph("compile", CARD, None) == resolve_step_graph("compile", CPU, None) == "compile"
    assert resolve_step_graph("none", CARD, "whatever") == resolve_step_graph("auto", CPU, "whatever") == "none"
    with pytest.warns(UserWarning, match="kernel by kernel, not as a CUDA graph: a perceptual loss"):
        assert resolve_step_graph("auto", CARD, "a perceptual loss") == "none"
    with pytest.raises(ValueError, match="'cuda_graph' needs a CUDA device, got cpu: nothing else records"):
        dataclasses.replace(SMALL, step_graph="cuda_graph").resolve()
    with pytest.raises(ValueError, match="'compile' cannot launch the steps of this run: a perceptual loss computes"):
        dataclasses.replace(SMALL, step_graph="compile", perceptual_weight=1.0, perceptual_features="dae").resolve()
    with pytest.raises(ValueError, match="unknown step_graph 'cudagraph'. Did you mean 'cuda_graph'"):
        PretrainConfig(step_graph="cudagraph")
    with pytest.raises(ValueError, match="step_graph 'compile' cannot be shared by several processes"):
        check_distributed(PretrainConfig(step_graph="compile"), 2)


@pytest.mark.gpu
@pytest.mark.parametrize("settings", SETTINGS, ids=lambda settings: "-".join(map(str, settings.values())))
def test_recorded_steps_are_eager_steps(settings: dict[str, Any], dsprites: FactorDataset) -> None:
    config = dataclasses.replace(SMALL, device="cuda", data_on_device="always", **settings)
    eager = Trainer(dataclasses.replace(config, step_graph="none").resolve(), dsprites)
    recorded = Trainer(config.resolve(), dsprites)
    for step in range(20):  # a warning, such as that of a recording that is not used, would be an error
        expected, found = eager.train_step(), recorded.train_step()
        torch.testing.assert_close(found["loss"], expected["loss"], rtol=1e-3, atol=1e-3, msg=f"step {step}")
    assert torch.equal(eager.generator.get_state(), recorded.generator.get_state())
    assert recorded._graph is not None
    assert recorded._graph._recording is not None


@pytest.mark.gpu
@pytest.mark.parametrize("place", ["always", "never"])
def test_stacked_models_are_recorded_too(dsprites: FactorDataset, place: str) -> None:
    settings = {"device": "cuda", "objective": "sparse", "sparsity_warmup": 10, "data_on_device": place}
    eager, recorded = (
        StackedModels(
            [
                Trainer(dataclasses.replace(SMALL, seed=seed, step_graph=way, **settings).resolve(), dsprites)  # type: ignore[arg-type]
                for seed in (0, 1)
            ]
        )
        for way in ("none", "cuda_graph")
    )
    for _ in range(10):
        expected, found = eager.train_step()["loss"], recorded.train_step()["loss"]
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
    for models in (eager, recorded):
        for trainer in models.trainers:
            trainer.batches.close()
    assert recorded._graph is not None
    assert recorded._graph._recording is not None


@pytest.mark.gpu
def test_a_step_that_waits_is_refused_and_the_process_goes_on() -> None:
    code = """
import dataclasses, warnings
import torch
from sparse_repr import PretrainConfig
from sparse_repr.data import load_dataset
from sparse_repr.pretrain.trainer import Trainer

config = PretrainConfig(dataset="dsprites", objective="vae", device="cuda", batch_size=8, run_dir="unused").resolve()
trainer = Trainer(config, load_dataset("dsprites"))
step = trainer.objective.step

def waiting(*arguments):
    terms = step(*arguments)
    assert float(terms["loss"]) > 0
    return terms

trainer.objective.step = waiting
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    losses = [float(trainer.train_step()["loss"]) for _ in range(10)]
assert len(told) == 1 and "kernel by kernel" in str(told[0].message), told
assert losses[-1] < losses[0]
torch.rand(2, device="cuda")  # the generator is no longer recorded
other = Trainer(dataclasses.replace(config, seed=1), load_dataset("dsprites"))
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    [other.train_step() for _ in range(10)]
torch.cuda.synchronize()
print(told[0].message)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "has failed in this process before" in result.stdout
