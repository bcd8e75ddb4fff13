"""What the speed of encoding is compared with is the same encoder."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from experiments.benchmark.encoding import bf16_deviation, eager_network, encode_eagerly, measure_encoding
from sparse_repr.data import ArrayImages, FactorDataset
from tests.conftest import make_encoder


def test_the_eager_loop_gives_the_codes_of_encode(dsprites: FactorDataset) -> None:
    encoder = make_encoder()
    images = torch.from_numpy(dsprites.images(np.arange(50)))
    eager = encode_eagerly(eager_network(encoder), images, 16)
    torch.testing.assert_close(eager, encoder.encode(images), rtol=0, atol=1e-5)


def test_measuring_names_the_fastest_eager_chunk(dsprites: FactorDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    few = FactorDataset(name="few", store=ArrayImages(dsprites.images(np.arange(200))), source="dsprites")
    results = measure_encoding(make_encoder(), few, pictures=64, chunks=(1, 32), batches=())
    large = results["large_batch_1_threads"]
    assert large["best_eager_chunk"] == 32  # one image at a time is slower by far
    assert large["images_per_s"].keys() == {"eager_1", "eager_32", "float32", "bf16"}
    assert results["latency"] == {}
    whole = results["whole_data_set"]
    assert whole["items"] == 200
    assert whole["seconds"].keys() == {"eager_32", "float32", "bf16"}


def test_the_deviation_of_bf16_is_in_standard_deviations(dsprites: FactorDataset) -> None:
    images = torch.from_numpy(dsprites.images(np.arange(0, len(dsprites), len(dsprites) // 64)))
    encoder = make_encoder()
    deviation = bf16_deviation(encoder, images)
    exact, rounded = encoder.encode(images), encoder.encode(images, precision="bf16")
    assert deviation["largest"] == pytest.approx(((rounded - exact).abs() / exact.std(0, correction=0)).max().item())
    assert 0 < deviation["root_mean_square"] < deviation["largest"]
