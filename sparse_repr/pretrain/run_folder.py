"""The folder of one pretraining run: its configuration, its training state and the checks before any work is done."""

from __future__ import annotations

import contextlib
import dataclasses
import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import filelock
import torch

from sparse_repr.data import FactorDataset, load_dataset
from sparse_repr.files import removed_if_empty, require_space, write_bytes, write_json
from sparse_repr.files.json_reader import OBJECT, TEXT, Shape, many, optional, read_json, require, whole
from sparse_repr.objectives import choose_objective
from sparse_repr.pretrain.config import ADDED, PretrainConfig
from sparse_repr.pretrain.training_state import read_state

# Room for the state, the weights and the event file of one run, with a margin.
_NEEDED_BYTES = 100_000_000
# What may differ between a run and its continuation: none of these changes the numbers (beyond rounding, where one
# process with a graph continues what several began without).
_MAY_CHANGE = frozenset({"steps", "log_every", "picture_every", "save_every", "step_graph"})
# What else may differ where the loss became NaN or infinite: what cures it.
_CURES = frozenset(
    {
        "learning_rate",
        "learning_rate_warmup",
        "opening_warmup",
        "learning_rate_decay",
        "learning_rate_decay_steps",
        "final_learning_rate",
        "discriminator_learning_rate",
        "precision",
    }
)
# Settings that the first version did not know, those that came together in one row, and what each is where it has no
# effect. A run from before a row has none of it, and none of the rows behind it.
_LATER: tuple[dict[str, Any], ...] = (
    {"factor_sizes": None},
    {"beta_start": 0.0, "beta_steps": 0},
    {"perceptual_levels": None, "perceptual_scale": "image", "roughness_weight": 0.0, "sparsity_start": 0},
    dict.fromkeys(("feature_weight", "feature_network", "feature_layer", "feature_grid")),
    {"denoising_noise": 0.0, "denoising_color": 0.0, "denoising_background": 0.0},
    dict.fromkeys(("units_per_image", "units_per_image_steps")),
    {"opening_step": 0, "opening_steps": 0},
    dict.fromkeys(("nonzero_weight", "nonzero_warmup", "threshold_window", "matching_weight")),
    dict.fromkeys(("quantise_weight", "commit_weight", "weight_decay")),
    {"saliency_weight": 0.0},
    {"pixel_start": 0.0, "pixel_steps": 0},
    {"opening_ica": False},
    {"opening_recycle": False},
    {"opening_warmup": 0},
    {"random_shift": 0},
    {"crop": None},
)
_PLACES = ("data_path", "perceptual_weights_path")
# What config.json has only where it was set.
_LEFT_OUT = frozenset({*ADDED, "objective_settings"})
_EARLIER, _NOT_FINITE = "earlier_settings", "not_finite_by_step"
_DATA = "training_images"
_HISTORY = (_EARLIER, _NOT_FINITE, _DATA)

_ANOTHER_FOLDER = "choose another folder with run_dir (--run-dir)"


class OtherSettingsError(ValueError):
    """A run folder holds a run with other settings than were asked for."""

    def __init__(self, folder: Path, differences: str) -> None:
        super().__init__(
            f"{folder} holds a run with other settings ({differences}); {_ANOTHER_FOLDER}, or give the same settings"
        )
        self.folder = folder
        self.differences = differences

    def __reduce__(self) -> tuple[Any, ...]:
        # the default would call the class with the message alone when it comes from another process
        return type(self), (self.folder, self.differences)


# What evaluation needs to know of a run; config.json has it all.
_SETTINGS: Shape = {
    "dataset": TEXT,
    "data_path": optional(TEXT),
    "objective": TEXT,
    "seed": whole(0),
    "steps": whole(1),
    "code_size": whole(1),
}
_REMEDY = f"put back the file that the run wrote, or {_ANOTHER_FOLDER}"


class RunFolderHeldError(FileExistsError):
    """Another process holds the run folder; it may be free later."""


class TrainingStoppedError(OSError):
    """A file of a run that had started could not be written or read; the state of its last save is kept."""


