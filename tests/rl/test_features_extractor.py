"""The traps of pretrained encoders in Stable-Baselines3; numbers as in the project's list of traps."""

from __future__ import annotations

import copy
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
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.preprocessing import preprocess_obs
from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack, VecTransposeImage

from rl import LatentExtractor, LatentObservation
from sparse_repr import FrozenEncoder, load_encoder
from sparse_repr.encoder import FrozenEncoder as EncoderClass
from sparse_repr.encoder import UnitStatistics
from tests.conftest import make_encoder
from tests.frame_envs import Frames

CONTINUOUS, DISCRETE = "envs:SparseRepr/SpriteReach-v0", "envs:SparseRepr/SpriteReach-Discrete-v0"


def _kwargs(encoder: FrozenEncoder | str) -> dict[str, Any]:
    return {"features_extractor_class": LatentExtractor, "features_extractor_kwargs": {"encoder": encoder}}


def _ppo(
    encoder: FrozenEncoder | str,
    *,
    extractor: dict[str, Any] | None = None,
    policy: dict[str, Any] | None = None,
    **changes: Any,
) -> PPO:
    """PPO with further arguments of the extractor, of the policy and of the algorithm."""
    kwargs = {**_kwargs(encoder), **(policy or {})}
    kwargs["features_extractor_kwargs"] |= extractor or {}
    settings: dict[str, Any] = {"n_steps": 16, "batch_size": 16, "n_epochs": 2, "device": "cpu", "seed": 0}
    return PPO("CnnPolicy", gym.make(CONTINUOUS), policy_kwargs=kwargs, **{**settings, **changes})


def _fresh(encoder: FrozenEncoder) -> FrozenEncoder:
    """An own copy, so that a test that breaks it breaks nothing else."""
    EncoderClass._known.pop(encoder.fingerprint, None)
    return FrozenEncoder.from_bytes(encoder.to_bytes())


def _extractors(model: Any) -> list[LatentExtractor]:
    return [module for module in model.policy.modules() if isinstance(module, LatentExtractor)]


def test_trap_01_the_heads_still_get_their_orthogonal_initialisation(tiny_encoder: FrozenEncoder) -> None:
    model = _ppo(tiny_encoder)
    weight = model.policy.mlp_extractor.policy_net[0].weight  # (64, 10), gain sqrt(2)
    torch.testing.assert_close(weight.T @ weight, 2 * torch.eye(10), atol=1e-4, rtol=0)


def test_trap_01_a_changed_encoder_raises_at_the_first_forward(tiny_encoder: FrozenEncoder) -> None:
    encoder = _fresh(tiny_encoder)
    model = _ppo(encoder)
    with torch.no_grad():
        next(encoder.network().parameters()).zero_()
    with pytest.raises(RuntimeError, match="modified in memory"):
        model.predict(np.zeros((64, 64, 1), np.uint8))


def test_trap_01_an_encoder_that_changes_after_its_first_check_is_not_saved(tmp_path: Path) -> None:
    encoder = _fresh(make_encoder())
    model = _ppo(encoder)
    model.predict(np.zeros((64, 64, 1), np.uint8))
    model.save(tmp_path / "before.zip")
    with torch.no_grad():
        next(encoder.network().parameters()).zero_()
    with pytest.raises(RuntimeError, match="modified in memory"):
        model.save(tmp_path / "after.zip")


def test_trap_01_a_state_of_another_encoder_is_refused(tiny_encoder: FrozenEncoder) -> None:
    other = LatentExtractor(gym.spaces.Box(0, 255, (1, 64, 64), np.uint8), make_encoder(code_size=10))
    mine = LatentExtractor(gym.spaces.Box(0, 255, (1, 64, 64), np.uint8), tiny_encoder)
    mine.load_state_dict(mine.state_dict())
    with pytest.raises(ValueError, match=f"saved with encoder {other.encoder.fingerprint[:12]}, but FrozenEncoder"):
        mine.load_state_dict(other.state_dict())


