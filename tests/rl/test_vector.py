from __future__ import annotations

import copy
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import pytest
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from gymnasium.vector.utils import batch_space

from rl.vector import LatentObservation
from sparse_repr import FrozenEncoder
from tests.conftest import make_encoder
from tests.frame_envs import Frames, picture

GO = np.zeros(2, dtype=np.int64)


def _two(mode: AutoresetMode, **options: Any) -> SyncVectorEnv:
    """Environments that end at different steps, so that rows are not mixed up."""
    factories = [lambda: Frames(3, **options), lambda: Frames(2, first_episode=5, **options)]
    return SyncVectorEnv(factories, autoreset_mode=mode)


def _stacked(encoder: FrozenEncoder, *rows: list[tuple[int, int]]) -> npt.NDArray[np.float32]:
    """Codes of the pictures (episode, step), side by side in each row."""
    return np.stack([encoder.encode(np.stack([picture(*frame) for frame in row])).ravel() for row in rows])


def _same(found: Any, expected: Any) -> None:
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_spaces_are_those_of_codes() -> None:
    env = LatentObservation(_two(AutoresetMode.NEXT_STEP), make_encoder(3), n_stack=3, include_log_variance=True)
    assert env.single_observation_space == gym.spaces.Box(-np.inf, np.inf, (24,), np.float32)
    assert env.observation_space == batch_space(env.single_observation_space, 2)
    assert env.observation_space.contains(env.reset()[0])
    assert env.observation_space.contains(env.step(GO)[0])
    named = LatentObservation(_two(AutoresetMode.NEXT_STEP, named=True), make_encoder(3), image_keys=["back"])
    assert named.observation_space == batch_space(named.single_observation_space, 2)
    assert named.observation_space.contains(named.reset()[0])


def test_next_step_mode_stacks_anew_at_the_step_after_the_end() -> None:
    encoder = make_encoder(3)
    env = LatentObservation(_two(AutoresetMode.NEXT_STEP), encoder, n_stack=2)
    _same(env.reset(seed=0)[0], _stacked(encoder, [(0, 0)] * 2, [(5, 0)] * 2))
    _same(env.step(GO)[0], _stacked(encoder, [(0, 0), (0, 1)], [(5, 0), (5, 1)]))
    codes, _, ended, _, infos = env.step(GO)
    assert ended.tolist() == [False, True]
    assert "final_obs" not in infos
    _same(codes, _stacked(encoder, [(0, 1), (0, 2)], [(5, 1), (5, 2)]))
    codes, _, ended, _, _ = env.step(GO)
    assert ended.tolist() == [True, False]
    _same(codes, _stacked(encoder, [(0, 2), (0, 3)], [(6, 0)] * 2))
    _same(env.step(GO)[0], _stacked(encoder, [(1, 0)] * 2, [(6, 0), (6, 1)]))
    env.reset(seed=0)
    env.step(GO)
    env.step(GO)
    # a reset between the end and the next step: that step is an ordinary one
    env.reset(seed=0)
    _same(env.step(GO)[0], _stacked(encoder, [(0, 0), (0, 1)], [(5, 0), (5, 1)]))


def test_trap_11_final_observations_are_encoded_in_same_step_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, batches = make_encoder(3), []
    env = LatentObservation(_two(AutoresetMode.SAME_STEP), encoder, n_stack=2, keep_image=True)
    env.reset(seed=0)
    env.step(GO)
    encode = encoder.posterior
    monkeypatch.setattr(encoder, "posterior", lambda images: batches.append(len(images)) or encode(images))
    codes, _, ended, _, infos = env.step(GO)
    monkeypatch.undo()
    assert batches == [3]
    assert ended.tolist() == infos["_final_obs"].tolist() == infos["_final_image"].tolist() == [False, True]
    _same(codes, _stacked(encoder, [(0, 1), (0, 2)], [(6, 0)] * 2))
    assert infos["final_obs"].dtype == object
    assert infos["final_obs"][0] is None
    _same(infos["final_obs"][1], _stacked(encoder, [(5, 1), (5, 2)])[0])
    np.testing.assert_array_equal(infos["final_image"][1], picture(5, 2))
    np.testing.assert_array_equal(infos["image"], [picture(0, 2), picture(6, 0)])
    assert infos["_image"].all()
    codes, _, _, _, infos = env.step(GO)
    _same(codes, _stacked(encoder, [(1, 0)] * 2, [(6, 0), (6, 1)]))
    _same(infos["final_obs"][0], _stacked(encoder, [(0, 2), (0, 3)])[0])


