from __future__ import annotations

import math
import re
import shlex
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from PIL import Image

from envs import chase, pose, reach
from envs.appearance import PALETTES
from envs.chase import SpriteChase
from envs.domains import DOMAINS, TARGETS, find_domain
from envs.pictures import ENVIRONMENTS, FOLDER, PUBLIC, main
from envs.pose import SpritePose
from envs.reach import SpriteReach
from envs.scripted import scripted_action
from rl.record import main as record_main
from sparse_repr.data.dsprites import render_sprites
from tests import ROOT
from tests.envs.public_tasks import needs

CLASSES = {"SpriteReach": SpriteReach, "SpriteChase": SpriteChase, "SpritePose": SpritePose}
PAGE = ROOT / "envs/README.md"
each_environment = pytest.mark.parametrize("name", CLASSES)


def _played(name: str, domain: str, episodes: int = 3, steps: int = 4) -> tuple[np.ndarray, list[list[float]]]:
    """Pictures (n, 64, 64, C) and factors of the same actions from the same seed."""
    env = CLASSES[name](domain=domain)
    env.action_space.seed(0)
    pictures, factors = [], []
    for number in range(episodes):
        picture, info = env.reset(seed=5 if number == 0 else None)
        pictures.append(picture)
        factors.append(info["factors"].tolist())
        for _ in range(steps):
            picture, _, _, _, info = env.step(env.action_space.sample())
            pictures.append(picture)
            factors.append(info["factors"].tolist())
    return np.stack(pictures), factors


