"""Who is there first by the clock: recording and pretraining count, and who never gets there is not called quick."""

from __future__ import annotations

import dataclasses
import json
import math
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from experiments.agents.clock import (
    Time,
    expected_ratio,
    expected_seconds,
    of_one_processor,
    paired_steps,
    ratio_of,
    seconds_before,
    threshold_of,
    times_to,
)
from experiments.agents.clock_pages import (
    clock_figure,
    clock_in_words,
    clock_table,
    paired_table,
    recoding_cost_table,
)
from experiments.agents.files import live_study
from experiments.agents.results import AgentResult, AgentStudy, EncoderResult
from experiments.agents.tables import cost_table
from experiments.measure.side_by_side import family_clock
from tests.agent_studies import MACHINE, agent, encoder, study, whole_study

_RISE = [(1_000 * (k + 1), value, value, 10) for k, value in enumerate((0, 0, 1, 1, 1))]
_FLAT = [(1_000 * (k + 1), 0.0, 0.0, 10) for k in range(5)]


def _encoder(seed: int, recording: float | None = 30.0) -> EncoderResult:
    return dataclasses.replace(encoder("vae", seed), seconds={"recording": recording, "training": 60.0})


def _agents(arm: str, seeds: int, seconds: float, curve: list[tuple[int, float, float, int]]) -> list[AgentResult]:
    """Agents whose training takes some seconds, a little more with every seed."""
    found = [agent(arm, seed, source=curve[-1][1], steps=5_000, curve=curve) for seed in range(seeds)]
    return [
        dataclasses.replace(one, curve_seconds=[(seconds + one.seed) * step / 5_000 for step, *_ in curve])
        for one in found
    ]


def _clocked(*, pixels: list[tuple[int, float, float, int]] = _RISE) -> AgentStudy:
    return study(
        agent("random_policy", source=0.0, steps=5_000),
        *_agents("factors", 3, 10.0, _RISE),
        *_agents("pixels", 3, 1_000.0, pixels),
        *_agents("vae", 3, 100.0, _RISE),
        *(_encoder(seed) for seed in range(3)),
    )


def test_the_frames_and_the_encoder_count() -> None:
    found = _clocked()
    arms = found.of("SpriteReach")
    assert seconds_before(found, arms["vae"][0]) == 90.0
    assert seconds_before(found, arms["pixels"][0]) == 0.0
    # seconds of another encoder of that name, or of another processor, are not this agent's
    learned = dataclasses.replace(arms["vae"][0], encoder="one")
    for changes, seconds in (
        ({"fingerprint": "one"}, 90.0),
        ({"fingerprint": "another"}, None),
        ({"fingerprint": "one", "machine": {"processor": "another"}}, None),
    ):
        made = dataclasses.replace(_encoder(0), **changes)
        assert seconds_before(dataclasses.replace(found, encoders=[made]), learned) == seconds
    # the mean of three windows reaches 0.8 at the last one, after 100 s of training
    (first, *_) = times_to(found, arms["vae"], 0.8)
    assert (first.seconds, first.steps, first.reached) == (190.0, 5_000, True)
    (low, *_) = times_to(found, arms["vae"], 0.3)
    assert (low.seconds, low.steps) == (90.0 + 60.0, 3_000)


def test_a_time_that_was_not_measured_is_no_time() -> None:
    found = study(*_agents("vae", 2, 100.0, _RISE), _encoder(0, recording=None), _encoder(1))
    times = times_to(found, found.of("SpriteReach")["vae"], 0.8)
    assert [one.seed for one in times] == [1]
    old = [dataclasses.replace(one, curve_seconds=()) for one in _agents("pixels", 2, 100.0, _RISE)]
    assert times_to(study(*old), old, 0.8) == []
    # steps are known all the same
    assert [time.steps for time in times_to(study(*old), old, 0.8, timed=False)] == [5_000, 5_000]
    assert clock_table(study(*old), "SpriteReach") is None
    assert clock_figure(study(*old), "SpriteReach") is None


