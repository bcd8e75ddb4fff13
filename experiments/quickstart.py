"""`python -m experiments.quickstart`: pixels to a trained agent. Pretrain, evaluate, train PPO on the codes, report."""

from __future__ import annotations

import dataclasses
import platform
import sys
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecMonitor
from tqdm import tqdm

import envs
from experiments.film.for_explorer import record_agent_film
from experiments.film.recording import KeepFrames, film_agent
from experiments.film.views import see_codes
from experiments.measure.intervals import wilson_interval
from experiments.measure.judging import judge
from experiments.measure.shape_probe import shape_accuracies
from experiments.pages.report import embed_figure, embed_picture, write_report
from rl import FactorObservation, VecLatentObservation
from sparse_repr import FrozenEncoder, load_encoder, pretrain_encoder
from sparse_repr.command_line.bounds import require_sensible
from sparse_repr.command_line.running import parse_options, run_command
from sparse_repr.devices import cpu_threads
from sparse_repr.encoder.vae import load_vae
from sparse_repr.evaluate.report import summary
from sparse_repr.evaluate.run import EvaluateConfig, evaluate_run
from sparse_repr.explore import write_explorer
from sparse_repr.figures import chart, panels_figure
from sparse_repr.files import write_json
from sparse_repr.pretrain.on_the_way import as_one_command
from sparse_repr.pretrain.presets import opened, preset_config

ENVIRONMENT = "SparseRepr/SpriteReach-v0"
EPISODES = 200
RECODE = "expand"
"""What the agent sees of a code: a dense one hides more from its small layers."""
CODE = "sparse code"
"""The arm that sees codes."""
FILM, ASKED, EXPLORER = "agent.gif", "agent_film.safetensors", "explorer.html"
"""Files beside the report: the film that it shows, the one that the explorer asks, and the explorer."""
_EVALUATION_SEED = 10_000
_FILM_SEED = 20_000
_FILM_STEPS = 120
# The same for every arm; net_arch is explicit because SB3's default differs between extractors.
PPO_SETTINGS: dict[str, Any] = {"n_steps": 256, "batch_size": 256, "policy_kwargs": {"net_arch": [64, 64]}}


@dataclasses.dataclass(frozen=True)
class QuickstartConfig:
    """How long each part runs; the defaults take three to eight minutes on two cores."""

    out: str = "runs/quickstart"
    """Folder for everything; an earlier run there with the same settings is continued."""
    pretrain_steps: int = 4_000
    """Optimisation steps of the sparse VAE, 64 images each, at least 7."""
    sample: int = 50_000
    """Images on which the code is scored."""
    image_items: int = 10_000
    """Images on which reconstructions are scored."""
    agent_steps: int = 65_536
    """Environment steps of each agent."""
    environments: int = 8
    """Environments stepped together."""
    episodes: int = EPISODES
    """Episodes on which each agent is judged."""
    seed: int = 0
    """Seed of everything."""
    threads: int | None = None
    """CPU threads; by default torch's choice."""
    progress: bool = True
    """Show progress bars."""

    def __post_init__(self) -> None:
        require_sensible(self)


@dataclasses.dataclass(frozen=True)
class Arm:
    """One row of the comparison: what the agent observes."""

    name: str
    description: str
    make: Callable[[int], VecEnv]
    """Number of environments -> vectorised environment."""
    learns: bool = True


def comparison_arms(encoder: FrozenEncoder) -> list[Arm]:
    """The arms, best informed first."""

    def factors(*names: str) -> Callable[[int], VecEnv]:
        one_hot = {"shape": 3} if "shape" in names else {}
        return lambda count: DummyVecEnv(
            [lambda: FactorObservation(gym.make(ENVIRONMENT), names, one_hot=one_hot)] * count
        )

    def latent(count: int) -> VecEnv:
        frames = DummyVecEnv([lambda: KeepFrames(gym.make(ENVIRONMENT))] * count)
        return VecLatentObservation(frames, encoder, recode=RECODE)

    return [
        Arm("ground truth", "PPO on the true shape and position", factors("shape", "position_x", "position_y")),
        Arm(CODE, "PPO on the expanded codes of the frozen encoder", latent),
        Arm("shape-blind", "PPO on the true position only", factors("position_x", "position_y")),
        Arm("random", "uniformly random actions", factors("position_x", "position_y"), learns=False),
    ]


