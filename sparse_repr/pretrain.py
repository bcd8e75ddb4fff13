"""`python -m sparse_repr.pretrain`: pretrain an encoder from the command line."""

from __future__ import annotations

import sys

import tyro

from sparse_repr.config import PretrainConfig
from sparse_repr.training import NonFiniteLossError, TrainingInterrupted, pretrain_encoder

_DESCRIPTION = """Pretrain an encoder and write its run folder.

Ctrl-C or SIGTERM saves the state and exits with 130 or 143; the same command plus --resume continues exactly.
Exit code 2: the settings, the data or the folder cannot be used. Exit code 1: the loss became NaN or infinite."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    try:
        config = tyro.cli(
            PretrainConfig, args=arguments, prog="python -m sparse_repr.pretrain", description=_DESCRIPTION
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
