"""What the analysis of the study of agents computes, against values worked out by hand."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator

import numpy as np
import pytest
import scipy.stats

from envs.domains import TARGETS
from experiments.agents.analysis import (
    best_frozen,
    compared_pairs,
    improvement,
    iqm,
    iqm_of_arms,
    performance_profiles,
)
from experiments.agents.arms import SECOND_ROUND
from experiments.agents.correlations import chances, correlations, spearman
from experiments.agents.curves import curves_of, final_level, learned_return, mean_over_training, steps_to
from experiments.agents.encoder_tables import score_title, shown_correlation
from experiments.agents.findings import (
    apart,
    comparison_words,
    findings,
    ground_truth_order,
    order_sentence,
    prediction_words,
)
from experiments.agents.results import AgentResult
from experiments.agents.scores import Scores, anchors_of, clear_difference, mean_returns, normalised_scores
from experiments.agents.transfer import mean_share_kept, mean_target_return, share_kept, unseen_scores, zero_shot
from experiments.measure.intervals import interquartile_half_widths, t_interval, wilson_interval
from tests.agent_studies import MACHINE, agent, encoder, study, whole_study


def scores(*rows: list[float]) -> Scores:
    values = np.array(rows)
    return Scores("vae", ("SpriteReach", "SpriteChase")[: values.shape[1]], tuple(range(len(values))), values)


def references(task: str = "SpriteReach", *, low: float = 0.0, high: float = 1.0) -> list[AgentResult]:
    return [
        agent("random_policy", source=low, task=task, targets=dict.fromkeys(TARGETS, low)),
        agent("factors", source=high, task=task),
    ]


def test_a_normalised_score_is_0_at_random_there_and_1_at_factors_in_the_source() -> None:
    found = study(
        agent("random_policy", source=0.2, targets={"noise": 0.1}),
        agent("factors", 0, source=0.9, targets={"noise": 0.1}),
        agent("factors", 1, source=1.1, targets={"noise": 0.3}),
        agent("vae", source=0.6, targets={"noise": 0.5, "camera": 0.5}),
    )
    anchors = anchors_of(found, "SpriteReach")
    assert anchors is not None
    assert anchors.span == pytest.approx(0.8)
    assert anchors.random == pytest.approx({"source": 0.2, "noise": 0.1})

    def values(arm: str, domain: str = "source") -> list[list[float]]:
        known = normalised_scores(found, arm, domain=domain)
        assert known is not None
        return known.values.tolist()

    assert values("random_policy") == [[0.0]]
    assert np.mean(values("factors")) == pytest.approx(1)
    assert values("vae") == [[pytest.approx(0.5)]]
    # counted from the random policy there, in the units of the source
    assert values("vae", "noise") == [[pytest.approx(0.5)]]
    assert values("factors", "noise") == [[pytest.approx(0.0)], [pytest.approx(0.25)]]
    assert normalised_scores(found, "vae", domain="camera") is None


def test_nothing_is_normalised_before_ground_truth_is_finished_and_clearly_better() -> None:
    random = agent("random_policy", source=[0.0, 1.0, 0.0, 1.0])
    assert anchors_of(study(random, agent()), "SpriteReach") is None
    assert anchors_of(study(agent("factors"), agent()), "SpriteReach") is None
    assert anchors_of(study(random, agent("factors", source=[0.5, 1.5, 0.5, 1.5])), "SpriteReach") is None
    assert normalised_scores(study(random, agent()), "vae") is None
    assert mean_returns(study(agent(source=0.25)), "vae").values.tolist() == [[0.25]]


def test_the_random_policy_counts_once_whatever_algorithm_it_was_made_for() -> None:
    random = agent("random_policy", source=0.1)
    twice = [random, dataclasses.replace(random, algorithm="sac"), dataclasses.replace(random, seed=1)]
    for algorithm in ("ppo", "sac"):
        learned = dataclasses.replace(agent("factors"), algorithm=algorithm)
        assert study(learned, *twice).of("SpriteReach", algorithm)["random_policy"] == [random, twice[2]]


def test_a_difference_is_clear_where_it_is_known_to_within_a_half() -> None:
    first, second = [0.9, 1.1, 1.0, 1.2, 0.8], [0.1, -0.1, 0.0, 0.2, -0.2]
    expected = scipy.stats.ttest_ind(first, second, equal_var=False).confidence_interval(0.95)
    assert (expected.high - expected.low) / 2 < 0.5
    assert clear_difference(first, second) == pytest.approx(1)
    assert clear_difference(second, first) is None
    assert clear_difference([0.6, 1.4, 1.0, 1.8, 0.2], second) is None  # 1 ± 0.76
    assert clear_difference([1.0], second) is None


def test_only_seeds_that_are_finished_on_every_task_of_the_arm_count() -> None:
    chase = {"task": "SpriteChase"}
    found = study(
        agent(seed=0, source=0.1),
        agent(seed=1, source=0.2),
        agent(seed=2, source=0.3),
        agent(seed=2, source=0.6, **chase),
        agent(seed=1, source=0.5, **chase),
        agent("sparse", seed=4, source=0.7, **chase),
        agent("beta_vae", seed=0),
        agent("beta_vae", seed=1, **chase),
        agent(seed=1, source=0.9, algorithm="sac"),
    )
    vae = mean_returns(found, "vae")
    assert vae is not None
    assert (vae.tasks, vae.seeds) == (("SpriteReach", "SpriteChase"), (1, 2))
    assert vae.values.tolist() == [[0.2, 0.5], [0.3, 0.6]]
    sparse = mean_returns(found, "sparse")
    assert sparse is not None
    assert (sparse.tasks, sparse.seeds) == (("SpriteChase",), (4,))
    assert mean_returns(found, "beta_vae") is None
    assert mean_returns(found, "vae", algorithm="sac").values.tolist() == [[0.9]]


def test_the_iqm_leaves_a_quarter_out_on_either_side() -> None:
    assert iqm(scores([0.0, 1], [2, 3], [4, 5], [6, 100])).value == 3.5
    assert iqm(scores([1.0], [2], [6])).value == 3


def test_the_interval_of_the_iqm_of_three_seeds_is_students() -> None:
    found = iqm(scores([0.3], [0.5], [0.4]))
    expected = scipy.stats.ttest_1samp([0.3, 0.5, 0.4], 0).confidence_interval(0.95)
    assert (found.value, found.low, found.high) == pytest.approx((0.4, expected.low, expected.high))
    both = scores([0.1, 0.2], [0.4, 0.6], [0.9, 0.3])
    assert iqm(both).high == pytest.approx(iqm(both).value + interquartile_half_widths(both.values))
    assert (iqm(both).seeds, iqm(both).tasks) == (3, ("SpriteReach", "SpriteChase"))
    constant = iqm(scores([0.5], [0.5], [0.5]))
    assert (constant.value, constant.low, constant.high) == (0.5, 0.5, 0.5)


def test_few_seeds_have_an_aggregate_without_an_interval() -> None:
    one = iqm(scores([0.25]))
    assert (one.value, one.low, one.high) == (0.25, None, None)
    assert iqm(scores([0.0], [1.0])).low is None


def test_without_rliable_there_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rliable", None)
    with pytest.raises(ImportError, match="pip install 'sparse-repr\\[agents\\]'"):
        iqm(scores([0.1], [0.2], [0.3]))


def test_arms_are_compared_on_the_tasks_that_both_have() -> None:
    vae = [agent("vae", seed, 0.1 * seed) for seed in range(3)]
    sparse = [agent("sparse", seed, 0.5 + 0.1 * seed) for seed in range(3)]
    elsewhere = [agent("sparse", seed, -1.0, task="SpriteChase") for seed in range(3)]
    found = study(*vae, *sparse, *elsewhere)
    better = improvement(found, "sparse", "vae")
    worse = improvement(found, "vae", "sparse")
    assert better is not None
    assert worse is not None
    assert (better.probability.value, worse.probability.value) == (1, 0)
    assert better.probability.tasks == ("SpriteReach",)
    # of 3 against 3 seeds 1 in 20 studies has all of one arm on top by chance, and 1 in 20 all of the other
    assert (better.probability.low, better.probability.high) == (pytest.approx(0.4385, abs=1e-4), 1)
    assert (worse.probability.low, worse.probability.high) == (0, pytest.approx(0.5615, abs=1e-4))
    assert improvement(found, "vae", "vae").probability.value == 0.5
    assert improvement(study(*vae[:2], *sparse), "sparse", "vae") is None
    assert improvement(study(*vae, *elsewhere), "sparse", "vae") is None


def test_the_probability_of_improvement_counts_pairs_of_all_tasks() -> None:
    reach = [agent("vae", seed, value) for seed, value in enumerate((0.1, 0.3, 0.5, 0.7))]
    reach += [agent("sparse", seed, value) for seed, value in enumerate((0.3, 0.6, 0.8))]
    chase = [agent("vae", seed, float(seed), task="SpriteChase") for seed in range(4)]
    chase += [agent("sparse", seed, -1.0, task="SpriteChase") for seed in range(3)]
    found = improvement(study(*reach, *chase), "sparse", "vae")
    assert found is not None
    # 0.3 is above one and as high as another of four: (1.5 + 3 + 4) / 12 in one task, 0 in the other
    share = (8.5 / 12 + 0) / 2
    assert found.probability.value == pytest.approx(share)
    assert (found.probability.low, found.probability.high) == pytest.approx(wilson_interval(6 * share, 6))
    assert found.probability.seeds == 3


def test_arms_are_ranked_only_on_the_same_tasks() -> None:
    reach, chase = references(), references("SpriteChase", high=10.0)
    pose = references("SpritePose")
    made = [*reach, *chase, *pose]
    made += [agent("vae", source=0.5), agent("vae", source=9.0, task="SpriteChase")]
    made += [agent("sparse", source=0.4), agent("sparse", source=0.1, task="SpritePose")]
    # vae and sparse have two tasks of three each, not the same
    assert set(iqm_of_arms(study(*made))) == {"random_policy", "factors"}
    assert best_frozen(study(*made)) is None
    made.append(agent("sparse", source=1.0, task="SpriteChase"))
    assert set(iqm_of_arms(study(*made))) == {"random_policy", "factors", "sparse"}
    assert best_frozen(study(*made)) == "sparse"
    assert set(iqm_of_arms(study(*made), ["SpriteReach", "SpriteChase"])) == {
        "random_policy",
        "factors",
        "vae",
        "sparse",
    }


def test_the_best_frozen_encoder_is_a_pretrained_one() -> None:
    arms = [agent("untrained", source=0.9), agent("random_vit", source=0.8)]
    arms += [agent("vae", source=0.4), agent("sparse", source=0.6)]
    found = study(*arms, agent("sparse_tuned", source=0.8))
    assert best_frozen(found, ["SpriteReach"]) == best_frozen(found) == "sparse"
    assert ("sparse", "pixels") in compared_pairs(found)
    # over several tasks the scores are normalised, and who lacks a task does not count
    chase = [*references(), *references("SpriteChase", high=10.0), agent("vae", source=8.0, task="SpriteChase")]
    assert best_frozen(study(*arms, *chase)) == "vae"
    assert best_frozen(study(agent("pixels"))) is None
    # one seed is no best arm where others have three
    three = [agent("sparse", seed, 0.6) for seed in range(3)]
    assert best_frozen(study(*three, agent("vae", source=0.9))) == "sparse"
    pairs = compared_pairs(study())
    assert ("sparse_perceptual", "sparse") in pairs
    assert {("vae_tuned", "vae"), ("vae_tuned", "pixels")} <= set(pairs)
    assert ("sparse_16", "sparse") in pairs
    assert {("vae_expand", "vae"), ("vae_cosine", "vae"), ("sparse_keypoints", "keypoints")} <= set(pairs)
    assert ("vae_denoised", "vae") in pairs
    assert set(SECOND_ROUND.items()) <= set(pairs)
    assert len(pairs) == 22 + 12 + 3 + 4 + 4 + 2 + 2 + 9 + 12 + 3 + 2 * 5 + 4 + 9 + 3 + 2
    # the best one stands last, and once
    expanded = study(*references(), agent("pixels"), agent("vae", source=0.4), agent("vae_expand", source=0.6))
    found = compared_pairs(expanded, ["SpriteReach"])
    assert [place for place, pair in enumerate(found) if pair == ("vae_expand", "pixels")] == [len(found) - 1]


def test_profiles_are_shares_of_runs_above() -> None:
    vae = [agent("vae", seed, value) for seed, value in enumerate((0.2, 0.4, 0.6, 0.8))]
    thresholds = np.array([0.0, 0.3, 0.6, 0.9])
    profiles = performance_profiles(study(*references(), *vae), thresholds)
    assert profiles["vae"].tolist() == [1, 0.75, 0.25, 0]
    assert profiles["factors"].tolist() == [1, 1, 1, 1]


def test_steps_to_80_percent_by_hand() -> None:
    factors = [
        agent("factors", 0, 1.0, curve=[(200 * k, value, 0, 10) for k, value in enumerate((0, 0.5, 0.9, 0.9, 1.0), 1)]),
        agent("factors", 1, 1.0, curve=[(200 * k, 0.8, 0, 10) for k in range(1, 6)]),
    ]
    # only the last of five windows lies in the last fifth: (1.0 + 0.8) / 2
    assert final_level(factors) == pytest.approx(0.9)
    found = study(agent("random_policy", source=0.1), *factors)
    assert learned_return(found, "SpriteReach") == pytest.approx(0.1 + 0.8 * 0.8)
    assert learned_return(found, "SpriteReach", share=0.5) == pytest.approx(0.5)
    # means of three windows: (0 + 0.5 + 0.9) / 3, (0.5 + 0.9 + 0.9) / 3 = 0.767
    assert steps_to(factors[0], 0.74) == 800
    assert steps_to(factors[0], 0.4) == 600
    assert steps_to(factors[1], 0.74) == 600
    assert steps_to(factors[0], 0.95) is None
    assert steps_to(agent(curve=[(100, 1.0, 1, 1)] * 2), 0.5) is None
    # windows count by their episodes: (1 * 0 + 1 * 0 + 8 * 1) / 10
    assert steps_to(agent(curve=[(100, 0, 0, 1), (200, 0, 0, 1), (300, 1.0, 0, 8)]), 0.8) == 300
    assert mean_over_training(factors[0]) == pytest.approx(0.66)
    assert mean_over_training(agent()) is None


def test_there_is_no_threshold_without_ground_truth() -> None:
    assert learned_return(study(agent()), "SpriteReach") is None
    assert learned_return(study(*references()), "SpriteReach") is None  # factors without a curve
    assert final_level([]) is None


def test_curves_of_seeds_are_read_at_common_steps() -> None:
    first = agent(curve=[(100, 0.0, 0, 1), (300, 1.0, 1, 1), (400, 1.0, 1, 1)])
    second = agent(seed=1, curve=[(200, 0.5, 0, 1), (300, 0.6, 0, 1)])
    found = curves_of([first, second])
    assert found is not None
    assert found.steps.tolist() == [200, 300]
    assert found.returns == pytest.approx(np.array([[0.5, 1.0], [0.5, 0.6]]))
    assert found.successes == pytest.approx(np.array([[0.5, 1.0], [0.0, 0.0]]))
    assert curves_of([agent()]) is None
    assert curves_of([agent(curve=[(100, 0, 0, 1)]), agent(curve=[(200, 0, 0, 1)])]) is None


def test_the_share_that_is_kept() -> None:
    random = agent("random_policy", source=0.2, targets={"noise": 0.1, "camera": 0.2})
    learned = agent(source=0.7, targets={"noise": 0.35, "camera": 0.2, "background": 0.7})
    assert share_kept(learned, [random], "noise") == pytest.approx(0.5)
    assert share_kept(learned, [random], "camera") == pytest.approx(0)
    assert share_kept(learned, [random], "source") == pytest.approx(1)
    assert share_kept(learned, [random], "background") is None
    assert share_kept(agent(source=[0.0, 0.5, 0.2, 0.3], targets={"noise": 0.3}), [random], "noise") is None
    assert share_kept(learned, [], "noise") is None
    found = zero_shot(study(random, agent("factors", source=1.2), learned, agent(seed=1, source=0.9)), "SpriteReach")
    assert found["vae"]["source"].returns == (0.7, 0.9)
    assert found["vae"]["source"].successes == (1, 1)
    assert found["vae"]["noise"].normalised == (pytest.approx(0.25),)
    assert found["vae"]["background"].kept == found["vae"]["background"].normalised == ()
    assert found["random_policy"]["source"].kept == ()
    assert list(found["vae"]) == ["source", "background", "noise", "camera"]


def test_the_mean_over_targets_needs_all_of_them() -> None:
    random = references()[0]
    targets = dict(zip(TARGETS, (0.1, 0.2, 0.3, 0.4, 0.5), strict=True))
    assert mean_target_return(agent(targets=targets)) == pytest.approx(0.3)
    assert mean_share_kept(agent(source=0.5, targets=targets), [random]) == pytest.approx(0.6)
    del targets["noise"]
    assert mean_target_return(agent(targets=targets)) is None
    assert mean_share_kept(agent(source=0.5, targets=targets), [random]) is None


def test_scores_of_unseen_domains_are_means_over_them() -> None:
    at_random = dict.fromkeys(TARGETS, 0.0) | {"noise": 1.0}
    found = study(
        agent("random_policy", source=0.0, targets=at_random),
        agent("factors", source=2.0),
        agent("vae", 0, source=2.0, targets=dict.fromkeys(TARGETS, 1.0)),
        agent("vae", 1, source=2.0, targets=dict.fromkeys(TARGETS, 2.0)),
        agent("vae", 2, source=2.0, targets={"noise": 2.0}),
    )
    scores = unseen_scores(found, "vae")
    assert scores is not None
    assert (scores.seeds, scores.tasks) == ((0, 1), ("SpriteReach",))
    # halves of the span of 2, but for the noise, whose random policy is at 1 itself
    assert scores.values == pytest.approx(np.array([[(4 * 0.5 + 0) / 5], [(4 * 1 + 0.5) / 5]]))
    assert unseen_scores(found, "factors") is None


def test_rank_correlations_are_scipys() -> None:
    noise = np.random.default_rng(0)
    first, second = noise.integers(0, 5, (2, 3, 12)).astype(float)
    expected = [scipy.stats.spearmanr(*pair).statistic for pair in zip(first, second, strict=True)]
    assert spearman(first, second) == pytest.approx(np.array(expected))
    assert np.isnan(spearman(np.ones(5), np.arange(5.0)))


def test_scores_foretell_return() -> None:
    names = ("untrained", "autoencoder", "vae", "beta_vae", "sparse")
    made = []
    for place, name in enumerate(names):
        for seed in range(2):
            value = place + 0.1 * seed
            made.append(agent(name, seed, value, targets=dict.fromkeys(TARGETS, value / 2)))
            made.append(encoder(name, seed, mig=value**3, dead=-value, ssim=0.5, rare=value if place > 2 else None))
    # no frozen agent of that seed, another task, fine-tuned
    made += [encoder("sparse", 7, mig=-5.0), encoder("sparse", 0, task="SpriteChase", mig=-5.0)]
    made += [agent("sparse_tuned", 7, -5.0), *references(low=-1.0)]
    found = {(one.score, one.outcome): one for one in correlations(study(*made), "SpriteReach")}
    up, down = found["mig", "source"], found["dead", "targets"]
    assert (up.rho, up.rho_of_means, up.count, up.kinds) == (pytest.approx(1), pytest.approx(1), 10, 5)
    # of 120 orders of 5 kinds two are as strong
    assert (up.p, up.p_of_all) == (pytest.approx(2 / 120), pytest.approx(2 / 120))
    assert (down.rho, down.p) == (pytest.approx(-1), pytest.approx(2 / 120))
    constant, rare = found["ssim", "source"], found["rare", "source"]
    assert (constant.rho, constant.p, constant.rho_of_means, constant.count) == (None, None, None, 10)
    assert (rare.rho, rare.p, rare.count, rare.kinds) == (None, None, 4, 2)
    # the share kept is (value / 2 + 1) / (value + 1): the better, the less
    assert found["mig", "kept"].rho == pytest.approx(-1)
    assert correlations(study(agent()), "SpriteReach") == []


def _unrelated(studies: int, kinds: int, seeds: int, scores: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Means per kind of scores and of an outcome that have nothing to do with them; kinds differ more than seeds."""
    noise = np.random.default_rng(kinds)
    for _ in range(studies):
        values = noise.normal(size=(scores + 1, kinds, 1)) + 0.5 * noise.normal(size=(scores + 1, kinds, seeds))
        yield values[:-1].mean(-1), values[-1].mean(-1)


