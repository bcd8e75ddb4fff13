"""What is compared: objectives, and ways to start and to schedule a run of any length."""

from __future__ import annotations

import dataclasses
from typing import Any

from sparse_repr.objectives import default_settings
from sparse_repr.pretrain.presets import PRESETS
from sparse_repr.registry import lookup

_BETA = PRESETS["dsprites/beta_vae"]["beta"]
ARMS: dict[str, dict[str, Any]] = {
    "vae": {"objective": "vae"},
    "beta_vae": {"objective": "beta_vae", "beta": _BETA},
    "sparse": {"objective": "sparse", "beta": 1.0, "sparsity_weight": 1.0},
    "beta_sparse": {"objective": "sparse", "beta": _BETA, "sparsity_weight": 1.0},
    "capacity": {"objective": "beta_vae_capacity"},
}
"""Name -> what decides the loss."""


@dataclasses.dataclass(frozen=True)
class Way:
    """How a run is started and scheduled; steps are shares of the run."""

    settings: dict[str, Any]
    """Settings of `PretrainConfig`."""
    beta_start: float = 0.0
    """Weight of the KL at step 0, where `beta_share` is not 0."""
    beta_share: float = 0.0
    """Share of the run until the weight of the KL is that of the arm."""
    opening_at: float = 0.0
    """Share of the run at which closed units are opened; 0 for never."""
    opening_share: float = 0.0
    """Share of the run over which the KL counts less from there on."""
    first_at_most: int = 0
    """Steps that the part before that has at most, with its KL and learning rate; 0 for as many as its share is."""
    rate_warmup_share: float = 0.0
    """Share of the run until the learning rate is whole."""
    opening_warmup_share: float = 0.0
    """Share of the run until it is so again, from where closed units are opened."""
    warmup_share: float = 0.0
    """Share of the run until the weight of an L1 penalty is that of the arm."""
    capacity_share: float = 1.0
    """Share of the run until a capacity is reached."""
    capacity_nats: float = 25.0
    """That capacity."""
    capacity_weight: float = 100.0
    """Weight gamma of the distance from it."""


_COSINE = {"learning_rate": 1e-3, "learning_rate_decay": "cosine", "final_learning_rate": 1e-5}
_HE = {**_COSINE, "initialisation": "he"}
_BIAS = {**_COSINE, "initialisation": "output_bias"}
_OPENED = Way(
    {**_HE, "learning_rate": 2e-3},
    rate_warmup_share=0.025,
    beta_start=64.0,
    beta_share=0.16,
    opening_at=0.16,
    opening_share=0.44,
    warmup_share=0.2,
)
_TURNED = dataclasses.replace(
    _OPENED, settings={**_OPENED.settings, "opening_ica": True, "opening_recycle": True}, beta_start=128.0
)
WAYS: dict[str, Way] = {
    "published": Way({"learning_rate": 5e-4}),
    "cosine": Way(_COSINE),
    "bias": Way(_BIAS, warmup_share=0.25),
    "bias-above": Way(
        _BIAS,
        beta_start=10.0,
        beta_share=0.25,
        warmup_share=0.25,
        capacity_share=0.75,
        capacity_nats=12.0,
        capacity_weight=10.0,
    ),
    "he": Way(_HE, warmup_share=0.25),
    "he-quick": Way({**_HE, "learning_rate": 2e-3}, rate_warmup_share=0.025, warmup_share=0.25),
    "he-above": Way(_HE, beta_start=10.0, beta_share=0.25, warmup_share=0.25),
    "he-far-above": Way(_HE, beta_start=20.0, beta_share=0.5, warmup_share=0.5),
    "he-farthest-above": Way(_HE, beta_start=64.0, beta_share=0.5, warmup_share=0.5),
    "he-opened": _OPENED,
    "he-turned": _TURNED,
    "he-warmed": dataclasses.replace(_TURNED, opening_warmup_share=0.05),
    "he-prompt": dataclasses.replace(_TURNED, opening_warmup_share=0.05, first_at_most=2_560),
}
"""Name -> way: published (constant 5e-4), the others 1e-3 (quick, opened and on: 2e-3) by a cosine to 1e-5;
`above` starts with a larger weight of the KL than the arm's and goes down to it; `opened` opens closed units behind
that, `turned` turns the open ones to independent axes and recycles dead neurons before, `warmed` lets the rate grow
from 0 again behind that, and `prompt` does so after 2,560 steps of any longer run than 16,000."""


def settings_of(arm: str, way: str, steps: int) -> dict[str, Any]:
    """Settings of `PretrainConfig` for an arm trained in some way for `steps` steps.

    >>> settings_of("sparse", "bias-above", 4_000)["beta_steps"]
    1000

    Raises:
        ValueError: an unknown name, with its close matches.
    """
    loss, chosen = lookup(ARMS, arm, "arm"), lookup(WAYS, way, "way")
    whole = steps
    if chosen.first_at_most:
        whole = min(steps, round(chosen.first_at_most / chosen.opening_at))  # what the first part is a share of
    schedules = {
        "capacity_weight": chosen.capacity_weight,
        "capacity_nats": chosen.capacity_nats,
        "capacity_steps": round(chosen.capacity_share * steps),
        "sparsity_warmup": round(chosen.warmup_share * steps),
        **(
            {"beta_start": chosen.beta_start, "beta_steps": round(chosen.beta_share * whole)}
            if chosen.beta_share
            else {}
        ),
        **(
            {
                "opening_step": round(chosen.opening_at * whole),
                "opening_steps": round(chosen.opening_share * steps),
                # an L1 penalty would close them again
                "sparsity_start": round(chosen.opening_at * whole + chosen.opening_share * steps),
            }
            if chosen.opening_at
            else {}
        ),
    }
    taken = default_settings(loss["objective"])
    shares = {
        "learning_rate_warmup": (chosen.rate_warmup_share, whole),
        "opening_warmup": (chosen.opening_warmup_share, steps),
    }
    rates = {name: round(share * of) for name, (share, of) in shares.items() if share}
    return {**loss, **chosen.settings, **rates, **{name: value for name, value in schedules.items() if name in taken}}
