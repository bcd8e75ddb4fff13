from __future__ import annotations

import dataclasses
import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import threadpoolctl
import torch

import sparse_repr.pretrain.config
from rl.dictionary import DictionaryConfig
from rl.recodings import recoding_of
from rl.record_config import RecordConfig
from sparse_repr import PretrainConfig, pretrain_encoder
from sparse_repr.data import DATASETS
from sparse_repr.devices import cpu_threads, resolve_device, resolve_precision
from sparse_repr.evaluate import EvaluateConfig
from sparse_repr.models import ARCHITECTURES
from sparse_repr.objectives import OBJECTIVES
from sparse_repr.objectives.reconstruction import RECONSTRUCTIONS
from sparse_repr.pretrain.__main__ import main
from sparse_repr.pretrain.presets import PRESETS, preset_config

PERCEPTUAL = {"perceptual_weight": 1.0}


def test_defaults_are_the_published_protocol() -> None:
    config = PretrainConfig()
    assert (config.batch_size, config.code_size, config.image_size) == (64, 10, 64)
    assert (config.learning_rate, config.steps) == (5e-4, 100_000)
    assert (config.objective, config.pixel_reconstruction(), config.architecture) == ("sparse", "bernoulli", "burgess")
    assert config.objective_weights() == {"beta": 1.0, "sparsity_weight": 1.0}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dataset": "dsprits"}, "unknown data set 'dsprits'. Did you mean 'dsprites'"),
        ({"objective": "sparce"}, "unknown objective 'sparce'. Did you mean 'sparse'"),
        ({"reconstruction": "gausian"}, "Did you mean 'gaussian'"),
        ({"architecture": "burges"}, "Did you mean 'burgess'"),
        ({"code_size": 0}, "code_size needs a whole number in 1..100000, got 0"),
        ({"steps": 1.5}, "steps needs a whole number"),
        ({"batch_size": -4}, "batch_size needs"),
        ({"image_size": 60}, "image_size needs 64 or 32, got 60"),
        ({"learning_rate": 0.0}, "learning_rate needs a positive number"),
        ({"seed": -1}, "seed needs"),
        ({"threads": 0}, "threads needs"),
        ({"objective": "vae", "sparsity_weight": 1.0}, "objective 'vae' has no sparsity_weight"),
        ({"objective": "vaease", "reconstruction": "bernoulli"}, "learns the variance of a squared error, got recon"),
        (
            {"objective": "vaease", "reconstruction": "gaussian", "pixel_weight": 0.1},
            r"pixel_weight 0\.1 would change nothing",
        ),
        ({**PERCEPTUAL, "perceptual_levels": "8:1/00"}, "perceptual_levels needs resolutions separated by commas"),
        (
            {**PERCEPTUAL, "objective": "sparse_keypoints", "pixel_weight": 0.0},
            "presence_weight is a share of what the background loses in pixels",
        ),
        ({"objective": "vae", "capacity_nats": 5.0}, "objective 'vae' has no capacity_nats; .* it: beta_vae_capacity"),
        (
            {"objective": "beta_vae", "architecture": "burgess_spike_and_slab"},
            "'beta_vae' cannot train .* leave architecture \\(--arch",
        ),
        (
            {"objective": "top_k", "code_size": 10, "units_per_image": 11},
            "units_per_image needs at most code_size, 10 units, got 11",
        ),
        (
            {"objective": "rectified_gaussian", "code_size": 10, "units_per_image": 10},
            "units_per_image needs fewer than code_size, 10 units, got 10",
        ),
        ({"objective": "info_gan", "architecture": "burgess_shrinkage"}, "needs an encoder that ends in gaussian"),
        (
            {"objective": "info_gan", "perceptual_weight": 1.0},
            "takes no pixel_weight, saliency_weight or perceptual_weight: it never",
        ),
        ({"objective": "iwae", "perceptual_weight": 1.0}, "its bound needs the reconstruction to be a likelihood"),
        ({"objective": "factor_vae", "batch_size": 3}, "needs a batch_size of at least 4 to estimate its terms"),
        ({"objective": "beta_tcvae", "batch_size": 1}, "needs a batch_size of at least 2"),
        ({"pixel_weight": 0.0}, "pixel_weight 0 needs a positive perceptual_weight, got 0: nothing would be"),
        ({"perceptual_weight": -1.0}, "perceptual_weight needs a finite number of at least 0, got -1"),
        ({"perceptual_weight": float("nan")}, "perceptual_weight needs a finite number"),
        ({"perceptual_features": "vgg"}, "unknown perceptual features 'vgg'. Did you mean 'vgg16'"),
        ({"perceptual_layers": "relu9_1"}, "unknown perceptual layer 'relu9_1'"),
        ({"style_weight": 1.0}, "style_weight needs a positive perceptual_weight and perceptual_features 'vgg16'"),
        ({"perceptual_resolution": 32}, "perceptual_resolution needs a positive perceptual_weight, got 0: there is no"),
        ({"perceptual_every": 2}, "perceptual_every needs a positive perceptual_weight, got 0"),
        ({"perceptual_images": 16}, "perceptual_images needs a positive perceptual_weight, got 0"),
        ({**PERCEPTUAL, "perceptual_every": 0}, "perceptual_every needs a whole number of at least 1, got 0"),
        (
            {**PERCEPTUAL, "perceptual_every": 2, "pixel_weight": 0.0},
            "perceptual_every 2 needs a positive pixel_weight, got 0: nothing would be reconstructed at the steps",
        ),
        ({**PERCEPTUAL, "perceptual_images": 48}, "perceptual_images needs a divisor of batch_size 64, got 48"),
        ({**PERCEPTUAL, "perceptual_images": 0}, "perceptual_images needs a divisor of batch_size 64, got 0"),
        ({**PERCEPTUAL, "perceptual_resolution": 48}, "needs a divisor of image_size 64 of at least 8, got 48"),
        ({**PERCEPTUAL, "perceptual_resolution": 4}, "needs a divisor of image_size 64 of at least 8, got 4"),
        (
            {**PERCEPTUAL, "perceptual_resolution": 32, "perceptual_features": "dae"},
            "perceptual_resolution needs perceptual_features 'vgg16', got 'dae'",
        ),
        ({"dae_steps": 0}, "dae_steps needs a whole number of at least 1, got 0"),
        ({"perceptual_features": "dae"}, "perceptual_features 'dae' needs a positive perceptual_weight, got 0"),
        ({"perceptual_layers": "relu4_3"}, "perceptual_layers 'relu4_3' needs a positive perceptual_weight, got 0"),
        (
            {**PERCEPTUAL, "pixel_weight": 0.0, "saliency_weight": 5.0},
            "saliency_weight weighs pixels, and pixel_weight is 0",
        ),
        ({"saliency_weight": 5.0, "random_shift": 4}, "median image, which random_shift does not move"),
        (
            {"sparsity_target": "weights", "sparsity_proximal": True, "weight_averaging": 0.9},
            "sparsity_proximal makes weights exactly 0, and an average over steps has none",
        ),
        (
            {"objective": "feature_prediction", "feature_network": "dae", "feature_grid": 7},
            "feature_grid is of feature_network 'vgg16'",
        ),
    ],
)
def test_bad_settings_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(PretrainConfig(), **change)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("preset", "steps", "late"),
    [
        ("dsprites/sparse/turned", 2_000, ["closed units are opened at step 2,560 (opening_step)"]),
        (
            "dsprites/sparse_perceptual/opened",
            9_000,
            ["the L1 penalty counts from step 9,500", "features at all resolutions are compared from step"],
        ),
        ("npz/jump_relu", 300, ["units that are not 0 have their price from step 1,000 (nonzero_warmup)"]),
        ("npz/sparse_keypoints", 300, ["presences have their price from step 1,000 (presence_warmup)"]),
        ("npz/top_k", 300, ["as few units as encode images are trained from step 1,000 (units_per_image_steps)"]),
    ],
)
def test_schedules_that_outlast_the_steps_are_told_of(preset: str, steps: int, late: list[str]) -> None:
    whole = preset_config(preset)
    assert whole.never_reached() == []
    short = dataclasses.replace(whole, steps=steps).never_reached()
    for words in late:
        assert any(found.startswith(words.split(" at all")[0]) for found in short), short


