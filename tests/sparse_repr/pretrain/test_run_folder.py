"""config.json of a run: whatever is wrong with it, the command says so in one line and names the file."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from sparse_repr import FrozenEncoder, load_encoder, pretrain_encoder
from sparse_repr.artefact import parse, serialise
from sparse_repr.data import load_dataset
from sparse_repr.evaluate import __main__ as evaluate
from sparse_repr.evaluate.run import EvaluateConfig, evaluate_run
from sparse_repr.pretrain import __main__ as pretrain
from sparse_repr.pretrain.run_folder import _LATER, differing_settings, read_settings, write_config
from tests.conftest import rectangles_config
from tests.mutations import UNREADABLE


@pytest.fixture
def copied(rectangles_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(rectangles_run, tmp_path / "run"))


@pytest.mark.parametrize("content", UNREADABLE)
def test_a_damaged_config_ends_both_commands_with_one_line(
    content: bytes, copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (copied / "config.json").write_bytes(content)
    assert evaluate.main([str(copied), "--no-progress"]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith(f"error: {copied}/config.json is damaged: ")
    assert shown.count("\n") == 1
    assert pretrain.main([f"--run-dir={copied}", "--resume", "--device=cpu"]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith(f"error: {copied}/config.json is damaged: ")
    assert shown.count("\n") == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dataset": None}, "dataset needs text, found None"),
        ({"data_path": 7}, "data_path needs text or null, found 7"),
        ({"seed": "0"}, "seed needs a whole number of at least 0, found '0'"),
        ({"steps": True}, "steps needs a whole number of at least 1, found True"),
        ({"code_size": 3.0}, r"code_size needs a whole number of at least 1, found 3\.0"),
    ],
)
def test_settings_of_another_type_are_named(changes: dict[str, Any], message: str, copied: Path) -> None:
    path = copied / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    with pytest.raises(ValueError, match=rf"config\.json is damaged: {message}; put back the file that the run wrote"):
        read_settings(copied)
    with pytest.raises(ValueError, match=rf"config\.json is damaged: {message}"):
        evaluate_run(EvaluateConfig(str(copied), progress=False))


DENOISING = ("denoising_noise", "denoising_color", "denoising_background")
FEATURES = ("feature_weight", "feature_network", "feature_layer", "feature_grid", *DENOISING)
COARSE_TO_FINE = ("perceptual_levels", "perceptual_scale", "roughness_weight", "sparsity_start")


@pytest.mark.parametrize("row", range(len(_LATER)))
def test_settings_that_came_later_may_be_missing_together(row: int, rectangles: Path, copied: Path) -> None:
    missing = {name for later in _LATER[row:] for name in later}
    path = copied / "config.json"
    settings = json.loads(path.read_text())
    path.write_text(json.dumps({name: value for name, value in settings.items() if name not in missing}))
    assert differing_settings(copied, rectangles_config(rectangles, copied).resolve()) == []
    asked = rectangles_config(rectangles, copied, opening_step=1, opening_steps=2).resolve()
    assert [words.split(":")[0] for words in differing_settings(copied, asked)] == ["opening_step", "opening_steps"]


@pytest.mark.parametrize(
    "missing", [("perceptual_scale",), ("denoising_color",), ("capacity_nats",), COARSE_TO_FINE, ("beta", *FEATURES)]
)
def test_other_settings_are_never_missing(missing: tuple[str, ...], rectangles: Path, copied: Path) -> None:
    path = copied / "config.json"
    settings = json.loads(path.read_text())
    path.write_text(json.dumps({name: value for name, value in settings.items() if name not in missing}))
    with pytest.raises(
        ValueError, match=rf"config\.json is damaged: it lacks {', '.join(sorted(missing))}, and no version wrote it so"
    ):
        pretrain_encoder(rectangles_config(rectangles, copied, resume=True))


@pytest.mark.parametrize(("name", "value"), [("seed", 1), ("objective", "vae"), ("code_size", 4)])
def test_a_config_of_another_run_is_not_believed(name: str, value: Any, copied: Path) -> None:
    path = copied / "config.json"
    settings = json.loads(path.read_text())
    path.write_text(json.dumps({**settings, name: value}))
    found = rf"{name} {value!r} and {settings[name]!r}"
    with pytest.raises(ValueError, match=rf"config\.json and encoder\.safetensors are of different runs \({found}\)"):
        evaluate_run(EvaluateConfig(str(copied), progress=False))


def test_an_encoder_that_no_run_trained_is_not_evaluated_as_one(copied: Path) -> None:
    encoder = load_encoder(copied)
    untrained = dataclasses.replace(encoder.spec, objective={"name": "untrained"})
    (copied / "encoder.safetensors").write_bytes(FrozenEncoder(untrained, encoder.network().state_dict()).to_bytes())
    tensors = parse((copied / "vae.safetensors").read_bytes(), "vae", "vae")[0]
    (copied / "vae.safetensors").write_bytes(serialise(tensors, {**untrained.to_header(), "kind": "vae"}))
    with pytest.raises(ValueError, match="the objective in the header is damaged: its content needs .*found no 'weig"):
        evaluate_run(EvaluateConfig(str(copied), progress=False))


def test_weight_files_of_two_moments_are_not_evaluated(
    rectangles: Path, copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The remedy that the message names works from the command line too."""
    earlier = (copied / "vae.safetensors").read_bytes()
    command = ["--dataset=folder", f"--data-path={rectangles}", "--image-size=32", "--batch-size=8", "--code-size=3"]
    command += ["--steps=3", "--step-graph=none", "--device=cpu", "--precision=float32", "--threads=1", "--no-progress"]
    command += ["--resume", f"--run-dir={copied}"]
    assert pretrain.main(command) == 0
    (copied / "vae.safetensors").write_bytes(earlier)
    capsys.readouterr()
    assert evaluate.main([str(copied), "--no-progress"]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith(f"error: {copied}: encoder.safetensors and vae.safetensors were not written together")
    assert shown.count("\n") == 1
    assert pretrain.main(command) == 0
    assert evaluate.main([str(copied), "--no-progress", "--metrics=mig", "--lpips-items=0", "--device=cpu"]) == 0
    assert load_encoder(copied).spec.objective["steps"] == 3


@pytest.mark.parametrize("objective", ["sparse_keypoints", "keypoints", "vae"])
def test_a_folder_of_another_objective_is_sound(objective: str, rectangles: Path, copied: Path) -> None:
    asked = rectangles_config(rectangles, copied, objective=objective)
    with pytest.raises(ValueError, match=rf"holds a run with other settings .*objective: '\w+' there, '{objective}'"):
        pretrain_encoder(asked)


def test_a_run_that_never_took_a_step_may_go_on_with_other_settings(rectangles: Path, tmp_path: Path) -> None:
    asked = rectangles_config(rectangles, tmp_path / "run")
    write_config(asked.resolve())
    other = dataclasses.replace(asked, learning_rate=2e-3)
    with pytest.raises(ValueError, match="holds a run with other settings .*learning_rate"):
        pretrain_encoder(other)
    pretrain_encoder(dataclasses.replace(other, resume=True))
    assert read_settings(tmp_path / "run")["learning_rate"] == 2e-3


def test_settings_of_a_sound_run(rectangles_run: Path, rectangles: Path) -> None:
    assert read_settings(rectangles_run) == rectangles_config(rectangles, rectangles_run).resolve().to_json()
    with pytest.raises(FileNotFoundError, match="no config.json in .*nowhere: expected a run folder"):
        read_settings(rectangles_run / "nowhere")


def test_resuming_beside_a_damaged_config_starts_in_another_folder(rectangles: Path, copied: Path) -> None:
    (copied / "config.json").write_text("{")
    with pytest.raises(
        ValueError, match=r"config\.json is damaged: .*; put back the file .*, or choose another folder"
    ):
        pretrain_encoder(rectangles_config(rectangles, copied, resume=True))
    pretrain_encoder(rectangles_config(rectangles, copied.parent / "another"))


@pytest.mark.parametrize("change", ["another picture", "fewer pictures"])
def test_a_run_does_not_go_on_with_other_images(change: str, rectangles: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(rectangles, tmp_path / "data"))
    config = rectangles_config(data, tmp_path / "run")
    longer = dataclasses.replace(config, steps=3, resume=True)
    pretrain_encoder(config)
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    kept = (data / "05.png").read_bytes()
    if change == "another picture":
        shutil.copy(data / "06.png", data / "05.png")
        message = "has learned from 36 images, and .*data has as many, 36, but other ones now"
    else:
        for name in ("05.png", "06.png", "07.png"):
            (data / name).unlink()
        message = "has learned from 36 images, and .*data has 34 to learn from now"
    with pytest.raises(ValueError, match=f"{message}: put back what was there, or start again: choose another folder"):
        pretrain_encoder(longer)
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before
    if change == "another picture":
        (data / "05.png").write_bytes(kept)
        pretrain_encoder(longer)
        assert load_encoder(tmp_path / "run").spec.objective["steps"] == 3


def test_a_run_from_before_its_images_were_noted_goes_on(rectangles: Path, copied: Path) -> None:
    path = copied / "config.json"
    described = json.loads(path.read_text())
    noted = described.pop("training_images")
    path.write_text(json.dumps(described))
    pretrain_encoder(rectangles_config(rectangles, copied, resume=True))
    assert json.loads(path.read_text())["training_images"] == noted
    path.write_text(json.dumps({**described, "training_images": {"images": -1, "digest": ""}}))
    with pytest.raises(ValueError, match=r"config\.json is damaged: training_images\.images needs a whole number"):
        pretrain_encoder(rectangles_config(rectangles, copied, resume=True))


def test_no_progress_shows_no_bar_of_a_first_use_either(
    rectangles: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = Path(shutil.copytree(rectangles, tmp_path / "data"))
    pretrain_encoder(rectangles_config(data, tmp_path / "run"))
    assert "data" not in capsys.readouterr().err
    shutil.copy(data / "06.png", data / "05.png")  # looked at anew
    evaluate_run(EvaluateConfig(str(tmp_path / "run"), metrics="mig", lpips_items=0, progress=False))
    assert "data" not in capsys.readouterr().err
    shutil.copy(data / "07.png", data / "05.png")
    load_dataset("folder", data)
    assert "looking at data" in capsys.readouterr().err


def test_a_run_knows_where_its_data_is_from_any_folder(
    rectangles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(rectangles.parent)
    run = pretrain_encoder(rectangles_config(Path(rectangles.name), tmp_path / "run"))
    monkeypatch.chdir(tmp_path)
    evaluate_run(EvaluateConfig(str(run), metrics="mig", lpips_items=0, progress=False))
    pretrain_encoder(rectangles_config(rectangles, run, resume=True))
    # of a run from before whole paths were kept
    described = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps({**described, "data_path": rectangles.name}))
    monkeypatch.chdir(rectangles.parent)
    assert differing_settings(run, rectangles_config(rectangles, run, resume=True).resolve()) == []
    other = rectangles_config(tmp_path, run, resume=True).resolve()
    assert [words.partition(":")[0] for words in differing_settings(run, other)] == ["data_path"]


def test_a_run_goes_on_elsewhere_as_it_was_begun(
    rectangles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = rectangles_config(rectangles, tmp_path / "run")
    config = dataclasses.replace(whole, threads=None, precision="auto", resume=True, steps=2)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    run = pretrain_encoder(config)
    begun = read_settings(run)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    other = {"bf16": "float32", "float32": "bf16"}[begun["precision"]]
    monkeypatch.setattr(
        "sparse_repr.pretrain.config.resolve_precision", lambda asked, _: other if asked == "auto" else asked
    )
    pretrain_encoder(dataclasses.replace(config, steps=4))
    assert {name: read_settings(run)[name] for name in ("threads", "precision")} == {
        "threads": 2,
        "precision": begun["precision"],
    }
    with pytest.raises(ValueError, match="threads: 2 there, 1 asked for"):
        pretrain_encoder(dataclasses.replace(config, threads=1, steps=6))


def test_a_run_with_a_setting_that_changed_nothing_goes_on(rectangles: Path, tmp_path: Path) -> None:
    config = dataclasses.replace(rectangles_config(rectangles, tmp_path / "run"), steps=2, resume=True)
    run = pretrain_encoder(config)
    described = json.loads((run / "config.json").read_text())
    old = {**described, "dae_steps": 500, "perceptual_weights_path": "vgg.pth"}
    (run / "config.json").write_text(json.dumps(old))
    pretrain_encoder(dataclasses.replace(config, steps=4))


def test_slow_precision_is_told_of_where_a_run_goes_on_with_it(
    rectangles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--dataset", "folder", "--data-path", str(rectangles), "--image-size", "32", "--batch-size", "4"]
    words += ["--device", "cpu", "--threads", "1", "--run-dir", str(tmp_path / "run"), "--resume", "--no-progress"]
    monkeypatch.setattr(
        "sparse_repr.pretrain.config.resolve_precision", lambda asked, _: {"auto": "bf16"}.get(asked, asked)
    )
    assert pretrain.main([*words, "--steps", "1"]) == 0
    assert "does not multiply bf16" not in capsys.readouterr().err
    monkeypatch.setattr("sparse_repr.pretrain.__main__.multiplies_bf16", lambda _: False)
    assert pretrain.main([*words, "--steps", "2"]) == 0
    assert "does not multiply bf16" in capsys.readouterr().err
