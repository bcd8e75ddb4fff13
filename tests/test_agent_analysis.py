"""What the analysis of the study of agents computes, against values worked out by hand."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import scipy.stats

from envs.domains import TARGETS
from experiments.agents.analysis import (
    best_frozen,
    compared_pairs,
    improvement,
    improvement_probability,
    interquartile_mean,
    iqm,
    iqm_of_arms,
    performance_profiles,
)
from experiments.agents.correlations import correlations, spearman
from experiments.agents.curves import curves_of, final_level, learned_return, mean_over_training, steps_to
from experiments.agents.encoder_tables import score_title, shown_correlation
from experiments.agents.findings import (
    comparison_words,
    findings,
    ground_truth_order,
    order_sentence,
    prediction_words,
)
from experiments.agents.results import AgentResult
from experiments.agents.scores import Scores, anchors_of, clear_difference, mean_returns, normalised_scores
from experiments.agents.transfer import mean_share_kept, mean_target_return, share_kept, unseen_scores, zero_shot
from tests.agent_studies import agent, encoder, study, whole_study

REPETITIONS = 50


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
    from rliable import metrics

    assert interquartile_mean(np.array([[0.0, 1, 2, 3], [4, 5, 6, 100]])) == 3.5
    assert interquartile_mean(np.array([[1.0], [2], [6]])) == 3
    values = np.random.default_rng(0).normal(size=(5, 3))
    assert interquartile_mean(values) == pytest.approx(metrics.aggregate_iqm(values))


def test_the_interval_of_the_iqm_is_the_same_every_time_and_leaves_numpys_state_alone() -> None:
    known = scores([0.1, 0.2], [0.4, 0.6], [0.9, 0.3])
    np.random.seed(7)  # noqa: NPY002
    before = np.random.get_state()[1].tolist()  # noqa: NPY002
    first = iqm(known, repetitions=REPETITIONS)
    assert np.random.get_state()[1].tolist() == before  # noqa: NPY002
    np.random.seed(8)  # noqa: NPY002
    assert iqm(known, repetitions=REPETITIONS) == first
    assert first.low is not None
    assert first.high is not None
    assert 0.1 <= first.low < first.value < first.high <= 0.9
    assert (first.seeds, first.tasks) == (3, ("SpriteReach", "SpriteChase"))
    constant = iqm(scores([0.5], [0.5], [0.5]), repetitions=REPETITIONS)
    assert (constant.value, constant.low, constant.high) == (0.5, 0.5, 0.5)


def test_few_seeds_have_an_aggregate_without_an_interval() -> None:
    one = iqm(scores([0.25]), repetitions=REPETITIONS)
    assert (one.value, one.low, one.high) == (0.25, None, None)
    assert iqm(scores([0.0], [1.0]), repetitions=REPETITIONS).low is None


def test_without_rliable_there_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rliable", None)
    with pytest.raises(ImportError, match="pip install 'sparse-repr\\[agents\\]'"):
        iqm(scores([0.1], [0.2], [0.3]))


def test_the_probability_of_improvement_counts_pairs() -> None:
    from rliable import metrics

    low, high = np.array([[0.0], [0.1], [0.2]]), np.array([[0.3], [0.4]])
    assert improvement_probability(high, low) == 1
    assert improvement_probability(low, high) == 0
    assert improvement_probability(low, low) == 0.5
    assert improvement_probability(np.array([[0.1], [0.3]]), low) == pytest.approx((1.5 + 3) / 6)
    noise = np.random.default_rng(0)
    first, second = noise.integers(0, 4, (5, 2)).astype(float), noise.integers(0, 4, (4, 2)).astype(float)
    assert improvement_probability(first, second) == pytest.approx(metrics.probability_of_improvement(first, second))


def test_arms_are_compared_on_the_tasks_that_both_have() -> None:
    vae = [agent("vae", seed, 0.1 * seed) for seed in range(3)]
    sparse = [agent("sparse", seed, 0.5 + 0.1 * seed) for seed in range(3)]
    elsewhere = [agent("sparse", seed, -1.0, task="SpriteChase") for seed in range(3)]
    found = study(*vae, *sparse, *elsewhere)
    better = improvement(found, "sparse", "vae", repetitions=REPETITIONS)
    worse = improvement(found, "vae", "sparse", repetitions=REPETITIONS)
    assert better is not None
    assert worse is not None
    assert (better.probability.value, better.probability.low, worse.probability.value) == (1, 1, 0)
    assert better.probability.tasks == ("SpriteReach",)
    assert improvement(found, "vae", "vae").probability.value == 0.5
    assert improvement(study(*vae[:2], *sparse), "sparse", "vae") is None
    assert improvement(study(*vae, *elsewhere), "sparse", "vae") is None


def test_the_best_frozen_encoder_is_a_pretrained_one() -> None:
    arms = [agent("untrained", source=0.9), agent("vae", source=0.4), agent("sparse", source=0.6)]
    found = study(*arms, agent("sparse_tuned", source=0.8))
    assert best_frozen(found, ["SpriteReach"]) == best_frozen(found) == "sparse"
    assert ("sparse", "pixels") in compared_pairs(found)
    # over several tasks the scores are normalised, and who lacks a task does not count
    chase = [*references(), *references("SpriteChase", high=10.0), agent("vae", source=8.0, task="SpriteChase")]
    assert best_frozen(study(*arms, *chase)) == "vae"
    assert best_frozen(study(agent("pixels"))) is None
    pairs = compared_pairs(study())
    assert ("sparse_perceptual", "sparse") in pairs
    assert {("vae_tuned", "vae"), ("vae_tuned", "pixels")} <= set(pairs)
    assert ("sparse_16", "sparse") in pairs
    assert len(pairs) == 7 + 3 + 4 + 2 * 5


def test_profiles_are_shares_of_runs_above() -> None:
    vae = [agent("vae", seed, value) for seed, value in enumerate((0.2, 0.4, 0.6, 0.8))]
    thresholds = np.array([0.0, 0.3, 0.6, 0.9])
    profiles = performance_profiles(study(*references(), *vae), thresholds, repetitions=REPETITIONS)
    assert profiles["vae"].share.tolist() == [1, 0.75, 0.25, 0]
    assert profiles["vae"].low is not None
    assert profiles["vae"].low.shape == thresholds.shape
    assert profiles["factors"].low is None


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
    found = {
        (one.score, one.outcome): one for one in correlations(study(*made), "SpriteReach", repetitions=REPETITIONS)
    }
    up, down = found["mig", "source"], found["dead", "targets"]
    assert (up.rho, up.rho_of_means, up.count, up.kinds) == (pytest.approx(1), pytest.approx(1), 10, 5)
    assert (down.rho, down.low, down.high) == (pytest.approx(-1), pytest.approx(-1), pytest.approx(-1))
    constant, rare = found["ssim", "source"], found["rare", "source"]
    assert (constant.rho, constant.low, constant.rho_of_means, constant.count) == (None, None, None, 10)
    assert (rare.rho, rare.count, rare.kinds) == (None, 4, 2)
    # the share kept is (value / 2 + 1) / (value + 1): the better, the less
    assert found["mig", "kept"].rho == pytest.approx(-1)
    assert correlations(study(agent()), "SpriteReach") == []


def test_few_points_have_no_interval_and_no_word_is_said_of_them() -> None:
    kinds = ("untrained", "autoencoder", "vae", "beta_vae", "sparse", "sparse_perceptual")
    made = [entry for k, kind in enumerate(kinds) for entry in (agent(kind, 0, float(k)), encoder(kind, 0, mig=k))]
    (one,) = (found for found in correlations(study(*made), "SpriteReach", repetitions=9) if found.outcome == "source")
    assert (one.rho, one.low, one.high, one.count) == (pytest.approx(1), None, None, 6)
    assert shown_correlation(one) == "+1.00 (6)"
    assert prediction_words(study(*made), "SpriteReach", repetitions=9) == ""


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
    (one,) = (found for found in correlations(study(*made), "SpriteReach", repetitions=0) if found.outcome == "source")
    assert one.rho_of_means == pytest.approx(1)
    assert one.rho is not None
    assert 0 < one.rho < 1
    assert (one.low, one.high) == (None, None)


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
    found = findings(whole_study(3, tasks=("SpriteReach",)), repetitions=REPETITIONS)
    answers = {one.question: one.sentence for one in found}
    assert list(answers) == ["order", "final return", "sample efficiency", "transfer", "cost", "prediction"]
    assert answers["order"].startswith("ground-truth factors")
    assert "ground-truth factors 3 of 3 seeds after" in answers["sample efficiency"]
    assert "Training seconds per million steps." in answers["cost"]
    assert {one.task for one in found} == {"SpriteReach"}


def test_findings_of_a_study_that_has_just_begun() -> None:
    assert findings(study()) == []
    (order, transfer) = findings(study(agent()))
    assert order.sentence.startswith("Not enough seeds yet")
    assert transfer.sentence == "Without clearly better ground truth nothing is normalised."


def test_aggregates_are_in_the_order_of_the_arms() -> None:
    found = iqm_of_arms(study(agent(source=0.5), *references()), repetitions=REPETITIONS)
    assert {arm: one.value for arm, one in found.items()} == {"random_policy": 0, "factors": 1, "vae": 0.5}
    assert list(found) == ["random_policy", "factors", "vae"]
