"""What a machine without network needs beside torch: the packages of this project and all that they need in turn."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from importlib import metadata
from pathlib import Path

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_TORCH = "torch"
_TESTS = ("pytest", "setuptools")
"""Beside the dependencies: what runs the tests and installs the project from its folder."""


def canonical(name: str) -> str:
    """One spelling of a package's name, as in `PEP 503 <https://peps.python.org/pep-0503/>`_."""
    return re.sub(r"[-_.]+", "-", name).lower()


def declared(pyproject: Path) -> list[str]:
    """Requirements that the project declares, torch among them."""
    found = re.search(
        r"^dependencies = \[(.*?)^\]", pyproject.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE
    )
    if found is None:
        raise ValueError(f"{pyproject} declares no dependencies: run this in a checkout")
    return re.findall(r'"([^"]+)"', found[1])


def _installed(name: str) -> tuple[str, list[str]] | None:
    try:
        package = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return None
    return package.version, package.requires or []


def wheels(
    requirements: Iterable[str], *, installed: Callable[[str], tuple[str, list[str]] | None] = _installed
) -> dict[str, str]:
    """Every package that is needed beside torch and what torch alone needs, with the version that is installed here.

    Args:
        requirements: what is needed, as pyproject.toml writes it.
        installed: name -> version and requirements of a package; None for what is not here, which another platform, or
            another version of Python, may need.

    Returns:
        Canonical name -> version, in alphabetical order.
    """
    versions: dict[str, str] = {}
    waiting, seen = [_name(each) for each in requirements], {_TORCH}
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        found = installed(name)
        if found is not None:
            versions[name] = found[0]
            # what an extra asks for was not asked for; of other conditions, what is installed tells
            waiting += [_name(each) for each in found[1] if not re.search(r"\bextra\s*==", each)]
    return dict(sorted(versions.items()))


def _name(requirement: str) -> str:
    match = _NAME.match(requirement.strip())
    assert match is not None, requirement
    return canonical(match[0])


def as_text(pyproject: Path) -> str:
    """Lines of requirements, and how to fetch them."""
    listed = wheels([*declared(pyproject), *_TESTS])
    lines = [f"{name}=={version}" for name, version in listed.items()]
    return "\n".join(
        [
            "# beside torch and what torch alone needs; on a machine with network and the same Python:",
            "#   python -m experiments.gpu --wheels > wheels.txt && pip download --no-deps -r wheels.txt -d wheels",
            "# on the one without: pip install --no-deps wheels/*.whl",
            "# and then, in the checkout: pip install --no-build-isolation --no-deps -e .",
            *lines,
        ]
    )
