"""Several models in one loop: their parameters are stacked, and every layer computes all of them at once.

`torch.func.vmap` turns a convolution with weights of its own for every model into a grouped convolution, and a dense
layer into a batched matrix product: a GPU that one small network leaves idle gets S times the work per kernel. On a CPU
it is slower than one model after another, see `ensemble.choose_together`.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from sparse_repr.command_line.interruption import TrainingInterrupted, stop_on_signal
from sparse_repr.encoder.collapse import warn_if_collapsed
from sparse_repr.objectives import WeightedLoss, choose_objective
from sparse_repr.objectives.base import StepNumber, minimise
from sparse_repr.pretrain.averaging import decay_at, move_averages
from sparse_repr.pretrain.config import PretrainConfig
from sparse_repr.pretrain.loggers import Logger
from sparse_repr.pretrain.step_graph import StepGraph
from sparse_repr.pretrain.term_sums import NonFiniteLossError, TermSums
from sparse_repr.pretrain.trainer import Trainer

_MAY_DIFFER = frozenset({"seed", "run_dir", "resume", "progress"})

Run = tuple[Trainer, Logger]


def why_not_stacked(configs: Sequence[PretrainConfig]) -> str | None:
    """Why these resolved configurations cannot be trained as one stack; None where they can."""
    first = configs[0]
    choice = choose_objective(first.objective)
    for name in vars(first):
        if name in _MAY_DIFFER or name in choice.weights:
            continue
        values = list(dict.fromkeys(str(getattr(config, name)) for config in configs))
        if len(values) > 1:
            return (
                f"models in one stack need equal settings except the seed and the objective's weights, got {name} "
                f"{', '.join(values)}"
            )
    if choice.discriminates:
        return f"objective {first.objective!r} trains a discriminator with an optimiser of its own"
    if first.sparsity_proximal:
        return "sparsity_proximal takes a second step on the weights of each model"
    if first.perceptual_weight or "targets" in choice.needs:
        return "its loss compares features of a network that is not stacked"
    if first.objective_options().get("opening_step"):
        return "its closed units are opened model by model"
    if first.denoising():
        return "the copies of images that its encoders see are not stacked"
    if first.random_shift:
        return "the random shifts of its images are not stacked"
    return None


class _MemberLoss(nn.Module):
    """The loss of an objective as a module, so that `functional_call` can put other parameters into its networks."""

    def __init__(self, objective: WeightedLoss) -> None:
        super().__init__()
        self.vae = objective.vae
        self._objective = objective

    def forward(
        self,
        weights: Mapping[str, Tensor],
        images: Tensor,
        noise: Tensor,
        autocast: torch.autocast,
        step_number: StepNumber,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        return self._objective.with_weights(weights).loss(images, noise, autocast, step_number)


class StackedModels:
    """S models at one step, each with its own seed, weights of the objective's terms, order of the data and noise.

    The trainers keep all of that; the parameters, their averages and the state of their optimisers are here, as one
    tensor each with S in front, until `write_back`. Adam acts on each number by itself, so that one optimiser over the
    stack takes the steps of S.
    """

    def __init__(self, trainers: Sequence[Trainer]) -> None:
        """Take over from `trainers`, whose configurations `why_not_stacked` accepts and which are at the same step."""
        self.trainers = list(trainers)
        self.objectives = [cast(WeightedLoss, trainer.objective) for trainer in trainers]
        first = self.objectives[0]
        self._loss = _MemberLoss(first)
        members = [dict(objective.vae.named_parameters()) for objective in self.objectives]
        self.parameters = {
            name: torch.stack([member[name].detach() for member in members]).requires_grad_() for name in members[0]
        }
        self.optimiser = self._alike(first.optimiser, members[0])
        if first.optimiser.state:
            self._stack_optimisers(members)
        self._graph: StepGraph | None = None
        averages = [dict(trainer.average.network.named_parameters()) for trainer in trainers if trainer.average]
        self.averages = {
            name: torch.stack([member[name] for member in averages]) for name in (averages[0] if averages else ())
        }
        weights = [trainer.config.objective_weights() for trainer in trainers]
        device = trainers[0].device
        self.weights = {
            name: torch.tensor([member[name] for member in weights], device=device)  # (S,)
            for name in weights[0]
            if len({member[name] for member in weights}) > 1
        }

    @property
    def step(self) -> int:
        """Steps that every model has taken."""
        return self.trainers[0].step

    def _alike(self, alone: torch.optim.Optimizer, member: dict[str, nn.Parameter]) -> torch.optim.Optimizer:
        """The same kind of optimiser with the same groups and settings as a model has alone, of the stack."""
        kind = type(alone)
        known = inspect.signature(kind).parameters  # AdamW notes what Adam calls it, and does not take it
        stacked = {id(parameter): self.parameters[name] for name, parameter in member.items()}

        def taken(settings: Mapping[str, Any]) -> dict[str, Any]:
            return {name: value for name, value in settings.items() if name in known and name != "params"}

        groups = [
            {**taken(group), "params": [stacked[id(parameter)] for parameter in group["params"]]}
            for group in alone.param_groups
        ]
        return kind(groups, **taken(alone.defaults))

    def _stack_optimisers(self, members: list[dict[str, nn.Parameter]]) -> None:
        for name, stacked in self.parameters.items():
            states = [
                objective.optimiser.state[member[name]]
                for objective, member in zip(self.objectives, members, strict=True)
            ]
            # Adam's count of steps is a scalar and the same for all, its moments are one number per parameter
            self.optimiser.state[stacked] = {
                key: torch.stack([state[key] for state in states]) if value.ndim else value.clone()
                for key, value in states[0].items()
            }

    def train_step(self) -> dict[str, Tensor]:
        """One optimisation step of every model; the terms are (S,), and the next step may overwrite them."""
        first = self.trainers[0]
        first.learning_rate.set_on(self.optimiser, self.step)
        draws = [trainer.draw() for trainer in self.trainers]
        drawn = torch.cat([drawn for drawn, _ in draws])  # (S * B, ...)
        noise = torch.stack([noise for _, noise in draws])  # (S, B, noise_size)
        way = first.config.step_graph
        if way == "none":
            terms = self.take(drawn, noise, self.step)
        else:
            if self._graph is None:
                self._graph = StepGraph(
                    self.take,
                    [self.optimiser],
                    first.device,
                    state=lambda: {"parameters": self.parameters, "optimiser": self.optimiser.state_dict()},
                    generators=[trainer.generator for trainer in self.trainers],
                    compiled=way == "compile",
                )
            terms = self._graph(drawn, noise, step_number=self.step)
        if self.averages:
            kept = decay_at(first.config.weight_averaging, self.step)
            move_averages(self.averages.values(), (self.parameters[name] for name in self.averages), kept)
        for trainer in self.trainers:
            trainer.step += 1
        return terms

    def take(self, drawn: Tensor, noise: Tensor, step_number: StepNumber) -> dict[str, Tensor]:
        """The step itself, on the images of all models read at once: they are of one data set on one device."""
        first = self.trainers[0]
        images = first.network_input(drawn).unflatten(0, noise.shape[:2])  # (S, B, C, H, W)

        def loss(
            parameters: dict[str, Tensor], weights: dict[str, Tensor], images: Tensor, noise: Tensor
        ) -> tuple[Tensor, dict[str, Tensor]]:
            named = {f"vae.{name}": parameter for name, parameter in parameters.items()}
            return torch.func.functional_call(self._loss, named, (weights, images, noise, first.autocast, step_number))

        losses, terms = torch.func.vmap(loss)(self.parameters, self.weights, images, noise)
        minimise(losses.sum(), self.optimiser)  # no loss depends on another model's parameters
        return terms

    @torch.no_grad()
    def write_back(self) -> None:
        """Give every trainer its own weights and the state of its optimiser, as if it had been alone."""
        for place, objective in enumerate(self.objectives):
            for name, parameter in objective.vae.named_parameters():
                stacked = self.parameters[name]
                parameter.copy_(stacked[place])
                objective.optimiser.state[parameter] = {
                    key: torch.empty_like(parameter).copy_(value[place]) if value.ndim else value.clone()
                    for key, value in self.optimiser.state[stacked].items()
                }
            trainer = self.trainers[place]
            trainer.learning_rate.set_on(objective.optimiser, self.step - 1)
            average = trainer.average
            if average is not None:
                for name, parameter in average.network.named_parameters():
                    parameter.copy_(self.averages[name][place])


def train_stacked(runs: Sequence[Run], on_steps: Callable[[int], None]) -> None:
    """Train opened runs in one loop and write all their folders.

    Runs that were killed at different steps catch up first, and are saved where they meet the others. A run whose loss
    becomes NaN or infinite is no longer written, and the others go on.

    Args:
        runs: what `opened_run` yields, for configurations that `why_not_stacked` accepts.
        on_steps: called with the number of steps of one model taken since its last call.

    Raises:
        NonFiniteLossError: the loss of one or several runs became NaN or infinite; the others are finished.
        TrainingInterrupted: SIGINT or SIGTERM; all states were saved.
    """
    steps = runs[0][0].config.steps
    failed: dict[Path, NonFiniteLossError] = {}
    with stop_on_signal() as signals:
        while not signals:
            waiting = [run for run in runs if run[0].step < steps and run[0].folder not in failed]
            if not waiting:
                break
            behind = min(trainer.step for trainer, _ in waiting)
            group = [run for run in waiting if run[0].step == behind]
            goal = min((trainer.step for trainer, _ in waiting if trainer.step > behind), default=steps)
            _advance(group, goal, signals, on_steps, failed)
        encoders = []
        for trainer, _ in runs:
            if trainer.folder not in failed:
                try:
                    encoders.append(trainer.export())
                except NonFiniteLossError as error:  # the others have encoders
                    failed[trainer.folder] = error
        for trainer, _ in runs:
            if trainer.folder in failed:
                failed[trainer.folder] = trainer.recover(failed[trainer.folder])
        if signals and any(trainer.step < steps for trainer, _ in runs if trainer.folder not in failed):
            raise TrainingInterrupted(runs[0][0].folder.parent, None, signals[0])
    for encoder in encoders:
        warn_if_collapsed(encoder)
    if failed:
        raise NonFiniteLossError("; ".join(str(error) for error in failed.values()))


def _advance(
    runs: Sequence[Run],
    goal: int,
    signals: list[int],
    on_steps: Callable[[int], None],
    failed: dict[Path, NonFiniteLossError],
) -> None:
    """Take runs that are at one step to `goal`, or to a signal; failures are entered into `failed` by folder."""
    models = StackedModels([trainer for trainer, _ in runs])
    sums = TermSums()
    started, started_at, reported = time.perf_counter(), models.step, models.step
    stopping = False
    while models.step < goal and not stopping:
        sums.add(models.train_step(), models.step)
        stopping = bool(signals)
        last = models.step == goal or stopping
        if not models.trainers[0].is_due(last):
            continue
        models.write_back()
        rate = models.trainers[0].images_since(started_at) / (time.perf_counter() - started)
        members = sums.unstack()
        if models.trainers[0].scalars_due(last):
            sums = TermSums()
        for (trainer, writer), own in zip(runs, members, strict=True):
            if trainer.folder in failed:
                continue
            try:
                trainer.record(writer, own, rate, last=last)
            except NonFiniteLossError as error:
                failed[trainer.folder] = error
        on_steps((models.step - reported) * len(runs))
        reported = models.step