def test_warm_ups_that_outlast_the_steps_are_told_of() -> None:
    config = PretrainConfig(steps=100)
    kl = dataclasses.replace(config, objective="beta_vae", beta=4.0, beta_steps=101)
    assert kl.never_reached() == ["the KL term has its weight from step 101 (beta_steps)"]
    assert dataclasses.replace(kl, steps=101).never_reached() == []
    sparse = dataclasses.replace(config, objective="sparse", sparsity_weight=1.0, sparsity_start=60, sparsity_warmup=41)
    assert sparse.never_reached() == ["the L1 penalty has its weight from step 101 (sparsity_warmup)"]
    assert dataclasses.replace(sparse, sparsity_weight=0.0).never_reached() == []
    late = dataclasses.replace(sparse, sparsity_start=100)
    assert late.never_reached() == ["the L1 penalty counts from step 100 (sparsity_start)"]
    capacity = dataclasses.replace(config, objective="beta_vae_capacity", capacity_nats=25.0, capacity_steps=200)
    assert capacity.never_reached() == ["the code has its whole capacity from step 200 (capacity_steps)"]
    plain = dataclasses.replace(config, objective="vae", beta_start=8.0, beta_steps=1_000)
    assert plain.never_reached() == ["the KL term has its weight from step 1,000 (beta_steps)"]
    rate = dataclasses.replace(config, learning_rate_warmup=101)
    assert rate.never_reached() == ["the learning rate is whole from step 101 (learning_rate_warmup)"]
    batches = dataclasses.replace(config, batch_size=64, first_batch_size=16, batch_growth_steps=60)
    assert batches.never_reached() == ["batches have batch_size images from step 120 (batch_growth_steps)"]
    opened = dataclasses.replace(config, objective="vae", opening_step=50, opening_steps=60)
    assert opened.never_reached() == ["the KL term has its weight again from step 110 (opening_steps)"]
    pixels = dataclasses.replace(
        config, perceptual_weight=1.0, perceptual_features="dae", pixel_start=1.0, pixel_steps=200
    )
    assert pixels.never_reached() == ["pixels count with pixel_weight from step 200 (pixel_steps)"]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"objective": "info_gan", "reconstruction": "laplace"},
            "compares no reconstruction, got reconstruction 'lapl",
        ),
        (
            {"objective": "vaease", "perceptual_weight": 7.0, "perceptual_features": "dae", "pixel_weight": 0.0},
            "perceptual_weight 7 would change nothing",
        ),
        ({"learning_rate_decay": "cosine", "learning_rate_decay_steps": 0}, "the cosine needs to end after"),
        (
            {"perceptual_weight": 1.0, "perceptual_features": "dae", "perceptual_weights_path": "vgg.pth"},
            "perceptual_weights_path 'vgg.pth' is of perceptual_features 'vgg16'",
        ),
    ],
)
def test_what_would_change_nothing_is_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        PretrainConfig(**settings)


