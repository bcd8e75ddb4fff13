"""FrozenEncoder: a pretrained encoder that cannot change, and the one file that fully describes it."""

from __future__ import annotations

import contextlib
import itertools
import os
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from sparse_repr.artefact import DamagedError, fingerprint_of, load_into, parse, serialise
from sparse_repr.devices import autocast_for, require_device, resolve_precision, whole_float32
from sparse_repr.encoder.preprocessing import Preprocessing
from sparse_repr.encoder.spec import EncoderSpec, UnitStatistics
from sparse_repr.files import write_bytes
from sparse_repr.models import Posterior, build_encoder

__all__ = ["EncoderSpec", "FrozenEncoder", "UnitStatistics", "load_encoder", "save_encoder"]

Images = TypeVar("Images", npt.NDArray[Any], Tensor)

# Images per forward pass: small enough for the processor's cache, large enough to fill a GPU. With 2,048 float32 images
# per pass a core encoded a third of what it encodes with 64.
_CHUNK = {"cpu": 64}
_CHUNK_ELSEWHERE = 4096
_COPIED_SLAB = 8192


class FrozenEncoder:
    """A pretrained encoder: uint8 images in, float32 codes (the posterior mean) out.

    It is not a torch module, so nothing can register, train, average, move or re-initialise it. Copies are the object
    itself, pickles are its artefact bytes, and two encoders are equal when their fingerprints are. Work happens on the
    device the images are on; each device gets its own copy of the weights on first use.
    """

    # The same artefact read twice in one process is one object: agents with several networks share it.
    _known: ClassVar[weakref.WeakValueDictionary[str, FrozenEncoder]] = weakref.WeakValueDictionary()

    def __init__(self, spec: EncoderSpec, tensors: Mapping[str, Tensor], *, origin: str = "encoder") -> None:
        """Freeze copies of `tensors` as the weights of the network that `spec` describes.

        Raises:
            ValueError: the description contradicts itself, or the tensors do not fit it or are not finite; `origin` is
                named.
        """
        # so that no encoder can be made whose file could not be read
        self._spec = EncoderSpec.from_header(spec.to_header(), origin)
        try:
            network = build_encoder(spec.architecture, dict(spec.arguments)).float()  # whatever torch's default is
        except ValueError as error:
            raise ValueError(f"{origin}: {error}") from error
        load_into(network, {name: tensor.detach().cpu().clone() for name, tensor in tensors.items()}, origin)
        self._networks = {"cpu": _freeze(network)}
        self._compile_options: dict[str, Any] | None = None
        self._compiled: dict[str, Callable[[Tensor], Posterior]] = {}
        self._fingerprint = fingerprint_of(network.state_dict(), spec.to_header())

    @classmethod
    def from_bytes(cls, content: bytes, origin: str = "encoder bytes") -> FrozenEncoder:
        """The encoder whose artefact is `content`; equal content gives the same object.

        Raises:
            ValueError: `content` is not an encoder artefact; `origin` is named.
        """
        try:
            tensors, header = parse(content, origin, "encoder")
        except DamagedError as error:
            try:
                cls(EncoderSpec.from_header(error.header, origin), error.tensors, origin=origin)
            except ValueError as misfit:  # it names the tensors
                raise ValueError(f"{error}. It would not fit either: {misfit}") from error
            raise
        encoder = cls(EncoderSpec.from_header(header, origin), tensors, origin=origin)
        return cls._known.setdefault(encoder.fingerprint, encoder)

    @classmethod
    def from_module(
        cls,
        module: nn.Module,
        *,
        preprocessing: Preprocessing,
        example_images: npt.NDArray[np.uint8] | Tensor,
        name: str,
        code_size: int | None = None,
        about: Mapping[str, Any] | None = None,
    ) -> FrozenEncoder:
        """A network of others as a frozen encoder: what it computes is stored, as operations and weights without code.

        Nothing of the network's own package is needed to load the artefact, and nothing is downloaded. The module is
        copied and put into eval mode; batch norm uses its running statistics for ever, also in fine-tuning.

        Args:
            module: float images (B, C, S, S) as `preprocessing` makes them -> vectors (B, F).
            preprocessing: what happens to a uint8 image before; `sparse_repr.encoder.backbones` reads it out of the
                configuration of a torchvision, timm or Hugging Face network.
            example_images: uint8 (N, C, H, W) or (N, H, W, C), two or more, of where the encoder will be used: the
                statistics of the units, and the principal components, are those of at most 10,000 of them.
            name: what the network is, for people; it stands in the artefact.
            code_size: D; the features are projected on their D directions of largest variance. None keeps all.
            about: what else the artefact should say of it, such as its licence; plain JSON values.

        Raises:
            TypeError: not a module, or one that returns something other than one tensor.
            ValueError: it returns maps, NaN, another number of rows, or what depends on chance or on the other images;
                it cannot be exported, or not faithfully; or the images do not fit the preprocessing.
        """
        from sparse_repr.encoder.foreign import freeze_module  # which makes frozen encoders

        return freeze_module(
            module,
            preprocessing=preprocessing,
            example_images=example_images,
            name=name,
            code_size=code_size,
            about=about,
        )

    def to_bytes(self) -> bytes:
        """The artefact: a safetensors file with its JSON header.

        Example:
            >>> from sparse_repr import untrained_encoder
            >>> encoder = untrained_encoder(channels=3)
            >>> FrozenEncoder.from_bytes(encoder.to_bytes()) == encoder
            True
        """
        return serialise(self._networks["cpu"].state_dict(), self.spec.to_header())

    @property
    def spec(self) -> EncoderSpec:
        """All that is known of it except its weights; to describe it otherwise, make another encoder."""
        return self._spec

    @property
    def fingerprint(self) -> str:
        """sha256 of the weights and the header, 64 hexadecimal digits."""
        return self._fingerprint

    @property
    def code_size(self) -> int:
        """D, the number of units."""
        return self.spec.arguments["code_size"]

    @property
    def preprocessing(self) -> Preprocessing:
        """What images it takes and what happens to them."""
        return self.spec.preprocessing

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of the images it was trained on."""
        return (self.preprocessing.channels, *self.preprocessing.source_size)

    def encode(self, images: Images, *, precision: str = "float32") -> Images:
        """Codes of images: the posterior mean.

        Args:
            images: uint8 (N, C, H, W) or (N, H, W, C), 0..255, numpy or torch.
            precision: of the arithmetic: ``"float32"``, ``"bf16"`` (nearly twice as fast where the hardware multiplies
                it; codes of active units moved by at most 0.05 of their standard deviation on real data) or ``"auto"``
                (bf16 on such hardware). Codes are float32 either way. Compute what you compare in one precision.

        Returns:
            float32 (N, D) of the same library, on the same device; no gradient.

        Raises:
            TypeError: not an array, not uint8, or a tensor that is sparse or without pixels.
            ValueError: a size or channel count the encoder was not trained on; the message says what to do. Or an
                unknown precision.

        Example:
            >>> from sparse_repr import untrained_encoder
            >>> encoder = untrained_encoder(channels=1, code_size=10)
            >>> codes = encoder.encode(np.zeros((2, 1, 64, 64), np.uint8))
            >>> codes.shape, codes.dtype
            ((2, 10), dtype('float32'))
        """
        return self.posterior(images, precision=precision)[0]

    def posterior(self, images: Images, *, precision: str = "float32") -> tuple[Images, Images]:
        """Mean and log-variance of q(z|x), each float32 (N, D); arguments and errors as in `encode`.

        Where the posterior is spike-and-slab these are its first two moments, not the parameters of a Gaussian.
        """
        if isinstance(images, np.ndarray):
            if images.dtype != np.uint8:
                raise TypeError(_wrong_dtype(images.dtype))
            # torch cannot wrap read-only or reversed arrays: those are copied slab by slab, never as a whole
            wrap = images.flags.writeable and all(stride >= 0 for stride in images.strides)
            slab = len(images) if wrap or images.ndim < 4 else _COPIED_SLAB
            if len(images) <= slab:
                mean, log_variance = self._posterior(torch.from_numpy(images if wrap else images.copy()), precision)
                return mean.numpy(), log_variance.numpy()
            parts = [
                self._posterior(torch.from_numpy(images[start : start + slab].copy()), precision)
                for start in range(0, len(images), slab)
            ]
            means, log_variances = zip(*parts, strict=True)
            return torch.cat(means).numpy(), torch.cat(log_variances).numpy()
        if isinstance(images, Tensor):
            return self._posterior(images, precision)
        raise TypeError(f"encode needs a numpy array or torch tensor of images, got {type(images).__name__}")

    def _posterior(self, images: Tensor, precision: str) -> tuple[Tensor, Tensor]:
        _require_pixels(images)
        if images.dtype != torch.uint8:
            raise TypeError(_wrong_dtype(images.dtype))
        if images.ndim in (2, 3):
            raise ValueError(f"encode needs a batch (N, C, H, W), got {tuple(images.shape)}: {self._batch_of(images)}")
        if self.preprocessing.layout_of(tuple(images.shape[1:])) == "HWC":
            images = images.permute(0, 3, 1, 2)
        if torch.compiler.is_exporting():  # chunks would fix the batch size of the exported graph
            exported: Posterior = self.network(images.device)(self.preprocessing(images))
            return exported.mean, exported.log_variance
        forward = self._forward(images.device)
        count, chunk = len(images), _CHUNK.get(images.device.type, _CHUNK_ELSEWHERE)
        precision = resolve_precision(precision, images.device)
        autocast = autocast_for(images.device, precision)
        # compiling reads torch's older flags, which is an error beside the newer ones
        whole = precision == "float32" and self._compile_options is None
        exact = whole_float32(images.device) if whole else contextlib.nullcontext()
        # no_grad and not inference_mode: codes must stay usable in another network's backward pass
        with torch.no_grad(), autocast, exact:
            if 0 < count <= chunk:
                # what an agent asks for at every step: nothing but the forward pass
                posterior = forward(self.preprocessing(images))
                return posterior.mean.contiguous(), posterior.log_variance.contiguous()
            mean = torch.empty((count, self.code_size), dtype=torch.float32, device=images.device)
            log_variance = torch.empty_like(mean)
            for start in range(0, count, chunk):
                posterior = forward(self.preprocessing(images[start : start + chunk]))
                mean[start : start + chunk] = posterior.mean
                log_variance[start : start + chunk] = posterior.log_variance
        return mean, log_variance

    def _batch_of(self, images: Tensor) -> str:
        """How to make a batch of what has an axis too few."""
        if images.ndim == 2:
            return "pass images[None, None]"
        return "pass images[None]" if self.preprocessing.find_layout(tuple(images.shape)) else "pass images[:, None]"

    def network(self, device: torch.device | str = "cpu") -> nn.Module:
        """The frozen network on `device` (float32, eval, no gradients); do not modify it.

        Raises:
            ValueError: a device that this machine does not have, or that holds no values.
        """
        key = str(device)
        if key not in self._networks:
            require_device(device)
            copy = build_encoder(self.spec.architecture, dict(self.spec.arguments)).float()
            copy.load_state_dict(self._networks["cpu"].state_dict())
            self._networks[key] = _freeze(copy.to(device))
        return self._networks[key]

    def compile(self, **options: Any) -> None:
        """Encode through `torch.compile` from now on, on every device; the first batch of a new shape is slow.

        The compiled code lives beside the weights: no `state_dict`, fingerprint or artefact changes, and copies in
        other processes are not compiled. On a CPU it gained nothing measurable (``python -m experiments.benchmark
        encode``); on a GPU it was not measured, and convolutions are rounded to TF32 there, as torch does by default.

        Args:
            **options: of `torch.compile`, such as `mode="reduce-overhead"`.
        """
        self._compile_options = options
        self._compiled.clear()

    def _forward(self, device: torch.device) -> Callable[[Tensor], Posterior]:
        network = self.network(device)
        if self._compile_options is None:
            return network
        key = str(device)
        if key not in self._compiled:
            self._compiled[key] = torch.compile(network, **self._compile_options)
        return self._compiled[key]

    def verify(self) -> None:
        """Check that the weights in memory, on every device, are still those of the fingerprint.

        Raises:
            RuntimeError: something modified them in place.
        """
        for device, network in self._networks.items():
            if fingerprint_of(network.state_dict(), self.spec.to_header()) != self.fingerprint:
                raise RuntimeError(
                    f"the weights of {self!r} on {device} were modified in memory after loading; "
                    "load the encoder again and find out what wrote to its network"
                )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FrozenEncoder) and self.fingerprint == other.fingerprint

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __repr__(self) -> str:
        objective, dataset = self.spec.objective.get("name"), self.spec.dataset.get("name")
        return f"FrozenEncoder({objective} on {dataset}, D={self.code_size}, {self.fingerprint[:12]})"

    def __copy__(self) -> FrozenEncoder:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> FrozenEncoder:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return FrozenEncoder.from_bytes, (self.to_bytes(),)


def _wrong_dtype(found: object) -> str:
    return (
        f"encode needs uint8 images in 0..255, got {found}; convert floats in 0..1 with (255 * images).round() and the "
        "dtype uint8, values in 0..255 with the dtype uint8 alone"
    )


def _require_pixels(images: Tensor) -> None:
    """Refuse tensors that hold no plain array of pixels."""
    if images.is_nested:
        raise TypeError("encode needs images of one size, got a nested tensor: resize and torch.stack them")
    if images.layout != torch.strided:
        raise TypeError(f"encode needs a dense tensor of images, got one of layout {images.layout}: images.to_dense()")
    if images.device.type == "meta":
        raise TypeError("encode needs pixels, got a tensor on the meta device, which has none: make it on cpu or cuda")


def _freeze(network: nn.Module) -> nn.Module:
    """The network, set up for nothing but forward passes; values are those of the trained one."""
    for chain in network.modules():
        # Half the memory traffic of a batch, where nothing else can read what comes before a ReLU: a layer in front of
        # it in a chain has just made it. A network of one's own may add it to something.
        if type(chain) is nn.Sequential:
            for before, layer in itertools.pairwise(chain):
                if isinstance(layer, nn.ReLU) and isinstance(before, nn.Conv2d | nn.Linear):
                    layer.inplace = True
    # observations come as (H, W, C): their convolutions are fastest in that order, and others' no slower
    return network.eval().requires_grad_(False).to(memory_format=torch.channels_last)


def save_encoder(encoder: FrozenEncoder, path: str | os.PathLike[str]) -> Path:
    """Write the artefact atomically; the ending must be ``.safetensors``. Returns the path.

    Raises:
        ValueError: another ending.
        TypeError: not a `FrozenEncoder`.
    """
    target = Path(path)
    if not isinstance(encoder, FrozenEncoder):
        raise TypeError(f"save_encoder needs a FrozenEncoder (see load_encoder), got {type(encoder).__name__}")
    if target.suffix != ".safetensors":
        raise ValueError(f"save_encoder needs a path that ends in .safetensors, got {target}")
    write_bytes(target, encoder.to_bytes())
    return target


def load_encoder(path: str | os.PathLike[str]) -> FrozenEncoder:
    """Load a frozen encoder from a run folder, an encoder ``.safetensors`` file, or the Hugging Face Hub.

    Args:
        path: folder or file; or ``"hf://OWNER/NAME@REVISION"``, also with ``#FINGERPRINT`` (`encoder.hub`, extra hub);
            or ``"shipped:NAME"``, one that comes with the package (``python -m sparse_repr.encoder`` lists them).

    Raises:
        TypeError: not a path.
        FileNotFoundError: nothing there; the message says what a run folder holds.
        ValueError: the file is not a complete encoder artefact; the message names the path, expected and found.
    """
    if isinstance(path, str) and path.startswith("shipped:"):
        from sparse_repr.encoder.shipped import load_shipped

        return load_shipped(path)
    if isinstance(path, str) and path.startswith("hf://"):
        from sparse_repr.encoder.hub import load_from_hub  # which loads encoders, too

        return load_from_hub(path)
    if not isinstance(path, str | os.PathLike):
        raise TypeError(
            f"load_encoder needs the path of a run folder or of an encoder .safetensors file, got {type(path).__name__}"
        )
    place = Path(path)
    file = place / "encoder.safetensors" if place.is_dir() else place
    if not file.is_file():
        hint = (
            "the folder holds no finished pretraining run (python -m sparse_repr.pretrain writes one)"
            if place.is_dir()
            else "expected a run folder or an encoder .safetensors file"
        )
        raise FileNotFoundError(f"no encoder at {file}: {hint}")
    return FrozenEncoder.from_bytes(file.read_bytes(), str(file))
