from __future__ import annotations

import copy
import dataclasses
import pickle
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import pytest
import torch
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.env_checker import check_env as check_sb3_env
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize, VecTransposeImage

import envs
from rl import FactorObservation, LatentObservation, VecLatentObservation
from rl.vector import LatentObservation as VectorLatentObservation
from sparse_repr import FrozenEncoder, save_encoder
from sparse_repr.encoder import UnitStatistics
from tests.conftest import make_encoder
from tests.frame_envs import Frames, picture

CONTINUOUS, DISCRETE = "SparseRepr/SpriteReach-v0", "SparseRepr/SpriteReach-Discrete-v0"


def _make() -> gym.Env[Any, Any]:
    return gym.make(CONTINUOUS)


# what the checker says of any wrapped environment, and of codes, whose range is not known
CHECKER_REMARKS = (
    "ignore:.*is different from the unwrapped version:UserWarning",
    "ignore:.*A Box observation space (minimum|maximum) value is -?infinity:UserWarning",
)


def _encoder_with_statistics(channels: int = 1) -> FrozenEncoder:
    """Three active units of unequal statistics and a dead one."""
    plain = make_encoder(channels)
    units = UnitStatistics((1.0,) * 4, (0.5, -1.0, 3.0, 0.0), (2.0, 0.25, 1.0, 1e-6), (True, True, True, False))
    return FrozenEncoder(dataclasses.replace(plain.spec, units=units), plain.network().state_dict())


OPTIONS: list[dict[str, Any]] = [
    {},
    {"n_stack": 3, "code_scaling": "standardize", "include_log_variance": True},
    {"code_scaling": "scale", "keep_image": True},
]


@pytest.mark.filterwarnings(*CHECKER_REMARKS)
@pytest.mark.parametrize("options", OPTIONS)
def test_both_env_checkers_pass_on_the_wrapped_environment(options: Any) -> None:
    env = LatentObservation(gym.make(CONTINUOUS, render_mode="rgb_array"), _encoder_with_statistics(), **options)
    check_env(env, skip_render_check=True)
    check_sb3_env(env)


@pytest.mark.filterwarnings(*CHECKER_REMARKS)
@pytest.mark.parametrize("options", OPTIONS)
def test_both_env_checkers_pass_with_dict_observations(options: Any) -> None:
    env = LatentObservation(Frames(named=True), _encoder_with_statistics(3), image_keys=["front", "back"], **options)
    check_env(env, skip_render_check=True)
    check_sb3_env(env)


def test_codes_are_those_of_the_frames(tiny_encoder: FrozenEncoder) -> None:
    env, plain = LatentObservation(_make(), tiny_encoder), _make()
    code, _ = env.reset(seed=0)
    image, _ = plain.reset(seed=0)
    assert env.observation_space.shape == (10,)
    assert code.dtype == np.float32
    np.testing.assert_allclose(code, tiny_encoder.encode(image[None])[0], atol=1e-6)
    action = np.array([1.0, -0.5], np.float32)
    np.testing.assert_allclose(env.step(action)[0], tiny_encoder.encode(plain.step(action)[0][None])[0], atol=1e-6)


@pytest.mark.parametrize("kind", [str, Path])
def test_a_path_is_accepted_and_recorded_in_the_spec(kind: Any, tmp_path: Path) -> None:
    encoder = _encoder_with_statistics()
    path = save_encoder(encoder, tmp_path / "encoder.safetensors")
    env = LatentObservation(_make(), kind(path), n_stack=2, code_scaling="scale")
    assert env.encoder == encoder
    assert env.spec is not None
    written = EnvSpec.from_json(env.spec.to_json())
    assert written.additional_wrappers[-1].kwargs is not None
    assert written.additional_wrappers[-1].kwargs["encoder"] == str(path)
    for spec in (env.spec, written):
        again = gym.make(spec)
        assert again.observation_space.shape == (8,)
        assert np.array_equal(again.reset(seed=1)[0], env.reset(seed=1)[0])


def test_an_encoder_object_is_recorded_as_itself_and_is_no_json(tiny_encoder: FrozenEncoder) -> None:
    env = LatentObservation(_make(), tiny_encoder)
    assert env.spec is not None
    again = gym.make(env.spec)
    assert isinstance(again, LatentObservation)
    assert again.encoder is tiny_encoder
    with pytest.raises(TypeError, match="FrozenEncoder is not JSON serializable"):
        env.spec.to_json()


