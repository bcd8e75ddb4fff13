"""Arms of two rounds: what the second encoder learns from, who is computed first, and what counts by the clock."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from experiments import compare_agents
from experiments.agents import encoders as agent_encoders
from experiments.agents import training as agent_training
from experiments.agents.arms import ARMS, ENCODERS, SECOND_ROUND
from experiments.agents.cells import agent_cell, agent_cells, encoder_cell
from experiments.agents.clock import seconds_before, times_to
from experiments.agents.encoders import ENCODER_CELLS, complete_encoders
from experiments.agents.files import live_study
from experiments.agents.frames import record_agent_frames, record_frames, seconds_of_recording
from experiments.agents.results import AgentStudy
from experiments.agents.rounds import rounds_of
from experiments.agents.scales import AGENT_SCALES, Algorithm
from experiments.agents.training import AGENT_CELLS
from experiments.compare_agents import main
from rl import recording
from sparse_repr.data import load_dataset
from sparse_repr.pretrain.term_sums import NonFiniteLossError
from tests.agent_studies import agent, encoder, study
from tests.experiments.agents.test_training import TINY as _TINY

TINY = dataclasses.replace(
    _TINY, seeds=2, algorithms={"ppo": _TINY.algorithms["ppo"], "sac": Algorithm(8, 2, {}, ("vae",), ("SpriteReach",))}
)
TWO = "vae_two_rounds"


@pytest.fixture(autouse=True)
def _tiny(short_episodes: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(AGENT_SCALES, "smoke", TINY)
    monkeypatch.setattr("experiments.agents.budget._EPISODES", 2)
    monkeypatch.setattr("experiments.agents.budget._FRAMES", 40)
    # pictures of a run have their tests, and cost more than the run
    monkeypatch.setattr("sparse_repr.evaluate.run.draw_run", lambda *_, **__: None)
    monkeypatch.setattr(compare_agents, "write_agent_report", lambda *_: "of what there is")


def _words(out: Path, *more: str) -> list[str]:
    return ["--scale", "smoke", "--algorithm", "ppo", "--arm", TWO, "--out", str(out), "--no-progress", *more]


def _names(cells: Any) -> list[str]:
    return [cell.name for cell in cells]


def test_what_is_needed_first_comes_first(tmp_path: Path) -> None:
    asked = agent_cells(TINY, tmp_path, algorithms=["ppo"], arms=["factors", TWO, "sparse_keypoints_two_rounds"])
    first, second = rounds_of(TINY, asked, tmp_path, threads=1)
    kinds = ("vae", "sparse_keypoints")
    assert set(_names(first.encoders)) == {f"SpriteReach-{kind}-seed{seed}" for kind in kinds for seed in (0, 1)}
    assert set(_names(first.recording)) == {f"SpriteReach-{kind}-ppo-seed{seed}" for kind in kinds for seed in (0, 1)}
    assert set(_names(first.agents)) == {
        *_names(first.recording),
        *(f"SpriteReach-factors-ppo-seed{k}" for k in (0, 1)),
    }
    assert [cell.seed for cell in first.agents] == [0, 0, 0, 1, 1, 1]
    assert [cell.encoder for cell in second.encoders] == [TWO, "sparse_keypoints_two_rounds"] * 2
    assert {cell.arm_name for cell in second.agents} == {TWO, "sparse_keypoints_two_rounds"}
    # what is asked for anyway is computed once
    both = rounds_of(TINY, agent_cells(TINY, tmp_path, algorithms=["ppo"], arms=["vae", TWO]), tmp_path)
    assert _names(both[0].agents) == ["SpriteReach-vae-ppo-seed0", "SpriteReach-vae-ppo-seed1"]
    # whatever learns on the second encoder, PPO has recorded for it
    by_sac = rounds_of(TINY, agent_cells(TINY, tmp_path, algorithms=["sac"], arms=[TWO], seeds=[1]), tmp_path)
    assert _names(by_sac[0].agents) == ["SpriteReach-vae-ppo-seed1"]
    assert _names(by_sac[1].agents) == [f"SpriteReach-{TWO}-sac-seed1"]
    (only,) = rounds_of(TINY, agent_cells(TINY, tmp_path, algorithms=["ppo"]), tmp_path)
    assert not only.recording


@pytest.mark.parametrize("name", SECOND_ROUND)
@pytest.mark.parametrize("scale", ["cpu", "public", "gpu"])
def test_a_second_encoder_differs_from_the_first_in_its_frames_alone(name: str, scale: str, tmp_path: Path) -> None:
    first, second = (
        encoder_cell(AGENT_SCALES[scale], "DoorKey", kind, 3, tmp_path) for kind in (SECOND_ROUND[name], name)
    )
    assert ENCODERS[name] == ENCODERS[ARMS[SECOND_ROUND[name]].encoder or ""]
    assert first.training is not None
    assert second.training is not None
    expected = dataclasses.replace(
        first.training,
        data_path=str(tmp_path / "frames" / f"DoorKey-{name}-seed3-train.h5"),
        run_dir=str(second.folder),
    )
    assert second.training == expected
    assert second.frames["test"] == first.frames["test"]
    assert second.recorded is not None
    assert second.recorded.agent == agent_cell(AGENT_SCALES[scale], "DoorKey", SECOND_ROUND[name], "ppo", 3, tmp_path)
    assert (second.recorded.frames, second.recorded.every) == (
        AGENT_SCALES[scale].frames["train"],
        AGENT_SCALES[scale].spacing["train"],
    )
    for algorithm in AGENT_SCALES[scale].algorithms.values():
        assert name not in algorithm.arms  # by name alone


def test_both_rounds_are_computed_by_one_command_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(_words(tmp_path)) == 0
    assert "report: of what there is" in capsys.readouterr().out
    found = live_study(tmp_path, "smoke")
    assert [(one.arm, one.seed) for one in found.agents] == [("vae", 0), ("vae", 1), (TWO, 0), (TWO, 1)]
    assert [(one.encoder, one.seed) for one in found.encoders] == [("vae", 0), ("vae", 1), (TWO, 0), (TWO, 1)]
    frames = tmp_path / "frames"
    for seed in (0, 1):
        path = frames / f"SpriteReach-{TWO}-seed{seed}-train.h5"
        with h5py.File(path) as file:
            settings = json.loads(file.attrs["settings"])
        assert (settings["frames"], settings["every"], settings["random_share"]) == (120, 2, 0.5)
        assert settings["policy"].startswith("agent ")
        assert settings["seed"] == 2_000_000 + seed
        record = json.loads((tmp_path / "encoders" / f"SpriteReach-{TWO}-seed{seed}" / "encoder-cell.json").read_text())
        assert record["recorded_by"] == {"agent": f"SpriteReach-vae-ppo-seed{seed}", "random_share": 0.5}
        assert record["frames"] == {"random": 120, "train": 120, "test": 80}
        assert record["seconds"]["recording"] == seconds_of_recording(path)
        assert record["training"]["data_path"].endswith(path.name)
    pictures = [
        load_dataset("h5", frames / f"SpriteReach-{name}train.h5").images(np.arange(120))
        for name in ("", f"{TWO}-seed0-", f"{TWO}-seed1-")
    ]
    assert not np.array_equal(pictures[0], pictures[1])
    assert not np.array_equal(pictures[1], pictures[2])
    fingerprints = {
        json.loads(path.read_text())["encoder"] for path in (tmp_path / "agents").glob(f"*/{agent_training.RECORD}")
    }
    assert len(fingerprints) == 4
    before = seconds_before(found, found.agents[2])
    assert before is not None
    assert before > found.agents[0].seconds["training"]

    with monkeypatch.context() as patch:
        for module, name in ((agent_training, "_train"), (agent_encoders, "pretrain_encoder")):
            patch.setattr(module, name, lambda *_, **__: pytest.fail("computed again"))
        patch.setattr("experiments.agents.frames.record", lambda *_, **__: pytest.fail("recorded again"))
        assert main(_words(tmp_path)) == 0

    # what another agent saw is not taken for what this one sees
    cell = encoder_cell(TINY, "SpriteReach", TWO, 1, tmp_path)
    assert cell.recorded is not None
    measured = seconds_of_recording(path)
    record_agent_frames(cell.recorded, path)
    assert seconds_of_recording(path) == measured
    with h5py.File(path, "r+") as file:
        file.attrs["settings"] = json.dumps({**settings, "policy": "agent of another"})
    with pytest.raises(
        ValueError, match=r"does not hold what the agent in .*SpriteReach-vae-ppo-seed1 sees .*remove it"
    ):
        record_agent_frames(cell.recorded, path)


def test_the_same_command_goes_on_with_a_recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(_words(tmp_path / "once", "--seeds", "0", "--encoders-only")) == 0
    name = f"SpriteReach-{TWO}-seed0-train.h5"
    write = recording.Recording.write

    def stopped(self: Any, images: Any, values: Any, moment: Any) -> None:
        if moment.frames > 60 and "two_rounds" in str(self._out):
            raise KeyboardInterrupt
        write(self, images, values, moment)

    with monkeypatch.context() as patch:
        patch.setattr(recording.Recording, "write", stopped)
        assert main(_words(tmp_path / "twice", "--seeds", "0", "--encoders-only")) == 130
    assert (tmp_path / "twice" / "frames" / f"{name}.partial").is_file()
    assert main(_words(tmp_path / "twice", "--seeds", "0", "--encoders-only")) == 0
    images = [load_dataset("h5", tmp_path / out / "frames" / name).images(np.arange(120)) for out in ("once", "twice")]
    assert np.array_equal(*images)
    # it was recorded in parts, so that nobody knows how long it took
    assert seconds_of_recording(tmp_path / "twice" / "frames" / name) is None


def test_encoders_only_trains_the_agents_that_record(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = _words(tmp_path, "--seeds", "1", "--encoders-only")
    words[words.index(TWO)] = f"factors,{TWO}"
    assert main(words) == 0
    assert "report" not in capsys.readouterr().out
    found = live_study(tmp_path, "smoke")
    assert [(one.arm, one.seed) for one in found.agents] == [("vae", 1)]
    assert [(one.encoder, one.seed) for one in found.encoders] == [("vae", 1), (TWO, 1)]


def test_what_fails_in_the_first_round_takes_the_second_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pretrain = agent_encoders.pretrain_encoder

    def failing(config, **options):  # type: ignore[no-untyped-def]
        if config.seed == 1:
            raise NonFiniteLossError("NaN at step 1")
        return pretrain(config, **options)

    monkeypatch.setattr(agent_encoders, "pretrain_encoder", failing)
    assert main(_words(tmp_path)) == 1
    assert "SpriteReach-vae-seed1: NaN at step 1" in capsys.readouterr().err
    assert [(one.arm, one.seed) for one in live_study(tmp_path, "smoke").agents] == [("vae", 0), (TWO, 0)]


def test_a_second_encoder_needs_the_first_agent(tmp_path: Path) -> None:
    record_frames(TINY, ["SpriteReach"], tmp_path, progress=False)
    cell = encoder_cell(TINY, "SpriteReach", TWO, 0, tmp_path)
    with pytest.raises(FileNotFoundError, match=r"no finished agent in .*vae-ppo-seed0.*--arm vae --algorithm ppo"):
        complete_encoders([cell], lambda _: None)
    assert not ENCODER_CELLS.is_finished(cell)


def test_the_budget_counts_both_rounds(tmp_path: Path) -> None:
    assert main([*_words(tmp_path), "--budget", "--results", str(tmp_path)]) == 0
    budget = json.loads((tmp_path / "budget-smoke.json").read_text())
    assert [(row["cell"], row["cells"]) for row in budget["rows"]] == [
        ("encoder vae, SpriteReach", 2),
        (f"encoder {TWO}, SpriteReach", 2),
        ("ppo VAE, SpriteReach", 2),
        ("ppo VAE, two rounds, SpriteReach", 2),
        (f"frames of {TWO}, SpriteReach", 2),
    ]
    assert all(row["seconds"] > 0 for row in budget["rows"])
    assert not AGENT_CELLS.is_finished(agent_cell(TINY, "SpriteReach", "vae", "ppo", 0, tmp_path))


def _clocked(**first: Any) -> AgentStudy:
    curve = [(500, 1.0, 1.0, 10), (1_000, 1.0, 1.0, 10)]
    return study(
        dataclasses.replace(agent("vae", curve=curve), **{"seconds": {"training": 400.0}, **first}),
        agent(TWO, curve=curve, curve_seconds=[2_000.0, 4_000.0]),
        dataclasses.replace(encoder("vae"), seconds={"recording": 1.0, "training": 20.0}),
        dataclasses.replace(encoder(TWO), seconds={"recording": 10_000.0, "training": 200_000.0}),
    )


def test_all_of_the_first_round_is_before_the_second() -> None:
    found = _clocked()
    first, second = found.agents
    assert seconds_before(found, first) == 21.0
    assert seconds_before(found, second) == 210_421.0
    (time,) = times_to(found, [second], 0.5)
    assert time.seconds == 210_421.0 + (2_000 if time.steps == 500 else 4_000)
    # by the clock on the wall, or not there
    assert seconds_before(_clocked(curve_seconds=()), second) is None
    assert seconds_before(dataclasses.replace(found, agents=[second]), second) is None
