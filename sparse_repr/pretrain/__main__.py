"""`python -m sparse_repr.pretrain`: pretrain an encoder from the command line."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import tyro

from sparse_repr.command_line.plugins import PLUGIN_HELP, plugin_words, take_plugins
from sparse_repr.command_line.running import parse_options, run_command
from sparse_repr.command_line.words import take_option
from sparse_repr.data import DATASETS
from sparse_repr.devices import multiplies_bf16, resolve_device
from sparse_repr.pretrain.config import PretrainConfig
from sparse_repr.pretrain.presets import KEYPOINT_RECIPES, RECIPES, ROBUST_RECIPES, SPARSE_CODE_RECIPES, preset_config
from sparse_repr.pretrain.run_folder import as_begun, has_state
from sparse_repr.pretrain.term_sums import NonFiniteLossError
from sparse_repr.pretrain.together.distributed import launched_by_torchrun, pretrain_distributed
from sparse_repr.pretrain.together.ensemble import choose_together, pretrain_encoders
from sparse_repr.pretrain.trainer import pretrain_encoder
from sparse_repr.pretrain.variations import WEIGHT_NAMES, parse_seeds, parse_weights, vary

_DESCRIPTION = f"""Pretrain an encoder, or many by one command, and write a run folder for each.

--preset DATASET/RECIPE starts from published hyper-parameters, and every option given beside it overrides them;
DATASET/RECIPE/fast, or fast for the default data set and objective, gets to their bound in less time, with codes that
are less disentangled; DATASET/RECIPE/steady leaves the mean picture soon on every seed and keeps their disentanglement.
Data sets: {", ".join(DATASETS)}. Recipes: {", ".join(RECIPES)};
as they are: {", ".join((*KEYPOINT_RECIPES, *SPARSE_CODE_RECIPES, *ROBUST_RECIPES))}.

--seeds 0-15 trains one model per seed. The weights of an objective's terms take lists too, --sparsity-weight 0,1,4,
and every combination is trained. Each run gets a folder in --run-dir (runs unless set), named as a single run is by
default, with the varied weights in the name.

{PLUGIN_HELP}

torchrun --nproc-per-node 2 -m sparse_repr.pretrain ... trains one model by several processes, each on its share of
every batch.

