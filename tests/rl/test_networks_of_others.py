"""ResNet-18, MobileNet and a small ViT with random weights go through every seam: all algorithms, wrappers, the cache,
saving, export and fine-tuning. What is slow with the larger two runs with `make test-slow`."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
import torchvision
from stable_baselines3 import PPO
from torch import nn

import envs  # noqa: F401 (registers the environments)
from rl import LatentExtractor, LatentObservation, make_latent_vec_env
from rl.export import export_agent
from rl.vector import LatentObservation as VectorLatentObservation
from sparse_repr import FrozenEncoder, load_encoder, save_encoder
from sparse_repr.encoder import Preprocessing
from sparse_repr.encoder.backbones import backbone
from tests.foreign_encoders import pictures
from tests.rl.test_algorithms import ALGORITHMS

ENV = "SparseRepr/SpriteReach-v0"
MOBILE, RESNET, VIT = "mobilenet_v3_small", "resnet18", "vit"
# the smallest first: that one is tested in full each time
NETWORKS = (MOBILE, pytest.param(RESNET, marks=pytest.mark.slow), pytest.param(VIT, marks=pytest.mark.slow))


def _vit() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = torchvision.models.VisionTransformer(
            image_size=32, patch_size=8, num_layers=2, num_heads=2, hidden_dim=32, mlp_dim=32
        )
        network.conv_proj = nn.Conv2d(1, 32, 8, stride=8)  # grey frames
    network.heads = nn.Identity()
    return network


@functools.cache
def encoder_of(name: str) -> FrozenEncoder:
    """Grey frames of 64x64, seen at 32x32, as four principal components."""
    frames = pictures(20, 1)
    if name == VIT:
        contract = Preprocessing(1, (64, 64), (32, 32), mean=(0.5,), std=(0.25,))
        return FrozenEncoder.from_module(
            _vit(), preprocessing=contract, example_images=frames, name="a small ViT", code_size=4
        )
    found = backbone(f"torchvision:{name}", source_size=(64, 64), channels=1, network_size=32)
    return found.freeze(frames, code_size=4)


def _frame(seed: int = 0) -> Any:
    return gym.make(ENV).reset(seed=seed)[0]


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_algorithm_learns_saves_and_loads(name: str, network: str, tmp_path: Path) -> None:
    from sb3_contrib.common.wrappers import ActionMasker

    encoder = encoder_of(network)
    algorithm, env_id, settings = ALGORITHMS[name]

    def made() -> Any:
        env = gym.make(env_id)
        return ActionMasker(env, lambda _: np.ones(5, bool)) if name == "MaskablePPO" else env

    policy = "CnnLstmPolicy" if name == "RecurrentPPO" else "CnnPolicy"
    kwargs = {"features_extractor_class": LatentExtractor, "features_extractor_kwargs": {"encoder": encoder}}
    model = algorithm(policy, made(), policy_kwargs={**kwargs, "net_arch": [8]}, device="cpu", seed=0, **settings)
    before = [weight.detach().clone() for weight in model.policy.parameters()]
    model.learn(12)
    assert any(not torch.equal(old, new) for old, new in zip(before, model.policy.parameters(), strict=True))
    encoder.verify()
    expected, _ = model.predict(_frame(), deterministic=True)
    model.save(tmp_path / "agent.zip")
    FrozenEncoder._known.clear()
    loaded = algorithm.load(tmp_path / "agent.zip", env=made(), device="cpu")
    held = [part for part in loaded.policy.modules() if isinstance(part, LatentExtractor)]
    assert {part.encoder.fingerprint for part in held} == {encoder.fingerprint}
    assert np.array_equal(loaded.predict(_frame(), deterministic=True)[0], expected)


@pytest.mark.parametrize("network", NETWORKS)
def test_wrappers_show_the_codes_of_the_frames_and_the_file_holds_the_encoder(network: str, tmp_path: Path) -> None:
    encoder = encoder_of(network)
    again = load_encoder(save_encoder(encoder, tmp_path / "mine.safetensors"))
    assert again == encoder
    frames = np.stack([_frame(seed) for seed in (3, 4)])
    codes = encoder.encode(frames)
    assert np.ptp(codes, axis=0).max() > 0
    near = {"rtol": 1e-4, "atol": 1e-4 * float(np.abs(codes).max())}  # one image at a time is summed in another order
    wrapped = LatentObservation(gym.make(ENV), encoder)
    np.testing.assert_allclose(wrapped.reset(seed=3)[0], codes[0], **near)
    venv = make_latent_vec_env(ENV, encoder, n_envs=2, seed=3)
    np.testing.assert_allclose(venv.reset(), codes, **near)
    assert PPO("MlpPolicy", venv, n_steps=4, batch_size=4, device="cpu").learn(8).num_timesteps == 8
    venv.close()
    twin = VectorLatentObservation(gym.vector.SyncVectorEnv([lambda: gym.make(ENV)] * 2), encoder)
    np.testing.assert_allclose(twin.reset(seed=[3, 4])[0], codes, **near)
    twin.close()


@pytest.mark.parametrize("network", NETWORKS)
def test_the_cache_gives_the_codes_of_the_encoder(network: str) -> None:
    encoder = encoder_of(network)
    space = gym.make(ENV).observation_space
    frames = torch.from_numpy(np.stack([_frame(seed) for seed in (0, 1, 0)])).permute(0, 3, 1, 2) / 255
    extractors = [LatentExtractor(space, encoder=encoder, cache_frames=count) for count in (0, 10)]
    plain, cached = (extractor(frames) for extractor in extractors)
    torch.testing.assert_close(cached, plain, rtol=1e-4, atol=1e-4 * float(plain.abs().max()))
    assert len(extractors[1]._cache or ()) == 2
    assert torch.equal(extractors[1](frames), cached)


@pytest.mark.parametrize("ending", ["pt2", "onnx"])
@pytest.mark.parametrize("network", NETWORKS)
def test_exported_agents_act_as_before(network: str, ending: str, tmp_path: Path) -> None:
    if ending == "onnx":
        onnxruntime = pytest.importorskip("onnxruntime")
        pytest.importorskip("onnxscript")
    options = {"encoder": encoder_of(network), "code_scaling": "standardize"}
    kwargs = {"features_extractor_class": LatentExtractor, "features_extractor_kwargs": options}
    model = PPO("CnnPolicy", ENV, policy_kwargs=kwargs, n_steps=8, batch_size=8, device="cpu", seed=0)
    with torch.no_grad():
        model.policy.action_net.weight *= 20  # actions of an untrained agent are all but zero
    path = export_agent(model, tmp_path / f"agent.{ending}")
    images = pictures(5, 1)
    expected, _ = model.predict(images, deterministic=True)
    if ending == "pt2":
        found = torch.export.load(path).module()(torch.from_numpy(images)).numpy()
    else:
        found = onnxruntime.InferenceSession(path).run(["actions"], {"images": images})[0]
    assert np.ptp(expected, axis=0).max() > 0.01
    np.testing.assert_allclose(found, expected, atol=1e-3)


@pytest.mark.parametrize("network", NETWORKS)
def test_fine_tuning_moves_weights_and_keeps_running_statistics(network: str, tmp_path: Path) -> None:
    encoder = encoder_of(network)
    kwargs = {
        "features_extractor_class": LatentExtractor,
        "features_extractor_kwargs": {"encoder": encoder, "trainable": True},
    }
    model = PPO("CnnPolicy", ENV, policy_kwargs=kwargs, n_steps=8, batch_size=8, n_epochs=1, device="cpu", seed=0)
    tuned = model.policy.features_extractor.trainable_encoder
    assert tuned is not None
    weights = {name: values.clone() for name, values in tuned.network.named_parameters()}
    fixed = {name: values.clone() for name, values in tuned.network.named_buffers()}
    assert network == VIT or any("running" in name for name in fixed)
    model.learn(8)
    assert any(not torch.equal(values, weights[name]) for name, values in tuned.network.named_parameters())
    assert all(torch.equal(values, fixed[name]) for name, values in tuned.network.named_buffers())
    encoder.verify()  # the artefact is what it was
    model.save(tmp_path / "agent.zip")
    loaded = PPO.load(tmp_path / "agent.zip", device="cpu")
    frame = _frame()
    expected, _ = model.predict(frame, deterministic=True)
    assert np.array_equal(loaded.predict(frame, deterministic=True)[0], expected)
