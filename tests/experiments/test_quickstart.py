from __future__ import annotations

import functools
import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from experiments.measure import shape_probe
from experiments.pages.report import write_report
from experiments.quickstart import QuickstartConfig, main, verdict
from sparse_repr.data import FactorDataset


class _Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_tiny_quickstart_writes_a_self_contained_report(
    short_episodes: None,
    dsprites: FactorDataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("experiments.quickstart.PPO_SETTINGS", {"n_steps": 32, "batch_size": 32})
    few = functools.partial(shape_probe.shape_accuracy, items=120)
    monkeypatch.setattr(shape_probe, "shape_accuracy", few)
    options = {
        "pretrain-steps": 10,
        "sample": 2000,
        "image-items": 100,
        "agent-steps": 128,
        "environments": 2,
        "episodes": 6,
    }
    arguments = [text for name, value in options.items() for text in (f"--{name}", str(value))]
    assert main(["--out", str(tmp_path), "--no-progress", *arguments]) == 0
    assert str(tmp_path / "report.html") in capsys.readouterr().out
    page = _Page((tmp_path / "report.html").read_text())
    assert len(page.sources) == 6  # a film, the explorer, three figures of the encoder and the learning curves
    assert page.sources[0].startswith("data:image/gif;base64,")
    assert page.sources[1] == "explorer.html"
    assert all(source.startswith("data:image/png;base64,") for source in page.sources[2:])
    assert "PPO on the code" in (tmp_path / "explorer.html").read_text(encoding="utf-8")
    for words in ("ground truth", "sparse code", "shape-blind", "random", "PSNR", "Scored on 2000 images"):
        assert words in page.text
    results = json.loads((tmp_path / "results.json").read_text())
    assert [arm["name"] for arm in results["agents"]] == ["ground truth", "sparse code", "shape-blind", "random"]
    for arm in results["agents"]:
        assert arm["episodes"] == 6
        assert arm["interval_95"][0] <= arm["success_rate"] <= arm["interval_95"][1]
    assert results["verdict"] in " ".join(page.text.split())
    # continues, does not complain; what was scored and judged is taken from there
    scored = json.loads((tmp_path / "sparse" / "metrics.json").read_text())
    monkeypatch.setattr("experiments.quickstart.evaluate_run", lambda _: scored)
    judged = {arm["name"]: arm for arm in results["agents"]}
    monkeypatch.setattr("experiments.quickstart.run_arm", lambda arm, _config, _film: judged[arm.name])
    state = (tmp_path / "sparse" / "state.pt").read_bytes()
    assert main(["--out", str(tmp_path), "--no-progress", *arguments]) == 0
    assert (tmp_path / "sparse" / "state.pt").read_bytes() == state
    assert json.loads((tmp_path / "results.json").read_text())["agents"] == results["agents"]


def _arms(code: tuple[float, float, float], blind: tuple[float, float, float]) -> list[dict[str, Any]]:
    return [
        {"name": name, "success_rate": rate, "interval_95": [low, high]}
        for name, (rate, low, high) in (("sparse code", code), ("shape-blind", blind))
    ]


def test_the_verdict_says_what_happened() -> None:
    blind = (0.33, 0.27, 0.4)
    good = verdict(_arms((0.9, 0.85, 0.94), blind), {"one_size": 0.99, "all_sizes": 0.95})
    assert "enough for the task" in good
    assert "area" not in good
    by_area = verdict(_arms((0.9, 0.85, 0.94), blind), {"one_size": 0.99, "all_sizes": 0.6})
    assert "mostly its area" in by_area
    failed = verdict(_arms((0.35, 0.29, 0.42), blind), {"one_size": 0.4, "all_sizes": 0.35})
    assert "does not encode the shape" in failed
    slow = verdict(_arms((0.35, 0.29, 0.42), blind), {"one_size": 0.99, "all_sizes": 0.9})
    assert "needs more training steps" in slow


def test_a_report_with_a_missing_value_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="is undefined"):
        write_report(tmp_path / "r.html", "quickstart.html", {})
    assert list(tmp_path.iterdir()) == []


def test_defaults_are_those_of_make_quickstart() -> None:
    assert QuickstartConfig().sample == 50_000
    assert QuickstartConfig().episodes == 200
