"""PerceptualSettings: what it refuses by the names that users know, and the loss that it builds, by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from sparse_repr.objectives.reconstruction import gaussian
from sparse_repr.perceptual import PerceptualDistance, PerceptualSettings, VGGFeatures
from sparse_repr.perceptual.distance import with_roughness
from sparse_repr.perceptual.preparation import Preparation
from sparse_repr.perceptual.vgg_weights import load_vgg16

ON = {"weight": 1.0}
LOGITS, IMAGES = (
    torch.linspace(-3, 3, 4 * 32 * 32).view(4, 1, 32, 32),
    torch.linspace(0, 1, 4 * 32 * 32).view(4, 1, 32, 32),
)


def settings(**changes: Any) -> PerceptualSettings:
    return PerceptualSettings(**{"image_size": 32, "batch_size": 4, **changes})


def no_step() -> int:
    raise AssertionError("a loss that is taken at every step asked for its number")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weight": -1.0}, "perceptual_weight needs a finite number of at least 0, got -1"),
        ({"pixel_weight": float("inf")}, "pixel_weight needs a finite number of at least 0, got inf"),
        ({"style_weight": float("nan")}, "style_weight needs a finite number of at least 0, got nan"),
        ({"features": "vgg"}, "unknown perceptual features 'vgg'. Did you mean 'vgg16'"),
        ({"layers": "relu9_1"}, "unknown perceptual layer 'relu9_1'"),
        ({**ON, "weights_path": ""}, "perceptual_weights_path needs the name of a file or folder, got ''"),
        ({"pixel_weight": 0.0}, "pixel_weight 0 needs a positive perceptual_weight, got 0: nothing would be"),
        ({"style_weight": 1.0}, "style_weight needs a positive perceptual_weight and perceptual_features 'vgg16'"),
        ({**ON, "style_weight": 1.0, "features": "dae"}, "style_weight needs .* perceptual_features 'vgg16'"),
        ({"resolution": 16}, "perceptual_resolution needs a positive perceptual_weight, got 0: there is no"),
        ({"every": 2}, "perceptual_every needs a positive perceptual_weight, got 0"),
        ({"images": 2}, "perceptual_images needs a positive perceptual_weight, got 0"),
        ({**ON, "every": 0}, "perceptual_every needs a whole number of at least 1, got 0"),
        ({**ON, "every": 2, "pixel_weight": 0.0}, "perceptual_every 2 needs a positive pixel_weight, got 0"),
        ({**ON, "images": 3}, "perceptual_images needs a divisor of batch_size 4, got 3"),
        ({**ON, "images": True}, "perceptual_images needs a divisor of batch_size 4, got True"),
        ({**ON, "resolution": 24}, "perceptual_resolution needs a divisor of image_size 32 of at least 8, got 24"),
        ({**ON, "resolution": 4}, "perceptual_resolution needs a divisor of image_size 32 of at least 8, got 4"),
        ({**ON, "resolution": 16, "features": "dae"}, "perceptual_resolution needs perceptual_features 'vgg16', got"),
        ({"levels": "16"}, "perceptual_levels needs a positive perceptual_weight, got 0"),
        ({"scale": "data"}, "perceptual_scale 'data' needs a positive perceptual_weight, got 0"),
        ({**ON, "scale": "dataset"}, "unknown perceptual scale 'dataset'. Did you mean 'data'"),
        ({**ON, "scale": "data", "style_weight": 1.0}, "style_weight needs perceptual_scale 'image', got 'data'"),
        ({**ON, "roughness_weight": 0.1}, "roughness_weight needs perceptual_scale 'data', got 'image'"),
        ({**ON, "roughness_weight": -1.0}, "roughness_weight needs a finite number of at least 0"),
        ({**ON, "levels": "16", "resolution": 8}, "perceptual_levels takes the place of perceptual_resolution"),
        ({**ON, "levels": "8,24"}, "perceptual_levels needs divisors of image_size 32 of at least 8, got 24"),
        ({**ON, "levels": "4,16"}, "perceptual_levels needs divisors of image_size 32 of at least 8, got 4"),
        (
            {**ON, "levels": "16@2,64"},
            "needs a level up to image_size 32 that is there from step 0, or pixels before it",
        ),
        ({**ON, "levels": "64"}, "needs a level up to image_size 32 that is there from step 0, or pixels"),
        ({**ON, "levels": "64", "pixel_start": 1.0, "pixel_steps": 2}, "needs a level up to image_size 32"),
        ({**ON, "pixel_start": 1.0}, "pixel_start and pixel_steps go together: .*got 1.0 and 0"),
        ({**ON, "pixel_steps": 5}, "pixel_start and pixel_steps go together: .*got 0.0 and 5"),
        ({"pixel_start": 1.0, "pixel_steps": 5}, "pixel_start needs a positive perceptual_weight, got 0"),
        ({**ON, "pixel_start": -1.0, "pixel_steps": 5}, "pixel_start needs a finite number of at least 0, got -1"),
        ({**ON, "pixel_start": 1.0, "pixel_steps": -5}, "pixel_steps needs a whole number of at least 0, got -5"),
        ({**ON, "levels": "16,32@0.5"}, "perceptual_levels needs shares of a run whose steps are known"),
        ({**ON, "levels": "sixteen", "features": "dae"}, "perceptual_levels needs resolutions separated"),
        ({"dae_steps": 0}, "dae_steps needs a whole number of at least 1, got 0"),
    ],
)
def test_what_does_not_fit_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        settings(**changes)


def test_pixels_alone_are_the_loss_itself() -> None:
    assert settings().is_likelihood
    assert settings().build(gaussian, channels=1, seed=0, step=no_step) == (gaussian, Preparation())
    halved = settings(pixel_weight=0.5)
    assert not halved.is_likelihood
    loss, preparation = halved.build(gaussian, channels=1, seed=0, step=no_step)
    assert preparation == Preparation()
    assert torch.equal(loss(LOGITS, IMAGES), 0.5 * gaussian(LOGITS, IMAGES))
    for of_pixels in (settings(), halved):
        assert of_pixels.header() is None
        assert of_pixels.why_not_one_launch() is None
        assert not of_pixels.compares_vgg16


def test_features_of_vgg16_are_added_to_the_pixels(random_vgg: str) -> None:
    chosen = settings(
        weight=2.0, pixel_weight=0.5, layers="relu2_2,relu1_2", weights_path=random_vgg, style_weight=3.0, resolution=16
    )
    assert chosen.compares_vgg16
    assert "perceptual loss" in str(chosen.why_not_one_launch())
    loss, preparation = chosen.build(gaussian, channels=1, seed=0, step=no_step)
    assert preparation == Preparation()
    distance = PerceptualDistance(
        VGGFeatures(load_vgg16(random_vgg), ["relu1_2", "relu2_2"]), style_weight=3.0, resolution=16
    )
    expected = 2 * distance(LOGITS, IMAGES) + 0.5 * gaussian(LOGITS, IMAGES)
    torch.testing.assert_close(loss(LOGITS, IMAGES), expected)


def test_the_denoising_autoencoder_is_handed_out_to_be_trained() -> None:
    chosen = settings(weight=1.0, pixel_weight=0.0, features="dae")
    assert not chosen.compares_vgg16
    loss, preparation = chosen.build(gaussian, channels=1, seed=3, step=no_step)
    denoiser = preparation.denoiser
    assert denoiser is not None
    with pytest.raises(RuntimeError, match="needs train"):
        loss(LOGITS, IMAGES)
    denoiser.train(lambda _: IMAGES, 2)
    torch.testing.assert_close(loss(LOGITS, IMAGES), PerceptualDistance(denoiser)(LOGITS, IMAGES))


@pytest.mark.parametrize("progress", [True, False])
def test_a_bar_shows_how_far_the_denoising_autoencoder_is(progress: bool, capsys: pytest.CaptureFixture[str]) -> None:
    _, preparation = settings(weight=1.0, pixel_weight=0.0, features="dae").build(
        gaussian, channels=1, seed=3, step=no_step
    )
    preparation(lambda _: IMAGES, lambda: IMAGES, dae_steps=2, progress=progress)
    assert ("denoising autoencoder: 100%" in capsys.readouterr().err) == progress


def test_steps_and_images_are_chosen_by_the_step(random_vgg: str) -> None:
    now = [0]
    chosen = settings(weight=1.0, layers="relu1_2", weights_path=random_vgg, every=2, images=2)
    loss, _ = chosen.build(gaussian, channels=1, seed=0, step=lambda: now[0])
    distance = PerceptualDistance(VGGFeatures(load_vgg16(random_vgg), ["relu1_2"]))(LOGITS, IMAGES)
    taken: list[Tensor] = []
    for now[0] in range(2):
        taken.append(loss(LOGITS, IMAGES) - gaussian(LOGITS, IMAGES))
    # every second step and image, each of them four times as strong
    torch.testing.assert_close(taken[0][[0, 2]], 4 * distance[[0, 2]], rtol=1e-4, atol=1e-3)
    assert not taken[0][[1, 3]].any()
    assert not taken[1].any()


def test_the_header_names_what_was_compared() -> None:
    assert settings(**ON).header() == {
        "weight": 1.0,
        "pixel_weight": 1.0,
        "features": "vgg16",
        "layers": "relu1_2,relu2_2,relu3_3",
        "style_weight": 0.0,
        "resolution": 32,
        "every": 1,
        "images": 4,
        "scale": "image",
    }
    denoising = settings(**ON, features="dae", every=3, images=2).header()
    assert denoising is not None
    assert (denoising["layers"], denoising["every"], denoising["images"]) == (None, 3, 2)


def test_coarse_to_fine_shares_of_the_variance(random_vgg: str) -> None:
    now = [0]
    chosen = settings(
        weight=2.0,
        pixel_weight=0.0,
        layers="relu1_2",
        weights_path=random_vgg,
        levels="8,16@0.5:1/2,64@0.9",
        steps=4,
        scale="data",
        roughness_weight=0.5,
    )
    assert (chosen.complete_from, len(chosen.joining())) == (2, 2)  # pictures of 32 have no level of 64
    loss, preparation = chosen.build(gaussian, channels=1, seed=0, step=lambda: now[0])
    with pytest.raises(RuntimeError, match="needs measure"):
        loss(LOGITS, IMAGES)
    preparation(lambda _: pytest.fail("there is nothing to train"), lambda: IMAGES, dae_steps=1)
    variances = preparation.variances
    assert variances is not None
    features = VGGFeatures(load_vgg16(random_vgg), ["relu1_2"])
    at = {size: PerceptualDistance(features, resolution=size, variances=variances) for size in (8, 16)}

    def both(logits: Tensor, images: Tensor) -> Tensor:
        finer = 2 * at[16](logits, images) * torch.tensor([1.0, 0, 1, 0])
        return (at[8](logits, images) + finer) / 2

    for now[0], expected in ((1, at[8]), (2, both)):
        rough = with_roughness(expected, variances, weight=0.5)
        torch.testing.assert_close(loss(LOGITS, IMAGES), 2 * rough(LOGITS, IMAGES))
    header = chosen.header()
    assert header is not None
    assert (header["levels"], header["scale"], header["roughness_weight"]) == ("8,16@2:1/2", "data", 0.5)


def test_pixels_count_alone_until_features_join_and_fade_over_their_steps(random_vgg: str) -> None:
    now = [0]
    chosen = settings(
        weight=2.0,
        pixel_weight=0.0,
        pixel_start=3.0,
        pixel_steps=4,
        layers="relu1_2",
        weights_path=random_vgg,
        levels="8@2",
        steps=20,
    )
    assert chosen.features_from == 2
    loss, _ = chosen.build(gaussian, channels=1, seed=0, step=lambda: now[0])
    features = VGGFeatures(load_vgg16(random_vgg), ["relu1_2"])
    distance = PerceptualDistance(features, resolution=8)(LOGITS, IMAGES)
    pixels = gaussian(LOGITS, IMAGES)
    for step, share, joined in ((0, 1.0, False), (1, 1.0, False), (2, 1.0, True), (3, 0.75, True), (5, 0.25, True)):
        now[0] = step
        torch.testing.assert_close(loss(LOGITS, IMAGES), 3 * share * pixels + 2 * joined * distance)
    for step in (6, 19):
        now[0] = step
        assert torch.equal(loss(LOGITS, IMAGES), 2 * distance)
    header = chosen.header()
    assert header is not None
    assert (header["pixel_start"], header["pixel_steps"], header["pixel_weight"]) == (3.0, 4, 0.0)
    assert "pixel_start" not in (settings(**ON).header() or {})


def test_pixels_fade_at_once_where_features_count_from_the_start(random_vgg: str) -> None:
    now = [1]
    chosen = settings(**ON, pixel_start=1.0, pixel_steps=2, layers="relu1_2", weights_path=random_vgg, pixel_weight=0.5)
    loss, _ = chosen.build(gaussian, channels=1, seed=0, step=lambda: now[0])
    features = VGGFeatures(load_vgg16(random_vgg), ["relu1_2"])
    expected = 0.75 * gaussian(LOGITS, IMAGES) + PerceptualDistance(features)(LOGITS, IMAGES)
    torch.testing.assert_close(loss(LOGITS, IMAGES), expected)


def test_pictures_of_the_denoising_autoencoder_have_one_size() -> None:
    chosen = settings(**ON, features="dae", levels="8,16@0.5,64@0.9", steps=4)
    assert (chosen.joining(), chosen.complete_from) == ((), 0)
