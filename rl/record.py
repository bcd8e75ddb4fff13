"""`python -m rl.record`: frames of any Gymnasium image environment, as an HDF5 or Minari data set to pretrain on."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import gymnasium as gym
import h5py
import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from rl.episodes import Moment, Players, Policy, close_players, make_players
from rl.random_share import random_environments
from rl.record_config import RecordConfig
from rl.record_episodes import record_episodes
from rl.recorded_images import check_bounds, factor_values, images_of
from rl.recording import (
    RecordedFactors,
    Recording,
    RecordingInterrupted,
    compare_settings,
    create_recording,
    open_recording,
    partial_path,
    progress_path,
    recording_lock,
)
from sparse_repr.command_line.interruption import stop_on_signal
from sparse_repr.command_line.running import parse_options, run_command
from sparse_repr.data.pixel_range import DARK
from sparse_repr.files import require_space
from sparse_repr.files.json_reader import parse_json

# Between two moments at which a killed recording can be continued: what is done again then.
_SAVE_S = 5.0


def record(config: RecordConfig, policy: Policy | None = None) -> Path:
    """Record frames of an environment into the layout of the data set ``h5`` (`sparse_repr.data.recorded`).

    Where the environment reports `info["factors"]` (float32 (K,)) and has `unwrapped.factor_names`, the factor values
    are recorded beside the images, with the bins of `unwrapped.factor_bins` and the names of
    `unwrapped.nominal_factors` where it states them. While it records, the frames lie in FILE.partial; an interrupted
    recording goes on from there: the episodes it was in are played again up to where they were, so that it ends as one
    that nobody interrupted. That holds for environments and policies that
    repeat by seed and observation; others go on from another state. With the format ``minari`` whole episodes are
    recorded: `rl.record_episodes`.

    Args:
        config: what to record.
        policy: batched observations -> batched actions, in place of `config.policy`; or an object with the method `act`
            of `rl.episodes.EpisodePolicy`, which is told where episodes begin.

    Returns:
        The file written, or the folder of a Minari data set. With `resume` one that is finished stays as it is.

    Raises:
        FileExistsError: the file or an interrupted recording exists, and neither `overwrite` nor `resume` is on, or
            another process records it.
        RecordingInterrupted: SIGINT or SIGTERM; the frames so far are saved.
        ImportError: minari is not installed, for its format.
        FileNotFoundError: there is no such file of an agent.
        TypeError: the environment gives no uint8 images, or the agent needs more than observations.
        ValueError: the recording there has other settings or is damaged; the policy cannot be imported, or is an agent
            of other observations or actions; a random share without a policy; the environment cannot be made, declares
            pixels too dark for an image or reports no factors where it did.
        OSError: the folder cannot be written or has no room; the frames so far are saved.
    """
    out = Path(config.out)
    config.require_policy(policy)
    with stop_on_signal() as signals, contextlib.ExitStack() as stack:
        if config.format == "minari":
            return record_episodes(config, policy or config.imported_policy(), signals)
        if _is_finished(config, out):
            return out
        act = policy or config.imported_policy()
        recording = None
        continued = config.resume and os.path.lexists(partial_path(out))
        if continued:
            stack.enter_context(recording_lock(out))
            recording = open_recording(out, config.settings(), frames=config.frames, environments=config.envs)
        venv = make_players(config.env, config.envs, parallel=config.parallel, options=config.env_arguments())
        broken = finished = False
        try:
            check_bounds(config, venv)
            moment = Moment.at_start(config.envs) if recording is None else recording.moment
            spaces = venv.single_observation_space, venv.single_action_space
            players = Players(
                venv,
                seed=config.seed,
                moment=moment,
                act=act or config.loaded_agent(*spaces, config.envs),
                at_random=random_environments(config.random_share, config.envs),
            )
            if recording is None:
                images, factors = _first_images(config, players, out)
                if not continued:
                    stack.enter_context(recording_lock(out))
                recording = _begin(config, out, images, factors)
            finished = _record(config, players, recording, signals)
        except (EOFError, BrokenPipeError, ConnectionResetError) as error:
            # from Gymnasium's pipes to the processes of the environments
            broken = True
            # a scheduler ends all processes of a job together
            if not signals:
                raise OSError(
                    f"a process of {config.env} ended, killed or out of memory; the same command plus --resume "
                    "continues"
                ) from error
        finally:
            close_players(venv, broken=broken)
            if recording is not None:
                recording.close()
        if not finished and recording is not None:
            raise RecordingInterrupted(
                partial_path(out), recording.moment.frames, signals[0], overwriting=config.overwrite
            )
    return out


def _is_finished(config: RecordConfig, out: Path) -> bool:
    """Whether there is nothing left to do, after the checks of what lies there."""
    partial = partial_path(out)
    unfinished = partial.exists() or partial.is_symlink()
    if unfinished and not (config.resume or config.overwrite):
        raise FileExistsError(f"an interrupted recording is at {partial}: continue it with --resume, or --overwrite it")
    # an unfinished one beside it was to replace it
    if not out.exists() or config.overwrite or (config.resume and unfinished):
        return False
    if not config.resume:
        raise FileExistsError(f"{out} exists; give --overwrite, or another --out")
    try:
        with h5py.File(out, "r") as file:
            found = parse_json(file.attrs["settings"], "settings")
    except Exception as error:  # h5py raises nearly any type on a damaged file
        raise FileExistsError(f"{out} exists, and is no recording; give --overwrite, or another --out") from error
    compare_settings(out, found, config.settings())
    progress_path(out).unlink(missing_ok=True)
    return True


def _first_images(
    config: RecordConfig, players: Players, out: Path
) -> tuple[npt.NDArray[np.uint8], RecordedFactors | None]:
    """The images at the start and what is recorded beside them, after the check that there is room for all."""
    images = images_of(config, players.venv, players.observations)
    declared = players.venv.call("declared_factors")[0]
    factors = RecordedFactors(*declared) if declared is not None and "factors" in players.infos else None
    if declared is not None and factors is None:
        warnings.warn(
            f"{config.env} names its factors ({', '.join(declared[0])}), but reports none in info['factors'] at reset, "
            "so none are recorded: let it report them with every picture, at reset too",
            stacklevel=3,
        )
    if declared is None and _are_numbers(players.infos.get("factors")):
        warnings.warn(
            f"{config.env} reports info['factors'], but has no factor_names, so none are recorded: name them in order "
            '(factor_names = ("x", "y")), in the environment or a wrapper of it',
            stacklevel=3,
        )
    needed = images[0].nbytes + (0 if factors is None else 4 * len(factors.names))
    require_space(out.parent, int(1.05 * config.frames * needed), "the recording")
    return images, factors


def _are_numbers(factors: Any) -> bool:
    """Whether info['factors'] of every environment may be what is recorded; something else may be called so."""
    try:
        return factors is not None and np.stack([np.asarray(one, np.float64) for one in factors]).size > 0
    except (TypeError, ValueError):
        return False


def _begin(
    config: RecordConfig, out: Path, images: npt.NDArray[np.uint8], factors: RecordedFactors | None
) -> Recording:
    return create_recording(
        out,
        shape=(config.frames, *images.shape[1:]),
        attributes={"environment": config.env, "settings": json.dumps(config.settings(), sort_keys=True)},
        factors=factors,
        moment=Moment.at_start(config.envs),
    )


def _record(config: RecordConfig, players: Players, recording: Recording, signals: list[int]) -> bool:
    """Record until all frames are there, or a signal came; returns whether they are."""
    start = recording.moment.frames
    with tqdm(total=config.frames, initial=start, desc=config.env, unit="frame", disable=not config.progress) as bar:
        try:
            while players.step < recording.moment.step and not signals:
                players.advance()
            _fill(config, players, recording, signals, bar)
        except BaseException as error:
            with contextlib.suppress(OSError):  # the first error is the one to tell
                _save(recording)
            # schedulers send two signals together
            if not (signals and isinstance(error, KeyboardInterrupt)):
                raise
    if recording.moment.frames < config.frames:
        _save(recording)
        return False
    recording.finish()
    if recording.moment.brightest < DARK:
        warnings.warn(
            f"{config.out}: the brightest pixel of {config.frames:,} frames is {recording.moment.brightest}, and 255 "
            f"is taken for white, so all of them are nearly black; let {config.env} show 0..255, or record what it "
            "draws with --render",
            stacklevel=3,
        )
    return True


def _save(recording: Recording) -> None:
    """Save, whatever further signals come meanwhile: they ask for the same."""
    with stop_on_signal():
        recording.save()


def _fill(config: RecordConfig, players: Players, recording: Recording, signals: list[int], bar: Any) -> None:
    saved = time.monotonic()
    while recording.moment.frames < config.frames:
        moment = recording.moment
        if moment.frames > moment.stream:
            for _ in range(config.every):
                if signals:
                    return
                players.advance()
        count = min(config.envs, config.frames - moment.frames)
        images = images_of(config, players.venv, players.observations)[:count]
        values = factor_values(config, players.infos, recording.factors)[:count] if recording.factors else None
        brightest = max(moment.brightest, int(images.max()))
        recording.write(
            images,
            values,
            Moment(moment.frames + count, players.step, players.episodes(), moment.stream, brightest),
        )
        bar.update(count)
        if time.monotonic() - saved >= _SAVE_S:
            recording.save()
            saved = time.monotonic()


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    return run_command(lambda: _as_asked(arguments), refused=(TypeError, ImportError, gym.error.Error))


def _as_asked(arguments: list[str] | None) -> None:
    description = (
        "Record frames of an image environment under a random policy, yours or an agent's into an HDF5 file, or whole "
        "episodes into a Minari data set. Ctrl-C keeps what there is; the same command plus --resume continues."
    )
    config = parse_options(RecordConfig, arguments, program="python -m rl.record", description=description)
    out = record(config)
    print(f"recorded: {out}")
    data = f"minari --data-path {config.out}" if config.format == "minari" else f"h5 --data-path {out}"
    print(f"next:     python -m sparse_repr.pretrain --dataset {data}")


if __name__ == "__main__":
    sys.exit(main())
