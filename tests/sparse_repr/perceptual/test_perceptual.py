"""Content and style equal those of torchvision's VGG16, hooked, with the same random weights."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torchvision.models.vgg import cfgs, make_layers

from sparse_repr.objectives.reconstruction import gaussian
from sparse_repr.perceptual import (
    VGG_LAYERS,
    PerceptualDistance,
    VGGFeatures,
    combine_reconstruction,
    content_distance,
    gram_matrix,
    parse_layers,
    style_distance,
)


@pytest.fixture(scope="module")
def reference() -> nn.Sequential:
    """torchvision's feature layers with random weights; its classifier of 124 million is not built."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return make_layers(cfgs["D"]).eval()


@pytest.fixture(scope="module")
def weights(reference: nn.Sequential) -> dict[str, Tensor]:
    return {f"features.{name}": tensor for name, tensor in reference.state_dict().items()}


def _hooked(reference: nn.Sequential, images: Tensor) -> list[Tensor]:
    found: list[Tensor] = []
    hooks = [
        # torchvision's ReLUs work in place: the clone keeps what the next layer would overwrite
        reference[place].register_forward_hook(lambda _module, _input, output: found.append(output.clone()))
        for place in VGG_LAYERS.values()
    ]
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    reference((images - mean[:, None, None]) / std[:, None, None])
    for hook in hooks:
        hook.remove()
    return found


def test_features_content_and_style_are_those_of_torchvision(
    reference: nn.Sequential, weights: dict[str, Tensor]
) -> None:
    images, others = torch.rand(2, 3, 32, 32), torch.rand(2, 3, 32, 32)
    features = VGGFeatures(weights, tuple(VGG_LAYERS))
    with torch.no_grad():
        expected, expected_others = _hooked(reference, images), _hooked(reference, others)
    for ours, other, theirs, their_other in zip(
        features(images), features(others), expected, expected_others, strict=True
    ):
        torch.testing.assert_close(ours, theirs)
        _, channels, height, width = theirs.shape
        content = (theirs - their_other).square().sum((1, 2, 3)) / (channels * height * width)
        torch.testing.assert_close(content_distance(other, ours), content, rtol=1e-4, atol=1e-9)
        gram = torch.einsum("bchw,bdhw->bcd", theirs, theirs) / (channels * height * width)
        torch.testing.assert_close(gram_matrix(ours), gram, rtol=1e-4, atol=1e-9)
        gram_other = torch.einsum("bchw,bdhw->bcd", their_other, their_other) / (channels * height * width)
        style = (gram - gram_other).square().sum((1, 2))
        torch.testing.assert_close(style_distance(other, ours), style, rtol=1e-3, atol=1e-12)


def test_content_and_gram_by_hand() -> None:
    wanted = torch.tensor([[[[1.0, 2.0]], [[0.0, 1.0]]]])  # (1, 2 channels, 1, 2)
    found = torch.tensor([[[[1.0, 0.0]], [[2.0, 1.0]]]], requires_grad=True)
    distance = content_distance(found, wanted)
    assert distance.tolist() == [(4 + 4) / 4]
    distance.sum().backward()
    torch.testing.assert_close(found.grad, torch.tensor([[[[0.0, -1.0]], [[1.0, 0.0]]]]))
    assert gram_matrix(wanted)[0].tolist() == [[5 / 4, 2 / 4], [2 / 4, 1 / 4]]


def test_grey_images_are_repeated_and_the_network_ends_at_the_deepest_layer(weights: dict[str, Tensor]) -> None:
    features = VGGFeatures(weights, ["relu1_2", "relu2_2"])
    assert len(features.network) == VGG_LAYERS["relu2_2"] + 1
    grey = torch.rand(2, 1, 32, 32)
    for ours, theirs in zip(features(grey), features(grey.repeat(1, 3, 1, 1)), strict=True):
        torch.testing.assert_close(ours, theirs)
    assert not any(parameter.requires_grad for parameter in features.network.parameters())
    with pytest.raises(ValueError, match="VGG16 needs images of 1 or 3 channels, got 2"):
        features(torch.rand(2, 2, 32, 32))


