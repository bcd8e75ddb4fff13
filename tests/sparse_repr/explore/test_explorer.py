"""The explorer in a browser: driven by mouse and keyboard, on a desk and on a phone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sparse_repr import load_encoder
from sparse_repr.data import load_dataset
from sparse_repr.explore import write_explorer
from sparse_repr.explore.networks import NETWORKS
from sparse_repr.models import BurgessEncoder
from tests import ROOT
from tests.browser import Browser


@pytest.fixture(scope="module")
def page(rectangles_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_explorer([rectangles_run], tmp_path_factory.mktemp("page") / "explorer.html", examples=6)


@pytest.fixture(scope="module")
def both(rectangles_run: Path, keypoints_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_explorer([rectangles_run, keypoints_run], tmp_path_factory.mktemp("page") / "explorer.html")


def test_the_page_of_the_documentation_works_and_is_small(browser: Browser) -> None:
    page = ROOT / "docs/explorer/sprite_chase.html"
    assert page.stat().st_size < 1_000_000
    browser.open(page)
    assert browser.run("Explorer.apart") < 1e-4
    assert browser.run("Explorer.film.place") == 0
    assert browser.run("Explorer.panels[0].run.keypoints") == 32


def _drawn(browser: Browser, panel: int = 0) -> list[float]:
    found: list[float] = browser.run(f"Array.from(Explorer.panels[{panel}].made.data)")
    return found


def _code(browser: Browser, panel: int = 0) -> list[float]:
    found: list[float] = browser.run(f"Array.from(Explorer.panels[{panel}].code())")
    return found


def test_it_opens_from_the_disk_and_asks_for_nothing(browser: Browser, page: Path) -> None:
    browser.open(page)
    assert browser.run("Explorer.apart") < 1e-4
    assert browser.run("document.getElementById('status').textContent") == ""
    asked = [address for address in browser.requests() if not address.startswith(("file://", "about:", "blob:"))]
    assert asked == []


def test_a_slider_is_moved_by_the_keyboard_and_put_back_by_the_mouse(browser: Browser, page: Path) -> None:
    browser.open(page)
    before, code = _drawn(browser), _code(browser)
    browser.run("document.querySelector('.unit input').focus()")
    unit = int(browser.run("document.activeElement.dataset.unit"))
    browser.press("ArrowRight", 3)
    low, high = browser.run(f"(({{low, high}}) => [low, high])(Explorer.panels[0].run.units[{unit}])")
    expected = min(high, code[unit] + 3 * (high - low) / 100)
    assert _code(browser)[unit] == pytest.approx(expected, abs=1e-5)
    assert np.abs(np.subtract(_drawn(browser), before)).max() > 0
    assert browser.run("document.querySelector('.unit').classList.contains('changed')")
    assert "in this image" in browser.run("document.querySelector('.unit input').getAttribute('aria-valuetext')")
    browser.click(".unit .back")
    assert _code(browser) == code
    assert _drawn(browser) == before
    browser.press("Tab")
    assert browser.run("document.activeElement.type") == "range"


def test_a_slider_is_dragged(browser: Browser, page: Path) -> None:
    browser.open(page)
    before = _drawn(browser)
    x, y = browser.centre(".unit .rail input")
    share, width = browser.run(
        "(() => { const i = document.querySelector('.unit .rail input');"
        "return [(i.value - i.min) / (i.max - i.min), i.clientWidth]; })()"
    )
    browser.drag((x + (share - 0.5) * (width - 16), y), (x + width / 2 - 2, y))
    unit = int(browser.run("document.querySelector('.unit input').dataset.unit"))
    high = browser.run(f"Explorer.panels[0].run.units[{unit}].high")
    assert _code(browser)[unit] == pytest.approx(high, rel=0.05)
    assert _drawn(browser) != before


def test_the_code_of_a_chosen_image_is_that_of_torch(
    browser: Browser, page: Path, rectangles_run: Path, rectangles: Path, tmp_path: Path
) -> None:
    images = load_dataset("folder", rectangles).images([3, 17])
    encoder = load_encoder(rectangles_run)
    browser.open(page)
    for number, image in enumerate(images):
        file = tmp_path / f"{number}.png"
        Image.fromarray(image[0]).save(file)
        _choose(browser, file, f"{number}.png, as it is.")
        assert np.abs(np.subtract(_code(browser), encoder.encode(image[None])[0])).max() < 1e-4
    large = tmp_path / "large.png"  # twice as wide as high: of its middle half, made smaller, the same is left
    wide = np.zeros((128, 256), np.uint8)
    wide[:, 64:192] = images[0, 0].repeat(4, 0).repeat(4, 1)
    Image.fromarray(wide).save(large)
    _choose(browser, large, "large.png: its middle, made 32 × 32. It stays on this computer.")
    assert np.abs(np.subtract(_code(browser), encoder.encode(images[:1])[0])).max() < 1e-4
    none = tmp_path / "none.png"
    none.write_bytes(b"no picture")
    _choose(browser, none, "none.png is no picture that this browser reads.")


def _choose(browser: Browser, file: Path, said: str) -> None:
    browser.choose("#chooser", file)
    said_now = "document.querySelector('#source [role=status]').textContent"
    browser.run(
        "new Promise((found, late) => { const end = Date.now() + 20000; const look = () => "
        f"{said_now} === {said!r} ? found() : Date.now() > end ? late(new Error({said_now})) : setTimeout(look, 20);"
        "look(); })"
    )


def test_an_image_that_is_dropped_is_encoded(browser: Browser, page: Path, rectangles_run: Path) -> None:
    browser.open(page)
    white = load_encoder(rectangles_run).encode(np.full((1, 1, 32, 32), 255, np.uint8))[0]
    browser.run("""(async () => {
      const canvas = new OffscreenCanvas(32, 32), context = canvas.getContext("2d");
      context.fillStyle = "white";
      context.fillRect(0, 0, 32, 32);
      const dropped = new DataTransfer();
      dropped.items.add(new File([await canvas.convertToBlob()], "white.png", {type: "image/png"}));
      document.dispatchEvent(new DragEvent("drop", {dataTransfer: dropped, bubbles: true, cancelable: true}));
      while (!Explorer.name.startsWith("white")) await new Promise((next) => setTimeout(next, 20));
    })()""")
    assert np.abs(np.subtract(_code(browser), white)).max() < 1e-4


def test_the_weakest_units_are_set_to_zero(browser: Browser, page: Path) -> None:
    browser.open(page)
    before = _code(browser)
    strongest = browser.run("Explorer.panels[0].run.groups[0].units[0]")
    browser.run("document.querySelector('.keep input').focus()")
    browser.press("ArrowRight", 2)
    code = _code(browser)
    assert code[strongest] == before[strongest]
    assert [value for unit, value in enumerate(code) if unit != strongest] == [0, 0]
    browser.press("ArrowRight")
    assert _code(browser) == [0, 0, 0]
    browser.run("document.querySelector('.keep select').value = 'image'")
    browser.run("document.querySelector('.keep select').dispatchEvent(new Event('change'))")
    browser.run("document.querySelector('.keep input').focus()")
    browser.press("ArrowLeft")
    kept = int(np.argmax(np.abs(before)))
    assert [unit for unit, value in enumerate(_code(browser)) if value] == [kept]
    browser.click(".run .head button")
    assert _code(browser) == before


def test_a_picture_of_a_traversal_sets_the_unit(browser: Browser, page: Path) -> None:
    browser.open(page)
    assert browser.run("document.querySelectorAll('.strip canvas').length") == 3
    unit = browser.run("Explorer.panels[0].run.groups[0].units[0]")
    low, high = browser.run(f"Explorer.panels[0].run.traversals[{unit}]")
    browser.click(".strip canvas")
    assert _code(browser)[unit] == pytest.approx((low + high) / 2, abs=1e-5)


def test_a_keypoint_is_dragged_and_two_runs_see_the_same_image(browser: Browser, both: Path) -> None:
    browser.open(both)
    browser.resize(1280, 1400)
    browser.run("Explorer.panels[1].set(64, 1)")  # the first of 32 keypoints is present
    x, y = browser.run("""(() => {
      const g = document.querySelector(".run svg g"); g.scrollIntoView({block: "center"});
      const b = g.firstChild.getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2];
    })()""")
    before, dense = _code(browser, 1), _drawn(browser, 0)
    across = browser.run("document.querySelector('.run svg').getBoundingClientRect().width")
    browser.drag((x, y), (x + across / 8, y))
    code = _code(browser, 1)
    assert code[0] - before[0] == pytest.approx(0.25, abs=0.03)  # an eighth of two
    assert code[64] == 1
    assert _drawn(browser, 0) == dense
    browser.click(".examples button:nth-child(3)")
    images = [browser.run(f"Array.from(Explorer.panels[{panel}].prepared.data)") for panel in (0, 1)]
    assert images[0] == images[1]


def test_without_its_encoder_a_run_has_sliders_and_the_codes_of_torch(
    browser: Browser, rectangles_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(NETWORKS, BurgessEncoder)
    browser.open(write_explorer([rectangles_run], tmp_path / "explorer.html"))
    assert browser.run("document.getElementById('chooser')") is None
    assert "Encoder (not in this page)" in browser.run("document.getElementById('footer').textContent")
    browser.click(".examples button:nth-child(2)")
    before = _drawn(browser)
    assert _code(browser) == browser.run("Array.from(Explorer.contents.runs[0].examples.codes.data.subarray(3, 6))")
    browser.run("document.querySelector('.unit input').focus()")
    browser.press("PageUp")
    assert _drawn(browser) != before


@pytest.mark.parametrize("width", [1280, 768, 375])
def test_nothing_is_wider_than_the_screen(browser: Browser, both: Path, width: int) -> None:
    browser.resize(width, 800)
    browser.open(both)
    assert browser.run("document.documentElement.scrollWidth") <= width
    browser.resize(1280, 900)


def test_a_slider_draws_thirty_pictures_a_second(
    browser: Browser, tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In time of the page's own thread, which other processes do not slow."""
    monkeypatch.setattr("sparse_repr.explore.contents._ITEMS", 100)
    browser.open(write_explorer([tiny_run], tmp_path / "explorer.html"))
    browser.call("Performance.enable", timeDomain="threadTicks")

    def seconds() -> float:
        found = {entry["name"]: entry["value"] for entry in browser.call("Performance.getMetrics")["metrics"]}
        return float(found["TaskDuration"])

    steps = "for (let i = 0; i < 60; i++) Explorer.panels[0].set(0, i / 60)"
    browser.run(steps)
    before = seconds()
    browser.run(steps)
    rate = 60 / (seconds() - before)
    print(f"{rate:.0f} steps of a slider a second: code, picture and difference of the Burgess network, one core")
    assert rate > 30


def test_everything_that_is_operated_has_a_name(browser: Browser, both: Path) -> None:
    browser.open(both)
    nodes: list[dict[str, Any]] = browser.call("Accessibility.getFullAXTree")["nodes"]
    operated = [
        node for node in nodes if node.get("role", {}).get("value") in ("slider", "button", "image", "combobox", "img")
    ]
    assert len(operated) > 20
    assert [node["role"]["value"] for node in operated if not node.get("name", {}).get("value")] == []
    sliders = {node["name"]["value"] for node in operated if node["role"]["value"] == "slider"}
    assert "keypoints: keypoint 0, across" in sliders