def test_the_threshold_is_the_one_that_was_fixed_for_a_task() -> None:
    assert threshold_of(study(), "LunarLander") == 200.0
    # 80 % of the way from chance to the scripted policy, of envs/public.md
    assert threshold_of(study(), "DoorKey") == pytest.approx(0.11 + 0.8 * (0.96 - 0.11), abs=0.005)
    assert threshold_of(study(), "VizDoomBasic") == pytest.approx(-190.98 + 0.8 * (77.88 + 190.98), abs=0.5)
    assert threshold_of(_clocked(), "SpriteReach") == pytest.approx(0.8)
    assert threshold_of(study(), "SpriteReach") is None


def test_a_ratio_is_that_of_geometric_means_with_an_interval() -> None:
    found = _clocked()
    arms = {arm: times_to(found, agents, 0.8) for arm, agents in found.of("SpriteReach").items()}
    ratio = ratio_of(arms["vae"], arms["pixels"])
    assert ratio is not None
    expected = (190 * 191 * 192 / (1000 * 1001 * 1002)) ** (1 / 3)
    assert ratio.value == pytest.approx(expected)
    assert ratio.low < expected < ratio.high < 0.25
    assert not ratio.bounded
    again = ratio_of(arms["vae"], arms["pixels"], reused=True)
    assert again is not None
    assert again.value == pytest.approx((100 * 101 * 102 / (1000 * 1001 * 1002)) ** (1 / 3))


def test_pixels_that_never_get_there_bound_the_ratio_and_a_frozen_code_has_none() -> None:
    found = _clocked(pixels=_FLAT)
    arms = {arm: times_to(found, agents, 0.8) for arm, agents in found.of("SpriteReach").items()}
    ratio = ratio_of(arms["vae"], arms["pixels"])
    assert ratio is not None
    assert ratio.bounded
    assert ratio_of(arms["pixels"], arms["vae"]) is None
    assert ratio_of(arms["vae"][:1], arms["pixels"]) is None
    table = clock_table(found, "SpriteReach")
    assert table is not None
    rows = {row[0]: row for row in table.rows}
    assert rows["pixels, end to end"][1] == "0 of 3"
    assert rows["VAE"][1] == "3 of 3"
    # what is known is the upper end
    assert rows["VAE"][5:] == ("< 0.19", "< 0.10", "3.2")
    words = clock_in_words(found, "SpriteReach")
    assert words.startswith("Most agents on pixels do not get there in all of their ")
    assert "0 of 3 seeds" in words
    assert "VAE: < 0.19" in words
    assert words.endswith("faster.")


def _times(*seconds: tuple[float, bool]) -> list[Time]:
    return [Time(seed, 10.0, learning, 1_000, reached) for seed, (learning, reached) in enumerate(seconds)]


def test_who_fails_is_started_again_in_the_expected_time() -> None:
    codes, pixels = _times((10, True), (20, True), (40, False)), _times((90, True), (190, False), (200, False))
    assert expected_seconds(codes) == (20 + 30 + 50) / 2
    assert expected_seconds(codes, reused=True) == (10 + 20 + 40) / 2
    assert expected_seconds(_times((40, False))) == math.inf
    ratio = expected_ratio(codes, pixels)
    assert ratio is not None
    assert ratio.value == pytest.approx(50 / 510)
    assert ratio.low < ratio.value < ratio.high
    assert expected_ratio(codes, _times((40, False), (40, False), (40, False))) is None
    assert expected_ratio(codes[:2], pixels) is None
    # where all get there it is the ratio of the means
    all_there = expected_ratio(_times((10, True), (20, True), (30, True)), _times((90, True), (190, True), (200, True)))
    assert all_there is not None
    assert all_there.value == pytest.approx(90 / 510)


