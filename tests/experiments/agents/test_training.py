"""The agents of the study: what each arm observes and learns, and that nothing is computed twice."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env import VecTransposeImage

from experiments.agents import encoders as agent_encoders
from experiments.agents import training as agent_training
from experiments.agents.arms import ARMS, CROPPED, FOREIGN, UNTRAINED
from experiments.agents.cells import AgentCell, agent_cell, agent_cells, encoder_cell, encoder_cells
from experiments.agents.encoders import ENCODER_CELLS, complete_encoders
from experiments.agents.ends import ENDS, counted, play_again
from experiments.agents.films import film_of
from experiments.agents.frames import record_frames
from experiments.agents.learning import UPDATES, FirstLayer, LearningCurve, UpdateSizes
from experiments.agents.part_of_frames import PartOfFrames
from experiments.agents.results import OUTCOMES
from experiments.agents.scales import AGENT_SCALES, AgentScale, Algorithm
from experiments.agents.tasks import TASKS
from experiments.agents.training import AGENT_CELLS, complete_agents, load_trained, make_agent, make_environments
from experiments.measure.foreign_networks import FOREIGN as MADE
from experiments.measure.side_by_side import seconds_of_all_steps
from experiments.study.procedure import check_cells
from rl import LatentExtractor, VecLatentObservation
from rl.dictionaries import load_dictionary
from sparse_repr import FrozenEncoder, load_encoder, pretrain_encoder
from sparse_repr.data.crop import Crop, parse_crop
from sparse_repr.pretrain.presets import KEYPOINT_RECIPES
from tests.conftest import SHORT

PPO_SETTINGS = {"n_steps": 16, "batch_size": 32, "n_epochs": 1}
SAC_SETTINGS = {"buffer_size": 200, "learning_starts": 20, "train_freq": 1, "gradient_steps": 1}
TINY = dataclasses.replace(
    AGENT_SCALES["smoke"],
    seeds=1,
    algorithms={
        "ppo": Algorithm(64, 2, PPO_SETTINGS, ("random_policy", "factors", "vae"), ("SpriteReach",)),
        "sac": Algorithm(40, 2, SAC_SETTINGS, ("factors",), ("SpriteReach",)),
    },
    pretraining_steps={"SpriteReach": 2, "SpriteChase": 2},
    pretraining={"batch_size": 8, "learning_rate": 1e-3, "precision": "float32"},
    keypoints={"steps": 2, "batch_size": 8, "learning_rate_warmup": 1},
    metrics="mig_histogram",
    image_items=16,
    frames={"train": 120, "test": 80},
    episodes=2,
)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with frames of both tasks, and an encoder that is trained and one that is not; do not write into it."""
    out = tmp_path_factory.mktemp("agents")
    record_frames(TINY, ["SpriteReach", "SpriteChase"], out, progress=False)
    for task in ("SpriteReach", "SpriteChase"):
        complete_encoders([encoder_cell(TINY, task, name, 0, out) for name in ("vae", UNTRAINED)], lambda _: None)
    return out


def cell_of(out: Path, arm: str, *, task: str = "SpriteReach", algorithm: str = "ppo", into: Path) -> AgentCell:
    """A cell whose encoder is in `out` and whose own folder is in `into`."""
    cell = agent_cell(TINY, task, arm, algorithm, 0, out)
    return dataclasses.replace(cell, folder=into / cell.name)


def record_of(cell: AgentCell) -> dict[str, Any]:
    return dict(json.loads((cell.folder / agent_training.RECORD).read_text()))


def test_the_study_at_cpu_scale_has_five_seeds_of_every_arm_on_both_tasks(tmp_path: Path) -> None:
    scale = AGENT_SCALES["cpu"]
    cells = agent_cells(scale, tmp_path)
    ppo = [cell for cell in cells if cell.algorithm_name == "ppo"]
    # random policy, factors, pixels, six frozen encoders and two that are fine-tuned, on two tasks
    assert len(ppo) == 2 * 11 * 5
    assert len(cells) - len(ppo) == 5 * 5
    assert [cell.seed for cell in cells] == sorted(cell.seed for cell in cells)
    assert {cell.algorithm.steps for cell in ppo} == {102_400}
    # five trained encoders and an untrained one for every seed and task, shared by frozen and fine-tuned agents
    encoders = encoder_cells(scale, cells, tmp_path)
    assert len(encoders) == 2 * 6 * 5
    trained = [cell.training for cell in encoders if cell.training is not None]
    assert len({training.run_dir for training in trained}) == 2 * 5 * 5
    assert {training.steps for training in trained} == {3_000, 6_000}
    assert {(training.dataset, training.initialisation) for training in trained} == {("h5", "he")}
    assert {cell.encoder_folder for cell in cells} - {None} == {cell.folder for cell in encoders}