class _OneArray(gym.vector.VectorWrapper):
    """Final observations as ALE's own vector environment gives them: one array, or a dict of arrays, and no mask."""

    def step(self, actions: Any) -> Any:
        observations, rewards, terminations, truncations, infos = self.env.step(actions)
        if "final_obs" in infos:
            finals = copy.deepcopy(observations)
            for row in np.flatnonzero(infos.pop("_final_obs")):
                if isinstance(finals, dict):
                    for key, part in finals.items():
                        part[row] = infos["final_obs"][row][key]
                else:
                    finals[row] = infos["final_obs"][row]
            infos["final_obs"] = finals
        return observations, rewards, terminations, truncations, infos


def test_trap_11_final_observations_in_one_array_without_a_mask_are_encoded() -> None:
    encoder = make_encoder(3)
    env = LatentObservation(_OneArray(_two(AutoresetMode.SAME_STEP)), encoder, n_stack=2, keep_image=True)
    env.reset(seed=0)
    assert "final_obs" not in env.step(GO)[4]
    codes, _, ended, _, infos = env.step(GO)
    assert ended.tolist() == infos["_final_image"].tolist() == [False, True]
    assert "_final_obs" not in infos
    _same(codes, _stacked(encoder, [(0, 1), (0, 2)], [(6, 0)] * 2))
    # where no episode has ended the array shows the newest, as ALE's does
    _same(infos["final_obs"], _stacked(encoder, [(0, 1), (0, 2)], [(5, 1), (5, 2)]))
    assert infos["final_image"][0] is None
    np.testing.assert_array_equal(infos["final_image"][1], picture(5, 2))


def test_trap_15_final_observations_in_a_dict_of_arrays_are_encoded() -> None:
    encoder = make_encoder(3)
    env = LatentObservation(_OneArray(_two(AutoresetMode.SAME_STEP, named=True)), encoder, image_keys=["back"])
    env.reset(seed=0)
    env.step(GO)
    observations, _, _, _, infos = env.step(GO)
    finals = infos["final_obs"]
    _same(finals["back"], encoder.encode(255 - np.stack([picture(0, 2), picture(5, 2)])))
    np.testing.assert_array_equal(finals["front"], [picture(0, 2), picture(5, 2)])
    _same(finals["position"], [[0.02, -0.02]] * 2)
    _same(observations["back"], encoder.encode(255 - np.stack([picture(0, 2), picture(6, 0)])))


def test_a_stack_of_one_picture_is_a_picture() -> None:
    encoder = make_encoder(3)
    env = LatentObservation(_two(AutoresetMode.SAME_STEP, shape=(1, 64, 64, 3)), encoder, n_stack=2, keep_image=True)
    frames = [picture(0, 0, (64, 64, 3)), picture(5, 0, (64, 64, 3))]
    codes, infos = env.reset(seed=0)
    _same(codes, np.tile(encoder.encode(np.stack(frames)), 2))
    np.testing.assert_array_equal(infos["image"], frames)
    env.step(GO)
    last = env.step(GO)[4]["final_obs"][1]
    _same(last, _stacked(encoder, [(5, 1), (5, 2)])[0])


