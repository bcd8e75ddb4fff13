"""A recording is used only where it takes the steps that it stands for, and what is wrong with it changes no run."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from sparse_repr.data import FactorDataset
from sparse_repr.pretrain import step_graph, step_recording
from sparse_repr.pretrain.config import PretrainConfig
from sparse_repr.pretrain.step_graph import StepGraph
from sparse_repr.pretrain.step_proof import tensors_in
from sparse_repr.pretrain.step_recording import CudaRecorder, Recording, Terms, first_words
from sparse_repr.pretrain.together.stacked import StackedModels
from sparse_repr.pretrain.trainer import Trainer
from tests.sparse_repr.pretrain.emulated_device import EmulatedDevice
from tests.sparse_repr.pretrain.together.test_stacked import SMALL

CPU = torch.device("cpu")
STEPS = 8
Spoil = Callable[[int, Terms, Callable[[], Terms]], Terms]


class FaultyDevice(EmulatedDevice):
    """What a replay does is up to `spoil`: (its number from 0, the terms of the last one, the replay) -> terms."""

    def __init__(self, spoil: Spoil | None = None, refusal: Exception | None = None) -> None:
        super().__init__()
        self._spoil, self._refusal = spoil, refusal
        self.replays = 0

    def record(self, step: Callable[[], Terms]) -> Recording:
        if self._refusal is not None:
            self.recorded += 1
            raise self._refusal
        return _Spoiled(self, super().record(step))


class _Spoiled:
    def __init__(self, device: FaultyDevice, recording: Recording) -> None:
        self._device, self._recording = device, recording
        self._last: Terms = {}

    def replay(self) -> Terms:
        number, self._device.replays = self._device.replays, self._device.replays + 1
        spoil = self._device._spoil
        found = self._recording.replay() if spoil is None else spoil(number, self._last, self._recording.replay)
        self._last = {name: term.clone() for name, term in found.items()}
        return found


@pytest.fixture
def on_device(monkeypatch: pytest.MonkeyPatch) -> Callable[[EmulatedDevice], None]:
    """Put a device in the place of the CPU."""
    return lambda device: monkeypatch.setattr(step_graph, "recorder_for", lambda _: device)


def _config(**settings: Any) -> PretrainConfig:
    return dataclasses.replace(SMALL, objective="sparse", sparsity_warmup=10, **settings).resolve()


def _recorded(config: PretrainConfig) -> PretrainConfig:
    """What `resolve` refuses on a CPU."""
    return dataclasses.replace(config, step_graph="cuda_graph")


def _everything(trainer: Trainer) -> dict[str, Tensor]:
    return {
        **{name: tensor.clone() for name, tensor in tensors_in(trainer.state())},
        "global": torch.get_rng_state(),
    }


def _run(trainer: Trainer) -> Iterator[dict[str, Tensor]]:
    torch.manual_seed(5)
    for _ in range(STEPS):
        yield {name: term.clone() for name, term in trainer.train_step().items()}


def _assert_equal(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(value, found[name]), name


def _parameters(trainer: Trainer) -> list[Tensor]:
    return list(trainer.objective.vae.parameters())


def _late(number: int, _: Terms, replay: Callable[[], Terms]) -> Terms:
    if number == 2:
        raise RuntimeError("an illegal memory access was encountered")
    return replay()


def _wrong_loss(number: int, _: Terms, replay: Callable[[], Terms]) -> Terms:
    terms = replay()
    return {**terms, "loss": terms["loss"] * (1.01 if number == 3 else 1.0)}


def _stale_terms(number: int, last: Terms, replay: Callable[[], Terms]) -> Terms:
    terms = replay()
    return last if number else terms


def _no_loss(number: int, _: Terms, replay: Callable[[], Terms]) -> Terms:
    return {**replay(), "loss": torch.tensor(torch.nan if number == 1 else 3000.0)}


def _draws(_: int, __: Terms, replay: Callable[[], Terms]) -> Terms:
    torch.rand(1)
    return replay()


FAULTS: dict[str, tuple[Spoil | Exception, str]] = {
    "it cannot be recorded": (RuntimeError("operation not permitted when stream is capturing"), "not permitted"),
    "Python refuses": (TypeError("got an unexpected keyword argument"), "TypeError: got an unexpected"),
    "a replay fails": (_late, "an illegal memory access"),
    "a loss is wrong": (_wrong_loss, "the loss of recorded step 4 is .*, that of the step itself"),
    "losses are stale": (_stale_terms, "the loss of recorded step 2"),
    "a loss is NaN": (_no_loss, "the loss of recorded step 1 is"),
    "random numbers are drawn": (_draws, "another state of the random numbers"),
    "nothing is replayed": (lambda _, last, __: last or {"loss": torch.zeros(())}, "the loss of recorded step 1"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_whatever_is_wrong_is_told_once_and_the_run_is_that_without(
    fault: str, dsprites: FactorDataset, on_device: Callable[[EmulatedDevice], None]
) -> None:
    spoil, message = FAULTS[fault]
    device = FaultyDevice(refusal=spoil) if isinstance(spoil, Exception) else FaultyDevice(spoil)
    config = _config()
    eager = Trainer(config, dsprites)
    expected = [*_run(eager)]
    state = _everything(eager)
    on_device(device)
    trainer = Trainer(_recorded(config), dsprites)
    with pytest.warns(
        UserWarning, match=f"kernel by kernel, the CUDA graph of the step is not used: .*{message}"
    ) as told:
        found = [*_run(trainer)]
    assert len(told) == 1
    for one, other in zip(found, expected, strict=True):
        _assert_equal(one, other)
    _assert_equal(_everything(trainer), state)
    assert device.recorded == 1
    assert device.replays <= 4  # those of the proof
    groups = trainer.objective.optimisers[0].param_groups
    assert (type(groups[0]["lr"]), groups[0]["capturable"]) == (float, False)


@pytest.mark.parametrize("change", ["left", "moved", "not a number"])
def test_a_parameter_that_replays_do_not_move_as_the_step_does_is_named(
    change: str, dsprites: FactorDataset, on_device: Callable[[EmulatedDevice], None]
) -> None:
    config = _config()
    eager = Trainer(config, dsprites)
    expected = [*_run(eager)]
    state = _everything(eager)
    trainer = Trainer(_recorded(config), dsprites)
    name, parameter = [*trainer.objective.vae.named_parameters()][3]

    def spoil(_: int, __: Terms, replay: Callable[[], Terms]) -> Terms:
        before = parameter.detach().clone()
        terms = replay()
        with torch.no_grad():
            if change == "left":
                parameter.copy_(before)
            elif change == "moved":
                parameter.add_(1e-3 * torch.ones_like(parameter))
            else:
                parameter.view(-1)[0] = torch.nan
        return terms

    on_device(FaultyDevice(spoil))
    with pytest.warns(UserWarning, match=f"(make of vae.{name} is off by|the loss of recorded step)"):
        found = [*_run(trainer)]
    for one, other in zip(found, expected, strict=True):
        _assert_equal(one, other)
    _assert_equal(_everything(trainer), state)


@pytest.mark.parametrize("place", [0, 1], ids=["images", "noise"])
def test_replays_of_old_batches_are_found_out(
    place: int, dsprites: FactorDataset, on_device: Callable[[EmulatedDevice], None]
) -> None:
    trainer = Trainer(_recorded(_config()), dsprites)
    first: list[Tensor] = []

    def spoil(_: int, __: Terms, replay: Callable[[], Terms]) -> Terms:
        assert trainer._graph is not None
        read = trainer._graph._inputs[place]
        first.append(read.clone())
        read.copy_(first[0])
        return replay()

    on_device(FaultyDevice(spoil))
    with pytest.warns(UserWarning, match="the loss of recorded step 2|what recorded steps make of"):
        list(_run(trainer))


def test_rounding_is_no_fault(dsprites: FactorDataset, on_device: Callable[[EmulatedDevice], None]) -> None:
    trainer = Trainer(_recorded(_config()), dsprites)
    random = torch.Generator().manual_seed(0)

    def spoil(_: int, __: Terms, replay: Callable[[], Terms]) -> Terms:
        terms = replay()
        with torch.no_grad():
            for parameter in _parameters(trainer):
                # as if one number in ten thousand had gone the other way, and all were rounded
                flipped = torch.rand(parameter.shape, generator=random) < 1e-4
                parameter.add_(1e-3 * (2 * flipped + 1e-3 * torch.randn(parameter.shape, generator=random)))
        return {name: term * (1 + 1e-5) for name, term in terms.items()}

    device = FaultyDevice(spoil)
    on_device(device)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        list(_run(trainer))
    assert device.replays == 4 + STEPS - 3


def test_a_proven_run_is_the_run_without_a_proof(
    dsprites: FactorDataset, on_device: Callable[[EmulatedDevice], None]
) -> None:
    config = _config(weight_averaging=0.9, first_batch_size=2, batch_growth_steps=6)
    eager = Trainer(config, dsprites)
    expected = [*_run(eager)]
    state = _everything(eager)
    device = FaultyDevice()
    on_device(device)
    trainer = Trainer(_recorded(config), dsprites)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for one, other in zip(_run(trainer), expected, strict=True):
            _assert_equal(one, other)
    _assert_equal(_everything(trainer), state)
    assert device.recorded == 1  # of the batch size that is reached: the first lasts for fewer steps than the warm-up
    assert device.replays > 4


def test_what_a_step_needs_of_the_host_is_refused_by_the_recording(
    dsprites: FactorDataset, on_device: Callable[[EmulatedDevice], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = _config()
    on_device(EmulatedDevice())
    trainer = Trainer(_recorded(config), dsprites)
    step = trainer.objective.step

    def waiting(*arguments: Any) -> Terms:
        terms = step(*arguments)
        assert float(terms["loss"]) > 0
        return terms

    monkeypatch.setattr(trainer.objective, "step", waiting)
    with pytest.warns(UserWarning, match="operation not permitted when stream is capturing"):
        list(_run(trainer))


def _small_step(stale: str) -> StepGraph:
    """A step whose rate or number is, when it is recorded, the number that it then was."""
    weight = torch.nn.Parameter(torch.linspace(-1, 1, 20))
    adam = torch.optim.Adam([weight], lr=0.1, fused=True)

    def step(values: Tensor, number: Tensor) -> Terms:
        if stale == "step number" and not device.free:
            number = torch.full((), 3.0, dtype=torch.float64)
        loss = ((weight - values).square() * (1 + number / 5).clamp(max=2).float()).sum()
        adam.zero_grad()
        loss.backward()
        if stale == "learning rate" and not device.free:
            adam.param_groups[0]["lr"] = torch.full((), 0.1, dtype=torch.float64)
        adam.step()
        return {"loss": loss.detach()}

    class Device(EmulatedDevice):
        free = True

        def record(self, step: Callable[[], Terms]) -> Recording:
            self.free = False
            try:
                return super().record(step)
            finally:
                self.free = True

    device = Device()
    state = {"weight": weight}
    return StepGraph(step, [adam], CPU, state=lambda: {**state, "adam": adam.state_dict()}, recorder=device)


@pytest.mark.parametrize("stale", ["none", "learning rate", "step number"])
def test_what_was_a_number_when_it_was_recorded_is_found_out(stale: str) -> None:
    graph = _small_step(stale)
    batches = torch.randn(6, 20, generator=torch.Generator().manual_seed(0))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for number, values in enumerate(batches):
            graph(values, step_number=number)
    assert len(told) == (stale != "none")
    assert (graph._recording is None) == (stale != "none")


@pytest.mark.parametrize("spoil", [None, _wrong_loss, _late], ids=["sound", "wrong loss", "fails"])
def test_stacked_models_prove_their_recording_too(
    spoil: Spoil | None, dsprites: FactorDataset, on_device: Callable[[EmulatedDevice], None]
) -> None:
    configs = [_config(seed=seed, sparsity_weight=weight) for seed, weight in enumerate((0.5, 4.0))]
    eager = StackedModels([Trainer(config, dsprites) for config in configs])
    expected = [{name: term.clone() for name, term in eager.train_step().items()} for _ in range(STEPS)]
    device = FaultyDevice(spoil)
    on_device(device)
    recorded = StackedModels([Trainer(_recorded(config), dsprites) for config in configs])
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for terms in expected:
            _assert_equal(recorded.train_step(), terms)
    assert [str(one.message)[:34] for one in told] == ["steps are launched kernel by kernel"[:34]] * (spoil is not None)
    eager.write_back()
    recorded.write_back()
    for one, other in zip(recorded.trainers, eager.trainers, strict=True):
        _assert_equal(_everything(one), _everything(other))
    assert (device.replays > 4) == (spoil is None)


class _Cuda:
    """As much of `torch.cuda` as a recording needs: the current stream, and a generator that a capture holds."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, refusal: str | None) -> None:
        self.current = "default"
        self.captured: object = None
        self._refusal = refusal
        outer = self

        class Within:
            def __init__(self, stream: str) -> None:
                self.stream = stream

            def __enter__(self) -> None:
                self.before, outer.current = outer.current, self.stream

            def __exit__(self, *_: object) -> None:
                outer.current = self.before

        class Graph(Within):
            def __init__(self, graph: object, *, stream: str, capture_error_mode: str) -> None:
                super().__init__(stream)
                assert capture_error_mode == "thread_local"

            def __exit__(self, *_: object) -> None:
                if outer._refusal is not None:  # as torch does: before it goes back to the stream of before
                    raise RuntimeError("CUDA error: operation failed due to a previous error during capture")
                super().__exit__()

        class Generator:
            def __init__(self, _: torch.device) -> None:
                self.state: object = None

            def set_state(self, state: object) -> None:
                self.state = state

            def graphsafe_get_state(self) -> object:
                return self.state

            def graphsafe_set_state(self, state: object) -> None:
                outer.captured = ("released", state)

        for name, value in {
            "Stream": lambda _: "side",
            "CUDAGraph": object,
            "graph": Graph,
            "stream": Within,
            "device": lambda _: Within(self.current),
            "current_stream": lambda _: self.current,
            "current_device": lambda: 0,
            "get_rng_state": lambda _: "state",
            "default_generators": [Generator(CPU)],
        }.items():
            monkeypatch.setattr(torch.cuda, name, value)
        monkeypatch.setattr(torch, "Generator", Generator)
        monkeypatch.setattr(CudaRecorder, "failure", None)


