"""The study of kinds of sparsity: its cells, its table and its figure."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from experiments.agents.arms import ARMS
from experiments.agents.cells import agent_cells, encoder_cells
from experiments.agents.kinds import kinds_figure, kinds_table
from experiments.agents.scales import AGENT_SCALES
from experiments.measure.kinds import KIND_UNITS, KINDS
from tests.agent_studies import agent, encoder, study


def test_kinds_differ_in_what_makes_them_sparse_alone(tmp_path: Path) -> None:
    scale = AGENT_SCALES["kinds"]
    cells = agent_cells(scale, tmp_path, algorithms=["ppo"], seeds=[5])
    shown = {cell.arm_name for cell in cells}
    assert {name for kind in KINDS for name in (kind, f"{kind}_expand")} <= shown
    trained = {cell.encoder: cell.training for cell in encoder_cells(scale, cells, tmp_path)}
    assert trained.keys() == {"vae", *KINDS}
    kinds = [training for name, training in trained.items() if name in KINDS and training is not None]
    same = ("code_size", "steps", "batch_size", "learning_rate", "initialisation", "precision", "data_path", "seed")
    assert len({tuple(getattr(training, name) for name in same) for training in kinds}) == 1
    assert kinds[0].code_size == KIND_UNITS
    # one encoder for the plain and the expanded arm of a seed
    folders = {cell.arm_name: cell.encoder_folder for cell in cells}
    assert folders["top_k"] == folders["top_k_expand"] != folders["wide_vae"]


def test_the_table_has_zeros_pictures_places_and_the_return_of_both_arms() -> None:
    references = [agent("random_policy", source=0.0), agent("factors", source=2.0)]
    arms = [agent("top_k", source=1.0), agent("top_k_expand", source=1.5)]
    code = dataclasses.replace(
        encoder(
            "top_k", sprites=0.75, nonzero_units_per_image=8.0, units_ever_nonzero=60, psnr_db=24.0, contrast_slope=0.9
        ),
        linear_position_r2={"sprite": 0.5},
        units=64,
    )
    vae = encoder("vae", nonzero_units_per_image=10.0)
    found = study(*references, *arms, vae, code)
    table = kinds_table(found, "SpriteReach")
    assert table is not None
    rows = {row[0]: dict(zip(table.header, row, strict=True)) for row in table.rows}
    assert list(rows) == ["VAE", "top-k"]
    assert rows["top-k"] == {
        "code": "top-k",
        "units": "64",
        "seeds": "1",
        "not 0 per image": "8.0",
        "ever not 0": "60.0",
        "PSNR (dB)": "24.0",
        "contrast": "0.900",
        "place, by a line": "0.50",
        "place, by a network": "0.75",
        "return": "0.50",
        "return, expand": "0.75",
    }
    assert (rows["VAE"]["not 0 per image"], rows["VAE"]["PSNR (dB)"], rows["VAE"]["return"]) == ("10.0", "–", "–")
    assert kinds_figure(found, "SpriteReach") is not None


def test_without_a_kind_of_sparsity_there_is_neither_table_nor_figure() -> None:
    found = study(agent("vae"), encoder("vae"))
    assert kinds_table(found, "SpriteReach") is kinds_figure(found, "SpriteReach") is None
    assert kinds_table(study(), "SpriteReach") is None


def test_codes_stand_beside_another_algorithm_where_it_has_agents() -> None:
    codes = [encoder("top_k", psnr_db=20.0), encoder("vae", psnr_db=21.0)]
    found = study(*codes, agent("random_policy"), agent("top_k", algorithm="sac"))
    assert kinds_table(found, "SpriteReach", "sac") is not None
    assert kinds_figure(found, "SpriteReach", "sac") is not None
    without = study(*codes, agent("random_policy"))
    assert kinds_table(without, "SpriteReach") is not None
    assert kinds_table(without, "SpriteReach", "sac") is kinds_figure(without, "SpriteReach", "sac") is None


def test_the_figure_has_a_row_for_every_code_and_a_panel_for_every_question() -> None:
    codes = [encoder(name, seed, psnr_db=20.0 + seed) for name in ("vae", "jump_relu") for seed in range(3)]
    agents = [agent("random_policy", source=0.0), agent("factors", source=2.0), agent("jump_relu", source=0.5)]
    figure = kinds_figure(study(*agents, *codes), "SpriteReach")
    assert figure is not None
    panels = ["units not 0 per image", "PSNR (dB)", "R² of the place, by a line", "normalised return"]
    assert [axes.get_xlabel() for axes in figure.axes] == panels
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["VAE", "JumpReLU"]
    # the dot of each code and its bar; of the one agent a dot, beside the line of ground truth
    assert [len(axes.lines) for axes in figure.axes] == [0, 4, 0, 2]
    without = kinds_figure(study(*codes), "SpriteReach")
    assert without is not None
    assert [axes.get_xlabel() for axes in without.axes] == panels[:-1]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_a_title_and_two_arms(kind: str) -> None:
    assert (ARMS[kind].encoder, ARMS[kind].recode) == (kind, None)
    assert (ARMS[f"{kind}_expand"].encoder, ARMS[f"{kind}_expand"].recode) == (kind, "expand")
    assert ARMS[f"{kind}_expand"].title == f"{ARMS[kind].title}, expand"