def test_agents_train_on_codes(tiny_encoder: FrozenEncoder) -> None:
    PPO("MlpPolicy", LatentObservation(_make(), tiny_encoder), n_steps=16, batch_size=16, device="cpu").learn(32)
    vec = VecLatentObservation(DummyVecEnv([_make] * 2), tiny_encoder)
    SAC("MlpPolicy", VecNormalize(vec), learning_starts=4, buffer_size=100, device="cpu").learn(20)


def test_the_vectorised_twin_gives_the_codes_of_each_environment(tiny_encoder: FrozenEncoder) -> None:
    latent, plain = VecLatentObservation(DummyVecEnv([_make] * 3), tiny_encoder), DummyVecEnv([_make] * 3)
    latent.seed(5)
    plain.seed(5)
    np.testing.assert_allclose(latent.reset(), tiny_encoder.encode(plain.reset()), atol=1e-6)
    actions = np.random.default_rng(0).uniform(-1, 1, (3, 2)).astype(np.float32)
    np.testing.assert_allclose(latent.step(actions)[0], tiny_encoder.encode(plain.step(actions)[0]), atol=1e-6)


def test_trap_11_the_final_picture_of_an_episode_is_encoded(tiny_encoder: FrozenEncoder) -> None:
    latent, plain = VecLatentObservation(DummyVecEnv([_make] * 2), tiny_encoder), DummyVecEnv([_make] * 2)
    for venv in (latent, plain):
        venv.seed(0)
        venv.reset()
    stay, seen = np.zeros((2, 2), np.float32), 0
    for _ in range(envs.MAX_STEPS):
        codes, _, dones, infos = latent.step(stay)
        images, _, _, plain_infos = plain.step(stay)
        assert codes.shape == (2, 10)
        np.testing.assert_allclose(codes, tiny_encoder.encode(images), atol=1e-6)
        for i in np.flatnonzero(dones):
            expected = tiny_encoder.encode(plain_infos[i]["terminal_observation"][None])[0]
            np.testing.assert_allclose(infos[i]["terminal_observation"], expected, atol=1e-6)
            assert infos[i]["terminal_observation"].shape == (10,)
            seen += 1
    assert seen == 2


def test_transposed_environments_give_the_same_codes(tiny_encoder: FrozenEncoder) -> None:
    straight = VecLatentObservation(DummyVecEnv([_make]), tiny_encoder)
    transposed = VecLatentObservation(VecTransposeImage(DummyVecEnv([_make])), tiny_encoder)
    for venv in (straight, transposed):
        venv.seed(2)
    np.testing.assert_allclose(straight.reset(), transposed.reset(), atol=1e-6)


def _stacked(encoder: FrozenEncoder, frames: list[tuple[int, int]]) -> npt.NDArray[np.float32]:
    """Codes of the pictures (episode, step), side by side."""
    return encoder.encode(np.stack([picture(*frame) for frame in frames])).ravel()


def test_codes_are_stacked_and_the_first_fills_all_places() -> None:
    encoder = make_encoder(3)
    env = LatentObservation(Frames(length=3), encoder, n_stack=3)
    expected = [[(0, 0)] * 3, [(0, 0), (0, 0), (0, 1)], [(0, 0), (0, 1), (0, 2)], [(0, 1), (0, 2), (0, 3)]]
    seen = [env.reset(seed=0)[0], *(env.step(0)[0] for _ in range(3))]
    for code, frames in zip(seen, expected, strict=True):
        np.testing.assert_allclose(code, _stacked(encoder, frames), atol=1e-6)
    np.testing.assert_allclose(env.reset()[0], _stacked(encoder, [(1, 0)] * 3), atol=1e-6)


