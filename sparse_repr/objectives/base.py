"""What the training loop needs of an objective, and what one is built from."""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from sparse_repr.models import VAE, Posterior

StepNumber = int | Tensor
"""Steps taken before the present one: a number, or a float64 scalar on the device, whose value can change between
replays of a recorded step (see `step_graph`)."""


class Objective(Protocol):
    """What the training loop needs of an objective: it owns its networks and its optimisers.

    Every random number comes from `noise`, and every schedule is a function of the step, so that a run which was
    stopped and resumed takes the same steps as one that was not.
    """

    vae: VAE
    """The encoder and decoder that are exported."""
    noise_size: int
    """Standard normal numbers it needs per image."""
    batches: int
    """Batches of images that one step reads: 2 where a discriminator gets a batch of its own, else 1."""

    @property
    def optimiser(self) -> torch.optim.Optimizer:
        """Of all parameters of `vae`, or of what they are made from: the one that a schedule of the run acts on.

        A discriminator has another, which keeps its learning rate.
        """

    @property
    def optimisers(self) -> Sequence[torch.optim.Optimizer]:
        """All that a step moves."""

    def step(
        self, images: Tensor, noise: Tensor, autocast: torch.autocast, step_number: StepNumber = 0
    ) -> dict[str, Tensor]:
        """Take one optimisation step.

        No part of it may make the host wait for the device, so that it can be recorded.

        Args:
            images: (batches * B, C, S, S) in 0..1.
            noise: (batches * B, noise_size) standard normal.
            autocast: context for the networks' forward passes.
            step_number: steps taken before this one, for schedules.

        Returns:
            Scalar terms, averaged over the batch and detached; "loss" is among them.
        """

    def state_dict(self) -> dict[str, Any]:
        """Weights and the state of every optimiser: tensors and plain values only."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state_dict`."""


class WeightedLoss(Objective, Protocol):
    """An objective that is one loss, which one optimiser takes down through the encoder and the decoder."""

    def loss(
        self, images: Tensor, noise: Tensor, autocast: torch.autocast, step_number: StepNumber = 0
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss (scalar, with gradient) and its terms (scalars, detached), averaged over the batch."""

    def with_weights(self, weights: Mapping[str, Tensor]) -> WeightedLoss:
        """The same networks under other weights of the terms, scalar tensors by name; those not named stay."""


Regularised = tuple[Tensor, dict[str, Tensor]]


class Regulariser(Protocol):
    """What stands beside the reconstruction in a variational objective: a frozen record of its weights and options."""

    def __call__(self, posterior: Posterior, z: Tensor, step_number: StepNumber) -> Regularised:
        """Posterior and its sample z, (B, D) each -> what is added to the loss (scalar), and more terms to report."""


def reported(terms: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The terms of a loss without their gradient, "loss" among them.

    Raises:
        ValueError: one is no scalar tensor, as where an objective of one's own did not average over the batch.
    """
    for name, term in terms.items():
        if not isinstance(term, Tensor) or term.ndim:
            found = f"a tensor of shape {tuple(term.shape)}" if isinstance(term, Tensor) else repr(term)
            raise ValueError(
                f"what an objective adds to the loss and reports needs to be scalar tensors, averaged over the batch; "
                f"{name} is {found}"
            )
    return {name: term.detach() for name, term in terms.items()}


def ramp(step_number: StepNumber, steps: int, *, start: int = 0) -> float | Tensor:
    """Linear schedule from 0 to 1: min(1, (step_number - start) / steps), 0 before `start`; 1 from there if no `steps`.

    >>> [ramp(step, 2, start=1) for step in range(5)]
    [0.0, 0.0, 0.5, 1.0, 1.0]
    """
    if start == 0 and steps == 0:
        return 1.0
    if steps == 0:
        joined = step_number >= start
        return joined.double() if isinstance(joined, Tensor) else float(joined)
    share = (step_number - start) / steps
    return share.clamp(0, 1) if isinstance(share, Tensor) else min(1.0, max(0.0, share))


def in_precision_of(term: Tensor, value: float | Tensor) -> float | Tensor:
    """A scheduled `value` as it meets `term`: a float64 scalar would make the result float64, a number does not."""
    return value.to(term.dtype) if isinstance(value, Tensor) else value


def minimise(loss: Tensor, *optimisers: torch.optim.Optimizer) -> None:
    """One step of `optimisers` down the gradient of `loss` (scalar)."""
    for optimiser in optimisers:
        optimiser.zero_grad(set_to_none=True)
    loss.backward()
    for optimiser in optimisers:
        optimiser.step()


class SingleOptimiserObjective(abc.ABC):
    """An objective of one loss, which one Adam optimiser takes down through the encoder and the decoder.

    A subclass says what the loss is; the step and the state for resuming are the same for all.
    """

    batches = 1

    def __init__(
        self,
        vae: VAE,
        *,
        learning_rate: float,
        noise_size: int,
        after_step: Callable[[StepNumber], None] | None = None,
        head: nn.Module | None = None,
    ) -> None:
        """Own `vae` and its optimiser.

        Args:
            vae: the networks.
            learning_rate: of Adam.
            noise_size: standard normal numbers the loss needs per image.
            after_step: called with the step number once the optimiser has moved, for a proximal step.
            head: a network that is trained with `vae` and not exported.
        """
        self.vae = vae
        self.head = head
        self.noise_size = noise_size
        parameters = [*vae.parameters(), *(head.parameters() if head is not None else ())]
        self.optimiser = torch.optim.Adam(parameters, lr=learning_rate, fused=True)
        self._after_step = after_step

    @property
    def optimisers(self) -> Sequence[torch.optim.Optimizer]:
        """The one there is."""
        return (self.optimiser,)

    @abc.abstractmethod
    def loss(
        self, images: Tensor, noise: Tensor, autocast: torch.autocast, step_number: StepNumber = 0
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss (scalar, with gradient) and its terms (scalars, detached), averaged over the batch."""

    def step(
        self, images: Tensor, noise: Tensor, autocast: torch.autocast, step_number: StepNumber = 0
    ) -> dict[str, Tensor]:
        """One step of the optimiser down the loss; see `Objective.step`."""
        loss, terms = self.loss(images, noise, autocast, step_number)
        minimise(loss, self.optimiser)
        if self._after_step is not None:
            self._after_step(step_number)
        return terms

    def state_dict(self) -> dict[str, Any]:
        """Weights and the state of the optimiser."""
        head = {} if self.head is None else {"head": self.head.state_dict()}
        return {"vae": self.vae.state_dict(), **head, "optimiser": self.optimiser.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state_dict`."""
        self.vae.load_state_dict(state["vae"])
        if self.head is not None:
            self.head.load_state_dict(state["head"])
        self.optimiser.load_state_dict(state["optimiser"])
