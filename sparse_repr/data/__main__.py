"""`python -m sparse_repr.data NAME`: what a data set is, where its files were found, and a picture of it."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from typing import Annotated

import tyro

from sparse_repr.command_line.bounds import require_name
from sparse_repr.command_line.plugins import PLUGIN_HELP, take_plugins
from sparse_repr.command_line.running import parse_options, run_command
from sparse_repr.data import DATASETS, FactorDataset, load_dataset
from sparse_repr.data.contact_sheet import write_contact_sheet
from sparse_repr.data.crop import parse_crop
from sparse_repr.registry import lookup


def description(name: str) -> str:
    """One line on a data set: the first line of its loader's documentation."""
    return (inspect.getdoc(lookup(DATASETS, name, "data set")) or "").partition("\n")[0]


def report(dataset: FactorDataset, name: str | None = None) -> str:
    """What a loaded data set is, in lines of text; `name` is its key in `DATASETS`, its own name unless given."""
    channels, height, width = dataset.image_shape
    train, held_out = dataset.split
    lines = [
        f"{name or dataset.name}: {description(name or dataset.name)}",
        f"source    {dataset.source}",
        f"images    {len(dataset):,} of {height}x{width} pixels, {'grey' if channels == 1 else 'colour'} "
        f"(uint8, {channels} x {height} x {width})",
        f"split     {len(train):,} train, {len(held_out):,} held out",
    ]
    if not dataset.factor_names:
        return "\n".join([*lines, "factors   none known"])
    kind = "a full grid" if dataset.is_full_grid else "not a full grid"
    lines.append(f"factors   {len(dataset.factor_names)}, {kind}")
    for k, factor in enumerate(dataset.factor_names):
        line = f"          {factor}"
        if dataset.factor_sizes:
            line += f": {dataset.factor_sizes[k]} values"
        if dataset.factor_values is not None:
            column = dataset.factor_values[:, k]
            line += f", {column.min():g}..{column.max():g}"
        lines.append(line)
    return "\n".join(lines)


def show(
    name: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="NAME")],
    /,
    path: Annotated[str | None, tyro.conf.arg(aliases=["--data-path"])] = None,
    out: str | None = None,
    factor_sizes: str | None = None,
    crop: str | None = None,
) -> None:
    """Print what a data set is and write a contact sheet of it.

    Args:
        name: the data set.
        path: your own copy, a file or a folder; without it the folder named by SPARSE_REPR_DATA is searched.
        out: the PNG file to write; NAME.png in the current folder when left out.
        factor_sizes: numbers of values of the factors, such as 6,6,2,3,3,40,40, for images without factors in the order
            of a grid (last factor fastest).
        crop: TOP,LEFT,HEIGHT,WIDTH in pixels: what the sheet shows of each image, as an encoder pretrained with --crop
            would see it.
    """
    for option, given in (("path", path), ("out", out)):
        require_name(option, given)
    shown = None if crop is None else parse_crop(crop)
    sheet = Path(f"{name}.png" if out is None else out)
    pictures = Path(path).resolve() if name == "folder" and path is not None else None
    if pictures is not None and pictures.is_dir() and sheet.resolve().is_relative_to(pictures):
        raise ValueError(
            f"the contact sheet {sheet} would become one of the pictures in {path}: give a place outside (--out)"
        )
    dataset = load_dataset(name, path, factor_sizes=factor_sizes)
    print(report(dataset, name))
    write_contact_sheet(dataset, sheet, crop=shown)
    print(f"wrote     {sheet} (contact sheet)")
    if name == "celeba":
        print("          CelebA must not be redistributed: keep this picture to yourself, and out of any repository")


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    return run_command(lambda: _as_asked(arguments))


def _as_asked(arguments: list[str] | None) -> None:
    words = take_plugins(arguments)
    known = "\n".join(f"  {name:<18}{description(name)}" for name in sorted(DATASETS))
    text = f"Print what a data set is and write a contact sheet of it.\n\n{PLUGIN_HELP}\n\nData sets:\n{known}"
    parse_options(show, words, program="python -m sparse_repr.data", description=text)


if __name__ == "__main__":
    sys.exit(main())