@pytest.mark.parametrize("kinds", [6, 7])
def test_unrelated_scores_go_with_an_outcome_in_5_percent_of_studies(kinds: int) -> None:
    found = [chances(*one) for one in _unrelated(1_000, kinds, 5, 1)]
    share = np.mean([alone[0] < 0.05 for alone, _ in found])
    # of 6 kinds no order's share lies between 0.033 and 0.058
    assert 0.02 <= share <= scipy.stats.binom.ppf(0.999, 1_000, 0.05) / 1_000
    assert all(alone == of_all for alone, of_all in found)


def test_the_strongest_of_many_unrelated_scores_is_clear_in_5_percent_of_studies() -> None:
    found = [chances(*one) for one in _unrelated(500, 6, 5, 20)]
    assert np.mean([alone.min() < 0.05 for alone, _ in found]) > 0.3
    assert np.mean([of_all.min() < 0.05 for _, of_all in found]) <= scipy.stats.binom.ppf(0.999, 500, 0.05) / 500


def test_chances_of_a_score_that_a_kind_lacks_and_of_more_kinds_than_can_be_dealt_out_in_every_order() -> None:
    outcome = np.arange(6.0)
    scores = np.array([outcome, [np.nan, 1, 2, 3, 4, 5], [1.0] * 6, [np.nan] * 2 + [0, 1, 2, 3]])
    alone, of_all = chances(scores, outcome)
    # 2 of 720 orders sort all six; 12 sort the last five, whichever the kind without the score is dealt
    assert alone[:2] == pytest.approx([2 / 720, 12 / 720])
    assert of_all[:2] == pytest.approx([12 / 720, 12 / 720])
    assert np.isnan(alone[2:]).all()
    assert np.isnan(of_all[2:]).all()
    (many,), _ = chances(np.arange(10.0)[None], np.arange(10.0))
    assert 0 < many < 0.001
    noise = np.random.default_rng(0).normal(size=(2, 10))
    (many,), _ = chances(noise[:1], noise[1])
    assert many == pytest.approx(scipy.stats.spearmanr(*noise).pvalue, abs=0.02)


