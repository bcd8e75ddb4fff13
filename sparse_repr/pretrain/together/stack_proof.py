"""The proof of a stack: a step of it and a step of its models, each alone, are taken from one state and compared.

On a card nobody has trained a stack, so that models which are to share one loop there prove first that they can. Losses
agree to `LOSS_TOLERANCE`, as in `step_proof`; what the step makes of Adam's first moments, which is linear in the
gradients, agrees in every parameter to `MOMENT_TOLERANCE` of its norm. Beside each other, not below each other, grouped
convolutions add up in another order: in bf16 the moments were off by 0.07 to 0.18 on a CPU, in float32 by 0.0001 at
most, and those of another model of the stack by 1.4 to 2 (five objectives, batch 32; one run, not committed).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sparse_repr.pretrain.step_proof import LOSS_TOLERANCE, tensors_in
from sparse_repr.pretrain.step_recording import first_words
from sparse_repr.pretrain.together.stacked import StackedModels
from sparse_repr.pretrain.trainer import Trainer

MOMENT_TOLERANCE = 0.4
PROVEN_ON = ("cuda",)
"""Kinds of devices on which a stack has to prove itself; on a CPU the tests do that."""
_MOST_MODELS = 8


def why_stack_differs(trainers: Sequence[Trainer]) -> str | None:
    """In what a step of the stack differs from steps of its models, in words; None where it does not.

    Args:
        trainers: that `why_not_stacked` accepts; they are left as they are. Of many, and of runs that were killed at
            different steps, some are compared.
    """
    steps = [trainer.step for trainer in trainers if trainer.step < trainer.config.steps]
    trainers = [trainer for trainer in trainers if steps and trainer.step == max(steps, key=steps.count)]
    if len(trainers) < 2:
        return None
    generators = [trainer.generator.get_state() for trainer in trainers]
    random_state = torch.get_rng_state()
    chosen = np.unique(np.linspace(0, len(trainers) - 1, min(_MOST_MODELS, len(trainers))).astype(int)).tolist()
    kept = {place: _copied(trainers[place].objective.state_dict()) for place in chosen}
    try:
        return _difference(trainers, chosen)
    except Exception as error:  # whatever it is, the models can be trained one after another
        return first_words(error)
    finally:
        for place in chosen:
            _restore(trainers[place], kept[place])
        for trainer, state in zip(trainers, generators, strict=True):
            trainer.generator.set_state(state)
            trainer.batches.close()
        torch.set_rng_state(random_state)


def _difference(trainers: Sequence[Trainer], chosen: Sequence[int]) -> str | None:
    first = trainers[0]
    draws = [trainer.draw() for trainer in trainers]
    stack = StackedModels(trainers)
    first.learning_rate.set_on(stack.optimiser, first.step)
    drawn, noise = torch.cat([drawn for drawn, _ in draws]), torch.stack([noise for _, noise in draws])
    losses = stack.take(drawn, noise, first.step)["loss"].double()
    for place in chosen:
        trainer = trainers[place]
        optimiser = trainer.objective.optimiser
        trainer.learning_rate.set_on(optimiser, trainer.step)
        expected, found = float(trainer.take(*draws[place], trainer.step)["loss"]), float(losses[place])
        # a comparison with NaN is false
        if not abs(found - expected) <= LOSS_TOLERANCE * max(1.0, abs(expected)):
            return f"the loss of model {place + 1} is {found:.6g} in the stack and {expected:.6g} alone"
        for name, parameter in trainer.objective.vae.named_parameters():
            alone = optimiser.state[parameter]["exp_avg"]
            stacked = stack.optimiser.state[stack.parameters[name]]["exp_avg"][place]
            apart = _share(stacked - alone, alone)
            if not apart <= MOMENT_TOLERANCE:
                return f"the moments of {name} of model {place + 1} are off by {apart:.2g} of their norm"
    return None


def _share(difference: Tensor, whole: Tensor) -> float:
    apart, norm = float(difference.norm()), float(whole.norm())
    if not apart:
        return 0.0
    return apart / norm if norm else math.inf


def _copied(state: Any) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in tensors_in(state)}


@torch.no_grad()
def _restore(trainer: Trainer, kept: dict[str, Tensor]) -> None:
    """Put all tensors back, and take away what the optimiser made for its first step."""
    for name, tensor in tensors_in(trainer.objective.state_dict()):
        if name in kept:
            tensor.copy_(kept[name])
        else:
            trainer.objective.optimiser.state.clear()
    trainer.objective.optimiser.zero_grad(set_to_none=True)
