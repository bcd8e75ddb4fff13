"""Exported networks: what their graph may say, and that anything else is refused before it is computed."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from sparse_repr.models import OPERATORS, build_encoder

# two images of 1x4x4 -> code (B, 2): flatten, then a dense layer
GRAPH: dict[str, Any] = {
    "tensors": [["p_weight", "p", "float32", [2, 16]], ["b_shift", "b", "float32", [2]]],
    "steps": [
        ["aten.flatten.using_ints", [{"image": 0}, 1], {}],
        ["aten.linear.default", [{"step": 0}, {"tensor": 0}], {}],
        ["aten.add.Tensor", [{"step": 1}, {"tensor": 1}], {"alpha": 2}],
    ],
    "output": {"step": 2},
}
ARGUMENTS: dict[str, Any] = {"channels": 1, "size": 4, "code_size": 2}


def _changed(*path: Any, value: Any) -> dict[str, Any]:
    graph: Any = copy.deepcopy(GRAPH)
    place = graph
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    changed: dict[str, Any] = graph
    return changed


def test_steps_are_computed_in_order() -> None:
    network = build_encoder("exported", {**ARGUMENTS, "graph": GRAPH})
    assert [name for name, _ in network.named_parameters()] == ["p_weight"]
    network.load_state_dict({"p_weight": torch.arange(32.0).reshape(2, 16), "b_shift": torch.tensor([0.5, -1.0])})
    images = torch.zeros(3, 1, 4, 4)
    images[1, 0, 0, 1] = 1.0
    images[2] = 1.0
    posterior = network(images)
    # 2 * shift, plus the weights of the pixels that are 1
    assert posterior.mean.tolist() == [[1.0, -2.0], [2.0, 15.0], [121.0, 374.0]]
    assert posterior.log_variance.eq(-30).all()


def test_nothing_that_a_step_may_name_draws_chance_or_touches_files() -> None:
    assert len(OPERATORS) > 150
    words = ("rand", "bernoulli", "normal.", "multinomial", "from_file", "save", "print", ".item", "resize", "strided")
    assert not [name for name in OPERATORS if any(word in name for word in words)]
    # an operator whose first word ends in an underscore writes into its argument
    assert not [name for name in OPERATORS if name.split(".")[1].endswith("_")]


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        ({}, "needs the entries tensors, steps and output"),
        ({**GRAPH, "code": "import os"}, "needs the entries tensors, steps and output"),
        (_changed("steps", value=[]), "needs lists of tensors and steps"),
        (_changed("steps", 1, 0, value="os.system"), "names 'os.system', which is none of the functions"),
        (_changed("steps", 1, 0, value="aten.from_file.default"), "none of the functions"),
        (_changed("steps", 1, 0, value="mylib.linear.default"), "none of the functions"),
        (_changed("steps", 1, 0, value=None), "none of the functions"),
        (_changed("steps", 1, value=["aten.linear.default"]), "a step that is none"),
        (_changed("steps", 1, 2, value=[]), "a step that is none"),
        (_changed("steps", 1, 1, 0, value={"step": 1}), "an argument that is none"),  # itself
        (_changed("steps", 1, 1, 0, value={"step": 2}), "an argument that is none"),  # a later one
        (_changed("steps", 1, 1, 1, value={"tensor": 2}), "an argument that is none"),
        (_changed("steps", 1, 1, 1, value={"tensor": True}), "an argument that is none"),
        (_changed("steps", 1, 1, 1, value={"dtype": "object"}), "an argument that is none"),
        (_changed("steps", 1, 1, 1, value={"eval": "1"}), "an argument that is none"),
        (_changed("steps", 1, 1, 1, value={"step": 0, "tensor": 0}), "an argument that is none"),
        (_changed("output", value={"tensor": 0}), "the output of the graph needs to be a step"),
        (_changed("output", value={"step": 3}), "an argument that is none"),
        (_changed("tensors", 0, value=["p_weight", "x", "float32", [2, 16]]), "a tensor that is none"),
        (_changed("tensors", 0, value=["p_weight", "p", "float32", [2, -16]]), "a tensor that is none"),
        (_changed("tensors", 0, value=["p_weight", "p", "float32", [2**30, 2**30]]), "a tensor that is none"),
        (_changed("tensors", 0, value=["forward", "p", "float32", [2, 16]]), "called 'forward', which is taken"),
        (_changed("tensors", 1, value=["p_weight", "b", "float32", [2]]), "called 'p_weight', which is taken"),
        (_changed("tensors", 0, value=["p_weight", "p", "float32", [2, 15]]), "the graph cannot be computed"),
        (_changed("steps", 1, 1, 0, value="text"), "the graph cannot be computed"),
        (_changed("output", value={"step": 0}), r"gives \(2, 16\) for two images, not codes \(2, 2\)"),
    ],
)
def test_graphs_that_say_anything_else_are_refused(graph: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_encoder("exported", {**ARGUMENTS, "graph": graph})


def test_a_list_that_is_the_output_is_refused() -> None:
    graph = _changed("steps", 2, value=["aten.chunk.default", [{"step": 1}, 2], {}])
    with pytest.raises(ValueError, match="the graph cannot be computed"):
        build_encoder("exported", {**ARGUMENTS, "graph": graph})


def test_values_are_forgotten_after_their_last_use() -> None:
    network: Any = build_encoder("exported", {**ARGUMENTS, "graph": GRAPH})
    assert network._last_use == {1: [0], 2: [1]}
