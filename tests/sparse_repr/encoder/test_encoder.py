"""The artefact and the frozen encoder: round trips, refusals, and that nothing can change it."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import threading
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import safetensors.torch
import torch

from sparse_repr import FrozenEncoder, load_encoder, save_encoder
from sparse_repr.artefact import canonical_json, fingerprint_of, parse, serialise
from tests.conftest import make_encoder


@pytest.fixture
def images() -> npt.NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (9, 1, 64, 64), dtype=np.uint8)


def test_codes_are_bit_identical_after_save_and_load(
    tiny_encoder: FrozenEncoder, images: npt.NDArray[np.uint8], tmp_path: Path
) -> None:
    expected = tiny_encoder.encode(images)
    path = save_encoder(tiny_encoder, tmp_path / "e.safetensors")
    FrozenEncoder._known.clear()  # read it really, not from memory
    loaded = load_encoder(path)
    assert loaded is not tiny_encoder
    assert loaded == tiny_encoder
    assert loaded.to_bytes() == tiny_encoder.to_bytes() == path.read_bytes()
    assert np.array_equal(loaded.encode(images), expected)


def test_layouts_and_libraries_agree(images: npt.NDArray[np.uint8]) -> None:
    encoder = make_encoder(3, 64)
    images = np.repeat(images, 3, axis=1)
    codes = encoder.encode(images)
    assert codes.shape == (9, 4)
    assert codes.dtype == np.float32
    np.testing.assert_allclose(encoder.encode(np.ascontiguousarray(images.transpose(0, 2, 3, 1))), codes, atol=1e-6)
    torch_codes = encoder.encode(torch.from_numpy(images))
    assert isinstance(torch_codes, torch.Tensor)
    assert np.array_equal(torch_codes.numpy(), codes)
    frozen = images.copy()
    frozen.flags.writeable = False
    assert np.array_equal(encoder.encode(frozen), codes)
    assert np.array_equal(encoder.encode(images[::-1]), encoder.encode(images[::-1].copy()))


def test_codes_are_the_networks_posterior_mean(images: npt.NDArray[np.uint8]) -> None:
    encoder = make_encoder()
    mean, log_variance = encoder.posterior(images)
    with torch.no_grad():
        expected = encoder.network()(torch.from_numpy(images).float() / 255)
    np.testing.assert_allclose(mean, expected.mean.numpy(), atol=1e-6)
    np.testing.assert_allclose(log_variance, expected.log_variance.numpy(), atol=1e-6)
    assert np.array_equal(encoder.encode(images), mean)


def test_bf16_arithmetic_gives_float32_codes_close_to_the_exact_ones(images: npt.NDArray[np.uint8]) -> None:
    encoder = make_encoder()
    exact = encoder.posterior(images)
    rounded = encoder.posterior(images, precision="bf16")
    for one, other in zip(exact, rounded, strict=True):
        assert other.dtype == np.float32
        assert not np.array_equal(one, other)
        np.testing.assert_allclose(other, one, atol=0.02 * np.abs(one).max())
    assert np.array_equal(encoder.encode(images, precision="bf16"), rounded[0])
    assert np.array_equal(encoder.encode(images, precision="float32"), exact[0])
    with pytest.raises(ValueError, match="precision needs one of auto, float32, bf16, got 'fp16'"):
        encoder.encode(images, precision="fp16")


def test_long_batches_are_chunked_and_empty_ones_give_no_codes() -> None:
    encoder = make_encoder()
    many = np.random.default_rng(1).integers(0, 256, (150, 64, 64, 1), dtype=np.uint8)
    one_by_one = np.concatenate([encoder.encode(image[None]) for image in many])
    np.testing.assert_allclose(encoder.encode(many), one_by_one, atol=1e-5)
    assert encoder.encode(many[:0]).shape == (0, 4)


@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        (np.zeros((2, 1, 64, 64), np.float32), TypeError, "uint8 images in 0..255, got float32; convert floats"),
        (torch.zeros((2, 1, 64, 64)), TypeError, r"got torch\.float32; convert floats in 0\.\.1"),
        (np.zeros((1, 64, 64), np.uint8), ValueError, r"needs a batch .*pass images\[None\]"),
        (np.zeros((64, 64, 1), np.uint8), ValueError, r"pass images\[None\]"),
        (np.zeros((2, 64, 64), np.uint8), ValueError, r"pass images\[:, None\]"),
        (np.zeros((64, 64), np.uint8), ValueError, r"pass images\[None, None\]"),
        (np.zeros((2, 4, 1, 64, 64), np.uint8), ValueError, r"Give every image by itself, as \(N, C, H, W\)"),
        (np.zeros((2, 4, 64, 64), np.uint8), ValueError, "Of stacked frames give every frame by itself"),
        (np.zeros((2, 1, 60, 60), np.uint8), ValueError, r"1 channel of 64x64, got images of shape \(1, 60, 60\)"),
        (np.zeros((2, 64, 64, 3), np.uint8), ValueError, "Convert to grey first"),
        ([[1]], TypeError, "needs a numpy array or torch tensor of images, got list"),
        (np.zeros((2, 1, 64, 64), object), TypeError, "got object"),
    ],
)
def test_images_it_cannot_take_are_refused(images: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make_encoder().encode(images)  # type: ignore[type-var]


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.zeros(2, 1, 64, 64, dtype=torch.uint8, device="meta"), "needs pixels, got a tensor on the meta device"),
        (torch.zeros(2, 1, 64, 64, dtype=torch.uint8).to_sparse(), r"layout torch.sparse_coo: images.to_dense\(\)"),
    ],
)
def test_tensors_without_dense_pixels_are_refused_and_leave_nothing_behind(images: torch.Tensor, message: str) -> None:
    encoder = make_encoder()
    with pytest.raises(TypeError, match=message):
        encoder.encode(images)
    encoder.verify()
    assert list(encoder._networks) == ["cpu"]


def test_devices_that_do_not_exist_are_refused_and_leave_nothing_behind() -> None:
    encoder = make_encoder()
    for device in ("meta", "hpu", "xpu:99", "cuda:99"):
        with pytest.raises(ValueError, match=f"device '{device}' is not available here; use auto or cpu"):
            encoder.network(device)
    with pytest.raises(ValueError, match="device needs one of auto, cpu, cuda, mps, got 'gpu'"):
        encoder.network("gpu")
    encoder.verify()


def _tensors_and_header(encoder: FrozenEncoder) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    return parse(encoder.to_bytes(), "test", "encoder")


def test_files_that_are_not_complete_encoders_are_refused(tiny_encoder: FrozenEncoder, tmp_path: Path) -> None:
    path = tmp_path / "bad.safetensors"
    content = tiny_encoder.to_bytes()

    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"bad\.safetensors: expected a safetensors file.*cut short"):
        load_encoder(path)

    path.write_bytes(pickle.dumps({"weights": 1}))
    with pytest.raises(ValueError, match=r"bad\.safetensors: .*found a pickle.*never loaded"):
        load_encoder(path)
    torch.save({"weights": torch.zeros(2)}, path)
    with pytest.raises(ValueError, match=r"bad\.safetensors: .*found a pickle"):
        load_encoder(path)

    tensors, header = _tensors_and_header(tiny_encoder)
    safetensors.torch.save_file(tensors, path)
    with pytest.raises(ValueError, match=r"bad\.safetensors: .*without its header"):
        load_encoder(path)

    name = "posterior.weight"
    path.write_bytes(serialise({**tensors, name: tensors[name][:, :-1]}, header))
    with pytest.raises(ValueError, match=r"bad\.safetensors: .*posterior\.weight: expected \(20, 256\).*\(20, 255\)"):
        load_encoder(path)
    path.write_bytes(serialise({**tensors, name: tensors[name].half()}, header))
    with pytest.raises(ValueError, match=r"posterior\.weight: expected .*float32, found .*float16"):
        load_encoder(path)
    path.write_bytes(serialise({key: value for key, value in tensors.items() if key != name}, header))
    with pytest.raises(ValueError, match=r"missing posterior\.weight"):
        load_encoder(path)
    path.write_bytes(serialise(tensors, {**header, "format": 99}))
    with pytest.raises(ValueError, match="expected format version 1, found 99"):
        load_encoder(path)
    path.write_bytes(serialise(tensors, {**header, "code_size": 3}))
    with pytest.raises(ValueError, match=r"bad\.safetensors: the header does not describe an encoder"):
        load_encoder(path)
    path.write_bytes(serialise(tensors, {key: value for key, value in header.items() if key != "units"}))
    with pytest.raises(ValueError, match=r"bad\.safetensors: the header does not describe an encoder.*units"):
        load_encoder(path)


@pytest.mark.parametrize(
    ("units", "message"),
    [
        ({"std": [1, 1, 1, -0.5]}, r"units\.std\[3\] needs a number of at least 0, found -0\.5"),
        ({"std": [1, 1, 1, "1"]}, r"units\.std\[3\] needs a number of at least 0, found '1'"),
        ({"mean": [0, 0, 0, None]}, r"units\.mean\[3\] needs a number, found None"),
        ({"active": [True, True, True, "False"]}, r"units\.active\[3\] needs true or false, found 'False'"),
        ({"active": "TTTT"}, r"units\.active needs a list, found 'TTTT'"),
        ({"kl_nats": [0, 0, 0]}, r"unit statistics of lengths \[3, 4\]"),
        ({"other": []}, "units needs the entries .*, found an unknown 'other'"),
    ],
)
def test_unit_statistics_that_are_none_are_refused(units: dict[str, Any], message: str) -> None:
    tensors, header = _tensors_and_header(make_encoder())
    content = serialise(tensors, {**header, "units": {**header["units"], **units}})
    with pytest.raises(ValueError, match=f"^some/file: the header does not describe an encoder .*{message}"):
        FrozenEncoder.from_bytes(content, "some/file")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": "burges"}, "unknown architecture 'burges'.*Did you mean 'burgess'"),
        ({"architecture": "burgess_spike_and_slab"}, "has a spike_and_slab posterior, not gaussian"),
        ({"posterior": "normal"}, "posterior needs one of gaussian, spike_and_slab, point, vaease, found 'normal'"),
        ({"arguments": {"channels": 1, "size": 64, "code_size": 5}}, "does not fit the network's code_size 5"),
        ({"arguments": {"channels": 3, "size": 64, "code_size": 4}}, "3 channels of 64x64 does not fit the prepr"),
        ({"arguments": {"channels": 1, "size": 64}}, "arguments needs .* found no 'code_size'"),
        ({"arguments": {"channels": "1", "size": 64, "code_size": 4}}, "channels needs a whole number .* found '1'"),
        ({"preprocessing": []}, r"preprocessing needs an object, found \[\]"),
        ({"objective": "vae"}, "objective needs an object, found 'vae'"),
        ({"package_version": None}, "package_version needs text, found None"),
        ({"fingerprlnt": "x"}, "found an unknown 'fingerprlnt'"),
    ],
)
def test_headers_that_contradict_themselves_are_refused(changes: dict[str, Any], message: str) -> None:
    tensors, header = _tensors_and_header(make_encoder())
    with pytest.raises(ValueError, match=f"^some/file: the header does not describe an encoder .*{message}"):
        FrozenEncoder.from_bytes(serialise(tensors, {**header, **changes}), "some/file")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"source_size": [64, "64"]}, r"source_size\[1\] needs a whole number of at least 1, found '64'"),
        ({"crop_size": [65, 64]}, r"needs a crop within \[64, 64\], found \[65, 64\]"),
        ({"network_size": [64]}, r"network_size needs a list of 2, found \[64\]"),
        ({"resize": "nearest"}, "unknown preprocessing contract"),
        ({"value_range": [0, 1]}, "unknown preprocessing contract"),
    ],
)
def test_preprocessing_that_is_none_is_refused(changes: dict[str, Any], message: str) -> None:
    tensors, header = _tensors_and_header(make_encoder())
    content = serialise(tensors, {**header, "preprocessing": {**header["preprocessing"], **changes}})
    with pytest.raises(ValueError, match=f"^some/file: the header does not describe an encoder .*{message}"):
        FrozenEncoder.from_bytes(content, "some/file")


def test_a_network_that_there_is_not_is_named() -> None:
    encoder = make_encoder()
    tensors, header = _tensors_and_header(encoder)
    sizes = {
        "arguments": {"channels": 1, "size": 48, "code_size": 4},
        "preprocessing": {**header["preprocessing"], "network_size": [48, 48]},
    }
    with pytest.raises(ValueError, match="^some/file: the Burgess network needs 64x64 or 32x32 images, got 48x48"):
        FrozenEncoder.from_bytes(serialise(tensors, {**header, **sizes}), "some/file")


def test_an_encoder_that_could_not_be_read_again_cannot_be_made() -> None:
    encoder = make_encoder()
    units = dataclasses.replace(encoder.spec.units, std=(1.0, 1.0, 1.0, -1.0))
    with pytest.raises(ValueError, match=r"units\.std\[3\] needs a number of at least 0, found -1.0"):
        FrozenEncoder(dataclasses.replace(encoder.spec, units=units), encoder.network().state_dict())


def test_a_file_of_an_earlier_version_keeps_its_fingerprint(images: npt.NDArray[np.uint8]) -> None:
    """Agents hold fingerprints; the statistics of old files may be whole numbers, which stay as they are spelled."""
    tensors, header = _tensors_and_header(make_encoder())
    header["units"] = {**header["units"], "std": [1, 1.5, 1, 1]}
    old = safetensors.torch.save(tensors, metadata={"sparse_repr": canonical_json(header)})
    encoder = FrozenEncoder.from_bytes(old)
    assert encoder.fingerprint == fingerprint_of(tensors, header)
    again = FrozenEncoder.from_bytes(encoder.to_bytes())
    assert again.fingerprint == encoder.fingerprint
    assert len(encoder.to_bytes()) > len(old)
    assert np.array_equal(encoder.encode(images), make_encoder().encode(images))


def test_a_flipped_bit_is_noticed_wherever_it_is() -> None:
    content = make_encoder(size=32).to_bytes()
    for place in np.linspace(len(content) // 10, len(content) - 1, 20).astype(int):
        damaged = bytearray(content)
        damaged[place] ^= 1
        with pytest.raises(ValueError, match="^some/file: the file is damaged: its weights or its header"):
            FrozenEncoder.from_bytes(bytes(damaged), "some/file")


def test_tensors_that_do_not_fit_are_named_in_a_file_of_today() -> None:
    tensors, header = _tensors_and_header(make_encoder())
    metadata = {"sparse_repr": canonical_json({**header, "fingerprint": make_encoder().fingerprint})}
    name = sorted(tensors)[0]
    for changed, words in (
        ({key: value for key, value in tensors.items() if key != name}, f"missing {name}"),
        ({**tensors, name: tensors[name].double()}, rf"{name}: expected .* torch\.float32, found .* torch\.float64"),
    ):
        content = safetensors.torch.save(changed, metadata=metadata)
        with pytest.raises(ValueError, match=f"^a/file: the file is damaged: .* found '.*It would not fit .*{words}"):
            FrozenEncoder.from_bytes(content, "a/file")


def test_what_is_no_path_is_refused() -> None:
    with pytest.raises(TypeError, match="load_encoder needs the path of a run folder or .*, got FrozenEncoder"):
        load_encoder(make_encoder())  # type: ignore[arg-type]


def test_missing_files_say_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="holds no finished pretraining run"):
        load_encoder(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"expected a run folder or an encoder \.safetensors file"):
        load_encoder(tmp_path / "nothing.safetensors")


def test_save_encoder_checks_its_arguments(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"ends in \.safetensors"):
        save_encoder(make_encoder(), tmp_path / "e.pt")
    with pytest.raises(TypeError, match="needs a FrozenEncoder"):
        save_encoder(torch.nn.Linear(1, 1), tmp_path / "e.safetensors")  # type: ignore[arg-type]


def test_the_fingerprint_covers_weights_and_contract() -> None:
    encoder = make_encoder()
    tensors, header = _tensors_and_header(encoder)
    changed = {name: tensor.clone() for name, tensor in tensors.items()}
    changed["posterior.bias"][0] += 1e-3
    assert FrozenEncoder(encoder.spec, changed).fingerprint != encoder.fingerprint
    other_crop = FrozenEncoder.from_bytes(
        serialise(tensors, {**header, "preprocessing": {**encoder.preprocessing.to_header(), "crop_size": [64, 64]}})
    )
    assert other_crop.fingerprint != encoder.fingerprint
    assert other_crop != encoder


def test_copies_are_the_object_itself_and_pickles_its_bytes() -> None:
    encoder = make_encoder()
    assert copy.copy(encoder) is copy.deepcopy(encoder) is encoder
    loaded = pickle.loads(pickle.dumps(encoder))
    assert loaded == encoder
    assert hash(loaded) == hash(encoder)
    assert pickle.loads(pickle.dumps(encoder)) is loaded  # one object per fingerprint and process
    assert len(repr(encoder)) < 80


def test_it_is_frozen_and_notices_tampering() -> None:
    encoder = make_encoder()
    network = encoder.network()
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())
    assert not isinstance(encoder, torch.nn.Module)
    encoder.verify()
    with torch.no_grad():
        next(network.parameters()).mul_(0.5)
    with pytest.raises(RuntimeError, match="modified in memory"):
        encoder.verify()


def test_the_weights_given_are_copied() -> None:
    encoder = make_encoder()
    tensors, _ = _tensors_and_header(encoder)
    mine = FrozenEncoder(encoder.spec, tensors)
    tensors["posterior.bias"].add_(1)
    mine.verify()


def test_codes_can_be_used_in_another_networks_backward_pass(images: npt.NDArray[np.uint8]) -> None:
    codes = make_encoder().encode(torch.from_numpy(images))
    head = torch.nn.Linear(4, 1)
    head(codes).sum().backward()
    assert head.weight.grad is not None
    assert not codes.requires_grad


def test_images_of_another_source_size_are_resized() -> None:
    encoder = make_encoder(3, 64, source=96)
    assert encoder.image_shape == (3, 96, 96)
    grey = np.full((1, 96, 96, 3), 77, np.uint8)
    np.testing.assert_allclose(encoder.encode(grey), encoder.encode(grey[:, :64, :64]), atol=1e-5)


def test_loading_draws_no_random_numbers(tiny_encoder: FrozenEncoder) -> None:
    tensors, _ = parse(tiny_encoder.to_bytes(), "bytes", "encoder")
    before = torch.random.get_rng_state()
    FrozenEncoder(tiny_encoder.spec, tensors)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_threads_may_encode_at_once(images: npt.NDArray[np.uint8]) -> None:
    encoder = make_encoder()
    expected, results = encoder.encode(images), []
    workers = [threading.Thread(target=lambda: results.append(encoder.encode(images))) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(results) == 4
    assert all(np.array_equal(result, expected) for result in results)