def test_few_kinds_have_no_chance_to_be_clear_and_no_word_is_said_of_them() -> None:
    kinds = ("untrained", "autoencoder", "vae", "beta_vae")
    made = [
        entry
        for k, kind in enumerate(kinds)
        for seed in range(2)
        for entry in (agent(kind, seed, float(k)), encoder(kind, seed, mig=k))
    ]
    (one,) = (found for found in correlations(study(*made), "SpriteReach") if found.outcome == "source")
    assert (one.rho, one.p, one.p_of_all, one.count) == (pytest.approx(1), None, None, 8)
    assert shown_correlation(one) == ("+1.00 (8)", "–")
    assert prediction_words(study(*made), "SpriteReach") == ""


def test_words_say_what_chance_gives_among_many_scores() -> None:
    names = ("untrained", "autoencoder", "vae", "beta_vae", "sparse", "sparse_4", "sparse_16", "sparse_perceptual")
    noise = np.random.default_rng(1)
    agents = [agent(name, 0, float(k)) for k, name in enumerate(names)]
    others = [{f"s{i}": noise.normal() for i in range(19)} for _ in names]
    both = [encoder(name, 0, mig=k, **more) for k, (name, more) in enumerate(zip(names, others, strict=True))]
    found = [one for one in correlations(study(*agents, *both), "SpriteReach") if one.outcome == "source"]
    clear = [one for one in found if one.p is not None and one.p < 0.05]
    words = prediction_words(study(*agents, *both), "SpriteReach")
    assert words.startswith(f"{len(clear)} of 20 scores go with the return in the source (p < 0.05")
    assert "by chance alone about 1 of 20 would. The clearest: MIG ρ +1.00 over 8 kinds, p < 0.001, of any" in words
    # what is clear by itself is not where it is the strongest of many
    assert len(clear) > 1
    without = [encoder(name, 0, **more) for name, more in zip(names, others, strict=True)]
    assert "so that none is settled" in prediction_words(study(*agents, *without), "SpriteReach")
    quiet = max(found, key=lambda one: one.p or 0).score
    one_score = [encoder(name, 0, **{quiet: more[quiet]}) for name, more in zip(names, others, strict=True)]
    assert prediction_words(study(*agents, *one_score), "SpriteReach") == (
        "No score goes with the return in the source by more than chance (p < 0.05 over the kinds of encoder)."
    )


