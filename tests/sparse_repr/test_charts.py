from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import matplotlib
import pytest
from PIL import Image

from sparse_repr.figures import PALETTE, add_note, chart, panels_figure, save_chart
from tests import ROOT

HOUSES = ("sparse_repr", "rl", "envs", "experiments")


@chart
def two_lines(note: str = "") -> Any:
    figure, ((axes,),) = panels_figure(1, 1, 4, 3)
    axes.plot([0, 1], [0, 1], label="first")
    axes.plot([0, 1], [1, 0], label="second")
    figure.legend(loc="outside lower center")
    if note:
        add_note(figure, note)
    return figure


def test_a_chart_has_the_palette_and_leaves_matplotlib_as_it_was() -> None:
    before = dict(matplotlib.rcParams)
    (axes,) = two_lines().axes
    assert [line.get_color() for line in axes.lines] == list(PALETTE[:2])
    assert not axes.spines["top"].get_visible()
    assert dict(matplotlib.rcParams) == before


def test_a_chart_is_two_files_and_the_same_ones_again(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_chart(two_lines("bars: 95 % intervals"), tmp_path / f"{name}.png")
    assert {path.name for path in tmp_path.iterdir()} == {"a.png", "a.svg", "b.png", "b.svg"}
    drawing = (tmp_path / "a.svg").read_text(encoding="utf-8")
    assert ">bars: 95 % intervals</text>" in drawing  # words can be searched
    assert drawing == (tmp_path / "b.svg").read_text(encoding="utf-8")
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.width > 400


def _luminance(colour: str) -> float:
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in _rgb(colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _rgb(colour: str) -> list[float]:
    return [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]


def _as_seen_without_long_cones(colour: str) -> list[float]:
    """Protanopia, by the matrix of Machado et al. 2009, table 1, severity 1, on linear light."""
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in _rgb(colour)]
    matrix = ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998))
    return [sum(weight * value for weight, value in zip(row, linear, strict=True)) for row in matrix]


@pytest.mark.parametrize("first", range(len(PALETTE)))
def test_colours_are_told_apart_without_long_cones(first: int) -> None:
    seen = [_as_seen_without_long_cones(colour) for colour in PALETTE]
    for second, other in enumerate(seen):
        if second != first:
            distance = sum((a - b) ** 2 for a, b in zip(seen[first], other, strict=True)) ** 0.5
            assert distance > 0.05, (PALETTE[first], PALETTE[second])


def test_the_first_colours_stand_out_from_paper() -> None:
    for colour in PALETTE[:4]:
        assert 1.05 / (_luminance(colour) + 0.05) > 3, colour  # WCAG 2.1, 1.4.11: graphical objects


def test_nothing_else_saves_figures_or_has_colours_of_its_own() -> None:
    for house in HOUSES:
        for path in (ROOT / house).rglob("*.py"):
            if path.is_relative_to(ROOT / "sparse_repr/figures"):
                continue
            text = path.read_text(encoding="utf-8")
            # a report keeps its pictures inside
            if path.name != "report.py" or path.parent.name != "pages":
                assert ".savefig(" not in text, path
            assert not re.search(r"\"tab:|f\"C\{|tab10|pyplot", text), path
            imported = {node.module for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ImportFrom)}
            if "matplotlib.figure" in imported:
                # rows of images: no chart
                assert "show_picture" in text, path


def test_every_committed_chart_has_its_drawing() -> None:
    results = ROOT / "experiments/results"
    charts = [*results.glob("agents/*/*.png"), *results.rglob("curve*.png"), *results.rglob("landscape.png")]
    assert len(charts) >= 18
    for path in charts:
        assert path.with_suffix(".svg").is_file(), path