@contextlib.contextmanager
def locked_run_folder(folder: Path, *, lock_name: str = ".lock") -> Iterator[None]:
    """Hold the run folder for this process; the lock goes with the process, however it ends.

    Args:
        folder: the run folder; created if needed.
        lock_name: file in it that is locked; another one than training's claims the folder for more than training.

    Raises:
        RunFolderHeldError: another process is training in this folder.
        FileExistsError: `folder` is a file.
        OSError: the folder cannot be written.
    """
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"run_dir {folder} is a file; {_ANOTHER_FOLDER}")
    with removed_if_empty(folder):
        require_space(folder, _NEEDED_BYTES, "the run folder")
        path = folder / lock_name
        lock = filelock.FileLock(path, timeout=0)
        try:
            lock.acquire()
        except filelock.Timeout as error:
            raise RunFolderHeldError(
                f"{folder} is being trained in by another process; wait for it, or {_ANOTHER_FOLDER}"
            ) from error
        try:
            yield
        finally:
            # unlinked while still held, so that no other process can be holding it; Windows refuses that, and keeps it
            with contextlib.suppress(OSError):
                path.unlink()
            lock.release()


@contextlib.contextmanager
def resumable(folder: Path) -> Iterator[None]:
    """Say of an error of the files, such as a full disk, that the run can go on from its last save.

    Raises:
        TrainingStoppedError: in place of any other OSError.
    """
    try:
        yield
    except TrainingStoppedError:
        raise
    except OSError as error:
        kept = "the last saved state is kept" if has_state(folder) else "no state was saved yet"
        told = TrainingStoppedError(f"{error}; {kept}, and the run goes on with resume (--resume) once that is mended")
        told.errno = error.errno
        raise told from error


def open_run_folder(config: PretrainConfig) -> dict[str, Any] | None:
    """Check the folder of a resolved configuration without writing to it; returns the state to resume from.

    Returns:
        None where the run starts at step 0: the folder holds no run, or none that was saved.

    Raises:
        FileExistsError: the folder holds a run and `resume` is off, or a state whose settings are not there.
        ValueError: the run there has other settings; all differences are listed. Or the folder is in the folder of
            pictures that it learns from.
    """
    folder = config.run_folder()
    described = folder / "config.json"
    if config.dataset == "folder" and config.data_path is not None and not described.is_file():
        pictures = Path(config.data_path).resolve()
        if pictures.is_dir() and folder.resolve().is_relative_to(pictures):
            raise ValueError(
                f"{folder} is in the folder of pictures {config.data_path}, of which its own would become part: "
                f"{_ANOTHER_FOLDER}"
            )
    if not described.is_file():
        if has_state(folder):
            raise FileExistsError(
                f"{folder} holds a training state (state.pt) without the config.json that says of which run; "
                f"put that back, or {_ANOTHER_FOLDER}"
            )
        return None
    if not (config.resume and _never_began(folder)):
        _compare(folder, config)
    if not config.resume:
        raise FileExistsError(
            f"{folder} already holds a run with these settings; continue it with resume (--resume), "
            f"or {_ANOTHER_FOLDER}"
        )
    state = saved_state(folder)
    if state is not None and state["step"] > config.steps:
        raise ValueError(
            f"{folder} already has {state['step']} steps, {config.steps} were asked for; "
            "give at least that many steps (--steps)"
        )
    return state


def _never_began(folder: Path) -> bool:
    """Whether a run stopped before anything was saved: other settings may be what its message advised."""
    return not has_state(folder) and not (folder / "encoder.safetensors").is_file()


def has_state(folder: Path) -> bool:
    """Whether something was saved in a run folder that a run can go on from."""
    return (folder / "state.pt").is_file()


def saved_state(folder: Path) -> dict[str, Any] | None:
    """The state of the last save in a run folder; None where there was none.

    Raises:
        ValueError: the file is damaged or holds something else.
    """
    return read_state(folder / "state.pt") if has_state(folder) else None


def training_images_of(data: FactorDataset) -> dict[str, Any]:
    """What a run keeps of the images that it learns from: how many they are, and a digest of some of them."""
    train, _ = data.split
    return {"images": len(train), "digest": data.digest(train)}


