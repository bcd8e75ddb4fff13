"""The paired gains of the study of agents."""

from __future__ import annotations

import pytest

from experiments.agents.gains import gains_in_words, gains_of, gains_table
from experiments.measure.intervals import t_interval
from tests.agent_studies import agent, study


def test_a_gain_is_over_the_seeds_that_both_have_in_shares_of_ground_truth() -> None:
    references = [agent("random_policy", source=[0.0, 0.1, -0.1]), agent("factors", source=[1.9, 2.0, 2.1])]
    plain = [agent("vae", seed, value) for seed, value in enumerate((9.0, 1.0, 1.4))]
    recoded = [agent("vae_expand", seed, value) for seed, value in zip((1, 2, 3), (1.8, 1.6, 9.0), strict=True)]
    found = study(*references, *plain, *recoded)
    (gain,) = gains_of(found, "SpriteReach")
    assert (gain.first, gain.second, gain.seeds) == ("vae_expand", "vae", (1, 2))
    assert gain.values == pytest.approx((0.4, 0.1))
    assert gain.interval == pytest.approx(t_interval([0.4, 0.1]))
    table = gains_table(found)
    assert table is not None
    (row,) = table.rows
    assert row[:4] == ("SpriteReach", "VAE, expand", "VAE", "2")
    assert row[4].startswith("0.25 ± ")
    assert row[5] == "2 of 2"
    assert table.note.startswith("Scale `tiny`; seeds 1, 2.")
    assert gains_in_words(found, [("vae_expand", "vae")]).endswith(
        ": VAE, expand over VAE on SpriteReach +0.25 ± 1.91 (2 pairs)."
    )
    assert gains_in_words(found, [("sparse_expand", "sparse")]) == ""
    assert gains_table(study(*references, *plain)) is None
    # of two encoders of one name nothing is compared
    anew = [*recoded, agent("vae_expand", 0, 1.8, encoder="anew")]
    assert [gain.seeds for gain in gains_of(study(*references, *plain, *anew), "SpriteReach")] == [(1, 2)]
    # without clearly better ground truth nothing is a share of it
    assert gains_table(study(*plain, *recoded)) is None
