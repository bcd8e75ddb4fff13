"""The tables and figures of the study of agents: what a cell says, and what is said where little is finished."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import partial

import numpy as np
import pytest

from envs.domains import TARGETS
from experiments.agents.analysis import performance_profiles
from experiments.agents.arms import ARMS
from experiments.agents.encoder_tables import correlations_table, encoders_table, objects_table
from experiments.agents.figures import figures_of
from experiments.agents.palette import colour_of, line_style, mark_style, panels_of
from experiments.agents.report import all_tables
from experiments.agents.results import AgentResult, AgentStudy
from experiments.agents.table_parts import not_new_to
from experiments.agents.tables import (
    agent_tables,
    cost_table,
    efficiency_table,
    final_table,
    improvement_table,
    overall_table,
    summary_table,
)
from experiments.agents.transfer_tables import ends_table, kept_table, transfer_table
from experiments.pages.tables import Table
from tests.agent_studies import MACHINE, agent, encoder, ends, study, whole_study


@pytest.fixture(scope="module")
def whole() -> AgentStudy:
    return whole_study(3, windows=10)


def column(table: Table | None, title: str) -> dict[str, str]:
    """A column by the first cell of its rows."""
    assert table is not None
    place = table.header.index(title)
    return {row[0]: row[place] for row in table.rows}


def rising(*values: float) -> list[tuple[int, float, float, int]]:
    return [(1_000 * (k + 1), value, value, 10) for k, value in enumerate(values)]


def begun() -> AgentStudy:
    """Two seeds of a few arms, one with targets."""
    return study(
        agent("random_policy", source=0.0, steps=5_000, targets=dict.fromkeys(TARGETS, 0.0)),
        agent("factors", source=1.0, steps=5_000, curve=rising(1, 1, 1, 1, 1)),
        agent("pixels", source=0.25, steps=5_000, curve=rising(0, 0, 0, 0, 0)),
        agent("vae", 0, 0.6, steps=5_000, curve=rising(0, 0.8, 0.8, 0.8, 0.8), targets={"noise": 0.3}),
        agent("vae", 1, 0.8, steps=5_000, curve=rising(0, 0, 0, 0, 0), seconds={"training": 40.0, "evaluation": 2.0}),
        encoder("vae"),
    )


def test_the_final_table_has_returns_successes_and_the_normalised_iqm() -> None:
    table = final_table(begun(), "SpriteReach")
    assert column(table, "return")["VAE"] == "0.700 ± 1.271 (0.600, 0.800)"
    assert column(table, "success (%)")["pixels, end to end"] == "0.0"
    assert column(table, "normalised, IQM") == {
        "random policy": "0.00",
        "ground-truth factors": "1.00",
        "pixels, end to end": "0.25",
        "VAE": "0.70",
    }
    assert column(table, "steps")["VAE"] == "5,000"
    assert column(table, "steps")["random policy"] == "–"
    assert column(table, "seeds")["VAE"] == "2"
    assert table is not None
    assert table.title == "Return after training on SpriteReach (PPO)"
    assert table.note.startswith("Scale `tiny`; 5,000 steps of learning; seeds 0, 1.")
    assert "4 episodes per seed" in table.note
    assert table.note.endswith("P; torch 2.9; 2026-01-02; git abc.")


def test_three_seeds_have_intervals_of_aggregates(whole: AgentStudy) -> None:
    cells = column(overall_table(whole), "IQM in the source")
    assert list(cells) == [arm.title for arm in ARMS.values()]
    value, low, high = (float(word.strip("[,]")) for word in cells["sparse"].split())
    assert low <= value <= high
    assert low < high
    assert column(overall_table(whole), "tasks")["VAE"] == "SpriteReach, SpriteChase"


def test_the_overall_table_says_which_tasks_are_in() -> None:
    table = overall_table(begun())
    assert column(table, "tasks")["VAE"] == "SpriteReach"
    assert column(table, "noise")["VAE"] == "0.30"
    assert column(table, "camera")["VAE"] == "–"
    assert table is not None
    assert "SpriteChase" not in table.header
    assert overall_table(study(agent())) is None


def test_an_arm_that_lacks_a_task_is_compared_on_the_others_alone(whole: AgentStudy) -> None:
    agents = [one for one in whole.agents if (one.arm, one.task) != ("sparse_16", "SpriteChase")]
    table = overall_table(study(*agents))
    names = ("tasks", "IQM in the source", "SpriteReach", "SpriteChase", "noise")
    cells = {name: column(table, name) for name in names}
    assert {name: found["sparse, weight 16"] for name, found in cells.items() if name != "SpriteReach"} == {
        "tasks": "SpriteReach",
        "IQM in the source": "–",
        "SpriteChase": "–",
        "noise": "–",
    }
    assert cells["SpriteReach"]["sparse, weight 16"].endswith("]")
    assert cells["IQM in the source"]["sparse, weight 4"].endswith("]")
    profiles = performance_profiles(study(*agents), np.array([0.5]))
    assert set(ARMS) - set(profiles) == {"sparse_16"}


def test_the_study_in_brief_has_both_sides_of_transfer_and_the_time() -> None:
    unseen = {"targets": dict.fromkeys(TARGETS, 0.2)}
    found = study(
        agent("random_policy", source=0.0, targets=dict.fromkeys(TARGETS, 0.0)),
        agent("factors", source=1.0, seconds={"training": 4.0}),
        agent("pixels", source=0.25, seconds={"training": 40.0}),
        agent("vae", 0, 0.6, **unseen),
        agent("vae", 1, 0.8, **unseen),
        agent("vae", 0, 0.6, task="SpriteChase"),
    )
    table = summary_table(found)
    assert table is not None
    assert table.header == ("agent sees", "seeds", "SpriteReach", "SpriteReach, unseen", "time against pixels")
    assert column(table, "SpriteReach")["VAE"] == "0.70"
    assert column(table, "SpriteReach, unseen")["VAE"] == "0.20"
    assert column(table, "seeds") == {
        "random policy": "1",
        "ground-truth factors": "1",
        "pixels, end to end": "1",
        "VAE": "2",
    }
    assert list(column(table, "time against pixels").values()) == ["–", "0.10", "1.00", "0.50"]
    assert summary_table(study(agent())) is None


def test_tables_say_which_domains_are_not_new_to_an_encoder() -> None:
    unseen = {"targets": dict.fromkeys(TARGETS, 0.2)}
    random = agent("random_policy", source=0.0, targets=dict.fromkeys(TARGETS, 0.0))
    plain = study(random, agent("factors", source=1.0), agent("vae", **unseen))
    known = study(
        *plain.agents,
        *(agent(arm, **unseen) for arm in ("vae_denoised_expand", "vae_robust", "sparse_keypoints_robust")),
    )
    words = (
        "Noise, other colours and backgrounds are not new to the encoders of VAE, denoised, expand; VAE, robust; "
        "sparse keypoints, robust, nor a moved camera to those of VAE, robust; sparse keypoints, robust, which learned "
        "from such frames."
    )
    for table in (summary_table, overall_table, partial(transfer_table, task="SpriteReach")):
        notes = [made.note for found in (plain, known) if (made := table(found)) is not None]
        assert [words in note for note in notes] == [False, True]
    assert words in (kept_table(known, "SpriteReach") or pytest.fail("no table")).note
    assert not_new_to(["pixels", "sparse_keypoints"]) == ""
    assert "camera" not in not_new_to(["vae_denoised"])


def test_the_time_over_all_tasks_is_that_of_arms_that_have_them_all() -> None:
    made = []
    for task, seconds in (("SpriteReach", 40.0), ("SpriteChase", 10.0)):
        made += [agent("random_policy", source=0.0, task=task), agent("factors", source=1.0, task=task)]
        made.append(agent("pixels", source=0.25, task=task, seconds={"training": seconds}))
    made += [agent("vae"), agent("vae", task="SpriteChase"), agent("sparse_16")]
    cells = column(summary_table(study(*made)), "time against pixels")
    assert (cells["VAE"], cells["sparse, weight 16"]) == ("1.25", "–")


def test_sample_efficiency_says_how_many_seeds_get_there() -> None:
    found = begun()
    cells = column(efficiency_table(found, "SpriteReach"), "thousand steps to 80 %")
    # 80 % of 1: three windows of 0.8 from 2,000 on
    assert cells == {"ground-truth factors": "3", "pixels, end to end": "> 5", "VAE": "1 of 2 (4)"}
    assert column(efficiency_table(found, "SpriteReach"), "normalised")["pixels, end to end"] == "0.00"
    table = efficiency_table(study(agent(curve=rising(0.5, 0.5))), "SpriteReach")
    assert table is not None
    assert table.header == ("arm", "seeds", "mean return while training")
    assert "Ground truth is not clearly above the random policy yet." in table.note
    assert "Curves have 2 windows" in table.note
    assert efficiency_table(study(agent("random_policy")), "SpriteReach") is None


def test_the_table_of_ends_has_every_kind_of_episode() -> None:
    found = study(
        ends("random_policy", square=(0, 1, 3), ellipse=(0, 4, 0), heart=(0, 2, 0)),
        ends("vae", 0, square=(4, 0, 0), ellipse=(0, 0, 4), heart=(1, 1, 0)),
        ends("vae", 1, square=(2, 0, 0), ellipse=(0, 0, 0), heart=(0, 2, 0)),
        ends("vae", 0, algorithm="sac", square=(0, 1, 0), ellipse=(0, 1, 0), heart=(0, 1, 0)),
        ends("vae", 0, task="SpriteChase", all=(1, 2, 1)),
    )
    table = ends_table(found, "SpriteReach")
    assert column(table, "square: success (%)") == {"random policy": "0", "VAE": "100 ± 0 (100, 100)"}
    # the second seed had no ellipse
    assert column(table, "ellipse: success (%)") == {"random policy": "0", "VAE": "0"}
    assert column(table, "success (%)")["VAE"].startswith("50 ± 0")
    assert column(table, "failure (%)")["random policy"] == "70"
    assert column(table, "time limit (%)")["VAE"].endswith("(40, 0)")
    assert list(column(ends_table(found, "SpriteReach", "sac"), "success (%)")) == ["random policy", "VAE"]
    chase = ends_table(found, "SpriteChase")
    assert chase is not None
    assert chase.header == ("arm", "seeds", "success (%)", "failure (%)", "time limit (%)")
    assert column(chase, "failure (%)") == {"VAE": "50"}
    assert ends_table(study(agent()), "SpriteReach") is None
    # the random policy alone makes no table of an algorithm that nothing has learned by
    alone = study(ends("random_policy", task="SpriteChase", all=(0, 1, 0)))
    assert ends_table(alone, "SpriteChase", "sac") is None
    assert ends_table(alone, "SpriteChase") is not None


def test_transfer_tables_show_the_domains_that_were_evaluated() -> None:
    table = transfer_table(begun(), "SpriteReach")
    assert column(table, "noise") == {
        "random policy": "0.000",
        "ground-truth factors": "–",
        "pixels, end to end": "–",
        "VAE": "0.300",
    }
    kept = kept_table(begun(), "SpriteReach")
    assert column(kept, "noise") == {"VAE": "50"}
    assert kept is not None
    assert kept.header == ("arm", "seeds", "noise")
    assert kept_table(study(agent()), "SpriteReach") is None
    assert transfer_table(study(), "SpriteReach") is None


def test_costs_are_per_step_and_against_pixels() -> None:
    table = cost_table(begun(), "SpriteReach")
    assert column(table, "training (s)")["VAE"] == "30 ± 127 (20, 40)"
    assert column(table, "time against pixels") == {
        "ground-truth factors": "1.00",
        "pixels, end to end": "1.00",
        "VAE": "1.50",
    }
    assert column(table, "steps per s")["pixels, end to end"] == "250"
    assert column(table, "memory (MB)")["pixels, end to end"] == "500"
    assert column(table, "encoder's training (s)")["VAE"] == "100"
    alone = cost_table(study(agent()), "SpriteReach")
    assert alone is not None
    assert "time against pixels" not in alone.header
    assert "encoder's training (s)" not in alone.header


def test_improvements_need_three_seeds(whole: AgentStudy) -> None:
    assert improvement_table(begun()) is None
    table = improvement_table(whole)
    assert table is not None
    assert table.header == ("arm", "against", "all tasks", "SpriteReach", "SpriteChase")
    assert table.rows[-1][1] == "pixels, end to end"
    assert "The last pair is the frozen encoder that does best" in table.note
    assert len(table.rows) == 62 + 11 + 12 + 3 + 9 + 3 + 2


def test_improvements_over_all_tasks_are_of_pairs_that_have_them_all() -> None:
    def seeds(arm: str, values: Sequence[float], task: str) -> list[AgentResult]:
        return [agent(arm, seed, value, task=task) for seed, value in enumerate(values)]

    reach, chase = "SpriteReach", "SpriteChase"
    arms = [*seeds("vae", [1, 2, 3, 4, 9, 9], reach), *seeds("vae", [1, 1, 1], chase)]
    arms += [
        *seeds("sparse", [5, 5, 5], reach),
        *seeds("sparse", [2, 2, 0], chase),
        *seeds("beta_vae", [1, 1, 1], reach),
    ]
    table = improvement_table(study(*arms))
    assert table is not None
    rows = {row[:2]: [cell[:4] for cell in row[2:]] for row in table.rows}
    # all six seeds of one task count there, and each task as much as the other
    assert rows["sparse", "VAE"] == ["0.67", "0.67", "0.67"]
    assert rows["sparse", "β-VAE"] == ["–", "1.00", "–"]
    assert "The last pair" not in table.note


def test_the_tables_say_of_how_many_seeds_they_are() -> None:
    made = []
    for task in ("SpriteReach", "SpriteChase"):
        made.append(agent("random_policy", source=[0.0, 0.01], task=task, targets={"noise": 0.0}))
        made.append(agent("factors", source=[1.0, 1.01], task=task))
        made += [agent(arm, source=0.8, task=task, targets={"noise": 0.4}) for arm in ("vae", "sparse")]
    made += [agent("vae", seed, 0.8, targets={"noise": 0.4}) for seed in (1, 2)]
    made += [agent("vae", 3, [0.0, 0.01], targets={"noise": 0.4})]
    cells = column(overall_table(study(*made)), "seeds")
    assert (cells["VAE"], cells["sparse"]) == ("4; 1 (1 in all tasks)", "1")
    # one of four had learned nothing that could be lost
    assert column(kept_table(study(*made), "SpriteReach"), "noise")["VAE"].endswith("; 3 of 4 seeds")


def test_encoders_have_a_column_per_score_and_per_sprite() -> None:
    found = study(
        encoder("untrained", mig=0.0, aam=None),
        encoder("sparse_perceptual", psnr_db=21.5, mig=0.25, exact_zero_fraction=0.125),
        encoder("sparse_perceptual", 1, psnr_db=22.5, mig=0.35),
        encoder("sparse_16", mig=0.25),
        encoder("vae", task="SpriteChase", sprites=0.875, mig=0.5),
    )
    table = encoders_table(found, "SpriteReach")
    assert column(table, "MIG") == {
        "untrained": "0.000",
        "sparse, weight 16": "0.250",
        "sparse + perceptual": "0.300 ± 0.635 (0.250, 0.350)",
    }
    assert column(table, "exact zero fraction") == {
        "untrained": "–",
        "sparse, weight 16": "–",
        "sparse + perceptual": "0.125",
    }
    assert table is not None
    assert table.header == ("encoder", "seeds", "PSNR (dB)", "MIG", "exact zero fraction")
    objects = objects_table(found, "SpriteChase")
    assert objects is not None
    assert objects.header == ("encoder", "seeds", "player", "heart", "square", "ellipse 1", "ellipse 2")
    assert objects.rows == (("VAE", "1", *["0.875"] * 5),)
    assert objects_table(study(), "SpriteChase") is None
    assert objects_table(study(encoder()), "SpriteChase", linear=True) is None
    lines = dataclasses.replace(encoder(task="SpriteChase"), linear_position_r2={"heart": 0.25})
    linear = objects_table(study(lines), "SpriteChase", linear=True)
    assert linear is not None
    assert linear.header == ("encoder", "seeds", "heart")
    assert linear.rows == (("VAE", "1", "0.250"),)


def test_correlations_show_points_and_kinds(whole: AgentStudy) -> None:
    table = correlations_table(whole, "SpriteReach")
    assert column(table, "return in the source")["PSNR (dB)"].endswith("(111)")
    # of the orders of 37 kinds hardly any is as strong
    assert column(table, "means per kind, p")["position R²"] == "+1.00 (37), p < 0.001, < 0.001"
    assert table is not None
    names = [row[0] for row in table.rows]
    assert "class accuracy" not in names  # never computed
    assert "exact zero fraction" not in names  # the same everywhere
    assert "not independent" in table.note
    assert correlations_table(begun(), "SpriteReach") is None


def test_an_empty_study_has_no_tables_and_no_figures() -> None:
    assert all_tables(study()) == []
    assert agent_tables(study()) == []
    assert figures_of(study()) == []


def test_every_table_has_a_cell_for_every_column(whole: AgentStudy) -> None:
    for found in (whole, begun(), study(agent("random_policy")), study(encoder(mig=0.5)), study(agent())):
        tables = all_tables(found)
        assert tables
        for table in tables:
            lines = [line for line in table.as_markdown().splitlines() if line.startswith("|")]
            assert len({line.count("|") for line in lines}) == 1
            assert "nan" not in table.as_markdown()
    titles = [table.title for table in all_tables(whole)]
    assert len(set(titles)) == len(titles) == 4 + 9 * 2 + 4 * 2


def test_algorithms_have_their_own_tables_and_share_the_random_policy() -> None:
    sac = agent("vae", source=0.9, algorithm="sac", machine={**MACHINE, "gpu": "G", "date": "2026-02-01"})
    elsewhere = agent("random_policy", task="SpriteChase")
    tables = all_tables(study(*begun().agents, sac, elsewhere))
    assert not [one.title for one in tables if "SpriteChase (SAC)" in one.title]
    (table,) = (one for one in tables if one.title == "Return after training on SpriteReach (SAC)")
    assert [row[0] for row in table.rows] == ["random policy", "VAE"]
    assert "G, P; torch 2.9; 2026-01-02 to 2026-02-01" in table.note


def test_figures_of_a_whole_study(whole: AgentStudy) -> None:
    figures = figures_of(whole)
    assert [one.name for one in figures] == [
        "normalised-ppo",
        "profiles-ppo",
        *(
            f"{kind}-{task}-ppo"
            for task in ("SpriteReach", "SpriteChase")
            for kind in ("learning", "clock", "transfer", "kinds", "doses", "scores")
        ),
    ]
    learning = next(one for one in figures if one.name == "learning-SpriteReach-ppo")
    (legend,) = learning.figure.legends
    titles = [text.get_text() for text in legend.get_texts()]
    assert titles == [*(arm.title for arm in ARMS.values() if not arm.dosed or arm.sees_part), "80 % of ground truth"]
    assert all(one.caption and one.title for one in figures)


def test_figures_of_a_study_that_has_just_begun() -> None:
    names = [one.name for one in figures_of(begun())]
    assert names[:3] == ["normalised-ppo", "profiles-ppo", "learning-SpriteReach-ppo"]
    assert names[3:] == ["clock-SpriteReach-ppo", "transfer-SpriteReach-ppo"]


def test_an_arm_keeps_its_colour_and_stands_in_one_panel_or_in_both() -> None:
    assert colour_of("sparse") == colour_of("sparse_tuned") != colour_of("vae")
    assert panels_of(list(ARMS))[1][1][:5] == ["random_policy", "factors", "pixels", "pixels_cropped", "untrained"]
    assert panels_of(["factors"]) == [("", ["factors"])]
    assert [len(names) for _, names in panels_of(list(ARMS))] == [33 + 12, 15 + 18, 11]


def test_a_recoded_code_has_the_colour_and_the_mark_of_the_code_and_another_line() -> None:
    assert colour_of("vae_expand") == colour_of("vae")
    plain, recoded = mark_style("vae"), mark_style("vae_expand")
    assert {name for name in plain if plain[name] != recoded[name]} == {"fillstyle"}
    shown = [name for name, arm in ARMS.items() if arm.encoder == "vae" and not arm.dosed]
    assert len(shown) == 9
    assert len({str(line_style(arm)["linestyle"]) for arm in shown}) == 9
    marks = [(mark["marker"], mark["fillstyle"], mark["markerfacecolor"]) for mark in map(mark_style, shown)]
    assert len(set(marks)) == 9


def test_agents_of_another_rate_stand_beside_the_others_where_arms_are_few() -> None:
    few = ["random_policy", "factors", "pixels", "sparse_keypoints", "pixels_rate_03"]
    assert panels_of(few)[0][1] == ["random_policy", "factors", "pixels", "sparse_keypoints", "pixels_rate_03"]
    with_code = panels_of(["random_policy", "factors", "vae", "vae_expand", "vae_rate_10"])
    assert [names for _, names in with_code] == [
        ["random_policy", "factors", "vae", "vae_rate_10"],
        ["random_policy", "factors", "vae_expand"],
    ]
    assert "pixels_rate_03" not in {arm for _, names in panels_of(list(ARMS)) for arm in names}
    assert line_style("pixels_rate_03")["color"] == line_style("pixels")["color"]
    assert line_style("pixels_rate_03")["linestyle"] != line_style("pixels")["linestyle"]
