"""What a training step costs: ours against the usual PyTorch pattern and pythae, in one run and taking turns.

Every arm lives in a process of its own, so that none inherits another's allocator or threads; the processes wait while
one of them trains an epoch.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile, record_function
from torch.utils.flop_counter import FlopCounterMode

from experiments.benchmark.training_arms import (
    ARMS,
    BATCH,
    CODE_SIZE,
    LEARNING_RATE,
    MISSING_PEER,
    Arm,
    UsualVAE,
    drain,
    has_pythae,
    usual_loss,
)
from experiments.measure.machine import peak_memory_mb
from experiments.measure.side_by_side import seconds_of, summary
from sparse_repr.command_line.running import run_command
from sparse_repr.devices import cpu_threads, resolve_precision

_STEPS = 30
_ROUNDS = 5
_WARM_UP_STEPS = 5
_PROFILED_STEPS = 10
_DRAWING_ROUNDS = 5

# Group -> beginnings of the names of torch's operators and of their backward nodes, first match first.
_GROUPS: dict[str, tuple[str, ...]] = {
    "data": ("data",),
    "optimiser": ("Optimizer.",),
    "convolution_backward": ("ConvolutionBackward", "_TransposedConvolutionBackward"),
    "convolution_forward": ("aten::conv", "_TransposedConvolution"),
    "dense": ("aten::linear", "aten::addmm", "aten::mm", "AddmmBackward", "MmBackward", "TBackward"),
    "activations": ("aten::relu", "ReluBackward"),
    "loss": (
        "_BernoulliOnCPU",
        "aten::binary_cross_entropy",
        "BinaryCrossEntropy",
        "aten::exp",
        "ExpBackward",
        "aten::sum",
        "SumBackward",
        "MeanBackward",
        "aten::mean",
    ),
}
_BACKWARD_NODE = "autograd::engine::evaluate_function: "


def step_flops() -> int:
    """Operations of a step's forward and backward pass, batch 64, by torch's own layers; a product and a sum are 2."""
    network = UsualVAE()
    images = torch.rand(BATCH, 1, 64, 64)
    with FlopCounterMode(display=False) as counter:
        usual_loss(network, images)[0].backward()
    return counter.get_total_flops()


def matrix_product_ceiling(repeats: int = 7) -> dict[str, dict[str, float]]:
    """Best operations per second of a product of two square matrices, by dtype and by size."""
    ceilings: dict[str, dict[str, float]] = {}
    for dtype in (torch.float32, torch.bfloat16):
        works: dict[str, Callable[[], Any]] = {}
        for size in (1024, 2048):
            matrix = torch.randn((size, size), generator=torch.Generator().manual_seed(0)).to(dtype)
            works[str(size)] = functools.partial(torch.mm, matrix, matrix)
        ceilings[str(dtype).removeprefix("torch.")] = {
            size: 2 * int(size) ** 3 / seconds["least"] for size, seconds in seconds_of(works, repeats=repeats).items()
        }
    return ceilings


def group_of(names: Iterable[str]) -> str | None:
    """The group of an operator by its name and those of the ones it ran in, innermost first; the outermost counts."""
    found = None
    for name in names:
        for group, beginnings in _GROUPS.items():
            if name.removeprefix(_BACKWARD_NODE).startswith(beginnings):
                found = group
                break
    return found


def _names(event: Any) -> Iterator[str]:
    while event is not None:
        yield event.name
        event = event.cpu_parent


def profile_shares(arm: Arm, steps: int) -> dict[str, float]:
    """Where the time of a step goes: group -> share of the whole, over `steps` steps under torch's profiler.

    Casts count where they are needed. What no group accounts for is Python, the memory of gradients and small sums.
    """
    totals: dict[str, float] = defaultdict(float)
    batches = arm.batches()
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        started = time.perf_counter()
        for _ in range(steps):
            with record_function("data"):
                batch = next(batches)
            arm.step(batch)
        whole = (time.perf_counter() - started) * 1e6
    for event in profiler.events() or ():
        group = group_of(_names(event))
        if group is not None:
            totals[group] += event.self_cpu_time_total
    shares = {group: totals[group] / whole for group in _GROUPS}
    return {**shares, "python_and_other": 1 - sum(shares.values())}


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    started = time.perf_counter()
    result = work()
    return time.perf_counter() - started, result


def serve(name: str, threads: int, steps: int) -> None:
    """Be one arm: read a word per line from standard input, do that, and answer with a line of JSON."""
    # whatever a library prints must not stand between the answers
    answers, sys.stdout = sys.stdout, sys.stderr
    torch.set_num_threads(threads)
    arm = ARMS[name](steps)
    batches = arm.batches()
    for _ in range(min(_WARM_UP_STEPS, steps)):
        arm.step(next(batches))
    drain(batches)
    words: dict[str, Callable[[], dict[str, Any]]] = {
        "epoch": lambda: dict(zip(("seconds", "loss"), _timed(arm.epoch), strict=True)),
        "draw": lambda: {"seconds": _timed(lambda: drain(arm.batches()))[0]},
        "profile": lambda: profile_shares(arm, min(_PROFILED_STEPS, steps)),
        "memory": lambda: {"peak_gb": peak_memory_mb() / 1e3},
    }
    print("{}", file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(words[line.strip()]()), file=answers, flush=True)


class ArmProcess:
    """An arm in a process of its own."""

    def __init__(self, name: str, threads: int, steps: int) -> None:
        self._name = name
        # a file, not a pipe: nobody reads it while the arm trains
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 (closed in `close`)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "experiments.benchmark.training", name, str(threads), str(steps)],
            env={**os.environ, "OMP_NUM_THREADS": str(threads)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )

    def answer(self) -> dict[str, Any]:
        """The next answer; the first says that the arm is ready."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._errors.seek(0)
            raise OSError(f"the process of the arm {self._name!r} ended:\n{self._errors.read()[-2000:]}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def ask(self, word: str) -> dict[str, Any]:
        """What the arm answers to a word of `serve`."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word}\n")
        self._process.stdin.flush()
        return self.answer()

    def close(self) -> None:
        """Let the process end by itself; it does when nothing more can be asked."""
        self._process.communicate()
        self._errors.close()


def measure_arms(
    names: Sequence[str],
    threads: int,
    *,
    steps: int = _STEPS,
    rounds: int = _ROUNDS,
    start: Callable[[str, int, int], ArmProcess] = ArmProcess,
) -> dict[str, Any]:
    """Train epochs of `steps` steps in turn, `rounds` times, each arm with `threads` threads.

    `start` starts an arm by its name, threads and steps.

    Returns:
        By arm: images per second, seconds of a step, share of the drawing of data in it, peak memory in GB, the mean
        loss of the first and the last epoch, and (ours and usual) the profile.

    Raises:
        OSError: an arm's process ended.
        ValueError: an arm did not learn.
    """
    with contextlib.ExitStack() as stack:
        processes = {}
        for name in names:
            processes[name] = start(name, threads, steps)
            stack.callback(processes[name].close)
            # one after another: while one imports, no other does
            processes[name].answer()
        epochs: dict[str, list[dict[str, float]]] = {name: [] for name in names}
        for turn in range(rounds):
            for name in names:
                epochs[name].append(processes[name].ask("epoch"))
            print(f"{threads} threads: round {turn + 1} of {rounds}", file=sys.stderr, flush=True)
        results: dict[str, Any] = {}
        for name in names:
            seconds = [epoch["seconds"] / steps for epoch in epochs[name]]
            losses = [epoch["loss"] for epoch in epochs[name]]
            if not losses[-1] < losses[0]:
                raise ValueError(f"the arm {name!r} did not learn: nats per image by epoch {losses}")
            drawing = summary([processes[name].ask("draw")["seconds"] / steps for _ in range(_DRAWING_ROUNDS)])
            results[name] = {
                "images_per_s": summary([BATCH / second for second in seconds]),
                "step_s": summary(seconds),
                "drawing_s": drawing,
                "drawing_share_of_step": drawing["median"] / summary(seconds)["median"],
                "nats_per_image_first_and_last_epoch": [losses[0], losses[-1]],
                "peak_memory_gb": processes[name].ask("memory")["peak_gb"],
            }
            if name in ("ours", "usual"):
                results[name]["profile"] = processes[name].ask("profile")
    return results


def ratios(results: Mapping[str, Any]) -> dict[str, float]:
    """How many times faster ours is, by the medians; the usual pattern counts with the better number of workers."""
    speed = {name: result["images_per_s"]["median"] for name, result in results.items()}
    others = {"usual_pattern": max(speed["usual"], speed["usual_2_workers"])}
    if "pythae" in speed:
        others["pythae"] = speed["pythae"]
    return {
        f"{ours}_over_{other}": speed[ours] / value
        for other, value in others.items()
        for ours in ("ours", "ours_float32")
        if ours in speed
    }


def measure_training(
    *, steps: int = _STEPS, rounds: int = _ROUNDS, start: Callable[[str, int, int], ArmProcess] = ArmProcess
) -> dict[str, Any]:
    """Every figure on training, with one thread and with one per core; `start` as in `measure_arms`."""
    names = [name for name in ARMS if name != "pythae" or has_pythae()]
    precision = resolve_precision("auto", torch.device("cpu"))
    if precision == "float32":
        names.remove("ours_float32")  # it is ours
    flops = step_flops()
    results: dict[str, Any] = {
        "settings": {
            "data": "dsprites",
            "network": "burgess",
            "objective": "vae",
            "code_size": CODE_SIZE,
            "batch": BATCH,
            "learning_rate": LEARNING_RATE,
            "steps_per_epoch": steps,
            "epochs": rounds,
            "precision_of_ours": precision,
        },
        "flops_per_step": flops,
    }
    if not has_pythae():
        results["left_out"] = MISSING_PEER
        print(MISSING_PEER, file=sys.stderr)
    for threads in sorted({1, os.cpu_count() or 1}):
        with cpu_threads(threads):
            ceiling = matrix_product_ceiling()
        arms = measure_arms(names, threads, steps=steps, rounds=rounds, start=start)
        for name, result in arms.items():
            dtype = {"ours": precision, "ours_float32": "float32"}.get(name, "float32").replace("bf16", "bfloat16")
            result["flops_per_s"] = flops / result["step_s"]["median"]
            result["share_of_ceiling"] = result["flops_per_s"] / max(ceiling[dtype].values())
        results[f"threads_{threads}"] = {
            "ceiling_flops_per_s": ceiling,
            "arms": arms,
            "times_faster": ratios(arms),
        }
    return results


if __name__ == "__main__":
    sys.exit(run_command(lambda: serve(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