@pytest.mark.parametrize("spread", [0.05, 0.4])
@pytest.mark.parametrize(
    ("seeds", "shares"), [(3, (0.6, 0.4)), (5, (1.0, 0.8)), (10, (0.6, 0.4)), (10, (1.0, 0.9)), (10, (1.0, 1.0))]
)
def test_the_interval_of_an_expected_time_covers_what_is_true(
    seeds: int, shares: tuple[float, float], spread: float
) -> None:
    rng = np.random.default_rng(0)
    arms = [(share, *costs) for share, costs in zip(shares, ((80.0, 100.0), (130.0, 265.0)), strict=True)]

    def costs_of(middle: float, whole: float, count: int) -> np.ndarray:
        return np.minimum(middle * np.exp(rng.normal(0, spread, count)), whole)

    def drawn(share: float, middle: float, whole: float) -> list[Time]:
        there = rng.random(seeds) < share
        costs = np.where(there, costs_of(middle, whole, seeds), whole)
        return [Time(k, 0.0, float(cost), 1, bool(one)) for k, (cost, one) in enumerate(zip(costs, there, strict=True))]

    codes, pixels = (
        (share * costs_of(middle, whole, 100_000).mean() + (1 - share) * whole) / share for share, middle, whole in arms
    )
    ratios = [ratio for _ in range(1_000) if (ratio := expected_ratio(*(drawn(*arm) for arm in arms))) is not None]
    covered = np.mean([ratio.low <= codes / pixels <= ratio.high for ratio in ratios])
    assert covered > 0.86


def test_what_a_recoding_costs_is_told_of_pairs_on_one_processor() -> None:
    def timed(arm: str, seed: int, seconds: float, processor: str = "P") -> AgentResult:
        one = agent(arm, seed, steps=1_000)
        return dataclasses.replace(one, seconds={"training": seconds}, machine={**MACHINE, "processor": processor})

    found = study(
        *(timed("vae", seed, 10.0) for seed in range(4)),
        *(timed("vae_expand", seed, 10.0 + seed) for seed in range(3)),
        timed("vae_expand", 3, 90.0, processor="another"),
        timed("vae_cosine", 0, 15.0),
    )
    table = recoding_cost_table(found, "SpriteReach")
    assert table is not None
    rows = {row[0]: row[1:4] for row in table.rows}
    assert rows == {
        "VAE, expand": ("VAE", "3", f"{(1.1 * 1.2) ** (1 / 3):.2f}"),
        "VAE, cosine": ("VAE", "1", "1.50"),
    }
    low, high = map(float, next(row[4] for row in table.rows if row[0] == "VAE, expand").split(" to "))
    assert low < 1.1 < high
    assert recoding_cost_table(found, "SpriteChase") is None


def test_steps_of_pairs_are_compared_seed_by_seed() -> None:
    late = [(1_000 * (k + 1), value, value, 10) for k, value in enumerate((0, 1, 1, 1, 1))]
    found = study(
        agent("random_policy", source=0.0, steps=5_000),
        *_agents("factors", 3, 10.0, _RISE),
        *_agents("vae_project", 3, 100.0, _RISE),
        *_agents("vae_expand", 3, 100.0, late),
        *(_encoder(seed) for seed in range(3)),
    )
    arms = {arm: times_to(found, agents, 0.8) for arm, agents in found.of("SpriteReach").items()}
    ratio = paired_steps(arms["vae_expand"], arms["vae_project"])
    assert ratio is not None
    # three windows of 1 end at step 4,000 and at step 5,000, with every seed
    assert (ratio.value, ratio.low, ratio.high) == pytest.approx((0.8, 0.8, 0.8))
    assert paired_steps(arms["vae_expand"][:2], arms["vae_project"]) is None
    table = paired_table(found, "SpriteReach")
    assert table is not None
    assert ["VAE, expand", "VAE, project", "3", "0.80 [0.80, 0.80]"] in [list(row) for row in table.rows]
    assert paired_table(study(*_agents("vae", 3, 10.0, _RISE)), "SpriteReach") is None