@pytest.mark.parametrize("style_weight", [0.0, 2.0])
def test_the_distance_is_relative_per_layer_and_scaled_by_the_pixels(
    weights: dict[str, Tensor], style_weight: float
) -> None:
    features = VGGFeatures(weights, ["relu1_2", "relu3_3"])
    distance = PerceptualDistance(features, style_weight=style_weight)
    logits, images = torch.randn(3, 1, 32, 32), torch.rand(3, 1, 32, 32)
    found, wanted = features(torch.sigmoid(logits)), features(images)
    expected = torch.zeros(3)
    for ours, theirs in zip(found, wanted, strict=True):
        expected += (ours - theirs).square().sum((1, 2, 3)) / theirs.square().sum((1, 2, 3))
        share = style_distance(ours, theirs) / gram_matrix(theirs).square().sum((1, 2))
        expected += style_weight * share
    torch.testing.assert_close(distance(logits, images), 1024 / 2 * expected, rtol=1e-4, atol=1e-4)
    # images of a batch do not touch each other, and layers of any size of activation weigh the same
    torch.testing.assert_close(distance(logits[1:2], images[1:2])[0], distance(logits, images)[1], rtol=1e-4, atol=1e-4)
    same = torch.logit(images.clamp(1e-6, 1 - 1e-6))
    assert float(distance(same, images).max()) < 1e-3


def test_gradients_reach_the_logits_and_not_the_images(weights: dict[str, Tensor]) -> None:
    distance = PerceptualDistance(VGGFeatures(weights, ["relu1_2"]))
    logits = torch.randn(2, 1, 32, 32, requires_grad=True)
    images = torch.rand(2, 1, 32, 32, requires_grad=True)
    distance(logits, images).sum().backward()
    assert logits.grad is not None
    assert float(logits.grad.abs().max()) > 0
    assert images.grad is None or float(images.grad.abs().max()) == 0


def test_uint8_images_are_those_in_0_1_and_others_outside_it_are_refused(weights: dict[str, Tensor]) -> None:
    distance = PerceptualDistance(VGGFeatures(weights, ["relu1_2"]))
    logits, images = torch.randn(2, 1, 32, 32), (255 * torch.rand(2, 1, 32, 32)).to(torch.uint8)
    torch.testing.assert_close(distance(logits, images), distance(logits, images / 255))
    for wrong in (images.float(), images / 127.5 - 1, torch.where(images == images[0, 0, 0, 0], torch.nan, 0.5)):
        with pytest.raises(ValueError, match=r"images needs values in 0\.\.1, or uint8, got "):
            distance(logits, wrong)
    with pytest.raises(TypeError, match="images needs uint8 or floating-point numbers"):
        distance(logits, images.long())


@pytest.mark.parametrize("pixels_at_once", [16 * 16, None])
def test_an_empty_batch_has_no_distances(weights: dict[str, Tensor], pixels_at_once: int | None) -> None:
    logits = torch.zeros(0, 1, 16, 16, requires_grad=True)
    distance = PerceptualDistance(_Counting(VGGFeatures(weights, ["relu1_2"]), pixels_at_once), style_weight=1.0)
    found = distance(logits, torch.zeros(0, 1, 16, 16))
    assert found.shape == (0,)
    (gradient,) = torch.autograd.grad(found.sum(), logits)
    assert gradient.shape == logits.shape


def test_bf16_is_close_and_returns_float32(weights: dict[str, Tensor]) -> None:
    logits, images = torch.randn(2, 1, 32, 32), torch.rand(2, 1, 32, 32)
    exact = PerceptualDistance(VGGFeatures(weights, ["relu2_2"]))(logits, images)
    rounded = PerceptualDistance(VGGFeatures(weights, ["relu2_2"], precision="bf16"))(logits, images)
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(rounded, exact, rtol=0.05, atol=1.0)


def _relative_distance(found: list[Tensor], wanted: list[Tensor], pixels: int) -> Tensor:
    """The definition, written out: the mean over the layers of the relative squared distance, times the pixels."""
    total = torch.zeros(len(wanted[0]))
    for ours, theirs in zip(found, wanted, strict=True):
        total = total + (ours.float() - theirs.float()).square().sum((1, 2, 3)) / theirs.float().square().sum((1, 2, 3))
    return pixels / len(wanted) * total