def test_scores_have_the_names_of_the_field() -> None:
    titles = [
        score_title(name) for name in ("aam", "mig_histogram", "dci_histogram_completeness", "position_r2", "sap")
    ]
    assert titles == ["AAM", "MIG histogram", "DCI histogram completeness", "position R²", "SAP"]


def test_seeds_of_a_kind_and_their_means_may_disagree() -> None:
    made = []
    for place, name in enumerate(("untrained", "autoencoder", "vae", "beta_vae", "sparse")):
        for seed in range(2):
            # between kinds the score rises with the return, within a kind it falls
            made += [agent(name, seed, place + 0.1 * seed), encoder(name, seed, mig=place - 0.1 * seed)]
    (one,) = (found for found in correlations(study(*made), "SpriteReach") if found.outcome == "source")
    assert one.rho_of_means == pytest.approx(1)
    assert one.rho is not None
    assert 0 < one.rho < 1


@pytest.mark.parametrize(("frozen", "holds"), [(0.5, True), (0.99, False), (0.02, False)])
def test_ground_truth_best_frozen_and_random_are_apart_or_not(frozen: float, holds: bool) -> None:
    spread = (-0.02, 0.0, 0.02)  # the t-interval is ± 0.0497
    made = [
        agent(arm, seed, level + shift)
        for arm, level in (("random_policy", 0.0), ("factors", 1.0), ("sparse", frozen), ("untrained", 0.0))
        for seed, shift in enumerate(spread)
    ]
    order = ground_truth_order(study(*made), "SpriteReach")
    assert (order.best, order.holds) == ("sparse", holds)
    assert order.intervals["sparse"].half == pytest.approx(0.0497, abs=1e-4)
    words = order_sentence(order)
    assert ("do not overlap" in words) == holds
    assert ("cannot be told apart from" in words) == (not holds)
    assert words.startswith("ground-truth factors 1.00 ± 0.05")


