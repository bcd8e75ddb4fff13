"""Several models are timed by the difference of two lengths, so that starting them does not count as training."""

from __future__ import annotations

import pytest

from experiments.benchmark import seeds as seed_costs
from experiments.benchmark.seeds import measure_seeds, timed_training


def test_steps_and_start_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    per_step = {"sequential": 0.02, "processes": 0.01, "vectorized": 0.05}
    start = {"sequential": 1.0, "processes": 7.0, "vectorized": 2.0}
    trained = []

    def time_of(seeds: int, steps: int, way: str) -> float:
        trained.append((seeds, steps, way))
        return start[way] + seeds * steps * per_step[way]

    monkeypatch.setattr(seed_costs, "timed_training", time_of)
    results = measure_seeds(models=(1, 4), steps=(10, 50), rounds=3)
    assert set(results["models"]["1"]) == {"sequential"}
    for way in per_step:
        entry = results["models"]["4"][way]
        assert entry["step_s"]["median"] == pytest.approx(4 * per_step[way])
        assert entry["start_s"] == pytest.approx(start[way])
        assert entry["times_one"] == pytest.approx(4 * per_step[way] / per_step["sequential"])
        assert entry["images_per_s"] == pytest.approx(64 / per_step[way])
    assert trained.count((4, 50, "vectorized")) == 3


def test_every_way_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    trained = []
    monkeypatch.setattr(seed_costs, "pretrain_encoders", lambda configs, together: trained.append((configs, together)))
    assert timed_training(3, 5, "processes") >= 0
    (configs, together), *_ = trained
    assert together == "processes"
    assert [config.seed for config in configs] == [0, 1, 2]
    assert {config.steps for config in configs} == {5}
    assert len({config.run_dir for config in configs}) == 3


def test_two_lengths_are_needed() -> None:
    with pytest.raises(ValueError, match=r"shorter and a longer training, got \(5, 5\)"):
        measure_seeds(steps=(5, 5))
