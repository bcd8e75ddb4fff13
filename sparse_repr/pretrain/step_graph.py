"""A whole training step as one launch: forward, backward and optimiser recorded once and replayed.

So small a network takes a GPU's host longer to launch, kernel by kernel, than it takes the GPU to compute. A CUDA graph
launches all of a step at once. It repeats what was recorded on the same memory, so that everything which changes from
step to step (the batch, the noise, the step number, the learning rates) lies in tensors that keep their place.

What this gains was not measured: the tests that compare recorded steps with eager ones need a GPU, and none has run
them yet. All but the recording itself is tested on the CPU.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

STEP_GRAPHS = ("auto", "none", "cuda_graph", "compile")
"""How a step is launched: see `resolve_step_graph`."""

# Steps before the recording: libraries choose their kernels and Adam makes its state, which cannot be recorded.
_WARM_UP = 3

Terms = dict[str, Tensor]


class StepGraph:
    """The steps of one training run as replays of one recording.

    The first steps are taken as they come, on a stream of their own; they are steps like the others, not a rehearsal.
    On anything but CUDA nothing is recorded, and a replay calls the function again, on the same tensors: what is tested
    there is all but the recording itself.
    """

    def __init__(
        self,
        step: Callable[..., Terms],
        optimisers: Sequence[torch.optim.Optimizer],
        device: torch.device,
        *,
        compiled: bool = False,
    ) -> None:
        """Launch `step`.

        Args:
            step: ``step(*inputs, step_number)``, with a float64 scalar as the number, takes one step of `optimisers`
                and returns terms; it must depend on nothing else that changes.
            optimisers: all that the step moves. The learning rate of a step is what its groups hold as ``lr`` by then.
            device: where the inputs and the parameters are.
            compiled: compile the function (`torch.compile`) instead of recording what it launches.
        """
        self._optimisers = tuple(optimisers)
        self._step: Callable[..., Terms] = torch.compile(step, dynamic=False) if compiled else step
        self._inputs: tuple[Tensor, ...] = ()
        self._step_number = torch.zeros((), dtype=torch.float64, device=device)
        # a GPU's fused Adam reads a float32 from memory; a CPU's reads a number of any precision from the tensor
        precision = torch.float32 if device.type == "cuda" else torch.float64
        self._rates = [
            torch.zeros((), dtype=precision, device=device) for optimiser in optimisers for _ in optimiser.param_groups
        ]
        self._taken = 0
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" and not compiled else None
        self._graph: torch.cuda.CUDAGraph | None = None
        self._terms: Terms = {}

    def __call__(self, *inputs: Tensor, step_number: int) -> Terms:
        """Take the step.

        Args:
            inputs: tensors; after a change of their shapes the step is recorded anew.
            step_number: steps taken before this one.

        Returns:
            The terms; the next call may overwrite them.
        """
        if [value.shape for value in self._inputs] != [value.shape for value in inputs]:
            self._inputs = tuple(torch.empty_like(value) for value in inputs)
            self._graph, self._taken = None, 0
        for kept, value in zip(self._inputs, inputs, strict=True):
            kept.copy_(value, non_blocking=True)
        self._step_number.fill_(step_number)
        for rate, group in zip(self._rates, self._groups(), strict=True):
            rate.fill_(group["lr"])
        if self._stream is None:
            return self._call()
        if self._graph is None and self._taken < _WARM_UP:
            self._taken += 1
            return self._call_beside(self._stream)
        if self._graph is None:
            self._record(self._stream)
        if self._graph is not None:
            self._graph.replay()
            return self._terms
        return self._call()

    def _groups(self) -> list[dict[str, Any]]:
        return [group for optimiser in self._optimisers for group in optimiser.param_groups]

    def _call(self) -> Terms:
        with self._rates_in_tensors():
            return self._step(*self._inputs, self._step_number)

    def _call_beside(self, stream: torch.cuda.Stream) -> Terms:
        """Take a step on the stream that is recorded later, as its libraries keep a workspace for each stream."""
        present = torch.cuda.current_stream(stream.device)
        stream.wait_stream(present)
        with torch.cuda.stream(stream):
            terms = self._call()
        present.wait_stream(stream)
        return terms

    def _record(self, stream: torch.cuda.Stream) -> None:
        """Record the step without taking it; where the device refuses, steps are taken one kernel at a time."""
        graph = torch.cuda.CUDAGraph()
        for optimiser in self._optimisers:
            optimiser.zero_grad(set_to_none=True)  # so that the recording has its own memory for the gradients
        try:
            # other threads may go on locking memory for their copies
            recording = torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local")
            with self._rates_in_tensors(capturable=True), recording:
                self._terms = self._step(*self._inputs, self._step_number)
        except RuntimeError as error:
            self._stream = None
            warnings.warn(f"the step cannot be recorded as a CUDA graph and is launched eagerly: {error}", stacklevel=2)
        else:
            self._graph = graph

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
