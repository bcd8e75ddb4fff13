"""A user's own `.npz` of pictures, and labels by the order of a grid."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from sparse_repr import PretrainConfig, pretrain_encoder
from sparse_repr.data import load_dataset
from sparse_repr.data.__main__ import main
from sparse_repr.data.base import ArrayImages, full_grid
from sparse_repr.data.storage.file_images import FileImages
from sparse_repr.evaluate.run import EvaluateConfig, evaluate_run


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPARSE_REPR_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SPARSE_REPR_DATA", raising=False)
    monkeypatch.chdir(tmp_path)


def pixels(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("layout", ["grey", "channels last", "channels first"])
def test_images_of_every_layout_are_read(tmp_path: Path, layout: str, save: Callable[..., None]) -> None:
    first = pixels(12, 1 if layout == "grey" else 3, 8, 9)
    stored = {"grey": first[:, 0], "channels last": first.transpose(0, 2, 3, 1).copy(), "channels first": first}[layout]
    save(tmp_path / "own.npz", images=stored)
    data = load_dataset("npz", tmp_path / "own.npz")
    np.testing.assert_array_equal(data.images(np.arange(12)), first)
    assert isinstance(data.store, FileImages if save is np.savez else ArrayImages)
    assert data.factors is None
    assert data.factor_names == ()


def test_factors_come_with_names_and_sizes_or_without(tmp_path: Path) -> None:
    factors = full_grid((2, 3, 2))
    np.savez(tmp_path / "a.npz", images=pixels(12, 8, 8), factors=factors.astype(np.float64))
    data = load_dataset("npz", tmp_path / "a.npz")
    assert data.factor_names == ("factor_0", "factor_1", "factor_2")
    assert data.factor_sizes == (2, 3, 2)
    assert data.is_full_grid
    np.testing.assert_array_equal(data.factors, factors)
    names, values = np.array(["color", "x", "y"]), factors * 0.5
    np.savez(
        tmp_path / "b.npz",
        images=pixels(12, 8, 8), factors=factors, factor_names=names, factor_values=values, factor_sizes=[4, 4, 4],
        nominal_factors=["color"],
    )  # fmt: skip
    data = load_dataset("npz", tmp_path / "b.npz")
    assert data.factor_names == ("color", "x", "y")
    assert data.factor_sizes == (4, 4, 4)
    assert data.nominal_factors == ("color",)
    np.testing.assert_array_equal(data.factor_values, values.astype(np.float32))


def test_labels_by_order_fit_every_own_kind_and_a_wrong_product_names_both_numbers(tmp_path: Path) -> None:
    images = pixels(12, 1, 8, 8)
    np.savez(tmp_path / "own.npz", images=images)
    with h5py.File(tmp_path / "own.h5", "w") as file:
        file["images"] = images
    for name in ("npz", "h5"):
        path = tmp_path / f"own.{name}"
        data = load_dataset(name, path, factor_sizes="2,3,2")
        np.testing.assert_array_equal(data.factors, full_grid((2, 3, 2)))
        assert data.factor_names == ("factor_0", "factor_1", "factor_2")
        assert data.is_full_grid
        np.testing.assert_array_equal(data.images(np.arange(12)), images)
        with pytest.raises(ValueError, match=rf"own\.{name}: factor_sizes 6,6,2,3,3,40,40 make 1,036,800 .* found 12"):
            load_dataset(name, path, factor_sizes=(6, 6, 2, 3, 3, 40, 40))
    with pytest.raises(ValueError, match=r"factor_sizes needs whole numbers .* got '2,x'"):
        load_dataset("npz", tmp_path / "own.npz", factor_sizes="2,x")
    for wrong in (7, [], ["a"], {"a": None}, [2, 0]):  # a config.json may hold anything
        with pytest.raises(ValueError, match="factor_sizes needs whole numbers of at least 1"):
            load_dataset("npz", tmp_path / "own.npz", factor_sizes=wrong)  # type: ignore[arg-type]


def test_a_run_keeps_its_factor_sizes_for_the_evaluation(tmp_path: Path) -> None:
    np.savez(tmp_path / "own.npz", images=pixels(12, 32, 32))
    config = PretrainConfig(
        dataset="npz", data_path="own.npz", factor_sizes="2,3,2", run_dir="run", image_size=32, steps=2, batch_size=4,
        device="cpu", threads=1, precision="float32", progress=False,
    )  # fmt: skip
    run = pretrain_encoder(config)
    report = evaluate_run(EvaluateConfig(str(run), metrics="mig", lpips_items=0, progress=False, device="cpu"))
    assert "disentanglement" in report
    with pytest.raises(ValueError, match="factor_sizes needs whole numbers"):
        PretrainConfig(dataset="npz", factor_sizes="2;3")


def test_the_command_line_takes_factor_sizes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(tmp_path / "own.npz", images=pixels(12, 8, 8))
    main(["npz", "--data-path", "own.npz", "--factor-sizes", "2,3,2"])
    assert "factors   3, a full grid" in capsys.readouterr().out
    assert main(["npz", "--data-path", "own.npz", "--factor-sizes", "5,5"]) == 2
    assert "error: own.npz: factor_sizes 5,5 make 25 images, found 12" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"pictures": pixels(4, 8, 8)}, r"needs an array 'images', found \['pictures'\]"),
        ({"images": pixels(4, 8, 8) / 255}, r"images needs uint8 .* float64 .*numpy.rint\(255 \* images\)"),
        ({"images": pixels(4, 8, 8) > 9}, r"images needs uint8 .* bool .*255 \* images"),
        ({"images": np.array([{}], dtype=object)}, "images needs uint8 .* object"),
        ({"images": np.asfortranarray(pixels(4, 8, 8))}, "images needs C order, found Fortran order"),
        ({"images": pixels(4, 8, 8, 4)}, r"C = 1 or 3, found \(4, 8, 8, 4\)"),
        ({"images": pixels(4, 0, 8, 3)}, r"C = 1 or 3, found \(4, 0, 8, 3\)"),
        ({"images": pixels(4, 3, 8, 3)}, r"may be \(N, H, W, C\) or \(N, C, H, W\)"),
        (
            {"images": pixels(4, 8, 8), "factors": np.zeros((3, 2), int)},
            r"factors needs shape \(4, K\).*found \(3, 2\)",
        ),
        ({"images": pixels(4, 8, 8), "factors": np.full((4, 2), 0.5)}, "factors needs whole numbers .*with fractions"),
        ({"images": pixels(4, 8, 8), "factors": np.full((4, 2), "a")}, "factors needs whole numbers"),
        ({"images": pixels(4, 8, 8), "factors": np.full((4, 1), -1)}, "1 .* whole numbers in 1"),
        ({"images": pixels(4, 8, 8), "factors": np.full((4, 1), 2**63, np.uint64)}, "factors needs indices from 0 on"),
        ({"images": pixels(4, 8, 8), "factor_values": np.full((4, 1), np.nan)}, r"needs finite numbers, found \[nan\]"),
        (
            {"images": pixels(4, 8, 8), "factors": np.zeros((4, 2), int), "factor_names": np.array(["a", "a"])},
            "factor_names needs K different strings",
        ),
        (
            {"images": pixels(4, 8, 8), "factors": np.full((4, 1), 3), "factor_sizes": np.array([3])},
            r"factor 'factor_0' needs indices 0\.\.2, got 3\.\.3",
        ),
    ],
)
def test_what_does_not_follow_the_layout_is_refused_by_name(
    tmp_path: Path, arrays: dict[str, np.ndarray], message: str
) -> None:
    np.savez(tmp_path / "own.npz", **arrays)
    with pytest.raises(ValueError, match=rf"own\.npz: .*{message}"):
        load_dataset("npz", tmp_path / "own.npz")


def test_a_path_is_needed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="data set 'npz' needs a path"):
        load_dataset("npz")
    with pytest.raises(FileNotFoundError, match=r"no \.npz file at"):
        load_dataset("npz", tmp_path / "none.npz")


def test_labels_may_be_in_fortran_order_and_images_are_told_how_to_be_in_the_other(tmp_path: Path) -> None:
    labels = np.array(np.unravel_index(np.arange(12), (3, 4))).T
    assert not labels.flags.c_contiguous
    np.savez(tmp_path / "own.npz", images=pixels(12, 1, 8, 8), factors=labels)
    np.testing.assert_array_equal(load_dataset("npz", tmp_path / "own.npz").factors, labels)
    np.savez(tmp_path / "turned.npz", images=np.asfortranarray(pixels(12, 1, 8, 8)), factors=labels)
    with pytest.raises(ValueError, match="ascontiguousarray"):
        load_dataset("npz", tmp_path / "turned.npz")
