"""Films for the explorer: what an agent saw and did, in a file without pickles, shown and asked in a browser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3 import PPO

from experiments.film.__main__ import main
from experiments.film.for_explorer import record_agent_film
from experiments.film.recording import KeepFrames
from rl import make_latent_vec_env, save_agent
from sparse_repr import load_encoder
from sparse_repr.artefact import parse, serialise
from sparse_repr.explore import AgentFilm, write_explorer
from tests.browser import Browser

DISCRETE, REACH = "SparseRepr/SpriteReach-Discrete-v0", "SparseRepr/SpriteReach-v0"


def _agent(run: Path, env: str, **options: Any) -> PPO:
    venv = make_latent_vec_env(env, run, n_envs=1, seed=0, wrapper_class=KeepFrames, **options)
    model = PPO("MlpPolicy", venv, seed=0, device="cpu", n_steps=16, batch_size=16)
    with torch.no_grad():  # an untrained policy does the same on every code
        for weight in model.policy.parameters():
            if weight.ndim > 1:
                weight.copy_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(weight.shape[0])))
        model.policy.action_net.weight.mul_(0.1)
    return model


def test_a_film_holds_what_the_agent_saw_and_did(tiny_run: Path, tmp_path: Path, short_episodes: None) -> None:
    model = _agent(tiny_run, DISCRETE)
    path = record_agent_film(model, tmp_path / "film.safetensors", steps=12, caption="an agent")
    film = AgentFilm.load(path)
    encoder = load_encoder(tiny_run)
    assert film.encoder == encoder.fingerprint
    assert film.frames.shape == (12, 1, 64, 64)
    np.testing.assert_array_equal(film.codes, encoder.encode(film.frames))
    np.testing.assert_array_equal(film.actions[:, 0], model.predict(film.codes, deterministic=True)[0])
    assert film.steps.tolist() == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1]
    assert film.action_names == ("stay", "left", "right", "up", "down")
    assert film.bounds is None
    assert film.policy is not None
    assert (film.policy.scores, film.policy.outputs) == ("logits", 5)
    again = record_agent_film(model, tmp_path / "again.safetensors", steps=12, caption="an agent")
    assert again.read_bytes() == path.read_bytes()
    numbers = AgentFilm.load(record_agent_film(_agent(tiny_run, REACH), tmp_path / "numbers.safetensors", steps=3))
    assert numbers.bounds == ([-1.0, -1.0], [1.0, 1.0])
    assert numbers.caption == "PPO"


def test_a_policy_that_no_browser_can_compute_leaves_a_note(tiny_run: Path, tmp_path: Path) -> None:
    model = _agent(tiny_run, REACH, include_log_variance=True)
    film = AgentFilm.load(record_agent_film(model, tmp_path / "film.safetensors", steps=2))
    assert film.policy is None
    assert film.note.startswith("What it would do with another code is not shown: it is shown log-variances")


def test_films_of_other_things_are_refused(tiny_run: Path, tmp_path: Path) -> None:
    model = _agent(tiny_run, REACH)
    with pytest.raises(ValueError, match=r"ends in .safetensors, got .*film.npz"):
        record_agent_film(model, tmp_path / "film.npz", steps=2)
    with pytest.raises(ValueError, match="needs at least 1 step"):
        record_agent_film(model, tmp_path / "film.safetensors", steps=0)
    plain = make_latent_vec_env(REACH, tiny_run, n_envs=1)
    with pytest.raises(TypeError, match="environments in KeepFrames"):
        record_agent_film(PPO("MlpPolicy", plain, device="cpu"), tmp_path / "film.safetensors", steps=2)


def test_a_film_that_was_tampered_with_is_named(tiny_run: Path, tmp_path: Path) -> None:
    path = record_agent_film(_agent(tiny_run, DISCRETE), tmp_path / "film.safetensors", steps=2)
    tensors, header = parse(path.read_bytes(), "film", "agent_film")
    odd = tmp_path / "odd.safetensors"
    for change, message in (
        ({"policy": {**header["policy"], "layers": [{"op": "eval"}]}}, "op needs one of linear, affine"),
        ({"policy": {**header["policy"], "layers": [{"op": "linear"}]}}, "needs the entries weight, bias"),
        ({"policy": {**header["policy"], "scores": "x"}}, "scores needs one of logits, values, numbers"),
        ({"policy": {**header["policy"], "n_stack": 2}}, r"needs weight of shape \(64, 20\), found \(64, 10\)"),
        ({"policy": {**header["policy"], "outputs": 3}}, "needs 3 outputs, its layers give 5"),
        ({"low": [0.0, 0.0], "high": [1.0, 1.0]}, "bounds of 1 numbers"),
    ):
        odd.write_bytes(serialise(tensors, {**header, **change}))
        with pytest.raises(ValueError, match=message):
            AgentFilm.load(odd)
    odd.write_bytes(serialise({name: part for name, part in tensors.items() if name != "codes"}, header))
    with pytest.raises(ValueError, match="found no codes"):
        AgentFilm.load(odd)


def test_the_command_films_an_agent_file(tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    agent = save_agent(tmp_path / "agent.zip", _agent(tiny_run, DISCRETE, n_stack=2))
    out = tmp_path / "film.safetensors"
    words = [str(agent), DISCRETE, "--output", str(out), "--steps", "3", "--action-names", "a,b,c,d,e"]
    assert main(words) == 0
    film = AgentFilm.load(out)
    assert film.caption == "PPO in SpriteReach-Discrete-v0"
    assert film.action_names == tuple("abcde")
    assert film.policy is not None
    assert film.policy.n_stack == 2
    assert main([str(tmp_path / "none.zip"), DISCRETE]) == 2
    assert "none.zip" in capsys.readouterr().err


@pytest.mark.parametrize(("env", "n_stack"), [(DISCRETE, 1), (REACH, 2)])
def test_the_page_plays_it_and_asks_what_if(
    env: str, n_stack: int, tiny_run: Path, tmp_path: Path, short_episodes: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sparse_repr.explore.contents._ITEMS", 100)
    model = _agent(tiny_run, env, n_stack=n_stack)
    path = record_agent_film(model, tmp_path / "film.safetensors", steps=12, caption="an agent")
    film = AgentFilm.load(path)
    page = write_explorer([tiny_run], tmp_path / "explorer.html", film=path, examples=2)
    with Browser(tmp_path / "profile") as browser:
        browser.open(page)
        decided = browser.run(
            "Array.from(Explorer.contents.film.steps.keys(), (t) => { const D = 10;"
            "const {action} = Explorer.film.decide(t, Explorer.contents.film.codes.data.subarray(t * D, (t + 1) * D));"
            "return typeof action === 'number' ? [action] : Array.from(action); })"
        )
        np.testing.assert_allclose(decided, film.actions, atol=1e-4)
        # the scrub bar by keyboard: the frame becomes the image, its code the code
        browser.run("document.querySelector('#film input').focus()")
        browser.press("ArrowRight", 7)
        assert browser.run("Explorer.film.place") == 7
        code = browser.run("Array.from(Explorer.panels[0].code())")
        assert np.abs(np.subtract(code, film.codes[7])).max() < 1e-6
        bars = "Array.from(document.querySelectorAll('#film .number'), (bar) => bar.textContent)"
        before = browser.run(bars)
        browser.run("Explorer.panels[0].set(0, 40)")
        assert browser.run(bars) != before
        changed = film.codes[7].copy()
        changed[0] = 40
        stack = np.concatenate([film.codes[6], changed]) if n_stack == 2 else changed
        expected = np.atleast_1d(model.predict(stack, deterministic=True)[0])
        found = browser.run(
            "(({action}) => typeof action === 'number' ? [action] : Array.from(action))"
            "(Explorer.film.decide(7, Explorer.panels[0].code()))"
        )
        np.testing.assert_allclose(found, expected, atol=1e-4)
        assert browser.run("document.querySelector('#film [role=status]').textContent").startswith("With unit 0 at 40")
        browser.click("#film button")
        browser.run("new Promise((done) => setTimeout(done, 500))")
        browser.click("#film button")
        assert browser.run("Explorer.film.place") != 7


class _Parts(gym.Env):  # type: ignore[type-arg]
    observation_space = gym.spaces.Dict({"camera": gym.spaces.Box(0, 255, (64, 64, 3), np.uint8)})
    action_space = gym.spaces.Discrete(2)


class _SeveralChoices(gym.ActionWrapper):  # type: ignore[type-arg]
    def __init__(self, env: Any) -> None:
        super().__init__(env)
        self.action_space = gym.spaces.MultiDiscrete([3, 3])

    def action(self, action: Any) -> Any:
        return np.asarray(action, np.float32) - 1


def test_what_the_page_cannot_show_is_said_before_anything_is_played(tiny_run: Path, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"KeepFrames needs an environment that observes frames .*, got Dict\("):
        KeepFrames(_Parts())
    venv = make_latent_vec_env(REACH, tiny_run, n_envs=1, wrapper_class=lambda env: KeepFrames(_SeveralChoices(env)))
    model = PPO("MlpPolicy", venv, device="cpu", n_steps=8, batch_size=8)
    venv.step_async = lambda _: pytest.fail("played")  # type: ignore[method-assign]
    with pytest.raises(TypeError, match=r"a Discrete or a Box of actions, got MultiDiscrete\(\[3 3\]\)"):
        record_agent_film(model, tmp_path / "film.safetensors", steps=2)
