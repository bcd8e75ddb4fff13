"""The tests that need a CUDA device, run by pytest in a process of its own."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from experiments.gpu.record import Work
from experiments.pages.committed import ROOT

_MARK = "mark.gpu"


def files_of_tests(tests: Path) -> list[Path]:
    """The files that hold a test marked gpu."""
    return [path for path in sorted(tests.rglob("test_*.py")) if _MARK in path.read_text(encoding="utf-8")]


def run_tests(work: Work) -> None:
    """Run them; the time that is left is theirs."""
    work.do("tests", {"pytest -m gpu": _outcomes})


def _outcomes() -> dict[str, Any]:
    files = files_of_tests(ROOT / "tests")
    if not files:
        raise FileNotFoundError("there are no tests beside the package: run this in a checkout")
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", f"--junitxml={report}"]
        ended = subprocess.run(
            [*command, *map(str, files)], cwd=ROOT, capture_output=True, text=True, check=False, timeout=600
        )
        if not report.is_file():
            raise RuntimeError((ended.stderr or ended.stdout).strip().splitlines()[-1])
        return read_report(report)


def read_report(path: Path) -> dict[str, Any]:
    """Numbers of outcomes, and what every failed test said first, from a JUnit file of pytest."""
    cases = list(ElementTree.parse(path).iter("testcase"))
    failures = {}
    for case in cases:
        for kind in ("failure", "error"):
            found = case.find(kind)
            if found is not None:
                lines = (found.get("message") or kind).splitlines()
                failures[f"{case.get('classname')}::{case.get('name')}"] = lines[0] if lines else kind
    skipped = sum(case.find("skipped") is not None for case in cases)
    return {"passed": len(cases) - skipped - len(failures), "skipped": skipped, "failures": failures}