def test_trap_02_training_mode_changes_nothing(tiny_encoder: FrozenEncoder) -> None:
    model = _ppo(tiny_encoder)
    observation = torch.rand(3, 1, 64, 64).round()
    extractor = model.policy.features_extractor
    model.policy.set_training_mode(False)
    expected = extractor(observation)
    model.policy.set_training_mode(True)
    assert not tiny_encoder.network().training
    assert torch.equal(extractor(observation), expected)
    assert torch.equal(extractor(observation), expected)  # no sampling


def test_trap_08_the_range_is_worked_out_from_the_space(tiny_encoder: FrozenEncoder) -> None:
    image = np.random.default_rng(0).integers(0, 2, (1, 1, 64, 64), dtype=np.uint8) * 255
    expected = tiny_encoder.encode(image)
    uint8 = gym.spaces.Box(0, 255, (1, 64, 64), np.uint8)
    floats = gym.spaces.Box(0, 255, (1, 64, 64), np.float32)
    cases = (
        (uint8, None, True),  # SB3 divides by 255
        (uint8, False, False),  # normalize_images=False
        (floats, False, True),  # SB3 does not touch a float box
        (gym.spaces.Box(0, 1, (1, 64, 64), np.float32), True, True),
    )
    for space, images_in_0_1, normalise in cases:
        raw = torch.as_tensor(image if space.high.max() > 1 else image / 255).to(
            torch.uint8 if space is uint8 else torch.float32
        )
        received = preprocess_obs(raw, space, normalize_images=normalise)
        assert isinstance(received, torch.Tensor)
        codes = LatentExtractor(space, tiny_encoder, images_in_0_1=images_in_0_1)(received)
        np.testing.assert_allclose(codes.numpy(), expected, atol=1e-6)


def test_trap_08_what_sb3_does_not_tell_must_be_said(tiny_encoder: FrozenEncoder) -> None:
    with pytest.raises(ValueError, match="Say what reaches the extractor: images_in_0_1=True"):
        LatentExtractor(gym.spaces.Box(0, 255, (1, 64, 64), np.float32), tiny_encoder)
    with pytest.raises(ValueError, match="Say what reaches the extractor"):
        LatentExtractor(gym.spaces.Box(0, 100, (1, 64, 64), np.uint8), tiny_encoder)


def test_trap_08_values_that_contradict_the_range_raise_on_the_first_batch(tiny_encoder: FrozenEncoder) -> None:
    space = gym.spaces.Box(0, 255, (1, 64, 64), np.uint8)
    with pytest.raises(ValueError, match=r"should be in 0\.\.1 here but is in 0\.\.255; with normalize_images=False"):
        LatentExtractor(space, tiny_encoder)(255 * torch.rand(2, 1, 64, 64).round())
    with pytest.raises(ValueError, match=r"should be in 0\.\.255 here.*images_in_0_1=True"):
        LatentExtractor(space, tiny_encoder, images_in_0_1=False)(torch.full((2, 1, 64, 64), 0.3))


def test_trap_12_normalised_pictures_are_named_as_such(tiny_encoder: FrozenEncoder) -> None:
    frames = gym.spaces.Box(-10, 10, (1, 64, 64), np.float32)
    for images_in_0_1 in (None, True, False):
        with pytest.raises(ValueError, match=r"no picture has negative values: if VecNormalize .* norm_obs=False"):
            LatentExtractor(frames, tiny_encoder, images_in_0_1=images_in_0_1)
    bright = gym.spaces.Box(0, 255, (1, 64, 64), np.float32)
    for images_in_0_1 in (True, False):
        with pytest.raises(ValueError, match=r"is in -0\.5\.\.-0\.5; no picture has negative .*norm_obs=False"):
            LatentExtractor(bright, tiny_encoder, images_in_0_1=images_in_0_1)(torch.full((2, 1, 64, 64), -0.5))


UINT8 = gym.spaces.Box(0, 255, (1, 64, 64), np.uint8)


