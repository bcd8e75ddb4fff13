"""Networks of libraries: features without the last layer, and their own preprocessing in our contract."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

from sparse_repr.encoder import Preprocessing
from sparse_repr.encoder.backbones import backbone
from tests.foreign_encoders import pictures

IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
MOBILE = "torchvision:mobilenet_v3_small"


def _pixels(images: np.ndarray[Any, Any], preprocessing: Preprocessing) -> torch.Tensor:
    return preprocessing(torch.from_numpy(images).permute(0, 3, 1, 2))


@pytest.mark.parametrize(
    ("name", "features", "contract"),
    [
        (MOBILE, 576, Preprocessing(3, (64, 64), (32, 32), resize="bilinear-antialias", **IMAGENET)),
        pytest.param(
            "torchvision:resnet18",
            512,
            Preprocessing(3, (64, 64), (32, 32), resize="bilinear-antialias", **IMAGENET),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "torchvision:swin_t",
            768,
            Preprocessing(3, (64, 64), (32, 32), resize="bicubic-antialias", **IMAGENET),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_torchvision(name: str, features: int, contract: Preprocessing) -> None:
    state = torch.get_rng_state()
    found = backbone(name, source_size=(64, 64), network_size=32)
    assert torch.equal(torch.get_rng_state(), state)
    assert found.preprocessing == contract
    assert backbone(name, source_size=(84, 84)).preprocessing.network_size == (224, 224)
    images = pictures(6)
    encoder = found.freeze(images)
    assert encoder.code_size == features
    assert encoder.spec.objective["name"] == name
    with torch.no_grad():
        expected = found.module.eval()(_pixels(images, contract)).numpy()
    np.testing.assert_allclose(encoder.encode(images), expected, atol=1e-5 * max(1, np.abs(expected).max()))


def test_a_norm_before_the_last_layer_is_kept_and_convolutions_of_the_classes_are_not() -> None:
    images = pictures(2)
    for name, features in (("convnext_tiny", 768), ("squeezenet1_1", 512)):
        found = backbone(f"torchvision:{name}", source_size=(64, 64), network_size=64)
        with torch.no_grad():
            made = found.module.eval()(_pixels(images, found.preprocessing))
        assert made.shape == (2, features)
        if name == "convnext_tiny":
            torch.testing.assert_close(made.mean(1), torch.zeros(2), atol=1e-5, rtol=0)
            torch.testing.assert_close(made.std(1, correction=0), torch.ones(2), atol=1e-2, rtol=0)


def test_dense_layers_of_the_classes_are_left_out() -> None:
    found = backbone("torchvision:vgg11", source_size=(32, 32), network_size=32)
    assert not any(isinstance(part, nn.Linear) for part in found.module.modules())
    assert found.module(torch.zeros(2, 3, 32, 32)).shape == (2, 512)


def test_grey_images_are_three_equal_normalised_channels() -> None:
    colour = backbone(MOBILE, source_size=(32, 32), network_size=32)
    grey = backbone(MOBILE, source_size=(32, 32), network_size=32, channels=1)
    assert grey.preprocessing == Preprocessing(1, (32, 32), (32, 32))
    images = pictures(4, 1, 32)
    with torch.no_grad():
        expected = colour.module.eval()(_pixels(np.repeat(images, 3, axis=3), colour.preprocessing))
        found = grey.module.eval()(_pixels(images, grey.preprocessing))
    torch.testing.assert_close(found, expected)


def test_weights_come_from_a_safetensors_file_of_the_same_network(tmp_path: Path) -> None:
    options: dict[str, Any] = {"source_size": (32, 32), "network_size": 32}
    one, other = backbone(MOBILE, **options), backbone(MOBILE, seed=1, **options)
    network = one.module[0]
    assert not torch.equal(next(network.parameters()), next(other.module.parameters()))
    safetensors.torch.save_file(network.state_dict(), tmp_path / "weights.safetensors")
    loaded = backbone(MOBILE, seed=1, weights=tmp_path / "weights.safetensors", **options)
    assert all(torch.equal(a, b) for a, b in zip(one.module.parameters(), loaded.module.parameters(), strict=True))
    with pytest.raises(ValueError, match="weights.safetensors: the tensors do not fit the architecture"):
        backbone("torchvision:vgg11", weights=tmp_path / "weights.safetensors", **options)
    with pytest.raises(
        ValueError, match=r'needs "pretrained" or a \.safetensors file, got weights\.pth: other formats'
    ):
        backbone(MOBILE, weights="weights.pth", **options)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnet18", {}, "needs LIBRARY:NAME with a library of torchvision, timm, transformers, got 'resnet18'"),
        ("torchvison:resnet18", {}, "Did you mean 'torchvision'"),
        ("torchvision:resnet19", {}, "Did you mean 'resnet18'"),
        (MOBILE, {"channels": 4}, "needs 1 or 3 channels, got 4"),
    ],
)
def test_unknown_names_are_told(name: str, options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        backbone(name, source_size=(64, 64), **options)


@pytest.mark.parametrize("library", ["timm", "transformers"])
def test_a_missing_library_names_the_extra(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ImportError, match=rf"install sparse-repr\[{library}\]"):
        backbone(f"{library}:any", source_size=(64, 64))


def test_timm() -> None:
    pytest.importorskip("timm")
    found = backbone("timm:vit_tiny_patch16_224", source_size=(64, 64), img_size=32, depth=1)
    half = (0.5, 0.5, 0.5)
    assert found.preprocessing == Preprocessing(3, (64, 64), (32, 32), resize="bicubic-antialias", mean=half, std=half)
    images = pictures(4)
    encoder = found.freeze(images, code_size=3)
    assert encoder.code_size == 3
    with pytest.raises(ValueError, match="timm has no network 'vit_of_nobody'"):
        backbone("timm:vit_of_nobody", source_size=(64, 64))


def test_transformers(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    model = transformers.ViTModel(transformers.ViTConfig(image_size=32, patch_size=8, **sizes)).eval()
    model.save_pretrained(tmp_path)
    prepared = {"size": {"height": 32, "width": 32}, "resample": 3, "rescale_factor": 1 / 127.5}
    transformers.ViTImageProcessor(image_mean=[1.0] * 3, image_std=[1.0] * 3, **prepared).save_pretrained(tmp_path)
    found = backbone(f"transformers:{tmp_path}", source_size=(64, 64), weights="pretrained")
    # x / 127.5 - 1 is (x / 255 - 0.5) / 0.5
    half = (0.5, 0.5, 0.5)
    assert found.preprocessing == Preprocessing(3, (64, 64), (32, 32), resize="bicubic-antialias", mean=half, std=half)
    images = pictures(4)
    with torch.no_grad():
        tokens = model(_pixels(images, found.preprocessing)).last_hidden_state
    np.testing.assert_allclose(found.freeze(images).encode(images), tokens[:, 0].numpy(), atol=1e-5)
    averaged = backbone(f"transformers:{tmp_path}", source_size=(64, 64), weights="pretrained", pooling="mean")
    np.testing.assert_allclose(averaged.freeze(images).encode(images), tokens.mean(1).numpy(), atol=1e-5)


def test_transformers_weights_that_are_a_pickle_alone_are_refused(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    model = transformers.ViTModel(transformers.ViTConfig(image_size=32, patch_size=8, **sizes))
    model.config.save_pretrained(tmp_path)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(OSError, match=r"model\.safetensors"):
        backbone(f"transformers:{tmp_path}", source_size=(64, 64), weights="pretrained")