@pytest.mark.parametrize("scale", AGENT_SCALES.values())
def test_every_scale_knows_how_long_to_pretrain_for_every_task(scale: AgentScale) -> None:
    assert set(scale.pretraining_steps) == set(TASKS)


@pytest.mark.parametrize("name", TASKS)
def test_tasks_name_factors_of_their_environments(name: str) -> None:
    task = TASKS[name]
    env = gym.make(task.environment, **task.arguments("source"))
    names = set(env.get_wrapper_attr("factor_names"))
    env.close()
    asked = {*task.one_hot, *task.classes, *(factor for pair in task.positions.values() for factor in pair)}
    assert asked <= names
    if task.decided_by is not None:
        factor, kinds = task.decided_by
        assert len(kinds) == task.one_hot[factor]
    # fewer units than factors could not hold them all
    assert task.code_size >= len(names)


@pytest.mark.parametrize("scale", AGENT_SCALES.values())
def test_episodes_are_shared_equally_by_the_environments_they_are_played_in(scale: AgentScale) -> None:
    assert scale.episodes % min(agent_training.JUDGED_TOGETHER, scale.episodes) == 0


@pytest.mark.parametrize("name", ["pixels", "factors", "vae", "untrained", "vae_tuned"])
@pytest.mark.parametrize("task", ["SpriteReach", "SpriteChase"])
def test_every_arm_has_the_same_heads_on_what_it_observes(study: Path, tmp_path: Path, name: str, task: str) -> None:
    cell = cell_of(study, name, task=task, into=tmp_path)
    venv = make_environments(cell, "source", 2, 0)
    agent = make_agent(cell, venv)
    widths = {
        "pixels": 512,
        "factors": 7 if task == "SpriteReach" else 10 + 4 * 4,
        "vae": TASKS[task].code_size,
    }
    width = widths.get(name, TASKS[task].code_size)
    for part in (agent.policy.mlp_extractor.policy_net, agent.policy.mlp_extractor.value_net):
        layers = [layer for layer in part if isinstance(layer, torch.nn.Linear)]
        assert [(layer.in_features, layer.out_features) for layer in layers] == [(width, 64), (64, 64)]
        assert all(isinstance(layer, torch.nn.Tanh) for layer in part if not isinstance(layer, torch.nn.Linear))
    wrapped = agent.get_env()
    assert isinstance(wrapped, VecLatentObservation) == ARMS[name].frozen
    assert isinstance(wrapped, VecTransposeImage) == (name in ("pixels", "vae_tuned"))
    extractor = agent.policy.features_extractor
    assert isinstance(extractor, LatentExtractor) == (name == "vae_tuned")
    if isinstance(extractor, LatentExtractor):
        assert extractor.trainable_encoder is not None
    venv.close()


def test_a_dictionary_is_fitted_once_to_the_codes_of_the_arm_s_own_encoder(study: Path, tmp_path: Path) -> None:
    shutil.copytree(study / "frames", tmp_path / "frames")
    # `he`, so that units are active from the start: a dictionary needs some
    scale = dataclasses.replace(TINY, pretraining={**TINY.pretraining, "initialisation": "he"})
    cell = agent_cell(scale, "SpriteReach", "vae_dictionary", "ppo", 0, tmp_path)
    complete_encoders(encoder_cells(scale, [cell], tmp_path), lambda _: None)
    folder = tmp_path / "encoders" / "SpriteReach-vae-seed0"
    make_environments(cell, "source", 1, 0).close()
    file = folder / "dictionary.safetensors"
    fitted = file.read_bytes()
    venv = make_environments(cell, "noise", 1, 0)
    assert venv.observation_space.shape == (20 * TASKS["SpriteReach"].code_size,)
    venv.close()
    assert file.read_bytes() == fitted
    assert load_dictionary(file).header["encoder"] == load_encoder(folder).fingerprint
    # an encoder that is no run has one too, as where a budget is measured
    untrained = encoder_cell(scale, "SpriteReach", UNTRAINED, 0, tmp_path)
    complete_encoders([untrained], lambda _: None)
    make_environments(dataclasses.replace(cell, encoder_folder=untrained.folder), "source", 1, 0).close()
    assert (untrained.folder / "dictionary.safetensors").is_file()


