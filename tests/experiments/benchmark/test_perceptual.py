"""The comparison of cheaper perceptual losses: equal time for all, and nothing is done twice."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from experiments.benchmark import perceptual as perceptual_costs
from experiments.benchmark.perceptual import PLAIN, VARIANTS, CostsConfig, compare, main, own_command, variant_settings
from sparse_repr.data import load_dataset
from sparse_repr.perceptual.vgg_weights import load_vgg16


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_variant_differs_from_plain_by_its_own_settings_alone(variant: str) -> None:
    config = CostsConfig(batch_size=32, cost_batch_sizes=(32,))
    plain, other = (vars(variant_settings(config, name, seed=3)) for name in (PLAIN, variant))
    assert (plain["batch_size"], plain["seed"], plain["pixel_weight"], plain["threads"]) == (32, 3, 1.0, 1)
    assert {name for name in plain if plain[name] != other[name]} == (
        {"run_dir", *VARIANTS[variant]} if variant != PLAIN else set()
    )
    if variant == "a quarter of the images":
        assert other["perceptual_images"] == 8


def test_every_variant_trains_for_the_time_of_the_plain_steps_and_goes_on_where_it_stopped(
    random_vgg: str, rectangles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights, data = load_vgg16(random_vgg), load_dataset("folder", str(rectangles))
    monkeypatch.setattr("sparse_repr.perceptual.settings.load_vgg16", lambda _: weights)
    monkeypatch.setattr(perceptual_costs, "load_vgg16", lambda: weights)
    monkeypatch.setattr(perceptual_costs, "load_dataset", lambda _: data)
    monkeypatch.setattr(perceptual_costs, "lpips", lambda images, _: float(len(images)))
    seconds = {
        name: {"least": 2.0 if name == PLAIN else 0.5, "median": 2.5, "greatest": 3.0, "ratio": 1.0}
        for name in VARIANTS
    }
    monkeypatch.setattr(perceptual_costs, "measure_costs", lambda *_: seconds)
    config = CostsConfig(
        *("folder", 2, 4, (4,)),
        points=(0.5, 1.0),
        items=3,
        variants=(PLAIN, "pixels alone"),
        precision="float32",
        runs=str(tmp_path / "runs"),
        out=str(tmp_path / "out"),
    )
    compare(dataclasses.replace(config, variants=(PLAIN,)))
    points = compare(config)["variants"]
    assert [point["steps"] for point in points[PLAIN]["0"]] == [1, 2]
    assert [point["steps"] for point in points["pixels alone"]["0"]] == [4, 8]
    assert [point["seconds"] for point in points["pixels alone"]["0"]] == [2.0, 4.0]
    assert points[PLAIN]["0"][0]["lpips"] == 3
    monkeypatch.setattr(perceptual_costs, "pretrain_encoder", lambda *_, **__: pytest.fail("trained again"))
    assert compare(config)["variants"] == points
    assert json.loads((tmp_path / "out/results.json").read_text())["variants"] == points
    assert (tmp_path / "out/curve.png").stat().st_size > 1000
    # figures of other settings, or of another machine, do not stand beside these
    path = tmp_path / "out/results.json"
    written = json.loads(path.read_text())
    with pytest.raises(ValueError, match=r"results.json holds results of other settings \(items 3 there, 2 asked for"):
        compare(dataclasses.replace(config, items=2))
    path.write_text(json.dumps({**written, "machine": {**written["machine"], "processor": "another"}}))
    assert compare(config)["machine"]["processor"] == "another"  # nothing was measured here
    with pytest.raises(ValueError, match="holds costs of another machine"):
        compare(dataclasses.replace(config, cost_batch_sizes=(4, 8)))
    path.write_text(json.dumps(written))
    text = (tmp_path / "out/results.md").read_text()
    assert "| plain | 2000 | 2500 | 3000 | 1.00 |" in text
    assert "| pixels alone | 0 | 8 | 4.0 | 3.0000 |" in text


def test_costs_are_measured_for_every_variant(
    random_vgg: str, rectangles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = load_vgg16(random_vgg)
    monkeypatch.setattr("sparse_repr.perceptual.settings.load_vgg16", lambda _: weights)
    monkeypatch.setattr(perceptual_costs, "load_vgg16", lambda: weights)
    config = CostsConfig(
        *("folder", 1, 4, (4,)),
        cost_rounds=1,
        precision="float32",  # bf16 takes several times as long where a processor has no such units
        runs=str(tmp_path),
    )
    costs = perceptual_costs.measure_costs(config, load_dataset("folder", str(rectangles)), 4)
    assert set(costs) == {*VARIANTS, "plain, float32", "features of the images alone"}
    assert costs[PLAIN]["ratio"] == 1
    assert 0 < costs["pixels alone"]["least"] < costs["32x32"]["least"] < costs[PLAIN]["least"]
    assert not any(tmp_path.iterdir())


def test_bad_settings_are_refused_and_the_command_says_what_is_not_the_default(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for change, message in (
        ({"variants": ("plane",)}, "variants needs names of plain, .*, got plane"),
        ({"batch_size": 8}, "cost_batch_sizes needs batch_size 8, got"),
        ({"batch_size": 6, "cost_batch_sizes": (6,)}, "needs multiples of 4"),
        ({"points": (0.5, 1.5)}, "points needs shares in 0..1"),
    ):
        with pytest.raises(ValueError, match=message):
            CostsConfig(**change)  # type: ignore[arg-type]
    config = CostsConfig("celeba", variants=("plain", "every 4th step"), baseline="somewhere", runs="x")
    program = "python -m experiments.benchmark.perceptual"
    assert own_command(config) == f"{program} --dataset celeba --baseline EARLIER --variants plain 'every 4th step'"
    assert main(["--variants", "plane"]) == 2
    assert "plane" in capsys.readouterr().err
