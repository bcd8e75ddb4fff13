from __future__ import annotations

import pytest
import torch

from sparse_repr.data.crop import Crop
from sparse_repr.encoder.preprocessing import Preprocessing

COLOUR = Preprocessing(3, (96, 96), (64, 64))


def test_network_size_is_only_scaled() -> None:
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    assert torch.equal(COLOUR(images), images.float() / 255)


def test_source_size_is_cropped_then_resized() -> None:
    contract = Preprocessing(1, (96, 80), (32, 32), crop_size=(64, 64))
    images = torch.zeros((1, 1, 96, 80), dtype=torch.uint8)
    images[..., 16:80, 8:72] = 255  # exactly the centre crop
    assert torch.equal(contract(images), torch.ones(1, 1, 32, 32))
    halved = Preprocessing(1, (64, 64), (32, 32))(torch.full((1, 1, 64, 64), 51, dtype=torch.uint8))
    torch.testing.assert_close(halved, torch.full((1, 1, 32, 32), 0.2))


@pytest.mark.parametrize(
    ("shape", "layout"), [((3, 96, 96), "CHW"), ((96, 96, 3), "HWC"), ((3, 64, 64), "CHW"), ((64, 64, 3), "HWC")]
)
def test_layouts(shape: tuple[int, ...], layout: str) -> None:
    assert COLOUR.layout_of(shape) == layout


@pytest.mark.parametrize(
    ("contract", "shape", "message"),
    [
        (
            COLOUR,
            (3, 60, 60),
            r"3 channels of 96x96 or 64x64, got images of shape \(3, 60, 60\)\. Resize to 96x96 first",
        ),
        (COLOUR, (64, 64, 1), "trained on colour images"),
        (COLOUR, (64, 64), "Give every image by itself"),
        (COLOUR, (12, 64, 64), "Of stacked frames give every frame by itself"),
        (Preprocessing(1, (64, 64), (64, 64)), (64, 64, 3), "Convert to grey first"),
    ],
)
def test_refusals_say_what_to_do(contract: Preprocessing, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        contract.layout_of(shape)


def test_header_round_trip_and_unknown_contracts() -> None:
    contract = Preprocessing(3, (218, 178), (64, 64), crop_size=(148, 148))
    assert Preprocessing.from_header(contract.to_header()) == contract
    with pytest.raises(ValueError, match="unknown preprocessing contract"):
        Preprocessing.from_header({**contract.to_header(), "resize": "nearest"})
    with pytest.raises(ValueError, match="unknown preprocessing contract"):
        Preprocessing.from_header({**contract.to_header(), "rotate": 90})


def test_a_crop_that_would_not_be_taken_is_refused() -> None:
    with pytest.raises(ValueError, match=r"an image of 64x64 could be one to crop or one for the network"):
        Preprocessing(1, (64, 64), (64, 64), crop_size=(32, 32))
    assert Preprocessing(1, (64, 64), (64, 64), crop_size=(64, 64)).sizes == ((64, 64),)
    for crop in ((65, 64), (0, 8)):
        with pytest.raises(ValueError, match=r"needs a crop_size within \(64, 64\)"):
            Preprocessing(1, (64, 64), (32, 32), crop_size=crop)


@pytest.mark.parametrize("network", [(32, 32), (64, 64)])
def test_a_part_is_seen_and_nothing_around_it(network: tuple[int, int]) -> None:
    contract = Preprocessing(1, (64, 64), network, crop=Crop(40, 3, 16, 61))
    images = torch.randint(0, 256, (1, 1, 64, 64), dtype=torch.uint8)
    images[..., 40:56, 3:64] = 255
    torch.testing.assert_close(contract(images), torch.ones(1, 1, *network))
    ramp = torch.arange(64, dtype=torch.uint8).expand(1, 1, 64, 64)
    seen = Preprocessing(1, (64, 64), (32, 32), crop=Crop(0, 8, 32, 32))(ramp)
    torch.testing.assert_close(seen[0, 0, 0], torch.arange(8, 40) / 255)  # no resizing


def test_images_of_the_network_might_be_cropped_already_and_are_refused() -> None:
    contract = Preprocessing(3, (96, 80), (64, 64), crop=Crop(0, 0, 20, 80))
    assert contract.sizes == ((96, 80),)
    assert contract.layout_of((96, 80, 3)) == "HWC"
    with pytest.raises(ValueError, match=r"3 channels of 96x80, got images of shape \(64, 64, 3\)"):
        contract.layout_of((64, 64, 3))


def test_a_crop_travels_in_the_header_and_must_fit() -> None:
    contract = Preprocessing(3, (96, 80), (64, 64), crop=Crop(0, 10, 20, 70))
    header = contract.to_header()
    assert header["crop"] == [0, 10, 20, 70]
    assert Preprocessing.from_header(header) == contract
    assert "crop" not in COLOUR.to_header()  # files stay those of before
    for crop in ([0, 11, 20, 70], [0, 0, 0, 70], [77, 0, 20, 70], [1, 2, 3], ["a", 0, 1, 1]):
        with pytest.raises(ValueError, match="crop"):
            Preprocessing.from_header({**header, "crop": crop})
    with pytest.raises(ValueError, match="crop or crop_size, got both"):
        Preprocessing(3, (96, 80), (64, 64), crop=Crop(0, 0, 20, 70), crop_size=(20, 70))


def test_what_is_seen_is_one_rectangle() -> None:
    assert COLOUR.seen == (0, 0, 96, 96)
    assert Preprocessing(3, (218, 178), (64, 64), crop_size=(148, 148)).seen == (35, 15, 148, 148)
