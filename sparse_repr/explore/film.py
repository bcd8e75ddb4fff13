"""AgentFilm: what an agent saw, the codes it went by, what it did, and the network that decided, in one file."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sparse_repr.artefact import FORMAT_VERSION, parse, serialise
from sparse_repr.explore.networks import Layer
from sparse_repr.files import write_bytes
from sparse_repr.files.json_reader import OBJECT, TEXT, Shape, many, number, one_of, optional, require, whole

KIND = "agent_film"
_REMEDY = "record the film again"
# what the layers of a policy may be -> the tensors and numbers that each needs
_OPERATIONS: dict[str, dict[str, Shape]] = {
    "linear": {"weight": OBJECT, "bias": OBJECT},
    "affine": {"factor": OBJECT, "shift": OBJECT},
    "clamp": {"low": number(), "high": number()},
    "largest": {"count": whole(1)},
    "leaky_relu": {"slope": number()},
    "elu": {"alpha": number()},
    "relu": {},
    "silu": {},
    "tanh": {},
    "sigmoid": {},
}
_HEADER: Shape = {
    "encoder": TEXT,
    "caption": TEXT,
    "action_names": many(TEXT),
    "low": optional(many(number())),
    "high": optional(many(number())),
    "policy": optional(OBJECT),
    "note": TEXT,
}
_POLICY: Shape = {"n_stack": whole(1), "scores": one_of("logits", "values", "numbers"), "outputs": whole(1)}


@dataclasses.dataclass(frozen=True)
class ActingNetwork:
    """From the last codes to what decides the action, as layers of the explorer's kernel."""

    features: list[Layer]
    """A code (D,) -> what the agent is shown of it."""
    layers: list[Layer]
    """Of the last `n_stack` codes, oldest first, side by side -> `outputs` numbers."""
    n_stack: int
    """Codes that the agent is shown at once; at the start of an episode all are the first one."""
    scores: str
    """What the numbers are: ``logits`` or ``values`` of discrete actions, the largest being taken, or the action's own
    ``numbers``."""
    outputs: int
    """How many there are."""

    def check(self, code_size: int) -> None:
        """Check that the layers fit one another, and codes of D units.

        Raises:
            ValueError: they do not.
        """
        shown = self.n_stack * _width_after(self.features, code_size)
        found = _width_after(self.layers, shown)
        if found != self.outputs:
            raise ValueError(f"its policy needs {self.outputs} outputs, its layers give {found}")


def _width_after(layers: list[Layer], width: int) -> int:
    """How many numbers layers make of `width`."""
    for layer in layers:
        expected: dict[str, tuple[int, ...]] = {"factor": (width,), "shift": (width,)}
        if layer["op"] == "linear":
            outputs = layer["weight"].shape[0] if layer["weight"].ndim else 0
            expected = {"weight": (outputs, width), "bias": (outputs,)}
            width = outputs
        for name, shape in expected.items():
            if name in layer and tuple(layer[name].shape) != shape:
                raise ValueError(
                    f"a layer {layer['op']!r} of its policy needs {name} of shape {shape}, found "
                    f"{tuple(layer[name].shape)}"
                )
    return width


