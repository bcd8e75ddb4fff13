from __future__ import annotations

import dataclasses
import io
import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.wrappers import NormalizeObservation, RescaleAction, TransformObservation
from sb3_contrib import QRDQN
from stable_baselines3 import A2C, DQN, PPO, SAC, HerReplayBuffer
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import EvalCallback, EveryNTimesteps
from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack, VecNormalize

from rl import (
    LatentExtractor,
    LatentObservation,
    SameCodes,
    SaveAgent,
    VecLatentObservation,
    load_agent,
    make_latent_vec_env,
    require_same_codes,
    save_agent,
)
from rl.agent_archive import AgentArchive
from rl.agent_policy import AgentPolicy
from rl.export import export_agent
from sparse_repr import FrozenEncoder, load_encoder, save_encoder
from tests.conftest import make_encoder
from tests.frame_envs import Frames


def other_encoder() -> FrozenEncoder:
    """Of the same shape and code size as `make_encoder(3)`."""
    one = make_encoder(3)
    return FrozenEncoder(one.spec, {name: tensor + 0.01 for name, tensor in one.network().state_dict().items()})


class Continuous(Frames):
    """The same with actions in -1..1."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.action_space = gym.spaces.Box(-1, 1, (1,), np.float32)


def _trained(algorithm: Any = PPO, **options: Any) -> BaseAlgorithm:
    make = Continuous if algorithm is SAC else Frames
    venv = make_latent_vec_env(make, make_encoder(3), n_envs=2 if algorithm is PPO else 1, seed=0, **options)
    steps = {"n_steps": 8, "batch_size": 8, "n_epochs": 1} if algorithm is PPO else {"learning_starts": 4}
    steps = {"n_steps": 8} if algorithm is A2C else steps
    kind = "MultiInputPolicy" if "image_keys" in options else "MlpPolicy"
    return algorithm(kind, venv, device="cpu", seed=0, policy_kwargs={"net_arch": [8]}, **steps).learn(16)


@pytest.fixture(scope="module")
def saved(encoder_kind: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PPO agent with stacked, normalised codes; do not write into it."""
    agent = _trained(normalize={"clip_obs": 5.0}, n_stack=2, code_scaling="scale")
    return save_agent(tmp_path_factory.mktemp("agents") / "agent.zip", agent)


@pytest.mark.parametrize("algorithm", [PPO, A2C, DQN, SAC, QRDQN])
def test_trap_22_the_wrapper_is_rebuilt_with_the_encoder_and_statistics(algorithm: Any, tmp_path: Path) -> None:
    agent = _trained(algorithm, normalize=True, n_stack=2)
    before = agent.get_vec_normalize_env()
    path = save_agent(tmp_path / "agent.zip", agent)
    make = Continuous if algorithm is SAC else Frames
    model, venv = load_agent(path, DummyVecEnv([make]), device="cpu")
    assert type(model) is algorithm
    assert isinstance(venv, VecNormalize)
    assert before is not None
    for name in ("mean", "var", "count"):
        np.testing.assert_array_equal(getattr(venv.obs_rms, name), getattr(before.obs_rms, name))
        np.testing.assert_array_equal(getattr(venv.ret_rms, name), getattr(before.ret_rms, name))
    assert isinstance(venv.venv, VecLatentObservation)
    assert venv.venv.encoder == make_encoder(3)
    venv.training = before.training = False
    for side in (venv, before):
        side.seed(3)
    observation, expected = venv.reset(), np.asarray(before.reset())[:1]
    np.testing.assert_allclose(observation, expected, atol=1e-5)
    assert np.array_equal(
        model.predict(observation, deterministic=True)[0], agent.predict(expected, deterministic=True)[0]
    )
    venv.training = True
    model.learn(8)


