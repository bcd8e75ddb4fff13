"""export_agent: an agent as one file that runs without this package."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecNormalize

from rl.agent_archive import AgentArchive
from rl.agent_graph import AgentGraph
from rl.agents import model_of
from rl.around_codes import changes_actions
from rl.latent_encoding import LatentOptions
from rl.normalization import Normalization
from sparse_repr import FrozenEncoder
from sparse_repr.files import write_bytes


def export_agent(
    model: BaseAlgorithm | str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    encoder: FrozenEncoder | None = None,
    latent_options: LatentOptions | None = None,
    image_shape: Sequence[int] | None = None,
    vec_normalize: VecNormalize | None = None,
) -> Path:
    """Write an agent as one file: a batch of raw images in, the actions of `predict(deterministic=True)` out.

    The file runs on the CPU without this package, Stable-Baselines3 or Gymnasium: ``.pt2`` needs torch alone
    (`torch.export.load(path).module()(images)`), ``.onnx`` any ONNX runtime (input ``images``, output ``actions``).
    Both carry a JSON text about themselves: in ``.pt2`` the extra file ``agent.json``, in ``.onnx`` the metadata
    property ``agent``.

    Args:
        model: any Stable-Baselines3 algorithm whose policy acts on one image alone. The image is encoded by the
            policy's own features extractor, or by the observation wrapper of the model's environment. Or the file that
            `save_agent` wrote, which has encoder, options and statistics, so that no environment is needed, only the
            `image_shape`. The model in it holds pickles: export only agents you trust.
        path: ends in ``.pt2`` or ``.onnx``; written atomically.
        encoder: for an agent on codes whose environment is not at hand: what encoded them.
        latent_options: beside `encoder`: how they were stacked and scaled (`wrapper.latent_options`); None: not at all.
        image_shape: (H, W, C) or (C, H, W) of a raw image; None takes what the model's environment gives, or what the
            policy itself expects.
        vec_normalize: whose observation statistics are baked in; None takes those of the model's environment, so a
            model trained under `VecNormalize` and loaded without its environment needs this.

    Returns:
        The path. The graph takes images (B, *image_shape) of the environment's type (uint8), any B; where the wrapper
        stacks codes, the last images (B, n_stack, *image_shape), oldest first, the first one repeated at the start of
        an episode. It gives actions (B, ...) in the action space's own range and shape; int64 for Discrete and
        MultiDiscrete, float32 for MultiBinary.

    Raises:
        TypeError: an agent with recurrent state, action masks or Dict observations; `encoder` for an agent on images,
            or beside a file, which has its own.
        ValueError: another ending; the encoder or the image shape is missing or does not fit; a wrapper around the
            codes may change them or the actions. (A wrapper inside that changes actions, such as `RescaleAction`, is
            not in the graph; a warning names it.)
        ImportError: ``.onnx`` without the packages onnx and onnxscript.
    """
    target = Path(path)
    if target.suffix not in (".pt2", ".onnx"):
        raise ValueError(f"export_agent needs a path that ends in .pt2 or .onnx, got {target}")
    normalization: VecNormalize | Normalization | None = vec_normalize
    changer: str | None = None
    if isinstance(model, str | os.PathLike):
        if encoder is not None or latent_options is not None or vec_normalize is not None:
            raise TypeError(
                f"export_agent: {os.fspath(model)} has encoder, options and statistics of its own: leave encoder, "
                "latent_options and vec_normalize out"
            )
        archive = AgentArchive.read(Path(model))
        changer = archive.changes_actions
        if archive.wrapper is not None:
            if archive.wrapper["image_keys"] is not None:
                raise TypeError(
                    f"export_agent needs an agent that observes one Box, got one of Dict observations: {model} was "
                    f"trained on the codes of {', '.join(archive.wrapper['image_keys'])} and on the other entries"
                )
            encoder, latent_options = archive.encoder, LatentOptions(**archive.wrapper)
        model, normalization = model_of(archive, Path(model), device="cpu"), archive.normalization
    if not isinstance(model, BaseAlgorithm):
        raise TypeError(f"export_agent needs a Stable-Baselines3 model, or its file, got {type(model).__name__}")
    if target.suffix == ".onnx":
        _require_onnx()
    agent = AgentGraph(
        model, encoder=encoder, latent_options=latent_options, image_shape=image_shape, vec_normalize=normalization
    )
    venv = model.get_env()
    changer = changer if venv is None else changes_actions(venv)
    if changer is not None:
        warnings.warn(
            f"export_agent: the exported agent gives the actions of predict, in {model.action_space}; {changer} "
            "changes them on their way to the environment, so do the same where you deploy",
            stacklevel=2,
        )
    description = {
        "algorithm": type(model).__name__,
        "images": {"shape": ["batch", *agent.image_shape], "dtype": str(agent.image_dtype)},
        "actions": str(model.action_space),
        "encoder": agent.encoder and agent.encoder.fingerprint,
    }
    write = _onnx if target.suffix == ".onnx" else _pt2
    write_bytes(target, write(agent.trace(), json.dumps(description)))
    return target


def _pt2(program: torch.export.ExportedProgram, description: str) -> bytes:
    content = io.BytesIO()
    torch.export.save(program, content, extra_files={"agent.json": description})
    return content.getvalue()


def _require_onnx() -> None:
    missing = [name for name in ("onnx", "onnxscript") if importlib.util.find_spec(name) is None]
    if missing:
        raise ImportError(
            f"export_agent needs {' and '.join(missing)} for .onnx: install sparse-repr[onnx], or export to .pt2"
        )


def _onnx(program: torch.export.ExportedProgram, description: str) -> bytes:
    converted = torch.onnx.export(
        program, dynamo=True, input_names=["images"], output_names=["actions"], verbose=False, external_data=False
    )
    assert converted is not None  # with dynamo=True and no file name it is returned
    converted.model.metadata_props["agent"] = description
    content: bytes = converted.model_proto.SerializeToString()
    return content
