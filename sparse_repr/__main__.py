"""`python -m sparse_repr`: the commands that come with this package, each with its line."""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import pkgutil
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from sparse_repr.registry import lookup

HOUSES = ("sparse_repr", "rl", "experiments")
"""Whose modules and folders are commands. None is imported: a list is there at once, whatever extras are missing."""
_LINE = re.compile(r"`python -m (?P<name>[a-z_.]+)(?P<operands> [^`]+)?`: (?P<what>.+)", re.DOTALL)


def commands() -> dict[str, tuple[str, str]]:
    """What can be typed after ``python -m`` -> the operands it takes, and what it does.

    >>> commands()["sparse_repr.evaluate"]
    ('RUN...', 'scores and pictures of pretrained encoders, into their run folders.')
    """
    found = {}
    for house in HOUSES:
        for name, source in _modules(house):
            text = ast.get_docstring(ast.parse(source.read_text(encoding="utf-8"))) or ""
            line = _LINE.match(" ".join(text.partition("\n\n")[0].split()))
            if line is not None and line["name"] == name:
                found[name] = (line["operands"] or "").strip(), line["what"]
    return found


def _modules(house: str) -> list[tuple[str, Path]]:
    """The modules of a package, and its folders by their ``__main__``, with their files."""
    package = importlib.util.find_spec(house)
    if package is None:  # a house that was left out of an installation has no commands
        return []
    found = []
    for folder in map(Path, package.submodule_search_locations or []):
        for module in pkgutil.iter_modules([str(folder)]):
            file = folder / module.name / "__main__.py" if module.ispkg else folder / f"{module.name}.py"
            if file.is_file() and module.name != "__main__":
                found.append((f"{house}.{module.name}", file))
    return sorted(found)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    words = sys.argv[1:] if arguments is None else arguments
    version, listed = importlib.metadata.version("sparse-repr"), commands()
    if words == ["--version"]:
        print(version)
        return 0
    if words and words[0] not in ("-h", "--help"):
        print(f"error: {_refusal(words, listed)}", file=sys.stderr)
        return 2
    calls = {f"python -m {name} {operands}".rstrip(): what for name, (operands, what) in listed.items()}
    width = max(map(len, calls))
    print("usage: python -m sparse_repr [--version]\n" if words else "", end="")
    print(f"sparse-repr {version}: pixels to small, sparse codes, and agents on them\n")
    print("\n".join(f"{call:{width}}  {what}" for call, what in calls.items()))
    print("\nEach has --help.")
    return 0


def _refusal(words: Sequence[str], listed: Iterable[str]) -> str:
    """What to type instead: who knows git expects a command behind the name of a package."""
    known = {name.rpartition(".")[2]: name for name in listed} | {name: name for name in listed}
    try:
        name = lookup(known, words[0], "command")
    except ValueError as unknown:
        return f"{unknown} All with what they do: python -m sparse_repr"
    return f"a command is a module of its own: {' '.join(['python -m', name, *words[1:]])}"


if __name__ == "__main__":
    sys.exit(main())
