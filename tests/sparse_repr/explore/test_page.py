"""The explorer's file: all in one, as large as it may be, and clear about what it cannot show."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sparse_repr import load_encoder
from sparse_repr.data import FactorDataset
from sparse_repr.evaluate.run import EvaluateConfig, evaluate_run
from sparse_repr.explore import AgentFilm, page, write_explorer
from sparse_repr.explore.__main__ import main
from sparse_repr.explore.networks import NETWORKS
from sparse_repr.models import BurgessDecoder, BurgessEncoder


def _contents(file: Path) -> dict[str, Any]:
    text = re.search(r'id="contents">(.*?)</script>', file.read_text(encoding="utf-8"), re.S)
    assert text is not None
    found: dict[str, Any] = json.loads(text[1])
    return found


@pytest.fixture(autouse=True)
def _few_items(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sparse_repr.explore.contents._ITEMS", 200)


def test_the_page_needs_nothing_but_itself(rectangles_run: Path, tmp_path: Path) -> None:
    file = write_explorer([rectangles_run], tmp_path / "explorer.html", examples=5)
    text = file.read_text(encoding="utf-8")
    assert set(re.findall(r"https?://[^\"'\s]+", text)) == {"http://www.w3.org/2000/svg"}  # the name of SVG
    assert "default-src 'none'" in text
    assert not re.search(r"<(link|img|iframe)\b|\bsrc=", text)
    assert file.stat().st_size < 2_500_000
    assert str(rectangles_run.parent) not in text
    run = _contents(file)["runs"][0]
    assert run["examples"]["images"]["shape"] == [4, 1, 32, 32]  # all that were held out
    assert "4 images of its data set: think" in _contents(file)["notes"][-1]
    again = write_explorer([rectangles_run], tmp_path / "again.html", examples=5)
    assert again.read_bytes() == file.read_bytes()


def test_runs_of_one_data_set_share_their_examples(rectangles_run: Path, keypoints_run: Path, tmp_path: Path) -> None:
    contents = _contents(write_explorer([rectangles_run, keypoints_run], tmp_path / "explorer.html"))
    assert [run["examples"]["images"] is None for run in contents["runs"]] == [False, True]
    # the codes of both are there, so that the page compares its own with torch's for each run
    assert [run["examples"]["of"] for run in contents["runs"]] == [0, 0]
    count = contents["runs"][0]["examples"]["images"]["shape"][0]
    assert [run["examples"]["codes"]["shape"] for run in contents["runs"]] == [[count, 3], [count, 96]]
    assert [run["keypoints"] for run in contents["runs"]] == [None, 32]


def test_names_cannot_end_the_script_they_stand_in(rectangles_run: Path, tmp_path: Path) -> None:
    odd = tmp_path / "<script>alert(1)<"
    shutil.copytree(rectangles_run, odd)
    file = write_explorer([odd], tmp_path / "explorer.html")
    assert "<script>alert" not in file.read_text(encoding="utf-8")
    assert _contents(file)["runs"][0]["name"] == odd.name


def test_factors_come_from_metrics_or_are_computed(tiny_run: Path, tmp_path: Path) -> None:
    computed = _contents(write_explorer([tiny_run], tmp_path / "explorer.html"))["runs"][0]["information"]
    assert computed["how"] == "Over 200 images."
    assert computed["factors"] == ["shape", "scale", "orientation", "position x", "position y"]
    scored = tmp_path / "scored"
    shutil.copytree(tiny_run, scored)
    evaluate_run(EvaluateConfig(run=str(scored), sample=300, metrics="mig", image_items=20, progress=False))
    found = _contents(write_explorer([scored], tmp_path / "explorer.html"))["runs"][0]["information"]
    assert found["how"] == "From metrics.json, over 300 images."
    report = json.loads((scored / "metrics.json").read_text(encoding="utf-8"))
    assert np.allclose(found["matrix"], report["disentanglement"]["mutual_information_nats"], atol=1e-4)
    # a report of another encoder is not taken
    (scored / "metrics.json").write_text(json.dumps({**report, "encoder": "0" * 64}), encoding="utf-8")
    other = _contents(write_explorer([scored], tmp_path / "explorer.html"))["runs"][0]["information"]
    assert other["how"] == "Over 200 images."
    report["disentanglement"]["factor_entropies_nats"].pop()
    (scored / "metrics.json").write_text(json.dumps(report), encoding="utf-8")
    with pytest.raises(ValueError, match=r"metrics.json is damaged: its mutual information is not of 5 factors"):
        write_explorer([scored], tmp_path / "explorer.html")


def test_an_encoder_of_an_unknown_network_leaves_the_sliders(
    rectangles_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(NETWORKS, BurgessEncoder)
    contents = _contents(write_explorer([rectangles_run], tmp_path / "explorer.html"))
    assert contents["runs"][0]["encoder"] is None
    assert "cannot run the encoder BurgessEncoder in a browser" in contents["notes"][0]
    monkeypatch.delitem(NETWORKS, BurgessDecoder)
    with pytest.raises(ValueError, match="cannot run the decoder BurgessDecoder in a browser"):
        write_explorer([rectangles_run], tmp_path / "explorer.html")


def test_a_large_file_says_what_takes_the_room(
    rectangles_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "MOST_BYTES", 1_000_000)
    with pytest.warns(UserWarning, match=r"more than 1 MB.*run rectangles 1\.\d MB.*leave out a run or the film"):
        write_explorer([rectangles_run], tmp_path / "explorer.html")


def test_what_cannot_be_shown_is_refused(rectangles_run: Path, dsprites: FactorDataset, tmp_path: Path) -> None:
    target = tmp_path / "explorer.html"
    with pytest.raises(ValueError, match="at least one run folder, got none"):
        write_explorer([], target)
    with pytest.raises(FileNotFoundError, match=r"no encoder at .*nowhere"):
        write_explorer([tmp_path / "nowhere"], target)
    with pytest.raises(ValueError, match=r"encoder.safetensors is an encoder alone"):
        write_explorer([rectangles_run / "encoder.safetensors"], target)
    with pytest.raises(FileNotFoundError, match=r"no folder .*missing for explorer.html: make it"):
        write_explorer([rectangles_run], tmp_path / "missing" / "explorer.html")
    with pytest.raises(ValueError, match=r"examples needs a whole number in 1\.\.48, got 0"):
        write_explorer([rectangles_run], target, examples=0)
    other = tmp_path / "other"
    shutil.copytree(rectangles_run, other)
    settings = json.loads((other / "config.json").read_text(encoding="utf-8"))
    (other / "config.json").write_text(json.dumps({**settings, "dataset": "dsprites", "data_path": None}))
    with pytest.raises(ValueError, match=r"was trained on images \(1, 32, 32\), drawn has \(1, 64, 64\).*--data-path"):
        write_explorer([other], target)
    halved = tmp_path / "halved"
    shutil.copytree(rectangles_run, halved)
    (halved / "vae.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="no VAE at"):
        write_explorer([halved], target)
    assert not target.exists()


def test_a_film_of_another_encoder_is_refused_with_its_fingerprint(rectangles_run: Path, tmp_path: Path) -> None:
    film = AgentFilm(
        encoder="ab" * 32,
        caption="PPO",
        frames=np.zeros((2, 1, 32, 32), np.uint8),
        codes=np.zeros((2, 3), np.float32),
        actions=np.zeros((2, 1), np.float32),
        steps=np.arange(2),
        returns=np.zeros(2, np.float32),
    ).save(tmp_path / "film.safetensors")
    own = load_encoder(rectangles_run).fingerprint[:12]
    with pytest.raises(ValueError, match=rf"encoder abababababab, the runs have rectangles {own}"):
        write_explorer([rectangles_run], tmp_path / "explorer.html", film=film)
    with pytest.raises(FileNotFoundError, match=r"no film at .*none.safetensors: python -m experiments.film"):
        write_explorer([rectangles_run], tmp_path / "explorer.html", film=tmp_path / "none.safetensors")
    with pytest.raises(ValueError, match="expected kind 'agent_film', found 'encoder'"):
        write_explorer([rectangles_run], tmp_path / "explorer.html", film=rectangles_run / "encoder.safetensors")


def test_the_command_line(
    rectangles_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([str(rectangles_run), "--examples", "3"]) == 0
    assert re.search(r"explorer: .*explorer.html \(1\.\d MB\)", capsys.readouterr().out)
    assert main([]) == 2
    assert "explore needs at least one run folder" in capsys.readouterr().err
    assert main(["nowhere"]) == 2
    assert "no encoder at nowhere" in capsys.readouterr().err


def test_one_path_is_no_list_of_runs(rectangles_run: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"needs runs as a list of run folders, got '.*': write \[run\]"):
        write_explorer(str(rectangles_run), tmp_path / "explorer.html")