@pytest.mark.parametrize(
    ("images_in_0_1", "undecided", "telling", "message"),
    [
        (None, torch.zeros(2, 1, 64, 64), 255.0, r"should be in 0\.\.1 .*normalize_images=False"),
        (None, torch.ones(2, 1, 64, 64), 255.0, r"should be in 0\.\.1 .*images_in_0_1=False"),
        (None, torch.zeros(0, 1, 64, 64), 255.0, r"should be in 0\.\.1"),
        (False, torch.zeros(2, 1, 64, 64), 0.3, r"should be in 0\.\.255.*images_in_0_1=True"),
        (False, torch.ones(2, 1, 64, 64), 0.3, r"should be in 0\.\.255.*images_in_0_1=True"),
        (False, torch.zeros(2, 1, 64, 64), float("nan"), r"in 0\.\.255 here but is in nan\.\.nan"),
        (None, torch.zeros(2, 1, 64, 64), float("nan"), r"in 0\.\.1 here but is in nan\.\.nan"),
    ],
)
def test_trap_08_a_batch_that_fits_every_range_leaves_the_check_open(
    images_in_0_1: Any, undecided: torch.Tensor, telling: float, message: str
) -> None:
    extractor = LatentExtractor(UINT8, make_encoder(), images_in_0_1=images_in_0_1)
    for _ in range(3):
        extractor(undecided)
    with pytest.raises(ValueError, match=message):
        extractor(torch.full((2, 1, 64, 64), telling))


@pytest.mark.parametrize(("images_in_0_1", "telling"), [(None, 0.3), (False, 200.0)])
def test_trap_08_a_batch_that_tells_closes_the_check(images_in_0_1: Any, telling: float) -> None:
    extractor = LatentExtractor(UINT8, make_encoder(), images_in_0_1=images_in_0_1)
    extractor(torch.zeros(2, 1, 64, 64))
    assert not extractor._inputs[""]._checked
    extractor(torch.full((2, 1, 64, 64), telling))
    assert extractor._inputs[""]._checked