def require_same_images(folder: Path, data: FactorDataset) -> None:
    """Check that a run goes on with the images that it began with; one from before they were noted is not checked.

    Raises:
        ValueError: it has others now, as where a file was written again under the same name.
    """
    noted, now = _described(folder).get(_DATA), training_images_of(data)
    if noted is None or noted == now:
        return
    place = f"{data.name} data" if data.source == "drawn" else data.source
    how = (
        f"{now['images']:,} to learn from"
        if now["images"] != noted["images"]
        else f"as many, {now['images']:,}, but other ones"
    )
    raise ValueError(
        f"{folder} has learned from {noted['images']:,} images, and {place} has {how} now: "
        f"put back what was there, or start again: {_ANOTHER_FOLDER}"
    )


def write_config(config: PretrainConfig, step: int = 0, images: Mapping[str, Any] | None = None) -> None:
    """Write `config.json`, which marks the folder as this run's: once the data is there and training can start.

    Settings that were changed to cure a loss that was not finite are kept there as ``earlier_settings``, each with the
    step until which it held.

    Args:
        config: a resolved configuration.
        step: that the run is at.
        images: what `training_images_of` returned, kept as ``training_images``.
    """
    folder = config.run_folder()
    found = _described(folder) if (folder / "config.json").is_file() else {}
    wanted = {**config.to_json(), **({_DATA: dict(images)} if images else {})}
    changed = {name: found[name] for name in sorted(_CURES & found.keys()) if found[name] != wanted[name]}
    cured = changed and (step or _NOT_FINITE in found)
    earlier = [*found.get(_EARLIER, []), *([{"until_step": step, **changed}] if cured else [])]
    write_json(folder / "config.json", {**wanted, **({_EARLIER: earlier} if earlier else {})})


def note_not_finite(folder: Path, step: int) -> None:
    """Note in `config.json` that the loss became NaN or infinite, so that what cures it may change on resume."""
    write_json(folder / "config.json", {**_described(folder), _NOT_FINITE: step})