def test_who_is_not_apart_is_not_called_quicker() -> None:
    found = study(
        agent("random_policy", source=0.0, steps=5_000),
        *_agents("factors", 3, 10.0, _RISE),
        *_agents("pixels", 3, 190.0, _RISE),
        *_agents("vae", 3, 100.0, _RISE),
        *(_encoder(seed) for seed in range(3)),
    )
    assert clock_in_words(found, "SpriteReach").endswith("not told apart.")


def test_the_figure_starts_a_line_when_its_encoder_is_there() -> None:
    figure = clock_figure(_clocked(), "SpriteReach")
    assert figure is not None
    lines = {line.get_label(): line for line in figure.axes[0].get_lines()}
    assert len(lines) >= 3
    starts = []
    for line in figure.axes[0].get_lines():
        x, y = line.get_xdata(), line.get_ydata()
        if len(x) > 2:
            starts.append(min(minute for minute, value in zip(x, y, strict=True) if value == value))
    # of the encoder: 1.5 minutes, and the first window of training
    assert any(1.5 < start < 2.0 for start in starts)
    assert min(starts) < 0.1


def test_a_whole_study_has_a_row_of_each_arm_that_was_timed() -> None:
    found = whole_study(3, windows=10)
    timed = dataclasses.replace(
        found,
        encoders=[dataclasses.replace(one, seconds={"recording": 5.0, "training": 5.0}) for one in found.encoders],
    )
    table = clock_table(timed, "SpriteReach")
    assert table is not None
    assert {"VAE", "pixels, end to end", "ground-truth factors"} <= {row[0] for row in table.rows}


def test_seconds_of_curves_are_checked_where_they_are_given(tmp_path: Path) -> None:
    folder = tmp_path / "agents" / "SpriteReach-vae-ppo-seed0"
    folder.mkdir(parents=True)
    record = {
        "settings": {"task": "SpriteReach", "arm": "vae", "algorithm": "ppo", "seed": 0, "steps": 10},
        "curve": [[5, 0.0, 0.0, 1], [10, 1.0, 1.0, 1]],
        "evaluation": {"source": {"returns": [1.0], "successes": [True]}},
        "seconds": {"training": 2.0, "evaluation": 1.0},
        "peak_memory_mb": 1.0,
        "machine": {},
    }
    path = folder / "agent-cell.json"
    path.write_text(json.dumps(record))
    assert live_study(tmp_path, "smoke").agents[0].curve_seconds == []
    path.write_text(json.dumps({**record, "curve_seconds": [1.0, 2.0]}))
    assert live_study(tmp_path, "smoke").agents[0].curve_seconds == [1.0, 2.0]
    path.write_text(json.dumps({**record, "curve_seconds": [1.0]}))
    with pytest.raises(ValueError, match="curve_seconds needs a list of 2"):
        live_study(tmp_path, "smoke")


def test_the_clock_counts_what_a_process_that_was_started_takes() -> None:
    pytest.importorskip("psutil")
    clock = family_clock(None)
    before, own = clock(), time.process_time()
    busy = "import time\nwhile time.process_time() < 0.5: pass\nprint('done', flush=True)\ntime.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", busy], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "done\n"
        seen = clock() - before
        child.kill()
    assert seen >= 0.45
    assert time.process_time() - own < seen
    # what it took stays counted after its end
    assert clock() - before >= seen