@pytest.mark.parametrize(
    ("name", "algorithm"),
    [("random_policy", "ppo"), ("factors", "ppo"), ("vae", "ppo"), ("vae_tuned", "ppo"), ("factors", "sac")],
)
def test_an_agent_learns_and_is_judged_in_every_domain(
    short_episodes: None, study: Path, tmp_path: Path, name: str, algorithm: str
) -> None:
    cell = cell_of(study, name, algorithm=algorithm, into=tmp_path)
    taken: list[int] = []
    assert not AGENT_CELLS.is_finished(cell)
    complete_agents([cell], taken.append)
    assert AGENT_CELLS.is_finished(cell)
    learns = name != "random_policy"
    assert sum(taken) == AGENT_CELLS.steps(cell) == (TINY.algorithms[algorithm].steps if learns else 0)
    found = record_of(cell)
    assert list(found["evaluation"]) == ["source", "held_out", "new_colors", "background", "noise", "camera"]
    for part in found["evaluation"].values():
        assert [len(part[key]) for key in ("returns", "successes", "steps")] == [TINY.episodes] * 3
        assert all(1 <= steps <= SHORT for steps in part["steps"])
    assert (cell.folder / agent_training.AGENT).is_file() == learns
    assert (found["parameters"] > 0) == learns
    assert found["encoder"] == (None if cell.encoder_folder is None else load_encoder(cell.encoder_folder).fingerprint)
    assert f"{cell.name}: return " in AGENT_CELLS.describe(cell)
    # PPO learns once from every rollout
    settings = TINY.algorithms[algorithm]
    updates = 0
    if learns and algorithm == "ppo":
        updates = settings.steps // (settings.environments * settings.settings["n_steps"])
        assert all(0 <= share <= 1 for share in found["updates"]["clip_fraction"])
        assert len(set(found["updates"]["explained_variance"])) > 1
    assert {name: len(values) for name, values in found["updates"].items()} == (
        dict.fromkeys(UPDATES, updates) if updates else {}
    )
    assert set(found["first_layer"]) == ({"input_l1", "moved"} if updates else set())
    assert all(value > 0 for value in found["first_layer"].values())


def test_dqn_learns_tasks_of_discrete_actions_alone(tmp_path: Path) -> None:
    pytest.importorskip("minigrid")
    settings = {"buffer_size": 200, "learning_starts": 20, "train_freq": 1, "gradient_steps": 1}
    scale = dataclasses.replace(
        AGENT_SCALES["public"],
        algorithms={"dqn": Algorithm(40, 2, settings, ("factors",), ("DoorKey",))},
        episodes=2,
    )
    (cell,) = agent_cells(scale, tmp_path, seeds=[0])
    complete_agents([cell], lambda _: None)
    found = record_of(cell)
    assert (found["settings"]["algorithm"], found["settings"]["steps"]) == ("dqn", 40)
    assert found["updates"] == {}
    assert len(found["evaluation"]["source"]["returns"]) == 2
    # a rate is times the default of the algorithm, which is another one here than PPO's
    (faster,) = agent_cells(scale, tmp_path, arms=["factors_rate_10"], seeds=[0])
    venv = make_environments(faster, "source", 2, 0)
    assert make_agent(faster, venv).learning_rate == pytest.approx(10 * 1e-4)
    venv.close()
    (other,) = agent_cells(scale, tmp_path, tasks=["SpriteReach"], seeds=[0])
    with pytest.raises(ValueError, match="dqn takes actions of Discrete, SpriteReach has Box.*take --algorithm ppo"):
        complete_agents([other], lambda _: None)


def test_dqn_learns_from_pixels_where_rewards_are_scaled(tmp_path: Path) -> None:
    pytest.importorskip("vizdoom")
    settings = {"buffer_size": 100, "learning_starts": 8, "train_freq": 1, "gradient_steps": 1, "batch_size": 4}
    scale = dataclasses.replace(
        AGENT_SCALES["public"],
        algorithms={
            "ppo": Algorithm(16, 2, {"n_steps": 4, "batch_size": 4, "n_epochs": 1}, ("pixels",), ("VizDoomBasic",)),
            "dqn": Algorithm(24, 2, settings, ("pixels",), ("VizDoomBasic",)),
        },
        episodes=2,
    )
    for cell in agent_cells(scale, tmp_path, seeds=[0]):
        complete_agents([cell], lambda _: None)
        assert len(record_of(cell)["evaluation"]["source"]["returns"]) == 2
        assert load_trained(cell).observation_space.shape == (3, 64, 64)


