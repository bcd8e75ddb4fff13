"""Codes and their exact mutual information with the factors, on the device against the CPU."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from experiments.gpu.record import Work
from experiments.gpu.ways import config_for
from sparse_repr import FrozenEncoder, load_encoder, pretrain_encoder
from sparse_repr.data import FactorDataset, load_dataset
from sparse_repr.encoder.statistics import EncodedItems, encode_dataset
from sparse_repr.metrics import mig_score, mutual_information_matrix
from sparse_repr.pretrain.run_folder import read_settings


def measure_evaluation(work: Work) -> None:
    """Encode and integrate on both."""
    work.do("evaluation", {"encoding": lambda: _encoding(work), "mutual information": lambda: _information(work)})


def _encoder(work: Work) -> FrozenEncoder:
    """Of a run that is trained here the first time."""
    folder = work.runs / "evaluated"
    config = dataclasses.replace(
        config_for(work.sizes.device, "float32", "none", seed=0),
        steps=work.sizes.trained_steps,
        run_dir=str(folder),
        resume=True,
    )
    if not _is_trained(folder, work.sizes.trained_steps):
        pretrain_encoder(config)
    return load_encoder(folder)


def _is_trained(folder: Path, steps: int) -> bool:
    return (folder / "encoder.safetensors").is_file() and read_settings(folder)["steps"] == steps


def _items(work: Work, data: FactorDataset) -> np.ndarray[Any, np.dtype[np.int64]]:
    count = min(work.sizes.items, len(data))
    return np.sort(np.random.default_rng(0).choice(len(data), count, replace=False)).astype(np.int64)


def _encoded(work: Work, encoder: FrozenEncoder, device: str) -> tuple[EncodedItems, float]:
    data = load_dataset("dsprites")
    items = _items(work, data)
    encode_dataset(encoder, data, items[:512], device=device)  # kernels chosen, data on the device
    started = time.perf_counter()
    return encode_dataset(encoder, data, items, device=device), time.perf_counter() - started


def _encoding(work: Work) -> dict[str, Any]:
    encoder = _encoder(work)
    (on_cpu, cpu_s), (found, device_s) = (_encoded(work, encoder, place) for place in ("cpu", work.sizes.device))
    spread = on_cpu.mean.std(0).clip(1e-12)
    return {
        "images": len(on_cpu.items),
        "cpu_images_per_s": len(on_cpu.items) / cpu_s,
        "device_images_per_s": len(on_cpu.items) / device_s,
        "mean_difference_in_standard_deviations": float((np.abs(found.mean - on_cpu.mean) / spread).max()),
        "log_variance_difference": float(np.abs(found.log_variance - on_cpu.log_variance).max()),
    }


def _information(work: Work) -> dict[str, Any]:
    data = load_dataset("dsprites")
    codes, _ = _encoded(work, _encoder(work), "cpu")
    assert data.factors is not None
    factors = torch.from_numpy(data.factors[codes.items])
    mean, log_variance = torch.from_numpy(codes.mean), torch.from_numpy(codes.log_variance)
    found, seconds = [], []
    for place in ("cpu", work.sizes.device):
        tensors = [tensor.to(place) for tensor in (mean, log_variance, factors)]
        mutual_information_matrix(*(tensor[:512] for tensor in tensors))
        started = time.perf_counter()
        found.append(mutual_information_matrix(*tensors))
        seconds.append(time.perf_counter() - started)
    on_cpu, on_device = found
    return {
        "items": len(codes.items),
        "cpu_s": seconds[0],
        "device_s": seconds[1],
        "difference_nats": float(np.abs(on_cpu.matrix - on_device.matrix).max()),
        "error_nats": float(on_cpu.error_nats),
        "mig_on_cpu": mig_score(on_cpu.matrix, on_cpu.factor_entropies_nats),
        "mig_on_device": mig_score(on_device.matrix, on_device.factor_entropies_nats),
    }