def test_autoreset_modes_may_be_text_and_unknown_ones_are_refused() -> None:
    encoder = make_encoder(3)
    for name in ("SameStep", "same_step", "SAME_STEP"):
        inside = _two(AutoresetMode.SAME_STEP)
        inside.metadata = {"autoreset_mode": name}
        env = LatentObservation(inside, encoder, n_stack=2)
        env.reset(seed=0)
        env.step(GO)
        _same(env.step(GO)[0], _stacked(encoder, [(0, 1), (0, 2)], [(6, 0)] * 2))
    inside.metadata = {"autoreset_mode": "sometimes"}
    with pytest.raises(ValueError, match=r"NEXT_STEP, SAME_STEP, DISABLED, in metadata.*got 'sometimes'"):
        LatentObservation(inside, encoder)


def test_batches_of_some_environments_are_refused() -> None:
    env = _two(AutoresetMode.NEXT_STEP)
    env.num_envs = 5  # as ALE's with batch_size=2
    with pytest.raises(ValueError, match="all 5 environments at each step, got batches of 2.*batch_size=5"):
        LatentObservation(env, make_encoder(3))


def test_disabled_mode_stacks_anew_where_reset_is_asked_for() -> None:
    encoder = make_encoder(3)
    env = LatentObservation(_two(AutoresetMode.DISABLED), encoder, n_stack=2)
    env.reset(seed=0)
    env.step(GO)
    env.step(GO)
    codes, _ = env.reset(options={"reset_mask": np.array([False, True])})
    _same(codes, _stacked(encoder, [(0, 1), (0, 2)], [(6, 0)] * 2))
    _same(env.step(GO)[0], _stacked(encoder, [(0, 2), (0, 3)], [(6, 0), (6, 1)]))


@pytest.mark.parametrize("mode", [AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP])
def test_trap_15_dict_observations(mode: AutoresetMode) -> None:
    encoder = make_encoder(3)
    env = LatentObservation(_two(mode, named=True), encoder, image_keys=["back"], n_stack=2, keep_image=True)
    observations, infos = env.reset(seed=0)
    np.testing.assert_array_equal(observations["front"], [picture(0, 0), picture(5, 0)])
    np.testing.assert_array_equal(infos["image"]["back"], 255 - observations["front"])
    _same(observations["back"], np.tile(encoder.encode(infos["image"]["back"]), 2))
    env.step(GO)
    observations, _, _, _, infos = env.step(GO)
    before, end = encoder.encode(255 - np.stack([picture(5, 1), picture(5, 2)]))
    if mode == AutoresetMode.NEXT_STEP:
        last = {key: part[1] for key, part in observations.items()}
    else:
        last = infos["final_obs"][1]
        np.testing.assert_array_equal(infos["final_image"][1]["back"], 255 - picture(5, 2))
    np.testing.assert_array_equal(last["front"], picture(5, 2))
    _same(last["position"], [0.02, -0.02])
    _same(last["back"], np.concatenate([before, end]))


# forked because a fresh interpreter would import torch for seconds; the children only step
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_environments_in_other_processes() -> None:
    encoder = make_encoder(3)
    others = AsyncVectorEnv([Frames] * 2, context="fork", autoreset_mode=AutoresetMode.SAME_STEP)
    env = LatentObservation(others, encoder, n_stack=2)
    env.reset(seed=[0, 1])
    for _ in range(3):
        codes, _, _, _, infos = env.step(GO)
    env.close()
    _same(codes, _stacked(encoder, *[[(1, 0)] * 2] * 2))
    _same(np.stack(list(infos["final_obs"])), _stacked(encoder, *[[(0, 2), (0, 3)]] * 2))


def test_spaces_the_encoder_cannot_take_are_refused() -> None:
    with pytest.raises(ValueError, match="Convert to grey first"):
        LatentObservation(_two(AutoresetMode.NEXT_STEP), make_encoder(1))
    with pytest.raises(TypeError, match="a Dict space needs image_keys"):
        LatentObservation(_two(AutoresetMode.NEXT_STEP, named=True), make_encoder(3))