@dataclasses.dataclass(frozen=True, eq=False)
class AgentFilm:
    """T frames of an agent at work, each of which it saw and acted on; episodes follow one another."""

    encoder: str
    """Fingerprint of the encoder whose codes it goes by."""
    caption: str
    """What the agent is."""
    frames: npt.NDArray[np.uint8]
    """(T, C, H, W)."""
    codes: npt.NDArray[np.float32]
    """(T, D), as the encoder gives them."""
    actions: npt.NDArray[np.float32]
    """(T, A) of a Box; (T, 1), the number of the action, where it is discrete."""
    steps: npt.NDArray[np.int64]
    """(T,) steps of the episode before each frame; 0 begins one."""
    returns: npt.NDArray[np.float32]
    """(T,) rewards of the episode before each frame, summed."""
    bounds: tuple[list[float], list[float]] | None = None
    """Least and greatest action, A numbers each; None where it is discrete."""
    action_names: tuple[str, ...] = ()
    """Names of the discrete actions, or of the numbers; may be empty."""
    policy: ActingNetwork | None = None
    """What decides; None where it cannot be carried."""
    note: str = ""
    """Why there is no policy, in words."""

    def __post_init__(self) -> None:
        count = len(self.frames)
        lengths = {len(part) for part in (self.codes, self.actions, self.steps, self.returns)}
        if self.frames.dtype != np.uint8 or self.frames.ndim != 4 or self.frames.shape[1] not in (1, 3) or not count:
            raise ValueError(
                f"AgentFilm needs frames uint8 (T, 1 or 3, H, W), got {self.frames.dtype} {self.frames.shape}"
            )
        if lengths != {count} or self.codes.ndim != 2 or self.actions.ndim != 2:
            raise ValueError(
                f"AgentFilm needs codes (T, D), actions (T, A), steps and returns of all {count} frames, got "
                f"{self.codes.shape}, {self.actions.shape}, {self.steps.shape} and {self.returns.shape}"
            )
        if self.bounds is not None and {len(part) for part in self.bounds} != {self.actions.shape[1]}:
            raise ValueError(f"AgentFilm needs bounds of {self.actions.shape[1]} numbers each, got {self.bounds}")
        if self.bounds is None and self.actions.shape[1] != 1:
            raise ValueError(
                f"AgentFilm shows a Discrete or a Box of actions, got {self.actions.shape[1]} choices at once, for "
                "which the explorer has no place"
            )
        if self.policy is not None:
            self.policy.check(self.codes.shape[1])

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the film as a ``.safetensors`` file, atomically: tensors and plain JSON values. Returns the path.

        Raises:
            ValueError: another ending.
        """
        target = Path(path)
        if target.suffix != ".safetensors":
            raise ValueError(f"a film for the explorer needs a path that ends in .safetensors, got {target}")
        tensors = {name: torch.from_numpy(np.ascontiguousarray(getattr(self, name))) for name in _ARRAYS}
        policy = None
        if self.policy is not None:
            policy = {
                **{name: getattr(self.policy, name) for name in ("n_stack", "scores", "outputs")},
                **{part: _put_away(getattr(self.policy, part), part, tensors) for part in ("features", "layers")},
            }
        header = {
            "format": FORMAT_VERSION,
            "kind": KIND,
            "encoder": self.encoder,
            "caption": self.caption,
            "action_names": list(self.action_names),
            "low": None if self.bounds is None else self.bounds[0],
            "high": None if self.bounds is None else self.bounds[1],
            "policy": policy,
            "note": self.note,
        }
        write_bytes(target, serialise(tensors, header))
        return target

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> AgentFilm:
        """Read what `save` wrote.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: damaged, or no film for the explorer; the file is named.
        """
        place = Path(path)
        if not place.is_file():
            raise FileNotFoundError(f"no film at {place}: python -m experiments.film AGENT.zip ENV --output FILE")
        tensors, header = parse(place.read_bytes(), str(place), KIND)
        require(header, _HEADER, f"{place}: the header", remedy=_REMEDY)
        missing = [name for name in _ARRAYS if name not in tensors]
        if missing:
            raise ValueError(f"{place} is damaged: it needs the arrays {', '.join(_ARRAYS)}, found no {missing[0]}")
        low, high = header["low"], header["high"]
        try:
            return cls(
                **{name: tensors[name].numpy() for name in _ARRAYS},
                encoder=header["encoder"],
                caption=header["caption"],
                bounds=None if low is None or high is None else (low, high),
                action_names=tuple(header["action_names"]),
                policy=_policy(header["policy"], tensors, str(place)),
                note=header["note"],
            )
        except ValueError as error:
            raise ValueError(f"{place} holds no film: {error}; {_REMEDY}") from error


_ARRAYS = ("frames", "codes", "actions", "steps", "returns")


def _put_away(layers: list[Layer], part: str, tensors: dict[str, Tensor]) -> list[Layer]:
    """Layers whose tensors are names in `tensors`, which get them."""
    plain: list[Layer] = []
    for place, layer in enumerate(layers):
        entry = dict(layer)
        for name, value in layer.items():
            if isinstance(value, Tensor):
                tensors[f"{part}.{place}.{name}"] = value.detach().float()
                entry[name] = {"tensor": f"{part}.{place}.{name}"}
        plain.append(entry)
    return plain


def _policy(found: Mapping[str, Any] | None, tensors: Mapping[str, Tensor], origin: str) -> ActingNetwork | None:
    if found is None:
        return None
    parts: dict[str, Shape] = {"features": many(OBJECT), "layers": many(OBJECT)}
    require(found, {**_POLICY, **parts}, f"{origin}: the policy", remedy=_REMEDY)  # type: ignore[dict-item]
    return ActingNetwork(
        features=[_layer(layer, tensors, origin) for layer in found["features"]],
        layers=[_layer(layer, tensors, origin) for layer in found["layers"]],
        n_stack=found["n_stack"],
        scores=found["scores"],
        outputs=found["outputs"],
    )


def _layer(layer: Mapping[str, Any], tensors: Mapping[str, Tensor], origin: str) -> Layer:
    require(layer, {"op": one_of(*_OPERATIONS)}, f"{origin}: a layer of the policy", remedy=_REMEDY)
    shape = _OPERATIONS[layer["op"]]
    require(layer, shape, f"{origin}: a layer of the policy", remedy=_REMEDY)
    restored = {name: value for name, value in layer.items() if name in (*shape, "op", "binary")}
    for name, value in restored.items():
        if isinstance(value, Mapping):
            if value.get("tensor") not in tensors:
                raise ValueError(f"a layer of its policy needs the tensor {value.get('tensor')!r}")
            restored[name] = tensors[value["tensor"]]
    return restored
