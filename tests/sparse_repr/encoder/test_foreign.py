"""Networks of others as frozen encoders: the same numbers, one file without code, and what is refused."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rl.code_features import CodeFeatures
from sparse_repr import FrozenEncoder, load_encoder, save_encoder
from sparse_repr.artefact import parse, serialise
from sparse_repr.encoder import Preprocessing
from tests.conftest import make_encoder
from tests.foreign_encoders import SmallNetwork, make_foreign_encoder, pictures, small_network

CONTRACT = Preprocessing(3, (64, 64), (64, 64), mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))


def _frozen(module: nn.Module, **changes: Any) -> FrozenEncoder:
    given: dict[str, Any] = {"preprocessing": CONTRACT, "example_images": pictures(12), "name": "test"}
    return FrozenEncoder.from_module(module, **{**given, **changes})


def _expected(network: nn.Module, images: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """What the module gives for images that were prepared by hand, in eval mode."""
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    pixels = (pixels - torch.tensor(CONTRACT.mean)[:, None, None]) / torch.tensor(CONTRACT.std)[:, None, None]
    with torch.no_grad():
        found: np.ndarray[Any, Any] = network.eval()(pixels).numpy()
    return found


def test_codes_are_those_of_the_module_and_the_module_is_left_alone() -> None:
    network, images = small_network(), pictures(12)
    before = {name: values.clone() for name, values in network.state_dict().items()}
    encoder = _frozen(network)
    assert network.training
    assert all(torch.equal(values, before[name]) for name, values in network.state_dict().items())
    assert all(parameter.requires_grad for parameter in network.parameters())
    expected = _expected(network, images)
    assert np.ptp(expected, axis=0).min() > 0.01  # a constant would agree, too
    np.testing.assert_allclose(encoder.encode(images), expected, atol=1e-5)
    np.testing.assert_allclose(encoder.encode(images[:1]), expected[:1], atol=1e-5)
    np.testing.assert_allclose(encoder.encode(images, precision="bf16"), expected, atol=1e-2)
    mean, log_variance = encoder.posterior(images)
    assert np.array_equal(mean, encoder.encode(images))
    assert (log_variance == -30).all()
    # statistics are those of the example images, and every unit that varies is active
    np.testing.assert_allclose(encoder.spec.units.mean, expected.mean(0), atol=1e-5)
    np.testing.assert_allclose(encoder.spec.units.std, expected.std(0), atol=1e-5)
    assert encoder.spec.units.active == (True,) * 4
    assert encoder.spec.posterior == "point"
    assert encoder.spec.objective["module"] == "tests.foreign_encoders.SmallNetwork"


def test_the_file_needs_no_code_of_the_network(tmp_path: Path) -> None:
    network, images = small_network(), pictures(5)
    path = save_encoder(_frozen(network, about={"licence": "MIT"}), tmp_path / "e.safetensors")
    np.save(tmp_path / "images.npy", images)
    code = f"""
import sys, numpy as np
from sparse_repr import load_encoder
encoder = load_encoder({str(path)!r})
np.save({str(tmp_path / "codes.npy")!r}, encoder.encode(np.load({str(tmp_path / "images.npy")!r})))
assert not any(name.startswith("tests") for name in sys.modules)
print(encoder.spec.objective["licence"], encoder)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.startswith("MIT FrozenEncoder(test on example images, D=4")
    np.testing.assert_allclose(np.load(tmp_path / "codes.npy"), _expected(network, images), atol=1e-5)
    assert b"torch_utils" not in path.read_bytes()  # as pickles of tensors say


def test_principal_components_are_those_of_the_features() -> None:
    images = pictures(40)
    network = small_network(code_size=6)
    encoder = _frozen(network, example_images=images, code_size=2)
    features = _expected(network, images).astype(np.float64)
    centred = features - features.mean(0)
    _, values, directions = np.linalg.svd(centred, full_matrices=False)
    signs = np.sign(directions[np.arange(2), np.abs(directions[:2]).argmax(1)])
    np.testing.assert_allclose(encoder.encode(images), centred @ (directions[:2] * signs[:, None]).T, atol=1e-4)
    kept = (values[:2] ** 2).sum() / (values**2).sum()
    assert encoder.spec.objective["variance_kept"] == pytest.approx(kept, abs=1e-4)
    assert encoder.spec.objective["features"] == 6
    with pytest.raises(ValueError, match="code_size needs 1 to 4 units, for 4 features and 12 example images, got 5"):
        _frozen(small_network(), code_size=5)
    with pytest.raises(ValueError, match="code_size needs 1 to 2 units, for 4 features and 3 example images, got 3"):
        _frozen(small_network(), code_size=3, example_images=images[:3])