def test_trap_11_terminal_observations_are_stacked_before_the_next_episode_starts() -> None:
    encoder = make_encoder(3)
    # environments that end at different steps, so that rows are not mixed up
    venv = VecLatentObservation(
        DummyVecEnv([lambda: Frames(3), lambda: Frames(2, first_episode=5)]), encoder, n_stack=3
    )
    venv.seed(0)
    venv.reset()
    venv.step(np.zeros(2))
    codes, _, dones, infos = venv.step(np.zeros(2))
    assert dones.tolist() == [False, True]
    np.testing.assert_allclose(codes[0], _stacked(encoder, [(0, 0), (0, 1), (0, 2)]), atol=1e-6)
    np.testing.assert_allclose(codes[1], _stacked(encoder, [(6, 0)] * 3), atol=1e-6)
    last = infos[1]["terminal_observation"]
    np.testing.assert_allclose(last, _stacked(encoder, [(5, 0), (5, 1), (5, 2)]), atol=1e-6)
    assert "terminal_observation" not in infos[0]
    codes, _, dones, infos = venv.step(np.zeros(2))
    assert dones.tolist() == [True, False]
    np.testing.assert_allclose(codes[0], _stacked(encoder, [(1, 0)] * 3), atol=1e-6)
    np.testing.assert_allclose(codes[1], _stacked(encoder, [(6, 0), (6, 0), (6, 1)]), atol=1e-6)
    last = infos[0]["terminal_observation"]
    np.testing.assert_allclose(last, _stacked(encoder, [(0, 1), (0, 2), (0, 3)]), atol=1e-6)


def test_what_an_agent_writes_into_an_observation_does_not_come_back() -> None:
    encoder = make_encoder(3)
    env = LatentObservation(Frames(), encoder, n_stack=2)
    env.reset(seed=0)[0][:] = 7
    np.testing.assert_allclose(env.step(0)[0], _stacked(encoder, [(0, 0), (0, 1)]), atol=1e-6)


def test_trap_15_images_in_dict_observations_are_replaced_and_the_rest_passes_through() -> None:
    encoder = make_encoder(3)
    options: dict[str, Any] = {"image_keys": ["back"], "n_stack": 2}
    env = LatentObservation(Frames(1, named=True), encoder, **options)
    venv = VecLatentObservation(DummyVecEnv([lambda: Frames(1, named=True)]), encoder, **options)
    venv.seed(0)
    first, batch = env.reset(seed=0)[0], venv.reset()
    assert list(env.observation_space) == list(venv.observation_space) == list(Frames(named=True).observation_space)
    assert env.observation_space["back"] == gym.spaces.Box(-np.inf, np.inf, (8,), np.float32)
    assert env.observation_space.contains(first)
    np.testing.assert_array_equal(first["front"], picture(0, 0))
    np.testing.assert_allclose(first["back"], np.tile(encoder.encode(255 - picture(0, 0)[None])[0], 2), atol=1e-6)
    assert isinstance(batch, dict)
    after, infos = env.step(0)[0], venv.step(np.zeros(1))[3]
    for key, part in after.items():
        np.testing.assert_allclose(batch[key][0], first[key], atol=1e-6)
        np.testing.assert_allclose(infos[0]["terminal_observation"][key], part, atol=1e-6)


