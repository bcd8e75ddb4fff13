"""What has been found so far: `results.json` and `page.md`, written anew with every further figure."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from experiments.gpu.page import as_markdown
from experiments.gpu.sizes import Sizes
from experiments.measure.machine import machine_facts
from experiments.pages.committed import portable
from sparse_repr.files import write_bytes, write_json
from sparse_repr.files.json_reader import OBJECT, TEXT, read_json
from sparse_repr.pretrain.step_recording import first_words

RESULTS = "results.json"
PAGE = "page.md"
STUDY = "study"
"""Folder of the study's published cells."""
FAILED = "failed"
"""Key of an item in the place of whose figures stands what went wrong."""
_SAME = ("gpu", "processor", "torch")


class Record:
    """The figures of one card, by piece and item; there is one writer at a time."""

    def __init__(self, out: Path, scale: str, command: str) -> None:
        """Go on with what is in `out`, if anything is.

        Raises:
            ValueError: it is damaged, or of another scale, card or torch.
        """
        self._out = out
        self._facts = facts = machine_facts()
        self._content: dict[str, Any] = {"command": command, "scale": scale, "machine": facts, "pieces": {}}
        path = out / RESULTS
        if path.is_file():
            shape = {"command": TEXT, "scale": TEXT, "machine": OBJECT, "pieces": OBJECT}
            self._content = read_json(path, shape, remedy="remove the folder and start again")
            before = self._content["machine"]
            different = [name for name in _SAME if before.get(name) != facts.get(name)]
            if self._content["scale"] != scale or different:
                raise ValueError(
                    f"{path} holds the figures of another {', '.join(different) or 'scale'}, and one page is about one "
                    "machine: choose another folder (--out)"
                )

    def items(self, piece: str) -> dict[str, Any]:
        """What is known of a piece."""
        return dict(self._content["pieces"].get(piece, {}))

    def has(self, piece: str, item: str) -> bool:
        """Whether an item is there, or has failed."""
        return item in self.items(piece)

    def add(self, piece: str, item: str, value: Mapping[str, Any]) -> None:
        """Enter an item, and write both files."""
        revision = self._facts["git_revision"]
        # where one is missing, that of the page holds
        other = {} if revision == self._content["machine"].get("git_revision") else {"git_revision": revision}
        self._content["pieces"].setdefault(piece, {})[item] = _finite({**value, **other})
        self.write()

    def forget(self, piece: str, item: str) -> None:
        """Take out an item that holds no more, if it is there."""
        self._content["pieces"].get(piece, {}).pop(item, None)

    def forget_failures(self) -> None:
        """Let what failed be tried again."""
        for items in self._content["pieces"].values():
            for name in [name for name, value in items.items() if FAILED in value]:
                del items[name]

    def write(self) -> None:
        """Write both files."""
        content = portable(self._content)
        write_json(self._out / RESULTS, content)
        write_bytes(self._out / PAGE, as_markdown(content, self._out / STUDY).encode())


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


@dataclasses.dataclass
class Work:
    """What a piece is computed with."""

    record: Record
    sizes: Sizes
    runs: Path
    """Folder of run folders, which are not committed."""
    out: Path
    """Folder of the results."""
    ends: float
    """When to begin nothing further, by `time.monotonic`."""

    @property
    def device(self) -> torch.device:
        """Where it is computed."""
        return torch.device(self.sizes.device)

    def is_over(self) -> bool:
        """Whether the time is up."""
        return time.monotonic() >= self.ends

    def do(self, piece: str, items: Mapping[str, Callable[[], Mapping[str, Any]]]) -> None:
        """Compute those items that are not there, until the time is up; what fails is entered as failed.

        Raises:
            Exception: an item failed and has left the device useless: the process has to end.
        """
        for name, compute in items.items():
            if self.record.has(piece, name):
                continue
            if self.is_over():
                return
            print(f"{piece}: {name}", flush=True)
            started = time.perf_counter()
            try:
                value = dict(compute())
            except Exception as error:
                self.record.add(piece, name, {FAILED: first_words(error)})
                print(f"{piece}: {name} failed: {first_words(error)}", flush=True)
                if self.device.type == "cuda":
                    torch.cuda.synchronize()  # raises again what no further call survives
            else:
                self.record.add(piece, name, {**value, "seconds": time.perf_counter() - started})