@pytest.mark.parametrize("preset", PRESETS)
def test_schedules_of_presets_end_with_their_steps(preset: str) -> None:
    assert preset_config(preset).never_reached() == []


def test_resolve_leaves_nothing_to_chance() -> None:
    resolved = PretrainConfig(device="cpu").resolve()
    assert resolved.device == "cpu"
    assert resolved.precision in ("float32", "bf16")
    assert resolved.threads == torch.get_num_threads()
    assert (resolved.beta, resolved.sparsity_weight) == (1.0, 1.0)
    assert resolved.run_dir == "runs/dsprites-sparse-seed0"
    assert (resolved.sparsity_target, resolved.sparsity_warmup, resolved.beta) == ("mean", 0, 1.0)
    assert resolved.resolve() == resolved
    spiky = PretrainConfig(objective="spike_and_slab").resolve()
    assert (spiky.architecture, spiky.slab_probability) == ("burgess_spike_and_slab", 0.2)
    assert spiky.resolve() == spiky


def test_every_field_has_its_docstring_and_help_has_every_name(capsys: pytest.CaptureFixture[str]) -> None:
    source = Path(sparse_repr.pretrain.config.__file__).read_text(encoding="utf-8")
    for field in dataclasses.fields(PretrainConfig):
        assert re.search(rf'\n    {field.name}: [^\n]+\n    """', source), f"{field.name} has no docstring"
    with pytest.raises(SystemExit):
        main(["--help"])
    told = capsys.readouterr().out
    for names in (DATASETS, OBJECTIVES, RECONSTRUCTIONS, ARCHITECTURES):
        for name in names:
            assert re.search(rf"\b{name}\b", told), f"--help does not mention {name}"


