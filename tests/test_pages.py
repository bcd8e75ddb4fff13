"""The pages for people: links that lead somewhere, a length that is read, tables that fit."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests import ROOT

MOST_WORDS = 1_500
MOST_IN_A_CELL = 200
# generated, a log that only grows, or a dictionary to look things up in
_LONG = ("CHANGELOG.md", "tables.md", "figures.md", "results.md", "metrics/README.md")
_PAGES = sorted(
    path
    for path in ROOT.rglob("*.md")
    if not {".venv", "runs", "build"} & set(path.relative_to(ROOT).parts)
    and not path.relative_to(ROOT).parts[0].startswith(".")
)
_LINK = re.compile(r"(?<!`)\[[^\]]*\]\(([^)\s]+)\)")


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _anchors(page: Path) -> set[str]:
    """What the headings of a page are called in links."""
    titles = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", _PAGES, ids=_name)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for link in _LINK.findall(text):
        if "://" in link:
            continue
        place, _, anchor = link.partition("#")
        target = (page.parent / place).resolve() if place else page
        assert target.exists(), f"{_name(page)} links to {link}"
        if anchor and target.suffix == ".md":
            assert anchor in _anchors(target), f"{_name(page)} links to {link}"


@pytest.mark.parametrize("page", [page for page in _PAGES if not _name(page).endswith(_LONG)], ids=_name)
def test_a_page_is_short_enough_to_be_read(page: Path) -> None:
    words = len(page.read_text(encoding="utf-8").split())
    assert words <= MOST_WORDS, f"{_name(page)} has {words} words: say less, or put tables on a page of their own"


@pytest.mark.parametrize("page", _PAGES, ids=_name)
def test_no_cell_of_a_table_is_a_paragraph(page: Path) -> None:
    rows = [line for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    shown = [re.sub(r"\]\([^)]*\)", "]", row) for row in rows]  # the words of a link, without its address
    longest = max((cell.strip() for row in shown for cell in row.split("|")), key=len, default="")
    assert len(longest) <= MOST_IN_A_CELL, f"{_name(page)}: {longest}"


def test_the_readme_is_read_in_a_minute() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150
