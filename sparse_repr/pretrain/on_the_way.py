"""Commands that pretrain on the way: what they say of a run is about their own options, not those of pretrain."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from sparse_repr.command_line.interruption import CommandInterrupted, TrainingInterrupted
from sparse_repr.pretrain.run_folder import OtherSettingsError, TrainingStoppedError

_GOES_ON = "the same command goes on"


@contextlib.contextmanager
def as_one_command() -> Iterator[None]:
    """Within the block a stop is told as one that the same command goes on from, other settings by `--out`.

    Raises:
        CommandInterrupted: in place of `TrainingInterrupted`, and of one that names an option.
        OSError: in place of `TrainingStoppedError`.
        ValueError: in place of `OtherSettingsError`.
    """
    try:
        yield
    except TrainingInterrupted as stopped:
        where = f"stopped at step {stopped.step}; the state is in {stopped.folder}"
        raise CommandInterrupted(stopped.signal_number, where, advice=_GOES_ON) from stopped
    except CommandInterrupted as stopped:
        raise CommandInterrupted(stopped.signal_number, f"{stopped}", advice=_GOES_ON) from stopped
    except TrainingStoppedError as error:
        reason = error.__cause__ or error
        raise OSError(f"{reason}; once that is mended, {_GOES_ON}") from error
    except OtherSettingsError as error:
        raise ValueError(
            f"{error.folder} holds a run with other settings ({error.differences}): give the same settings, or another "
            "folder (--out)"
        ) from error
