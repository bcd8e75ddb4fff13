"""The documentation site builds without a warning: every link leads somewhere, every page is in the contents."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests import ROOT


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    for package in ("sphinx", "myst_nb", "furo"):
        pytest.importorskip(package)
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "--quiet",
        "--fail-on-warning",
        "--keep-going",
        "-c",
        "docs",
        ".",
        str(tmp_path),
    ]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (built.returncode, built.stderr) == (0, "")
    assert "spread" in (tmp_path / "docs/scalars.html").read_text(encoding="utf-8")
    assert "make_latent_vec_env" in (tmp_path / "docs/api/rl.html").read_text(encoding="utf-8")
    assert (tmp_path / "searchindex.js").is_file()
    shown = (tmp_path / "docs/explorer.html").read_text(encoding="utf-8")
    assert '<iframe src="explorer/sprite_chase.html"' in shown
    assert (tmp_path / "docs/explorer/sprite_chase.html").is_file()
