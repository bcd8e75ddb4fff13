"""Curves of the held-out bound: resumable, of frames the run has not seen, and of what is exported."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from experiments.measure.asked import command_of
from experiments.measure.step_costs import cost_of, kind_of_step, measure_step_costs, steps_worth
from experiments.time_to_quality import __main__ as time_to_quality
from experiments.time_to_quality.__main__ import (
    ARMS,
    Study,
    TimeToQualityConfig,
    reached,
    run_config,
    stays,
)
from experiments.time_to_quality.bound_curve import evidence_bound, held_out_items, train_with_curve
from sparse_repr import PretrainConfig
from sparse_repr.data import load_dataset
from sparse_repr.encoder.vae import load_vae
from sparse_repr.models import build_vae
from sparse_repr.pretrain.trainer import BatchOrder

OFF = torch.autocast("cpu", enabled=False)


def _points(*bounds: float) -> list[dict[str, float]]:
    return [{"step": float(step), "bound_nats": bound} for step, bound in enumerate(bounds)]


def test_arrivals_by_hand() -> None:
    points = _points(-9, -4, -6, -3, -2)
    assert reached(points, -5) == points[1]
    assert stays(points, -5) == points[3]
    assert stays(points, -10) == points[0]
    assert reached(points, -1) is None
    assert stays(points, -2.5) == points[4]
    assert stays(points, -1) is None


def test_costs_by_hand() -> None:
    growing = PretrainConfig(objective="vae", batch_size=16, first_batch_size=4, batch_growth_steps=10)
    costs = {f"vae, batch {size}": {"median": size / 4} for size in (4, 8, 16)}
    assert growing.batch_sizes().stages(25) == [(4, 10), (8, 10), (16, 5)]
    assert growing.batch_sizes().stages(7) == [(4, 7)]
    assert PretrainConfig().batch_sizes().stages(7) == [(64, 7)]
    assert cost_of(growing, 25, costs) == 10 + 20 + 20
    assert (steps_worth(growing, 50, costs), steps_worth(growing, 49.9, costs)) == (25, 24)
    assert steps_worth(growing, 0.5, costs) == 0


def test_step_costs_are_measured_by_kind(small_study: PretrainConfig) -> None:
    data = load_dataset(small_study.dataset, small_study.data_path)
    growing = dataclasses.replace(small_study, first_batch_size=4, batch_growth_steps=2, weight_averaging=0.5)
    costs = measure_step_costs([small_study, growing], data, rounds=2, seconds=0.01)
    assert list(costs) == ["sparse, batch 8", "sparse, batch 4, average", "sparse, batch 8, average"]
    assert all(0 < cost["least"] <= cost["median"] <= cost["greatest"] for cost in costs.values())


def test_the_bound_of_an_untrained_network_by_hand() -> None:
    vae = build_vae("burgess", {"channels": 1, "size": 32, "code_size": 3}, seed=0)
    with torch.no_grad():
        for parameter in vae.parameters():
            parameter.zero_()
    images = torch.zeros((70, 1, 32, 32))  # more than one slab
    bound = evidence_bound(vae, images, OFF)
    assert bound["reconstruction_nats"] == pytest.approx(32 * 32 * np.log(2), rel=1e-5)
    assert bound["kl_nats"] == 0
    assert bound["bound_nats"] == -bound["reconstruction_nats"]


def test_a_curve_goes_on_where_it_ended_and_measures_what_is_exported(
    small_study: PretrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("experiments.time_to_quality.bound_curve.HELD_OUT_ITEMS", 6)
    data = load_dataset(small_study.dataset, small_study.data_path)
    config = dataclasses.replace(small_study, weight_averaging=0.8, steps=6, batch_size=4)
    items = held_out_items(config, data)
    order = BatchOrder(data.split[0], config.batch_sizes(), config.seed)
    assert not set(items) & set(np.concatenate([order(step) for step in range((len(data.split[0]) - 6) // 4)]))

    whole = train_with_curve(dataclasses.replace(config, run_dir=f"{config.run_dir}-whole"), data, every_images=8)
    assert [point["step"] for point in whole] == [0, 2, 4, 6]
    assert [point["images"] for point in whole] == [0, 8, 16, 24]
    seen: list[int] = []
    first = train_with_curve(
        config,
        data,
        every_images=8,
        finished=lambda points: points[-1]["step"] >= 2,
        on_point=lambda points: seen.append(len(points)),
    )
    assert (len(first), seen) == (2, [1, 2])
    parts = train_with_curve(config, data, every_images=8)
    assert [_timeless(point) for point in parts] == [_timeless(point) for point in whole]
    assert train_with_curve(config, data, every_images=8) == parts
    assert json.loads((config.run_folder() / "curve.json").read_text()) == parts

    vae, spec = load_vae(config.run_folder())
    images = spec.preprocessing(torch.from_numpy(data.images(items)))
    assert evidence_bound(vae, images, OFF)["bound_nats"] == pytest.approx(parts[-1]["bound_nats"], rel=1e-5)


def test_a_run_that_would_train_on_what_is_held_out_is_refused(
    small_study: PretrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = load_dataset(small_study.dataset, small_study.data_path)
    monkeypatch.setattr("experiments.time_to_quality.bound_curve.HELD_OUT_ITEMS", len(data.split[0]) - 48)
    config = dataclasses.replace(small_study, steps=7)
    with pytest.raises(ValueError, match=r"7 steps take 56 images, and .* are held out .*; take 6 steps at most"):
        train_with_curve(config, data, every_images=16)
    assert len(train_with_curve(dataclasses.replace(config, steps=6), data, every_images=48)) == 2


def _timeless(point: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in point.items() if name != "cpu_s"}


def test_scores_of_an_encoder_that_is_gone_are_not_those_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = {"fingerprint": "one"}
    spec = SimpleNamespace(objective={"steps": 400})
    monkeypatch.setattr(time_to_quality, "load_encoder", lambda _: SimpleNamespace(spec=spec, **made))
    monkeypatch.setattr(time_to_quality, "score_codes", lambda *_: {"mig": float(made["fingerprint"] == "one")})
    measured: list[int] = []

    def costs(runs: Any, *_: Any, **__: Any) -> dict[str, dict[str, float]]:
        measured.append(len(runs))
        sizes = {kind_of_step(run, size) for run in runs for size, _ in run.batch_sizes().stages(run.steps)}
        return {name: {"median": 1.0, "least": 1.0, "greatest": 1.0} for name in sizes}

    monkeypatch.setattr(time_to_quality, "measure_step_costs", costs)
    config = TimeToQualityConfig(objectives=("vae",), plain_steps=400, out=str(tmp_path))
    run = run_config(config, "plain", "vae", 0, 400)
    point = {"step": 400, "bound_nats": -1.0}
    study = Study(config, None)  # type: ignore[arg-type]
    assert study.scores(run, point, 10) == {**point, "mig": 1.0}
    # every batch size that an arm comes to is there, however short the published settings are
    assert steps_worth(
        run_config(config, "bias, lr 2e-3, batch 16-64, average", "vae", 0, 1), 5_000, study.results["costs"]
    )
    assert len(measured) == 1
    Study(config, None)  # type: ignore[arg-type]
    assert len(measured) == 1
    # a run that went on keeps the scores of the step at which it was scored
    spec.objective["steps"] = 500
    made["fingerprint"] = "later"
    assert Study(config, None).scores(run, point, 10)["mig"] == 1  # type: ignore[arg-type]
    spec.objective["steps"] = 400
    made["fingerprint"] = "another"
    assert Study(config, None).scores(run, point, 10)["mig"] == 0  # type: ignore[arg-type]
    Study(dataclasses.replace(config, objectives=("vae", "sparse")), None)  # type: ignore[arg-type]
    assert len(measured) == 2
    with pytest.raises(ValueError, match=r"holds results of other settings \(plain_steps 400 there, 500 asked for"):
        Study(dataclasses.replace(config, plain_steps=500), None)  # type: ignore[arg-type]


def test_every_arm_is_a_run_of_its_own() -> None:
    config = TimeToQualityConfig(seeds=(3, 4))
    runs = [run_config(config, arm, "vae", 3, 5) for arm in ("plain", *ARMS)]
    assert len({run.run_dir for run in runs}) == len(ARMS) + 1
    assert runs[0] == PretrainConfig(
        objective="vae", seed=3, steps=5, device="cpu", threads=1, run_dir=runs[0].run_dir, progress=False
    )  # the published settings are the defaults
    program = "python -m experiments.time_to_quality"
    assert command_of(program, config) == f"{program} --seeds 3 4"
