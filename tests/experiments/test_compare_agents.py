"""The command line of the study of agents, from an empty folder to published files."""

from __future__ import annotations

import dataclasses
import json
import warnings
from pathlib import Path

import pytest

from experiments import compare_agents
from experiments.agents import encoders as agent_encoders
from experiments.agents import training as agent_training
from experiments.agents.files import live_study, published_study
from experiments.agents.scales import AGENT_SCALES, Algorithm
from experiments.compare_agents import CompareConfig, main
from experiments.study import command as study_command
from sparse_repr.pretrain.term_sums import NonFiniteLossError

TINY = dataclasses.replace(
    AGENT_SCALES["smoke"],
    algorithms={
        "ppo": Algorithm(
            64,
            2,
            {"n_steps": 16, "batch_size": 32, "n_epochs": 1},
            ("random_policy", "factors", "untrained", "vae"),
            ("SpriteReach",),
        )
    },
    pretraining_steps={"SpriteReach": 2, "SpriteChase": 2},
    pretraining={"batch_size": 8, "learning_rate": 1e-3, "precision": "float32"},
    metrics="mig_histogram,linear_probe",
    image_items=16,
    frames={"train": 160, "test": 80},
    episodes=2,
)


@pytest.fixture(autouse=True)
def _tiny(short_episodes: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(AGENT_SCALES, "smoke", TINY)
    monkeypatch.setattr("experiments.agents.films._STEPS", 4)
    monkeypatch.setattr("experiments.agents.budget._EPISODES", 2)
    # pictures of a run have their tests, and cost more than the run
    monkeypatch.setattr("sparse_repr.evaluate.run.draw_run", lambda *_, **__: None)


def test_a_study_is_computed_once_reported_and_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--scale", "smoke", "--out", str(tmp_path / "study"), "--results", str(tmp_path / "results")]
    assert main(words) == 0
    study = live_study(tmp_path / "study", "smoke")
    assert [(agent.arm, agent.seed) for agent in study.agents] == [
        (arm, seed) for arm in ("random_policy", "factors", "untrained", "vae") for seed in (0, 1)
    ]
    assert [(encoder.encoder, encoder.seed) for encoder in study.encoders] == [
        (encoder, seed) for encoder in ("untrained", "vae") for seed in (0, 1)
    ]
    page = (tmp_path / "study" / "report.html").read_text()
    assert "8 agents and 4 encoders are finished" in page
    assert "ground-truth factors" in page
    assert "data:image/png;base64," in page
    assert "report: " in capsys.readouterr().out

    with monkeypatch.context() as patch:
        for module, name in ((agent_training, "_train"), (agent_encoders, "pretrain_encoder")):
            patch.setattr(module, name, lambda *_, **__: pytest.fail("computed again"))
        patch.setattr(compare_agents, "write_agent_report", lambda *_: "drawn anew")
        assert main(words) == 0
        assert "report: drawn anew" in capsys.readouterr().out

    assert main([*words, "--films"]) == 0
    films = {path.name for path in (tmp_path / "study" / "films").iterdir()}
    assert films == {
        *(f"SpriteReach-{arm}-ppo.gif" for arm in ("random_policy", "factors", "untrained", "vae")),
        "SpriteReach-ppo.png",
        "SpriteReach-vae-objects.png",
    }
    assert main([*words, "--films", "--film-domain", "nois"]) == 2
    assert "unknown domain of SparseRepr/SpriteReach-v0 'nois'. Did you mean 'noise'" in capsys.readouterr().err
    assert main([*words, "--films", "--film-domain", "noise"]) == 0
    assert (tmp_path / "study" / "films" / "SpriteReach-vae-ppo-noise.gif").is_file()
    assert main([*words, "--ends"]) == 0
    assert "8 agents know how their episodes end" in capsys.readouterr().out
    assert main([*words, "--report"]) == 0
    assert "How episodes of SpriteReach end" in (tmp_path / "study" / "report.html").read_text()
    assert "data:image/gif;base64," in (tmp_path / "study" / "report.html").read_text()

    assert main([*words, "--publish"]) == 0
    folder = tmp_path / "results" / "smoke"
    published = published_study(folder, "smoke")
    assert len(published.agents) == 8
    assert len(published.encoders) == 4
    assert len(published.ends) == 8
    assert published.agents[3].returns.keys() == study.agents[3].returns.keys()
    assert published.agents[3].mean_return() == pytest.approx(study.agents[3].mean_return(), rel=1e-5)
    assert (folder / "learning-SpriteReach-ppo.png").is_file()
    assert (folder / "films" / "SpriteReach-vae-ppo.gif").is_file()
    for path in folder.glob("*/*.json"):
        text = path.read_text()
        assert str(tmp_path) not in text
        assert "run_dir" not in text
        content = json.loads(text)
        assert content["command"].startswith("python -m experiments.compare_agents --scale smoke --task SpriteReach")
        assert content["machine"]["git_revision"]
    # what was published elsewhere stays
    (folder / "agents" / "SpriteReach-vae-ppo-seed1.json").rename(
        folder / "agents" / "SpriteReach-vae-ppo-seed1-of-another-machine.json"
    )
    monkeypatch.setattr(compare_agents, "publish_agent_report", lambda *_: [])
    assert main([*words, "--publish"]) == 0
    assert len(published_study(folder, "smoke").agents) == 9
    # the record of an encoder that an agent of elsewhere learned on is not replaced by that of another
    elsewhere = folder / "agents" / "SpriteReach-vae-ppo-seed1-of-another-machine.json"
    record = folder / "encoders" / "SpriteReach-vae-seed1.json"
    # and of the same encoder, computed anew, the seconds stay: other agents' clock began with them
    first = json.loads(record.read_text())
    there = {
        "seconds": {**first["seconds"], "training": 999.0},
        "machine": {**first["machine"], "processor": "another"},
    }
    record.write_text(json.dumps({**first, **there}))
    assert main([*words, "--publish"]) == 0
    assert json.loads(record.read_text()) == {**first, **there}
    for path, key in ((elsewhere, "encoder"), (record, "fingerprint")):
        path.write_text(json.dumps({**json.loads(path.read_text()), key: "another"}))
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        assert main([*words, "--publish"]) == 0
    assert "kept the records of SpriteReach-vae-seed1 in" in capsys.readouterr().err
    assert json.loads(record.read_text())["fingerprint"] == "another"
    elsewhere.unlink()
    assert main([*words, "--publish"]) == 0
    assert json.loads(record.read_text())["fingerprint"] != "another"
    # how episodes end is told of the agent that is published, and of none before it
    played, agent = (folder / kind / "SpriteReach-vae-ppo-seed0.json" for kind in ("ends", "agents"))
    (tmp_path / "study" / "agents" / agent.stem / "ends.json").unlink()
    assert main([*words, "--publish"]) == 0
    assert played.is_file()
    before = json.loads(agent.read_text())
    # more digits than are published are no other agent
    own = tmp_path / "study" / "agents" / agent.stem / "agent-cell.json"
    found = json.loads(own.read_text())
    for values in (found, before):
        values["evaluation"]["source"]["returns"][0] = 1.2345678
    before["evaluation"]["source"]["returns"][0] = 1.23457
    own.write_text(json.dumps(found))
    agent.write_text(json.dumps(before))
    assert main([*words, "--publish"]) == 0
    assert played.is_file()
    before["evaluation"]["source"]["returns"][0] += 1
    agent.write_text(json.dumps(before))
    assert main([*words, "--publish"]) == 0
    assert not played.exists()
    # an encoder that was pretrained otherwise is none of this scale
    made = tmp_path / "study" / "encoders" / "SpriteReach-vae-seed0" / "encoder-cell.json"
    content = json.loads(made.read_text())
    for setting, value, code in (("precision", "bf16", 0), ("learning_rate", 0.5, 2)):
        made.write_text(json.dumps({**content, "training": {**content["training"], setting: value}}))
        capsys.readouterr()
        assert main([*words, "--publish"]) == code
    assert "SpriteReach-vae-seed0 was computed with other settings (learning_rate: 0.5 there" in capsys.readouterr().err


def test_agents_without_an_encoder_need_no_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["--scale", "smoke", "--out", str(tmp_path), "--seeds", "0", "--no-progress"]
    monkeypatch.setattr(compare_agents, "write_agent_report", lambda *_: "none")
    assert main([*words, "--arm", "random_policy,factors"]) == 0
    assert not (tmp_path / "frames").exists()
    assert main([*words, "--arm", "untrained"]) == 0
    assert {path.name for path in (tmp_path / "frames").glob("*.h5")} == {
        "SpriteReach-train.h5",
        "SpriteReach-test.h5",
    }


def test_an_encoder_that_fails_takes_its_agents_along_and_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pretrain = agent_encoders.pretrain_encoder

    def failing(config, **options):  # type: ignore[no-untyped-def]
        if config.seed == 1:
            raise NonFiniteLossError("NaN at step 1")
        return pretrain(config, **options)

    monkeypatch.setattr(agent_encoders, "pretrain_encoder", failing)
    monkeypatch.setattr(compare_agents, "write_agent_report", lambda *_: "of what there is")
    assert main(["--scale", "smoke", "--arm", "vae,random_policy", "--out", str(tmp_path), "--no-progress"]) == 1
    printed = capsys.readouterr()
    assert "SpriteReach-vae-seed1: NaN at step 1" in printed.err
    assert "report: of what there is" in printed.out
    study = live_study(tmp_path, "smoke")
    assert [(agent.arm, agent.seed) for agent in study.agents] == [
        ("random_policy", 0),
        ("random_policy", 1),
        ("vae", 0),
    ]


def test_the_budget_adds_every_kind_of_cell_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--scale", "smoke", "--arm", "factors,vae", "--out", str(tmp_path), "--results", str(tmp_path)]
    assert main([*words, "--budget", "--no-progress"]) == 0
    budget = json.loads((tmp_path / "budget-smoke.json").read_text())
    assert [(row["cell"], row["cells"]) for row in budget["rows"]] == [
        ("encoder vae, SpriteReach", 2),
        ("ppo ground-truth factors, SpriteReach", 2),
        ("ppo VAE, SpriteReach", 2),
    ]
    assert budget["hours"] == pytest.approx(sum(row["cells"] * row["seconds"] for row in budget["rows"]) / 3600)
    assert "minutes in all" in capsys.readouterr().out
    assert live_study(tmp_path, "smoke").agents == []


def test_wrong_words_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match=r"unknown arm 'vea'\. Did you mean 'vae"):
        CompareConfig("cpu", arm="vea")
    with pytest.raises(ValueError, match="processes needs a whole number in 1..1024, got 0"):
        CompareConfig("cpu", processes=0)
    with pytest.raises(ValueError, match="give one of --report and --publish"):
        CompareConfig("cpu", report=True, publish=True)
    assert main(["--scale", "smoke", "--publish", "--out", str(tmp_path)]) == 2
    assert "nothing to publish" in capsys.readouterr().err


def test_missing_means_are_told_before_anything_is_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert main(["--scale", "gpu", "--out", str(tmp_path)]) == 2
    assert "--scale gpu needs a CUDA GPU" in capsys.readouterr().err
    # nor are they needed to look at what there is
    assert main(["--scale", "gpu", "--out", str(tmp_path), "--ends", "--no-progress"]) == 0
    assert "0 agents know how their episodes end" in capsys.readouterr().out

    def missing() -> None:
        raise FileNotFoundError("no VGG16")

    monkeypatch.setattr(study_command, "load_vgg16", missing)
    assert main(["--scale", "cpu", "--arm", "sparse_perceptual", "--out", str(tmp_path)]) == 2
    assert "no VGG16" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
