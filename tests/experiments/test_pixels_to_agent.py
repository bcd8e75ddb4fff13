from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from experiments.pixels_to_agent import main
from rl import load_agent
from rl.record import record
from rl.record_config import RecordConfig
from rl.recording import RecordingInterrupted
from sparse_repr import load_encoder
from sparse_repr.command_line.interruption import TrainingInterrupted
from sparse_repr.data import load_dataset
from sparse_repr.pretrain.run_folder import TrainingStoppedError
from tests.frame_envs import Frames

TINY = [
    "envs:SparseRepr/SpriteReach-v0",
    *("--frames", "64", "--pretrain-steps", "4", "--agent-steps", "128", "--film-steps", "4", "--code-size", "4"),
    *("--environments", "1", "--code-scaling", "none", "--threads", "1", "--no-progress"),
]


def test_from_an_environment_to_a_film_and_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*TINY, "--out", str(tmp_path)]) == 0
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["finite_weights"]
    assert {"agent.gif", "agent.zip", "explorer.html", "frames.h5", "encoder"} <= {
        path.name for path in tmp_path.iterdir()
    }
    agent = (tmp_path / "agent.zip").read_bytes()
    assert main([*TINY, "--out", str(tmp_path)]) == 0  # all of it is there
    assert main([*TINY, "--agent-steps", "256", "--out", str(tmp_path)]) == 2
    assert "an agent with other settings (agent_steps: 128 there, 256 asked for)" in capsys.readouterr().err
    assert (tmp_path / "agent.zip").read_bytes() == agent
    frames, state = (tmp_path / "frames.h5").stat().st_mtime, (tmp_path / "encoder" / "state.pt").read_bytes()
    (tmp_path / "results.json").unlink()

    def as_far_as_this(_: object) -> None:
        raise ValueError("recorded and pretrained")

    monkeypatch.setattr("experiments.pixels_to_agent.evaluate_run", as_far_as_this)
    assert main([*TINY, "--out", str(tmp_path)]) == 2
    assert "recorded and pretrained" in capsys.readouterr().err
    assert (tmp_path / "frames.h5").stat().st_mtime == frames
    assert (tmp_path / "encoder" / "state.pt").read_bytes() == state


def test_what_is_wrong_is_said_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["CartPole-v1", "--frames", "8", "--out", str(tmp_path), "--no-progress"]) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_frames_of_another_environment_are_not_taken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record(
        RecordConfig("envs:SparseRepr/SpriteChase-v0", str(tmp_path / "frames.h5"), frames=8, envs=1, progress=False)
    )
    assert main([*TINY, "--out", str(tmp_path)]) == 2
    assert "SpriteChase" in capsys.readouterr().err
    assert not (tmp_path / "encoder").exists()


def test_a_mistyped_environment_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("envs:SparseRepr/SpriteRech-v0", "envz:SparseRepr/SpriteReach-v0"):
        assert main([name, *TINY[1:], "--out", str(tmp_path / "out")]) == 2
        shown = capsys.readouterr().err
        assert shown.startswith("error: ")
        assert shown.count("\n") == 1


class Drawn(Frames):
    """Observes two cameras and a position, and draws what neither camera shows."""

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012 (as Gymnasium declares it)

    def __init__(self, render_mode: str | None = None) -> None:
        super().__init__(named=True)
        self.render_mode = render_mode

    def render(self) -> Any:
        return self.look()["front"] // 2


@pytest.fixture
def drawn() -> Iterator[str]:
    gym.register("PixelsToAgent/Drawn-v0", Drawn, disable_env_checker=True)
    yield "PixelsToAgent/Drawn-v0"
    gym.registry.pop("PixelsToAgent/Drawn-v0")


@pytest.mark.parametrize(("options", "brightest"), [(("--render",), 127), (("--key", "back"), 255)])
def test_pictures_that_are_drawn_or_one_of_several(
    options: tuple[str, ...], brightest: int, drawn: str, tmp_path: Path
) -> None:
    assert main([drawn, *TINY[1:], *options, "--crop", "0,0,40,64", "--out", str(tmp_path)]) == 0
    frames = load_dataset("h5", tmp_path / "frames.h5")
    assert frames.images(np.arange(8)).max() == brightest
    agent, _ = load_agent(tmp_path / "agent.zip")
    assert load_encoder(tmp_path / "encoder").preprocessing.seen == (0, 0, 40, 64)
    assert agent.observation_space.shape == (16,)  # four codes of four, and nothing of the other entries


