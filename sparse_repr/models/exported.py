"""A network of others, kept as the list of tensor operations that it computes.

No code of the network is needed to run it, and none is stored: a step names one function of a fixed list and gives it
numbers and earlier values. (torch's own `.pt2` files are not used for this: `torch.export.load` unpickles.)
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from sparse_repr.models.heads import POINT_LOG_VARIANCE, Posterior

EXPORTED = "exported"
"""The name of this architecture."""

# Functions of torch that compute new tensors from old ones, and do nothing else. What reads or writes files, draws
# random numbers, changes its input, or reads a number out of a tensor, is not among them.
_ATEN = """
abs.default acos.default adaptive_avg_pool1d.default adaptive_avg_pool2d.default adaptive_max_pool2d.default
add.Scalar add.Tensor addmm.default alias.default amax.default amin.default any.dim arange.default arange.start
arange.start_step argmax.default atan.default atan2.default avg_pool1d.default avg_pool2d.default baddbmm.default
batch_norm.default bitwise_and.Tensor bitwise_not.default bitwise_or.Tensor bmm.default bucketize.Tensor cat.default
ceil.default celu.default chunk.default clamp.default clamp_max.default clamp_min.default clone.default
constant_pad_nd.default contiguous.default conv1d.default conv1d.padding conv2d.default conv2d.padding
conv_transpose2d.input convolution.default cos.default cumsum.default detach.default diagonal.default div.Scalar
div.Tensor div.Tensor_mode einsum.default elu.default embedding.default eq.Scalar eq.Tensor
erf.default exp.default expand.default expand_as.default expm1.default fill.Scalar fill.Tensor flatten.using_ints
flip.default floor.default floor_divide.default full.default full_like.default gather.default ge.Scalar ge.Tensor
gelu.default glu.default grid_sampler.default group_norm.default gt.Scalar gt.Tensor hardsigmoid.default
hardswish.default hardtanh.default im2col.default index.Tensor index_select.default instance_norm.default
layer_norm.default le.Scalar le.Tensor leaky_relu.default lift_fresh_copy.default linalg_vector_norm.default
linear.default linspace.default log.default log1p.default log_softmax.int logical_and.default logical_not.default
logical_or.default logsumexp.default lt.Scalar lt.Tensor masked_fill.Scalar masked_fill.Tensor matmul.default
max.default max.dim max_pool1d.default max_pool2d.default maximum.default mean.default mean.dim meshgrid.indexing
min.default min.dim minimum.default mish.default mm.default movedim.int mul.Scalar mul.Tensor native_group_norm.default
native_layer_norm.default ne.Scalar ne.Tensor neg.default new_full.default new_ones.default new_zeros.default
norm.ScalarOpt_dim ones.default ones_like.default pad.default permute.default pixel_shuffle.default
pixel_unshuffle.default pow.Scalar pow.Tensor_Scalar pow.Tensor_Tensor prelu.default prod.dim_int reciprocal.default
reflection_pad2d.default relu.default relu6.default remainder.Scalar remainder.Tensor repeat.default
repeat_interleave.self_int replication_pad2d.default reshape.default rms_norm.default roll.default round.default
rsqrt.default rsub.Scalar scalar_tensor.default scaled_dot_product_attention.default scatter.src scatter.value
select.int select_scatter.default selu.default sigmoid.default sign.default silu.default sin.default slice.Tensor
slice_scatter.default softmax.int softplus.default split.Tensor split_with_sizes.default sqrt.default square.default
squeeze.default squeeze.dim squeeze.dims stack.default std.correction std.dim sub.Scalar sub.Tensor sum.default
sum.dim_IntList sym_size.int t.default tanh.default threshold.default tile.default to.dtype to.device topk.default
transpose.int tril.default triu.default unbind.int unflatten.int unfold.default unsqueeze.default
upsample_bicubic2d.default upsample_bicubic2d.vec upsample_bilinear2d.default upsample_bilinear2d.vec
upsample_nearest2d.default upsample_nearest2d.vec var.correction var.dim var_mean.correction where.self
where.ScalarOther where.ScalarSelf zeros.default zeros_like.default _to_copy.default
"""
_NUMBERS = ("add", "eq", "floordiv", "getitem", "mod", "mul", "neg", "sub", "truediv")


def _operators() -> dict[str, Callable[..., Any]]:
    """Every function that a step may name."""
    found: dict[str, Callable[..., Any]] = {f"operator.{name}": getattr(operator, name) for name in _NUMBERS}
    for name in _ATEN.split():
        packet, _, overload = name.partition(".")
        # a function that another version of torch does not have is missed where a network names it
        function = getattr(getattr(torch.ops.aten, packet, None), overload, None)
        if function is not None:
            found[f"aten.{name}"] = function
    return found


OPERATORS = _operators()
"""Name of a step -> what it calls. The only functions that an exported network can run."""
DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.bool)
}
_MEMORY_FORMATS = {"contiguous": torch.contiguous_format, "preserve": torch.preserve_format}
_REMEDY = "copy the file again, or read it with the version that wrote it"
_MOST_STEPS, _MOST_NUMBERS = 100_000, 2**40


class ExportedNetwork(nn.Module):
    """Image -> code by a list of steps, each of them one entry of `OPERATORS`.

    The graph is a JSON object. ``tensors``: for each weight its name, ``p`` (trained) or ``b`` (fixed), dtype and
    shape. ``steps``: for each its operator, its arguments and its named arguments. ``output``: the code. An argument is
    a number, text, true, false, null, a list, or an object of one entry: ``{"image": 0}``, ``{"tensor": i}`` and
    ``{"step": i}`` for values; ``{"dtype": name}``, ``{"memory_format": name}``, ``{"device": null}`` (that of the
    image) and ``{"float": "inf"}`` for what JSON does not have.
    """

    def __init__(self, *, channels: int, size: int, code_size: int, graph: Mapping[str, Any]) -> None:
        """Check the graph, and that it turns images into codes; the weights are 0 until they are loaded.

        Raises:
            ValueError: the graph is damaged, names another function, or gives something else.
        """
        super().__init__()
        self.code_size = code_size
        _require_graph(graph)
        self._names: list[str] = []
        for name, kind, dtype, shape in graph["tensors"]:
            self._add(name, kind, dtype, shape)
        self._steps = [_Step(*step) for step in graph["steps"]]
        self._output: int = graph["output"]["step"]
        self._last_use = _last_uses(self._steps, self._output)
        try:
            with torch.no_grad():
                code = self(torch.zeros(2, channels, size, size, device="meta")).mean
        except Exception as error:  # torch raises many kinds for arguments that do not fit
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise ValueError(f"the graph cannot be computed: {reason}; {_REMEDY}") from error
        if tuple(code.shape) != (2, code_size):
            raise ValueError(
                f"the graph gives {tuple(code.shape)} for two images, not codes (2, {code_size}); {_REMEDY}"
            )
        self.to_empty(device="cpu")
        for tensor in (*self.parameters(), *self.buffers()):
            tensor.data.zero_()

    def _add(self, name: str, kind: str, dtype: str, shape: list[int]) -> None:
        if hasattr(self, name) or "." in name or not name:
            raise ValueError(f"the graph has a tensor called {name!r:.60}, which is taken; {_REMEDY}")
        values = torch.empty(shape, dtype=DTYPES[dtype], device="meta")
        if kind == "p" and values.is_floating_point():
            self.register_parameter(name, nn.Parameter(values))
        else:
            self.register_buffer(name, values)
        self._names.append(name)

    def forward(self, images: Tensor) -> Posterior:
        """Images (B, C, S, S) -> code and a log-variance that says it is a point; float32 also under autocast."""
        values: dict[int, Any] = {}
        tensors = [getattr(self, name) for name in self._names]
        for place, step in enumerate(self._steps):
            values[place] = step(images, tensors, values)
            for done in self._last_use.get(place, ()):
                del values[done]
        mean: Tensor = values[self._output].float()
        return Posterior(mean, torch.full_like(mean, POINT_LOG_VARIANCE))


class _Step:
    """One call; what its arguments stand for is worked out once."""

    def __init__(self, name: str, arguments: list[Any], named: Mapping[str, Any]) -> None:
        self._function = OPERATORS[name]
        self._arguments = [_argument(value) for value in arguments]
        self._named = {key: _argument(value) for key, value in named.items()}
        self.uses = sorted(_uses([*arguments, *named.values()]))

    def __call__(self, images: Tensor, tensors: list[Tensor], values: dict[int, Any]) -> Any:
        given = [_resolve(argument, images, tensors, values) for argument in self._arguments]
        named = {key: _resolve(argument, images, tensors, values) for key, argument in self._named.items()}
        return self._function(*given, **named)


class _Image:
    pass


class _Device:
    pass


class _Stored(int):
    pass


class _Computed(int):
    pass


def _argument(value: Any) -> Any:
    """An argument of a step as it is written -> what `_resolve` takes."""
    if isinstance(value, list):
        return [_argument(entry) for entry in value]
    if not isinstance(value, Mapping):
        return value
    ((kind, held),) = value.items()
    made: dict[str, Callable[[Any], Any]] = {
        "image": lambda _: _Image(),
        "device": lambda _: _Device(),
        "tensor": _Stored,
        "step": _Computed,
        "dtype": DTYPES.__getitem__,
        "memory_format": _MEMORY_FORMATS.__getitem__,
        "float": float,
    }
    return made[kind](held)


def _resolve(argument: Any, images: Tensor, tensors: list[Tensor], values: dict[int, Any]) -> Any:
    if type(argument) is _Computed:
        return values[argument]
    if type(argument) is _Stored:
        return tensors[argument]
    if type(argument) is _Image:
        return images
    if type(argument) is _Device:
        return images.device
    if type(argument) is list:
        return [_resolve(entry, images, tensors, values) for entry in argument]
    return argument


def _uses(value: Any) -> set[int]:
    """The steps whose values an argument needs."""
    if isinstance(value, Mapping):
        if set(value) == {"step"}:
            return {value["step"]}
        return set().union(*map(_uses, value.values()))
    return set().union(*map(_uses, value)) if isinstance(value, list) else set()


def _last_uses(steps: list[_Step], output: int) -> dict[int, list[int]]:
    """Step -> the values that nothing needs after it."""
    last = {place: place for place in range(len(steps))}
    for place, step in enumerate(steps):
        last.update(dict.fromkeys(step.uses, place))
    found: dict[int, list[int]] = {}
    for value, place in last.items():
        if value != output:
            found.setdefault(place, []).append(value)
    return found


def _require_graph(graph: Any) -> None:
    """Check everything that can be checked without computing."""
    if not isinstance(graph, Mapping) or set(graph) != {"tensors", "steps", "output"}:
        raise ValueError(f"the graph needs the entries tensors, steps and output; {_REMEDY}")
    tensors, steps = graph["tensors"], graph["steps"]
    if not isinstance(tensors, list) or not isinstance(steps, list) or not 0 < len(steps) <= _MOST_STEPS:
        raise ValueError(f"the graph needs lists of tensors and steps; {_REMEDY}")
    for entry in tensors:
        if not (
            isinstance(entry, list)
            and len(entry) == 4
            and isinstance(entry[0], str)
            and entry[1] in ("p", "b")
            and isinstance(entry[2], str)
            and entry[2] in DTYPES
            and isinstance(entry[3], list)
            and all(type(side) is int and side >= 0 for side in entry[3])
            and math.prod(entry[3]) < _MOST_NUMBERS
        ):
            raise ValueError(f"the graph has a tensor that is none: {entry!r:.60}; {_REMEDY}")
    for place, step in enumerate(steps):
        if not isinstance(step, list) or len(step) != 3 or not isinstance(step[1], list):
            raise ValueError(f"the graph has a step that is none: {step!r:.60}; {_REMEDY}")
        if not isinstance(step[0], str) or step[0] not in OPERATORS:
            raise ValueError(
                f"the graph names {step[0]!r:.60}, which is none of the functions that an exported network may run"
            )
        if not isinstance(step[2], Mapping):
            raise ValueError(f"the graph has a step that is none: {step!r:.60}; {_REMEDY}")
        for value in (*step[1], *step[2].values()):
            _require_argument(value, place, len(tensors))
    _require_argument(graph["output"], len(steps), len(tensors))
    if not isinstance(graph["output"], Mapping) or set(graph["output"]) != {"step"}:
        raise ValueError(f"the output of the graph needs to be a step, got {graph['output']!r:.60}; {_REMEDY}")


def _require_argument(value: Any, place: int, tensors: int) -> None:
    if value is None or isinstance(value, (bool, int, float, str)):
        return
    if isinstance(value, list):
        for entry in value:
            _require_argument(entry, place, tensors)
        return
    if isinstance(value, Mapping) and len(value) == 1:
        ((kind, held),) = value.items()
        fits = {
            "image": held == 0,
            "device": held is None,
            "tensor": type(held) is int and 0 <= held < tensors,
            "step": type(held) is int and 0 <= held < place,
            "dtype": isinstance(held, str) and held in DTYPES,
            "memory_format": isinstance(held, str) and held in _MEMORY_FORMATS,
            "float": isinstance(held, str) and held in ("inf", "-inf", "nan"),
        }
        if fits.get(kind, False):
            return
    raise ValueError(f"the graph has an argument that is none: {value!r:.60}; {_REMEDY}")