def test_a_single_seed_settles_no_order() -> None:
    order = ground_truth_order(study(*references(), agent()), "SpriteReach")
    assert order.holds is None
    assert order_sentence(order) == "Not enough seeds yet of ground-truth factors, VAE, random policy."
    assert order_sentence(ground_truth_order(study(), "SpriteReach")).endswith("random policy, a frozen encoder.")


@pytest.mark.parametrize(("seeds", "spread", "rate"), [(3, 1, 0.02), (5, 1, 0.02), (5, 20, 0.05)])
def test_equal_arms_are_seldom_apart(seeds: int, spread: float, rate: float) -> None:
    first, second = np.random.default_rng(0).normal(size=(2, 2_000, seeds))
    pairs = zip(first.tolist(), (spread * second).tolist(), strict=True)
    found = [apart(t_interval(one), t_interval(other)) != 0 for one, other in pairs]
    assert np.mean(found) <= scipy.stats.binom.ppf(0.999, 2_000, rate) / 2_000


def test_words_claim_only_what_intervals_separate() -> None:
    values = {"sparse": [0.9, 0.91, 0.92], "vae": [0.1, 0.11, 0.12], "beta_vae": [0.2, 0.9, 1.5], "pixels": [1.0]}
    pairs = [("sparse", "vae"), ("sparse", "beta_vae"), ("vae", "beta_vae"), ("sparse", "pixels")]
    assert comparison_words(values, pairs) == (
        "With intervals apart: sparse 0.91 ± 0.02 over VAE 0.11 ± 0.02. "
        "2 of the 3 pairs that were to be compared cannot be told apart."
    )
    alone = "With intervals apart: sparse 0.91 ± 0.02 over VAE 0.11 ± 0.02."
    assert comparison_words(values, [("vae", "sparse")]) == alone
    none = "No intervals are apart in the one compared pair of arms."
    assert comparison_words(values, [("vae", "beta_vae")]) == none
    assert comparison_words({}, [("sparse", "vae")]) == ""


