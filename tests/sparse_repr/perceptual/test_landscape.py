"""What vague guesses are, by hand, and that a loss of edges can start on coarse pictures alone."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sparse_repr.data import FactorDataset, load_dataset
from sparse_repr.perceptual.__main__ import main
from sparse_repr.perceptual.features import SHALLOW_LAYERS, VGGFeatures, parse_layers
from sparse_repr.perceptual.landscape import Landscape, advise, measure_landscape
from sparse_repr.perceptual.landscape_command import LandscapeConfig
from sparse_repr.perceptual.levels import parse_levels
from sparse_repr.perceptual.vagueness import blurred, empty_pictures, known_to, mean_of_neighbours
from sparse_repr.perceptual.vgg_weights import fetched_path, load_vgg16

WEIGHTS = fetched_path()  # of the user: tests have another cache


def test_a_place_that_is_known_to_a_pixel_is_the_mean_of_nine() -> None:
    dot = torch.zeros(64, 1, 9, 9)
    dot[..., 4, 4] = 9
    guesses = known_to(dot, 1, torch.Generator().manual_seed(0))
    moves = set()
    for guess in guesses[:, 0]:
        rows, columns = torch.nonzero(guess, as_tuple=True)
        assert guess[rows, columns].tolist() == pytest.approx([1] * 9)
        moves.add((int(rows.min()) - 3, int(columns.min()) - 3))
    # the guess lies around a place that is itself off by a pixel at most, so that the truth lies within it
    assert moves == {(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1)}
    even = torch.full((2, 3, 8, 8), 0.3)
    torch.testing.assert_close(known_to(even, 2, torch.Generator()), even)


def test_a_blur_keeps_what_there_is_and_has_its_width() -> None:
    dot = torch.zeros(1, 1, 33, 33)
    dot[..., 16, 16] = 1
    spread = blurred(dot, 2.0)[0, 0]
    offsets = torch.arange(-16.0, 17.0)
    assert float(spread.sum()) == pytest.approx(1)
    assert float((spread.sum(0) * offsets.square()).sum()) == pytest.approx(4, rel=0.03)  # cut at three sigma
    torch.testing.assert_close(spread, spread.T)


def test_the_mean_of_the_nearest() -> None:
    images = torch.tensor([[0.0, 0.0], [1.0, 1.0]]).view(2, 1, 1, 2)
    others = torch.tensor([[0.1, 0.1], [0.9, 0.7], [0.3, 0.1], [1.0, 0.9]]).view(4, 1, 1, 2)
    expected = torch.tensor([[0.2, 0.1], [0.95, 0.8]]).view(2, 1, 1, 2)
    torch.testing.assert_close(mean_of_neighbours(images, others, 2), expected)
    assert empty_pictures(images, others)["mean picture"][1].flatten().tolist() == pytest.approx([0.575, 0.45])


class Edges:
    """Two layers of features that see edges alone: where a picture is flat they say nothing."""

    pixels_at_once: int | None = None

    def __call__(self, images: Tensor) -> list[Tensor]:
        across, down = images.diff(dim=-1).abs(), images.diff(dim=-2).abs()
        sharp = F.relu(across[..., :-1, :] - 0.1) + F.relu(down[..., :-1] - 0.1)
        return [sharp, sharp.square()]


def _squares(count: int, seed: int) -> Tensor:
    generator = np.random.default_rng(seed)
    images = torch.zeros(count, 1, 64, 64)
    for image, (top, left) in zip(images, generator.integers(0, 52, (count, 2)), strict=True):
        image[0, top : top + 12, left : left + 12] = 1
    return images


def _of(levels: str) -> Landscape:
    return measure_landscape(
        Edges(),
        ["sharp", "sharper"],
        _squares(32, 0),
        _squares(512, 1),
        resolutions=[8, 16, 64],
        levels=parse_levels(levels, None),
        compared=["sharp"],
    )


def test_edges_say_where_on_coarse_pictures_alone() -> None:
    landscape = _of("8,64@5")
    # by the pixels every better guess is better, and none of these guesses is worse than showing nothing
    for kind in ("place", "blur", "neighbours"):
        pixels = [landscape.shares[guess]["pixels"] for guess in landscape.kinds[kind]]
        assert pixels == sorted(pixels, reverse=True)
        assert pixels[0] < 1.05
    assert landscape.shares["place ±8 px"]["sharp@64"] > 0.97
    assert landscape.shares["place ±8 px"]["sharp@8"] < 0.9
    for column in landscape.columns:  # the best empty picture is what all is a share of
        assert min(landscape.shares[name][column] for name in landscape.kinds["empty"]) == pytest.approx(1)
    # one level of one layer is that column
    assert landscape.stages["8"] == pytest.approx({name: found["sharp@8"] for name, found in landscape.shares.items()})
    assert list(landscape.stages) == ["8", "8,64"]
    advice = advise(landscape, ["sharp"])
    assert advice.starts
    assert advice.levels is not None
    assert advice.levels.startswith("8,")
    assert advice.levels.endswith("64@0.35:1/8")
    assert "No slope from afar at" in advice.sentences[1]


def test_a_loss_that_cannot_start_is_told_so() -> None:
    advice = advise(_of("64"), ["sharp"])
    assert not advice.starts
    assert advice.sentences[0].startswith("This loss cannot start: at its first levels (64) no vague guess is clearly")
    assert advice.sentences[-1].startswith("Take --perceptual-layers sharp --perceptual-levels 8")


def test_the_command_looks_at_a_folder_of_pictures(
    rectangles: Path, random_vgg: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    words = [
        "landscape",
        "--dataset",
        "folder",
        "--data-path",
        str(rectangles),
        "--perceptual-weights-path",
        random_vgg,
    ]
    words += ["--image-size", "32", "--items", "4", "--perceptual-layers", "relu1_2", "--out", str(out)]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "relu1_2@8" in said
    assert "levels 8,16,32" in said
    assert "This loss can" in said
    written = json.loads((out / "landscape.json").read_text())
    assert (out / "landscape.png").stat().st_size > 10_000
    assert written["images"] == 4
    assert written["further_images"] == 32  # of 36: a tenth is held out
    assert str(rectangles) not in (out / "landscape.json").read_text()
    assert written["command"] == (
        "python -m sparse_repr.perceptual landscape --dataset folder "
        "--perceptual-layers relu1_2 --image-size 32 --items 4"
    )
    assert written["starts"] == ("can start" in written["advice"][0])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--dataset", "facs"], "unknown data set 'facs'. Did you mean 'faces'"),
        (["--perceptual-levels", "8,24"], "needs divisors of image_size 64 of at least 8, got 24"),
        (["--perceptual-layers", "relu9"], "unknown perceptual layer 'relu9'"),
        (["--items", "1"], "items needs a whole number in 2..1024, got 1"),
        (["--image-size", "48"], "image_size needs 64 or 32, got 48"),
        (["--dataset", "folder", "--data-path", "nowhere"], "nowhere"),
    ],
)
def test_what_cannot_be_used_is_said_in_one_line(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["landscape", *words]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


@pytest.fixture(scope="module")
def shallow() -> VGGFeatures:
    return VGGFeatures(load_vgg16(WEIGHTS), parse_layers(SHALLOW_LAYERS))


@pytest.mark.skipif(not WEIGHTS.is_file(), reason="needs python -m sparse_repr.perceptual fetch")
@pytest.mark.parametrize("name", ["dsprites", "faces", "chairs3d"])
def test_the_presets_can_start_on_drawn_data(name: str, dsprites: FactorDataset, shallow: VGGFeatures) -> None:
    data = dsprites if name == "dsprites" else load_dataset(name)
    chosen = np.random.default_rng(0).permutation(len(data))[:272]
    images = torch.from_numpy(data.images(chosen)) / 255
    layers = parse_layers(SHALLOW_LAYERS)
    levels = [level for level in LandscapeConfig().levels() if not level.start]
    landscape = measure_landscape(
        shallow,
        layers,
        images[:16],
        images[16:],
        resolutions=[level.resolution for level in levels],
        levels=levels,
        compared=layers,
    )
    assert advise(landscape, layers).starts
