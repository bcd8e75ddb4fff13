"""The explorer's scripts in Node or in a browser: tests run in whichever of the two there is."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import sparse_repr.explore
from tests.browser import Browser

PAGE = Path(sparse_repr.explore.__file__).parent / "page"
ENGINES = ("node", "chromium")
Evaluate = Callable[[str], Any]
"""A JavaScript expression that sees `Kernel` and `Unpack` -> its value; promises are awaited."""

_RUNNER = """
const fs = require("fs");
for (const name of ["kernel", "unpack"]) {
  globalThis[name[0].toUpperCase() + name.slice(1)] = require(`${process.argv[2]}/${name}.js`);
}
Promise.resolve((0, eval)(fs.readFileSync(0, "utf8"))).then((value) => console.log(JSON.stringify(value)));
"""


def engine(name: str, folder: Path) -> Iterator[Evaluate]:
    """One of `ENGINES`; the test is skipped where it is not installed."""
    yield from (_node(folder) if name == "node" else _chromium(folder))


def _node(folder: Path) -> Iterator[Evaluate]:
    node = shutil.which("node")
    if node is None:
        pytest.skip("needs Node in the PATH (Debian: apt-get install nodejs)")
    runner = folder / "runner.cjs"
    runner.write_text(_RUNNER, encoding="utf-8")

    def evaluate(expression: str) -> Any:
        done = subprocess.run(
            [node, str(runner), str(PAGE)], input=expression, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    yield evaluate


def _chromium(folder: Path) -> Iterator[Evaluate]:
    with Browser(folder / "profile") as browser:
        for name in ("kernel", "unpack"):
            browser.run((PAGE / f"{name}.js").read_text(encoding="utf-8"))
        yield browser.run
