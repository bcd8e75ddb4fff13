"""How far updates of PPO move a policy: what is kept of each agent, its table and its figure."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import pytest

from experiments.agents.results import AgentResult
from experiments.agents.updates import PART, movements_of, updates_figure, updates_table
from tests.agent_studies import agent, study


def _learned(
    arm: str, seed: int, kl: float, source: float = 1.0, explained: Sequence[float | None] = (0.1,) * 10
) -> AgentResult:
    """An agent of ten updates, of which the first two move by `kl` on average, and the others by nothing."""
    updates = {
        "approx_kl": [0.5 * kl, 1.5 * kl, *[0.0] * 8],
        "clip_fraction": [0.25, 0.75, *[0.0] * 8],
        "explained_variance": explained,
    }
    return agent(arm, seed, source, updates=updates, first_layer={"input_l1": 8.0, "moved": 100 * kl})


def test_the_first_updates_and_the_last_returns_are_kept() -> None:
    assert PART == 5
    explained = [*[0.0] * 8, 0.5, None]
    found = movements_of(study(_learned("vae", 3, 0.004, 2.0, explained), agent("vae", 4)), "SpriteReach")
    (one,) = found["vae"]
    assert (one.seed, one.kl, one.clipped, one.explained, one.reached) == (3, 0.004, 0.5, 0.5, 2.0)
    nothing = movements_of(study(_learned("vae", 3, 0.004, explained=[None] * 10)), "SpriteReach")
    assert nothing["vae"][0].explained is None
    before = dataclasses.replace(_learned("vae", 3, 0.004), first_layer={})
    assert movements_of(study(before), "SpriteReach")["vae"][0].first_layer is None
    assert movements_of(study(agent("vae"), agent("random_policy")), "SpriteReach") == {}


def test_returns_are_normalised_where_they_can_be() -> None:
    references = [agent("random_policy", source=1.0), agent("factors", source=3.0)]
    found = movements_of(study(*references, _learned("vae", 0, 0.01, 2.0)), "SpriteReach")
    assert [one.reached for one in found["vae"]] == [0.5]


def test_the_table_sets_every_arm_beside_the_code_itself() -> None:
    arms = [_learned("vae", seed, 0.002) for seed in (0, 1)]
    arms += [_learned("vae_rate_10", 0, 0.004), _learned("vae_rate_10", 1, 0.016), _learned("vae_rate_10", 2, 1.0)]
    table = updates_table(study(*arms), "SpriteReach")
    assert table is not None
    rows = {row[0]: row[1:] for row in table.rows}
    assert rows["VAE"][0] == "2"
    assert rows["VAE"][1].startswith("2.00")
    assert rows["VAE"][2] == "–"
    # pairs alone: twice and eight times as far
    assert rows["VAE, learning rate times 10"][2] == f"{math.sqrt(2 * 8):.2f}"
    assert rows["VAE, learning rate times 10"][3].startswith("50.0")
    assert rows["VAE"][5].startswith("8.0")
    assert rows["VAE"][6].startswith("0.20")
    assert updates_table(study(agent()), "SpriteReach") is None
    # of two encoders of one name nothing is compared
    anew = [dataclasses.replace(one, encoder="anew") for one in arms if one.arm == "vae_rate_10" and one.seed]
    table = updates_table(study(*arms[:3], *anew), "SpriteReach")
    assert table is not None
    assert {row[0]: row[3] for row in table.rows}["VAE, learning rate times 10"] == "2.00"


@pytest.mark.parametrize("count", [2, 3])
def test_the_figure_needs_three_arms(count: int) -> None:
    names = ("vae", "vae_rate_10", "pixels")[:count]
    arms = [_learned(name, seed, 0.002 * (place + 1)) for place, name in enumerate(names) for seed in range(3)]
    figure = updates_figure(study(*arms), "SpriteReach")
    if count < 3:
        assert figure is None
        return
    assert figure is not None
    assert [axes.get_xscale() for axes in figure.axes] == ["log", "log"]
    # a bar, and a dot, of every arm in both
    assert [len(axes.lines) for axes in figure.axes] == [6, 6]
    titles = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    assert [title.split("  ")[0] for title in titles] == ["1", "2", "3"]


def test_arms_that_have_not_moved_have_no_place_in_the_figure() -> None:
    names = ("vae", "vae_rate_10", "pixels", "factors")
    still = [_learned(name, 0, 0.0) for name in names]
    assert updates_figure(study(*still), "SpriteReach") is None
    assert updates_table(study(*still), "SpriteReach") is not None
    moved = [_learned(name, 0, 0.01) for name in names[:3]]
    figure = updates_figure(study(*moved, still[3]), "SpriteReach")
    assert figure is not None
    assert [len(axes.lines) for axes in figure.axes] == [3, 3]
    # of agents whose first layer was not looked at the policy alone is drawn
    figure = updates_figure(study(*(dataclasses.replace(one, first_layer={}) for one in moved)), "SpriteReach")
    assert figure is not None
    assert [len(axes.lines) for axes in figure.axes] == [3, 0]
