"""The encoders of the study of agents: frames to train on, training, and what their codes hold of each task."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from experiments.agents.arms import FOREIGN
from experiments.agents.cells import EncoderCell
from experiments.agents.frames import RANDOM_SHARE, record_agent_frames, seconds_of_recording
from experiments.agents.scales import RANDOM_FRAMES, TEST_FRAMES, TRAIN_FRAMES
from experiments.agents.small_objects import small_object_scores
from experiments.measure.foreign_networks import foreign_encoder
from experiments.measure.machine import machine_facts
from experiments.measure.side_by_side import seconds_of_all_steps, steady_clock
from experiments.study.procedure import Procedure, claimed, run_has_begun, run_steps
from sparse_repr import FrozenEncoder, load_encoder, save_encoder, untrained_encoder
from sparse_repr.data import FactorDataset, load_dataset
from sparse_repr.devices import cpu_threads
from sparse_repr.encoder.statistics import encode_dataset, kl_per_unit
from sparse_repr.evaluate.codes import choose_metrics, code_scores, disentanglement_scores
from sparse_repr.evaluate.run import EvaluateConfig, evaluate_run
from sparse_repr.files import write_json
from sparse_repr.files.json_reader import Shape, each, number, read_json, whole
from sparse_repr.pretrain.config import PretrainConfig
from sparse_repr.pretrain.trainer import pretrain_encoder

RECORD = "encoder-cell.json"
"""File of an encoder's folder that is written last: what it is, its scores, seconds and machine."""
# how exact a score is
_NO_SCORES = ("mutual_information_error_nats",)


def encoder_is_finished(cell: EncoderCell) -> bool:
    """Whether the encoder and its scores are there."""
    return (cell.folder / RECORD).is_file()


def _steps_taken(cell: EncoderCell) -> int:
    return 0 if cell.training is None else run_steps(cell.folder, cell.training)


def complete_encoders(cells: Sequence[EncoderCell], on_steps: Callable[[int], None]) -> None:
    """Train and score encoders that are neither finished nor claimed; a run goes on from its last save.

    Frames of an agent are recorded first, where they are not there.

    Args:
        cells: the encoders.
        on_steps: called with the number of steps taken since its last call.

    Raises:
        NonFiniteLossError: the loss became NaN or infinite.
        TrainingInterrupted: SIGINT or SIGTERM; the state was saved.
        FileNotFoundError: the agent that is to record is not finished.
        RecordingInterrupted: SIGINT or SIGTERM while it recorded; the same command goes on.
        ValueError, OSError: the settings, the frames or a folder cannot be used.
    """
    with claimed([cell for cell in cells if not encoder_is_finished(cell)]) as held:
        for cell in held:
            if not encoder_is_finished(cell):
                _complete(cell, on_steps)