@pytest.mark.parametrize("shape", [(64, 64, 3), (3, 64, 64)])
def test_several_images_of_an_observation_share_one_forward_pass(shape: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, batches = make_encoder(3), []
    venv = VecLatentObservation(
        DummyVecEnv([lambda: Frames(1, shape, named=True)] * 2), encoder, image_keys=["front", "back"]
    )
    venv.seed(0)
    venv.reset()
    encode = encoder.posterior
    monkeypatch.setattr(encoder, "posterior", lambda images: batches.append(len(images)) or encode(images))
    venv.step(np.zeros(2))
    assert batches == [8]  # two environments, two cameras, the new and the last picture


def test_log_variances_stand_beside_scaled_codes() -> None:
    encoder = _encoder_with_statistics()
    env = LatentObservation(_make(), encoder, code_scaling="standardize", include_log_variance=True)
    image, _ = _make().reset(seed=0)
    mean, log_variance = (part[0] for part in encoder.posterior(image[None]))
    scaled = [(mean[0] - 0.5) / 2, (mean[1] + 1) / 0.25, (mean[2] - 3) / 1, 0]
    expected = [*scaled, *log_variance]
    np.testing.assert_allclose(env.reset(seed=0)[0], expected, atol=1e-5)


def test_the_picture_behind_a_code_is_kept_for_recording() -> None:
    encoder = make_encoder(3)
    env = LatentObservation(Frames(1), encoder, keep_image=True)
    np.testing.assert_array_equal(env.reset(seed=0)[1]["image"], picture(0, 0))
    np.testing.assert_array_equal(env.step(0)[4]["image"], picture(0, 1))
    named = LatentObservation(Frames(1, named=True), encoder, image_keys=["back"], keep_image=True)
    kept = named.reset(seed=0)[1]["image"]
    assert list(kept) == ["back"]
    np.testing.assert_array_equal(kept["back"], 255 - picture(0, 0))
    assert "image" not in LatentObservation(Frames(1), encoder).reset(seed=0)[1]


def test_vectorised_pictures_are_kept_with_that_of_the_end() -> None:
    encoder = make_encoder(3)
    venv = VecLatentObservation(DummyVecEnv([lambda: Frames(1)]), encoder, keep_image=True)
    venv.seed(0)
    venv.reset()
    np.testing.assert_array_equal(venv.reset_infos[0]["image"], picture(0, 0))
    infos = venv.step(np.zeros(1))[3]
    np.testing.assert_array_equal(infos[0]["image"], picture(1, 0))
    np.testing.assert_array_equal(infos[0]["terminal_image"], picture(0, 1))
    named = VecLatentObservation(
        DummyVecEnv([lambda: Frames(1, named=True)]), encoder, image_keys=["back"], keep_image=True
    )
    named.seed(0)
    named.reset()
    infos = named.step(np.zeros(1))[3]
    np.testing.assert_array_equal(infos[0]["image"]["back"], 255 - picture(1, 0))
    np.testing.assert_array_equal(infos[0]["terminal_image"]["back"], 255 - picture(0, 1))


class _OneInfo(Frames):
    """Hands out the same info at every step, as its own."""

    def __init__(self) -> None:
        super().__init__(2)
        self.info: dict[str, Any] = {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return *super().step(action)[:4], self.info


@pytest.mark.parametrize("transposed", [False, True])
def test_the_last_picture_of_an_episode_counts_at_its_end_alone(transposed: bool) -> None:
    inner = DummyVecEnv([_OneInfo])
    venv = VecLatentObservation(VecTransposeImage(inner) if transposed else inner, make_encoder(3), keep_image=True)
    venv.seed(0)
    venv.reset()
    ended = []
    for _ in range(4):
        _, _, dones, infos = venv.step(np.zeros(1))
        ended.append((bool(dones[0]), infos[0]["image"].mean() == picture(*_PLACES[len(ended)]).mean()))
    assert ended == [(False, True), (True, True), (False, True), (True, True)]
    np.testing.assert_array_equal(np.sort(infos[0]["terminal_image"], None), np.sort(picture(1, 2), None))


# episode and step behind the picture after each of four steps
_PLACES = ((0, 1), (1, 0), (1, 1), (2, 0))


def test_infos_of_resets_are_those_of_the_last_one() -> None:
    class Counted(Frames):
        def reset(self, **options: Any) -> tuple[Any, dict[str, Any]]:
            return super().reset(**options)[0], {"episode_number": self.episode}

    venv = VecLatentObservation(DummyVecEnv([lambda: Counted(1)]), make_encoder(3), keep_image=True)
    venv.seed(0)
    venv.reset()
    for episode in range(3):
        assert venv.reset_infos[0]["episode_number"] == episode
        np.testing.assert_array_equal(venv.reset_infos[0]["image"], picture(episode, 0))
        venv.step(np.zeros(1))


@pytest.mark.parametrize("layout", ["HWC", "CHW"])
def test_trap_09_one_frame_has_one_code_everywhere(layout: str) -> None:
    encoder = make_encoder(3)
    frame = picture(0, 0)
    axes, shape = ((0, 1, 2), (64, 64, 3)) if layout == "HWC" else ((2, 0, 1), (3, 64, 64))

    class Still(Frames):
        def look(self) -> Any:
            return frame.transpose(axes)

    expected = encoder.encode(frame[None])[0]
    env = LatentObservation(Still(shape=shape), encoder, n_stack=2)
    np.testing.assert_allclose(env.reset()[0], np.tile(expected, 2), atol=1e-5)
    venv = VecLatentObservation(DummyVecEnv([lambda: Still(shape=shape)] * 5), encoder)
    np.testing.assert_allclose(venv.reset(), np.tile(expected, (5, 1)), atol=1e-5)
    twin = VectorLatentObservation(gym.vector.SyncVectorEnv([lambda: Still(shape=shape)] * 5), encoder)
    np.testing.assert_allclose(twin.reset()[0], np.tile(expected, (5, 1)), atol=1e-5)


@pytest.mark.parametrize("shape", [(64, 64, 3), (3, 64, 64), (3, 64, 64, 1)])
def test_trap_10_stacks_of_pictures_are_refused_with_both_remedies(shape: Any, tiny_encoder: FrozenEncoder) -> None:
    with pytest.raises(ValueError, match="3 stacked pictures, remove the stacking and give n_stack=3") as refusal:
        LatentObservation(Frames(shape=shape), tiny_encoder)
    assert len(shape) == 4 or "Convert to grey first" in str(refusal.value)
    with pytest.raises(ValueError, match="4 stacked pictures, remove the stacking and give n_stack=4"):
        LatentObservation(Frames(shape=(64, 64, 12)), make_encoder(3))


@pytest.mark.parametrize("wrap", [LatentObservation, VecLatentObservation])
def test_spaces_the_encoder_cannot_take_are_refused(wrap: Any, tiny_encoder: FrozenEncoder) -> None:
    class Fake(gym.Env[Any, Any]):
        action_space = gym.spaces.Discrete(2)

        def __init__(self, space: gym.Space[Any]) -> None:
            self.observation_space = space

    def env(space: gym.Space[Any]) -> Any:
        return Fake(space) if wrap is LatentObservation else DummyVecEnv([lambda: Fake(space)])

    image = gym.spaces.Box(0, 255, (64, 64, 1), np.uint8)
    camera = gym.spaces.Dict({"camera": image, "speed": gym.spaces.Box(0, 1, (1,), np.float32)})
    with pytest.raises(TypeError, match=r"a Dict space needs image_keys, some of \['camera', 'speed'\]"):
        wrap(env(camera), tiny_encoder)
    with pytest.raises(ValueError, match=r"image_keys \['back'\] are not in \['camera', 'speed'\]"):
        wrap(env(camera), tiny_encoder, image_keys=["camera", "back"])
    with pytest.raises(TypeError, match="image_keys needs a sequence of keys, got the string 'camera'"):
        wrap(env(camera), tiny_encoder, image_keys="camera")
    with pytest.raises(TypeError, match=r"observation 'speed' needs a Box of uint8 images in 0\.\.255"):
        wrap(env(camera), tiny_encoder, image_keys=["speed"])
    with pytest.raises(TypeError, match="image_keys needs a Dict space"):
        wrap(env(image), tiny_encoder, image_keys=["camera"])
    with pytest.raises(TypeError, match=r"needs a Box of uint8 images in 0\.\.255"):
        wrap(env(gym.spaces.Box(0, 1, (64, 64, 1), np.float32)), tiny_encoder)
    with pytest.raises(ValueError, match="Convert to grey first"):
        wrap(env(gym.spaces.Box(0, 255, (64, 64, 3), np.uint8)), tiny_encoder)
    with pytest.raises(ValueError, match="Resize the observation to 64x64"):
        wrap(env(gym.spaces.Box(0, 255, (60, 60, 1), np.uint8)), tiny_encoder)
    with pytest.raises(ValueError, match="trained on colour images"):
        wrap(env(image), make_encoder(3))
    for wrong in (0, 1.5, True):
        with pytest.raises(ValueError, match=f"n_stack needs a whole number of at least 1, got {wrong}"):
            wrap(env(image), tiny_encoder, n_stack=wrong)


@pytest.mark.parametrize("shape", [(64, 64), (1, 84, 84, 3), (3, 64, 64), (60, 60, 1), (2, 64, 64, 1), (2, 84, 84)])
@pytest.mark.parametrize("wrap", [LatentObservation, VecLatentObservation])
def test_remedies_for_spaces_name_wrappers_and_not_what_mends_an_array(wrap: Any, shape: Any) -> None:
    env: Any = Frames(shape=shape) if wrap is LatentObservation else DummyVecEnv([lambda: Frames(shape=shape)])
    with pytest.raises(ValueError, match=r"gymnasium\.wrappers\.|n_stack=2, which stacks") as refusal:
        wrap(env, make_encoder(1))
    assert "images[" not in str(refusal.value)
    assert "n_stack=1" not in str(refusal.value)
    assert "moved last" in str(refusal.value) or shape != (3, 64, 64)


def test_the_remedies_work() -> None:
    encoder = make_encoder(1)
    flat = gym.wrappers.ReshapeObservation(Frames(shape=(64, 64)), (64, 64, 1))
    grey = gym.wrappers.GrayscaleObservation(Frames(shape=(64, 64, 3)), keep_dim=True)
    for env in (flat, grey, Frames(shape=(1, 64, 64, 1))):
        assert LatentObservation(env, encoder).reset(seed=0)[0].shape == (4,)


def test_spaces_of_another_type_are_told_how_to_become_uint8() -> None:
    encoder = make_encoder(3)
    whole = gym.wrappers.DtypeObservation(Frames(), np.float32)
    with pytest.raises(
        TypeError, match=r"convert them to uint8 \(gymnasium.wrappers.DtypeObservation\(env, np.uint8\)\)"
    ):
        LatentObservation(whole, encoder)
    with pytest.raises(TypeError, match="leave out what scales them"):
        LatentObservation(gym.wrappers.RescaleObservation(whole, np.float32(0), np.float32(1)), encoder)
    back = LatentObservation(gym.wrappers.DtypeObservation(whole, np.uint8), encoder)
    np.testing.assert_allclose(back.reset(seed=0)[0], encoder.encode(picture(0, 0)[None])[0], atol=1e-6)


def test_a_wrapper_that_finds_no_encoder_does_not_speak_of_saved_agents(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no encoder at") as refusal:
        LatentObservation(Frames(), tmp_path / "nothing")
    assert "custom_objects" not in str(refusal.value)


def test_remedies_for_a_dict_name_the_wrapper_that_takes_one() -> None:
    options: Any = {"image_keys": ["back"]}
    with pytest.raises(
        ValueError, match=r"'back'.*Convert to grey first \(gymnasium.wrappers.TransformObservation, whose"
    ):
        LatentObservation(Frames(named=True), make_encoder(1), **options)
    with pytest.raises(ValueError, match=r"Resize .* to 64x64 \(gymnasium.wrappers.TransformObservation, whose"):
        LatentObservation(Frames(shape=(60, 60, 3), named=True), make_encoder(3), **options)

    def shrink(observation: Any) -> Any:
        return {**observation, "back": observation["back"][:64, :64]}

    large = Frames(shape=(80, 80, 3), named=True)
    small = gym.spaces.Dict({**large.observation_space, "back": gym.spaces.Box(0, 255, (64, 64, 3), np.uint8)})  # type: ignore[dict-item]
    env = LatentObservation(gym.wrappers.TransformObservation(large, shrink, small), make_encoder(3), **options)
    assert env.reset()[0]["back"].shape == (4,)


def test_who_gave_n_stack_is_not_told_to_give_it() -> None:
    with pytest.raises(ValueError, match=r"remove the stacking: n_stack=4 stacks their codes"):
        LatentObservation(Frames(shape=(64, 64, 12)), make_encoder(3), n_stack=4)
    with pytest.raises(ValueError, match=r"remove the stacking and give n_stack=4, which stacks their codes"):
        LatentObservation(Frames(shape=(64, 64, 12)), make_encoder(3), n_stack=2)


class _Dark(Frames):
    """Pictures of 0 and 1, in a space that says nothing of it."""

    def look(self) -> Any:
        return super().look() // 128


@pytest.mark.parametrize("wrap", [LatentObservation, VecLatentObservation, VectorLatentObservation])
def test_uint8_pictures_in_0_to_1_are_refused_by_their_bounds(wrap: Any) -> None:
    def make() -> Any:
        return gym.wrappers.RescaleObservation(Frames(), 0, 1)

    envs = {VecLatentObservation: DummyVecEnv, VectorLatentObservation: gym.vector.SyncVectorEnv}
    env = envs[wrap]([make]) if wrap in envs else make()
    with pytest.raises(ValueError, match=r"0\.\.255, got Box\(0, 1, \(64, 64, 3\), uint8\).*RescaleObservation"):
        wrap(env, make_encoder(3))


@pytest.mark.parametrize("wrap", [LatentObservation, VecLatentObservation, VectorLatentObservation])
def test_uint8_pictures_in_0_to_1_are_told_of_once_where_bounds_lie(wrap: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("rl.pixel_range.IMAGES_TO_TELL", 4)
    single = wrap is LatentObservation
    envs = {VecLatentObservation: DummyVecEnv, VectorLatentObservation: gym.vector.SyncVectorEnv}

    def made(kind: type[Frames]) -> Any:
        return wrap(kind(9) if single else envs[wrap]([lambda: kind(9)] * 2), make_encoder(3))

    env, go = made(_Dark), 0 if single else np.zeros(2, np.int64)
    env.reset()
    for _ in range(2 if single else 0):
        env.step(go)
    with pytest.warns(UserWarning, match=r"brightest pixel of 4 images is 1, where white is 255.*multiply them by 255"):
        env.step(go)
    for _ in range(3):  # warnings are errors here: it is said once
        env.step(go)
    bright = made(Frames)
    bright.reset()
    for _ in range(6):
        bright.step(go)


def test_a_black_picture_says_nothing_of_the_range(monkeypatch: Any) -> None:
    class Opening(Frames):
        def look(self) -> Any:
            return super().look() * (self.clock > 1)

    monkeypatch.setattr("rl.pixel_range.IMAGES_TO_TELL", 4)
    env = LatentObservation(Opening(9), make_encoder(3))
    env.reset()
    for _ in range(9):
        env.step(0)


@pytest.mark.parametrize(("shape", "kind"), [((64, 64, 3), np.float32), ((64, 64), np.uint8), ((32, 64, 3), np.uint8)])
def test_environments_that_do_not_show_what_they_declare_are_named(shape: Any, kind: Any) -> None:
    class Lying(Frames):
        def look(self) -> Any:
            return np.zeros(shape, kind) if self.clock else super().look()

    env = LatentObservation(Lying(), make_encoder(3))
    env.reset()
    with pytest.raises(TypeError, match=r"LatentObservation: the space declares uint8 images of shape \(64, 64, 3\)"):
        env.step(0)


@pytest.mark.parametrize("again", [copy.deepcopy, lambda venv: pickle.loads(pickle.dumps(venv))])
@pytest.mark.parametrize("wrap", [LatentObservation, VecLatentObservation, VectorLatentObservation])
def test_wrappers_are_copied_and_pickled_with_all_they_remember(wrap: Any, again: Any) -> None:
    envs = {VecLatentObservation: DummyVecEnv, VectorLatentObservation: gym.vector.SyncVectorEnv}
    env = wrap(envs[wrap]([Frames] * 2) if wrap in envs else Frames(), make_encoder(3), n_stack=2)
    go = np.zeros(2, np.int64) if wrap in envs else 0
    env.reset()
    env.step(go)
    twin = again(env)
    assert twin.encoder == env.encoder
    np.testing.assert_allclose(twin.step(go)[0], env.step(go)[0])


@pytest.mark.filterwarnings(*CHECKER_REMARKS)
def test_ground_truth_factors_can_be_observed() -> None:
    env = FactorObservation(_make(), ("position_y", "shape"), one_hot={"shape": 3})
    assert env.observation_space.shape == (4,)
    observation, info = env.reset(seed=0, options={"shape": 1})
    assert observation.tolist() == pytest.approx([info["factors"][4], 0, 1, 0])
    observation, _, _, _, info = env.step(np.array([0.0, 1.0], np.float32))
    assert observation[0] == pytest.approx(info["factors"][4])
    assert FactorObservation(_make()).observation_space.shape == (5,)
    check_env(env, skip_render_check=True)


def test_factors_that_do_not_exist_are_refused() -> None:
    with pytest.raises(ValueError, match=r"asked for \['colour'\]"):
        FactorObservation(_make(), ("colour",))
    with pytest.raises(ValueError, match=r"has the factors \(\)"):
        FactorObservation(gym.make("CartPole-v1"))


class _Goals(gym.Env[Any, Any]):
    """Goals are pictures, and rewards are computed from them, as `HerReplayBuffer` asks for."""

    def __init__(self) -> None:
        image = gym.spaces.Box(0, 255, (64, 64, 3), np.uint8)
        self.observation_space = gym.spaces.Dict(dict.fromkeys(("observation", "achieved_goal", "desired_goal"), image))
        self.action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> Any:
        return self.observation_space.sample(), 0.0, False, False, {}

    def compute_reward(self, achieved: Any, desired: Any, info: Any) -> float:
        return 0.0


@pytest.mark.parametrize("vectorised", [False, True])
def test_rewards_of_goals_that_were_pictures_are_not_computed_from_codes(vectorised: bool) -> None:
    def shown(*keys: str) -> Any:
        if vectorised:
            return VecLatentObservation(DummyVecEnv([_Goals]), make_encoder(3), image_keys=keys)
        return DummyVecEnv([lambda: LatentObservation(_Goals(), make_encoder(3), image_keys=keys)])

    with pytest.raises(ValueError, match="achieved_goal and desired_goal of the environment are pictures"):
        shown("observation", "achieved_goal", "desired_goal").env_method("compute_reward", 0, 0, {}, indices=[0])
    assert shown("observation").env_method("compute_reward", 0, 0, {}, indices=[0]) == [0.0]


def test_mirrored_pictures_are_encoded_on_any_device(monkeypatch: pytest.MonkeyPatch) -> None:
    class Mirrored(gym.ObservationWrapper[Any, Any, Any]):
        def observation(self, observation: Any) -> Any:
            return observation[::-1]

    env = LatentObservation(Mirrored(Frames()), make_encoder(3))
    expected = env.reset(seed=0)[0]
    device = torch.device("cuda")
    # pictures go to a device of another kind; here it is the CPU all the same
    monkeypatch.setattr(env._latent, "_device", device)
    as_tensor = torch.as_tensor
    monkeypatch.setattr(torch, "as_tensor", lambda values, device=None: as_tensor(values))
    np.testing.assert_allclose(env.reset(seed=0)[0], expected, atol=1e-6)


def test_a_stack_of_codes_begins_anew_where_an_autoreset_inside_begins_an_episode() -> None:
    encoder = make_encoder(3)
    env = LatentObservation(gym.wrappers.Autoreset(Frames(length=2)), encoder, n_stack=2)
    code = [[encoder.encode(picture(episode, step)[None])[0] for step in range(3)] for episode in range(2)]
    shown = [env.reset(seed=0)[0], *(env.step(0)[0] for _ in range(4))]
    expected = [(code[0][0], code[0][0]), (code[0][0], code[0][1]), (code[0][1], code[0][2])]
    expected += [(code[1][0], code[1][0]), (code[1][0], code[1][1])]
    np.testing.assert_allclose(shown, [np.concatenate(pair) for pair in expected], atol=1e-6)


class _Floats(Frames):
    """Pictures that say they are floats in some range."""

    def __init__(self, low: float, high: float) -> None:
        super().__init__()
        self.observation_space = gym.spaces.Box(low, high, self.shape, np.float32)


@pytest.mark.parametrize(("low", "high"), [(-np.inf, np.inf), (0, np.inf), (-1, 1), (0, 1)])
def test_remedies_for_floats_of_any_range_can_be_followed(low: float, high: float) -> None:
    encoder = make_encoder(3)
    with pytest.raises(
        TypeError, match=r"TransformObservation\(env, f, gymnasium.spaces.Box\(0, 255, \(64, 64, 3\), np"
    ):
        LatentObservation(_Floats(low, high), encoder)
    wanted = gym.spaces.Box(0, 255, (64, 64, 3), np.uint8)
    mended = gym.wrappers.TransformObservation(_Floats(low, high), lambda seen: seen.astype(np.uint8), wanted)
    assert LatentObservation(mended, encoder).reset()[0].shape == (4,)


def test_floats_in_a_dict_are_told_of_a_wrapper_that_takes_one() -> None:
    space = gym.spaces.Dict({"camera": gym.spaces.Box(0, 255, (64, 64, 3), np.float32)})
    camera = gym.wrappers.TransformObservation(Frames(), lambda seen: {"camera": seen}, space)
    with pytest.raises(TypeError, match="TransformObservation, whose function sees the whole Dict"):
        LatentObservation(camera, make_encoder(3), image_keys=["camera"])
