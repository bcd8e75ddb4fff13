"""Reading `state.pt`: nothing of a damaged one, or of one that is of other networks, is loaded."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sparse_repr.files.stored_archive import read_stored_archive

_PARTS = {"step": int, "objective": dict, "generator": Tensor}
_REMEDY = "copy it again, or start again in another folder"


def read_state(path: Path) -> dict[str, Any]:
    """The training state in a file that `torch.save` wrote, with tensors on the CPU.

    The checksums in the archive are compared first: torch does not look at them, and goes on with other weights.

    Args:
        path: the file.

    Returns:
        At least step (at least 0), objective and generator.

    Raises:
        ValueError: damaged, or no training state; `path` is named.
    """
    content = path.read_bytes()
    try:
        read_stored_archive(content)
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many types for damaged files
        reason = " ".join(f"{error}".split())[:200]
        raise ValueError(f"{path}: not a readable training state ({reason}); {_REMEDY}") from error
    right = isinstance(state, dict) and all(
        name in state and isinstance(state[name], kind) and not isinstance(state[name], bool)
        for name, kind in _PARTS.items()
    )
    if not right or state["step"] < 0:
        raise ValueError(f"{path}: expected a training state, found something else; {_REMEDY}")
    return dict(state)


def check_state(
    found: Mapping[str, Any], wanted: Mapping[str, Any], optimisers: Mapping[str, torch.optim.Optimizer], origin: str
) -> None:
    """Check that a training state is one of these networks and optimisers, before anything of it is loaded.

    Args:
        found: what `read_state` returned.
        wanted: the present state of the run that is to take it.
        optimisers: those in ``wanted["objective"]``, by their entry.
        origin: what to call `found` in messages, usually its path.

    Raises:
        ValueError: an entry is missing, unknown, of another type or shape, or not finite; the first fault is named.
    """
    try:
        _compare(found, wanted, "", {f".objective.{name}": optimiser for name, optimiser in optimisers.items()})
    except ValueError as error:
        raise ValueError(f"{origin}: not a state of this run: {error}; {_REMEDY}") from error


def _compare(found: Any, wanted: Any, place: str, optimisers: Mapping[str, torch.optim.Optimizer]) -> None:
    name = place.lstrip(".") or "it"
    if place in optimisers:
        _compare_optimiser(found, optimisers[place], name)
    elif isinstance(wanted, Mapping):
        if not isinstance(found, Mapping) or found.keys() != wanted.keys():
            shown = sorted(map(str, found)) if isinstance(found, Mapping) else type(found).__name__
            raise ValueError(f"{name} needs the entries {sorted(wanted)}, found {shown}")
        for key, part in wanted.items():
            _compare(found[key], part, f"{place}.{key}", optimisers)
    elif isinstance(wanted, Tensor):
        _compare_tensor(found, wanted, name)
    elif type(found) is not type(wanted):
        raise ValueError(f"{name} needs {type(wanted).__name__}, found {type(found).__name__}")


def _compare_tensor(found: Any, wanted: Tensor, name: str) -> None:
    needed = f"{tuple(wanted.shape)} {wanted.dtype}"
    if not isinstance(found, Tensor):
        raise ValueError(f"{name} needs a tensor {needed}, found {type(found).__name__}")
    if found.shape != wanted.shape or found.dtype != wanted.dtype:
        raise ValueError(f"{name} needs a tensor {needed}, found {tuple(found.shape)} {found.dtype}")
    if not torch.isfinite(found).all():
        raise ValueError(f"{name} needs finite numbers, found NaN or infinity")


def _compare_optimiser(found: Any, optimiser: torch.optim.Optimizer, name: str) -> None:
    wanted = optimiser.state_dict()
    if not isinstance(found, Mapping) or found.keys() != wanted.keys():
        raise ValueError(f"{name} needs the state of an optimiser, found {type(found).__name__}")
    groups = found["param_groups"]
    if not isinstance(groups, list) or len(groups) != len(wanted["param_groups"]):
        raise ValueError(f"{name} needs {len(wanted['param_groups'])} groups of parameters, found {_count(groups)}")
    for group, needed in zip(groups, wanted["param_groups"], strict=True):
        if not isinstance(group, Mapping) or group.get("params") != needed["params"]:
            raise ValueError(f"{name} needs {_count(needed['params'])} parameters, found others")
        # another version of torch may know other options
        for option in needed.keys() & group.keys():
            if not _same_kind(group[option], needed[option]):
                raise ValueError(f"{name} needs an option {option} like {needed[option]!r}, found {group[option]!r}")
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    moments = found["state"]
    if not isinstance(moments, Mapping) or not moments.keys() <= set(range(len(parameters))):
        raise ValueError(f"{name} needs moments of {len(parameters)} parameters, found others")
    for position, entries in moments.items():
        if not isinstance(entries, Mapping):
            raise ValueError(f"{name} needs moments of parameter {position}, found {type(entries).__name__}")
        for moment, value in entries.items():
            shape = tuple(parameters[position].shape)
            if not isinstance(value, Tensor) or tuple(value.shape) not in ((), shape) or not value.isfinite().all():
                raise ValueError(f"{name} needs finite moments {shape} of parameter {position}, found another {moment}")


def _same_kind(found: Any, wanted: Any) -> bool:
    if isinstance(wanted, list | tuple):
        return isinstance(found, list | tuple) and len(found) == len(wanted) and all(map(_same_kind, found, wanted))
    if isinstance(found, Tensor):  # a learning rate that a recorded step reads
        return isinstance(wanted, float | Tensor) and found.ndim == 0 and bool(found.isfinite())
    if isinstance(wanted, float | Tensor):
        return isinstance(found, float | int) and not isinstance(found, bool) and math.isfinite(found)
    return type(found) is type(wanted)


def _count(found: Any) -> str:
    return str(len(found)) if isinstance(found, list) else type(found).__name__
