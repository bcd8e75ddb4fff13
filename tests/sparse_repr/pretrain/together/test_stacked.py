"""Stacked models take the steps of single runs: same noise, same losses, same state."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from sparse_repr import PretrainConfig
from sparse_repr.data import FactorDataset
from sparse_repr.objectives import OBJECTIVES
from sparse_repr.pretrain.term_sums import TermSums
from sparse_repr.pretrain.together.stacked import StackedModels, why_not_stacked
from sparse_repr.pretrain.trainer import Trainer

SMALL = PretrainConfig(
    image_size=32, batch_size=8, learning_rate=1e-3, precision="float32", device="cpu", progress=False
)


def _members(**settings: Any) -> list[PretrainConfig]:
    """Three seeds of one objective, its weights 0, 1 and 4."""
    config = dataclasses.replace(SMALL, **settings)
    weights = (dict.fromkeys(config.objective_weights(), value) for value in (0.0, 1.0, 4.0))
    return [
        dataclasses.replace(config, seed=seed, **changes).resolve()
        for seed, changes in zip((0, 1, 5), weights, strict=True)
    ]


@pytest.mark.parametrize(
    "settings",
    [
        {"objective": "vae"},
        {"objective": "beta_vae"},
        {"objective": "sparse"},
        {"objective": "sparse", "sparsity_target": "output", "sparsity_warmup": 6},
        {"objective": "sparse", "sparsity_target": "weights"},
        {"objective": "sparse_shrinkage"},
        {"objective": "spike_and_slab"},
        {"objective": "top_k", "units_per_image_steps": 6},
        {"objective": "batch_top_k", "weight_averaging": 0.9},
        {"objective": "jump_relu", "nonzero_warmup": 6},
        {"objective": "rectified_gaussian"},
        {"objective": "vaease"},
        {"objective": "latent_quantisation"},
        {"objective": "laplace_prior"},
        {"objective": "beta_vae_capacity", "capacity_steps": 18},
        {"objective": "beta_tcvae"},
        {"objective": "dip_vae_i"},
        {"objective": "dip_vae_ii"},
        {"objective": "sparse_keypoints", "keypoints": 3, "presence_warmup": 6},
        # at 1e-3 Adam overshoots, and a single run whose weights moved by one rounding differs as much as a stack
        {"objective": "iwae", "learning_rate": 1e-4},
        {
            "objective": "sparse",
            "learning_rate_warmup": 4,
            "learning_rate_decay": "cosine",
            "learning_rate_decay_steps": 9,
            "first_batch_size": 2,
            "batch_growth_steps": 6,
            "initialisation": "he",
            "weight_averaging": 0.9,
        },
    ],
    ids=lambda settings: "-".join(map(str, settings.values())),
)
def test_stacked_models_take_the_steps_of_single_ones(settings: dict[str, Any], dsprites: FactorDataset) -> None:
    configs = _members(**settings)
    assert why_not_stacked(configs) is None
    singles = [Trainer(config, dsprites) for config in configs]
    stack = StackedModels([Trainer(config, dsprites) for config in configs])
    assert set(stack.weights) == set(configs[0].objective_weights())
    for step in range(12):
        alone = [single.train_step() for single in singles]
        together = stack.train_step()
        for place, terms in enumerate(alone):
            torch.testing.assert_close(together["loss"][place], terms["loss"], rtol=1e-4, atol=1e-6, msg=f"step {step}")
            assert terms.keys() <= together.keys()
    stack.write_back()
    for single, member in zip(singles, stack.trainers, strict=True):
        assert member.step == single.step == 12
        assert torch.equal(member.generator.get_state(), single.generator.get_state())
        assert _flat(member.objective.state_dict()).keys() == _flat(single.objective.state_dict()).keys()
        rates = [trainer.objective.optimiser.param_groups[0]["lr"] for trainer in (member, single)]
        assert rates[0] == rates[1]
        assert (member.average is None) == (not settings.get("weight_averaging"))
        if member.average is not None and single.average is not None:
            average = dict(single.average.network.named_parameters())
            for name, parameter in member.average.network.named_parameters():
                # Adam's first steps are of size lr whatever the gradient: tiny gradients differ by rounding
                torch.testing.assert_close(parameter, average[name], rtol=1e-3, atol=2e-3)


def _flat(state: Any, name: str = "") -> dict[str, Any]:
    items = state.items() if isinstance(state, dict) else enumerate(state) if isinstance(state, list) else ()
    parts = {} if items else {name: getattr(state, "shape", state)}
    for key, value in items:
        parts |= _flat(value, f"{name}.{key}")
    return parts


def test_a_member_goes_on_alone_and_a_single_run_in_a_stack(dsprites: FactorDataset) -> None:
    configs = _members(objective="sparse")
    singles = [Trainer(config, dsprites) for config in configs]
    for single in singles:
        for _ in range(6):
            single.train_step()
    members = [Trainer(config, dsprites) for config in configs]
    first = StackedModels(members)
    for _ in range(2):
        first.train_step()
    first.write_back()
    second = StackedModels(members)  # with the moments of Adam, which decide the size of the next steps
    for _ in range(2):
        second.train_step()
    second.write_back()
    for member, single in zip(members, singles, strict=True):
        for _ in range(2):
            member.train_step()
        state, other = member.objective.state_dict(), single.objective.state_dict()
        for name, tensor in other["vae"].items():
            # Adam's first steps are of size lr whatever the gradient: tiny gradients differ by rounding
            torch.testing.assert_close(state["vae"][name], tensor, rtol=1e-3, atol=2e-4)
        assert {float(moments["step"]) for moments in state["optimiser"]["state"].values()} == {6.0}


def test_what_cannot_be_stacked_is_named() -> None:
    def obstacle(*changes: dict[str, Any]) -> str | None:
        return why_not_stacked([dataclasses.replace(SMALL, **change).resolve() for change in changes])

    assert obstacle({"code_size": 10}, {"code_size": 20}) == (
        "models in one stack need equal settings except the seed and the objective's weights, got code_size 10, 20"
    )
    assert "got objective sparse, vae" in str(obstacle({}, {"objective": "vae"}))
    assert "discriminator" in str(obstacle({"objective": "factor_vae"}))
    assert "second step" in str(obstacle({"sparsity_target": "weights", "sparsity_proximal": True}))
    assert "not stacked" in str(obstacle({"perceptual_weight": 1.0, "perceptual_features": "dae"}))
    assert obstacle({"seed": 0, "beta": 1.0}, {"seed": 1, "beta": 2.0}) is None


def test_every_other_objective_can_be_stacked() -> None:
    for name, choice in OBJECTIVES.items():
        obstacle = why_not_stacked([dataclasses.replace(SMALL, objective=name).resolve()])
        assert (obstacle is not None) == (choice.discriminates or "targets" in choice.needs)


def test_sums_are_unstacked_by_model() -> None:
    sums = TermSums()
    sums.add({"loss": torch.tensor([1.0, float("nan")])}, 1)
    sums.add({"loss": torch.tensor([3.0, 1.0])}, 2)
    good, bad = sums.unstack()
    assert good.means() == {"loss": 2.0}
    assert (good.first_not_finite, bad.first_not_finite) == (None, 1)
