"""A whole training step as one launch: forward, backward and optimiser recorded once and replayed.

So small a network takes a GPU's host longer to launch, kernel by kernel, than it takes the GPU to compute. A CUDA graph
launches all of a step at once. It repeats what was recorded on the same memory, so that everything which changes from
step to step (the batch, the noise, the step number, the learning rates) lies in tensors that keep their place.

No recording is used before it has proven itself, see `step_proof`: where it differs from the step, or cannot be made, a
warning says why, and steps are launched kernel by kernel. What a graph gains was not measured: no GPU has run one yet.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from sparse_repr.pretrain.step_proof import KeptState, prove
from sparse_repr.pretrain.step_recording import Recorder, Recording, Terms, first_words, recorder_for

STEP_GRAPHS = ("auto", "none", "cuda_graph", "compile")
"""How a step is launched: see `resolve_step_graph`."""

# Steps before the recording: libraries choose their kernels and Adam makes its state, which cannot be recorded.
_WARM_UP = 3
# The steps of the proof, from the state after those: on their batches and the present one, with shares of the learning
# rate and steps ahead of the present one that would show if either were part of the recording. The third is beyond the
# end of every schedule.
_REHEARSED = ((1.0, 0), (0.5, 1), (0.75, 1_000_000), (1.0, 2))


class StepGraph:
    """The steps of one training run as replays of one recording.

    The first steps are taken as they come, on a stream of their own; they are steps like the others, not a rehearsal.
    Then the recording is made and proven, from a copy of the state, to which everything is put back: the run takes the
    steps that it would take without. Where a device records nothing, every step is taken as it comes, on the same
    tensors as replays would read.
    """

    def __init__(
        self,
        step: Callable[..., Terms],
        optimisers: Sequence[torch.optim.Optimizer],
        device: torch.device,
        *,
        state: Callable[[], Mapping[str, Any]],
        generators: Sequence[torch.Generator] = (),
        compiled: bool = False,
        recorder: Recorder | None = None,
    ) -> None:
        """Launch `step`.

        Args:
            step: ``step(*inputs, step_number)``, with a float64 scalar as the number, takes one step of `optimisers`
                and returns terms, "loss" among them; it must depend on nothing else that changes.
            optimisers: all that the step moves. The learning rate of a step is what its groups hold as ``lr`` by then.
            device: where the inputs and the parameters are.
            state: all that a step changes: nested mappings and sequences of the very tensors, as state dicts are.
            generators: those of the run, which a step has to leave alone.
            compiled: compile the function (`torch.compile`) instead of recording what it launches.
            recorder: records on `device`; by default what there is for it.
        """
        self._optimisers = tuple(optimisers)
        self._step: Callable[..., Terms] = torch.compile(step, dynamic=False) if compiled else step
        self._state = state
        self._generators = tuple(generators)
        self._inputs: tuple[Tensor, ...] = ()
        self._step_number = torch.zeros((), dtype=torch.float64, device=device)
        # a GPU's fused Adam reads a float32 from memory; a CPU's reads a number of any precision from the tensor
        precision = torch.float32 if device.type == "cuda" else torch.float64
        self._rates = [
            torch.zeros((), dtype=precision, device=device) for optimiser in optimisers for _ in optimiser.param_groups
        ]
        self._recorder = None if compiled else recorder or recorder_for(device)
        self._recording: Recording | None = None
        self._seen: list[tuple[Tensor, ...]] = []

    def __call__(self, *inputs: Tensor, step_number: int) -> Terms:
        """Take the step.

        Args:
            inputs: tensors; after a change of their shapes the step is recorded anew.
            step_number: steps taken before this one.

        Returns:
            The terms; the next call may overwrite them.

        Warns:
            UserWarning: the step cannot be recorded, or its recording is another step; this and all further steps are
                launched kernel by kernel.
        """
        if [value.shape for value in self._inputs] != [value.shape for value in inputs]:
            self._inputs = tuple(torch.empty_like(value) for value in inputs)
            self._recording, self._seen = None, []
        self._put(inputs, step_number)
        if self._recorder is None:
            return self._call()
        if self._recording is None and len(self._seen) < _WARM_UP:
            self._seen.append(tuple(value.clone() for value in inputs))
            return self._recorder.beside(self._call)
        if self._recording is None:
            self._recording = self._proven_recording(self._recorder, inputs, step_number)
            self._seen = []
        return self._call() if self._recording is None else self._recording.replay()

    def _put(self, inputs: Sequence[Tensor], step_number: int, share: float = 1.0) -> None:
        """Lay what a step reads where the recording finds it, the learning rates multiplied by `share`."""
        for kept, value in zip(self._inputs, inputs, strict=True):
            kept.copy_(value, non_blocking=True)
        self._step_number.fill_(step_number)
        for rate, group in zip(self._rates, self._groups(), strict=True):
            rate.fill_(share * group["lr"])

    def _groups(self) -> list[dict[str, Any]]:
        return [group for optimiser in self._optimisers for group in optimiser.param_groups]

    def _call(self) -> Terms:
        with self._rates_in_tensors():
            return self._step(*self._inputs, self._step_number)

    def _proven_recording(self, recorder: Recorder, inputs: tuple[Tensor, ...], step_number: int) -> Recording | None:
        """A recording that takes the steps that the step takes; None, with a warning, where there is none.

        The state and what the present step reads are left as they are found.
        """
        batches = [*self._seen, inputs]

        def losses_of(take: Callable[[], Terms]) -> list[Tensor]:
            losses = []
            for batch, (share, ahead) in zip(batches, _REHEARSED, strict=True):
                self._put(batch, step_number + ahead, share)
                losses.append(take()["loss"].clone())
            return losses

        recordings: list[Recording] = []

        def replayed() -> list[Tensor]:
            recordings.append(self._record(recorder))
            return losses_of(recordings[0].replay)

        try:
            state = KeptState(self._state(), recorder, self._generators)
            prove(lambda: losses_of(lambda: recorder.beside(self._call)), replayed, state)
        except Exception as error:  # whatever it is, training goes on without a recording
            self._recorder = None
            recordings.clear()
            self._drop_gradients()  # they may lie in the memory of the recording
            warnings.warn(
                f"steps are launched kernel by kernel, the CUDA graph of the step is not used: {first_words(error)}",
                stacklevel=2,
            )
        self._put(inputs, step_number)
        return recordings[0] if recordings else None

    def _record(self, recorder: Recorder) -> Recording:
        """Record the step without taking it."""
        self._drop_gradients()  # so that the recording has its own memory for them
        with self._rates_in_tensors(capturable=True):
            return recorder.record(lambda: self._step(*self._inputs, self._step_number))

    def _drop_gradients(self) -> None:
        for optimiser in self._optimisers:
            optimiser.zero_grad(set_to_none=True)

    @contextlib.contextmanager
    def _rates_in_tensors(self, *, capturable: bool = False) -> Iterator[None]:
        """Let the optimisers read their learning rates from memory inside the block.

        Outside of it the groups hold plain numbers, for whoever changes or saves them.
        """
        groups = self._groups()
        before = [(group["lr"], group["capturable"]) for group in groups]
        for rate, group in zip(self._rates, groups, strict=True):
            group.update(lr=rate, capturable=capturable)
        try:
            yield
        finally:
            for (rate_before, capturable_before), group in zip(before, groups, strict=True):
                group.update(lr=rate_before, capturable=capturable_before)


def resolve_step_graph(name: str, device: torch.device, obstacle: str | None) -> str:
    """``"none"``, ``"cuda_graph"`` or ``"compile"``; ``"auto"`` takes a CUDA graph where there can be one.

    Args:
        name: what was asked for.
        device: where the run computes.
        obstacle: why its step cannot be launched as one, where it cannot; ``"auto"`` warns of it on a GPU.

    Raises:
        ValueError: unknown name, a CUDA graph on another device, or an obstacle to what was asked for.
    """
    if name not in STEP_GRAPHS:
        raise ValueError(f"step_graph needs one of {', '.join(STEP_GRAPHS)}, got {name!r}")
    if name == "cuda_graph" and device.type != "cuda":
        raise ValueError(
            f"step_graph 'cuda_graph' needs a CUDA device, got {device}: nothing else records what it launches; "
            "use auto, none or compile"
        )
    if (name == "auto" and device.type != "cuda") or name == "none":
        return "none"
    if obstacle is None:
        return "cuda_graph" if name == "auto" else name
    if name != "auto":
        raise ValueError(f"step_graph {name!r} cannot launch the steps of this run: {obstacle}; use auto or none")
    warnings.warn(f"steps are launched kernel by kernel, not as a CUDA graph: {obstacle}", stacklevel=2)
    return "none"