Ctrl-C or SIGTERM saves the state and exits with 130 or 143; the same command plus --resume continues exactly, and
starts where nothing was saved, so that a job script can always give it.
Exit code 2: the settings, the data or the folder cannot be used. Exit code 1: the loss became NaN or infinite; --resume
with a lower --learning-rate goes on from the last good state."""


@dataclasses.dataclass(frozen=True)
class _Command:
    config: tyro.conf.OmitArgPrefixes[PretrainConfig]
    seeds: str | None = None
    """Several models, one per seed: numbers and ranges such as 0-15 or 0,2,5-7; in place of --seed."""
    together: Literal["auto", "vectorized", "sequential", "processes"] = "auto"
    """How several models are trained: vectorized (one loop over stacked parameters, for a GPU), sequential, processes
    (one per core), or auto: vectorized on CUDA where the objective allows it, processes on a CPU."""


def take_preset(arguments: list[str]) -> tuple[str | None, list[str]]:
    """The value of --preset and the other arguments.

    Raises:
        ValueError: it is given twice, or without a value.
    """
    names, others = take_option(arguments, "--preset")
    if len(names) > 1 or "" in names:
        raise ValueError("--preset needs one name, such as dsprites/sparse or fast")
    return (names[0] if names else None), others


def take_weight_lists(arguments: list[str]) -> tuple[dict[str, list[float]], list[str]]:
    """The weights that are given as lists, ``--sparsity-weight 0,1,4``, and the other arguments.

    Raises:
        ValueError: a list holds something else than numbers, a value twice, or a weight comes twice.
    """
    lists: dict[str, list[float]] = {}
    others: list[str] = []
    position = 0
    while position < len(arguments):
        argument = arguments[position]
        key, equals, value = argument.partition("=")
        name = key.removeprefix("--").replace("-", "_")
        following = arguments[position + 1] if not equals and position + 1 < len(arguments) else value
        if key.startswith("--") and name in WEIGHT_NAMES and "," in following:
            if name in lists:
                raise ValueError(f"{key} needs one list, got several")
            lists[name] = parse_weights(name, following)
            position += 1 if equals else 2
        else:
            others.append(argument)
            position += 1
    return lists, others


def _pretrain(arguments: list[str]) -> list[Path]:
    preset, others = take_preset(take_plugins(arguments))
    weights, others = take_weight_lists(others)
    command = parse_options(
        _Command,
        others,
        program="python -m sparse_repr.pretrain",
        description=_DESCRIPTION,
        default=_Command(PretrainConfig() if preset is None else preset_config(preset)),
    )
    config = command.config
    if command.seeds is None and not weights:
        config = as_begun(config)
        _announce([config])
        return [pretrain_distributed(config) if launched_by_torchrun() else pretrain_encoder(config)]
    if launched_by_torchrun():
        raise ValueError("torchrun shares one model between processes: leave --seeds and lists of weights out")
    if command.seeds is not None and config.seed:
        raise ValueError(f"--seeds takes the place of --seed, got both: --seeds {command.seeds} --seed {config.seed}")
    varied = vary(config, seeds=() if command.seeds is None else parse_seeds(command.seeds), weights=weights)
    configs = [as_begun(each) for each in varied]
    way, reason = choose_together(configs, command.together)
    print(f"training {len(configs)} runs, {way}: {reason}", file=sys.stderr)
    _announce(configs)
    return pretrain_encoders(configs, together=way)


def _announce(configs: Sequence[PretrainConfig]) -> None:
    """Say where --resume finds nothing saved, so that a wrong folder does not go unnoticed, and what will take long."""
    if any(each.precision == "bf16" and not multiplies_bf16(resolve_device(each.device)) for each in configs):
        print(
            "this processor does not multiply bf16: every step takes many times as long as with --precision auto, "
            "which takes float32 here",
            file=sys.stderr,
        )
    # lists of weights make runs that differ in what they wait for
    late = list(dict.fromkeys(what for config in configs for what in config.never_reached()))
    if late:
        print(
            f"{configs[0].steps:,} steps end before {'; and before '.join(late)}: give more --steps, or earlier ones "
            "of these",
            file=sys.stderr,
        )
    begun = [has_state(config.run_folder()) for config in configs]
    if not configs[0].resume or all(begun):
        return
    where = (
        f"{configs[0].run_folder()} holds no saved state"
        if len(configs) == 1
        else (f"{begun.count(False)} of {len(configs)} folders hold no saved state")
    )
    print(f"nothing to resume: {where}; starting at step 0", file=sys.stderr)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    words = sys.argv[1:] if arguments is None else arguments
    # of the processes of torchrun the first alone speaks: all of them have the same to say
    if launched_by_torchrun() and os.environ.get("RANK", "0") != "0":
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
            return run_command(lambda: _pretrain_as_asked(words, is_program=arguments is None))
    return run_command(lambda: _pretrain_as_asked(words, is_program=arguments is None), refused=(ImportError,))


def _pretrain_as_asked(words: list[str], *, is_program: bool) -> int:
    try:
        folders = _pretrain(words)
    except NonFiniteLossError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for folder in folders:
        print(f"encoder: {folder / 'encoder.safetensors'}")
    evaluated = shlex.join([*map(str, folders), *plugin_words(is_program=is_program)])
    print(f"next:    python -m sparse_repr.evaluate {evaluated}")
    print(f"watch:   tensorboard --logdir {shlex.quote(str(folders[0] if len(folders) == 1 else folders[0].parent))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