class _Curve(BaseCallback):
    """Success rate of the last 100 training episodes, and a progress bar."""

    def __init__(self, total: int, label: str, progress: bool) -> None:
        super().__init__()
        self.points: list[tuple[int, float]] = []
        self._recent: list[bool] = []
        self._bar = tqdm(total=total, desc=label, unit="step", disable=not progress)

    def _on_step(self) -> bool:
        self._recent += [info["is_success"] for info in self.locals["infos"] if "episode" in info]
        self._recent = self._recent[-100:]
        self._bar.update(self.num_timesteps - self._bar.n)
        return True

    def _on_rollout_end(self) -> None:
        if self._recent:
            self.points.append((self.num_timesteps, float(np.mean(self._recent))))
            self._bar.set_postfix({"success": f"{self.points[-1][1]:.2f}"}, refresh=False)

    def _on_training_end(self) -> None:
        self._bar.close()


def run_arm(arm: Arm, config: QuickstartConfig, film: Callable[[PPO], None] | None = None) -> dict[str, Any]:
    """Train one arm's agent and judge it.

    Args:
        arm: what it observes.
        config: how long.
        film: what to do with the trained agent.
    """
    started = time.perf_counter()
    venv = VecMonitor(arm.make(config.environments))
    curve: list[tuple[int, float]] = []
    if arm.learns:
        model = PPO("MlpPolicy", venv, seed=config.seed, device="cpu", **PPO_SETTINGS)
        callback = _Curve(config.agent_steps, arm.name, config.progress)
        model.learn(config.agent_steps, callback=callback)
        curve = callback.points
        if film is not None:
            film(model)

        def act(observations: Any) -> Any:
            return model.predict(observations, deterministic=True)[0]
    else:
        space = venv.action_space
        space.seed(config.seed)

        def act(observations: Any) -> Any:
            return np.stack([space.sample() for _ in observations])

    judged_env = VecMonitor(arm.make(config.environments))
    episodes = judge(judged_env, config.episodes, act, seed=_EVALUATION_SEED)
    venv.close()
    judged_env.close()
    successes = sum(bool(episode["success"]) for episode in episodes)
    low, high = wilson_interval(successes, len(episodes))
    return {
        "name": arm.name,
        "description": arm.description,
        "successes": successes,
        "episodes": len(episodes),
        "success_rate": successes / len(episodes),
        "interval_95": [low, high],
        "mean_return": float(np.mean([episode["return"] for episode in episodes])),
        "mean_steps": float(np.mean([episode["steps"] for episode in episodes])),
        "training_steps": config.agent_steps if arm.learns else 0,
        "curve": curve,
        "seconds": time.perf_counter() - started,
    }


def _film(encoder: FrozenEncoder, run: Path, out: Path) -> Callable[[PPO], None]:
    """What films an agent on the codes of a run: for the report, and for the explorer, which can ask it."""

    def film(model: PPO) -> None:
        venv = model.get_env()
        assert venv is not None  # it has just learned in one
        film_agent(
            venv,
            lambda shown: model.predict(shown, deterministic=True)[0],
            out / FILM,
            see=see_codes(encoder, load_vae(run)[0], recode=RECODE),
            caption="PPO on the code",
            steps=_FILM_STEPS,
            fps=12,
            seed=_FILM_SEED,
        )
        record_agent_film(model, out / ASKED, caption="PPO on the code", steps=_FILM_STEPS, seed=_FILM_SEED)

    return film


def verdict(arms: list[dict[str, Any]], accuracy: dict[str, float]) -> str:
    """What the comparison shows, in plain words."""
    rows = {arm["name"]: arm for arm in arms}
    code, blind = rows[CODE], rows["shape-blind"]
    rate = f"{100 * code['success_rate']:.0f} %"
    one, mixed = (f"{100 * accuracy[name]:.0f} %" for name in ("one_size", "all_sizes"))
    if code["interval_95"][0] > blind["interval_95"][1]:
        words = (
            f"The code is enough for the task: the agent on codes succeeds in {rate} of the episodes. A probe reads "
            f"the shape from the code of a full-size sprite with {one} accuracy (chance: 33 %)"
        )
        if accuracy["all_sizes"] < 0.8:
            words += (
                f", but with all sizes mixed only with {mixed}: what this short pretraining has learned of the shape "
                "is mostly its area. The README shows the longer run that learns more of it"
            )
        return words + "."
    if accuracy["one_size"] < 0.6:
        return (
            f"So short a pretraining does not encode the shape: a probe reads it from the code with {one} accuracy "
            f"(chance: 33 %), and the agent on codes succeeds in {rate} of the episodes, no better than one that "
            "cannot see shapes. The README shows the longer run that does."
        )
    return (
        f"The code carries the shape (a probe reads it with {one} accuracy), but the agent on codes succeeds in only "
        f"{rate} of the episodes: it needs more training steps (--agent-steps)."
    )


