"""What units do on a data set: their KL from the prior that they were trained with."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from sparse_repr import FrozenEncoder
from sparse_repr.data import ArrayImages, FactorDataset
from sparse_repr.encoder.statistics import EncodedItems, kl_per_unit
from sparse_repr.objectives import laplace_kl_divergence
from tests.conftest import make_encoder


def test_a_unit_at_its_laplace_prior_has_little_kl() -> None:
    encoder = make_encoder(1)
    described = {**encoder.spec.objective, "name": "laplace_prior", "options": {"prior_scale": 0.1}}
    spec = dataclasses.replace(encoder.spec, objective=described, posterior="gaussian")
    laplace = FrozenEncoder(spec, encoder.network().state_dict())
    normal = FrozenEncoder(dataclasses.replace(encoder.spec, posterior="gaussian"), encoder.network().state_dict())
    mean = np.zeros((3, 4), np.float32)
    log_variance = np.full((3, 4), np.log(0.02), np.float32)  # the variance of that prior
    items = EncodedItems(np.arange(3), mean, log_variance)
    data = FactorDataset(name="none", store=ArrayImages(np.zeros((3, 1, 64, 64), np.uint8)), source="drawn")
    expected = laplace_kl_divergence(torch.from_numpy(mean), torch.from_numpy(log_variance), scale=0.1).mean(0).tolist()
    assert kl_per_unit(laplace, data, items) == pytest.approx(expected)
    assert max(expected) < 0.06
    assert min(kl_per_unit(normal, data, items)) > 1.4
