"""What a device can do with a step beside taking it: note down what it launches, and launch all of that again."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import ClassVar, Protocol

import torch
from torch import Tensor

Terms = dict[str, Tensor]


class Recording(Protocol):
    """A step that was recorded, with the memory that it reads and writes."""

    def replay(self) -> Terms:
        """Take the step again, on what lies in that memory now; the next replay overwrites the terms."""


class Recorder(Protocol):
    """The layer below `StepGraph`: CUDA's streams and graphs, or whatever a test puts in their place."""

    def beside(self, step: Callable[[], Terms]) -> Terms:
        """Take a step as it comes, where it would be recorded: libraries keep a workspace for each such place."""

    def record(self, step: Callable[[], Terms]) -> Recording:
        """Record a step without taking it.

        Raises:
            Exception: whatever the device or the step says where that cannot be done.
        """

    def random_state(self) -> Tensor:
        """State of the random numbers that the device draws without being given a generator."""

    def set_random_state(self, state: Tensor) -> None:
        """Go back to what `random_state` returned."""


class _CudaRecording:
    def __init__(self, graph: torch.cuda.CUDAGraph, terms: Terms) -> None:
        self._graph = graph
        self._terms = terms

    def replay(self) -> Terms:
        self._graph.replay()
        return self._terms


class CudaRecorder:
    """Records on a stream of its own by `torch.cuda.graph`.

    A recording that fails leaves traces in torch, which are undone here or kept from doing harm: the capture's stream
    stays the current one, the device's own generator believes that it is still recorded (it refuses to draw from then
    on), and, without pytorch/pytorch#180395 of April 2026, the allocator does (the next recording ends the process). So
    nothing more is recorded by a process in which one recording has failed.
    """

    failure: ClassVar[str | None] = None
    """What the first recording that failed in this process said."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)

    def beside(self, step: Callable[[], Terms]) -> Terms:
        present = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(present)
        with torch.cuda.stream(self._stream):
            terms = step()
        present.wait_stream(self._stream)
        return terms

    def record(self, step: Callable[[], Terms]) -> Recording:
        if CudaRecorder.failure is not None:
            raise RuntimeError(f"a recording has failed in this process before ({CudaRecorder.failure})")
        # autograd nodes of earlier steps that only a reference cycle keeps alive belong to another stream, which the
        # backward pass would draw into the recording (pytorch/pytorch#180090); torch no longer collects them itself
        gc.collect()
        graph = torch.cuda.CUDAGraph()
        random_state = self.random_state()
        # two contexts around that of the graph: of several devices, this one; and the present stream whatever happens
        device, present = torch.cuda.device(self._device), torch.cuda.stream(torch.cuda.current_stream(self._device))
        try:
            # other threads may go on locking memory for their copies, which the default mode forbids
            with device, present, torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
                terms = step()
        except Exception as error:
            CudaRecorder.failure = first_words(error)
            self._release_generator(random_state)
            raise
        return _CudaRecording(graph, terms)

    def random_state(self) -> Tensor:
        return torch.cuda.get_rng_state(self._device)

    def set_random_state(self, state: Tensor) -> None:
        torch.cuda.set_rng_state(state, self._device)

    def _release_generator(self, state: Tensor) -> None:
        """Give the device's generator a state that no recording holds."""
        index = torch.cuda.current_device() if self._device.index is None else self._device.index
        fresh = torch.Generator(self._device)
        fresh.set_state(state)
        torch.cuda.default_generators[index].graphsafe_set_state(fresh.graphsafe_get_state())


def first_words(error: BaseException) -> str:
    """The first line of what went wrong first: ending a recording that a step broke raises once more."""
    while error.__context__ is not None:
        error = error.__context__
    words = str(error).strip().splitlines()
    return f"{type(error).__name__}: {words[0]}" if words else type(error).__name__


def recorder_for(device: torch.device) -> Recorder | None:
    """What records on a device; None where nothing can."""
    return CudaRecorder(device) if device.type == "cuda" else None