def test_an_arm_s_rate_is_times_that_of_the_scale(tmp_path: Path) -> None:
    pytest.importorskip("minigrid")
    for name in ("factors", "factors_rate_3", "factors_rate_10"):
        cell = agent_cell(AGENT_SCALES["public"], "DoorKey", name, "dqn", 0, tmp_path)
        venv = make_environments(cell, "source", 1, 0)
        learned = make_agent(cell, venv).learning_rate
        venv.close()
        assert learned == pytest.approx(6.3e-4 * (cell.arm.rate or 1))
        assert cell.settings()["learning_rate"] == learned
    assert "learning_rate" not in agent_cell(AGENT_SCALES["public"], "DoorKey", name, "ppo", 0, tmp_path).settings()


def test_every_algorithm_has_the_same_random_policy(tmp_path: Path) -> None:
    both = agent_cells(AGENT_SCALES["public"], tmp_path, tasks=["DoorKey"], seeds=[0])
    assert [cell.name for cell in both if cell.arm_name == "random_policy"] == ["DoorKey-random_policy-ppo-seed0"]
    (alone,) = agent_cells(
        AGENT_SCALES["public"], tmp_path, algorithms=["dqn"], tasks=["DoorKey"], arms=["random_policy"], seeds=[0]
    )
    assert alone == both[0]