def test_dict_observations_need_one_of_the_two(drawn: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([drawn, *TINY[1:], "--out", str(tmp_path)]) == 2
    assert "name the picture with --key, one of ['back', 'front', 'position']" in capsys.readouterr().err


class Grey(gym.Env[Any, Any]):
    """Observes (H, W), without an axis of channels."""

    observation_space = gym.spaces.Box(0, 255, (64, 64), np.uint8)
    action_space: gym.Space[Any] = gym.spaces.Discrete(2)

    def __init__(self, actions: gym.Space[Any] | None = None) -> None:
        if actions is not None:
            self.action_space = actions

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        return self._look(), {}

    def step(self, action: Any) -> Any:
        return self._look(), 0.0, False, False, {}

    def _look(self) -> Any:
        return self.np_random.integers(0, 256, (64, 64), np.uint8)


def _registered(name: str, **settings: Any) -> str:
    gym.register(name, Grey, max_episode_steps=20, disable_env_checker=True, kwargs=settings)
    return name


def test_grey_pictures_without_channels_will_do(tmp_path: Path) -> None:
    name = _registered("PixelsToAgent/Grey-v0")
    try:
        assert main([name, *TINY[1:], "--out", str(tmp_path)]) == 0
    finally:
        gym.registry.pop(name)
    assert load_encoder(tmp_path / "encoder").preprocessing.channels == 1


@pytest.mark.parametrize(
    ("actions", "options", "said"),
    [
        (gym.spaces.Dict({"a": gym.spaces.Discrete(2)}), (), "needs actions that PPO takes"),
        (gym.spaces.Box(-np.inf, np.inf, (2,)), (), "needs actions that PPO takes"),
        (None, ("--objective", "feature_prediction"), "draws no pictures, which film and explorer are made of"),
        (None, ("--objective", "foo"), "unknown objective 'foo'"),
        (None, ("--crop", "1,2"), "crop"),
    ],
)
def test_what_cannot_be_finished_is_refused_before_anything_is_recorded(
    actions: Any, options: tuple[str, ...], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = _registered("PixelsToAgent/Odd-v0", actions=actions)
    try:
        assert main([name, *TINY[1:], *options, "--out", str(tmp_path / "out")]) == 2
    finally:
        gym.registry.pop(name)
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_run_that_saved_nothing_yet_is_begun_again(tmp_path: Path) -> None:
    assert main([*TINY, "--out", str(tmp_path)]) == 0
    for name in ("results.json", "encoder/state.pt", "encoder/encoder.safetensors", "encoder/vae.safetensors"):
        (tmp_path / name).unlink()  # as a kill before the first save leaves it
    assert main([*TINY, "--out", str(tmp_path)]) == 0


def test_a_stop_and_other_settings_are_told_by_options_that_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(_: object) -> None:
        raise TrainingInterrupted(tmp_path / "encoder", 3, signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr("experiments.pixels_to_agent.pretrain_encoder", stopped)
        assert main([*TINY, "--out", str(tmp_path)]) == 130
    shown = capsys.readouterr().err
    assert "stopped at step 3" in shown
    assert "the same command goes on" in shown
    assert "--resume" not in shown
    assert main([*TINY, "--out", str(tmp_path)]) == 0
    (tmp_path / "results.json").unlink()
    assert main([*TINY, "--code-size", "5", "--out", str(tmp_path)]) == 2
    shown = capsys.readouterr().err
    assert "code_size: 4 there, 5 asked for" in shown
    assert "another folder (--out)" in shown
    assert "--run-dir" not in shown


def test_an_environment_that_cannot_be_made_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def broken(**_: Any) -> gym.Env[Any, Any]:
        raise AttributeError("no screen")

    gym.register("PixelsToAgent/Broken-v0", broken, disable_env_checker=True)
    try:
        assert main(["PixelsToAgent/Broken-v0", *TINY[1:], "--out", str(tmp_path / "out")]) == 2
    finally:
        gym.registry.pop("PixelsToAgent/Broken-v0")
    shown = capsys.readouterr().err
    assert "no screen" in shown
    assert shown.count("\n") == 1


def test_a_stopped_recording_is_told_without_an_option_that_there_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(_: object) -> None:
        raise RecordingInterrupted(tmp_path / "frames.h5.partial", 40, signal.SIGINT)

    monkeypatch.setattr("experiments.pixels_to_agent.record", stopped)
    assert main([*TINY, "--out", str(tmp_path)]) == 130
    shown = capsys.readouterr().err
    assert "stopped after 40 frames; they are in" in shown
    assert "the same command goes on" in shown
    assert "--resume" not in shown


def test_a_full_disk_while_pretraining_is_told_without_it_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(_: object) -> None:
        try:
            raise OSError("cannot write state.pt (No space left on device)")
        except OSError as error:
            raise TrainingStoppedError(f"{error}; the run goes on with resume (--resume)") from error

    monkeypatch.setattr("experiments.pixels_to_agent.pretrain_encoder", full)
    assert main([*TINY, "--out", str(tmp_path)]) == 2
    shown = capsys.readouterr().err
    assert "cannot write state.pt (No space left on device); once that is mended, the same command goes on" in shown
    assert "--resume" not in shown
