"""Exported agents: the same actions as the agent itself, in a process that knows nothing but torch."""

from __future__ import annotations

import dataclasses
import importlib.util
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from sb3_contrib import QRDQN, TQC, TRPO, MaskablePPO, RecurrentPPO
from sb3_contrib.common.envs import InvalidActionEnvDiscrete
from stable_baselines3 import A2C, DDPG, DQN, PPO, SAC, TD3
from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack, VecNormalize

from rl import (
    LatentExtractor,
    LatentObservation,
    RecodedCodes,
    VecLatentObservation,
    make_latent_vec_env,
    save_agent,
)
from rl.agent_archive import AgentArchive
from rl.code_recoding import CodeRecoding
from rl.code_scaling import CodeScaling
from rl.dictionary import DictionarySettings, fit_dictionary
from rl.export import export_agent
from rl.latent_encoding import LatentOptions
from sparse_repr import FrozenEncoder
from sparse_repr.encoder import UnitStatistics
from sparse_repr.encoder.preprocessing import Preprocessing
from tests.conftest import make_encoder
from tests.foreign_encoders import make_foreign_encoder, pictures
from tests.frame_envs import Frames

CONTINUOUS, DISCRETE = "envs:SparseRepr/SpriteReach-v0", "envs:SparseRepr/SpriteReach-Discrete-v0"
ON_POLICY: dict[str, Any] = {"n_steps": 8}
ROLLOUT: dict[str, Any] = {"n_steps": 8, "batch_size": 8, "n_epochs": 1}
REPLAY: dict[str, Any] = {"buffer_size": 32, "learning_starts": 4, "batch_size": 4}
ALGORITHMS: dict[str, tuple[Any, str, dict[str, Any]]] = {
    "PPO": (PPO, CONTINUOUS, ROLLOUT),
    "PPO_gSDE": (PPO, CONTINUOUS, {**ROLLOUT, "use_sde": True}),
    "A2C": (A2C, DISCRETE, ON_POLICY),
    "TRPO": (TRPO, CONTINUOUS, {"n_steps": 8, "batch_size": 8}),
    "SAC": (SAC, CONTINUOUS, REPLAY),
    "TD3": (TD3, CONTINUOUS, REPLAY),
    "DDPG": (DDPG, CONTINUOUS, REPLAY),
    "TQC": (TQC, CONTINUOUS, REPLAY),
    "DQN": (DQN, DISCRETE, REPLAY),
    "QRDQN": (QRDQN, DISCRETE, REPLAY),
}
SMALL = {"net_arch": [16]}
IMAGES = np.random.default_rng(0).integers(0, 256, (7, 64, 64, 1), dtype=np.uint8)


def _telling(channels: int = 1) -> FrozenEncoder:
    """An encoder whose codes of noise spread around 0 by about 1: those of an untrained one hardly differ."""
    encoder = make_encoder(channels)
    noise = np.random.default_rng(2).integers(0, 256, (50, channels, 64, 64), dtype=np.uint8)
    middle = torch.from_numpy(np.concatenate(encoder.posterior(noise), axis=1).mean(axis=0))
    weights = dict(encoder.network().state_dict())
    weights["posterior.weight"] = 1000 * weights["posterior.weight"]
    weights["posterior.bias"] = 1000 * (weights["posterior.bias"] - middle)
    return FrozenEncoder(encoder.spec, weights)


@pytest.fixture(scope="module")
def encoder() -> FrozenEncoder:
    return _telling()


def _in_policy(name: str, encoder: FrozenEncoder, **changes: Any) -> Any:
    algorithm, env, settings = ALGORITHMS[name]
    kwargs = {
        "features_extractor_class": LatentExtractor,
        "features_extractor_kwargs": {"encoder": encoder},
        **SMALL,
        **changes,
    }
    return algorithm("CnnPolicy", gym.make(env), policy_kwargs=kwargs, device="cpu", seed=0, **settings)


def _wrapped(name: str, env: Any) -> Any:
    algorithm, _, settings = ALGORITHMS[name]
    return algorithm("MlpPolicy", env, policy_kwargs=dict(SMALL), device="cpu", seed=0, **settings)


