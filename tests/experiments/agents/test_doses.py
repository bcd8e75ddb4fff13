"""The study of doses: which settings its arms have, its table and its figure."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import gymnasium as gym
import pytest
from stable_baselines3.common.vec_env import DummyVecEnv

from experiments.agents.arms import ARMS, ENCODERS, RATED
from experiments.agents.cells import agent_cell, agent_cells, encoder_cells
from experiments.agents.doses import CURVES, doses_figure, doses_table
from experiments.agents.results import AgentResult, EncoderResult
from experiments.agents.scales import AGENT_SCALES
from experiments.agents.training import make_agent, shown_of
from rl.recodings import recoding_of
from sparse_repr.data import FactorDataset
from sparse_repr.pretrain.untrained import untrained_encoder
from tests.agent_studies import agent, encoder, study

WIDTH, SHARE, *OF_RATES, PRICE = CURVES


@pytest.mark.parametrize("code_size", [10, 32])
def test_arms_of_a_curve_differ_in_its_setting_alone(code_size: int, dsprites: FactorDataset, tmp_path: Path) -> None:
    code = untrained_encoder(channels=1, code_size=code_size, data=dsprites, initialisation="he")

    def settings(arm: str) -> dict[str, object]:
        cell = agent_cell(AGENT_SCALES["doses"], "SpriteReach", arm, "ppo", 3, tmp_path)
        return recoding_of(shown_of(cell, code)["recode"]).resolved(code_size).settings()

    default = settings("vae_expand")
    for dose in WIDTH.doses:
        width = round(dose.value) * code_size
        assert settings(dose.arm) == {**default, "width": width, "k": max(1, width // 10)}
    width = 20 * code_size
    for dose in SHARE.doses:
        assert settings(dose.arm) == {**default, "width": width, "k": max(1, round(dose.value * width / 100))}


def test_the_doses_are_those_of_the_issue_and_hold_the_default() -> None:
    assert [dose.value for dose in WIDTH.doses] == [2, 5, 10, 20, 50]
    assert [dose.value for dose in SHARE.doses] == pytest.approx([0, 2, 5, 10, 30, 50])
    assert all([dose.value for dose in curve.doses] == [0.3, 1, 3, 10] for curve in OF_RATES)
    assert [dose.value for dose in PRICE.doses] == [1, 3, 10, 30]
    for curve in CURVES:
        assert curve.default in {dose.arm for dose in curve.doses}
        assert {dose.arm for dose in curve.doses} <= ARMS.keys()


def test_agents_of_another_rate_learn_from_the_same_with_that_rate(tmp_path: Path) -> None:
    venv = DummyVecEnv([lambda: gym.make("CartPole-v1")] * 2)
    rates: dict[float, float] = {}
    images = DummyVecEnv([lambda: gym.make("SparseRepr/SpriteReach-v0")] * 2)
    assert {curve.default for curve in OF_RATES} == set(RATED)
    for dose in (dose for curve in OF_RATES for dose in curve.doses):
        scale, task = ("public", "VizDoomBasic") if ARMS[dose.arm].sees_part else ("doses", "SpriteReach")
        cell = agent_cell(AGENT_SCALES[scale], task, dose.arm, "ppo", 0, tmp_path)
        rate = make_agent(cell, images if cell.arm.observes == "pixels" else venv).learning_rate
        assert isinstance(rate, float)
        assert rates.setdefault(dose.value, rate) == rate
        base = ARMS[dose.arm.partition("_rate_")[0]]
        assert (cell.arm.recode, cell.arm.encoder, cell.arm.observes) == (base.recode, base.encoder, base.observes)
    assert rates == pytest.approx({0.3: 9e-5, 1: 3e-4, 3: 9e-4, 10: 3e-3})


def test_prices_are_parts_of_the_default() -> None:
    plain = ENCODERS["sparse_keypoints"]
    for dose in PRICE.doses:
        settings = ENCODERS[dose.arm]
        price = settings.get("presence_weight", 0.007)
        assert price == pytest.approx(0.007 * dose.value)
        assert {name: value for name, value in settings.items() if name != "presence_weight"} == plain


def test_one_encoder_serves_all_arms_that_expand_it(tmp_path: Path) -> None:
    scale = AGENT_SCALES["doses"]
    cells = agent_cells(scale, tmp_path, tasks=["SpriteReach"], seeds=[10])
    expanded = {cell.encoder_folder for cell in cells if cell.arm.encoder == "vae"}
    assert len(expanded) == 1
    assert {cell.encoder for cell in encoder_cells(scale, cells, tmp_path)} == {
        *("vae", "keypoints", "sparse_keypoints"),
        *("sparse_keypoints_3", "sparse_keypoints_10", "sparse_keypoints_30"),
    }
    # an agent of another dose is another agent
    settings = {cell.arm_name: cell.settings() for cell in cells}
    assert settings["vae_expand_2d"]["times"] == 2
    assert settings["vae_expand_0pc"]["share"] == 0
    assert settings["vae_rate_3"]["rate"] == 3
    assert not {"times", "share", "rate"} & settings["vae_expand"].keys()


def _found() -> list[AgentResult | EncoderResult]:
    references = [agent("random_policy", source=0.0), agent("factors", source=2.0)]
    returns = {"vae": 1.0, "vae_expand_2d": 1.2, "vae_expand_50d": 2.0, "vae_expand_0pc": 0.5}
    arms = [agent(name, seed, value + 0.2 * seed) for name, value in returns.items() for seed in (0, 1)]
    return [*references, *arms, agent("vae_expand", 0, 1.8), agent("vae_expand", 1, 2.0), encoder("vae", sprites=0.9)]


def test_the_table_sets_every_dose_beside_the_default() -> None:
    table = doses_table(study(*_found()), "SpriteReach")
    assert table is not None
    rows = [(row[0], row[1], row[2], row[3][:4], row[4][:5].strip(), row[5][:4]) for row in table.rows]
    width, share = WIDTH.title, SHARE.title
    assert rows == [
        (width, "the code itself", "2", "0.55", "-0.40", "0.90"),
        (width, "2", "2", "0.65", "-0.30", "0.90"),
        (width, "20 (default)", "2", "0.95", "–", "0.90"),
        (width, "50", "2", "1.05", "0.10", "0.90"),
        (share, "the code itself", "2", "0.55", "-0.40", "0.90"),
        (share, "one unit", "2", "0.30", "-0.65", "0.90"),
        (share, "10 (default)", "2", "0.95", "–", "0.90"),
    ]


def test_the_figure_has_a_panel_for_every_setting_that_was_dosed() -> None:
    figure = doses_figure(study(*_found()), "SpriteReach")
    assert figure is not None
    assert [axes.get_xlabel() for axes in figure.axes] == [WIDTH.axis, SHARE.axis]
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["2", "20", "50"]
    assert [label.get_text() for label in figure.axes[1].get_xticklabels()] == ["one unit", "10"]


def test_returns_are_those_of_the_task_where_ground_truth_does_not_tell_itself_from_chance() -> None:
    arms = [agent("random_policy", source=0.2), agent("factors", source=0.2), agent("factors_rate_3", source=0.7)]
    table = doses_table(study(*arms), "SpriteReach")
    assert table is not None
    assert [(row[1], row[3], row[4]) for row in table.rows] == [("1 (default)", "0.20", "–"), ("3", "0.70", "0.50")]
    assert "not clearly above chance" in table.note
    figure = doses_figure(study(*arms), "SpriteReach")
    assert figure is not None
    assert figure.axes[0].get_ylabel() == "return on SpriteReach"


def test_without_a_dose_there_is_neither_table_nor_figure() -> None:
    plain = study(agent("random_policy", source=0.0), agent("factors", source=2.0), agent("vae"), agent("vae_expand"))
    assert doses_table(plain, "SpriteReach") is doses_figure(plain, "SpriteReach") is None
    # the ends of a curve alone are arms of the other study
    ends = study(
        agent("random_policy", source=0.0), agent("factors", source=2.0), agent("keypoints"), agent("sparse_keypoints")
    )
    assert doses_table(ends, "SpriteReach") is doses_figure(ends, "SpriteReach") is None


def test_agents_on_encoders_that_were_trained_anew_are_no_pairs() -> None:
    references = [agent("random_policy", source=0.0), agent("factors", source=2.0)]
    arms = [agent("vae_expand", seed, 1.8, encoder=f"E{seed}") for seed in range(3)]
    arms += [agent("vae_expand_2d", seed, 1.2, encoder="anew" if seed else "E0") for seed in range(3)]
    codes = [dataclasses.replace(encoder("vae", seed, sprites=0.9), fingerprint=f"E{seed}") for seed in range(3)]
    table = doses_table(study(*references, *arms, *codes), "SpriteReach")
    assert table is not None
    rows = {row[1]: row for row in table.rows if row[0] == WIDTH.title}
    assert rows["2"][2] == "3"
    assert rows["2"][4] == "-0.30 (1 pair)"
    # of the encoder that one of these agents learned on
    assert (rows["2"][5], rows["20 (default)"][5][:4]) == ("0.90", "0.90")
    anew = [dataclasses.replace(one, encoder="anew") for one in arms if one.arm == "vae_expand_2d"]
    table = doses_table(study(*references, *arms[:3], *anew, *codes), "SpriteReach")
    assert table is not None
    # no pair at all is a column less
    assert table.header[3:] == ("return", "places")
    assert [row[4] for row in table.rows if row[1] == "2"] == ["–"]
