"""write_explorer: one HTML file in which runs can be tried out, without a server and without a network."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from sparse_repr.command_line.bounds import require_name, require_whole
from sparse_repr.explore.contents import ShownRun, show_run
from sparse_repr.explore.film import AgentFilm
from sparse_repr.explore.packing import Packing
from sparse_repr.files import write_bytes

MOST_BYTES = 5_000_000
"""A larger file is written with a warning."""
MOST_EXAMPLES = 48
_SCRIPTS = ("kernel.js", "unpack.js", "pictures.js", "panel.js", "views.js", "film.js", "explorer.js")


def write_explorer(
    runs: Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    *,
    film: str | os.PathLike[str] | None = None,
    data_path: str | None = None,
    examples: int = 24,
) -> Path:
    """Write a page in which visitors move the units of runs and see what their decoders draw.

    The page is one file that opens from the disk. Encoder and decoder run in the browser; codes and pictures are
    torch's within 1e-4. It holds `examples` images of the runs' data set: those of private data stay private only as
    long as the file does.

    Args:
        runs: run folders with a decoder; several stand side by side and see the same image.
        output: the file, in a folder that exists.
        film: an `AgentFilm` of an agent that goes by the codes of one of the runs.
        data_path: the user's own copy of the data; None takes the paths that the runs were trained with.
        examples: images of the data set in the page, 1 to 48; runs of the same data set share them.

    Returns:
        The path. A file above 5 MB is written with a warning that says what takes the room.

    Raises:
        FileNotFoundError: no such run, no decoder, no film, or no folder for the output.
        ValueError: no run, a damaged file, a decoder that no browser can run, or a film of another encoder.
    """
    if isinstance(runs, str | os.PathLike):
        raise ValueError(f"write_explorer needs runs as a list of run folders, got {os.fspath(runs)!r}: write [run]")
    target = Path(output)
    require_name("output", output)
    require_whole("examples", examples, most=MOST_EXAMPLES)
    if not runs:
        raise ValueError("the explorer needs at least one run folder, got none")
    if not target.parent.is_dir():
        raise FileNotFoundError(f"no folder {target.parent} for {target.name}: make it, or choose another output")
    names = [Path(run).name for run in runs]
    if len(set(names)) < len(names):
        names = [str(Path(run)) for run in runs]
    shown = [
        show_run(Path(run), name, data_path=data_path, examples=examples) for run, name in zip(runs, names, strict=True)
    ]
    packing = Packing()
    sizes: dict[str, int] = {}
    packed: dict[str, Any] = {"runs": [], "film": None, "notes": []}
    for place, run in enumerate(shown):
        contents = dict(run.contents)
        # without its encoder in the page a run needs the codes that torch made of images of its own
        same = [other for other, earlier in enumerate(shown[:place]) if _same_examples(run, earlier)]
        shared = bool(same) and contents["encoder"] is not None
        contents["examples"] = {
            "of": same[0] if shared else place,
            "images": None if shared else run.contents["examples"]["images"],
            "codes": run.contents["examples"]["codes"],
        }
        packed["runs"].append(packing.pack(contents))
        sizes[f"run {run.contents['name']}"] = packing.text_length - sum(sizes.values())
        packed["notes"] += [note for note in run.notes if note not in packed["notes"]]
    if film is not None:
        packed["film"] = packing.pack(_film_contents(AgentFilm.load(film), Path(film), shown))
        sizes["the film"] = packing.text_length - sum(sizes.values())
    page = _render(_title(shown), packed, packing)
    write_bytes(target, page)
    if len(page) > MOST_BYTES:
        parts = ", ".join(f"{name} {size / 1e6:.1f} MB" for name, size in sizes.items())
        warnings.warn(
            f"{target} has {len(page) / 1e6:.1f} MB, more than {MOST_BYTES / 1e6:.0f} MB, which mail and some "
            f"browsers refuse ({parts}): leave out a run or the film, or show fewer examples (--examples)",
            stacklevel=2,
        )
    return target


def _same_examples(run: ShownRun, other: ShownRun) -> bool:
    first, second = (each.contents["examples"]["images"] for each in (run, other))
    return bool(np.array_equal(first, second))


def _title(shown: Sequence[ShownRun]) -> str:
    if len(shown) > 1:
        return " and ".join(run.contents["name"] for run in shown) + ", side by side"
    run = shown[0]
    dataset = run.contents["dataset"]
    if run.contents["keypoints"]:
        active = sum(group["active"] for group in run.contents["groups"])
        return f"{active} keypoints for each image: {run.contents['objective']} on {dataset}"
    return f"{run.encoder.code_size} numbers for each image: {run.contents['objective']} on {dataset}"


def _film_contents(film: AgentFilm, path: Path, shown: Sequence[ShownRun]) -> dict[str, Any]:
    places = [place for place, run in enumerate(shown) if run.encoder.fingerprint == film.encoder]
    if not places:
        found = ", ".join(f"{run.contents['name']} {run.encoder.fingerprint[:12]}" for run in shown)
        raise ValueError(
            f"{path} films an agent on the codes of encoder {film.encoder[:12]}, the runs have {found}: give the run "
            "that it was trained on, or record a film of an agent on one of these"
        )
    policy = film.policy
    return {
        "run": places[0],
        "caption": film.caption,
        "frames": film.frames,
        "codes": film.codes,
        "actions": film.actions,
        "steps": film.steps.tolist(),
        "returns": [round(float(value), 4) for value in film.returns],
        "kind": "choice" if film.bounds is None else "numbers",
        "low": None if film.bounds is None else film.bounds[0],
        "high": None if film.bounds is None else film.bounds[1],
        "action_names": list(film.action_names),
        "policy": None
        if policy is None
        else {name: getattr(policy, name) for name in ("features", "layers", "n_stack", "scores", "outputs")},
        "note": film.note,
    }


def _render(title: str, contents: dict[str, Any], packing: Packing) -> bytes:
    import jinja2  # agents' films need this module, and no templates

    folder = resources.files("sparse_repr.explore") / "page"
    text = {name: (folder / name).read_text(encoding="utf-8") for name in ("template.html", "style.css", *_SCRIPTS)}
    template = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(text["template.html"])
    # no text of a run can end the script that it stands in
    spelled = json.dumps(contents, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return template.render(
        title=title,
        style=text["style.css"],
        scripts=[text[name] for name in _SCRIPTS],
        contents=spelled,
        block=packing.to_text(),
    ).encode()