def _run(path: Path, images: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    actions: np.ndarray[Any, Any] = torch.export.load(path).module()(torch.from_numpy(images)).numpy()
    return actions


def _decisive(model: Any) -> Any:
    """The model with larger actions: those of an untrained actor-critic are all but zero."""
    if hasattr(model.policy, "action_net"):
        with torch.no_grad():
            model.policy.action_net.weight *= 5
    return model


def _agree(actions: np.ndarray[Any, Any], expected: np.ndarray[Any, Any]) -> None:
    assert actions.shape == expected.shape
    assert len(expected) == 1 or (np.ptp(expected, axis=0) > 0.01).any()  # else a constant would agree, too
    if np.issubdtype(expected.dtype, np.integer):
        assert np.array_equal(actions, expected)
    else:
        assert actions.dtype == np.float32
        np.testing.assert_allclose(actions, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_agents_with_the_encoder_inside_act_as_before(name: str, encoder: FrozenEncoder, tmp_path: Path) -> None:
    model = _in_policy(name, encoder)
    model.learn(16)  # distributions and optimisers hold what training left in them
    _decisive(model)
    path = export_agent(model, tmp_path / "agent.pt2")
    for images in (IMAGES, IMAGES[:1]):
        _agree(_run(path, images), model.predict(images, deterministic=True)[0])
    model.learn(8)  # the export left the model as it was


@pytest.mark.parametrize(
    "options",
    [
        {"trainable": True, "encoder_lr_multiplier": 0.1},
        {"trunk": [8], "include_log_variance": True, "cache_frames": 16},
        {"n_stack": 2},
        {"recode": "expand", "n_stack": 2},
        {"trainable": True, "recode": "cosine"},
    ],
    ids=lambda options: "_".join(options),
)
def test_options_of_the_extractor_are_part_of_the_graph(
    options: dict[str, Any], encoder: FrozenEncoder, tmp_path: Path
) -> None:
    stack = options.get("n_stack", 1)
    venv = VecFrameStack(DummyVecEnv([lambda: gym.make(CONTINUOUS)]), stack)
    extractor = {
        "features_extractor_class": LatentExtractor,
        "features_extractor_kwargs": {"encoder": encoder, **options},
    }
    model = PPO("CnnPolicy", venv, policy_kwargs={**extractor, **SMALL}, device="cpu", seed=0, **ROLLOUT)
    model.learn(8)
    _decisive(model)
    images = np.concatenate([IMAGES] + [IMAGES[::-1]] * (stack - 1), axis=3)
    path = export_agent(model, tmp_path / "agent.pt2")
    _agree(_run(path, images), model.predict(images, deterministic=True)[0])
    # an encoder that was trained with the policy is not the one of the fingerprint any more
    told = {"agent.json": ""}
    torch.export.load(path, extra_files=told)
    expected = None if options.get("trainable") else encoder.fingerprint
    assert json.loads(told["agent.json"])["encoder"] == expected


@pytest.mark.parametrize("name", ["PPO", "SAC", "DQN"])
def test_agents_on_codes_take_images(name: str, encoder: FrozenEncoder, tmp_path: Path) -> None:
    model = _decisive(_wrapped(name, LatentObservation(gym.make(ALGORITHMS[name][1]), encoder)))
    path = export_agent(model, tmp_path / "agent.pt2")
    _agree(_run(path, IMAGES), model.predict(encoder.encode(IMAGES), deterministic=True)[0])


@pytest.mark.parametrize("vectorised", [True, False])
def test_stacked_codes_take_the_last_images(vectorised: bool, encoder: FrozenEncoder, tmp_path: Path) -> None:
    options = {"n_stack": 3, "include_log_variance": True}
    if vectorised:
        venv: Any = VecLatentObservation(DummyVecEnv([lambda: gym.make(CONTINUOUS)]), encoder, **options)
    else:
        venv = DummyVecEnv([lambda: LatentObservation(gym.make(CONTINUOUS), encoder, **options)])
    model = _decisive(_wrapped("PPO", venv))
    agent = torch.export.load(export_agent(model, tmp_path / "agent.pt2")).module()
    # the pictures that the environment shows, against what its own wrapper makes of them
    source = gym.make(CONTINUOUS)
    actions = np.random.default_rng(0).uniform(-1, 1, (4, 2)).astype(np.float32)
    venv.seed(5)
    codes = venv.reset()
    image, _ = source.reset(seed=5)
    images = [image] * 3
    for action in actions:
        expected = model.predict(codes, deterministic=True)[0]
        _agree(agent(torch.from_numpy(np.stack(images)[None])).numpy(), expected)
        codes, *_ = venv.step(action[None])
        image, *_ = source.step(action)
        images = [*images[1:], image]


@pytest.mark.parametrize("kind", ["expand", "dictionary"])
@pytest.mark.parametrize("inside", [False, True])
def test_recoded_codes_take_images(inside: bool, kind: str, encoder: FrozenEncoder, tmp_path: Path) -> None:
    recode: Any = {"name": "expand", "width": 40, "seed": 2}
    if kind == "dictionary":
        recode = fit_dictionary(encoder, encoder.encode(IMAGES), DictionarySettings(width=40, k=4, steps=2))
    given = {} if inside else {"recode": recode}
    env = LatentObservation(gym.make(CONTINUOUS), encoder, n_stack=2, **given)
    policy: dict[str, Any] = dict(SMALL)
    if inside:
        policy |= {"features_extractor_class": RecodedCodes, "features_extractor_kwargs": {"recode": recode}}
    model = _decisive(PPO("MlpPolicy", env, policy_kwargs=policy, device="cpu", seed=0, **ROLLOUT))
    shown = encoder.encode(IMAGES)
    if not inside:
        shown = CodeRecoding(encoder.spec.units, recode).numpy(shown)
    codes = np.concatenate([shown[:-1], shown[1:]], axis=1)
    images = np.stack([IMAGES[:-1], IMAGES[1:]], axis=1)
    _agree(_run(export_agent(model, tmp_path / "agent.pt2"), images), model.predict(codes, deterministic=True)[0])


def test_statistics_of_vec_normalize_are_baked_in(encoder: FrozenEncoder, tmp_path: Path) -> None:
    latent = VecLatentObservation(DummyVecEnv([lambda: gym.make(CONTINUOUS)] * 2), encoder)
    venv = VecNormalize(latent, clip_obs=0.7)  # so that clipping matters
    model = _wrapped("PPO", venv)
    model.learn(32)
    _decisive(model)
    normalised = venv.normalize_obs(encoder.encode(IMAGES))
    assert isinstance(normalised, np.ndarray)
    assert (np.abs(normalised) == np.float32(0.7)).any()
    expected = model.predict(normalised, deterministic=True)[0]
    _agree(_run(export_agent(model, tmp_path / "agent.pt2"), IMAGES), expected)
    # the model alone, as after loading it elsewhere
    model.save(tmp_path / "model.zip")
    alone = PPO.load(tmp_path / "model.zip", device="cpu")
    path = export_agent(alone, tmp_path / "alone.pt2", encoder=encoder, image_shape=(1, 64, 64), vec_normalize=venv)
    _agree(_run(path, IMAGES.transpose(0, 3, 1, 2).copy()), expected)


def _with(encoder: FrozenEncoder, **changes: Any) -> FrozenEncoder:
    """The same weights under another description."""
    return FrozenEncoder(dataclasses.replace(encoder.spec, **changes), encoder.network().state_dict())


def test_scaled_codes_of_an_encoder_given_by_hand(tmp_path: Path, encoder: FrozenEncoder) -> None:
    units = UnitStatistics((1.0,) * 4, (0.3, -0.1, 0.2, 0.0), (0.5, 0.01, 0.2, 2.0), (True, False, True, True))
    scaled = _with(encoder, units=units)
    codes = CodeScaling(scaled, "standardize").numpy(encoder.encode(IMAGES))
    env = LatentObservation(gym.make(CONTINUOUS), scaled, code_scaling="standardize")
    model = _decisive(_wrapped("PPO", env))
    model.save(tmp_path / "model.zip")
    path = export_agent(
        PPO.load(tmp_path / "model.zip", device="cpu"),
        tmp_path / "agent.pt2",
        encoder=scaled,
        latent_options=LatentOptions(code_scaling="standardize"),
        image_shape=(64, 64, 1),
    )
    _agree(_run(path, IMAGES), model.predict(codes, deterministic=True)[0])


class _Picture(gym.Env[np.ndarray[Any, Any], Any]):
    """Noise of a size that must be resized, and actions in a range of their own."""

    observation_space = gym.spaces.Box(0, 255, (80, 96, 3), np.uint8)
    action_space: gym.spaces.Space[Any] = gym.spaces.Box(np.array([-3, 0], np.float32), np.array([1, 10], np.float32))

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        return self.np_random.integers(0, 256, (80, 96, 3), dtype=np.uint8), {}

    def step(self, action: Any) -> Any:
        return self.reset()[0], 0.0, False, False, {}


@pytest.mark.parametrize("name", ["PPO", "SAC"])
def test_resizing_and_the_range_of_actions_are_part_of_the_graph(name: str, tmp_path: Path) -> None:
    encoder = _with(_telling(3), preprocessing=Preprocessing(3, (80, 96), (64, 64), (80, 80)))
    algorithm, _, settings = ALGORITHMS[name]
    env = LatentObservation(_Picture(), encoder)
    model = _decisive(algorithm("MlpPolicy", env, device="cpu", seed=0, **settings))
    images = np.random.default_rng(1).integers(0, 256, (5, 80, 96, 3), dtype=np.uint8)
    expected = model.predict(encoder.encode(images), deterministic=True)[0]
    actions = _run(export_agent(model, tmp_path / "agent.pt2"), images)
    _agree(actions, expected)
    if name == "PPO":  # SAC's squashed actions are rescaled instead
        assert (actions == model.action_space.low).any() or (actions == model.action_space.high).any()


def test_a_fresh_process_needs_nothing_but_torch(encoder: FrozenEncoder, tmp_path: Path) -> None:
    model = _in_policy("SAC", encoder)
    path = export_agent(model, tmp_path / "agent.pt2")
    np.save(tmp_path / "images.npy", IMAGES)
    program = """
import json, sys
import numpy as np
import torch
files = {"agent.json": ""}
agent = torch.export.load("agent.pt2", extra_files=files).module()
np.save("actions.npy", agent(torch.from_numpy(np.load("images.npy"))).numpy())
assert not {"rl", "sparse_repr", "stable_baselines3", "gymnasium"} & set(sys.modules)
print(files["agent.json"])
"""
    run = subprocess.run(
        [sys.executable, "-I", "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    _agree(np.load(tmp_path / "actions.npy"), model.predict(IMAGES, deterministic=True)[0])
    assert json.loads(run.stdout) == {
        "algorithm": "SAC",
        "images": {"shape": ["batch", 64, 64, 1], "dtype": "uint8"},
        "actions": "Box(-1.0, 1.0, (2,), float32)",
        "encoder": encoder.fingerprint,
    }
    assert path.stat().st_size < 2_000_000  # critics and target networks stay behind


@pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("onnx", "onnxscript", "onnxruntime")),
    reason="needs the extra onnx and onnxruntime",
)
@pytest.mark.parametrize("name", ["PPO", "SAC", "DQN"])
def test_onnx_gives_the_same_actions(name: str, encoder: FrozenEncoder, tmp_path: Path) -> None:
    import onnxruntime  # type: ignore[import-not-found]

    model = _decisive(_in_policy(name, encoder))
    session = onnxruntime.InferenceSession(export_agent(model, tmp_path / "agent.onnx"))
    assert json.loads(session.get_modelmeta().custom_metadata_map["agent"])["encoder"] == encoder.fingerprint
    for images in (IMAGES, IMAGES[:1]):
        _agree(session.run(["actions"], {"images": images})[0], model.predict(images, deterministic=True)[0])


@pytest.mark.parametrize("ending", ["pt2", "onnx"])
def test_agents_on_a_network_of_others_act_as_before(ending: str, tmp_path: Path) -> None:
    encoder, images = make_foreign_encoder(source=96), pictures(7, 1, 96)

    class Moving(Frames):
        def __init__(self) -> None:
            super().__init__(shape=(96, 96, 1))
            self.action_space = gym.spaces.Box(-1, 1, (2,), np.float32)

    venv = VecLatentObservation(DummyVecEnv([Moving]), encoder)
    model = _decisive(_wrapped("PPO", venv))
    if ending == "onnx":
        onnxruntime = pytest.importorskip("onnxruntime")
        pytest.importorskip("onnxscript")
    path = export_agent(model, tmp_path / f"agent.{ending}")
    expected = model.predict(encoder.encode(images), deterministic=True)[0]
    if ending == "pt2":
        _agree(_run(path, images), expected)
    else:
        _agree(onnxruntime.InferenceSession(path).run(["actions"], {"images": images})[0], expected)


def test_a_missing_onnx_package_names_the_remedy(
    encoder: FrozenEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rl.export.importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"onnx and onnxscript for \.onnx: install sparse-repr\[onnx\], or export"):
        export_agent(_in_policy("PPO", encoder), tmp_path / "agent.onnx")


def _recurrent(encoder: FrozenEncoder) -> Any:
    return RecurrentPPO("MlpLstmPolicy", LatentObservation(gym.make(CONTINUOUS), encoder), n_steps=8, device="cpu")


def _masked(encoder: FrozenEncoder) -> Any:
    return MaskablePPO("MlpPolicy", InvalidActionEnvDiscrete(dim=4, n_invalid_actions=1), device="cpu")


def _stacked(encoder: FrozenEncoder) -> Any:
    latent = VecLatentObservation(DummyVecEnv([lambda: gym.make(CONTINUOUS)]), encoder)
    return _wrapped("PPO", VecFrameStack(latent, 3))


def _changed(encoder: FrozenEncoder) -> Any:
    latent = LatentObservation(gym.make(CONTINUOUS), encoder)
    double = gym.wrappers.TransformObservation(latent, lambda codes: 2 * codes, latent.observation_space)
    return _wrapped("PPO", double)


def _dict(encoder: FrozenEncoder) -> Any:
    env = gym.wrappers.TransformObservation(
        gym.make(CONTINUOUS),
        lambda image: {"camera": image},
        gym.spaces.Dict({"camera": gym.spaces.Box(0, 255, (64, 64, 1), np.uint8)}),
    )
    return PPO("MultiInputPolicy", env, device="cpu")


def _normalised_images(encoder: FrozenEncoder) -> Any:
    model = _in_policy("PPO", encoder)
    model._vec_normalize_env = VecNormalize(model.get_env())
    return model


def _on_state(encoder: FrozenEncoder) -> Any:
    return PPO("MlpPolicy", gym.make("Pendulum-v1"), device="cpu")


@pytest.mark.parametrize(
    ("build", "arguments", "error", "message"),
    [
        (_recurrent, {}, TypeError, "acts on the observation alone, but .* also takes episode_starts, lstm_states"),
        (_masked, {}, TypeError, "MaskableActorCriticPolicy also takes action_masks"),
        (_stacked, {}, ValueError, "VecFrameStack is around the codes.*use n_stack"),
        (_changed, {}, ValueError, "TransformObservation is around the codes"),
        (_on_state, {"encoder": make_encoder()}, ValueError, r"observes \(3,\), but .* gives \(4,\): latent_options"),
        (_dict, {}, TypeError, r"needs an agent that observes one Box, got Dict"),
        (_normalised_images, {}, ValueError, "VecNormalize changes the images; give it norm_obs=False"),
        (_on_state, {}, ValueError, "no LatentObservation or VecLatentObservation was found.*or give encoder="),
        (
            _on_state,
            {"encoder": make_encoder(code_size=3)},
            ValueError,
            r"needs image_shape=\(H, W, C\) or",
        ),
        (_on_state, {"latent_options": LatentOptions()}, TypeError, "latent_options beside encoder"),
        (lambda e: _in_policy("PPO", e), {"encoder": make_encoder()}, TypeError, "leave encoder out"),
        (lambda e: _in_policy("PPO", e), {"image_shape": (3, 64, 64)}, ValueError, "do not fit an agent"),
        (lambda e: e, {}, TypeError, "needs a Stable-Baselines3 model, or its file, got FrozenEncoder"),
    ],
)
def test_what_cannot_be_exported_is_refused(
    build: Callable[[FrozenEncoder], Any],
    arguments: dict[str, Any],
    error: type[Exception],
    message: str,
    encoder: FrozenEncoder,
    tmp_path: Path,
) -> None:
    with pytest.raises(error, match=message):
        export_agent(build(encoder), tmp_path / "agent.pt2", **arguments)
    assert not list(tmp_path.iterdir())


def test_another_ending_is_refused(encoder: FrozenEncoder, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"ends in \.pt2 or \.onnx, got .*agent\.zip"):
        export_agent(_in_policy("PPO", encoder), tmp_path / "agent.zip")


def test_the_file_of_an_agent_is_exported_without_its_environment(encoder: FrozenEncoder, tmp_path: Path) -> None:
    venv = make_latent_vec_env(CONTINUOUS, encoder, n_stack=2, normalize=True, seed=0)
    agent = _wrapped("PPO", venv).learn(32)
    file = save_agent(tmp_path / "agent.zip", agent)
    with pytest.raises(ValueError, match=r"needs image_shape=\(H, W, C\)"):
        export_agent(file, tmp_path / "agent.pt2")
    with pytest.raises(TypeError, match="has encoder, options and statistics of its own"):
        export_agent(file, tmp_path / "agent.pt2", encoder=encoder, image_shape=(64, 64, 1))
    from_file = export_agent(file, tmp_path / "file.pt2", image_shape=(64, 64, 1))
    images = np.stack([IMAGES[:3], IMAGES[3:6]], axis=1)
    expected = _run(export_agent(agent, tmp_path / "agent.pt2"), images)
    np.testing.assert_allclose(_run(from_file, images), expected, atol=1e-6)
    bare = PPO.load(io.BytesIO(AgentArchive.read(file).model), device="cpu")
    with pytest.raises(ValueError, match=r"give the file that save_agent wrote.*vec_normalize= as it was trained"):
        export_agent(bare, tmp_path / "bare.pt2")
