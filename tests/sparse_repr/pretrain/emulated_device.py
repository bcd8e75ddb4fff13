"""A device on the CPU that records steps as CUDA does: what is replayed are its operations, on the same memory.

Nothing of a step's Python runs in a replay. A number that Python computed, a tensor that is made anew, a branch that
was taken are as they were when the step was recorded, so that what is not in memory that keeps its place is stale.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from sparse_repr.pretrain.step_recording import Recording, Terms

# what makes the host wait for the device, or copies to it from memory that is not locked
_WAITS = ("_local_scalar_dense", "item", "nonzero", "masked_select", "equal", "lift_fresh", "unique", "_unique2")
# what it overwrites, its schema does not say
_UNDECLARED = {"native_batch_norm": ("running_mean", "running_var")}


def _tensors(values: Any) -> Iterator[Tensor]:
    return (value for value in tree_leaves(values) if isinstance(value, Tensor))


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


class _Operations(TorchDispatchMode):
    """All operations inside the block, and the contents of what they overwrote outside of it."""

    def __init__(self) -> None:
        super().__init__()
        self._calls: list[tuple[Any, Any, Any, list[Tensor]]] = []
        self._own: set[int] = set()
        self._overwritten: dict[int, tuple[Tensor, Tensor]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        masked = name == "index" and any(index.dtype == torch.bool for index in _tensors(args[1]))
        if name in _WAITS or masked or kwargs.get("generator") is not None:
            raise RuntimeError(f"operation not permitted when stream is capturing: {func}")
        given = dict(zip((argument.name for argument in func._schema.arguments), args, strict=False)) | kwargs
        for argument in func._schema.arguments:
            declared = argument.alias_info is not None and argument.alias_info.is_write
            if declared or argument.name in _UNDECLARED.get(name, ()):
                for tensor in _tensors(given.get(argument.name)):
                    if _storage(tensor) not in self._own and id(tensor) not in self._overwritten:
                        self._overwritten[id(tensor)] = (tensor, tensor.detach().clone())
        read = {_storage(tensor) for tensor in _tensors((args, kwargs))}
        result = func(*args, **kwargs)
        fresh = [tensor for tensor in _tensors(result) if _storage(tensor) not in read]
        self._own.update(map(_storage, fresh))
        self._calls.append((func, args, kwargs, list(_tensors(result))))
        return result

    @torch.no_grad()
    def undo(self) -> None:
        for tensor, before in self._overwritten.values():
            tensor.copy_(before)

    @torch.no_grad()
    def repeat(self) -> None:
        for func, args, kwargs, recorded in self._calls:
            read = {_storage(tensor) for tensor in _tensors((args, kwargs))}
            for old, new in zip(recorded, _tensors(func(*args, **kwargs)), strict=True):
                if _storage(old) not in read:  # else it is a view of what it read, or that itself
                    old.copy_(new)


class _Repeated:
    def __init__(self, operations: _Operations, terms: Terms) -> None:
        self._operations, self._terms = operations, terms

    def replay(self) -> Terms:
        self._operations.repeat()
        return self._terms


class EmulatedDevice:
    """`Recorder` that repeats operations on the CPU; subclasses and attributes make it fail."""

    def __init__(self) -> None:
        self.taken = self.recorded = 0

    def beside(self, step: Callable[[], Terms]) -> Terms:
        self.taken += 1
        return step()

    def record(self, step: Callable[[], Terms]) -> Recording:
        self.recorded += 1
        operations = _Operations()
        try:
            with operations:
                terms = step()
        finally:
            operations.undo()
        return _Repeated(operations, terms)

    def random_state(self) -> Tensor:
        return torch.get_rng_state()

    def set_random_state(self, state: Tensor) -> None:
        torch.set_rng_state(state)