class _Counting:
    """Features that note how many pictures they get at once."""

    def __init__(self, features: VGGFeatures, pixels_at_once: int | None) -> None:
        self.features = features
        self.pixels_at_once = pixels_at_once
        self.seen: list[int] = []

    def __call__(self, images: Tensor) -> list[Tensor]:
        self.seen.append(len(images))
        return self.features(images)


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-5), ("bf16", 0.02)])
def test_parts_of_a_batch_give_the_distance_and_gradient_of_the_definition(
    weights: dict[str, Tensor], precision: str, tolerance: float
) -> None:
    features = VGGFeatures(weights, ["relu1_2", "relu2_2"], precision=precision)
    logits, images = torch.randn(5, 3, 16, 16, requires_grad=True), torch.rand(5, 3, 16, 16)
    share = torch.rand(5)  # the weight of each image is known only after its gradient was taken
    definition = _relative_distance(features(torch.sigmoid(logits)), features(images), 768)
    (expected,) = torch.autograd.grad((definition * share).sum(), logits)
    for pixels_at_once, parts in ((2 * 16 * 16, [2, 2, 2, 2, 1, 1]), (1, [1] * 10), (None, [5, 5])):
        counting = _Counting(features, pixels_at_once)
        found = PerceptualDistance(counting)(logits, images)
        assert counting.seen == parts  # each part of the images, then of the reconstructions
        (gradient,) = torch.autograd.grad((found * share).sum(), logits)
        torch.testing.assert_close(found, definition, rtol=tolerance, atol=1e-4)
        assert float((gradient - expected).norm() / expected.norm()) < tolerance
        with torch.no_grad():
            torch.testing.assert_close(PerceptualDistance(counting)(logits, images), found.detach())


def test_a_resolution_compares_averaged_pictures_at_the_weight_of_all_pixels(weights: dict[str, Tensor]) -> None:
    features = VGGFeatures(weights, ["relu2_2"])
    logits, images = torch.randn(3, 1, 32, 32), torch.rand(3, 1, 32, 32)
    small = [
        pictures.unflatten(2, (16, 2)).unflatten(4, (16, 2)).mean((3, 5)) for pictures in (logits.sigmoid(), images)
    ]
    definition = _relative_distance(features(small[0]), features(small[1]), 32 * 32)
    counting = _Counting(features, 2 * 16 * 16)
    torch.testing.assert_close(PerceptualDistance(counting, resolution=16)(logits, images), definition)
    assert counting.seen == [2, 2, 1, 1]  # parts of more pictures, as these are smaller
    whole = PerceptualDistance(features)(logits, images)
    torch.testing.assert_close(PerceptualDistance(features, resolution=32)(logits, images), whole)


def test_pixel_and_perceptual_terms_are_weighted() -> None:
    def perceptual(logits: Tensor, images: Tensor) -> Tensor:
        return torch.full((len(images),), 10.0)

    def unused(logits: Tensor, images: Tensor) -> Tensor:
        raise AssertionError("a term of weight 0 was computed")

    logits, images = torch.randn(2, 1, 8, 8), torch.rand(2, 1, 8, 8)
    both = combine_reconstruction(gaussian, perceptual, pixel_weight=0.5, perceptual_weight=2.0)
    torch.testing.assert_close(both(logits, images), 20 + 0.5 * gaussian(logits, images))
    alone = combine_reconstruction(unused, perceptual, pixel_weight=0.0, perceptual_weight=2.0)
    assert alone(logits, images).tolist() == [20.0, 20.0]


def test_layers_are_parsed() -> None:
    assert parse_layers("relu3_3, relu1_2,relu3_3") == ("relu1_2", "relu3_3")
    with pytest.raises(ValueError, match="unknown perceptual layer 'relu3_4'. Did you mean 'relu3_3'"):
        parse_layers("relu3_4")
    with pytest.raises(ValueError, match="perceptual_layers needs at least one of relu1_2"):
        parse_layers(" ,")