@pytest.mark.parametrize(
    ("images_in_0_1", "pictures", "remedy"),
    [
        (None, torch.ones(2, 1, 64, 64) / 255, "multiply them by 255 in the environment"),
        (False, torch.ones(2, 1, 64, 64), "images_in_0_1=True"),
        (False, torch.ones(2, 1, 64, 64, dtype=torch.uint8), "images_in_0_1=True"),
    ],
)
def test_trap_08_pixels_that_are_never_above_1_are_told_of_once(
    images_in_0_1: Any, pictures: torch.Tensor, remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rl.pixel_range.IMAGES_TO_TELL", 6)
    extractor = LatentExtractor(UINT8, make_encoder(), images_in_0_1=images_in_0_1)
    extractor(pictures)
    extractor(pictures)
    with pytest.warns(UserWarning, match=f"LatentExtractor: .*brightest pixel of 6 images is 1.*{remedy}"):
        extractor(pictures)
    extractor(pictures)  # warnings are errors here: it is said once


def test_trap_08_bounds_and_images_in_0_1_must_agree() -> None:
    for space in (gym.spaces.Box(0, 1, (1, 64, 64), np.uint8), gym.spaces.Box(0, 1, (1, 64, 64), np.float32)):
        with pytest.raises(ValueError, match=r"images_in_0_1=False says .*give images_in_0_1=True"):
            LatentExtractor(space, make_encoder(), images_in_0_1=False)
        assert LatentExtractor(space, make_encoder(), images_in_0_1=True)(torch.rand(2, 1, 64, 64)).shape == (2, 4)


def test_a_stack_of_one_picture_is_a_picture() -> None:
    encoder = make_encoder(3)
    pictures = np.random.default_rng(0).integers(0, 256, (2, 1, 64, 64, 3), dtype=np.uint8)
    space = gym.spaces.Box(0, 255, (1, 64, 64, 3), np.uint8)
    codes = LatentExtractor(space, encoder, images_in_0_1=False)(torch.from_numpy(pictures))
    np.testing.assert_allclose(codes.numpy(), encoder.encode(pictures[:, 0]), atol=1e-5)


@pytest.mark.parametrize("shape", [(64, 64, 12), (12, 64, 64), (4, 64, 64, 3)])
def test_trap_10_stacks_of_frames_that_do_not_fit_name_what_mends_a_frame(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"LatentExtractor: the observation: n_stack=4 needs .*Convert to grey first"):
        LatentExtractor(gym.spaces.Box(0, 255, shape, np.uint8), make_encoder(1), n_stack=4, images_in_0_1=True)


def test_trap_08_normalize_images_false_end_to_end(tiny_encoder: FrozenEncoder) -> None:
    model = _ppo(tiny_encoder, extractor={"images_in_0_1": False}, policy={"normalize_images": False})
    observation, _ = gym.make(CONTINUOUS).reset(seed=0)
    tensor, _ = model.policy.obs_to_tensor(observation)
    codes = model.policy.extract_features(tensor)
    np.testing.assert_allclose(codes.numpy(), tiny_encoder.encode(observation[None]), atol=1e-6)


def test_trap_09_all_256_values_are_restored_exactly() -> None:
    encoder = make_encoder(1, 64)
    values = np.resize(np.arange(256, dtype=np.uint8), (1, 1, 64, 64))
    scaled = torch.from_numpy(values).float() / 255  # what SB3 does
    extractor = LatentExtractor(gym.spaces.Box(0, 255, (1, 64, 64), np.uint8), encoder)
    assert torch.equal(extractor._inputs[""].frames(scaled), torch.from_numpy(values))


def test_trap_09_wrapper_extractor_and_encode_agree(tiny_encoder: FrozenEncoder) -> None:
    observation, _ = gym.make(CONTINUOUS).reset(seed=0)
    expected = tiny_encoder.encode(observation[None])[0]
    wrapped, _ = LatentObservation(gym.make(CONTINUOUS), tiny_encoder).reset(seed=0)
    np.testing.assert_allclose(wrapped, expected, atol=1e-5)
    model = _ppo(tiny_encoder)  # SB3 adds VecTransposeImage by itself
    assert isinstance(model.get_env(), VecTransposeImage)
    tensor, _ = model.policy.obs_to_tensor(observation)
    np.testing.assert_allclose(model.policy.extract_features(tensor)[0].numpy(), expected, atol=1e-5)


def test_trap_14_the_zip_holds_the_encoder_once_and_needs_no_run_folder(tiny_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(tiny_run, run)
    model = SAC(
        "CnnPolicy",
        gym.make(CONTINUOUS),
        policy_kwargs=_kwargs(load_encoder(run)),
        device="cpu",
        seed=0,
        buffer_size=100,
        learning_starts=8,
        batch_size=16,
    )
    model.learn(12)
    observation, _ = gym.make(CONTINUOUS).reset(seed=0)
    expected, _ = model.predict(observation, deterministic=True)
    model.save(tmp_path / "agent.zip")
    shutil.rmtree(run)
    size = len(model.policy.actor.features_extractor.encoder.to_bytes())
    with zipfile.ZipFile(tmp_path / "agent.zip") as archive:
        assert size < len(archive.read("data")) < 1.6 * size  # base64 makes one copy 4/3 as long
        for name in ("policy.pth", "actor.optimizer.pth"):
            state = torch.load(io.BytesIO(archive.read(name)), weights_only=True)
            assert not any(
                "conv" in key or "posterior" in key or "attention" in key or "features.0" in key for key in state
            )
    EncoderClass._known.clear()
    loaded = SAC.load(tmp_path / "agent.zip", env=gym.make(CONTINUOUS), device="cpu")
    assert np.array_equal(loaded.predict(observation, deterministic=True)[0], expected)
    assert len({id(extractor.encoder) for extractor in _extractors(loaded)}) == 1
    loaded.learn(12)


def test_trap_14_with_a_path_a_missing_run_names_the_remedy(tiny_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(tiny_run, run)
    model = _ppo(str(run))
    model.save(tmp_path / "agent.zip")
    PPO.load(tmp_path / "agent.zip", device="cpu")
    shutil.rmtree(run)
    with pytest.raises(FileNotFoundError, match=r"no encoder at .*run.*custom_objects=.*policy_kwargs"):
        PPO.load(tmp_path / "agent.zip", device="cpu")
    remedy = {"policy_kwargs": {**model.policy_kwargs, **_kwargs(load_encoder(tiny_run))}}
    PPO.load(tmp_path / "agent.zip", device="cpu", custom_objects=remedy)


def test_trap_16_the_encoder_follows_its_input_and_keeps_its_dtype(tiny_encoder: FrozenEncoder) -> None:
    model = _ppo(tiny_encoder)
    model.policy.to(torch.float64)
    assert all(p.dtype == torch.float32 for p in tiny_encoder.network().parameters())
    codes = model.policy.features_extractor(torch.rand(2, 1, 64, 64, dtype=torch.float64).round())
    assert codes.dtype == torch.float64  # the heads' own dtype
    assert model.policy.device.type == "cpu"


def test_trap_20_equal_policy_kwargs_load_and_the_json_stays_short(tiny_run: Path, tmp_path: Path) -> None:
    model = _ppo(load_encoder(tiny_run))
    model.save(tmp_path / "agent.zip")
    EncoderClass._known.clear()
    same = model.policy_kwargs | _kwargs(load_encoder(tiny_run))
    PPO.load(tmp_path / "agent.zip", device="cpu", policy_kwargs=same)
    with zipfile.ZipFile(tmp_path / "agent.zip") as archive:
        entry = json.loads(archive.read("data"))["policy_kwargs"]
    shown = {key: value for key, value in entry.items() if key != ":serialized:"}
    assert len(json.dumps(shown)) < 500
    assert repr(load_encoder(tiny_run)) in json.dumps(shown)


def test_trap_21_gradients_reach_the_policy_but_not_the_encoder(tiny_encoder: FrozenEncoder) -> None:
    extractor = LatentExtractor(gym.spaces.Box(0, 255, (1, 64, 64), np.uint8), tiny_encoder)
    codes = extractor(torch.rand(5, 1, 64, 64))
    assert not codes.requires_grad
    assert not codes.is_inference()
    head = torch.nn.Linear(10, 1)
    head(codes).sum().backward()
    assert head.weight.grad is not None


def test_a_dict_needs_image_keys_and_passes_the_rest_through(tiny_encoder: FrozenEncoder) -> None:
    space = gym.spaces.Dict(
        {"camera": gym.spaces.Box(0, 255, (1, 64, 64), np.uint8), "speed": gym.spaces.Box(-1, 1, (3,), np.float32)}
    )
    with pytest.raises(TypeError, match=r"a Dict space needs image_keys, some of \['camera', 'speed'\]"):
        LatentExtractor(space, tiny_encoder)
    with pytest.raises(ValueError, match=r"image_keys \['eye'\] are not in"):
        LatentExtractor(space, tiny_encoder, image_keys=["eye"])
    extractor = LatentExtractor(space, tiny_encoder, image_keys=["camera"])
    assert extractor.features_dim == 13
    image = torch.rand(2, 1, 64, 64).round()
    features = extractor({"camera": image, "speed": torch.tensor([[1.0, 2, 3], [4, 5, 6]])})
    np.testing.assert_allclose(features[:, :10], tiny_encoder.encode(255 * image.to(torch.uint8)), atol=1e-6)
    assert features[:, 10:].tolist() == [[1, 2, 3], [4, 5, 6]]


def test_trap_15_a_camera_that_nobody_named_does_not_become_raw_features() -> None:
    encoder = make_encoder(3)
    space = Frames(shape=(3, 64, 64), named=True).observation_space
    with pytest.raises(TypeError, match=r"'back' is a picture, Box.* would become 12,288 raw features") as refused:
        LatentExtractor(space, encoder, image_keys=["front"])
    for remedy in ("image_keys=['front', 'back']", "FilterObservation", "raw_keys=['back']"):
        assert remedy in str(refused.value)
    assert LatentExtractor(space, encoder, image_keys=["front", "back"]).features_dim == 4 + 4 + 2
    assert LatentExtractor(space, encoder, image_keys=["front"], raw_keys=["back"]).features_dim == 4 + 12_288 + 2
    without = gym.wrappers.FilterObservation(Frames(shape=(3, 64, 64), named=True), ["front", "position"])
    assert LatentExtractor(without.observation_space, encoder, image_keys=["front"]).features_dim == 4 + 2
    assert isinstance(space, gym.spaces.Dict)
    for grid, refusing in (((84, 84), True), ((7, 7, 3), True), ((2, 64, 64, 3), True), ((147,), False)):
        mixed = gym.spaces.Dict({"front": space["front"], "grid": gym.spaces.Box(0, 255, grid, np.uint8)})
        if refusing:
            with pytest.raises(TypeError, match="'grid' is a picture"):
                LatentExtractor(mixed, encoder, image_keys=["front"])
        features = LatentExtractor(mixed, encoder, image_keys=["front"], raw_keys=["grid"] if refusing else ())
        assert features.features_dim == 4 + int(np.prod(grid))
    for wrong in (["front"], ["nothing"], "back"):
        with pytest.raises(ValueError, match=r"raw_keys needs a list of keys .* some of \['back', 'position'\], got"):
            LatentExtractor(space, encoder, image_keys=["front"], raw_keys=wrong)


@pytest.mark.parametrize(
    ("space", "error", "message"),
    [
        (gym.spaces.Box(0, 255, (3, 64, 64), np.uint8), ValueError, "the observation: .*Convert to grey first"),
        (gym.spaces.Box(0, 255, (1, 84, 84), np.uint8), ValueError, "Resize the observation to 64x64"),
        (gym.spaces.Box(0, 255, (4, 64, 64), np.uint8), ValueError, "say so with n_stack=4"),
        (gym.spaces.Discrete(3), TypeError, "to be a Box of images"),
    ],
)
def test_spaces_the_encoder_cannot_take_are_refused(
    space: gym.Space, error: type[Exception], message: str, tiny_encoder: FrozenEncoder
) -> None:
    with pytest.raises(error, match=message):
        LatentExtractor(space, tiny_encoder)


def test_image_keys_without_a_dict_are_refused(tiny_encoder: FrozenEncoder) -> None:
    with pytest.raises(TypeError, match="image_keys needs a Dict space"):
        LatentExtractor(gym.spaces.Box(0, 255, (1, 64, 64), np.uint8), tiny_encoder, image_keys=["a"])
    with pytest.raises(TypeError, match="encoder needs a FrozenEncoder or a path, got int"):
        LatentExtractor(gym.spaces.Box(0, 255, (1, 64, 64), np.uint8), 3)  # type: ignore[arg-type]


def test_the_extractor_can_be_copied(tiny_encoder: FrozenEncoder) -> None:
    extractor = LatentExtractor(gym.spaces.Box(0, 255, (1, 64, 64), np.uint8), tiny_encoder)
    assert copy.deepcopy(extractor).encoder is tiny_encoder


def _stack(frames: np.ndarray, layout: str) -> np.ndarray:
    """(B, k, H, W, C) -> what VecFrameStack (channels) or FrameStackObservation (first axis) makes of it."""
    if layout == "HWC":
        return np.concatenate(list(frames.transpose(1, 0, 2, 3, 4)), axis=-1)
    if layout == "CHW":
        return np.concatenate(list(frames.transpose(1, 0, 4, 2, 3)), axis=1)
    return frames if layout == "kHWC" else frames.transpose(0, 1, 4, 2, 3)


@pytest.mark.parametrize("layout", ["HWC", "CHW", "kHWC", "kCHW"])
@pytest.mark.parametrize("channels", [1, 3])
def test_trap_10_stacks_are_encoded_frame_by_frame(channels: int, layout: str) -> None:
    encoder = make_encoder(channels)
    frames = np.random.default_rng(0).integers(0, 256, (2, 3, 64, 64, channels), dtype=np.uint8)
    stacked = _stack(frames, layout)
    space = gym.spaces.Box(0, 255, stacked.shape[1:], np.uint8)
    extractor = LatentExtractor(space, encoder, n_stack=3, images_in_0_1=True, include_log_variance=True)
    features = extractor(torch.from_numpy(stacked).float() / 255)
    mean, log_variance = encoder.posterior(frames.reshape(6, 64, 64, channels))
    expected = np.concatenate((mean.reshape(2, 12), log_variance.reshape(2, 12)), axis=1)
    assert extractor.features_dim == 24
    np.testing.assert_allclose(features.numpy(), expected, atol=1e-5)


def test_trap_10_stacks_need_n_stack_and_colour_is_no_stack(tiny_encoder: FrozenEncoder) -> None:
    stacked = gym.spaces.Box(0, 255, (4, 64, 64), np.uint8)
    with pytest.raises(
        ValueError, match=r"stacked frames \(VecFrameStack\), say so with n_stack=4.*convert it to grey"
    ):
        LatentExtractor(stacked, tiny_encoder)
    colour = gym.spaces.Box(0, 255, (64, 64, 3), np.uint8)
    with pytest.raises(ValueError, match=r"Convert to grey first.*n_stack=3; if it is one colour picture"):
        LatentExtractor(colour, tiny_encoder)
    with pytest.raises(ValueError, match="n_stack=3 needs 3 frames of uint8 images with 1 channel .* 3 channels, got"):
        LatentExtractor(stacked, tiny_encoder, n_stack=3)
    with pytest.raises(ValueError, match="n_stack needs at least 1 frame, got 0"):
        LatentExtractor(stacked, tiny_encoder, n_stack=0)


def test_trap_10_vec_frame_stack_end_to_end(tiny_encoder: FrozenEncoder) -> None:
    venv = VecFrameStack(DummyVecEnv([lambda: gym.make(CONTINUOUS)] * 2), 3)
    kwargs = _kwargs(tiny_encoder)
    kwargs["features_extractor_kwargs"]["n_stack"] = 3
    model = PPO("CnnPolicy", venv, n_steps=8, batch_size=16, n_epochs=1, device="cpu", policy_kwargs=kwargs)
    model.learn(16)
    observation = venv.reset()
    features = model.policy.extract_features(model.policy.obs_to_tensor(observation)[0])
    black = tiny_encoder.encode(np.zeros((1, 64, 64, 1), np.uint8))[0]  # what VecFrameStack starts an episode with
    newest = tiny_encoder.encode(observation[..., 2:])
    np.testing.assert_allclose(features[:, :10].numpy(), np.stack([black, black]), atol=1e-5)
    np.testing.assert_allclose(features[:, 20:].numpy(), newest, atol=1e-5)


def test_trap_12_scaling_silences_dead_units_and_keeps_zeros() -> None:
    encoder = make_encoder()
    units = UnitStatistics((0.0,) * 4, (1.0, 2.0, 4.0, 1e-6), (1.0, 2.0, 4.0, 1e-6), (True, True, True, False))
    encoder = FrozenEncoder(dataclasses.replace(encoder.spec, units=units), encoder.network().state_dict())
    space = gym.spaces.Box(0, 255, (1, 64, 64), np.uint8)
    image = torch.rand(2, 1, 64, 64).round()
    codes = torch.from_numpy(encoder.encode((255 * image).to(torch.uint8).numpy()))
    scaled = LatentExtractor(space, encoder, code_scaling="scale")(image)
    torch.testing.assert_close(scaled, codes * torch.tensor([1, 0.5, 0.25, 0]))
    standardized = LatentExtractor(space, encoder, code_scaling="standardize")(image)
    torch.testing.assert_close(standardized, (codes - torch.tensor([1, 2, 4, 0])) * torch.tensor([1, 0.5, 0.25, 0]))


def test_trap_17_compiling_changes_no_state_dict(tiny_encoder: FrozenEncoder) -> None:
    encoder = _fresh(tiny_encoder)
    model = _ppo(encoder)
    keys = set(model.policy.state_dict())
    images = np.random.default_rng(0).integers(0, 256, (4, 1, 64, 64), dtype=np.uint8)
    expected = encoder.encode(images)
    encoder.compile(backend="eager")
    np.testing.assert_allclose(encoder.encode(images), expected, atol=1e-6)
    assert type(encoder._forward(torch.device("cpu"))) is not type(encoder.network())
    assert set(model.policy.state_dict()) == keys
    assert encoder.to_bytes() == tiny_encoder.to_bytes()
    encoder.verify()
    model.learn(16)


def test_trap_18_with_a_cache_each_frame_is_encoded_once(
    tiny_encoder: FrozenEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded = {"frames": 0}
    posterior = FrozenEncoder.posterior

    def counting(self: FrozenEncoder, images: Any) -> Any:
        encoded["frames"] += len(images)
        return posterior(self, images)

    monkeypatch.setattr(FrozenEncoder, "posterior", counting)
    trained = {}
    for cache_frames in (0, 64):
        encoded["frames"] = 0
        model = _ppo(tiny_encoder, extractor={"cache_frames": cache_frames}, n_steps=32, n_epochs=10)
        model.learn(32)
        trained[cache_frames] = (encoded["frames"], model.policy.action_net.weight.detach())
    # 32 steps and the value after the last: 33 frames; without the cache 32 more per epoch
    assert trained[0][0] == 33 + 10 * 32
    assert trained[64][0] <= 33
    torch.testing.assert_close(trained[0][1], trained[64][1], atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"encoder_lr_multiplier": 0.1}, "encoder_lr_multiplier=0.1 needs trainable=True"),
        ({"trainable": True, "cache_frames": 8}, "cache_frames needs a frozen encoder"),
        ({"cache_frames": -1}, "cache_frames needs 0 or more, got -1"),
        ({"trunk": []}, r"trunk needs a list of widths of at least 1, such as \[64\], got \[\]"),
        ({"trunk": 64}, r"trunk needs a list of widths of at least 1, such as \[64\], got 64"),
        ({"trunk": [64, 0]}, r"got \[64, 0\]"),
        ({"trunk": [6.4]}, r"got \[6.4\]"),
        ({"code_scaling": "whiten"}, "code_scaling needs one of none, scale, standardize"),
    ],
)
def test_options_that_contradict_each_other_are_refused(
    options: dict[str, Any], message: str, tiny_encoder: FrozenEncoder
) -> None:
    with pytest.raises(ValueError, match=message):
        LatentExtractor(gym.spaces.Box(0, 255, (1, 64, 64), np.uint8), tiny_encoder, **options)


def test_remedies_for_unbounded_pictures_and_for_grey_ones_in_a_dict_can_be_followed() -> None:
    encoder, shape = make_encoder(1), (64, 64, 1)
    unbounded = gym.spaces.Box(-np.inf, np.inf, shape, np.float32)
    told = r"not say what range pictures have; declare it where .*Box\(0, 1, \(64, 64, 1\), np.float32\) \(gymnasium.*"
    with pytest.raises(ValueError, match=told + r"TransformObservation\(env, "):
        LatentExtractor(unbounded, encoder, images_in_0_1=True)
    with pytest.raises(ValueError, match=told + "TransformObservation, whose function sees the whole Dict"):
        LatentExtractor(gym.spaces.Dict({"camera": unbounded}), encoder, image_keys=["camera"], images_in_0_1=True)
    stacked = gym.spaces.Box(-np.inf, np.inf, (64, 64, 3), np.float32)
    with pytest.raises(ValueError, match=told):
        LatentExtractor(stacked, encoder, n_stack=3, images_in_0_1=True)
    declared = gym.spaces.Box(0, 1, shape, np.float32)
    assert LatentExtractor(declared, encoder, images_in_0_1=True).features_dim == 4
    colour = gym.spaces.Dict({"camera": gym.spaces.Box(0, 255, (64, 64, 3), np.uint8)})
    with pytest.raises(ValueError, match="Convert to grey first .*TransformObservation, whose function sees the whole"):
        LatentExtractor(colour, encoder, image_keys=["camera"])


@pytest.mark.parametrize("shape", [(1, 64, 64), (64, 64, 1)])
def test_single_pictures_are_no_stack(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"n_stack=4 needs 4 stacked frames, got single pictures .*: leave n_stack"):
        LatentExtractor(gym.spaces.Box(0, 255, shape, np.uint8), make_encoder(1), n_stack=4, images_in_0_1=True)


def test_one_string_is_no_list_of_keys() -> None:
    space = gym.spaces.Dict({"a": gym.spaces.Box(0, 255, (1, 64, 64), np.uint8)})
    with pytest.raises(TypeError, match="image_keys needs a sequence of keys, got the string 'a': put it in a list"):
        LatentExtractor(space, make_encoder(1), image_keys="a", images_in_0_1=True)
