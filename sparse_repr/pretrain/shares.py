"""Shares: which part of every batch a process takes, and what it has to agree on with the others."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar

import torch
import torch.distributed
from torch import Tensor, nn

# Processes that wait for each other's word at every step would hold up a GPU, which runs ahead of its host.
_AGREE_EVERY = 10

Result = TypeVar("Result")


@dataclasses.dataclass(frozen=True)
class Shares:
    """One of `count` processes that train one model together, each on its part of every batch.

    Where `count` is above 1, torch's default process group must be open, with a backend for CPU tensors.
    """

    rank: int = 0
    """Number of this process, from 0."""
    count: int = 1
    """Number of processes."""

    def part(self, batch_size: int) -> slice:
        """The items of a batch that this process takes; `batch_size` is a multiple of `count`."""
        size = batch_size // self.count
        return slice(self.rank * size, (self.rank + 1) * size)

    def average(self, terms: dict[str, Tensor]) -> dict[str, Tensor]:
        """The means over the processes of scalar terms, the same in each process."""
        if self.count == 1:
            return terms
        values = torch.stack([term.float() for term in terms.values()])
        torch.distributed.all_reduce(values)
        return dict(zip(terms, (values / self.count).unbind(), strict=True))

    def average_gradients(self, optimiser: torch.optim.Optimizer) -> None:
        """Let `optimiser` take every step with the mean of the processes' gradients."""

        def average(stepped: torch.optim.Optimizer, *_: Any) -> None:
            parameters = [parameter for group in stepped.param_groups for parameter in group["params"]]
            gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
            # one message for all of them: each alone is so small that waiting for it would cost more than sending it
            joined = torch.cat([gradient.flatten() for gradient in gradients])
            torch.distributed.all_reduce(joined)
            joined /= self.count
            sizes = [gradient.numel() for gradient in gradients]
            for gradient, mean in zip(gradients, joined.split(sizes), strict=True):
                gradient.copy_(mean.view_as(gradient))

        optimiser.register_step_pre_hook(average)

    def copy_from_first(self, network: nn.Module) -> None:
        """Give every process the weights of the first, so that no difference between machines starts them apart."""
        for tensor in network.state_dict().values():
            received = tensor.contiguous()  # channels last is a layout that not every backend sends
            torch.distributed.broadcast(received, src=0)
            tensor.copy_(received)

    def agree_to_stop(self, asked: bool, step: int) -> bool:
        """Whether any process was asked to stop; with several, each asks all others at every 10th step."""
        if self.count == 1:
            return asked
        if step % _AGREE_EVERY:
            return False
        answer = torch.tensor(int(asked))
        torch.distributed.all_reduce(answer)
        return bool(answer)

    def from_first(self, function: Callable[[], Result]) -> Result:
        """What `function` returns in the first process, given to all; what it raises there is raised in all."""
        if self.count == 1:
            return function()
        outcome: list[Any] = [None, None]
        if self.rank == 0:
            try:
                outcome[0] = function()
            except (ValueError, OSError) as error:
                outcome[1] = error
        torch.distributed.broadcast_object_list(outcome, src=0, device=torch.device("cpu"))
        if outcome[1] is not None:
            raise outcome[1]
        return outcome[0]


ONLY_PROCESS = Shares()
"""The only process."""
