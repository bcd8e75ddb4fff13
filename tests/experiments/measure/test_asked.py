"""The command beside what was measured: what it leaves out, quotes and stands in for."""

from __future__ import annotations

import dataclasses

from experiments.measure.asked import command_of


@dataclasses.dataclass(frozen=True)
class _Options:
    part: str
    run: str | None = None
    names: tuple[str, ...] = ("a",)
    fast: bool = False
    shown: bool = True
    steps: int = 5
    out: str = "results"


def test_a_command_names_what_is_not_the_default_and_no_place_on_one_machine() -> None:
    assert command_of("measure", _Options("all", out="elsewhere")) == "measure --part all"
    options = _Options("all", run="/home/someone/run", names=("b", "two words"), fast=True, shown=False)
    asked = command_of("measure", options, positional=("part",), always=("steps",), places={"run": "RUN"})
    assert asked == "measure all --run RUN --names b 'two words' --fast --no-shown --steps 5"
    assert command_of("measure", options, but=("part", "run", "names", "fast", "shown")) == "measure"
