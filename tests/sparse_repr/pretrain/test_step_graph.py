"""Steps replayed on static tensors are the steps taken one by one: same bits, same schedules, same state."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from sparse_repr import PretrainConfig
from sparse_repr.data import FactorDataset
from sparse_repr.objectives import OBJECTIVES
from sparse_repr.pretrain.step_graph import StepGraph, resolve_step_graph
from sparse_repr.pretrain.together.distributed import check_distributed
from sparse_repr.pretrain.together.stacked import StackedModels
from sparse_repr.pretrain.trainer import Trainer
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


def _as_graph(config: PretrainConfig) -> PretrainConfig:
    """What `resolve` refuses on a CPU: there the replays are calls of the same function on the same static tensors."""
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
def test_replayed_steps_are_eager_steps(settings: dict[str, Any], dsprites: FactorDataset) -> None:
    config = dataclasses.replace(SMALL, **settings)
    eager = Trainer(dataclasses.replace(config, data_on_device="never").resolve(), dsprites)
    replayed = Trainer(_as_graph(config), dsprites)
    for step in range(20):
        expected, found = eager.train_step(), replayed.train_step()
        assert expected.keys() == found.keys()
        for name, term in expected.items():
            assert term.dtype == found[name].dtype, name
            assert torch.equal(term, found[name]), f"{name} at step {step}: {term} and {found[name]}"
    _assert_equal_states(eager, replayed)
    assert torch.equal(eager.generator.get_state(), replayed.generator.get_state())


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


class _Recorder:
    """Stands in for CUDA's streams and graphs: what is recorded is noted down, and can be refused."""

    device = CPU

    def __init__(self, monkeypatch: pytest.MonkeyPatch, refusal: str | None = None) -> None:
        self.refusal = refusal
        self.log: list[str] = []
        monkeypatch.setattr(torch.cuda, "current_stream", lambda device: self)
        monkeypatch.setattr(torch.cuda, "stream", lambda stream: contextlib.nullcontext())
        monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: self)
        monkeypatch.setattr(torch.cuda, "graph", self._record)

    def wait_stream(self, other: _Recorder) -> None:
        assert other is self

    def replay(self) -> None:
        self.log.append("replay")

    @contextlib.contextmanager
    def _record(self, graph: _Recorder, *, stream: _Recorder, capture_error_mode: str) -> Iterator[None]:
        assert graph is stream is self
        assert capture_error_mode == "thread_local"
        self.log.append("record")
        if self.refusal is not None:
            raise RuntimeError(self.refusal)
        yield


@pytest.mark.parametrize("refusal", [None, "operation not permitted when stream is capturing"])
def test_three_steps_are_taken_before_one_is_recorded(monkeypatch: pytest.MonkeyPatch, refusal: str | None) -> None:
    weight = torch.nn.Parameter(torch.ones(2))
    adam = torch.optim.Adam([weight], lr=0.1, fused=True)
    seen: list[tuple[bool, bool]] = []

    def step(values: torch.Tensor, number: torch.Tensor) -> dict[str, torch.Tensor]:
        group = adam.param_groups[0]
        seen.append((isinstance(group["lr"], torch.Tensor), group["capturable"]))
        recorder.log.append(f"call {int(number)}")
        return {"loss": values.sum()}

    graph = StepGraph(step, [adam], CPU)
    recorder = _Recorder(monkeypatch, refusal)
    graph._stream = recorder  # type: ignore[assignment]
    warned = pytest.warns(UserWarning, match="launched eagerly: operation not") if refusal else contextlib.nullcontext()
    with warned:
        terms = [graph(torch.full((2,), float(number)), step_number=number) for number in range(6)]
    assert recorder.log[:4] == ["call 0", "call 1", "call 2", "record"]
    if refusal:
        assert recorder.log[4:] == ["call 3", "call 4", "call 5"]
        assert float(terms[5]["loss"]) == 10
    else:
        assert recorder.log[4:] == ["call 3", "replay", "replay", "replay"]
        assert terms[3] is terms[5]
        assert seen[3] == (True, True)  # what a recording of Adam needs
        assert torch.equal(graph._inputs[0], torch.full((2,), 5.0))
    assert seen[:3] == [(True, False)] * 3
    assert (adam.param_groups[0]["lr"], adam.param_groups[0]["capturable"]) == (0.1, False)


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


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("settings", SETTINGS, ids=lambda settings: "-".join(map(str, settings.values())))
def test_recorded_steps_are_eager_steps(settings: dict[str, Any], dsprites: FactorDataset) -> None:
    config = dataclasses.replace(SMALL, device="cuda", data_on_device="always", **settings)
    eager = Trainer(dataclasses.replace(config, step_graph="none").resolve(), dsprites)
    recorded = Trainer(dataclasses.replace(config, step_graph="cuda_graph").resolve(), dsprites)
    for step in range(20):
        expected, found = eager.train_step(), recorded.train_step()
        torch.testing.assert_close(found["loss"], expected["loss"], rtol=1e-4, atol=1e-4, msg=f"step {step}")
    assert torch.equal(eager.generator.get_state(), recorded.generator.get_state())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_stacked_models_are_recorded_too(dsprites: FactorDataset) -> None:
    settings = {"device": "cuda", "objective": "sparse", "sparsity_warmup": 10}
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
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
