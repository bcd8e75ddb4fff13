"""Every objective improves its own bound on a slice of dSprites; runs of the new kinds resume bit-identically."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch

from rl import LatentExtractor, LatentObservation
from sparse_repr import FrozenEncoder, PretrainConfig, load_encoder, pretrain_encoder
from sparse_repr.data import FactorDataset
from sparse_repr.data.base import ArrayImages
from sparse_repr.encoder import EncoderSpec
from sparse_repr.encoder.vae import load_vae
from sparse_repr.evaluate.report import summary
from sparse_repr.evaluate.run import EvaluateConfig, evaluate_run
from sparse_repr.objectives import OBJECTIVES
from sparse_repr.perceptual import VGG_LAYERS
from sparse_repr.perceptual.variances import FeatureVariances
from sparse_repr.pretrain.trainer import Trainer
from tests import fetching_nothing
from tests.sparse_repr.pretrain.test_trainer import _same, _state

OFF = torch.autocast("cpu", enabled=False)
SMALL = PretrainConfig(
    image_size=32, batch_size=16, learning_rate=1e-3, log_every=100, precision="float32", device="cpu", progress=False
)


@pytest.fixture(autouse=True)
def _smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    """A narrower discriminator: the tests are not about it."""
    monkeypatch.setattr("sparse_repr.objectives.factor_vae._WIDTH", 200)


@pytest.fixture(scope="module")
def slice_of_dsprites(dsprites: FactorDataset) -> FactorDataset:
    """1,024 items with every factor, shapes and positions above all."""
    items = np.random.default_rng(0).choice(len(dsprites), 1024, replace=False)
    assert dsprites.factors is not None
    assert dsprites.factor_values is not None
    return dataclasses.replace(
        dsprites,
        store=ArrayImages(dsprites.images(items)),
        factors=dsprites.factors[items],
        factor_values=dsprites.factor_values[items],
    )


@pytest.mark.parametrize("name", list(OBJECTIVES))
def test_every_objective_improves_its_own_bound(name: str, slice_of_dsprites: FactorDataset) -> None:
    # under the published weight of 100 so quick a schedule is filled by a constant code, with some seeds and processors
    capacity = {"capacity_steps": 150, "capacity_weight": 10.0} if name == "beta_vae_capacity" else {}
    config = dataclasses.replace(SMALL, **fetching_nothing(name), **capacity)  # type: ignore[arg-type]
    trainer = Trainer(config.resolve(), slice_of_dsprites)
    trainer.prepare()
    terms = [trainer.train_step() for _ in range(150)]
    # InfoGAN's loss is relative to its discriminator: its bound is the one on the mutual information
    bounds = np.array([-float(term["information"]) if name == "info_gan" else float(term["loss"]) for term in terms])
    first, last = bounds[:10].mean(), bounds[-30:].mean()
    assert np.isfinite(bounds).all()
    if name == "info_gan":
        assert last < first - 0.3
    else:
        assert last < 0.5 * first


@pytest.mark.parametrize(
    "changes",
    [
        {"objective": "factor_vae"},
        {"objective": "factor_vae", "discriminator_batch": "split"},
        {"objective": "info_gan"},
        {"objective": "spike_and_slab"},
        {"objective": "top_k", "units_per_image_steps": 6},
        {"objective": "batch_top_k", "precision": "bf16"},
        {"objective": "jump_relu", "nonzero_warmup": 6},
        {"objective": "rectified_gaussian"},
        {"objective": "vaease", "precision": "bf16"},
        {"objective": "latent_quantisation"},
        {"objective": "beta_vae_capacity", "capacity_steps": 20},
        {"objective": "sparse", "sparsity_target": "weights", "sparsity_proximal": True, "sparsity_warmup": 20},
        {"objective": "sparse", "perceptual_weight": 1.0, "perceptual_features": "dae", "dae_steps": 5},
        {"objective": "feature_prediction", "feature_network": "dae", "dae_steps": 5},
    ],
    ids=lambda changes: "-".join(map(str, changes.values())),
)
def test_a_run_in_two_parts_is_bit_identical(
    changes: dict[str, object], dsprites: FactorDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = dataclasses.replace(SMALL, steps=9, **changes)  # type: ignore[arg-type]
    whole = pretrain_encoder(dataclasses.replace(config, run_dir=str(tmp_path / "whole")))
    parts = dataclasses.replace(config, run_dir=str(tmp_path / "parts"))
    pretrain_encoder(dataclasses.replace(parts, steps=4))
    if "dae_steps" in changes:
        monkeypatch.setattr(
            "sparse_repr.perceptual.denoising.DenoisingFeatures.train", lambda *_: pytest.fail("trained again")
        )
    pretrain_encoder(dataclasses.replace(parts, resume=True))
    assert _same(_state(tmp_path / "parts"), _state(whole))
    assert (tmp_path / "parts" / "encoder.safetensors").read_bytes() == (whole / "encoder.safetensors").read_bytes()


def test_the_state_holds_every_optimiser(dsprites: FactorDataset, tmp_path: Path) -> None:
    for name, further in (("factor_vae", "discriminator"), ("info_gan", "discriminator")):
        config = dataclasses.replace(SMALL, steps=1, objective=name, run_dir=str(tmp_path / name))
        state = _state(pretrain_encoder(config))["objective"]
        assert isinstance(state, dict)
        assert {"vae", "optimiser", further, "discriminator_optimiser"} <= state.keys()
        assert all(state[optimiser]["state"] for optimiser in ("optimiser", "discriminator_optimiser"))


def test_a_spike_and_slab_artefact_says_so_and_is_scored_by_histograms(dsprites: FactorDataset, tmp_path: Path) -> None:
    config = dataclasses.replace(SMALL, steps=3, objective="spike_and_slab", run_dir=str(tmp_path / "run"))
    run = pretrain_encoder(config)
    encoder, (vae, _) = load_encoder(run), load_vae(run)
    assert (encoder.spec.posterior, encoder.spec.architecture) == ("spike_and_slab", "burgess_spike_and_slab")
    images = dsprites.images(np.arange(0, 700_000, 70_000))
    components = vae.encoder.components(encoder.preprocessing(torch.from_numpy(images)))
    gamma = torch.sigmoid(components.slab_logit)
    torch.testing.assert_close(torch.from_numpy(encoder.encode(images)), gamma * components.mean, rtol=1e-4, atol=1e-5)
    chosen = "mig,aam,mig_histogram"
    report = evaluate_run(EvaluateConfig(run=str(run), sample=500, metrics=chosen, image_items=200, progress=False))
    scores = report["disentanglement"]
    assert "mig_histogram" in scores
    assert not {"mig", "aam", "mig_without_shape", "mutual_information_nats"} & scores.keys()
    assert scores["notes"]["mig"].startswith("a spike_and_slab posterior has no exact mutual information")
    assert report["codes"]["kl_nats"] > 0
    assert not (run / "figures" / "mutual_information.png").exists()
    header = encoder.spec.to_header()
    for change, message in (
        ({"posterior": "gaussian"}, "burgess_spike_and_slab has a spike_and_slab posterior, not gaussian"),
        ({"posterior": "student"}, "posterior needs one of gaussian, spike_and_slab, point, vaease, found 'student'"),
    ):
        with pytest.raises(ValueError, match=message):
            EncoderSpec.from_header({**header, **change}, "file")


@pytest.mark.parametrize(
    ("objective", "architecture", "changes"),
    [
        ("top_k", "burgess_top_k", {"units_per_image": 3}),
        ("batch_top_k", "burgess_thresholded", {"units_per_image": 3, "precision": "bf16"}),
        ("jump_relu", "burgess_thresholded", {"precision": "bf16"}),
        ("rectified_gaussian", "burgess_rectified", {"units_per_image": 3, "precision": "bf16"}),
        ("vaease", "burgess_vaease", {"precision": "bf16"}),
        ("latent_quantisation", "burgess_quantised", {"precision": "bf16"}),
    ],
)
def test_a_wide_code_that_is_no_gaussian_is_an_encoder_like_any_other(
    objective: str, architecture: str, changes: dict[str, object], dsprites: FactorDataset, tmp_path: Path
) -> None:
    config = dataclasses.replace(SMALL, objective=objective, code_size=64, **changes, run_dir=str(tmp_path / "run"))  # type: ignore[arg-type]
    run = pretrain_encoder(dataclasses.replace(config, steps=3, picture_every=3))
    encoder = load_encoder(run)
    posterior = "vaease" if objective == "vaease" else "point"
    assert (encoder.spec.posterior, encoder.spec.architecture) == (posterior, architecture)
    assert FrozenEncoder.from_bytes(encoder.to_bytes()) == encoder
    images = dsprites.images(np.arange(0, 700_000, 70_000))
    codes, log_variance = encoder.posterior(images)
    if posterior == "point":
        assert set(log_variance.flatten().tolist()) == {-30.0}
        if objective != "latent_quantisation":
            assert (codes >= 0).all()
            assert (codes == 0).any()
    if objective == "top_k":
        assert ((codes != 0).sum(1) <= 3).all()
    report = evaluate_run(
        EvaluateConfig(run=str(run), sample=500, metrics="mig,aam,mig_histogram", image_items=200, progress=False)
    )
    assert ("no KL (each code is a point)" in summary(report)) == (posterior == "point")
    assert report["codes"]["exact_zero_fraction"] == pytest.approx(1 - report["codes"]["nonzero_units_per_image"] / 64)
    assert 0 < report["codes"]["units_ever_nonzero"] <= 64
    assert report["disentanglement"]["notes"]["aam"].startswith(
        f"a {posterior} posterior has no exact mutual information"
    )
    assert {path.name for path in (run / "figures").iterdir()} == {"reconstructions.png", "traversals.png"}
    shown = gym.spaces.Box(0, 255, images.shape[1:], np.uint8)
    extracted = LatentExtractor(shown, encoder)(torch.from_numpy(images).float() / 255)
    np.testing.assert_array_equal(extracted.numpy(), codes)
    observed, _ = LatentObservation(_Shows(images[3]), encoder).reset()
    np.testing.assert_array_equal(observed, encoder.encode(images[3:4])[0])


class _Shows(gym.Env):  # type: ignore[type-arg]
    action_space = gym.spaces.Discrete(2)

    def __init__(self, image: np.ndarray) -> None:  # type: ignore[type-arg]
        self.image = image
        self.observation_space = gym.spaces.Box(0, 255, image.shape, np.uint8)

    def reset(self, **_: object) -> tuple[np.ndarray, dict[str, object]]:  # type: ignore[type-arg]
        return self.image, {}


def test_a_shrinkage_encoder_encodes_exact_zeros(dsprites: FactorDataset, tmp_path: Path) -> None:
    config = dataclasses.replace(SMALL, objective="sparse_shrinkage", run_dir=str(tmp_path / "run"))
    trainer = Trainer(config.resolve(), dsprites)
    with torch.no_grad():  # an untrained network's means all lie in the dead zone
        trainer.objective.vae.encoder.posterior.weight.mul_(20)
    trainer.export()
    encoder = load_encoder(tmp_path / "run")
    assert (encoder.spec.posterior, encoder.spec.architecture) == ("gaussian", "burgess_shrinkage")
    codes = encoder.encode(dsprites.images(np.arange(0, 700_000, 7_000)))
    assert 0.01 < (codes == 0).mean() < 0.99


def test_a_perceptual_run_uses_the_weights_it_is_given(
    random_vgg: str, dsprites: FactorDataset, tmp_path: Path
) -> None:
    changes = {"perceptual_weight": 1.0, "perceptual_layers": "relu1_2,relu2_2", "style_weight": 0.1}
    config = dataclasses.replace(SMALL, perceptual_weights_path=random_vgg, **changes)  # type: ignore[arg-type]
    losses = {}
    for pixel_weight in (0.0, 1.0):
        trainer = Trainer(dataclasses.replace(config, pixel_weight=pixel_weight).resolve(), dsprites)
        terms = [trainer.train_step() for _ in range(6)]
        losses[pixel_weight] = [float(term["reconstruction"]) for term in terms]
        assert losses[pixel_weight][-1] < losses[pixel_weight][0]
    assert losses[1.0][0] > losses[0.0][0] + 500  # 1,024 pixels of log 2 nats each
    run = pretrain_encoder(dataclasses.replace(config, steps=1, run_dir=str(tmp_path / "run")))
    assert load_encoder(run).spec.objective["perceptual"]["layers"] == "relu1_2,relu2_2"
    assert set(VGG_LAYERS) >= {"relu1_2", "relu2_2"}


REDUCED = {"perceptual_weight": 1.0, "perceptual_layers": "relu1_2"}


def test_a_reduced_perceptual_run_in_two_parts_is_bit_identical(
    random_vgg: str, dsprites: FactorDataset, tmp_path: Path
) -> None:
    changes = {"perceptual_every": 3, "perceptual_images": 4, "perceptual_resolution": 16, "steps": 8}
    config = dataclasses.replace(SMALL, perceptual_weights_path=random_vgg, **REDUCED, **changes)  # type: ignore[arg-type]
    whole = pretrain_encoder(dataclasses.replace(config, run_dir=str(tmp_path / "whole")))
    parts = dataclasses.replace(config, run_dir=str(tmp_path / "parts"))
    pretrain_encoder(dataclasses.replace(parts, steps=4))  # within a cycle of three steps
    pretrain_encoder(dataclasses.replace(parts, resume=True))
    assert _same(_state(tmp_path / "parts"), _state(whole))
    assert (tmp_path / "parts" / "encoder.safetensors").read_bytes() == (whole / "encoder.safetensors").read_bytes()
    described = load_encoder(whole).spec.objective["perceptual"]
    assert (described["resolution"], described["every"], described["images"]) == (16, 3, 4)


def test_a_coarse_to_fine_run_in_two_parts_is_bit_identical_and_measures_once(
    random_vgg: str, dsprites: FactorDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = dataclasses.replace(
        SMALL,
        perceptual_weights_path=random_vgg,
        **REDUCED,  # type: ignore[arg-type]
        pixel_weight=0.0,
        perceptual_levels="8,16@3,32@5:1/4,64@6",
        perceptual_scale="data",
        roughness_weight=0.05,
        steps=8,
    )
    whole = pretrain_encoder(dataclasses.replace(config, run_dir=str(tmp_path / "whole")))
    parts = dataclasses.replace(config, run_dir=str(tmp_path / "parts"))
    pretrain_encoder(dataclasses.replace(parts, steps=4))
    monkeypatch.setattr(FeatureVariances, "measure", lambda *_: pytest.fail("measured again"))
    pretrain_encoder(dataclasses.replace(parts, resume=True))
    assert _same(_state(tmp_path / "parts"), _state(whole))
    assert (tmp_path / "parts" / "encoder.safetensors").read_bytes() == (whole / "encoder.safetensors").read_bytes()
    described = load_encoder(whole).spec.objective["perceptual"]
    assert described["levels"] == "8,16@3,32@5:1/4"
    # sum over the pixels of their variance: 4 % of them are white somewhere, in a share of the images
    assert 20 < described["variances"]["pixels"] < 60
    assert {"8", "16", "32"} < described["variances"].keys()
    assert load_encoder(whole).spec.objective["options"]["sparsity_start"] == 5


def test_a_run_whose_pixels_fade_is_bit_identical_in_two_parts(
    random_vgg: str, dsprites: FactorDataset, tmp_path: Path
) -> None:
    config = dataclasses.replace(
        SMALL,
        perceptual_weights_path=random_vgg,
        **REDUCED,  # type: ignore[arg-type]
        pixel_weight=0.0,
        pixel_start=1.0,
        pixel_steps=4,
        perceptual_levels="8@2,16@3",
        steps=8,
    )
    whole = pretrain_encoder(dataclasses.replace(config, run_dir=str(tmp_path / "whole")))
    parts = dataclasses.replace(config, run_dir=str(tmp_path / "parts"))
    pretrain_encoder(dataclasses.replace(parts, steps=4))
    pretrain_encoder(dataclasses.replace(parts, resume=True))
    assert _same(_state(tmp_path / "parts"), _state(whole))
    described = load_encoder(whole).spec.objective["perceptual"]
    assert (described["pixel_start"], described["pixel_steps"], described["levels"]) == (1.0, 4, "8@2,16@3")


def test_a_perceptual_loss_at_every_third_step_is_three_times_as_strong(
    random_vgg: str, dsprites: FactorDataset
) -> None:
    config = dataclasses.replace(SMALL, objective="vae", perceptual_weights_path=random_vgg, **REDUCED)  # type: ignore[arg-type]
    plain, pixels, third = (
        Trainer(dataclasses.replace(config, learning_rate=1e-9, **changes).resolve(), dsprites)  # type: ignore[arg-type]
        for changes in (
            {},
            {"perceptual_weight": 0.0, "perceptual_layers": PretrainConfig.perceptual_layers},
            {"perceptual_every": 3},
        )
    )
    rows = [[float(trainer.train_step()["reconstruction"]) for _ in range(4)] for trainer in (plain, pixels, third)]
    whole, alone, sampled = np.array(rows)
    np.testing.assert_allclose(sampled[[1, 2]], alone[[1, 2]], rtol=1e-5)
    np.testing.assert_allclose(sampled[[0, 3]] - alone[[0, 3]], 3 * (whole - alone)[[0, 3]], rtol=1e-3)