def _complete(cell: EncoderCell, on_steps: Callable[[int], None]) -> None:
    if cell.recorded is not None:
        with cpu_threads(cell.threads):
            record_agent_frames(cell.recorded, cell.frames[TRAIN_FRAMES])
    clock = steady_clock(torch.device("cpu" if cell.training is None else cell.training.device), cell.threads)
    begun, started = _steps_taken(cell), clock()
    with cpu_threads(cell.threads):
        train = load_dataset("h5", cell.frames[TRAIN_FRAMES])
        if cell.encoder in FOREIGN:
            made = foreign_encoder(cell.encoder, train, code_size=cell.task.code_size, seed=cell.seed)
            save_encoder(made, cell.folder / "encoder.safetensors")
        elif cell.training is None:
            channels, size, _ = train.image_shape
            made = untrained_encoder(
                channels,
                size=PretrainConfig.image_size,
                source=size,
                code_size=cell.task.code_size,
                seed=cell.seed,
                data=train,
                initialisation=cell.initialisation,
            )
            save_encoder(made, cell.folder / "encoder.safetensors")
        else:
            pretrain_encoder(dataclasses.replace(cell.training, resume=run_has_begun(cell.folder)), on_steps=on_steps)
        trained = clock()
        encoder = load_encoder(cell.folder)
        test = load_dataset("h5", cell.frames[TEST_FRAMES])
        scores = _scores_of_run(cell, cell.training) if cell.training else _scores_of_codes(cell, encoder, test)
        if RANDOM_FRAMES in cell.frames:  # probes of all encoders learn from the same frames
            train = load_dataset("h5", cell.frames[RANDOM_FRAMES])
        objects = small_object_scores(encoder, train, test, cell.task)
        write_json(
            cell.folder / RECORD,
            {
                "task": cell.task_name,
                "encoder": cell.encoder,
                "seed": cell.seed,
                "fingerprint": encoder.fingerprint,
                "training": None if cell.training is None else cell.training.resolve().to_json(),
                **_told_of_recording(cell),
                "frames": {part: len(load_dataset("h5", path)) for part, path in cell.frames.items()},
                "scores": scores,
                "small_objects": objects,
                "seconds": {
                    "recording": seconds_of_recording(cell.frames[TRAIN_FRAMES]),
                    "training": seconds_of_all_steps(trained - started, steps=cell.steps, begun=begun),
                    "evaluation": round(clock() - trained, 2),
                },
                "machine": machine_facts(),
            },
        )


def _told_of_recording(cell: EncoderCell) -> dict[str, Any]:
    """Who recorded what it learned from, where that was an agent."""
    if cell.recorded is None:
        return {}
    return {"recorded_by": {"agent": cell.recorded.agent.name, "random_share": RANDOM_SHARE}}


def _scores_of_run(cell: EncoderCell, training: PretrainConfig) -> dict[str, float | None]:
    """Every scalar score of a trained one on the test frames, reconstructions included."""
    report = evaluate_run(
        EvaluateConfig(
            run=str(cell.folder),
            metrics=cell.metrics,
            image_items=cell.image_items,
            lpips_items=0,
            data_path=str(cell.frames[TEST_FRAMES]),
            device=training.device,
            threads=cell.threads,
            progress=False,
        )
    )
    # one that predicts features reconstructs no images
    images = [part["model"] for name, part in report["images"].items() if name != "protocol"]
    return {
        **{name: model[name] for model in images[:1] for name in ("psnr_db", "ssim", "contrast_slope")},
        **_scalars(report["codes"]),
        **_scalars(report.get("disentanglement", {})),
    }


def _scores_of_codes(cell: EncoderCell, encoder: FrozenEncoder, data: FactorDataset) -> dict[str, float | None]:
    """The same but for reconstructions, which an encoder alone has none of."""
    encoded = encode_dataset(encoder, data, np.arange(len(data)))
    codes = code_scores(encoded.mean, kl_per_unit(encoder, data, encoded))
    metrics = choose_metrics(cell.metrics)
    found = disentanglement_scores(encoded, data, metrics, posterior=encoder.spec.posterior)
    return {**_scalars(codes), **_scalars(found or {})}


def _scalars(part: dict[str, Any]) -> dict[str, float | None]:
    return {
        name: value
        for name, value in part.items()
        if name not in _NO_SCORES and (value is None or isinstance(value, int | float))
    }


def describe_encoder(cell: EncoderCell) -> str:
    """One line about a finished encoder."""
    shape: Shape = {"small_objects": {"position_r2": each(number())}, "scores": {"active_units": whole(0)}}
    content = read_json(cell.folder / RECORD, shape, remedy="remove it and compute that cell again")
    places = ", ".join(f"{name} {value:.2f}" for name, value in content["small_objects"]["position_r2"].items())
    return f"{cell.name}: {content['scores']['active_units']} active units, R² of places: {places}"


ENCODER_CELLS = Procedure(
    complete=complete_encoders,
    steps=lambda cell: cell.steps,
    steps_taken=_steps_taken,
    is_finished=encoder_is_finished,
    describe=describe_encoder,
    arm=lambda cell: (cell.task_name, cell.encoder),
)
"""How the encoders of `experiments.agents.cells` are computed."""
