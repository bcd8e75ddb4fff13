"""Many runs by one call: ordinary run folders, resumed together or alone, and one failure that stops no other."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from sparse_repr import FrozenEncoder, PretrainConfig, load_encoder, pretrain_encoder
from sparse_repr.command_line.interruption import TrainingInterrupted
from sparse_repr.pretrain import trainer as training
from sparse_repr.pretrain.__main__ import main
from sparse_repr.pretrain.term_sums import NonFiniteLossError
from sparse_repr.pretrain.together import ensemble, stacked
from sparse_repr.pretrain.together.ensemble import choose_together, pretrain_encoders
from sparse_repr.pretrain.variations import vary
from tests.sparse_repr.pretrain.test_trainer import _same, _state


def logged_losses(folder: Path) -> list[float]:
    """The loss of every logged step."""
    events = EventAccumulator(str(folder))
    events.Reload()
    return [event.value for event in events.Scalars("train/loss")]


@pytest.mark.parametrize("together", ["vectorized", "sequential", "processes"])
def test_each_run_is_the_one_it_would_be_alone(small_study: PretrainConfig, tmp_path: Path, together: str) -> None:
    configs = vary(small_study, seeds=[0, 4], weights={"sparsity_weight": [1.0, 4.0]})[1:3]
    folders = pretrain_encoders(configs, together=together)
    assert [folder.name for folder in folders] == [
        "folder-sparse-sparsity_weight1-seed4",
        "folder-sparse-sparsity_weight4-seed0",
    ]
    for config, folder in zip(configs, folders, strict=True):
        alone = pretrain_encoder(dataclasses.replace(config, run_dir=str(tmp_path / "alone" / folder.name)))
        assert json.loads((folder / "config.json").read_text()) == json.loads((alone / "config.json").read_text())
        np.testing.assert_allclose(logged_losses(folder), logged_losses(alone), rtol=1e-4)
        assert len(logged_losses(folder)) == 20
        assert load_encoder(folder).spec.objective["seed"] == config.seed
        ours, theirs = _state(folder), _state(alone)
        if together == "vectorized":
            assert (folder / "state.pt").stat().st_size < 1.1 * (alone / "state.pt").stat().st_size
            assert torch.equal(ours["generator"], theirs["generator"])  # type: ignore[arg-type]
        else:
            assert _same(ours, theirs)


def test_runs_killed_at_different_steps_go_on_together_and_alone(small_study: PretrainConfig) -> None:
    configs = vary(small_study, seeds=[0, 1, 2])
    pretrain_encoder(dataclasses.replace(configs[0], steps=10))
    pretrain_encoder(dataclasses.replace(configs[1], steps=5))  # and the third was never started
    resumed = [dataclasses.replace(config, resume=True) for config in configs]
    folders = pretrain_encoders(resumed, together="vectorized")
    for config, folder in zip(configs, folders, strict=True):
        assert _state(folder)["step"] == 20
        straight = pretrain_encoder(dataclasses.replace(config, run_dir=f"{config.run_dir}-straight"))
        np.testing.assert_allclose(logged_losses(folder)[-5:], logged_losses(straight)[-5:], rtol=1e-4)
    alone = pretrain_encoder(dataclasses.replace(resumed[1], steps=22))
    assert _state(alone)["step"] == 22


@pytest.mark.parametrize("together", ["vectorized", "sequential"])
def test_a_run_that_fails_does_not_stop_the_others(
    small_study: PretrainConfig, monkeypatch: pytest.MonkeyPatch, together: str
) -> None:
    draw = training.Trainer.draw

    def poisoned(self: training.Trainer) -> tuple[torch.Tensor, torch.Tensor]:
        drawn, noise = draw(self)
        return drawn, noise * (float("nan") if self.config.seed == 1 and self.step == 12 else 1)

    monkeypatch.setattr(training.Trainer, "draw", poisoned)
    configs = vary(small_study, seeds=[0, 1])
    with pytest.raises(NonFiniteLossError, match=r"NaN or infinite at step 13; .*seed1"):
        pretrain_encoders(configs, together=together)
    good, bad = (config.run_folder() for config in configs)
    assert (_state(good)["step"], _state(bad)["step"]) == (20, 10)
    assert (good / "encoder.safetensors").is_file()
    assert load_encoder(bad).spec.objective["steps"] == 10


def test_a_signal_saves_every_stacked_run(small_study: PretrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    step = stacked.StackedModels.train_step

    def stop_at_13(self: stacked.StackedModels) -> dict[str, torch.Tensor]:
        terms = step(self)
        if self.step == 13:
            os.kill(os.getpid(), signal.SIGINT)
        return terms

    monkeypatch.setattr(stacked.StackedModels, "train_step", stop_at_13)
    configs = vary(small_study, seeds=[0, 1])
    with pytest.raises(TrainingInterrupted, match="stopped; the states are in the folders in .*study, continue with"):
        pretrain_encoders(configs, together="vectorized")
    assert [_state(config.run_folder())["step"] for config in configs] == [13, 13]


def test_every_folder_is_checked_before_training(small_study: PretrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    configs = vary(small_study, seeds=[0, 1])
    pretrain_encoder(dataclasses.replace(configs[1], steps=1))
    monkeypatch.setattr(ensemble, "load_run_data", lambda *_: pytest.fail("training was prepared"))
    with pytest.raises(ValueError, match=r"seed1 holds a run with other settings"):
        pretrain_encoders([dataclasses.replace(config, code_size=4) for config in configs], together="sequential")
    with pytest.raises(FileExistsError, match=r"seed1 already holds a run"):
        pretrain_encoders(configs, together="vectorized")
    with pytest.raises(ValueError, match="a folder of its own, got .*seed0 more than once"):
        pretrain_encoders([configs[0], configs[0]])
    with pytest.raises(ValueError, match="at least one configuration"):
        pretrain_encoders([])


def test_the_way_is_chosen_by_the_device(small_study: PretrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    configs = vary(small_study, seeds=[0, 1])
    monkeypatch.setattr(ensemble, "available_cores", lambda: 8)
    assert choose_together(configs)[0] == "processes"
    assert choose_together(configs[:1])[0] == "sequential"
    monkeypatch.setattr(ensemble, "available_cores", lambda: 1)
    assert choose_together(configs)[0] == "sequential"
    monkeypatch.setattr(ensemble, "resolve_device", lambda _: torch.device("cuda"))
    assert choose_together(configs)[0] == "vectorized"
    adversarial = [dataclasses.replace(config, objective="factor_vae") for config in configs]
    assert choose_together(adversarial) == (
        "sequential",
        "objective 'factor_vae' trains a discriminator with an optimiser of its own",
    )
    sizes = [dataclasses.replace(config, code_size=4 + config.seed) for config in configs]
    with pytest.raises(ValueError, match="'vectorized' cannot train these runs: .*got code_size 4, 5; use sequential"):
        choose_together(sizes, "vectorized")
    with pytest.raises(ValueError, match="together needs one of auto, vectorized, sequential, processes, got 'fast'"):
        choose_together(configs, "fast")


def test_a_run_that_cannot_start_in_its_process_says_why(small_study: PretrainConfig) -> None:
    configs = [dataclasses.replace(config, data_path="/nowhere") for config in vary(small_study, seeds=[0, 1])]
    with pytest.raises(FileNotFoundError, match="no such folder: /nowhere"):
        pretrain_encoders(configs, together="processes")


def test_one_command_trains_several_and_continues_them(
    small_study: PretrainConfig, rectangles: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["--seeds", "0,1", "--beta", "1,2", "--dataset", "folder", "--data-path", str(rectangles)]
    command += ["--run-dir", str(small_study.run_dir), "--image-size", "32", "--batch-size", "8", "--no-progress"]
    command += ["--device", "cpu", "--precision", "float32", "--threads", "1", "--together", "vectorized"]
    assert main([*command, "--steps", "2"]) == 0
    printed = capsys.readouterr()
    assert printed.out.count("encoder.safetensors") == 4
    assert "training 4 runs, vectorized: as asked" in printed.err
    assert main([*command, "--steps", "3", "--resume"]) == 0
    steps = {
        path.parent.name: _state(path.parent)["step"] for path in Path(str(small_study.run_dir)).glob("*/state.pt")
    }
    assert steps == {f"folder-sparse-beta{beta}-seed{seed}": 3 for beta in (1, 2) for seed in (0, 1)}


@pytest.mark.parametrize("together", ["vectorized", "sequential"])
def test_the_cure_of_one_run_is_not_refused_by_those_that_are_finished(
    small_study: PretrainConfig, monkeypatch: pytest.MonkeyPatch, together: str
) -> None:
    draw = training.Trainer.draw

    def poisoned(self: training.Trainer) -> tuple[torch.Tensor, torch.Tensor]:
        drawn, noise = draw(self)
        return drawn, noise * (float("nan") if self.config.seed == 1 and self.step == 2 else 1)

    configs = vary(small_study, seeds=[0, 1])
    with monkeypatch.context() as patch:
        patch.setattr(training.Trainer, "draw", poisoned)
        with pytest.raises(NonFiniteLossError, match=rf"{configs[1].run_folder()}.*; nothing was saved"):
            pretrain_encoders(configs, together=together)
    before = (configs[0].run_folder() / "config.json").read_text()
    cured = [dataclasses.replace(config, resume=True, learning_rate=1e-4) for config in configs]
    folders = pretrain_encoders(cured, together=together)
    assert [_state(folder)["step"] for folder in folders] == [20, 20]
    assert (folders[0] / "config.json").read_text() == before
    assert json.loads((folders[1] / "config.json").read_text())["learning_rate"] == 1e-4


def test_a_stacked_run_that_cannot_be_exported_does_not_cost_the_others_theirs(
    small_study: PretrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    export = training.Trainer.export

    def failing(self: training.Trainer) -> FrozenEncoder:
        if self.config.seed == 0 and self.step == 20:
            raise NonFiniteLossError("the codes of step 20 are NaN or infinite on the training images")
        return export(self)

    monkeypatch.setattr(training.Trainer, "export", failing)
    configs = vary(small_study, seeds=[0, 1, 2])
    with pytest.raises(NonFiniteLossError, match="the codes of step 20 are NaN or infinite"):
        pretrain_encoders(configs, together="vectorized")
    assert [(config.run_folder() / "encoder.safetensors").is_file() for config in configs[1:]] == [True, True]


def test_a_signal_before_the_first_step_is_followed_by_advice_that_holds(
    rectangles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--dataset", "folder", "--data-path", str(rectangles), "--run-dir", str(tmp_path / "run")]
    words += ["--image-size", "32", "--steps", "2", "--batch-size", "8", "--device", "cpu", "--no-progress"]
    with monkeypatch.context() as patch:
        patch.setattr(training.Trainer, "prepare", lambda _, **__: os.kill(os.getpid(), signal.SIGINT))
        assert main(words) == 130
    assert capsys.readouterr().err.splitlines()[-1] == "stopped by SIGINT; the same command plus --resume goes on"
    assert main([*words, "--resume"]) == 0


def test_no_seeds_are_not_taken_for_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seeds", ""]) == 2
    assert "--seeds needs numbers and ranges such as 0-15 or 0,2,5-7, got ''" in capsys.readouterr().err


def test_the_command_says_what_its_steps_do_not_reach(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--preset", "npz/top_k", "--steps", "300", "--data-path", "nowhere.npz"]) == 2
    assert "300 steps end before as few units as encode images are trained from step 1,000" in capsys.readouterr().err


@pytest.mark.parametrize("together", ["vectorized", "sequential"])
def test_another_learning_rate_without_a_need_is_refused_by_finished_runs(
    small_study: PretrainConfig, together: str
) -> None:
    pretrain_encoders(vary(small_study, seeds=[0, 1]), together=together)
    more = vary(dataclasses.replace(small_study, resume=True, learning_rate=2e-2), seeds=[0, 1, 2])
    with pytest.raises(ValueError, match=r"other settings \(learning_rate: 0.0005 there, 0.02 asked for"):
        pretrain_encoders(more, together=together)
    assert not more[2].run_folder().exists()


def test_seeds_may_be_added_where_each_gets_fewer_threads(
    small_study: PretrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ensemble, "available_cores", lambda: 4)
    config = dataclasses.replace(small_study, threads=None, resume=True)
    pretrain_encoders(vary(config, seeds=[0, 1]), together="processes")
    folders = pretrain_encoders(vary(config, seeds=[0, 1, 2, 3]), together="processes")
    threads = [json.loads((folder / "config.json").read_text())["threads"] for folder in folders]
    assert threads == [2, 2, 1, 1]


def test_the_cure_of_a_run_that_had_saved_nothing_is_remembered(
    small_study: PretrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = training.Trainer.draw

    def poisoned(self: training.Trainer) -> tuple[torch.Tensor, torch.Tensor]:
        drawn, noise = draw(self)
        return drawn, noise * (float("nan") if self.config.seed == 1 else 1)

    configs = vary(small_study, seeds=[0, 1])
    with monkeypatch.context() as patch:
        patch.setattr(training.Trainer, "draw", poisoned)
        with pytest.raises(NonFiniteLossError, match="nothing was saved"):
            pretrain_encoders(configs, together="sequential")
    cured = dataclasses.replace(small_study, resume=True, learning_rate=1e-4)
    pretrain_encoders(vary(cured, seeds=[0, 1]), together="sequential")
    folders = pretrain_encoders(vary(cured, seeds=[0, 1, 2]), together="sequential")
    rates = [json.loads((folder / "config.json").read_text())["learning_rate"] for folder in folders]
    assert rates == [5e-4, 1e-4, 1e-4]