def test_trap_22_codes_of_another_encoder_are_refused(saved: Path) -> None:
    other = other_encoder()
    expected = "expected an environment wrapped in FrozenEncoder.*found FrozenEncoder"
    wrapped = {"n_stack": 2, "code_scaling": "scale"}
    with pytest.raises(ValueError, match=expected):
        load_agent(saved, VecLatentObservation(DummyVecEnv([Frames]), other, **wrapped))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=expected):
        load_agent(saved, LatentObservation(Frames(), other, **wrapped))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="expected an environment wrapped with code_scaling='scale', found .*='none'"):
        load_agent(saved, LatentObservation(Frames(), make_encoder(3), n_stack=2))


def test_an_environment_that_is_wrapped_in_the_same_way_is_taken(saved: Path) -> None:
    options: dict[str, Any] = {"n_stack": 2, "code_scaling": "scale", "keep_image": True}
    given = make_latent_vec_env(Frames, make_encoder(3), n_envs=3, normalize=True, **options)
    assert isinstance(given, VecNormalize)
    model, venv = load_agent(saved, given, training=False, device="cpu")
    assert isinstance(venv, VecNormalize)
    assert venv is not given
    assert venv.venv is given.venv
    assert (venv.training, venv.norm_reward, venv.clip_obs) == (False, False, 5.0)
    assert venv.obs_rms.count > 16  # type: ignore[attr-defined]
    assert model.predict(venv.reset())[0].shape == (3,)
    single = LatentObservation(Frames(), make_encoder(3), **options)
    assert load_agent(saved, single, device="cpu")[1] is not None


def test_an_id_is_made_and_without_environment_there_is_only_the_model(tmp_path: Path) -> None:
    env_id = "envs:SparseRepr/SpriteReach-v0"
    venv = make_latent_vec_env(env_id, make_encoder(1))
    path = save_agent(tmp_path / "agent.zip", PPO("MlpPolicy", venv, n_steps=8, batch_size=8, device="cpu"))
    model, rebuilt = load_agent(path, env_id, device="cpu")
    assert isinstance(rebuilt, VecLatentObservation)
    assert model.predict(rebuilt.reset())[0].shape == (1, 2)
    assert load_agent(path, device="cpu")[1] is None
    with zipfile.ZipFile(path) as archive:
        assert json.loads(archive.read("agent.json"))["environment"] == "SparseRepr/SpriteReach-v0"


def test_dict_observations_and_single_wrappers_are_saved(tmp_path: Path) -> None:
    agent = _trained(normalize={"norm_obs_keys": ["back"]}, image_keys=["back", "front"], env_kwargs={"named": True})
    model, venv = load_agent(save_agent(tmp_path / "dict.zip", agent), Frames(named=True), device="cpu")
    assert isinstance(venv, VecNormalize)
    assert list(venv.obs_rms) == ["back"]  # type: ignore[call-overload]
    model.predict(venv.reset())
    single = A2C("MlpPolicy", LatentObservation(Frames(), make_encoder(3), n_stack=2), n_steps=4, device="cpu")
    _, venv = load_agent(save_agent(tmp_path / "single.zip", single), Frames(), device="cpu")
    assert isinstance(venv, VecLatentObservation)
    assert venv.latent_options.n_stack == 2