def test_devices_and_precisions() -> None:
    cpu = torch.device("cpu")
    assert resolve_device("cpu") == cpu
    assert resolve_precision("bf16", cpu) == "bf16"
    assert resolve_precision("float32", cpu) == "float32"
    with pytest.raises(ValueError, match="device needs one of auto, cpu, cuda, mps, got 'gpu'"):
        resolve_device("gpu")
    with pytest.raises(ValueError, match="precision needs one of auto, float32, bf16, got 'fp16'"):
        resolve_precision("fp16", cpu)
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="device 'cuda' is not available here"):
            resolve_device("cuda")


def test_threads_are_those_of_every_library_and_are_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)

    def blas() -> set[int]:
        return {pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"}

    with cpu_threads(2) as count:
        assert (count, torch.get_num_threads(), blas()) == (2, 2, {2})
        with pytest.raises(ZeroDivisionError), cpu_threads(1):
            assert (torch.get_num_threads(), blas()) == (1, {1})
            assert os.environ["OMP_NUM_THREADS"] == os.environ["OPENBLAS_NUM_THREADS"] == "1"
            _ = 1 / 0
        assert (torch.get_num_threads(), blas()) == (2, {2})
    assert os.environ["OMP_NUM_THREADS"] == "3"
    assert "OPENBLAS_NUM_THREADS" not in os.environ
    with cpu_threads(None) as count:
        assert count == torch.get_num_threads()
        assert os.environ["OMP_NUM_THREADS"] == "3"


def test_the_reconstruction_is_the_objectives_own_unless_set() -> None:
    assert PretrainConfig(objective="vaease").resolve().reconstruction == "gaussian"
    assert PretrainConfig(objective="vae").resolve().reconstruction == "bernoulli"
    assert PretrainConfig(objective="vae", reconstruction="laplace").resolve().reconstruction == "laplace"


def test_a_perceptual_preset_takes_other_features() -> None:
    assert preset_config("celeba/perceptual", perceptual_features="dae").perceptual_features == "dae"


def test_numbers_of_numpy_become_plain_ones() -> None:
    given = PretrainConfig(seed=np.int64(3), steps=np.int32(7), learning_rate=np.float32(0.5), progress=np.bool_(False))
    assert given == PretrainConfig(seed=3, steps=7, learning_rate=0.5, progress=False)
    json.dumps(given.to_json())
    with pytest.raises(ValueError, match="seed needs a whole number"):
        PretrainConfig(seed=np.float64(3.0))


def test_numbers_of_numpy_count_in_other_settings() -> None:
    two = np.int64(2)
    assert RecordConfig("e", out="x.h5", frames=two, random_share=np.float32(0.5)) == RecordConfig(
        "e", out="x.h5", frames=2, random_share=0.5
    )
    assert DictionaryConfig(run="x", steps=two, items=two) == DictionaryConfig(run="x", steps=2, items=2)
    assert EvaluateConfig("x", sample=two) == EvaluateConfig("x", sample=2)
    assert recoding_of({"name": "expand", "k": two}) == recoding_of({"name": "expand", "k": 2})


def test_settings_that_are_none_are_refused_by_pretrain_encoder() -> None:
    with pytest.raises(TypeError, match="pretrain_encoder needs a PretrainConfig, got dict"):
        pretrain_encoder({"dataset": "dsprites"})  # type: ignore[arg-type]