def test_seconds_of_two_processors_are_not_compared() -> None:
    curve = [(step, 2.0, 1.0, 1) for step in range(100, 1_001, 100)]
    elsewhere = {**MACHINE, "processor": "Q"}
    arms = [agent("random_policy", 0, 0.0), *(agent("factors", seed, 2.0, curve=curve) for seed in range(2))]
    arms += [agent("pixels", seed, curve=curve) for seed in range(3)]
    arms += [agent("untrained", seed, curve=curve, machine=elsewhere) for seed in range(4)]
    found = study(*arms, *(encoder("untrained", seed) for seed in range(4)))
    told = of_one_processor(found.of("SpriteReach"))
    assert list(told) == ["random_policy", "factors", "pixels"]
    assert len(told["pixels"]) == 3
    # without pixels those of the processor that most agents had
    assert list(of_one_processor({"untrained": arms[-4:], "factors": arms[1:3]})) == ["untrained"]
    assert of_one_processor({"random_policy": arms[:1]}) == {"random_policy": arms[:1]}
    cost = cost_table(found, "SpriteReach")
    assert cost is not None
    times = {row[0]: row[4] for row in cost.rows}
    assert times == {"ground-truth factors": "1.00", "pixels, end to end": "1.00", "untrained encoder": "–"}
    clock = clock_table(found, "SpriteReach")
    assert clock is not None
    assert [row[0] for row in clock.rows] == ["ground-truth factors", "pixels, end to end"]
    # with pixels on both, each is compared where it ran: twice their time on one, half of it on the other
    slow = [dataclasses.replace(one, seconds={**one.seconds, "training": 80.0}, machine=elsewhere) for one in arms[3:5]]
    quick = dataclasses.replace(arms[-1], seconds={**arms[-1].seconds, "training": 160.0})
    both = cost_table(study(*arms[:-1], quick, *slow), "SpriteReach")
    assert both is not None
    steps = {one.machine["processor"]: one.seconds["training"] / one.steps for one in (arms[3], arms[-2], slow[0])}
    expected = [one.seconds["training"] / one.steps / steps["Q"] for one in (*arms[-4:-1], quick)]
    assert {row[0]: row[4] for row in both.rows}["untrained encoder"] == f"{sum(expected) / 4:.2f}"


def test_steps_of_two_encoders_of_one_name_are_no_pairs() -> None:
    expanded = [dataclasses.replace(one, encoder=f"E{one.seed}") for one in _agents("vae_expand", 3, 100.0, _RISE)]
    plain = [dataclasses.replace(one, encoder=f"E{one.seed}") for one in _agents("vae", 3, 100.0, _RISE)]
    keypoints = [dataclasses.replace(one, encoder="K") for one in _agents("sparse_keypoints", 3, 100.0, _RISE)]
    rest = [agent("random_policy", source=0.0, steps=5_000), *_agents("factors", 3, 10.0, _RISE)]
    rest += [*expanded, *keypoints]

    def compared(*codes: AgentResult) -> set[tuple[str, str]]:
        table = paired_table(study(*rest, *codes), "SpriteReach")
        assert table is not None
        return {(row[0], row[1]) for row in table.rows}

    # of two kinds of encoder each agent has its own anyway
    others = {("sparse keypoints", "VAE")}
    assert compared(*plain) == {("VAE, expand", "VAE"), *others}
    assert compared(*plain[:2], dataclasses.replace(plain[2], encoder="trained anew")) == others


def test_who_never_gets_there_is_the_last_whatever_its_training_took() -> None:
    agents = [*_agents("vae", 4, 100.0, _RISE), dataclasses.replace(_agents("vae", 5, 1.0, _FLAT)[4])]
    found = study(
        agent("random_policy", source=0.0, steps=5_000),
        *_agents("factors", 3, 10.0, _RISE),
        *agents,
        *(_encoder(seed) for seed in range(5)),
    )
    table = clock_table(found, "SpriteReach")
    assert table is not None
    row = dict(zip(table.header, next(row for row in table.rows if row[0] == "VAE"), strict=True))
    assert row["seeds that get there"] == "4 of 5"
    # 90 seconds before and 100, 101, 102, 103 of learning; the fifth, that trained for 5, is behind them
    assert row["minutes in all"] == f"{192 / 60:.1f}"
