"""pretrain_encoders: many runs by one call, each in its own folder and equal to the run it would be alone."""

from __future__ import annotations

import contextlib
import dataclasses
import warnings
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

from tqdm import tqdm

from sparse_repr.command_line.interruption import TrainingInterrupted, stop_on_signal
from sparse_repr.devices import available_cores, cpu_threads, resolve_device
from sparse_repr.files import removed_if_empty
from sparse_repr.pretrain.config import PretrainConfig
from sparse_repr.pretrain.run_folder import as_begun, as_finished, had_not_finite, open_run_folder
from sparse_repr.pretrain.term_sums import NonFiniteLossError
from sparse_repr.pretrain.together.stack_proof import PROVEN_ON, why_stack_differs
from sparse_repr.pretrain.together.stacked import train_stacked, why_not_stacked
from sparse_repr.pretrain.together.worker_processes import train_in_processes
from sparse_repr.pretrain.trainer import load_run_data, opened_run, pretrain_encoder

TOGETHER = ("auto", "vectorized", "sequential", "processes")
"""Ways to train several models: see `pretrain_encoders`."""


def pretrain_encoders(
    configs: Sequence[PretrainConfig], *, together: str = "auto", on_steps: Callable[[int], None] | None = None
) -> list[Path]:
    """Train several encoders and write a run folder for each, as `pretrain_encoder` does for one.

    Each run takes the steps it would take alone: its own initial weights, order of the data and noise, from its own
    seed. Losses of "vectorized" agree with those of single runs to float32 rounding; the other ways give the same bits,
    for the same number of threads. Each folder is an ordinary one: a member can be continued alone by its own settings.

    With `resume`, runs that have begun go on from their last save, and those that have not are started.

    Args:
        configs: the runs, with different folders. `variations.vary` makes them from seeds and weights.
        together: ``"vectorized"``: one loop over stacked parameters, for a GPU; ``"sequential"``: one after another;
            ``"processes"``: one process per core, each with its share of the threads, so that a script that calls this
            needs the usual ``if __name__ == "__main__":``; ``"auto"``: what `choose_together` says.
        on_steps: called with the number of steps taken since its last call, now and then; takes the place of the bar.

    Returns:
        The run folders, in the order of `configs`.

    Raises:
        ValueError, FileExistsError, FileNotFoundError, OSError: the settings, the data or a folder cannot be used; all
            folders are checked before any training starts.
        NonFiniteLossError: the loss of one or several runs became NaN or infinite; the others were finished.
        TrainingInterrupted: SIGINT or SIGTERM; the states were saved.

    Warns:
        UserWarning: on a GPU, a step of the models in one loop is not theirs; they are trained one after another.
    """
    configs = [as_begun(config) for config in _apart(list(configs))]
    way, _ = choose_together(configs, together)
    workers = min(len(configs), available_cores())
    if way == "processes":
        share = max(1, available_cores() // workers)
        configs = [dataclasses.replace(config, threads=config.threads or share) for config in configs]
    configs = [config.resolve() for config in configs]
    if any(config.resume and had_not_finite(config.run_folder()) for config in configs):
        configs = [as_finished(config) for config in configs]
    taken = 0
    for config in configs:  # whatever is wrong with the last of them is said before the first is trained
        state = open_run_folder(config)
        taken += 0 if state is None else state["step"]
    total = sum(config.steps for config in configs)
    quiet = on_steps is not None or not all(config.progress for config in configs)
    with tqdm(total=total, initial=taken, unit="step", desc=f"{len(configs)} runs, {way}", disable=quiet) as bar:
        report = on_steps or bar.update
        with contextlib.ExitStack() as stack:
            for config in configs:  # the first run makes the folder above all of them, and need not be the last to go
                stack.enter_context(removed_if_empty(config.run_folder().parent))
            if way == "processes":
                train_in_processes(configs, workers, report)
            elif way == "vectorized":
                _train_vectorized(configs, report)
            else:
                _train_sequentially(configs, report)
    return [config.run_folder() for config in configs]


def choose_together(configs: Sequence[PretrainConfig], together: str = "auto") -> tuple[str, str]:
    """How `pretrain_encoders` trains these runs, and why.

    On a GPU that is one vectorised loop where the objective allows it. On a CPU, where stacked networks are slower than
    one after another, it is one process per core, each of which computes without waiting for other threads.

    Returns:
        "vectorized", "sequential" or "processes", and the reason in words.

    Raises:
        ValueError: `together` is unknown, or "vectorized" and these runs cannot be.
    """
    if together not in TOGETHER:
        raise ValueError(f"together needs one of {', '.join(TOGETHER)}, got {together!r}")
    obstacle = why_not_stacked([config.resolve() for config in configs])
    if together == "vectorized" and obstacle:
        raise ValueError(f"together 'vectorized' cannot train these runs: {obstacle}; use sequential or processes")
    if together != "auto":
        return together, "as asked"
    if len(configs) == 1:
        return "sequential", "there is one run"
    kinds = {resolve_device(config.device).type for config in configs}
    if kinds == {"cpu"}:
        return (
            ("processes", "the CPU has several cores")
            if available_cores() > 1
            else ("sequential", "the CPU has one core")
        )
    if kinds != {"cuda"}:
        return "sequential", "only CUDA and the CPU train several models at a time"
    return ("sequential", obstacle) if obstacle else ("vectorized", "one GPU trains them in one loop")


def _apart(configs: list[PretrainConfig]) -> list[PretrainConfig]:
    """The configurations, checked to be apart."""
    if not configs:
        raise ValueError("pretrain_encoders needs at least one configuration, got none")
    folders = [config.run_folder() for config in configs]
    repeated = sorted({str(folder) for folder in folders if folders.count(folder) > 1})
    if repeated:
        raise ValueError(f"every run needs a folder of its own, got {', '.join(repeated)} more than once: set run_dir")
    return configs


def _train_vectorized(configs: Sequence[PretrainConfig], on_steps: Callable[[int], None]) -> None:
    first = configs[0]
    with contextlib.ExitStack() as stack:
        stack.enter_context(cpu_threads(first.threads))
        data = load_run_data(first)
        runs = []
        for config in configs:
            trainer, writer = stack.enter_context(opened_run(config, data))
            assert writer is not None  # this process is the only one
            runs.append((trainer, writer))
        reason = why_stack_differs([trainer for trainer, _ in runs]) if runs[0][0].device.type in PROVEN_ON else None
        if reason is None:
            train_stacked(runs, on_steps)
            return
        warnings.warn(f"models are trained one after another, not in one loop: {reason}", stacklevel=2)
        _in_turn((trainer.folder, partial(trainer.run, writer, on_steps)) for trainer, writer in runs)


def _train_sequentially(configs: Sequence[PretrainConfig], on_steps: Callable[[int], None]) -> None:
    sources = {(config.dataset, config.data_path, config.factor_sizes) for config in configs}
    data = load_run_data(configs[0]) if len(sources) == 1 else None
    _in_turn(
        (config.run_folder(), partial(pretrain_encoder, config, data=data, on_steps=on_steps)) for config in configs
    )


def _in_turn(runs: Iterable[tuple[Path, Callable[[], object]]]) -> None:
    """Train runs, given by their folders, one after another; those after one whose loss is not finite go on."""
    with stop_on_signal():  # so that a signal at the last step of one run stops the next one
        outcomes = [_alone(folder, train) for folder, train in runs]
    failed = [str(error) for error in outcomes if error is not None]
    if failed:
        raise NonFiniteLossError("; ".join(failed))


def _alone(folder: Path, train: Callable[[], object]) -> NonFiniteLossError | None:
    try:
        train()
    except NonFiniteLossError as error:
        return error  # the other runs go on
    except TrainingInterrupted as stopped:
        raise TrainingInterrupted(folder.parent, None, stopped.signal_number) from stopped
    return None