def test_a_recording_that_fails_leaves_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = _Cuda(monkeypatch, "refused")
    recorder = CudaRecorder(torch.device("cuda"))

    def step() -> Terms:
        assert cuda.current == "side"
        raise RuntimeError("CUDA error: operation not permitted when stream is capturing\nfor debugging consider")

    with pytest.raises(RuntimeError, match="due to a previous error") as caught:
        recorder.record(step)
    assert first_words(caught.value) == "RuntimeError: CUDA error: operation not permitted when stream is capturing"
    assert cuda.current == "default"
    assert cuda.captured == ("released", "state")
    # torch without pytorch/pytorch#180395 would end the process at the next one
    with pytest.raises(RuntimeError, match="has failed in this process before .*not permitted when stream"):
        CudaRecorder(torch.device("cuda")).record(lambda: {})


def test_a_recording_is_made_on_the_side_and_replays_return_its_terms(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = _Cuda(monkeypatch, None)
    recorder = CudaRecorder(torch.device("cuda"))
    terms = {"loss": torch.zeros(())}

    def step() -> Terms:
        assert cuda.current == "side"
        return terms

    recording = recorder.record(step)
    assert cuda.current == "default"
    assert cuda.captured is None
    assert isinstance(recording, step_recording._CudaRecording)
    replayed: list[str] = []
    monkeypatch.setattr(recording, "_graph", type("Graph", (), {"replay": lambda _: replayed.append(cuda.current)})())
    assert recording.replay() is terms
    assert replayed == ["default"]
