from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from sparse_repr import PretrainConfig, figures, load_encoder, pretrain_encoder
from sparse_repr.data import FactorDataset
from sparse_repr.encoder.statistics import encode_dataset
from sparse_repr.encoder.vae import load_vae
from sparse_repr.evaluate.__main__ import main
from sparse_repr.evaluate.codes import disentanglement_scores
from sparse_repr.evaluate.report import summary
from sparse_repr.evaluate.run import EvaluateConfig, evaluate_run
from sparse_repr.explore.__main__ import main as explore
from sparse_repr.metrics import FAMILIES, aam_score, active_units, extrapolated_information, mig_score, psnr, ssim

IMAGES = 1_500


@pytest.fixture(scope="module")
def evaluated(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("evaluated") / "run"
    shutil.copytree(tiny_run, run)
    evaluate_run(
        EvaluateConfig(
            run=str(run), sample=3000, metrics="mig,aam,mig_histogram,sap", image_items=IMAGES, progress=False
        )
    )
    return run


def test_the_report_holds_every_score(evaluated: Path) -> None:
    report = json.loads((evaluated / "metrics.json").read_text())
    assert report["items"] == 3000
    assert report["sampled"] is True
    assert set(report["images"]["in_sample"]) == {"model", "black", "mean_image"}
    sharpness = {name: quality["laplacian_sharpness"] for name, quality in report["images"]["in_sample"].items()}
    assert sharpness["black"] == 0
    assert 0 < sharpness["mean_image"] < 0.1
    slopes = {name: quality["contrast_slope"] for name, quality in report["images"]["in_sample"].items()}
    assert slopes["mean_image"] == pytest.approx(0, abs=1e-6)
    assert slopes["black"] == pytest.approx(0, abs=0.02)  # the mean image is that of other items
    assert slopes["model"] < 0.5  # after 40 steps
    for quality in report["images"]["in_sample"].values():
        assert quality["psnr_range_255_db"] - quality["psnr_db"] == pytest.approx(48.13, abs=0.01)
    black = report["images"]["in_sample"]["black"]
    assert black["psnr_db"] == pytest.approx(13.7, abs=0.2)  # published figures of the data set
    assert black["ssim"] == pytest.approx(0.883, abs=0.01)
    assert {"mig", "mig_without_shape", "aam", "aam_without_shape", "mig_histogram"} <= report["disentanglement"].keys()
    assert report["disentanglement"]["mutual_information_error_nats"] < 1e-3
    assert np.asarray(report["disentanglement"]["mutual_information_nats"]).shape == (5, 10)
    assert report["encoder"] == load_encoder(evaluated).fingerprint
    assert "PSNR" in summary(report)


def test_scores_are_those_of_the_metric_functions(evaluated: Path, dsprites: FactorDataset) -> None:
    report = json.loads((evaluated / "metrics.json").read_text())
    assert dsprites.factors is not None
    items = np.sort(np.random.default_rng(0).choice(len(dsprites), 3000, replace=False))
    mean, log_variance = load_encoder(evaluated).posterior(dsprites.images(items))
    information = extrapolated_information(
        mean, log_variance, dsprites.factors[items], population=len(dsprites)
    )  # these are not all items
    scores = report["disentanglement"]
    entropies = information.factor_entropies_nats
    assert scores["mig"] == pytest.approx(mig_score(information.matrix, entropies), abs=1e-6)
    assert scores["mig_without_shape"] == pytest.approx(
        mig_score(information.matrix, entropies, exclude=(0,)), abs=1e-6
    )
    assert scores["aam_without_shape"] == pytest.approx(aam_score(information.matrix, exclude=(0,)), abs=1e-6)
    assert report["codes"]["active_units"] == active_units(mean)
    chosen = np.sort(np.random.default_rng(0).permutation(len(dsprites))[:IMAGES])
    images = torch.from_numpy(dsprites.images(chosen)).float() / 255
    vae, _ = load_vae(evaluated)
    reconstructed = torch.sigmoid(vae.decoder(vae.encoder(images).mean))
    model = report["images"]["in_sample"]["model"]
    assert model["psnr_db"] == pytest.approx(psnr(images, reconstructed, data_range=1.0), abs=1e-4)
    assert model["ssim"] == pytest.approx(ssim(images, reconstructed, data_range=1.0), abs=1e-5)


def test_figures_are_written(evaluated: Path) -> None:
    names = sorted(path.name for path in (evaluated / "figures").iterdir())
    pictures = ["mutual_information.png", "reconstructions.png", "traversals.png"]
    assert names == sorted([*pictures, "mutual_information.svg"])
    assert all((evaluated / "figures" / name).read_bytes().startswith(b"\x89PNG") for name in pictures)
    assert "<svg" in (evaluated / "figures" / "mutual_information.svg").read_text(encoding="utf-8")


@pytest.mark.gpu
def test_a_gpu_finds_what_the_cpu_finds(tiny_run: Path, tmp_path: Path) -> None:
    reports = []
    for device in ("cpu", "cuda"):
        shutil.copytree(tiny_run, tmp_path / device)
        options = {"metrics": "mig,aam", "sample": 5000, "image_items": 500, "progress": False}
        reports.append(evaluate_run(EvaluateConfig(str(tmp_path / device), device=device, **options)))  # type: ignore[arg-type]
    on_cpu, on_gpu = reports
    np.testing.assert_allclose(
        on_gpu["disentanglement"]["mutual_information_nats"],
        on_cpu["disentanglement"]["mutual_information_nats"],
        atol=1e-3,
    )
    for candidate, scores in on_cpu["images"]["in_sample"].items():
        assert on_gpu["images"]["in_sample"][candidate] == pytest.approx(scores, rel=1e-3)
    assert on_gpu["codes"]["kl_nats"] == pytest.approx(on_cpu["codes"]["kl_nats"], rel=1e-3)


def test_lpips_is_computed_on_as_many_images_as_asked_for(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = tmp_path / "vgg16.safetensors"
    weights.touch()
    monkeypatch.setattr("sparse_repr.evaluate.images.default_weights_path", lambda: weights)
    compared: list[int] = []
    monkeypatch.setattr("sparse_repr.evaluate.images.lpips", lambda images, _: compared.append(len(images)) or 0.25)
    shutil.copytree(tiny_run, tmp_path / "run")
    options = {"run": str(tmp_path / "run"), "metrics": "mig", "sample": 1000, "image_items": 1200, "progress": False}
    report = evaluate_run(EvaluateConfig(lpips_items=600, **options))
    assert sum(compared) == 600
    assert len(compared) == 3  # of every slab of the 1,200 images, not the first ones
    assert min(compared) > 50
    assert report["images"]["in_sample"]["model"]["lpips"] == 0.25
    compared.clear()
    report = evaluate_run(EvaluateConfig(lpips_items=0, **options))
    assert compared == []
    assert "lpips" not in report["images"]["in_sample"]["model"]
    assert "LPIPS" not in report["images"]["protocol"]


def test_data_without_factors_is_scored_on_a_held_out_part(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    with h5py.File(tmp_path / "frames.h5", "w") as file:
        file["images"] = rng.integers(0, 256, (60, 3, 32, 32), dtype=np.uint8)
    run = pretrain_encoder(
        PretrainConfig(
            dataset="h5",
            data_path=str(tmp_path / "frames.h5"),
            run_dir=str(tmp_path / "run"),
            image_size=32,
            objective="beta_vae",
            steps=3,
            batch_size=8,
            precision="float32",
            progress=False,
        )
    )
    report = evaluate_run(EvaluateConfig(run=str(run), progress=False))
    assert set(report["images"]) == {"protocol", "train", "held_out"}
    assert "disentanglement" not in report
    assert not (run / "figures" / "mutual_information.png").exists()


def test_recorded_factors_are_scored_over_the_items_present(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    values = np.stack([rng.integers(0, 2, 200), np.full(200, 0.3), rng.random(200)], axis=1).astype(np.float32)
    with h5py.File(tmp_path / "frames.h5", "w") as file:
        file["images"] = np.repeat(values[:, 2, None, None, None] * 255, 32, 2).repeat(32, 3).astype(np.uint8)
        file["factor_values"] = values
        file.attrs["factor_names"] = ["shape", "scale", "grey"]
        file["factor_bins/shape"], file["factor_bins/scale"], file["factor_bins/grey"] = [0.5], [0.5], [0.25, 0.5, 0.75]
    run = pretrain_encoder(
        PretrainConfig(
            dataset="h5",
            data_path=str(tmp_path / "frames.h5"),
            run_dir=str(tmp_path / "run"),
            image_size=32,
            objective="vae",
            steps=60,
            batch_size=16,
            learning_rate=3e-3,
            precision="float32",
            progress=False,
        )
    )
    scores = evaluate_run(EvaluateConfig(run=str(run), progress=False))["disentanglement"]
    assert scores["factor_names"] == ["shape", "grey"]
    assert scores["constant_factors_left_out"] == ["scale"]
    assert "no full grid" in scores["over"]
    matrix = np.asarray(scores["mutual_information_nats"])
    assert matrix[0].max() < 0.1  # the picture does not show the shape
    assert matrix[1].max() > 0.5  # but it shows the grey


def test_errors_name_what_is_missing(tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(FileNotFoundError, match="holds no finished pretraining run"):
        evaluate_run(EvaluateConfig(run=str(tmp_path)))
    assert main([str(tmp_path / "nothing")]) == 2
    assert "error: no encoder at" in capsys.readouterr().err
    shutil.copytree(tiny_run, tmp_path / "run")
    (tmp_path / "run" / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config\.json is damaged"):
        evaluate_run(EvaluateConfig(run=str(tmp_path / "run")))
    (tmp_path / "run" / "vae.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="no VAE at"):
        evaluate_run(EvaluateConfig(run=str(tmp_path / "run")))
    with pytest.raises(ValueError, match="sample needs at least 2 items"):
        EvaluateConfig(run="x", sample=1)
    with pytest.raises(ValueError, match="image_items needs at least 1"):
        EvaluateConfig(run="x", image_items=0)
    with pytest.raises(ValueError, match="lpips_items needs at least 0, got -1"):
        EvaluateConfig(run="x", lpips_items=-1)


def test_data_of_another_shape_is_refused(tiny_run: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_run, tmp_path / "run")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["images"] = np.full((20, 3, 32, 32), 255, np.uint8)
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    (tmp_path / "run" / "config.json").write_text(json.dumps({**config, "dataset": "h5"}))
    with pytest.raises(ValueError, match=r"trained on images \(1, 64, 64\), .*other\.h5 has \(3, 32, 32\)"):
        evaluate_run(EvaluateConfig(run=str(tmp_path / "run"), data_path=str(tmp_path / "other.h5")))


def test_tile_puts_rows_above_each_other_with_a_grid() -> None:
    first, second = torch.zeros(3, 1, 4, 5), torch.ones(3, 1, 4, 5)
    picture = figures.tile([first, second])
    assert picture.shape == (1, 9, 17)
    assert (picture[0, :4, :5] == 0).all()
    assert (picture[0, 5:, 12:] == 1).all()
    assert (picture[0, 4] == 0.5).all()


def test_traversals_change_one_unit_at_a_time() -> None:
    class Echo(torch.nn.Module):
        def forward(self, z: torch.Tensor) -> torch.Tensor:
            return torch.logit(z)[:, :, None, None]

    code = torch.tensor([0.2, 0.4, 0.6])
    values = torch.tensor([[0.1, 0.9]]).repeat(3, 1)
    decoded = figures.decode_traversals(Echo(), code, values)[..., 0, 0]  # (D, V, D)
    for unit in range(3):
        for step in range(2):
            expected = code.clone()
            expected[unit] = values[unit, step]
            torch.testing.assert_close(decoded[unit, step], expected)
    assert math.isclose(float(code[0]), 0.2, rel_tol=1e-6)  # the code itself is left alone
    chosen = figures.decode_traversals(Echo(), code, values[:2], np.array([2, 0]))[..., 0, 0]
    torch.testing.assert_close(chosen, decoded[[2, 0]])


def test_of_a_wide_code_the_strongest_units_are_drawn() -> None:
    strengths = np.arange(100.0) % 50
    assert figures.strongest_units(strengths).tolist() == [u for k in range(49, 41, -1) for u in (k, 50 + k)]
    information = np.random.default_rng(0).random((3, 400)) / 10
    information[1, [7, 300]] = 1.0
    figure = figures.mutual_information_figure(information, ["a", "b", "c"], np.full(3, 2.0), "wide")
    names = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert len(names) == figures.MOST_UNITS
    assert {"unit 7", "unit 300"} <= set(names)
    assert figure.axes[0].get_title() == "wide, 16 of 400 units (nats)"


def test_quantile_values_span_the_middle_95_percent() -> None:
    codes = np.linspace(0, 1, 1001, dtype=np.float32)[:, None] * [[1.0, 10.0]]
    values = figures.quantile_values(codes.astype(np.float32), 5)
    np.testing.assert_allclose(values[:, 0], [0.025, 0.25], atol=1e-4)
    np.testing.assert_allclose(values[:, -1], [0.975, 9.75], atol=1e-4)
    sparse = np.zeros((1001, 3), np.float32)
    sparse[:5, 0], sparse[:5, 1] = [1, 2, 3, 4, 5], [-1, -2, -3, -4, -5]  # 0 in all but five images, and in all
    np.testing.assert_allclose(figures.quantile_values(sparse, 2), [[0, 4.9], [-4.9, 0], [0, 0]], atol=1e-6)


def test_scores_of_one_s_own_may_be_any_numbers(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = {"half": np.float32(0.5), "nothing": float("nan")}
    monkeypatch.setitem(FAMILIES, "own", lambda *_, **__: own)
    shutil.copytree(tiny_run, tmp_path / "run")
    sizes = {"sample": 300, "image_items": 40, "lpips_items": 0, "n_bootstrap": 3, "progress": False}
    evaluate_run(EvaluateConfig(run=str(tmp_path / "run"), metrics="own", **sizes))
    found = json.loads((tmp_path / "run" / "metrics.json").read_text())["disentanglement"]
    assert (found["half"], found["nothing"]) == (0.5, None)
    assert found["notes"]["nothing"] == "own gave nan"
    assert found["intervals_95"] == {"half": [0.5, 0.5]}
    assert "a number on every half, got nan" in found["notes"]["nothing, interval"]


def test_scores_that_were_not_asked_for_again_stay(tiny_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(tiny_run, run)

    def scored(metrics: str, **others: int) -> dict[str, Any]:
        sizes = {"sample": 300, "image_items": 40, "lpips_items": 0, **others}
        evaluate_run(EvaluateConfig(run=str(run), metrics=metrics, progress=False, **sizes))
        return dict(json.loads((run / "metrics.json").read_text())["disentanglement"])

    first = scored("mig,modularity,sap", n_bootstrap=3)
    second = scored("irs,modularity")
    assert {name: second[name] for name in ("mig", "modularity", "sap")} == {
        name: first[name] for name in ("mig", "modularity", "sap")
    }
    assert second["irs"] is not None
    assert second["intervals_95"] == first["intervals_95"]  # of modularity, too, which came out the same
    assert second["metric_seconds"].keys() == {"modularity", "sap", "irs"}
    assert "mig, interval" in second["notes"]
    assert "mutual_information_nats" in second
    # other items, other scores
    assert "irs" not in scored("sap", seed=1)
    assert "sap" not in scored("modularity", sample=301)


def test_pictures_that_find_no_place_cost_no_scores(
    tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(tiny_run, run)
    (run / "figures").write_text("in the way")
    sizes = ["--sample", "300", "--image-items", "40", "--lpips-items", "0"]
    assert main([str(run), "--metrics", "modularity", *sizes]) == 2
    assert "figures" in capsys.readouterr().err
    assert json.loads((run / "metrics.json").read_text())["disentanglement"]["modularity"] is not None


def test_the_seed_reaches_what_is_extrapolated(tiny_run: Path, dsprites: FactorDataset) -> None:
    items = np.sort(np.random.default_rng(0).choice(len(dsprites), 400, replace=False))
    encoded = encode_dataset(load_encoder(tiny_run), dsprites, items)
    first, again, other = (
        disentanglement_scores(encoded, dsprites, ("aam",), seed=seed, n_bootstrap=2) for seed in (0, 0, 1)
    )
    assert first is not None
    assert again is not None
    assert other is not None
    assert first["mutual_information_nats"] == again["mutual_information_nats"] != other["mutual_information_nats"]
    assert "extrapolated from a sample" in first["notes"]["aam, interval"]


def test_data_that_has_moved_is_told_with_the_run_and_the_remedy(
    tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(tiny_run, run)
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps({**config, "dataset": "npz", "data_path": str(tmp_path / "gone.npz")}))
    for command in (main, explore):
        assert command([str(run)]) == 2
        shown = capsys.readouterr().err
        assert "gone.npz" in shown
        assert f"{run} was trained on it: put it back, or give data_path (--data-path)" in shown
