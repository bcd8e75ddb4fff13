"""The kernel in JavaScript and torch: the same codes and pictures, for every architecture that there is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from sparse_repr.data.crop import Crop
from sparse_repr.encoder import Preprocessing
from sparse_repr.explore.contents import _contract
from sparse_repr.explore.networks import UnknownNetworkError, decoder_layers, encoder_layers, layers_of_modules
from sparse_repr.explore.packing import Packing, rounded
from sparse_repr.models import ARCHITECTURES, HEADS, VAE, build_vae
from tests.javascript import ENGINES, Evaluate, engine

AGREED = 1e-4


@pytest.fixture(scope="module", params=ENGINES)
def evaluate(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Evaluate]:
    yield from engine(request.param, tmp_path_factory.mktemp("engine"))


def _computed(evaluate: Evaluate, contents: dict[str, Any], body: str) -> Any:
    """What a script makes of packed `contents`."""
    packing = Packing()
    spelled = json.dumps(packing.pack(contents))
    head = f"const c = await Unpack.unpack({json.dumps(spelled)}, {json.dumps(packing.to_text())});"
    return evaluate(f"(async () => {{ {head} {body} }})()")


def _lively(architecture: str, *, channels: int, size: int, code_size: int) -> VAE:
    """A VAE whose activations stay as large as those of trained ones, with own tensors of its head that matter."""
    vae = build_vae(architecture, {"channels": channels, "size": size, "code_size": code_size}, seed=0)
    random = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, weight in vae.named_parameters():
            if weight.ndim > 1 and "codebook" not in name:
                gain = 9.0 if "posterior" in name else 4.0 if "decoder" in name else 1.5
                weight.copy_(torch.randn(weight.shape, generator=random) * (gain / weight[0].numel()) ** 0.5)
            elif "bias" in name:
                weight.copy_(0.1 * torch.randn(weight.shape, generator=random))
        for name, own in {"raw_threshold": -1.0, "log_threshold": -0.05}.items():
            if hasattr(vae.encoder, name):
                getattr(vae.encoder, name).fill_(own)
        if hasattr(vae.encoder, "units"):
            vae.encoder.units.fill_(code_size // 3)
        if hasattr(vae.encoder, "background"):
            vae.encoder.background.copy_(torch.rand(channels, size, size, generator=random))
            vae.encoder.scale.fill_(0.2)
            vae.decoder.background_logit.copy_(torch.randn(channels, size, size, generator=random))
    return vae.eval()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_codes_and_pictures_are_those_of_torch(architecture: str, evaluate: Evaluate) -> None:
    channels, code_size = (3, 12) if architecture in ("burgess", "keypoints") else (1, 9)
    code_size = 14 if architecture == "keypoints_looks" else code_size
    size = 32 if architecture.endswith(("rectified", "top_k")) else 64
    vae = _lively(architecture, channels=channels, size=size, code_size=code_size)
    images = np.random.default_rng(0).integers(0, 256, (2, channels, size, size), dtype=np.uint8)
    images[0] //= 4  # a dark one
    with torch.no_grad():
        codes = vae.encoder(torch.from_numpy(images) / 255).mean
        pictures = torch.sigmoid(vae.decoder(codes))
    assert codes.abs().max() > 0.3
    assert pictures.std() > 0.05
    found = _computed(
        evaluate,
        {
            "encoder": encoder_layers(vae.encoder),
            "decoder": decoder_layers(vae.decoder),
            "contract": _contract(Preprocessing(channels, (size, size), (size, size))),
            "images": images,
            "codes": codes,
        },
        """
        const [count, C, S] = c.images.shape, size = C * S * S, D = c.codes.shape[1], out = {codes: [], pictures: []};
        for (let i = 0; i < count; i++) {
          const image = Kernel.prepare(c.contract, c.images.data.subarray(i * size, (i + 1) * size), S, S);
          out.codes.push(Array.from(Kernel.run(c.encoder, image).data));
          const drawn = Kernel.run(c.decoder, {data: c.codes.data.subarray(i * D, (i + 1) * D), shape: [D]});
          out.pictures.push(Array.from(drawn.data, (x) => Number(x.toFixed(7))));
          if (drawn.shape.join() !== [C, S, S].join()) throw new Error(`shape ${drawn.shape}`);
        }
        return out;
        """,
    )
    apart = np.abs(np.asarray(found["codes"]) - codes.numpy()).max()
    drawn_apart = np.abs(np.asarray(found["pictures"]).reshape(pictures.shape) - pictures.numpy()).max()
    print(f"{architecture}: codes {apart:.1e}, pictures {drawn_apart:.1e}")
    assert apart < AGREED
    assert drawn_apart < AGREED


@pytest.mark.parametrize(
    ("source", "crop", "resize"),
    [
        ((64, 64), None, "bilinear-antialias"),
        ((100, 80), None, "bilinear-antialias"),
        ((110, 90), (80, 70), "bicubic-antialias"),
        ((40, 50), None, "bilinear-antialias"),
        ((100, 80), Crop(50, 3, 20, 70), "bilinear-antialias"),
        ((64, 64), Crop(40, 0, 8, 64), "bilinear-antialias"),
    ],
)
def test_images_are_prepared_as_by_torch(
    source: tuple[int, int], crop: tuple[int, int] | Crop | None, resize: str, evaluate: Evaluate
) -> None:
    given = {"crop": crop} if isinstance(crop, Crop) else {"crop_size": crop}
    preprocessing = Preprocessing(3, source, (64, 64), resize=resize, **given)  # type: ignore[arg-type]
    images = np.random.default_rng(1).integers(0, 256, (1, 3, *source), dtype=np.uint8)
    found = _computed(
        evaluate,
        {"contract": _contract(preprocessing), "images": images},
        f"return Array.from(Kernel.prepare(c.contract, c.images.data, {source[0]}, {source[1]}).data);",
    )
    expected = preprocessing(torch.from_numpy(images)).numpy().reshape(-1)
    assert np.abs(np.asarray(found) - expected).max() < 1e-5


def test_the_other_layers_are_those_of_torch(evaluate: Evaluate) -> None:
    modules = nn.Sequential(
        nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 6, bias=False), nn.ELU(0.7), nn.Linear(6, 6), nn.LeakyReLU(0.1)
    )
    modules.extend([nn.Linear(6, 4), nn.SiLU(), nn.Identity(), nn.Linear(4, 3), nn.Sigmoid()])
    inputs = torch.randn(5, generator=torch.Generator().manual_seed(0))
    found = _computed(
        evaluate,
        {"layers": layers_of_modules(modules), "inputs": inputs},
        "return Array.from(Kernel.run(c.layers, c.inputs).data);",
    )
    assert found == pytest.approx(modules(inputs).tolist(), abs=1e-5)


def test_the_largest_are_kept_and_equal_ones_in_their_order(evaluate: Evaluate) -> None:
    layer = {"op": "largest", "count": 2, "binary": False}
    inputs = torch.tensor([1.0, 3.0, 2.0, 2.0])
    body = "return [false, true].map((b) => Array.from(Kernel.run([{...c.layer, binary: b}], c.inputs).data));"
    found = _computed(evaluate, {"layer": layer, "inputs": inputs}, body)
    assert found == [[0, 3, 2, 0], [0, 1, 1, 0]]


def test_every_head_of_an_encoder_has_its_layers() -> None:
    from sparse_repr.explore.networks import HEADS as KNOWN

    assert set(KNOWN) == set(HEADS)


def test_the_kernel_has_every_layer_that_networks_and_films_may_name(evaluate: Evaluate) -> None:
    from sparse_repr.explore.film import _OPERATIONS

    named = set(_OPERATIONS)
    for architecture in ARCHITECTURES:
        vae = build_vae(
            architecture, {"channels": 1, "size": 32, "code_size": 3 * ARCHITECTURES[architecture].units_each}, seed=0
        )
        named |= {layer["op"] for layer in (*encoder_layers(vae.encoder), *decoder_layers(vae.decoder))}
    assert named == set(evaluate("Kernel.layers"))


def test_a_network_that_is_not_known_is_named() -> None:
    with pytest.raises(
        UnknownNetworkError, match="cannot run the encoder Linear in a browser: it knows BurgessDecoder, BurgessEncoder"
    ):
        encoder_layers(nn.Linear(2, 2))
    with pytest.raises(UnknownNetworkError, match="cannot run a layer GRU in a browser"):
        layers_of_modules(nn.Sequential(nn.GRU(2, 2)))
    with pytest.raises(UnknownNetworkError, match="without groups and dilation"):
        layers_of_modules(nn.Conv2d(4, 4, 3, groups=2))
    with pytest.raises(UnknownNetworkError, match="kernel 4, stride 2"):
        layers_of_modules(nn.ConvTranspose2d(4, 4, 3))
    for other in ({"groups": 2}, {"output_padding": 1}, {"dilation": 2}):
        with pytest.raises(UnknownNetworkError, match="one group, no dilation and no output padding"):
            layers_of_modules(nn.ConvTranspose2d(4, 4, 4, 2, 1, **other))


def test_rounded_weights_move_by_less_than_two_millionths() -> None:
    weights = torch.randn(10_000, generator=torch.Generator().manual_seed(0)).numpy()
    assert np.abs(rounded(weights) / weights - 1).max() <= 2**-19
