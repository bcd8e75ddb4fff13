"""Autoencoders whose code is one point: reconstruction, and what makes the code sparse."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from sparse_repr.models import VAE
from sparse_repr.objectives.base import Objective, SingleOptimiserObjective, StepNumber, reported
from sparse_repr.objectives.reconstruction import Reconstruction
from sparse_repr.objectives.sparsity import achieved_sparsity
from sparse_repr.objectives.terms import l1_penalty

Coded = tuple[Tensor, Tensor | float, dict[str, Tensor]]


class Sparsifier(Protocol):
    """How a code becomes sparse while it is trained: a frozen record of weights and options."""

    def __call__(self, components: Any, noise: Tensor, step_number: StepNumber) -> Coded:
        """What the encoder put out, and standard normal noise (B, noise_size) -> the code (B, D) that is decoded, what
        is added to the loss (scalar), and more terms to report."""


class PointCodeObjective(SingleOptimiserObjective):
    """Reconstruction from a code without noise and without a prior, + what makes the code sparse."""

    def __init__(
        self,
        vae: VAE,
        reconstruction: Reconstruction,
        sparsifier: Sparsifier,
        *,
        learning_rate: float,
        noise_size: int = 0,
    ) -> None:
        """Own `vae` and an Adam optimiser for it.

        Args:
            vae: the networks; the encoder's head is the one that `sparsifier` takes.
            reconstruction: f(logits, images) -> (B,) nats.
            sparsifier: what makes the code sparse.
            learning_rate: of Adam.
            noise_size: standard normal numbers that `sparsifier` needs per image.
        """
        super().__init__(vae, learning_rate=learning_rate, noise_size=noise_size)
        self.reconstruction = reconstruction
        self.sparsifier = sparsifier

    def loss(
        self, images: Tensor, noise: Tensor, autocast: torch.autocast, step_number: StepNumber = 0
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss (scalar, with gradient) and its terms (scalars, detached), averaged over the batch."""
        with autocast:
            components = self.vae.encoder.components(self.vae.seen(images))
        # outside autocast: what is selected depends on small differences
        code, added, further = self.sparsifier(components, noise, step_number)
        with autocast:
            logits = self.vae.decoder(code)
        reconstruction = self.reconstruction(logits, images).mean()
        terms = {
            "loss": reconstruction + added,
            "reconstruction": reconstruction,
            "l1": l1_penalty(code).mean(),
            **achieved_sparsity(code),
            **further,
        }
        return terms["loss"], reported(terms)

    def with_weights(self, weights: Mapping[str, Tensor]) -> PointCodeObjective:
        """The same networks under other weights of the terms, scalar tensors by name."""
        changed = copy.copy(self)
        if weights:
            changed.sparsifier = dataclasses.replace(self.sparsifier, **weights)  # type: ignore[type-var]
        return changed


def point_code(sparsifier: Callable[..., Sparsifier]) -> Callable[..., Objective]:
    """How a `PointCodeObjective` is built whose weights and options are all its sparsifier's.

    Args:
        sparsifier: of the weights and options.

    Returns:
        What `ObjectiveChoice.build` is.
    """

    def build(vae: VAE, reconstruction: Reconstruction, *, learning_rate: float, **settings: Any) -> Objective:
        return PointCodeObjective(vae, reconstruction, sparsifier(**settings), learning_rate=learning_rate)

    return build
