"""A browser for tests: headless Chromium, spoken to over its DevTools pipe with nothing but the standard library."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
_PATIENCE_S = 60.0
_KEYS = {"ArrowRight": 39, "ArrowLeft": 37, "PageUp": 33, "Tab": 9, "Enter": 13, " ": 32}
# Chromium expects to read commands from file 3 and to write answers to file 4
_START = "import os, sys; os.dup2({read}, 3); os.dup2({write}, 4); os.execv(sys.argv[1], sys.argv[1:])"


def find_chromium() -> str:
    """The path of a Chromium; the test is skipped where there is none."""
    found = next((path for path in map(shutil.which, _NAMES) if path), None)
    if found is None:
        pytest.skip("needs Chromium in the PATH (Debian: apt-get install chromium)")
    return found


class Browser:
    """One page of a headless Chromium; close it after use."""

    def __init__(self, folder: Path, *, width: int = 1280, height: int = 900) -> None:
        """Start it with a profile in `folder`."""
        commands, self._write = os.pipe()
        self._read, answers = os.pipe()
        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
        flags += ["--remote-debugging-pipe", f"--user-data-dir={folder}", "--hide-scrollbars", "about:blank"]
        self._process = subprocess.Popen(
            [sys.executable, "-c", _START.format(read=commands, write=answers), find_chromium(), *flags],
            pass_fds=(commands, answers),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(commands)
        os.close(answers)
        self._numbers = 0
        self._rest = b""
        self._events: list[dict[str, Any]] = []
        target = self._call("Target.createTarget", {"url": "about:blank"})["targetId"]
        self._session = self._call("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        for domain in ("Page", "Runtime", "DOM", "Network"):
            self.call(f"{domain}.enable")
        self.resize(width, height)

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the browser."""
        try:
            self._call("Browser.close", {})
        except (OSError, RuntimeError):
            self._process.kill()
        self._process.wait(20)
        os.close(self._write)
        os.close(self._read)

    def resize(self, width: int, height: int) -> None:
        """Give the page another size in CSS pixels."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """A command of the DevTools protocol to the page."""
        return self._call(method, parameters, self._session)

    def open(self, path: Path) -> None:
        """Open a file and wait until the explorer in it is ready."""
        self.call("Page.navigate", url=path.resolve().as_uri())
        end = time.monotonic() + _PATIENCE_S
        while time.monotonic() < end:
            if self.run("typeof Explorer !== 'undefined' && (Explorer.ready || Explorer.failed) || null"):
                failed = self.run("Explorer.failed || null")
                assert not failed, failed
                return
            time.sleep(0.05)
        raise AssertionError(f"{path} was not ready after {_PATIENCE_S:.0f} s")

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression; promises are awaited."""
        answer = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            details = answer["exceptionDetails"]
            raise AssertionError(details.get("exception", {}).get("description", details["text"]))
        return answer["result"].get("value")

    def press(self, key: str, times: int = 1) -> None:
        """Press a key on what has the focus."""
        for _ in range(times):
            for kind in ("keyDown", "keyUp"):
                text = {"text": "\r" if key == "Enter" else key} if key in ("Enter", " ") and kind == "keyDown" else {}
                self.call("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=_KEYS[key], **text)

    def centre(self, selector: str) -> tuple[float, float]:
        """Where an element is, in the window, after scrolling to it."""
        x, y = self.run(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            "e.scrollIntoView({block: 'center'}); const b = e.getBoundingClientRect();"
            "return [b.x + b.width / 2, b.y + b.height / 2]; })()"
        )
        return x, y

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Press the mouse at one place and let it go at another; the same place twice is a click."""
        self._mouse("mousePressed", start, buttons=1)
        if end != start:
            middle = (start[0] + end[0]) / 2, (start[1] + end[1]) / 2
            for place in (middle, end):
                self._mouse("mouseMoved", place, buttons=1)
        self._mouse("mouseReleased", end, buttons=0)

    def click(self, selector: str) -> None:
        """Click the middle of an element."""
        place = self.centre(selector)
        self.drag(place, place)

    def _mouse(self, kind: str, place: tuple[float, float], *, buttons: int) -> None:
        self.call(
            "Input.dispatchMouseEvent", type=kind, x=place[0], y=place[1], button="left", buttons=buttons, clickCount=1
        )

    def choose(self, selector: str, file: Path) -> None:
        """Choose a file in a file input."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(file)])

    def screenshot(self, path: Path, *, whole: bool = True) -> None:
        """Write a PNG of the page."""
        answer = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(answer["data"]))

    def requests(self) -> list[str]:
        """Addresses that pages asked for so far."""
        self.run("1")
        events = [event for event in self._events if event["method"] == "Network.requestWillBeSent"]
        return [event["params"]["request"]["url"] for event in events]

    def _call(self, method: str, parameters: dict[str, Any], session: str | None = None) -> dict[str, Any]:
        self._numbers += 1
        message: dict[str, Any] = {"id": self._numbers, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        content = json.dumps(message).encode() + b"\0"
        while content:
            content = content[os.write(self._write, content) :]
        end = time.monotonic() + _PATIENCE_S
        while time.monotonic() < end:
            answer = self._next(end)
            if answer.get("id") == self._numbers:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                result: dict[str, Any] = answer["result"]
                return result
            self._events.append(answer)
        raise RuntimeError(f"no answer to {method} after {_PATIENCE_S:.0f} s")

    def _next(self, end: float) -> dict[str, Any]:
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._read], [], [], max(0.0, end - time.monotonic()))
            if not ready:
                raise RuntimeError("Chromium does not answer")
            part = os.read(self._read, 1 << 20)
            if not part:
                raise RuntimeError("Chromium ended")
            self._rest += part
        content, _, self._rest = self._rest.partition(b"\0")
        found: dict[str, Any] = json.loads(content)
        return found
