"""The examples in docstrings give what they show."""

from __future__ import annotations

import doctest
import importlib
import inspect
from typing import Any

import numpy as np
import pytest

from sparse_repr import metrics
from tests import ROOT

PACKAGES = ("sparse_repr", "rl", "envs", "experiments")
# Needs the file of VGG16, which is not ours to show.
NO_EXAMPLE = {"lpips"}


def _modules_with_examples() -> list[str]:
    paths = (path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py")))
    shown = (path.relative_to(ROOT) for path in paths if ">>> " in path.read_text(encoding="utf-8"))
    return [".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in shown]


@pytest.mark.parametrize("name", _modules_with_examples())
def test_examples_of_a_module_give_what_they_show(name: str) -> None:
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    report: list[str] = []
    for example in doctest.DocTestFinder().find(importlib.import_module(name), extraglobs={"np": np}):
        runner.run(example, out=report.append)
    assert runner.tries
    assert not runner.failures, "".join(report)


def _functions_of_the_metrics() -> dict[str, Any]:
    named = {name: getattr(metrics, name) for name in metrics.__all__}
    return {name: value for name, value in named.items() if inspect.isfunction(value) and name not in NO_EXAMPLE}


@pytest.mark.parametrize("name", _functions_of_the_metrics())
def test_each_metric_has_an_example(name: str) -> None:
    assert ">>> " in inspect.getdoc(_functions_of_the_metrics()[name])