@pytest.mark.parametrize("by_path", [False, True])
def test_agents_that_encode_in_their_policy_find_the_encoder_in_the_file(by_path: bool, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    file = save_encoder(make_encoder(3), folder / "encoder.safetensors")
    kwargs = {
        "features_extractor_class": LatentExtractor,
        "features_extractor_kwargs": {"encoder": str(file) if by_path else load_encoder(file)},
        "net_arch": [8],
    }
    agent = PPO("CnnPolicy", DummyVecEnv([Frames]), n_steps=8, batch_size=8, policy_kwargs=kwargs, device="cpu").learn(
        8
    )
    path = save_agent(tmp_path / "agent.zip", agent)
    shutil.rmtree(folder)
    model, venv = load_agent(path, Frames(), device="cpu")
    assert venv is not None
    images = venv.reset()
    assert np.array_equal(model.predict(images, deterministic=True)[0], agent.predict(images, deterministic=True)[0])
    model.learn(8)
    with pytest.raises(ValueError, match="the agent takes images, found an environment that is wrapped to show codes"):
        load_agent(path, LatentObservation(Frames(), make_encoder(3)))


def test_agents_that_took_a_camera_as_raw_features_before_they_were_asked_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kwargs = {
        "features_extractor_class": LatentExtractor,
        "features_extractor_kwargs": {"encoder": make_encoder(3), "image_keys": ["front"]},
        "net_arch": [8],
    }
    with monkeypatch.context() as earlier:
        earlier.setattr("rl.features_extractor.require_named", lambda *_: None)
        agent = A2C("MultiInputPolicy", DummyVecEnv([lambda: Frames(named=True)]), policy_kwargs=kwargs, device="cpu")
        agent.save(tmp_path / "plain.zip")
        save_agent(tmp_path / "agent.zip", agent)
    model, venv = load_agent(tmp_path / "agent.zip", Frames(named=True), device="cpu")
    assert venv is not None
    observation = venv.reset()
    expected = agent.predict(observation, deterministic=True)[0]
    assert np.array_equal(model.predict(observation, deterministic=True)[0], expected)
    with pytest.raises(TypeError, match=r"loaded with custom_objects=\{.*'raw_keys': \['back'\]\}\}\}"):
        A2C.load(tmp_path / "plain.zip", device="cpu")
    extractor = {**kwargs["features_extractor_kwargs"], "raw_keys": ["back"]}  # type: ignore[dict-item]
    replaced = {"policy_kwargs": {**kwargs, "features_extractor_kwargs": extractor}}
    A2C.load(tmp_path / "plain.zip", device="cpu", custom_objects=replaced)


def test_fine_tuned_weights_are_saved_with_the_agent(tmp_path: Path) -> None:
    kwargs = {
        "features_extractor_class": LatentExtractor,
        "features_extractor_kwargs": {"encoder": make_encoder(3), "trainable": True, "encoder_lr_multiplier": 0.5},
        "net_arch": [8],
    }
    agent = PPO("CnnPolicy", DummyVecEnv([Frames]), n_steps=8, batch_size=8, policy_kwargs=kwargs, device="cpu").learn(
        8
    )
    model, venv = load_agent(save_agent(tmp_path / "agent.zip", agent), Frames(), device="cpu")
    assert venv is not None
    images, _ = agent.policy.obs_to_tensor(venv.reset())
    features = agent.policy.extract_features(images)
    assert np.array_equal(model.policy.extract_features(images).detach(), features.detach())
    # not those that training started from
    assert not np.allclose(features.detach(), make_encoder(3).encode((255 * images).round().byte().numpy()), atol=1e-5)


def test_an_environment_that_is_made_and_refused_is_closed(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = []
    monkeypatch.setattr(DummyVecEnv, "close", lambda self: closed.append(self))
    with pytest.raises(ValueError, match="Observation spaces|needs|images"):
        load_agent(saved, "SparseRepr/SpriteReach-v0")
    assert len(closed) == 1
    given = DummyVecEnv([lambda: gym.make("SparseRepr/SpriteReach-v0")])
    with pytest.raises(ValueError, match="Observation spaces|needs|images"):
        load_agent(saved, given)
    assert len(closed) == 1


def test_what_cannot_be_saved_is_refused(tmp_path: Path) -> None:
    codes = VecLatentObservation(DummyVecEnv([Frames]), make_encoder(3))
    target = tmp_path / "agent.zip"

    def agent(env: Any) -> BaseAlgorithm:
        return A2C("MlpPolicy", env, device="cpu")

    with pytest.raises(ValueError, match=r"needs a path that ends in \.zip, got .*agent"):
        save_agent(tmp_path / "agent", agent(codes))
    with pytest.raises(ValueError, match="VecFrameStack is around the codes"):
        save_agent(target, agent(VecFrameStack(codes, 2)))
    with pytest.raises(ValueError, match="NormalizeObservation is around the codes"):
        save_agent(target, agent(NormalizeObservation(LatentObservation(Frames(), make_encoder(3)))))
    latent = LatentObservation(Frames(), make_encoder(3))
    doubled = TransformObservation(latent, lambda code: 2 * code, latent.observation_space)
    with pytest.raises(ValueError, match="TransformObservation is around the codes"):
        save_agent(target, agent(doubled))
    with pytest.raises(ValueError, match=r"neither its environment is wrapped.*use A2C\.save"):
        save_agent(target, agent("CartPole-v1"))
    without = agent(codes)
    without.env = None
    with pytest.raises(ValueError, match="a model with its environment"):
        save_agent(target, without)
    assert not list(tmp_path.iterdir())


def _changed(saved: Path, target: Path, **changes: bytes | None) -> Path:
    """A copy of the archive with members replaced, added, or (None) left out."""
    with zipfile.ZipFile(saved) as archive:
        members: dict[str, bytes | None] = {name: archive.read(name) for name in archive.namelist()}
    members |= {name.replace("__", "."): content for name, content in changes.items()}
    with zipfile.ZipFile(target, "w") as archive:
        for name, content in members.items():
            if content is not None:
                archive.writestr(name, content)
    return target


def _header(saved: Path, **changes: Any) -> bytes:
    with zipfile.ZipFile(saved) as archive:
        return json.dumps({**json.loads(archive.read("agent.json")), **changes}).encode()


def test_trap_22_an_exchanged_encoder_is_found(saved: Path, tmp_path: Path) -> None:
    changed = _changed(saved, tmp_path / "a.zip", encoder__safetensors=other_encoder().to_bytes())
    expected = make_encoder(3).fingerprint[:12]
    with pytest.raises(ValueError, match=rf"a\.zip: expected encoder {expected}.*{other_encoder().fingerprint[:12]}"):
        load_agent(changed, Frames())


def test_damaged_files_are_told_apart(saved: Path, tmp_path: Path) -> None:
    target = tmp_path / "agent.zip"

    def refusal(**changes: bytes | None) -> str:
        with pytest.raises(ValueError, match=str(target)) as refused:
            load_agent(_changed(saved, target, **changes), Frames())
        return str(refused.value)

    with pytest.raises(FileNotFoundError, match=r"no agent at .*none\.zip"):
        load_agent(tmp_path / "none.zip")
    assert "found agent.json, model.zip, normalization.npz; save" in refusal(encoder__safetensors=None)
    assert "expected normalization.npz, as agent.json says" in refusal(normalization__npz=None)
    assert "expected a safetensors file" in refusal(encoder__safetensors=b"x" * 20)
    assert "expected an npz file of plain arrays" in refusal(normalization__npz=b"x")
    assert "agent.json is damaged" in refusal(agent__json=b"{")
    assert "expected an agent of format version 1, found 'agent' of version 2" in refusal(
        agent__json=_header(saved, format=2)
    )
    assert "wrapper needs the entries image_keys" in refusal(agent__json=_header(saved, wrapper={"stack": 2}))
    assert "algorithm needs text, found 3" in refusal(agent__json=_header(saved, algorithm=3))
    assert "model.zip: expected what Stable-Baselines3 saves" in refusal(model__zip=b"x" * 20)
    assert "expected no normalization.npz, as agent.json says" in refusal(
        agent__json=_header(saved, normalization=None)
    )
    assert "nowhere:PPO cannot be imported" in refusal(agent__json=_header(saved, algorithm="nowhere:PPO"))
    assert "found os:getcwd" in refusal(agent__json=_header(saved, algorithm="os:getcwd"))
    outside = {"../evil__txt": b"x"}
    assert "found agent.json, model.zip, encoder.safetensors, normalization.npz, ../evil.txt" in refusal(**outside)
    content = saved.read_bytes()
    target.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match="found a damaged or other file"):
        load_agent(target)
    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 1
    target.write_bytes(flipped)
    with pytest.raises(ValueError, match="Bad CRC-32"):
        load_agent(target)


def test_statistics_are_arrays_and_objects_are_not_unpickled(saved: Path, tmp_path: Path) -> None:
    content = io.BytesIO()
    np.savez(content, clip_obs=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match="expected an npz file of plain arrays"):
        load_agent(_changed(saved, tmp_path / "a.zip", normalization__npz=content.getvalue()), Frames())
    with zipfile.ZipFile(saved) as archive, np.load(io.BytesIO(archive.read("normalization.npz"))) as arrays:
        parts = dict(arrays)
    assert parts["observation_mean"].shape == (8,)
    for changed, match in (
        ({"observation_mean": np.zeros(4)}, r"expected statistics of shape \(8,\).*found \(4,\)"),
        ({"clip_obs": None}, "expected an entry 'clip_obs'"),
    ):
        content = io.BytesIO()
        np.savez(content, **{name: value for name, value in {**parts, **changed}.items() if value is not None})
        with pytest.raises(ValueError, match=match):
            load_agent(_changed(saved, tmp_path / "a.zip", normalization__npz=content.getvalue()), Frames())


def test_plain_models_are_named_as_such(tmp_path: Path) -> None:
    venv = VecLatentObservation(DummyVecEnv([Frames]), make_encoder(3))
    A2C("MlpPolicy", venv, device="cpu").save(tmp_path / "plain.zip")
    with pytest.raises(ValueError, match="found a plain Stable-Baselines3 model"):
        load_agent(tmp_path / "plain.zip")


def test_normalisation_is_not_invented(tmp_path: Path, saved: Path) -> None:
    path = save_agent(
        tmp_path / "plain.zip", A2C("MlpPolicy", make_latent_vec_env(Frames, make_encoder(3)), device="cpu")
    )
    with pytest.raises(ValueError, match="trained without VecNormalize, found one"):
        load_agent(path, make_latent_vec_env(Frames, make_encoder(3), normalize=True))
    with pytest.raises(TypeError, match="needs an environment, a VecEnv or an id, got int"):
        load_agent(saved, 3)  # type: ignore[arg-type]


def test_the_given_environment_keeps_its_seed(saved: Path) -> None:
    def first(venv: Any) -> Any:
        return venv.reset()[0]

    class Drawn(Frames):
        def reset(self, **options: Any) -> tuple[Any, dict[str, Any]]:
            super().reset(**options)
            self.episode = int(self.np_random.integers(1_000))
            return self.look(), {}

    def make(seed: int) -> Any:
        venv = DummyVecEnv([Drawn])
        venv.seed(seed)
        return venv

    loaded = {seed: load_agent(saved, make(seed), training=False)[1] for seed in (0, 100, 200)}
    assert not np.array_equal(first(loaded[100]), first(loaded[200]))
    # the agent's own seed is 0: its episodes are those of whoever asks for them
    again = load_agent(saved, make(100), training=False)[1]
    assert again is not None
    again.seed(0)
    np.testing.assert_array_equal(first(again), first(loaded[0]))


def test_an_agent_that_was_played_keeps_how_it_learned(saved: Path, tmp_path: Path) -> None:
    agent, venv = load_agent(saved, DummyVecEnv([Frames]), training=False)
    assert isinstance(venv, VecNormalize)
    assert not venv.norm_reward
    again = load_agent(save_agent(tmp_path / "again.zip", agent), DummyVecEnv([Frames]))[1]
    assert isinstance(again, VecNormalize)
    assert again.norm_reward
    without = _trained(normalize={"norm_reward": False})
    played = load_agent(save_agent(tmp_path / "raw.zip", without), DummyVecEnv([Frames]), training=False)[0]
    raw = load_agent(save_agent(tmp_path / "raw-again.zip", played), DummyVecEnv([Frames]))[1]
    assert isinstance(raw, VecNormalize)
    assert not raw.norm_reward


def test_equal_agents_make_equal_files(tmp_path: Path) -> None:
    spec = dataclasses.replace(make_encoder(3).spec, dataset={"name": "elsewhere"})
    encoder = FrozenEncoder(spec, make_encoder(3).network().state_dict())
    agent = A2C("MlpPolicy", VecLatentObservation(DummyVecEnv([Frames]), encoder), device="cpu", seed=0)
    contents = []
    for name in ("a.zip", "b.zip"):
        with zipfile.ZipFile(save_agent(tmp_path / name, agent)) as archive:
            contents.append({part: archive.read(part) for part in archive.namelist() if part != "model.zip"})
    assert contents[0] == contents[1]


def test_attributes_are_replaced_as_in_sb3s_own_load(saved: Path) -> None:
    model, _ = load_agent(saved, device="cpu", custom_objects={"learning_rate": 1e-5}, gamma=0.5)
    assert (model.learning_rate, model.gamma) == (1e-5, 0.5)  # type: ignore[attr-defined]


def test_a_callback_writes_whole_agents(tmp_path: Path) -> None:
    agent = _trained(normalize=True)
    check = make_latent_vec_env(Frames, make_encoder(3), normalize=True, training=False)
    best = EvalCallback(check, eval_freq=8, n_eval_episodes=1, callback_on_new_best=SaveAgent(tmp_path / "best.zip"))
    agent.learn(32, callback=[best, EveryNTimesteps(16, SaveAgent(tmp_path / "at-{steps}.zip"))])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["at-16.zip", "at-32.zip", "best.zip"]
    _, venv = load_agent(tmp_path / "best.zip", Frames(), device="cpu")
    assert isinstance(venv, VecNormalize)
    assert isinstance(venv.venv, VecLatentObservation)
    assert venv.venv.encoder == make_encoder(3)
    with pytest.raises(ValueError, match=r"SaveAgent needs a path that ends in \.zip, got best"):
        SaveAgent("best")


def test_what_an_agents_file_could_not_hold_is_not_saved(tmp_path: Path) -> None:
    def save(venv: Any, kind: str = "MlpPolicy") -> None:
        save_agent(tmp_path / "agent.zip", PPO(kind, venv, n_steps=8, batch_size=8, device="cpu"))

    codes = VecLatentObservation(DummyVecEnv([Frames]), make_encoder(3))
    with pytest.raises(ValueError, match="several VecNormalize are around the codes"):
        save(VecNormalize(VecNormalize(codes, norm_reward=False), norm_obs=False))
    two = "the codes of one encoder are around those of another"
    named = DummyVecEnv([lambda: Frames(named=True)])
    left = VecLatentObservation(named, make_encoder(3), image_keys=["back"])
    with pytest.raises(ValueError, match=two):
        save(VecLatentObservation(left, other_encoder(), image_keys=["front"]), "MultiInputPolicy")
    single = LatentObservation(Frames(named=True), make_encoder(3), image_keys=["back"])
    with pytest.raises(ValueError, match=two):
        save(
            DummyVecEnv([lambda: LatentObservation(single, other_encoder(), image_keys=["front"])]), "MultiInputPolicy"
        )
    assert list(tmp_path.iterdir()) == []


def test_a_callback_looks_before_the_training_whether_it_can_save(tmp_path: Path) -> None:
    codes = VecLatentObservation(DummyVecEnv([Frames]), make_encoder(3))
    agent = PPO("MlpPolicy", VecFrameStack(codes, 2), n_steps=8, batch_size=8, device="cpu")
    with pytest.raises(ValueError, match="VecFrameStack"):
        agent.learn(64, callback=EveryNTimesteps(32, SaveAgent(tmp_path / "agent.zip")))
    assert agent.num_timesteps == 0


def test_a_dict_with_a_picture_that_stays_one_shows_the_same_codes(tmp_path: Path) -> None:
    options: dict[str, Any] = {"env_kwargs": {"named": True}, "image_keys": ["back"]}
    train, check = (make_latent_vec_env(Frames, make_encoder(3), seed=seed, **options) for seed in (0, 1))
    agent = PPO("MultiInputPolicy", train, n_steps=8, batch_size=8, device="cpu", policy_kwargs={"net_arch": [8]})
    require_same_codes(agent, check)
    agent.learn(8, callback=SameCodes(check))
    require_same_codes(*load_agent(save_agent(tmp_path / "agent.zip", agent), Frames(named=True), device="cpu"))
    other = make_latent_vec_env(Frames, other_encoder(), **options)
    with pytest.raises(ValueError, match="wrap it in the same encoder"):
        require_same_codes(agent, other)
    smaller = make_latent_vec_env(
        Frames, make_encoder(3, size=32), **{**options, "env_kwargs": {"named": True, "shape": (32, 32, 3)}}
    )
    with pytest.raises(ValueError, match="wrap it in the same encoder"):
        require_same_codes(agent, smaller)


def test_an_algorithm_that_nobody_can_import_is_refused_and_one_of_the_script_warned_of(tmp_path: Path) -> None:
    class Mine(PPO):
        pass

    venv = make_latent_vec_env(Frames, make_encoder(3))
    agent = Mine("MlpPolicy", venv, n_steps=8, batch_size=8, device="cpu")
    with pytest.raises(ValueError, match="Mine, which is defined in a function: define it in a module"):
        save_agent(tmp_path / "agent.zip", agent)
    assert list(tmp_path.iterdir()) == []
    Mine.__qualname__, Mine.__module__ = "Mine", "__main__"  # as in a script
    with pytest.warns(
        UserWarning, match="no other program can load the agent: define it in a module of its own"
    ) as caught:
        saved = save_agent(tmp_path / "agent.zip", agent)
    assert [warning.filename for warning in caught] == [__file__]
    with pytest.raises(ValueError, match="__main__:Mine cannot be imported .*: define it in a module of its own"):
        load_agent(saved)


def test_a_wrapper_that_changes_actions_is_told_by_the_file_too(tmp_path: Path) -> None:
    rescaled = {
        "wrapper_class": RescaleAction,
        "wrapper_kwargs": {"min_action": np.float32(0), "max_action": np.float32(5)},
    }
    agent = PPO(
        "MlpPolicy", make_latent_vec_env(Continuous, make_encoder(3), **rescaled), n_steps=8, batch_size=8, device="cpu"
    )
    file = save_agent(tmp_path / "agent.zip", agent)
    with pytest.warns(UserWarning, match="RescaleAction changes them on their way to the environment"):
        export_agent(file, tmp_path / "agent.pt2", image_shape=(64, 64, 3))
    assert AgentArchive.read(save_agent(tmp_path / "plain.zip", _trained(SAC))).changes_actions is None


def _with_buffer_of_many_pictures(tmp_path: Path) -> Path:
    """The file of an agent on pictures whose replay buffer would need 24 gigabytes."""
    kwargs = {"features_extractor_class": LatentExtractor, "features_extractor_kwargs": {"encoder": make_encoder(3)}}
    agent = DQN(
        "CnnPolicy", DummyVecEnv([Frames]), buffer_size=8, learning_starts=4, device="cpu", policy_kwargs=kwargs
    )
    agent.buffer_size = 10**13  # no machine has that
    return save_agent(tmp_path / "agent.zip", agent)


def test_an_agent_that_only_acts_needs_no_replay_buffer(tmp_path: Path) -> None:
    file = _with_buffer_of_many_pictures(tmp_path)
    export_agent(file, tmp_path / "agent.pt2")
    env = Frames()
    policy = AgentPolicy(file, observation_space=env.observation_space, action_space=env.action_space, environments=2)
    frames = np.zeros((2, 64, 64, 3), np.uint8)
    assert policy.act(frames, started=np.ones(2, bool), seed=0).shape == (2,)
    loaded, _ = load_agent(file, buffer_size=1, device="cpu")
    assert isinstance(loaded, DQN)


class Goals(gym.Env[Any, Any]):
    """Pictures with a goal, as `HerReplayBuffer` needs them."""

    def __init__(self) -> None:
        place = gym.spaces.Box(-1, 1, (2,), np.float32)
        image = gym.spaces.Box(0, 255, (64, 64, 3), np.uint8)
        self.observation_space = gym.spaces.Dict({"observation": image, "achieved_goal": place, "desired_goal": place})
        self.action_space = gym.spaces.Discrete(2)
        self._clock = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self._clock = 0
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self._clock += 1
        return self.observation_space.sample(), 0.0, False, self._clock == 3, {}

    def compute_reward(self, achieved: Any, desired: Any, info: Any) -> Any:
        return -np.linalg.norm(achieved - desired, axis=-1)


def test_an_agent_with_hindsight_is_told_what_it_needs(tmp_path: Path) -> None:
    venv = make_latent_vec_env(Goals, make_encoder(3), image_keys=["observation"])
    settings = {"buffer_size": 50, "learning_starts": 8, "device": "cpu", "policy_kwargs": {"net_arch": [8]}}
    agent = DQN("MultiInputPolicy", venv, replay_buffer_class=HerReplayBuffer, **settings).learn(16)
    file = save_agent(tmp_path / "agent.zip", agent)
    with pytest.raises(ValueError, match=r"load_agent needs env= for an agent that learned with HerReplayBuffer"):
        load_agent(file, device="cpu")
    acting, _ = load_agent(file, device="cpu", replay_buffer_class=None, replay_buffer_kwargs={})
    assert isinstance(acting, DQN)
    loaded, _ = load_agent(file, Goals(), device="cpu")
    assert loaded.replay_buffer_class is HerReplayBuffer  # type: ignore[attr-defined]
    with pytest.raises(TypeError, match="needs an agent that observes one Box, got one of Dict observations"):
        export_agent(file, tmp_path / "agent.pt2", image_shape=(64, 64, 3))


def test_pictures_in_stacks_of_one_are_exported_as_the_environment_shows_them(tmp_path: Path) -> None:
    class One(Frames):
        def __init__(self) -> None:
            super().__init__()
            self.observation_space = gym.spaces.Box(0, 255, (1, 64, 64, 3), np.uint8)

        def look(self) -> Any:
            return super().look()[None]

    agent = PPO("MlpPolicy", make_latent_vec_env(One, make_encoder(3)), n_steps=8, batch_size=8, device="cpu")
    agent.policy.action_net.weight.data.mul_(1_000)
    export_agent(agent, tmp_path / "agent.pt2")
    frames = np.random.default_rng(0).integers(0, 256, (8, 1, 64, 64, 3), dtype=np.uint8)
    found = torch.export.load(tmp_path / "agent.pt2").module()(torch.from_numpy(frames))
    expected, _ = agent.predict(make_encoder(3).encode(frames[:, 0]), deterministic=True)
    np.testing.assert_array_equal(found, expected)


def test_what_is_no_model_is_not_saved(tmp_path: Path) -> None:
    for path, model in ((tmp_path / "agent.zip", "model"), (object(), "model")):
        kinds = f"got {type(path).__name__} and str"
        with pytest.raises(TypeError, match=f"save_agent needs a path that ends in .zip and a model of .*{kinds}"):
            save_agent(path, model)  # type: ignore[arg-type]
