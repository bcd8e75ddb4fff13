"""`python -m sparse_repr.pretrain`: pretrain an encoder from the command line."""

from __future__ import annotations

import sys

import tyro

from sparse_repr.config import PretrainConfig
from sparse_repr.data import DATASETS
from sparse_repr.interruption import TrainingInterrupted
from sparse_repr.presets import RECIPES, preset_config
from sparse_repr.term_sums import NonFiniteLossError
from sparse_repr.training import pretrain_encoder

_DESCRIPTION = f"""Pretrain an encoder and write its run folder.

--preset DATASET/RECIPE starts from published hyper-parameters, and every option given beside it overrides them.
Data sets: {", ".join(DATASETS)}. Recipes: {", ".join(RECIPES)}.

Ctrl-C or SIGTERM saves the state and exits with 130 or 143; the same command plus --resume continues exactly.
Exit code 2: the settings, the data or the folder cannot be used. Exit code 1: the loss became NaN or infinite."""


def take_preset(arguments: list[str]) -> tuple[str | None, list[str]]:
    """The value of --preset and the other arguments.

    Raises:
        ValueError: it is given twice, or without a value.
    """
    names, others = [], []
    rest = iter(arguments)
    for argument in rest:
        key, _, value = argument.partition("=")
        if key == "--preset":
            names.append(value or next(rest, ""))
        else:
            others.append(argument)
    if len(names) > 1 or "" in names:
        raise ValueError("--preset needs one name, such as dsprites/sparse")
    return (names[0] if names else None), others


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    try:
        preset, others = take_preset(sys.argv[1:] if arguments is None else arguments)
        config = tyro.cli(
            PretrainConfig,
            args=others,
            default=PretrainConfig() if preset is None else preset_config(preset),
            prog="python -m sparse_repr.pretrain",
            description=_DESCRIPTION,
        )
        folder = pretrain_encoder(config)
    except TrainingInterrupted as stopped:
        print(f"{stopped}", file=sys.stderr)
        return 128 + stopped.signal_number
    except NonFiniteLossError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"encoder: {folder / 'encoder.safetensors'}")
    print(f"next:    python -m sparse_repr.evaluate {folder}")
    print(f"watch:   tensorboard --logdir {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