def _described(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    found: dict[str, Any] = read_json(path, remedy=_REMEDY)
    if _EARLIER in found:
        require(found, {_EARLIER: many(OBJECT)}, str(path), remedy=_REMEDY)
    if _DATA in found:
        require(found, {_DATA: {"images": whole(0), "digest": TEXT}}, str(path), remedy=_REMEDY)
    return found


def read_settings(folder: Path) -> dict[str, Any]:
    """The settings of the run in a folder.

    Returns:
        Content of `config.json` but for what happened to the run: at least dataset, data_path, objective, seed, steps
        and code_size, of their types.

    Raises:
        FileNotFoundError: the folder holds no run.
        ValueError: `config.json` is damaged.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise FileNotFoundError(f"no config.json in {folder}: expected a run folder of sparse_repr.pretrain")
    found = read_json(path, _SETTINGS, remedy="put back the file that the run wrote")
    return {name: value for name, value in found.items() if name not in _HISTORY}


def data_of_run(
    run: Path,
    settings: Mapping[str, Any],
    *,
    data_path: str | None = None,
    factor_sizes: str | None = None,
    progress: bool = True,
) -> FactorDataset:
    """The data that a run was trained on.

    Args:
        run: its folder.
        settings: from `read_settings`.
        data_path: the user's own copy; None takes the path that the run was trained with.
        factor_sizes: as in `load_dataset`; None takes those of the run.
        progress: show a bar where a first use takes long.

    Raises:
        FileNotFoundError: the data is not there.
        ValueError: as `load_dataset`.
    """
    place = data_path or settings["data_path"]
    sizes = factor_sizes or settings.get("factor_sizes")
    try:
        return load_dataset(settings["dataset"], place, factor_sizes=sizes, progress=progress)
    except FileNotFoundError as error:
        if data_path is not None or place is None:
            raise
        raise FileNotFoundError(
            f"{error}; {run} was trained on it: put it back, or give data_path (--data-path)"
        ) from error


def _from_before(folder: Path, described: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    """What the settings that `config.json` lacks were, because the run was written before they were known.

    Raises:
        ValueError: another setting is missing, or one of several that came together.
    """
    missing = wanted.keys() - described.keys() - _LEFT_OUT
    for row in range(len(_LATER) + 1):
        unknown = {name: value for later in _LATER[row:] for name, value in later.items()}
        if unknown.keys() == missing:
            # an objective without such a setting has None there
            return {name: value for name, value in unknown.items() if wanted[name] is not None}
    names = ", ".join(sorted(missing))
    raise ValueError(f"{folder / 'config.json'} is damaged: it lacks {names}, and no version wrote it so; {_REMEDY}")


def differing_settings(folder: Path, config: PretrainConfig) -> list[str]:
    """What `config.json` of a run folder has otherwise than a resolved configuration, in words, one by one.

    What changes no number, such as the steps, which may be more, is left out.

    Raises:
        ValueError: `config.json` is damaged.
    """
    described, wanted = _described(folder), config.to_json()
    found = {**_from_before(folder, described, wanted), **described}
    cures = _CURES if config.resume and _NOT_FINITE in described else ()
    without_effect = {name for name, kind in _without_effect(config) if type(found.get(name)) is kind}
    ignored = _MAY_CHANGE.union(_HISTORY, cures, without_effect)
    return [
        f"{name}: {found.get(name)!r} there, {wanted.get(name)!r} asked for"
        for name in sorted(found.keys() | wanted.keys())
        if name not in ignored and not _same_setting(name, found.get(name), wanted.get(name))
    ]


def _without_effect(config: PretrainConfig) -> Iterator[tuple[str, type]]:
    """Settings that change nothing of a run, and may be otherwise where it was begun before they were refused.

    Each with the type of what it may be.
    """
    choice = choose_objective(config.objective)
    if not choice.reconstructs:
        yield "reconstruction", str
    if "targets" not in choice.needs:
        if not config.perceptual_weight or config.perceptual_features != "dae":
            yield "dae_steps", int
        if not config.perceptual_weight or config.perceptual_features == "dae":
            yield "perceptual_weights_path", str


def _same_setting(name: str, found: Any, wanted: Any) -> bool:
    if name in _PLACES and isinstance(found, str) and isinstance(wanted, str):
        # one place may have several names; what is no file, such as a data set of minari, has one
        return found == wanted or (Path(wanted).exists() and Path(found).resolve() == Path(wanted).resolve())
    return bool(found == wanted)


def as_begun(config: PretrainConfig) -> PretrainConfig:
    """A configuration whose threads and precision are those of the run that it continues, where it leaves them open.

    The number of threads decides the last bits, and what `auto` means the machine: a job that goes on elsewhere goes on
    as it was begun.

    Returns:
        `config` itself where `resume` is off or no run is there.
    """
    folder = config.run_folder()
    if not config.resume or not (folder / "config.json").is_file():
        return config
    described = _described(folder)
    left_open = {"threads": None, "precision": "auto"}
    taken = {name: described.get(name) for name, unset in left_open.items() if getattr(config, name) == unset}
    return dataclasses.replace(config, **{name: value for name, value in taken.items() if value is not None})


def had_not_finite(folder: Path) -> bool:
    """Whether the run in a folder has had a loss that was NaN or infinite, or has gone on with a cure since."""
    if not (folder / "config.json").is_file():
        return False
    described = _described(folder)
    return _NOT_FINITE in described or _EARLIER in described


def as_finished(config: PretrainConfig) -> PretrainConfig:
    """A resolved configuration with the learning rate and precision of the run that is finished in its folder.

    Where one of several runs has diverged, its cure is asked for of all of them, and finished ones need none.

    Returns:
        `config` itself where `resume` is off or no run with as many steps is there.
    """
    folder = config.run_folder()
    if not (config.resume and has_state(folder) and (folder / "config.json").is_file()):
        return config
    state = saved_state(folder)
    if state is None or state["step"] != config.steps:
        return config
    described, names = _described(folder), {field.name for field in dataclasses.fields(config)}
    return dataclasses.replace(config, **{name: described[name] for name in _CURES & described.keys() & names})


def _compare(folder: Path, config: PretrainConfig) -> None:
    different = differing_settings(folder, config)
    if different:
        raise OtherSettingsError(folder, "; ".join(different))


def save_state(folder: Path, state: dict[str, Any]) -> None:
    """Write `state.pt` atomically; tensors and plain values only."""
    content = io.BytesIO()
    torch.save(state, content)  # into memory: a full disk then is an OSError, and not what torch's writer makes of it
    write_bytes(folder / "state.pt", content.getvalue())
