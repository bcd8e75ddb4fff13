from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from experiments.measure.judging import judge


class _Venv:
    """Episodes of environment i take `lengths[i]` steps; its infos tell i as the return, and success unless i is 0."""

    def __init__(self, *lengths: int) -> None:
        self.lengths = np.array(lengths)
        self.num_envs = len(lengths)

    def seed(self, _: int) -> None:
        self.clock = 0

    def reset(self) -> Any:
        return np.zeros(self.num_envs)

    def step(self, _: Any) -> Any:
        self.clock += 1
        infos = [
            {"episode": {"r": i, "l": int(length)}, "is_success": bool(i)} for i, length in enumerate(self.lengths)
        ]
        return np.zeros(self.num_envs), np.zeros(self.num_envs), self.clock % self.lengths == 0, infos


def _judged(episodes: int, *lengths: int) -> list[dict[str, float]]:
    venv: Any = _Venv(*lengths)
    return judge(venv, episodes, lambda observations: observations, seed=0)


def test_quick_failures_do_not_crowd_slow_successes_out() -> None:
    assert sum(episode["success"] for episode in _judged(8, 1, 3)) == 4
    venv: Any = _Venv(1, 3)
    told = judge(venv, 2, lambda codes: codes, seed=0, more=lambda info: {"twice": 2 * info["is_success"]})
    assert [(episode["success"], episode["twice"]) for episode in told] == [(False, 0), (True, 2)]


@pytest.mark.parametrize("lengths", [(1, 1, 1, 1), (1, 5, 9, 50), (50, 9, 5, 1), (1, 1, 1, 50)])
@pytest.mark.parametrize(
    ("episodes", "shares"), [(10, [3, 3, 2, 2]), (7, [2, 2, 2, 1]), (8, [2] * 4), (3, [1, 1, 1, 0])]
)
def test_which_episodes_count_does_not_depend_on_how_long_they_take(
    lengths: tuple[int, ...], episodes: int, shares: list[int]
) -> None:
    played = [episode["return"] for episode in _judged(episodes, *lengths)]
    assert [played.count(i) for i in range(4)] == shares