def test_images_of_another_size_are_resized_as_the_network_was_trained() -> None:
    contract = Preprocessing(3, (96, 96), (64, 64), resize="bicubic-antialias")
    images = pictures(4, size=96)
    encoder = _frozen(small_network(), preprocessing=contract, example_images=images)
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    resized = nn.functional.interpolate(pixels, size=(64, 64), mode="bicubic", antialias=True).clamp(0, 1)
    with torch.no_grad():
        expected = small_network().eval()(resized).numpy()
    np.testing.assert_allclose(encoder.encode(images), expected, atol=1e-5)


def test_a_step_of_fine_tuning_moves_weights_and_no_running_statistics() -> None:
    from rl.trainable_encoder import TrainableEncoder

    trainable = TrainableEncoder(make_foreign_encoder(3)).train()
    fixed = {name: values.clone() for name, values in trainable.network.named_buffers()}
    optimiser = torch.optim.SGD(trainable.parameters(), 0.1)
    images = torch.from_numpy(pictures(6))
    before = trainable(images).mean.detach()
    trainable(images).mean.square().sum().backward()
    assert all(weight.grad is not None for weight in trainable.parameters())
    optimiser.step()
    assert not torch.allclose(trainable(images).mean, before)
    running = [name for name in fixed if "running" in name]
    assert len(running) == 2
    assert all(torch.equal(dict(trainable.network.named_buffers())[name], fixed[name]) for name in fixed)


class _Returning(nn.Module):
    """A network that returns what a function makes of its features."""

    def __init__(self, change: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.network, self.change = small_network(), change

    def forward(self, images: Tensor) -> Any:
        return self.change(self.network(images))


class _NeverInEvalMode(SmallNetwork):
    def train(self, mode: bool = True) -> _NeverInEvalMode:
        del mode
        super().train(True)
        return self


class _Counting(nn.Module):
    calls: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.network = small_network()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, images: Tensor) -> Tensor:
        self.calls += 1
        found: Tensor = self.network(images)
        return found


