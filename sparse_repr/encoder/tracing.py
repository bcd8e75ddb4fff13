"""How a torch module becomes an exported network: its graph of tensor operations, and the weights that they use."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export.graph_signature import InputKind

from sparse_repr.models import OPERATORS

# checks that torch inserts for whoever runs the program with other inputs; they compute nothing
_CHECKS = {"aten._assert_tensor_metadata.default", "aten._assert_scalar.default"}
_CHECKS |= {"aten.sym_constrain_range_for_size.default", "aten.sym_constrain_range.default"}
_DROPOUTS = {"aten.dropout.default", "aten.feature_dropout.default", "aten.alpha_dropout.default"}
_KINDS = {
    InputKind.PARAMETER: "p",
    InputKind.BUFFER: "b",
    InputKind.CONSTANT_TENSOR: "b",
}
# a frozen encoder's convolutions are in channels-last order, of which there is no view in another shape
_SAME = {"aten.view.default": "aten.reshape.default", "aten._unsafe_view.default": "aten.reshape.default"}


def trace(module: nn.Module, channels: int, size: int) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Graph and weights of a module in eval mode, as `models.ExportedNetwork` takes them.

    Args:
        module: float32 images (B, channels, size, size) -> float (B, D), for any B.
        channels: of the images.
        size: height and width of the images.

    Raises:
        ValueError: torch cannot export it, it writes into its own weights, or it needs a function that is not in
            `models.OPERATORS`.
    """
    images = torch.zeros(2, channels, size, size)
    try:
        with torch.no_grad():
            program = torch.export.export(
                module, (images,), dynamic_shapes=({0: torch.export.Dim("batch")},), strict=False
            ).run_decompositions({})
    except Exception as error:  # torch raises many kinds, of many lines
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ValueError(
            f"from_module: torch.export cannot follow {type(module).__name__} for any number of images "
            f"({type(error).__name__}: {reason:.300}); if it wants a fixed number, or decides by the values of its "
            "input, change that, or give the part of it that does not"
        ) from error
    mutated = {**program.graph_signature.buffers_to_mutate, **program.graph_signature.parameters_to_mutate}
    if mutated:
        raise ValueError(
            f"from_module: {type(module).__name__} writes into {', '.join(sorted(mutated.values()))} in eval mode: a "
            "frozen encoder cannot change; give a module that only reads them"
        )
    return _Graph(program, module).finished()


class _Graph:
    """The steps of a program, node by node."""

    def __init__(self, program: torch.export.ExportedProgram, module: nn.Module) -> None:
        self._module = module
        self._places: dict[str, dict[str, int]] = {}
        self._tensors: list[list[Any]] = []
        self._weights: dict[str, Tensor] = {}
        self._steps: list[list[Any]] = []
        self._output: Any = None
        inputs = {spec.arg.name: spec for spec in program.graph_signature.input_specs}
        stored: Mapping[str, Any] = {**program.state_dict, **program.constants}
        for node in program.graph.nodes:
            if node.op == "placeholder":
                spec = inputs[node.name]
                if spec.kind == InputKind.USER_INPUT:
                    self._places[node.name] = {"image": 0}
                elif node.users:
                    self._store(node.name, _KINDS.get(spec.kind), stored.get(spec.target))
            elif node.op == "output":
                (output,) = node.args[0]
                self._output = self._argument(output)
            elif node.op == "call_function":
                self._call(node)
            else:
                raise ValueError(f"from_module: {type(module).__name__} has a part {node.target} that is no operation")

    def finished(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        if "step" not in self._output:  # nothing is computed: the code is the image or a weight
            self._steps.append(["aten.clone.default", [self._output], {}])
            self._output = {"step": len(self._steps) - 1}
        return {"tensors": self._tensors, "steps": self._steps, "output": self._output}, self._weights

    def _store(self, name: str, kind: str | None, value: Any) -> None:
        if kind is None or not isinstance(value, Tensor):
            raise ValueError(f"from_module: {type(self._module).__name__} keeps {name}, which is no tensor")
        self._places[name] = {"tensor": len(self._tensors)}
        self._tensors.append([name, kind, str(value.dtype).removeprefix("torch."), list(value.shape)])
        self._weights[name] = value.detach().clone()

    def _call(self, node: fx.Node) -> None:
        name = _name_of(node.target)
        if name in _CHECKS:
            return
        if name in _DROPOUTS and node.args[2] is False:
            self._places[node.name] = self._argument(node.args[0])
            return
        arguments: list[Any] = list(node.args)
        named = dict(node.kwargs)
        if name == "aten._native_batch_norm_legit_no_training.default":
            # the same with the name that all of torch knows; its other two results are empty
            *first, momentum, epsilon = arguments
            name, arguments = "aten.batch_norm.default", [*first, False, momentum, epsilon, False]
            if any(_name_of(user.target) != "operator.getitem" or user.args[1] != 0 for user in node.users):
                raise ValueError(f"from_module: {type(self._module).__name__} reads the statistics of a batch")
        elif name == "operator.getitem" and _name_of(arguments[0].target).startswith("aten._native_batch_norm"):
            self._places[node.name] = self._argument(arguments[0])
            return
        name = _SAME.get(name, name)
        if name not in OPERATORS:
            raise ValueError(
                f"from_module: {type(self._module).__name__} computes {name}, which is none of the functions that an "
                "encoder's file may run (sparse_repr.models.OPERATORS): custom operators, random numbers and what "
                "depends on values are not; give the part of it before that, or write it with plain tensor operations"
            )
        steps = [
            [self._argument(value) for value in arguments],
            {key: self._argument(value) for key, value in named.items() if not _left_out(value)},
        ]
        self._places[node.name] = {"step": len(self._steps)}
        self._steps.append([name, *steps])

    def _argument(self, value: Any) -> Any:
        if isinstance(value, fx.Node):
            return self._places[value.name]
        if isinstance(value, (list, tuple)):
            return [self._argument(entry) for entry in value]
        if isinstance(value, float) and not math.isfinite(value):
            return {"float": str(value)}
        if value is None or isinstance(value, (bool, int, float, str)):
            return value
        if isinstance(value, torch.dtype):
            return {"dtype": str(value).removeprefix("torch.")}
        if isinstance(value, torch.device):
            return {"device": None}
        if isinstance(value, torch.memory_format):
            return {"memory_format": "preserve" if value == torch.preserve_format else "contiguous"}
        raise ValueError(
            f"from_module: {type(self._module).__name__} gives an operation {value!r:.100}, which a file cannot hold"
        )


def _left_out(value: Any) -> bool:
    return value is None or isinstance(value, torch.layout)


def _name_of(target: Any) -> str:
    """What `OPERATORS` calls a function."""
    if isinstance(target, torch._ops.OpOverload):
        return str(target)
    name = getattr(target, "__name__", "")
    if getattr(operator, name, None) is target:
        return f"operator.{name}"
    return str(target)
