"""Schedules of the learning rate and the batch: closed forms by hand, and runs that resume within them."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch

from sparse_repr import PretrainConfig
from sparse_repr.pretrain.batches import BatchOrder
from sparse_repr.pretrain.schedules import BatchSizes, LearningRate


def test_warm_up_and_cosine_by_hand() -> None:
    rate = LearningRate(1.0, warmup=4, decay="cosine", decay_steps=12, final=0.2)
    assert [rate(step) for step in range(5)] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert rate(8) == pytest.approx(0.6)  # halfway down
    assert rate(6) == pytest.approx(0.2 + 0.8 * (1 + math.sqrt(0.5)) / 2)  # a quarter
    assert rate(12) == rate(1000) == pytest.approx(0.2)
    constant = LearningRate(3.0, warmup=2)
    assert [constant(step) for step in (0, 1, 2, 10**6)] == [1.5, 3.0, 3.0, 3.0]


def test_the_rate_grows_again_where_optimisers_begin_anew() -> None:
    rate = LearningRate(1.0, warmup=2, restart=5, restart_warmup=4)
    assert [rate(step) for step in range(11)] == [0.5, 1.0, 1.0, 1.0, 1.0, 0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    falling, again = (
        LearningRate(1.0, decay="cosine", decay_steps=12, restart=4, restart_warmup=warmup) for warmup in (0, 4)
    )
    assert again(5) == pytest.approx(0.5 * falling(5))
    assert [again(step) for step in (0, 3, 8, 12)] == [falling(step) for step in (0, 3, 8, 12)]
    optimiser = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    LearningRate(1.0, restart=5, restart_warmup=4).set_on(optimiser, 5)
    assert optimiser.param_groups[0]["lr"] == 0.25


def test_the_rate_reaches_every_group_and_a_captured_tensor() -> None:
    parameters = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
    optimiser = torch.optim.Adam([{"params": [parameter]} for parameter in parameters], lr=0.5)
    LearningRate(0.5).set_on(optimiser, 3)
    assert [group["lr"] for group in optimiser.param_groups] == [0.5, 0.5]
    tensor = optimiser.param_groups[1]["lr"] = torch.tensor(0.5)
    LearningRate(0.5, warmup=5).set_on(optimiser, 0)
    assert optimiser.param_groups[0]["lr"] == 0.1
    assert optimiser.param_groups[1]["lr"] is tensor
    assert tensor == pytest.approx(0.1)


def test_batch_sizes_by_hand() -> None:
    sizes = BatchSizes(32, 8, 3)
    assert [sizes.size(step) for step in range(9)] == [8, 8, 8, 16, 16, 16, 32, 32, 32]
    assert [sizes.position(step) for step in range(9)] == [0, 8, 16, 24, 40, 56, 72, 104, 136]
    assert sizes.position(10**9) == 72 + 32 * (10**9 - 6)
    assert (BatchSizes(64).size(7), BatchSizes(64).position(7)) == (64, 448)
    assert sizes.stages(8) == [(8, 3), (16, 3), (32, 2)]
    assert BatchSizes(64).stages(3) == [(64, 3)]
    doubled = sizes.times(2)
    assert [doubled.size(step) for step in (0, 3, 6)] == [16, 32, 64]
    assert doubled.position(7) == 2 * sizes.position(7)


def test_growing_batches_walk_through_the_data_without_gaps() -> None:
    items = np.arange(100, 150)
    sizes = BatchSizes(8, 2, 4)
    grown = np.concatenate([BatchOrder(items, sizes, seed=3)(step) for step in range(15)])
    steady = np.concatenate([BatchOrder(items, BatchSizes(2), seed=3)(step) for step in range(len(grown) // 2)])
    assert len(grown) == sizes.position(15) == 4 * 2 + 4 * 4 + 7 * 8
    assert np.array_equal(grown, steady)
    assert sorted(grown[:50]) == items.tolist()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"learning_rate_decay": "cosin"}, "Did you mean 'cosine'"),
        ({"learning_rate_warmup": -1}, "learning_rate_warmup needs a whole number of at least 0, got -1"),
        ({"learning_rate_decay_steps": 5}, "need learning_rate_decay 'cosine', got 'constant'"),
        ({"final_learning_rate": 1e-5}, "need learning_rate_decay 'cosine', got 'constant'"),
        ({"learning_rate_decay": "cosine", "learning_rate_warmup": 9, "steps": 9}, "end after the .* of 9 steps"),
        ({"learning_rate_decay": "cosine", "final_learning_rate": 1.0}, r"a number in 0\.\.0\.0005, got 1\.0"),
        ({"first_batch_size": 16}, "need each other, got 16 and None"),
        ({"batch_growth_steps": 5}, "need each other, got None and 5"),
        ({"first_batch_size": 16, "batch_growth_steps": 0}, "batch_growth_steps needs .* at least 1, got 0"),
        ({"first_batch_size": 24, "batch_growth_steps": 5}, "batch_size 64 halved a number of times.*got 24"),
        ({"first_batch_size": 0, "batch_growth_steps": 5}, "batch_size 64 halved a number of times.*got 0"),
        ({"first_batch_size": 128, "batch_growth_steps": 5}, "batch_size 64 halved a number of times.*got 128"),
        (
            {"objective": "factor_vae", "first_batch_size": 1, "batch_growth_steps": 5},
            "a first_batch_size of at least 4",
        ),
        ({"weight_averaging": 1.0}, r"weight_averaging needs a number of at least 0 and below 1, got 1\.0"),
        ({"initialisation": "h"}, "unknown initialisation 'h'"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_schedules_that_do_not_fit_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PretrainConfig(**settings)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"peak": 0.0}, r"learning_rate needs a positive number, got 0\.0"),
        ({"peak": math.nan}, "learning_rate needs a positive number, got nan"),
        ({"warmup": -1}, "learning_rate_warmup needs a whole number of at least 0, got -1"),
        ({"restart_warmup": -1}, "opening_warmup needs a whole number of at least 0, got -1"),
        ({"decay": "cosin"}, "unknown learning-rate decay 'cosin'. Did you mean 'cosine'"),
        ({"decay_steps": 9}, "need learning_rate_decay 'cosine', got 'constant'"),
        ({"final": 0.1}, "need learning_rate_decay 'cosine', got 'constant'"),
        ({"decay": "cosine"}, "after the learning_rate_warmup of 0 steps, got step None: set learning_rate_decay_s"),
        ({"decay": "cosine", "warmup": 9, "decay_steps": 9}, "after the .* of 9 steps, got step 9"),
        (
            {"decay": "cosine", "decay_steps": 9, "final": 2.0},
            r"final_learning_rate needs a number in 0\.\.1\.0, got 2",
        ),
    ],
)
def test_a_learning_rate_checks_itself(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LearningRate(**{"peak": 1.0, **changes})


def test_batch_sizes_check_themselves() -> None:
    for first, growth, message in (
        (16, None, "need each other, got 16 and None"),
        (None, 5, "need each other, got None and 5"),
        (16, 0, "batch_growth_steps needs a whole number of at least 1, got 0"),
        (24, 5, "batch_size 64 halved a number of times.*got 24"),
    ):
        with pytest.raises(ValueError, match=message):
            BatchSizes(64, first, growth)


def test_the_end_of_the_cosine_is_settled_when_the_run_starts() -> None:
    config = PretrainConfig(learning_rate_decay="cosine", steps=300).resolve()
    assert config.learning_rate_decay_steps == 300
    assert dataclasses.replace(config, steps=900).resolve().learning_rate_decay_steps == 300
    assert PretrainConfig().resolve().learning_rate_decay_steps is None