def _combinations(name: str, factors: np.ndarray) -> list[tuple[int, ...]]:
    """What of an episode may be held out."""
    if name == "SpriteReach":
        shape, orientation = int(factors[0]), float(factors[2])
        turn = (90, 180, 360)[shape]
        return [(shape, int(math.degrees(orientation) % turn // (turn / 4)))]
    if name == "SpriteChase":
        heart, square, *ellipses = factors[4::3].astype(int).tolist()
        return [(2, heart), (0, square), *[(1, color) for color in ellipses]]
    shape, color = factors[:2].astype(int).tolist()
    return [(shape, color, int(factors[2] >= 0.5) + 2 * int(factors[3] >= 0.5))]


EVERY: dict[str, set[tuple[int, ...]]] = {
    "SpriteReach": {(shape, quarter) for shape in range(3) for quarter in range(4)},
    "SpriteChase": {(shape, color) for shape in range(3) for color in range(4)},
    "SpritePose": {(shape, color, place) for shape in range(3) for color in range(4) for place in range(4)},
}
HELD_OUT = {
    "SpriteReach": {(0, 0), (1, 1), (2, 2)},
    "SpriteChase": {(0, 0), (1, 1), (2, 2)},
    "SpritePose": {each for each in EVERY["SpritePose"] if sum(each) in (0, 4, 8)},
}


@each_environment
@pytest.mark.parametrize("domain", ["source", "held_out", "all", "new_colors", "background", "noise", "camera"])
def test_episodes_draw_exactly_the_combinations_of_their_domain(name: str, domain: str) -> None:
    env = CLASSES[name](domain=domain)
    if domain in ("new_colors", "background", "noise", "camera"):
        drawn = {each for seed in range(40) for each in _combinations(name, env.reset(seed=seed)[1]["factors"])}
        assert not drawn & HELD_OUT[name]
        return
    env.reset(seed=0)
    drawn = {each for _ in range(450) for each in _combinations(name, env.reset()[1]["factors"])}
    expected = {"source": EVERY[name] - HELD_OUT[name], "held_out": HELD_OUT[name], "all": EVERY[name]}
    assert drawn == expected[domain]


@each_environment
def test_what_is_held_out_stays_so_throughout_an_episode(name: str) -> None:
    env = CLASSES[name](domain="source")
    env.action_space.seed(0)
    for seed in range(6):
        _, info = env.reset(seed=seed)
        first = _combinations(name, info["factors"])
        for _ in range(20):
            _, _, _, _, info = env.step(env.action_space.sample())
            # SpritePose turns its sprite, but its quadrant, shape and colour stay
            assert _combinations(name, info["factors"]) == first


def test_held_out_combinations_are_those_of_the_documentation() -> None:
    assert {(s, c) for s, c in EVERY["SpriteChase"] if chase.is_held_out(s, c)} == HELD_OUT["SpriteChase"]
    assert {each for each in EVERY["SpritePose"] if pose.is_held_out(*each)} == HELD_OUT["SpritePose"]
    assert len(HELD_OUT["SpritePose"]) == 12
    kept = EVERY["SpritePose"] - HELD_OUT["SpritePose"]
    for first, second, pairs in ((0, 1, 12), (0, 2, 12), (1, 2, 16)):
        assert len({(each[first], each[second]) for each in kept}) == pairs
    for shape, degrees, held_out in (
        (0, 10, True), (0, 30, False), (0, 100, True), (0, -80, True),
        (1, 10, False), (1, 50, True), (1, 89, True), (1, 91, False), (1, 230, True),
        (2, 170, False), (2, 190, True), (2, 269, True), (2, 271, False),
    ):  # fmt: skip
        assert reach.is_held_out(shape, math.radians(degrees)) is held_out


@each_environment
@pytest.mark.parametrize("domain", ["new_colors", "background", "noise", "camera"])
def test_the_same_seed_gives_the_same_episodes_in_another_look(name: str, domain: str) -> None:
    source, factors = _played(name, "source")
    pictures, other = _played(name, domain)
    assert other == factors
    assert pictures.shape == source.shape
    assert not np.array_equal(pictures, source)


@each_environment
def test_new_colours_change_the_colours_of_sprites_and_nothing_else(name: str) -> None:
    source, _ = _played(name, "source")
    pictures, _ = _played(name, "new_colors")
    if name == "SpriteReach":
        assert np.array_equal(pictures, source & 128)
        return
    expected = source.copy()
    for old, new in zip(PALETTES["source"], PALETTES["new"], strict=True):
        expected[(source == old).all(axis=3)] = new
        if name == "SpritePose":
            expected[(source == (np.array(old) + 255) // 2).all(axis=3)] = (np.array(new) + 255) // 2
    assert np.array_equal(pictures, expected)
    # in both palettes sprites are told from the player, the background and one another
    colors = np.array([*PALETTES["source"], *PALETTES["new"], (255, 255, 255), (0, 0, 0)])
    distances = np.abs(colors[:, None] - colors[None]).max(axis=2) + 255 * np.eye(len(colors))
    assert distances.min() >= 50


@each_environment
def test_backgrounds_change_the_background_and_nothing_else(name: str) -> None:
    source, _ = _played(name, "source")
    pictures, _ = _played(name, "background")
    sprite = source.any(axis=3)
    assert np.array_equal(pictures[sprite], source[sprite])
    assert pictures[~sprite].max() < 96
    assert pictures[~sprite].any()
    # one background an episode: the five pictures of each agree wherever none of them has a sprite
    corners = pictures[:, [0, 0, -1, -1], [0, -1, 0, -1]].reshape(3, 5, -1)
    assert (corners == corners[:, :1]).all()
    assert len({episode[0].tobytes() for episode in corners}) == 3


@each_environment
def test_noise_moves_every_value_a_little_and_anew(name: str) -> None:
    source, _ = _played(name, "source")
    pictures, _ = _played(name, "noise")
    change = pictures.astype(int) - source
    middle = change[(source >= 64) & (source <= 190)]
    if name != "SpriteReach":  # black and white are cut off on one side
        assert (middle.min(), middle.max()) == (-64, 63)
        assert abs(middle.mean()) < 2
        assert middle.std() == pytest.approx(128 / math.sqrt(12), rel=0.05)
    assert change.min() >= -64
    assert change.max() == 63
    assert len({each.tobytes() for each in change}) == len(change)


@each_environment
def test_the_camera_moves_the_picture(name: str) -> None:
    source, _ = _played(name, "source")
    pictures, _ = _played(name, "camera")
    assert np.array_equal(pictures[:, :-4, 6:], source[:, 4:, :-6])
    assert not pictures[:, -4:].any()
    assert not pictures[:, :, :6].any()


@each_environment
@pytest.mark.parametrize("domain", DOMAINS)
def test_every_domain_repeats_by_seed(name: str, domain: str) -> None:
    first, again = _played(name, domain), _played(name, domain)
    assert np.array_equal(first[0], again[0])
    assert first[1] == again[1]


@each_environment
def test_factors_given_in_a_domain_are_shown_in_its_look(name: str) -> None:
    if name == "SpriteReach":  # takes shape, scale and orientation
        picture, info = SpriteReach(domain="source").reset(seed=0, options={"shape": 0, "orientation": 0.1})
        assert reach.is_held_out(0, 0.1)
        assert np.array_equal(picture[..., 0], render_sprites(0, 1.0, 0.1, *info["factors"][3:])[0])
        return
    factors = CLASSES[name](domain="held_out").reset(seed=0)[1]["factors"]
    options = {"factors": factors}
    shown = {domain: CLASSES[name](domain=domain).reset(seed=0, options=options)[0] for domain in DOMAINS}
    assert np.array_equal(shown["source"], shown["held_out"])
    assert np.array_equal(shown["camera"][:-4, 6:], shown["source"][4:, :-6])


def test_sprite_reach_draws_what_it_drew_before_there_were_domains() -> None:
    for env in (gym.make("SparseRepr/SpriteReach-v0"), SpriteReach(domain="all")):
        _, info = env.reset(seed=11)
        generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence(11)))
        for _ in range(4):
            shape = generator.integers(3)
            generator.integers(1)
            orientation = generator.uniform(0, 2 * np.pi)
            expected = [shape, 1, orientation, *generator.uniform(0.3, 0.7, 2)]
            assert info["factors"].tolist() == np.array(expected, np.float32).tolist()
            picture, info = env.reset()
        assert np.array_equal(np.unique(picture), [0, 255])


def test_defaults() -> None:
    assert {name: make().domain for name, make in CLASSES.items()} == {
        "SpriteReach": DOMAINS["all"],
        "SpriteChase": DOMAINS["source"],
        "SpritePose": DOMAINS["source"],
    }
    assert {"source", "all", *TARGETS} == DOMAINS.keys()


@each_environment
def test_unknown_domains_are_refused_with_close_matches(name: str) -> None:
    with pytest.raises(ValueError, match=rf"unknown domain of {name} 'new_colours'. Did you mean 'new_colors'\? Known"):
        gym.make(f"SparseRepr/{name}-v0", domain="new_colours")


def test_a_target_differs_from_the_source_in_one_thing() -> None:
    source = find_domain("source", "a test")
    assert source.plain
    for name in TARGETS:
        target = DOMAINS[name]
        fields = ("combinations", "new_colors", "background", "noise", "camera")
        assert [field for field in fields if getattr(target, field) != getattr(source, field)] == [
            "combinations" if name == "held_out" else name
        ]


@each_environment
@pytest.mark.parametrize("discrete", [False, True])
def test_scripted_beats_random(name: str, discrete: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    env = gym.make(f"SparseRepr/{name}{'-Discrete' if discrete else ''}-v0", disable_env_checker=True)
    # neither policy looks at pictures
    monkeypatch.setattr(env.unwrapped, "_observe", lambda: None)
    env.action_space.seed(0)

    def play(act: Any, episodes: int) -> tuple[float, float]:
        returns, successes = [], []
        for seed in range(episodes):
            _, info = env.reset(seed=seed)
            total, ended = 0.0, False
            while not ended:
                _, reward, terminated, truncated, info = env.step(act(info["factors"]))
                total += float(reward)
                ended = terminated or truncated
            returns.append(total)
            successes.append(info["is_success"])
        return float(np.mean(returns)), float(np.mean(successes))

    scripted = play(lambda factors: scripted_action(name, factors, discrete=discrete), 60)
    random = play(lambda factors: env.action_space.sample(), 60)
    assert scripted[1] > 0.9
    assert random[1] < 0.1
    assert scripted[0] > random[0] + 1


def test_scripted_action_needs_a_known_environment() -> None:
    with pytest.raises(ValueError, match=r"unknown environment 'SpriteChas'. Did you mean 'SpriteChase'"):
        scripted_action("SpriteChas", np.zeros(5, np.float32))


def test_the_pictures_of_the_page_are_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in PUBLIC:
        needs(name)
    assert main(["--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out.count("written: ") == len(ENVIRONMENTS) + len(PUBLIC)
    for name in (*ENVIRONMENTS, *PUBLIC):
        with Image.open(tmp_path / f"{name}.png") as drawn, Image.open(FOLDER / f"{name}.png") as committed:
            new, old = np.asarray(drawn), np.asarray(committed)
        assert new.shape == old.shape, "run python -m envs.pictures"
        # labels depend on the font; a pixel on an edge may depend on the processor, a game of others on its version
        assert name in PUBLIC or (new[16:144] != old[16:144]).mean() < 0.001, "run python -m envs.pictures"


def test_the_page_describes_every_domain_and_links_what_exists() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\w+)` \|", text, flags=re.MULTILINE) == list(DOMAINS)
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (PAGE.parent / target).exists(), f"{PAGE} links {target}, which does not exist"
    for name in re.findall(r"`(test_\w+)`", text):
        assert f"def {name}" in Path(__file__).read_text(encoding="utf-8")


def test_the_snippets_of_the_page_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = PAGE.read_text(encoding="utf-8").replace("--frames 20_000", "--frames 20")
    blocks = re.findall(r"```(python|bash)\n(.*?)```", text, flags=re.DOTALL)
    assert [language for language, _ in blocks] == ["python", "bash", "bash"]  # the last one needs a game
    namespace: dict[str, Any] = {}
    exec(compile(blocks[0][1], str(PAGE), "exec"), namespace)
    assert np.array_equal(namespace["picture"], namespace["same_picture"])
    words = shlex.split(blocks[1][1])
    assert words[:3] == ["python", "-m", "rl.record"]
    monkeypatch.chdir(tmp_path)
    assert record_main([*words[3:], "--no-progress"]) == 0
    assert (tmp_path / "chase.h5").exists()