def test_a_second_run_computes_nothing_and_an_interrupted_one_gives_the_same(
    short_episodes: None, study: Path, tmp_path: Path
) -> None:
    cell = cell_of(study, "factors", into=tmp_path / "once")
    complete_agents([cell], lambda _: None)
    before = record_of(cell)
    complete_agents([cell], lambda _: pytest.fail("trained again"))
    assert check_cells([cell], AGENT_CELLS) == {cell.name: 64}
    other = dataclasses.replace(cell, folder=tmp_path / "again" / cell.name)

    def interrupted(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        complete_agents([other], interrupted)
    assert check_cells([other], AGENT_CELLS) == {cell.name: 0}
    complete_agents([other], lambda _: None)
    after = record_of(other)
    assert (after["curve"], after["evaluation"]) == (before["curve"], before["evaluation"])


def test_other_settings_are_refused(short_episodes: None, study: Path, tmp_path: Path) -> None:
    cell = cell_of(study, "random_policy", into=tmp_path)
    complete_agents([cell], lambda _: None)
    wider = dataclasses.replace(cell, episodes=8)
    expected = r"random_policy-ppo-seed0 was computed with other settings \(episodes: 2 there, 8 asked for\)"
    with pytest.raises(ValueError, match=expected):
        check_cells([wider], AGENT_CELLS)


def test_an_agent_of_another_encoder_is_refused(short_episodes: None, study: Path, tmp_path: Path) -> None:
    shutil.copytree(study / "encoders", tmp_path / "encoders")
    cell = cell_of(study, "vae", into=tmp_path)
    cell = dataclasses.replace(cell, encoder_folder=tmp_path / "encoders" / "SpriteReach-vae-seed0")
    complete_agents([cell], lambda _: None)
    assert check_cells([cell], AGENT_CELLS) == {cell.name: 64}
    shutil.copy(
        study / "encoders" / "SpriteReach-untrained-seed0" / "encoder.safetensors",
        tmp_path / "encoders" / "SpriteReach-vae-seed0",
    )
    learned_on = record_of(cell)["encoder"][:12]
    with pytest.raises(
        ValueError, match=f"learned on the codes of the encoder {learned_on}, but .*: remove the agent's"
    ):
        check_cells([cell], AGENT_CELLS)
    # an encoder whose file is gone says nothing
    (tmp_path / "encoders" / "SpriteReach-vae-seed0" / "encoder.safetensors").unlink()
    assert check_cells([cell], AGENT_CELLS) == {cell.name: 64}


def test_all_arms_play_the_same_episodes(study: Path, tmp_path: Path) -> None:
    starts = []
    for name in ("factors", "vae", "pixels"):
        venv = make_environments(cell_of(study, name, into=tmp_path), "held_out", 3, 7)
        venv.seed(7)
        venv.reset()
        starts.append([env.render() for env in _bare(venv)])
        venv.close()
    assert all(np.array_equal(starts[0], other) for other in starts[1:])


def _bare(venv: Any) -> list[Any]:
    environments = [env.unwrapped for env in venv.unwrapped.envs]
    for env in environments:
        env.render_mode = "rgb_array"
    return environments


def test_the_curve_counts_every_episode_in_its_window() -> None:
    taken: list[int] = []
    times = iter(range(1, 41))
    curve = LearningCurve(80, taken.append, lambda: 10.0 * next(times))
    for step in range(2, 81, 2):
        curve.num_timesteps = step
        info = {"episode": {"r": float(step)}, "is_success": step > 40}
        curve.locals = {"infos": [info, {}] if step % 4 == 0 else [{}, {}]}
        assert curve._on_step()
    # 40 windows of 2 steps: an episode ends in every second one
    assert curve.windows() == [(step, float(step), float(step > 40), 1) for step in range(4, 81, 4)]
    assert sum(taken) == 80
    # the clock is read when a window begins, 10 s after the one before, and at the end
    assert curve.seconds() == [20.0 * (k + 1) for k in range(20)]


def test_what_an_update_logs_is_kept_until_there_is_a_number() -> None:
    updates = UpdateSizes()
    logger = Logger(None, [])
    updates.model = SimpleNamespace(logger=logger)  # type: ignore[assignment]
    updates._on_rollout_start()  # nothing was learned yet
    logger.record("train/approx_kl", 0.0123456)
    logger.record("train/explained_variance", float("nan"))
    updates._on_rollout_start()
    logger.record("train/approx_kl", 0.02)
    updates._on_training_end()
    assert updates.values == {"approx_kl": [0.012346, 0.02], "explained_variance": [None, None]}


def test_the_first_layer_is_compared_on_what_the_untrained_policy_saw() -> None:
    agent = PPO("MlpPolicy", "CartPole-v1", n_steps=8, batch_size=8, seed=0, device="cpu")
    first = FirstLayer()
    first.init_callback(agent)
    seen = np.array([[[1.0, -2.0, 0.5, 0.0]], [[0.0, 1.0, 0.0, -1.0]]], np.float32)  # 2 steps of 1 environment
    buffer = RolloutBuffer(2, agent.observation_space, agent.action_space)
    buffer.observations = seen
    first.locals = {"rollout_buffer": buffer}
    first._on_rollout_end()
    assert first.found == {"input_l1": pytest.approx((3.5 + 2.0) / 2)}
    buffer.observations = 100 * seen  # later rollouts change nothing
    first._on_rollout_end()
    layer = agent.policy.mlp_extractor.policy_net[0]
    before = np.tanh(seen[:, 0] @ layer.weight.detach().numpy().T + layer.bias.detach().numpy())
    with torch.no_grad():
        layer.bias += 0.1
    after = np.tanh(seen[:, 0] @ layer.weight.detach().numpy().T + layer.bias.detach().numpy())
    first._on_training_end()
    expected = np.sqrt(((after - before) ** 2).mean() / ((before - before.mean(0)) ** 2).mean())
    assert first.found["moved"] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("game", ["Pong", "Breakout"])
def test_pictures_of_a_size_that_its_network_has_not_are_shrunk_for_an_untrained_encoder(
    tmp_path: Path, game: str
) -> None:
    pytest.importorskip("ale_py")
    scale = dataclasses.replace(AGENT_SCALES["public"], frames={"train": 40, "test": 20}, metrics="linear_probe")
    record_frames(scale, [game], tmp_path, progress=False)
    cell = encoder_cell(scale, game, UNTRAINED, 0, tmp_path)
    complete_encoders([cell], lambda _: None)
    assert load_encoder(cell.folder).image_shape == (3, 84, 84)


def test_the_penalty_rises_over_all_of_a_short_pretraining(tmp_path: Path) -> None:
    for task, steps in {"DoorKey": 600, "VizDoomBasic": 3_000}.items():
        short = {name: encoder_cell(AGENT_SCALES["public"], task, name, 0, tmp_path) for name in ("vae", "sparse")}
        settings = {name: cell.training for name, cell in short.items() if cell.training is not None}
        assert settings["sparse"].sparsity_warmup == settings["sparse"].steps == steps
        assert settings["vae"].sparsity_warmup is None
    whole = encoder_cell(AGENT_SCALES["cpu"], "SpriteReach", "sparse", 0, tmp_path).training
    assert whole is not None
    assert whole.sparsity_warmup in (None, 0)


@pytest.mark.parametrize("name", KEYPOINT_RECIPES)
def test_keypoints_are_trained_by_their_own_recipe_at_every_scale_but_smoke(name: str, tmp_path: Path) -> None:
    for scale in ("cpu", "gpu"):
        training = encoder_cell(AGENT_SCALES[scale], "SpriteChase", name, 3, tmp_path).training
        assert training is not None
        size = (8, 56) if name.endswith("_looks") else (32, 96)
        assert (training.steps, training.batch_size) == (3_000, 32)
        assert (training.keypoints, training.code_size) == size
        assert (training.learning_rate, training.learning_rate_decay) == (2e-3, "cosine")
        assert (training.initialisation, training.precision) == ("default", "auto")
        assert (training.objective, training.seed) == ("keypoints" if name == "keypoints" else "sparse_keypoints", 3)
        assert bool(training.denoising()) == name.endswith(("_denoised", "_robust"))
        assert training.random_shift == (8 if name.endswith("_robust") else 0)
        # published at the first default of the price
        price = {"keypoints": None, "sparse_keypoints_denoised": 0.07}.get(name, 0.007)
        assert training.objective_weights().get("presence_weight") == pytest.approx(price)
    smoke = encoder_cell(AGENT_SCALES["smoke"], "SpriteChase", name, 0, tmp_path).training
    assert smoke is not None
    assert (smoke.steps, smoke.precision) == (20, "float32")


def test_an_agent_learns_on_recoded_keypoints_and_is_filmed(short_episodes: None, study: Path, tmp_path: Path) -> None:
    made = encoder_cell(TINY, "SpriteReach", "sparse_keypoints", 0, study)
    assert made.training is not None
    training = dataclasses.replace(made.training, run_dir=str(tmp_path / "encoder"))
    made = dataclasses.replace(made, folder=tmp_path / "encoder", training=training)
    complete_encoders([made], lambda _: None)
    found = json.loads((made.folder / agent_encoders.RECORD).read_text())
    assert found["training"]["objective"] == "sparse_keypoints"
    assert set(found["small_objects"]["position_r2"]) == {"sprite"}
    cell = cell_of(study, "sparse_keypoints_expand", into=tmp_path)
    cell = dataclasses.replace(cell, encoder_folder=made.folder)
    complete_agents([cell], lambda _: None)
    assert record_of(cell)["settings"]["recode"] == "expand"
    seen = film_of(cell).seen
    assert seen is not None
    assert (seen.title, seen.values.shape[1]) == ("expand", 20 * 96)
    assert set(seen.values.sum(axis=1)) == {2 * 96}
    assert seen.reconstructions is not None


def test_a_recoded_arm_shows_what_its_name_says(study: Path, tmp_path: Path) -> None:
    plain = cell_of(study, "vae", into=tmp_path)
    assert "recode" not in plain.settings()
    encoder = load_encoder(encoder_cell(TINY, "SpriteReach", UNTRAINED, 0, study).folder)
    folder = encoder_cell(TINY, "SpriteReach", UNTRAINED, 0, study).folder
    mixed = dict.fromkeys(("vae_expand", "vae_cosine", "vae_project", "vae_simplicial"), 200)
    widths = {**mixed, "vae_tiles": 200, "vae_one_hot": 80}
    for arm, width in widths.items():
        cell = dataclasses.replace(cell_of(study, arm, into=tmp_path), encoder_folder=folder)
        venv = make_environments(cell, "source", 2, 0)
        shown = venv.reset()
        assert shown.shape == (2, width)
        assert (set(np.unique(shown)) == {0.0, 1.0}) == (arm in ("vae_expand", "vae_one_hot"))
        venv.close()
    # an encoder without an active unit has nothing to recode
    dead = dataclasses.replace(encoder.spec.units, active=(False,) * 10)
    blind = FrozenEncoder(dataclasses.replace(encoder.spec, units=dead), encoder.network().state_dict())
    cell = cell_of(study, "vae_expand", into=tmp_path)
    assert agent_training.shown_of(cell, encoder) == {"recode": "expand"}
    assert agent_training.shown_of(cell, blind) == {"code_scaling": "none"}


def test_an_encoder_is_scored_on_frames_it_has_not_seen(study: Path) -> None:
    for task in ("SpriteReach", "SpriteChase"):
        for name in ("vae", UNTRAINED):
            cell = encoder_cell(TINY, task, name, 0, study)
            found = json.loads((cell.folder / agent_encoders.RECORD).read_text())
            assert found["frames"] == {"train": 120, "test": 80}
            assert set(found["small_objects"]["position_r2"]) == set(TASKS[task].positions)
            assert ("psnr_db" in found["scores"]) == (name == "vae")
            assert 0 <= found["scores"]["mig_histogram"] <= 1
            assert f"{cell.name}: " in ENCODER_CELLS.describe(cell)
            assert check_cells([cell], ENCODER_CELLS) == {cell.name: 2 if name == "vae" else 0}
            if cell.training is not None:
                longer = dataclasses.replace(cell, training=dataclasses.replace(cell.training, code_size=4))
                with pytest.raises(ValueError, match="was computed with other settings .*code_size"):
                    check_cells([longer], ENCODER_CELLS)


def test_the_time_of_an_interrupted_encoder_is_that_of_all_its_steps(study: Path, tmp_path: Path) -> None:
    assert seconds_of_all_steps(2.5, steps=4, begun=3) == 10  # one of four steps took 2.5 seconds
    assert seconds_of_all_steps(2.5, steps=4, begun=4) is None
    assert seconds_of_all_steps(2.5, steps=0, begun=0) == 2.5
    cell = encoder_cell(TINY, "SpriteReach", "beta_vae", 0, study)
    assert cell.training is not None
    folder = tmp_path / "beta"
    training = dataclasses.replace(cell.training, steps=4, run_dir=str(folder))
    cell = dataclasses.replace(cell, training=training, folder=folder)
    pretrain_encoder(training)
    complete_encoders([cell], lambda _: pytest.fail("trained again"))
    seconds = json.loads((folder / agent_encoders.RECORD).read_text())["seconds"]
    assert seconds["training"] is None
    assert seconds["evaluation"] > 0


def test_an_untrained_encoder_shows_every_unit_that_varies(study: Path) -> None:
    encoder = load_encoder(encoder_cell(TINY, "SpriteChase", UNTRAINED, 0, study).folder)
    assert all(encoder.spec.units.active)
    assert agent_training.scaling_of(encoder) == "standardize"


def test_an_agent_learns_on_a_network_of_others(study: Path, tmp_path: Path) -> None:
    task = "SpriteChase"
    cell = encoder_cell(TINY, task, "random_vit", 3, study)
    cell = dataclasses.replace(cell, folder=tmp_path / cell.name)
    assert (cell.training, cell.steps) == (None, 0)
    complete_encoders([cell], lambda _: pytest.fail("nothing is trained"))
    assert check_cells([cell], ENCODER_CELLS) == {cell.name: 0}
    encoder = load_encoder(cell.folder)
    assert encoder.code_size == TASKS[task].code_size
    assert encoder.spec.objective["seed"] == 3
    scores = json.loads((cell.folder / agent_encoders.RECORD).read_text())["scores"]
    assert scores["active_units"] <= encoder.code_size
    assert scores["kl_nats"] == 0  # a point has no prior
    assert "mig_histogram" in scores
    agent = dataclasses.replace(cell_of(study, "random_vit", task=task, into=tmp_path), encoder_folder=cell.folder)
    complete_agents([agent], lambda _: None)
    assert record_of(agent)["encoder"] == encoder.fingerprint
    assert AGENT_CELLS.is_finished(agent)


def test_networks_of_others_are_asked_for_by_name_and_trained_nowhere(tmp_path: Path) -> None:
    for scale in AGENT_SCALES.values():
        for algorithm in scale.algorithms.values():
            assert not {ARMS[arm].encoder for arm in algorithm.arms} & set(FOREIGN)
        assert encoder_cell(scale, "SpriteChase", "vgg16_features", 0, tmp_path).training is None
    assert set(FOREIGN) == set(MADE)


def test_an_untrained_encoder_is_where_the_others_start(study: Path, tmp_path: Path) -> None:
    scale = dataclasses.replace(TINY, pretraining={**TINY.pretraining, "initialisation": "he"})
    cell = encoder_cell(scale, "SpriteReach", UNTRAINED, 0, study)
    cell = dataclasses.replace(cell, folder=tmp_path / cell.name)
    complete_encoders([cell], lambda _: None)
    assert load_encoder(cell.folder).spec.objective["initialisation"] == "he"


def test_frames_that_are_there_are_kept(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("experiments.agents.frames.record", lambda *_: pytest.fail("recorded again"))
    record_frames(TINY, ["SpriteReach"], study, progress=False)
    fewer = dataclasses.replace(TINY, frames={"train": 100, "test": 80})
    with pytest.raises(ValueError, match=r"SpriteReach-train\.h5 holds 120 frames, expected 100"):
        record_frames(fewer, ["SpriteReach"], study, progress=False)


def test_unknown_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"unknown arm 'beta_vea'\. Did you mean 'beta_vae'"):
        agent_cell(TINY, "SpriteReach", "beta_vea", "ppo", 0, tmp_path)
    with pytest.raises(ValueError, match="unknown task 'SpriteReech'"):
        encoder_cell(TINY, "SpriteReech", "vae", 0, tmp_path)
    with pytest.raises(ValueError, match="unknown algorithm of this scale 'dqn'"):
        agent_cell(TINY, "SpriteReach", "vae", "dqn", 0, tmp_path)


def test_episodes_are_counted_by_how_they_end() -> None:
    episodes = [
        {"success": 1.0, "truncated": 0.0},
        {"success": 1.0, "truncated": 1.0},  # in the last step allowed
        {"success": 0.0, "truncated": 1.0},
        {"success": 0.0, "truncated": 0.0},
        {"success": 0.0, "truncated": 0.0},
    ]
    assert counted(episodes) == {"success": 2, "failure": 2, "time limit": 1}


@pytest.mark.parametrize("task", ["SpriteReach", "SpriteChase"])
def test_finished_agents_are_played_again_once(
    short_episodes: None, study: Path, tmp_path: Path, task: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = [cell_of(study, arm, task=task, into=tmp_path) for arm in ("random_policy", "factors", "vae")]
    complete_agents(cells[::2], lambda _: None)
    assert play_again(cells, progress=False) == 2
    assert not (cells[1].folder / ENDS).exists()
    for cell in cells[::2]:
        content = json.loads((cell.folder / ENDS).read_text())
        kinds = ["square", "ellipse", "heart"] if task == "SpriteReach" else ["all"]
        assert list(content["kinds"]) == kinds
        assert all(tuple(counts) == OUTCOMES for counts in content["kinds"].values())
        assert sum(sum(counts.values()) for counts in content["kinds"].values()) == TINY.episodes
        assert content["settings"] == record_of(cell)["settings"]
    with monkeypatch.context() as patch:
        patch.setattr("experiments.agents.ends.judge", lambda *_, **__: pytest.fail("played again"))
        assert play_again(cells, progress=False) == 2


def test_kinds_of_episodes_are_those_of_the_environment(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def goes_to_the_square_s_corner(agent: Any, venv: Any, seed: int) -> Any:
        return lambda observations: np.full((len(observations), 2), -1.0, np.float32)

    cell = dataclasses.replace(cell_of(study, "random_policy", into=tmp_path), episodes=20)
    complete_agents([cell], lambda _: None)
    monkeypatch.setattr("experiments.agents.ends.act_of", goes_to_the_square_s_corner)
    play_again([cell], progress=False)
    kinds = json.loads((cell.folder / ENDS).read_text())["kinds"]
    assert kinds["square"]["success"] == sum(kinds["square"].values()) > 0
    for other in ("ellipse", "heart"):
        assert kinds[other]["failure"] == sum(kinds[other].values()) > 0


@pytest.mark.parametrize("name", CROPPED)
def test_cropped_encoders_differ_by_the_part_that_a_task_names(name: str, tmp_path: Path) -> None:
    scale = AGENT_SCALES["public"]
    cropped = encoder_cell(scale, "VizDoomBasic", name, 3, tmp_path).training
    whole = encoder_cell(scale, "VizDoomBasic", name.removesuffix("_cropped"), 3, tmp_path).training
    assert cropped is not None
    assert whole is not None
    parse_crop(cropped.crop or "").require_within((64, 64))
    assert dataclasses.replace(cropped, crop=None, run_dir=whole.run_dir) == whole
    with pytest.raises(ValueError, match=f"{name} sees a part of the frames, and DoorKey names none"):
        encoder_cell(scale, "DoorKey", name, 3, tmp_path)


def test_pixels_can_be_shown_the_same_part(tmp_path: Path) -> None:
    bright = np.zeros((64, 64, 3), np.uint8)
    bright[20:30, 5:25] = 255

    class Bright(gym.Env[Any, Any]):
        observation_space = gym.spaces.Box(0, 255, (64, 64, 3), np.uint8)

        def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
            super().reset(seed=seed)
            return bright, {}

    shown, _ = PartOfFrames(Bright(), Crop(20, 5, 10, 20)).reset()
    assert shown.shape == (64, 64, 3)
    assert (shown == 255).all()
    with pytest.raises(ValueError, match="crop needs a rectangle within images of 64x64"):
        PartOfFrames(Bright(), Crop(60, 0, 5, 64))
    cell = agent_cell(AGENT_SCALES["public"], "VizDoomBasic", "pixels_cropped", "ppo", 0, tmp_path)
    assert cell.settings()["crop"] == TASKS["VizDoomBasic"].crop
    with pytest.raises(ValueError, match="pixels_cropped sees a part of the frames, and DoorKey names none"):
        agent_cell(AGENT_SCALES["public"], "DoorKey", "pixels_cropped", "ppo", 0, tmp_path)


def test_an_agent_on_a_part_of_the_frames_learns_from_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TASKS, "SpriteReach", dataclasses.replace(TASKS["SpriteReach"], crop="0,0,8,8"))
    whole, part = (
        make_environments(agent_cell(TINY, "SpriteReach", arm, "ppo", 0, tmp_path), "source", 1, 0)
        for arm in ("pixels", "pixels_cropped")
    )
    first, second = np.asarray(whole.reset()), np.asarray(part.reset())
    assert first.shape == second.shape
    assert first[0, :8, :8].mean() == pytest.approx(second.mean(), abs=2)
