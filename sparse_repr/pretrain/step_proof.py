"""The proof of a recorded step: it and the step itself are taken from one state, and what they make of it is compared.

What is compared, and how closely:

- The loss of every step, to `LOSS_TOLERANCE` of its size (of 1 where it is smaller). Both ways launch the same kernels,
  so that only the order of atomic additions, and the learning rate, a float32 in memory beside a double, can differ.
- What the steps change in every tensor of the state: parameters, the optimisers' moments, running statistics. The norm
  of the difference is at most `CHANGE_TOLERANCE` of the norm of the change. Adam divides a gradient by its own size, so
  that rounding decides the sign of a gradient that is close to zero, and its number then moves the other way. The
  tensor that differs most was off by 0.27 to 1.7 on the images or the noise of another step, by 0.8 to 3.2 at a stale
  learning rate, by 0.05 to 0.13 where bf16 and float32 were compared, while losses differed by 0.0009 at most but for
  the rate's 0.002 (VAE, sparse and beta-TCVAE on dSprites, batch 64, on a CPU; one run, not committed). Where the
  device itself does not repeat a step so closely, `REPEATS` times what two turns of the step itself differ by are
  allowed in the tensor.
- Whole numbers, and the state of the random numbers, are equal.

Nothing may be NaN or infinite.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from sparse_repr.pretrain.step_recording import Recorder

LOSS_TOLERANCE = 1e-3
CHANGE_TOLERANCE = 0.1
REPEATS = 4.0

Losses = Sequence[Tensor]


class StepDiffersError(RuntimeError):
    """A recorded step is not the step that it stands for."""


def tensors_in(state: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """All tensors in nested mappings and sequences, named by the way to them."""
    if isinstance(state, Tensor):
        yield name, state
    elif isinstance(state, Mapping):
        for key, value in state.items():
            yield from tensors_in(value, f"{name}.{key}" if name else f"{key}")
    elif isinstance(state, list | tuple):
        for place, value in enumerate(state):
            yield from tensors_in(value, f"{name}.{place}")


class KeptState:
    """A copy of all that a step changes, to which it can be put back, each number in the place where it lay."""

    def __init__(self, state: Any, recorder: Recorder, generators: Sequence[torch.Generator]) -> None:
        """Copy.

        Args:
            state: nested mappings and sequences; their tensors are those that the step changes in place.
            recorder: of the device, for its random numbers.
            generators: others that the step might draw from.
        """
        self._live = dict(tensors_in(state))
        self._kept = {name: tensor.detach().clone() for name, tensor in self._live.items()}
        self._recorder, self._generators = recorder, tuple(generators)
        self._random = self.random_states()

    def random_states(self) -> list[Tensor]:
        """Of the device and of the generators."""
        return [self._recorder.random_state(), *(generator.get_state() for generator in self._generators)]

    @torch.no_grad()
    def restore(self) -> None:
        """Put all of it back."""
        for name, tensor in self._live.items():
            tensor.copy_(self._kept[name])
        if not _equal(self._random, self.random_states()):
            self._recorder.set_random_state(self._random[0])
            for generator, state in zip(self._generators, self._random[1:], strict=True):
                generator.set_state(state)

    @torch.no_grad()
    def changed(self) -> dict[str, Tensor]:
        """Copies of the tensors as they are now."""
        return {name: tensor.detach().clone() for name, tensor in self._live.items()}

    @torch.no_grad()
    def distances(self, expected: Mapping[str, Tensor]) -> dict[str, float]:
        """How far every tensor is from `expected`, in parts of what `expected` changed; infinite for what may not be.

        Floating-point tensors by the norm, others have to be equal.
        """
        parts = {}
        for name, tensor in self._live.items():
            wanted, kept = expected[name], self._kept[name]
            if not tensor.is_floating_point():
                parts[name] = torch.where((tensor == wanted).all(), 0.0, torch.inf)
                continue
            difference = torch.linalg.vector_norm((tensor - wanted).float())
            change = torch.linalg.vector_norm((wanted - kept).float())
            # 0 of 0 is equal; a difference where nothing was to change is infinitely large
            parts[name] = torch.where(difference == 0, torch.zeros_like(difference), difference / change)
        return {name: float(part) for name, part in parts.items()}


def prove(eager: Callable[[], Losses], replayed: Callable[[], Losses], state: KeptState) -> None:
    """Take the same steps three times from one state: as they come, as they come once more, and recorded.

    The state is that of before when this returns or raises.

    Args:
        eager: takes the steps and returns their losses.
        replayed: the same by the recording.
        state: the copy of all that they change.

    Raises:
        StepDiffersError: the two ways differ, see this module's first lines; it says in what.
        Exception: what a way itself raised.
    """

    def turn(way: Callable[[], Losses]) -> tuple[list[Tensor], list[Tensor]]:
        losses = [loss.detach().double().clone() for loss in way()]
        return losses, state.random_states()

    try:
        losses, random_states = turn(eager)
        changed = state.changed()
        state.restore()
        turn(eager)
        noise = state.distances(changed)
        state.restore()
        found, random_states_found = turn(replayed)
        distances = state.distances(changed)
    finally:
        state.restore()
    _compare_losses(losses, found)
    for name, tensor in changed.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise StepDiffersError(f"{name} is not finite after steps that were not recorded")
    allowed = {name: max(CHANGE_TOLERANCE, REPEATS * noise[name]) for name in distances}
    # a tensor that is wrong moves the others too, by less; NaN is no number's better
    beyond = {name: distance for name, distance in distances.items() if not distance <= allowed[name]}
    if beyond:
        name = max(beyond, key=lambda name: math.inf if math.isnan(beyond[name]) else beyond[name] / allowed[name])
        raise StepDiffersError(
            f"what recorded steps make of {name} is off by {beyond[name]:.2g} of its change (up to {allowed[name]:.2g} "
            "is rounding)"
        )
    if not _equal(random_states, random_states_found):
        raise StepDiffersError("recorded steps leave another state of the random numbers")


def _compare_losses(losses: Sequence[Tensor], found: Sequence[Tensor]) -> None:
    for place, (one, replayed) in enumerate(zip(losses, found, strict=True)):
        # a comparison with NaN is false
        if not bool(((replayed - one).abs() <= LOSS_TOLERANCE * one.abs().clamp_min(1)).all()):
            raise StepDiffersError(
                f"the loss of recorded step {place + 1} is {_written(replayed)}, that of the step itself "
                f"{_written(one)}"
            )


def _written(loss: Tensor) -> str:
    return ", ".join(f"{value:.6g}" for value in loss.reshape(-1).tolist())


def _equal(first: Sequence[Tensor], second: Sequence[Tensor]) -> bool:
    return all(torch.equal(one, other) for one, other in zip(first, second, strict=True))
