"""What is minimised: pure terms, and the small objective classes made of them.

An objective owns its networks, its optimisers and one `step`, so that adversarial objectives fit beside these.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from sparse_repr.models import VAE
from sparse_repr.reconstruction import Reconstruction
from sparse_repr.registry import lookup


def kl_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL divergence of each unit's posterior from N(0, 1): (mu^2 + sigma^2 - log sigma^2 - 1) / 2.

    Kingma and Welling 2013, appendix B.

    Args:
        mean: (B, D).
        log_variance: (B, D).

    Returns:
        (B, D) nats, at least 0.
    """
    return 0.5 * (mean.square() + log_variance.exp() - log_variance - 1)


def l1_penalty(codes: Tensor) -> Tensor:
    """Sum of absolute values over the units: sum_d |c_d| (the paper, section 4: "an L1 penalty at the output").

    Args:
        codes: (B, D).

    Returns:
        (B,), at least 0.
    """
    return codes.abs().sum(1)


class Objective(Protocol):
    """What the training loop needs of an objective."""

    vae: VAE

    def step(self, images: Tensor, noise: Tensor, autocast: torch.autocast) -> dict[str, Tensor]:
        """Take one optimisation step on images (B, C, S, S) in 0..1; returns scalar terms, averaged over the batch."""

    def state_dict(self) -> dict[str, Any]:
        """Weights and optimiser state: tensors and plain values only."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state_dict`."""


class VariationalObjective:
    """Reconstruction + beta * KL + sparsity_weight * L1 of the posterior mean, in nats per image.

    With beta 1 and no penalty it is the VAE (Kingma and Welling 2013; the paper, Eq. 1); beta > 1 is the beta-VAE
    (Higgins et al. 2017; the paper, Eq. 2); a positive sparsity weight is the paper's sparse VAE (section 4). The paper
    gives neither the weight nor the exact place of its L1 penalty: here it is the posterior mean, by default weight 1.
    """

    def __init__(
        self,
        vae: VAE,
        reconstruction: Reconstruction,
        *,
        learning_rate: float,
        beta: float,
        sparsity_weight: float,
    ) -> None:
        self.vae = vae
        self.reconstruction = reconstruction
        self.beta = beta
        self.sparsity_weight = sparsity_weight
        self.optimiser = torch.optim.Adam(vae.parameters(), lr=learning_rate, fused=True)

    def loss(self, images: Tensor, noise: Tensor, autocast: torch.autocast) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss (scalar, with gradient) and its terms (scalars, detached), averaged over the batch."""
        with autocast:
            posterior, _, logits = self.vae(images, noise)
        # outside autocast: sums over thousands of pixels in bfloat16 would lose the last three digits
        reconstruction = self.reconstruction(logits, images).mean()
        kl = kl_divergence(*posterior).sum(1).mean()
        l1 = l1_penalty(posterior.mean).mean()
        loss = reconstruction + self.beta * kl
        if self.sparsity_weight:
            loss = loss + self.sparsity_weight * l1
        terms = {"loss": loss, "reconstruction": reconstruction, "kl": kl, "l1": l1}
        return loss, {name: term.detach() for name, term in terms.items()}

    def step(self, images: Tensor, noise: Tensor, autocast: torch.autocast) -> dict[str, Tensor]:
        loss, terms = self.loss(images, noise, autocast)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()
        return terms

    def state_dict(self) -> dict[str, Any]:
        return {"vae": self.vae.state_dict(), "optimiser": self.optimiser.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.vae.load_state_dict(state["vae"])
        self.optimiser.load_state_dict(state["optimiser"])


@dataclasses.dataclass(frozen=True)
class ObjectiveChoice:
    """An entry of `OBJECTIVES`: how an objective is described, which weights it takes and how it is built."""

    summary: str
    """One line with its paper, for --help."""
    default_weights: Mapping[str, float]
    """Weights it uses when the user gives none; a weight that is not listed cannot be set."""
    build: Callable[..., Objective]
    """build(vae, reconstruction, learning_rate=..., **weights)."""

    def resolve_weights(self, name: str, given: Mapping[str, float | None]) -> dict[str, float]:
        """The weights to train with: the user's where given, else the defaults.

        Raises:
            ValueError: a weight that this objective fixes is given another value, or a weight is negative.
        """
        weights = dict(self.default_weights)
        for key, value in given.items():
            if value is None:
                continue
            if key not in weights:
                takers = [other for other, choice in OBJECTIVES.items() if key in choice.default_weights]
                raise ValueError(f"objective {name!r} has no {key}; objectives that take it: {', '.join(takers)}")
            if not value >= 0 or value == float("inf"):
                raise ValueError(f"{key} needs a finite number of at least 0, got {value}")
            weights[key] = float(value)
        return weights


def _vae(vae: VAE, reconstruction: Reconstruction, *, learning_rate: float) -> Objective:
    return VariationalObjective(vae, reconstruction, learning_rate=learning_rate, beta=1.0, sparsity_weight=0.0)


def _beta_vae(vae: VAE, reconstruction: Reconstruction, *, learning_rate: float, beta: float) -> Objective:
    return VariationalObjective(vae, reconstruction, learning_rate=learning_rate, beta=beta, sparsity_weight=0.0)


OBJECTIVES: dict[str, ObjectiveChoice] = {
    "vae": ObjectiveChoice("the evidence lower bound (Kingma and Welling 2013)", {}, _vae),
    "beta_vae": ObjectiveChoice("the KL term weighted by beta (Higgins et al. 2017)", {"beta": 4.0}, _beta_vae),
    "sparse": ObjectiveChoice(
        "VAE with an L1 penalty on the posterior mean (Cristovao et al., this package's paper)",
        {"beta": 1.0, "sparsity_weight": 1.0},
        VariationalObjective,
    ),
}


def choose_objective(name: str) -> ObjectiveChoice:
    """The entry of `OBJECTIVES` called `name`; an unknown name raises with its close matches."""
    return lookup(OBJECTIVES, name, "objective")
