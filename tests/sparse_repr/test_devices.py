"""What is asked of a device, and what float32 means on one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from sparse_repr import untrained_encoder
from sparse_repr.data import FactorDataset
from sparse_repr.devices import resolve_precision, whole_float32
from sparse_repr.encoder import frozen
from sparse_repr.encoder.statistics import encode_dataset

BACKENDS: Any = torch.backends


def _precisions() -> tuple[str, str]:
    return BACKENDS.cudnn.conv.fp32_precision, BACKENDS.cuda.matmul.fp32_precision


def test_float32_is_whole_inside_the_block_alone() -> None:
    before = _precisions()
    assert before[0] == "tf32"  # torch's default
    with contextlib.suppress(KeyError), whole_float32(torch.device("cuda")):
        assert _precisions() == ("ieee", "ieee")
        raise KeyError
    assert _precisions() == before
    with whole_float32(torch.device("cpu")):
        assert _precisions() == before


def test_codes_are_computed_in_whole_float32_unless_asked_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    entered: list[str] = []

    @contextlib.contextmanager
    def whole(device: torch.device) -> Iterator[None]:
        entered.append(device.type)
        yield

    monkeypatch.setattr(frozen, "whole_float32", whole)
    encoder, images = untrained_encoder(channels=1), np.zeros((2, 1, 64, 64), np.uint8)
    encoder.encode(images)
    assert entered == ["cpu"]
    encoder.encode(images, precision="bf16")
    assert entered == ["cpu"]


def test_each_card_is_asked_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    current: list[torch.device] = []

    @contextlib.contextmanager
    def device(place: torch.device) -> Iterator[None]:
        current.append(place)
        yield
        current.pop()

    def supported(including_emulation: bool) -> bool:
        assert not including_emulation
        return current == [torch.device("cuda:1")]

    monkeypatch.setattr(torch.cuda, "device", device)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    assert resolve_precision("auto", torch.device("cuda:1")) == "bf16"
    assert resolve_precision("auto", torch.device("cuda:0")) == "float32"


@pytest.mark.gpu
def test_codes_on_a_gpu_are_those_of_the_cpu(dsprites: FactorDataset) -> None:
    encoder = untrained_encoder(channels=1, data=dsprites, initialisation="he")
    items = np.arange(0, len(dsprites), 1_000)
    on_cpu, on_gpu = (encode_dataset(encoder, dsprites, items, device=place) for place in ("cpu", "cuda"))
    # TF32 has 10 bits, 1e-3
    np.testing.assert_allclose(on_gpu.mean, on_cpu.mean, atol=1e-4 * on_cpu.mean.std())
    np.testing.assert_allclose(on_gpu.log_variance, on_cpu.log_variance, atol=1e-4 * on_cpu.log_variance.std())