@chart
def _curves_figure(arms: list[dict[str, Any]]) -> Any:
    figure, ((axes,),) = panels_figure(1, 1, 6.5, 3.8)
    for arm in arms:
        if arm["curve"]:
            steps, rates = zip(*arm["curve"], strict=True)
            axes.plot(steps, rates, label=arm["name"])
        else:
            axes.axhline(arm["success_rate"], color="grey", linestyle=":", label=arm["name"])
    axes.axhline(1 / 3, color="grey", linestyle="--", linewidth=0.8, label="best without shape")
    axes.set_xlabel("environment steps")
    axes.set_ylabel("success, last 100 training episodes")
    axes.set_ylim(-0.02, 1.02)
    axes.legend(loc="center right")
    return figure


def run_quickstart(config: QuickstartConfig) -> Path:
    """Run everything and write `report.html`, `explorer.html` and `results.json`; returns the report's path."""
    out = Path(config.out)
    started = time.perf_counter()
    with cpu_threads(config.threads):
        run = out / "sparse"
        settings = preset_config(
            "dsprites/sparse/opened",
            **opened("sparse", config.pretrain_steps),
            run_dir=str(run),
            seed=config.seed,
            threads=config.threads,
            resume=(run / "config.json").is_file(),
            progress=config.progress,
            picture_every=1_000,
        )
        with as_one_command():
            pretrained = pretrain_encoder(settings)
        pretrain_seconds = time.perf_counter() - started
        chosen = "mig,aam,mig_histogram"  # the others take longer than this demonstration can wait
        scores = evaluate_run(
            EvaluateConfig(
                run=str(pretrained),
                sample=config.sample,
                metrics=chosen,
                image_items=config.image_items,
                progress=config.progress,
            )
        )
        encoder = load_encoder(pretrained)
        accuracy = shape_accuracies(encoder, seed=config.seed)
        film = _film(encoder, pretrained, out)
        arms = [run_arm(arm, config, film if arm.name == CODE else None) for arm in comparison_arms(encoder)]
    results = {
        "settings": dataclasses.asdict(config),
        "environment": ENVIRONMENT,
        "max_steps": envs.MAX_STEPS,
        "agents": arms,
        "shape_accuracy": accuracy,
        "verdict": verdict(arms, accuracy),
        "seconds": {"pretrain": pretrain_seconds, "all": time.perf_counter() - started},
        "machine": {
            "cores": config.threads or torch.get_num_threads(),
            "torch": torch.__version__,
            "python": platform.python_version(),
            "date": date.today().isoformat(),
        },
    }
    write_json(out / "results.json", results)
    write_explorer([pretrained], out / EXPLORER, film=out / ASKED)
    pictures = {path.stem: embed_picture(path) for path in sorted((pretrained / "figures").glob("*.png"))}
    write_report(
        out / "report.html",
        "quickstart.html",
        {
            **results,
            "scores": scores,
            "film": embed_picture(out / FILM),
            "explorer": EXPLORER,
            "pictures": pictures,
            "curves": embed_figure(_curves_figure(arms)),
        },
    )
    print(summary(scores))
    for arm in arms:
        low, high = arm["interval_95"]
        print(
            f"{arm['name']:13s} success {100 * arm['success_rate']:5.1f} %  (95 %: {100 * low:.0f}..{100 * high:.0f})"
        )
    print(results["verdict"])
    print(f"explorer: {(out / EXPLORER).resolve()}")
    return out / "report.html"


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    return run_command(lambda: _as_asked(arguments))


def _as_asked(arguments: list[str] | None) -> None:
    config = parse_options(QuickstartConfig, arguments, program="python -m experiments.quickstart", description=__doc__)
    print(f"report: {run_quickstart(config).resolve()}")


if __name__ == "__main__":
    sys.exit(main())