class _WithAnOperatorOfItsOwn(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        found: Tensor = torch.ops.sparse_repr_test.doubled(images.mean((2, 3)))
        return found


@pytest.mark.parametrize(
    ("module", "error", "message"),
    [
        (lambda images: images, TypeError, "from_module needs a torch module, got function"),
        (_Returning(lambda codes: (codes, codes)), TypeError, "returns a tuple of 2: wrap it in a module that"),
        (_Returning(lambda codes: {"codes": codes}), TypeError, "returns a dict of 1"),
        (nn.Conv2d(3, 5, 8, stride=8), ValueError, r"Conv2d returns maps \(4, 5, 8, 8\): pool them, for example"),
        (_Returning(lambda codes: codes[:-1]), ValueError, r"returns \(3, 4\) for 4 images"),
        (_Returning(lambda codes: codes.flatten()), ValueError, r"returns \(16,\) for 4 images"),
        (_Returning(lambda codes: codes / 0), ValueError, "returns NaN, infinity or no floating-point numbers"),
        (_Returning(lambda codes: codes.long()), ValueError, "no floating-point numbers"),
        (_Returning(lambda codes: codes + torch.rand(4)), ValueError, "other numbers for the same images each time"),
        (_Returning(lambda codes: codes - codes.mean(0)), ValueError, "depends on the other images of the batch"),
        (nn.Sequential(nn.Flatten(), nn.Linear(9, 2)), ValueError, r"cannot compute images \(4, 3, 64, 64\) as the"),
        (_NeverInEvalMode(), ValueError, "stays in train mode after eval"),
        (_Counting(), ValueError, "writes into calls in eval mode"),
        (_Returning(lambda codes: codes.reshape(4, 4)), ValueError, r"cannot compute images \(1, 3, 64, 64\)"),
        (_Returning(lambda codes: codes * 2 if codes.sum() < 1e9 else codes), ValueError, "torch.export cannot follow"),
    ],
)
def test_modules_that_cannot_be_encoders_are_refused(module: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        _frozen(module)


def test_operators_that_are_not_torchs_are_refused(tmp_path: Path) -> None:
    with torch.library._scoped_library("sparse_repr_test", "FRAGMENT") as library:
        library.define("doubled(Tensor x) -> Tensor")
        library.impl("doubled", lambda x: 2 * x, "CompositeExplicitAutograd")
        library.impl("doubled", lambda x: torch.empty_like(x), "Meta")
        with pytest.raises(
            ValueError, match="computes sparse_repr_test.doubled.default, which is none of the functions"
        ):
            _frozen(_WithAnOperatorOfItsOwn())
        program = torch.export.export(_WithAnOperatorOfItsOwn(), (torch.zeros(2, 3, 8, 8),))
        torch.export.save(program, tmp_path / "theirs.pt2")
    with pytest.raises(ValueError, match=r"theirs\.pt2: .* never loaded .* with FrozenEncoder\.from_module"):
        load_encoder(tmp_path / "theirs.pt2")


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"example_images": pictures(1)}, ValueError, "two or more uint8 images"),
        ({"example_images": pictures(4).astype(np.float32)}, ValueError, "uint8 images .* got float32"),
        ({"example_images": pictures(4, size=32)}, ValueError, "3 channels of 64x64, got images of shape"),
        ({"example_images": [1]}, TypeError, "example_images needs an array of images, got list"),
        ({"name": ""}, ValueError, "name needs a text"),
        ({"preprocessing": Preprocessing(3, (64, 48), (64, 48))}, ValueError, "square network_size, got 64x48"),
    ],
)
def test_what_goes_with_the_module_is_checked(changes: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        _frozen(small_network(), **changes)


def test_weights_of_another_architecture_are_refused() -> None:
    encoder, other = make_foreign_encoder(3), make_foreign_encoder(3, code_size=6)
    with pytest.raises(ValueError, match=r"p_last_bias: expected \(4,\) torch.float32, found \(6,\) torch.float32"):
        FrozenEncoder(encoder.spec, other.network().state_dict())
    with pytest.raises(ValueError, match="does not describe an encoder"):  # the graph of one, the name of the other
        FrozenEncoder(dataclasses.replace(encoder.spec, architecture="burgess"), encoder.network().state_dict())


def test_a_file_that_names_another_function_is_refused_though_its_fingerprint_is_right(tmp_path: Path) -> None:
    path = save_encoder(make_foreign_encoder(3), tmp_path / "e.safetensors")
    tensors, header = parse(path.read_bytes(), str(path), "encoder")
    text = json.dumps(header).replace("aten.relu.default", "aten.from_file.default")
    path.write_bytes(serialise(tensors, json.loads(text)))
    with pytest.raises(ValueError, match=rf"{path}: the graph names 'aten.from_file.default'"):
        load_encoder(path)


def test_components_beyond_the_rank_of_the_examples_are_dead() -> None:
    network = nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten())
    images = np.tile(pictures(6), (4, 1, 1, 1))
    encoder = _frozen(network, example_images=images, code_size=20)
    assert sum(encoder.spec.units.active) == 5  # 6 pictures around their mean
    wrapped = CodeFeatures(encoder, code_scaling="scale")
    one, many = (wrapped.numpy(*encoder.posterior(part)) for part in (images[:1], images))
    np.testing.assert_allclose(one, many[:1], atol=1e-3)


def test_sizes_may_be_lists_and_torchs_default_another() -> None:
    contract = Preprocessing(3, [80, 80], [64, 64])  # type: ignore[arg-type]
    assert contract.sizes == ((80, 80), (64, 64))
    own, before = make_encoder(3), torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        assert FrozenEncoder.from_bytes(own.to_bytes()) == own
    finally:
        torch.set_default_dtype(before)