def test_findings_answer_every_question_of_a_whole_study() -> None:
    found = findings(whole_study(3, tasks=("SpriteReach",)))
    answers = {one.question: one.sentence for one in found}
    assert list(answers) == [
        "order",
        "final return",
        "sample efficiency",
        "time by the clock",
        "transfer",
        "cost",
        "prediction",
    ]
    assert answers["order"].startswith("ground-truth factors")
    assert "ground-truth factors 3 of 3 seeds after" in answers["sample efficiency"]
    assert "Training seconds per million steps." in answers["cost"]
    assert {one.task for one in found} == {"SpriteReach"}


def test_costs_are_compared_on_one_processor_alone() -> None:
    # frozen codes are cheaper where pixels learned, and dearer on a machine on which pixels did not
    here = [
        agent(arm, seed, curve=[(1_000, 0.5, 0.5, 4)], seconds={"training": seconds + seed})
        for arm, seconds in (("pixels", 100.0), ("vae_expand", 10.0))
        for seed in range(3)
    ]
    elsewhere = [
        dataclasses.replace(one, machine={**MACHINE, "processor": "another"})
        for seed in range(3, 6)
        for one in [agent("vae_expand", seed, curve=[(1_000, 0.5, 0.5, 4)], seconds={"training": 1_000.0})]
    ]
    cost = {one.question: one.sentence for one in findings(study(*here, *elsewhere))}["cost"]
    steps = here[0].steps
    assert f"pixels, end to end {101e6 / steps:,.0f}" in cost
    assert f"VAE, expand {11e6 / steps:,.0f}" in cost


def test_findings_of_a_study_that_has_just_begun() -> None:
    assert findings(study()) == []
    (order, transfer) = findings(study(agent()))
    assert order.sentence.startswith("Not enough seeds yet")
    assert transfer.sentence == "Without clearly better ground truth nothing is normalised."


def test_aggregates_are_in_the_order_of_the_arms() -> None:
    found = iqm_of_arms(study(agent(source=0.5), *references()))
    assert {arm: one.value for arm, one in found.items()} == {"random_policy": 0, "factors": 1, "vae": 0.5}
    assert list(found) == ["random_policy", "factors", "vae"]
