"""Bounds of settings: what is of another type is named before any work, whichever command it is for."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rl.dictionary import DictionaryConfig
from rl.record_config import RecordConfig
from sparse_repr import PretrainConfig
from sparse_repr.command_line.bounds import require_types
from sparse_repr.evaluate.run import EvaluateConfig


@dataclasses.dataclass
class _Settings:
    rate: float = 1.0
    count: int | None = None
    name: str = "a"
    on: bool = True
    other: tuple[int, ...] = ()


@pytest.mark.parametrize(
    "settings",
    [{}, {"rate": 2}, {"rate": np.float32(0.5)}, {"count": 3}, {"name": Path("b")}, {"on": False}, {"other": "what"}],
)
def test_what_fits_is_taken(settings: dict[str, Any]) -> None:
    require_types(_Settings(**settings))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rate": "1e-3"}, "rate needs a number, got '1e-3'"),
        ({"rate": None}, "rate needs a number, got None"),
        ({"rate": True}, "rate needs a number, got True"),
        ({"count": 1.0}, r"count needs a whole number or None, got 1\.0"),
        ({"count": False}, "count needs a whole number or None, got False"),
        ({"name": 3}, "name needs text, got 3"),
        ({"on": "yes"}, "on needs True or False, got 'yes'"),
        ({"on": 1}, "on needs True or False, got 1"),
    ],
)
def test_another_type_is_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        require_types(_Settings(**settings))


@pytest.mark.parametrize(
    ("make", "settings", "message"),
    [
        (PretrainConfig, {"learning_rate": "1e-3"}, "learning_rate needs a number, got '1e-3'"),
        (PretrainConfig, {"beta": "4"}, "beta needs a number or None, got '4'"),
        (PretrainConfig, {"perceptual_layers": 3}, "perceptual_layers needs text, got 3"),
        (PretrainConfig, {"resume": "yes"}, "resume needs True or False, got 'yes'"),
        (PretrainConfig, {"run_dir": 5}, "run_dir needs text or None, got 5"),
        (EvaluateConfig, {"run": "runs/a", "sample": "100"}, "sample needs a whole number or None, got '100'"),
        (EvaluateConfig, {"run": "runs/a", "progress": 1}, "progress needs True or False, got 1"),
        (DictionaryConfig, {"run": 5}, "run needs text, got 5"),
        (RecordConfig, {"env": "CartPole-v1", "frames": 10, "out": 5}, "out needs text, got 5"),
    ],
)
def test_settings_of_every_command(make: Callable[..., Any], settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        make(**settings)
