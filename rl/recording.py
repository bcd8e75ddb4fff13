"""The files of a recording under way: FILE.partial, filled by plain writes, and FILE.partial.json, how far it is."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import filelock
import h5py
import numpy as np
import numpy.typing as npt

from rl.episodes import Moment
from sparse_repr.command_line.interruption import CommandInterrupted
from sparse_repr.data.recorded import require_ascending
from sparse_repr.data.storage.contiguous import Layout, create_contiguous, write_array
from sparse_repr.files import atomic_path, held_lock, replace_synced, write_json
from sparse_repr.files.json_reader import Shape, many, parse_json, whole

_PROGRESS: Shape = {
    "episodes": many(many(whole(0), 2)),
    "frames": whole(0),
    "step": whole(0),
    "stream": whole(0),
    "brightest": whole(0),
}


class RecordingInterrupted(CommandInterrupted):
    """A signal stopped a recording; what it had is saved, and `resume` continues it."""

    def __init__(self, path: Path, frames: int, signal_number: int, *, overwriting: bool = False) -> None:
        """With `overwriting`, the command asked for what `resume` would contradict."""
        what = "--resume in place of --overwrite" if overwriting else "--resume"
        super().__init__(
            signal_number,
            f"stopped after {frames} frames; they are in {path}",
            advice=f"the same command plus {what} continues",
        )


class RecordedFactors:
    """What is recorded beside the pictures: names and, where declared, the edges of bins and the nominal ones."""

    def __init__(self, names: list[str], edges: list[npt.NDArray[np.float64]], nominal: list[str]) -> None:
        if edges and len(edges) != len(names):
            raise ValueError(f"factor_bins needs edges for {len(names)} factor_names, got {len(edges)}")
        if not set(nominal) <= set(names):
            raise ValueError(f"nominal_factors needs names of factor_names ({', '.join(names)}), got {nominal}")
        self.names = names
        self.nominal = nominal
        self.edges = dict(zip(names, edges, strict=True)) if edges else {}
        for name, row in self.edges.items():
            require_ascending("factor_bins", row, name)


class Recording:
    """An open recording; `write` adds frames, `save` keeps how far it is, `finish` gives it its name.

    Args:
        out: the file to be.
        file: FILE.partial, open and unbuffered.
        offsets: first bytes of ``images`` and, where there are factors, ``factor_values``.
        shape: of ``images``, (N, C, H, W).
        factors: number of factors; 0 records none.
        moment: how far it is.
    """

    def __init__(
        self, out: Path, file: Any, offsets: Mapping[str, int], shape: tuple[int, ...], factors: int, moment: Moment
    ) -> None:
        self._out = out
        self._file = file
        self._offsets = offsets
        self._shape = shape
        self.factors = factors
        self.moment = moment

    def write(self, images: npt.NDArray[np.uint8], values: npt.NDArray[np.float32] | None, moment: Moment) -> None:
        """Write the frames that `moment` has more than the last one.

        Raises:
            ValueError: images of another size.
            OSError: no room; what was recorded before stays.
        """
        if images.shape[1:] != self._shape[1:]:
            raise ValueError(
                f"the pictures were {self._shape[1:]} (channels, height, width) at first and are {images.shape[1:]} "
                f"after {self.moment.frames} frames; a recording needs one size"
            )
        try:
            self._write("images", self.moment.frames, images)
            if values is not None:
                self._write("factor_values", self.moment.frames, values)
        except OSError as error:
            raise self._unwritable(error) from error
        self.moment = moment

    def _write(self, name: str, first: int, rows: npt.NDArray[Any]) -> None:
        self._file.seek(self._offsets[name] + first * rows[0].nbytes)
        write_array(self._file, rows)

    def save(self) -> None:
        """Put on disk what there is, and then how much that is.

        Raises:
            OSError: no room; what was saved before stays.
        """
        try:
            os.fsync(self._file.fileno())
            write_json(progress_path(self._out), self.moment._asdict())
        except OSError as error:
            raise self._unwritable(error) from error

    def finish(self) -> None:
        """Give the whole recording its name."""
        self._file.close()
        replace_synced(partial_path(self._out), self._out)
        progress_path(self._out).unlink(missing_ok=True)

    def close(self) -> None:
        """Close the file; the recording can be continued."""
        self._file.close()

    def _unwritable(self, error: OSError) -> OSError:
        return OSError(
            f"cannot write {partial_path(self._out)} ({error.strerror or error}); free some space, then the same "
            "command plus --resume continues"
        )


def partial_path(out: Path) -> Path:
    """Where the frames lie while `out` is recorded."""
    return out.with_name(f"{out.name}.partial")


def progress_path(out: Path) -> Path:
    """Where it is kept how far the recording is."""
    return out.with_name(f"{out.name}.partial.json")


@contextlib.contextmanager
def recording_lock(out: Path) -> Iterator[None]:
    """Hold the recording for this process.

    Raises:
        FileExistsError: another process records this file.
    """
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(held_lock(out.with_name(f"{out.name}.partial.lock")))
        except filelock.Timeout as error:
            raise FileExistsError(
                f"{out} is being recorded by another process; wait for it, or choose another --out"
            ) from error
        except NotImplementedError:  # a file system without locks
            pass
        yield


def create_recording(
    out: Path,
    *,
    shape: tuple[int, ...],
    attributes: Mapping[str, Any],
    factors: RecordedFactors | None,
    moment: Moment,
) -> Recording:
    """Begin a recording; one that lies there unfinished is replaced.

    Args:
        out: the file to be.
        shape: of all images, (N, C, H, W).
        attributes: of the HDF5 file.
        factors: what is recorded beside the images.
        moment: before the first step.

    Raises:
        OSError: no room.
    """
    layouts = {"images": Layout(shape, np.uint8)}
    kept = dict(attributes)
    small = {}
    if factors is not None:
        layouts["factor_values"] = Layout((shape[0], len(factors.names)), np.float32)
        kept["factor_names"] = factors.names
        if factors.nominal:
            kept["nominal_factors"] = factors.nominal
        small = {f"factor_bins/{name}": edges for name, edges in factors.edges.items()}
    progress_path(out).unlink(missing_ok=True)
    partial = partial_path(out)
    # renamed into place, so that there is never half of a head, and what lies there is replaced and not followed
    with atomic_path(partial) as temporary:
        offsets = create_contiguous(temporary, layouts, attributes=kept, small=small)
    count = 0 if factors is None else len(factors.names)
    return Recording(out, _opened(partial), offsets, shape, count, moment)


def open_recording(out: Path, settings: Mapping[str, Any], *, frames: int, environments: int) -> Recording | None:
    """Open an unfinished recording to continue it; None where it holds no frame yet.

    Args:
        out: the file to be.
        settings: what must be the same.
        frames: of the whole recording.
        environments: stepped together.

    Raises:
        ValueError: it has other settings, or is damaged.
    """
    partial = partial_path(out)
    # before it is read: what follows a link is not ours
    if not stat.S_ISREG(partial.lstat().st_mode):
        raise ValueError(f"{partial} is no plain file, and links are not followed: remove it, or choose another --out")
    try:
        with h5py.File(partial, "r") as file:
            found = parse_json(file.attrs["settings"], "settings")
            earlier = int(file.attrs["frames_done"]) if "frames_done" in file.attrs else None
            shapes = {name: file[name].shape for name in ("images", "factor_values") if name in file}
            offsets = {name: file[name].id.get_offset() for name in shapes}
            types = {name: file[name].dtype for name in shapes}
        compare_settings(partial, found, settings)
        moment = _progress(out, frames, environments)
        # of a version that kept this in the HDF5 file, and nothing of its episodes: they begin anew
        if moment is None and earlier:
            moment = Moment.at_start(environments, stream=earlier, brightest=255)
        if moment is None:
            return None
        _check_layout(partial, frames, shapes, types, offsets)
        if moment.frames > frames:
            raise ValueError(f"claims {moment.frames} of {frames} frames")
    except OtherSettingsError:
        raise
    except Exception as error:  # h5py raises nearly any type on a damaged file
        raise ValueError(
            f"{partial}: cannot be continued ({error or type(error).__name__}); start again with --overwrite"
        ) from error
    count = shapes["factor_values"][1] if "factor_values" in shapes else 0
    return Recording(out, _opened(partial), offsets, shapes["images"], count, moment)


class OtherSettingsError(ValueError):
    """A recording was made with other settings."""


def compare_settings(path: Path, found: Any, wanted: Mapping[str, Any]) -> None:
    """Check that a recording has the settings that are asked for.

    Raises:
        OtherSettingsError: it has not; the differences are listed.
    """
    different = [
        f"{name}: {found.get(name)!r} there, {wanted.get(name)!r} asked for"
        for name in sorted(found.keys() | wanted.keys())
        if found.get(name) != wanted.get(name)
    ]
    if different:
        raise OtherSettingsError(
            f"{path} was recorded with other settings ({'; '.join(different)}): give the same ones, or another --out"
        )


def _progress(out: Path, frames: int, environments: int) -> Moment | None:
    path = progress_path(out)
    if not path.is_file():
        return None
    found = parse_json(path.read_bytes(), path.name, _PROGRESS)
    episodes = tuple((number, began) for number, began in found["episodes"])
    if len(episodes) != environments:
        raise OtherSettingsError(
            f"{partial_path(out)} was recorded with other settings (envs: {len(episodes)} there, {environments} asked "
            "for): give the same ones, or another --out"
        )
    numbers = {name: found[name] for name in ("frames", "step", "stream", "brightest")}
    moment = Moment(episodes=episodes, **numbers)
    if not moment.stream <= moment.frames <= frames or max(began for _, began in episodes) > moment.step:
        raise ValueError(f"{path.name} contradicts itself")
    return moment


def _check_layout(
    partial: Path, frames: int, shapes: dict[str, Any], types: dict[str, Any], offsets: dict[str, Any]
) -> None:
    for name, kind in {"images": np.uint8, "factor_values": np.float32}.items():
        if name not in shapes and name == "factor_values":
            continue
        shape, offset = shapes[name], offsets[name]
        rank = 4 if name == "images" else 2
        if types[name] != kind or len(shape) != rank or shape[0] != frames or offset is None:
            raise ValueError(f"{name} is {types[name]} {shape}, which no recording of {frames} frames has")
        if offset + int(np.prod(shape, dtype=np.int64)) * np.dtype(kind).itemsize > partial.stat().st_size:
            raise ValueError(f"it is too short for {name}")


def _opened(partial: Path) -> Any:
    flags = os.O_RDWR | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    return os.fdopen(os.open(partial, flags), "rb+", buffering=0)
