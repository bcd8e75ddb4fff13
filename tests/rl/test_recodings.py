"""Recodings by hand, and what they need."""

from __future__ import annotations

import copy
import math
import pickle
from typing import Any

import numpy as np
import pytest
import torch

from rl.code_recoding import CodeRecoding
from rl.recodings import RECODINGS, recoding_of
from sparse_repr.encoder import UnitStatistics

# unit 0 has mean 1 and standard deviation 2, unit 1 mean 0 and 1, unit 2 is dead
UNITS = UnitStatistics((1.0,) * 3, (1.0, 0.0, 5.0), (2.0, 1.0, 1e-3), (True, True, False))
ALONE = UnitStatistics((1.0,), (0.0,), (1.0,), (True,))
# the first numbers of numpy.random.RandomState(0).standard_normal
W = (1.76405235, 0.40015721, 0.97873798, 2.2408932)


def _shown(recode: Any, codes: list[list[float]], units: UnitStatistics = ALONE) -> list[list[float]]:
    return CodeRecoding(units, recode).numpy(np.array(codes, np.float32)).tolist()


def test_expand_sets_the_largest_projections_to_1() -> None:
    expand = {"name": "expand", "width": 4, "k": 2}
    # h = z W: the largest for z > 0 are 0 and 3, for z < 0 the smallest of W, 1 and 2
    assert _shown(expand, [[0.5], [-3.0]]) == [[1, 0, 0, 1], [0, 1, 1, 0]]
    assert _shown({"name": "expand", "width": 15}, [[1.0]])[0].count(1) == 1
    codes = np.random.default_rng(0).standard_normal((50, 3)).astype(np.float32)
    shown = CodeRecoding(UNITS, "expand").numpy(codes)
    assert set(np.unique(shown)) == {0, 1}
    assert (shown.sum(1) == 6).all()  # 2 D
    assert len(np.unique(shown, axis=0)) > 8  # two active units tell a direction in the plane
    # of a code the direction counts, not the length
    assert _shown(expand, [[0.01], [100.0]]) == [[1, 0, 0, 1]] * 2


def test_project_cosine_and_simplicial_by_hand() -> None:
    for z in (0.5, -2.0):
        assert _shown({"name": "project", "width": 4}, [[z]])[0] == pytest.approx([z * w for w in W])
        shown = _shown({"name": "simplicial", "width": 4, "group": 2, "temperature": 0.7}, [[z]])[0]
        first = [1 / (1 + math.exp(z * (W[i + 1] - W[i]) / 0.7)) for i in (0, 2)]
        assert shown == pytest.approx([first[0], 1 - first[0], first[1], 1 - first[1]])
        # RandomState(0): four normal numbers, then 0.118..., 0.639...
        random = np.random.RandomState(0)
        assert random.standard_normal(4).tolist() == pytest.approx(W)
        phases = 2 * math.pi * random.random_sample(4)
        expected = [math.cos(z * w / 1.5 + phase) for w, phase in zip(W, phases, strict=True)]
        assert _shown({"name": "cosine", "width": 4, "bandwidth": 1.5}, [[z]])[0] == pytest.approx(expected, abs=1e-6)


def test_projections_are_divided_by_the_root_of_the_active_units() -> None:
    # code (3, 1, .) is z = (1, 1); W (3, 1) = W[0], W[1], W[2], of which the last one counts for nothing
    code = [[3.0, 1.0, 7.0]]
    total = (W[0] + W[1]) / math.sqrt(2)
    assert _shown({"name": "project", "width": 1}, code, UNITS)[0] == pytest.approx([total])
    random = np.random.RandomState(0)
    random.standard_normal(3)
    expected = math.cos(total / 0.3 + 2 * math.pi * random.random_sample())
    assert _shown({"name": "cosine", "width": 1}, code, UNITS)[0] == pytest.approx([expected], abs=1e-5)


def test_one_hot_bins_are_normal_quantiles() -> None:
    four = {"name": "one_hot", "bins": 4}  # of a normal distribution: at -0.674, 0 and 0.674
    assert _shown(four, [[-0.68], [-0.67], [0.0], [0.67], [0.68], [9.0]]) == [
        [1, 0, 0, 0],
        [0, 1, 0, 0],
        [0, 0, 1, 0],
        [0, 0, 1, 0],
        [0, 0, 0, 1],
        [0, 0, 0, 1],
    ]
    # in standard deviations from the mean of each unit; nothing of a dead one
    assert _shown(four, [[0.0, 1.0, 5.0]], UNITS) == [[0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0]]


def test_tiles_fade_out_over_eta() -> None:
    tiles = {"name": "tiles", "tiles": 4, "bound": 1.0, "eta": 0.4}
    # tiles -1..-0.5, -0.5..0, 0..0.5 and 0.5..1
    for z, expected in (
        (0.25, [0, 0.75, 1, 0.75]),
        (-0.9, [1, 0.6, 0, 0]),
        (0.05, [0, 0.95, 1, 0]),
        (4.0, [0, 0, 0, 1]),  # clipped to the bound
    ):
        assert _shown(tiles, [[z]])[0] == pytest.approx(expected, abs=1e-6)
    assert _shown(tiles, [[1.5, 0.0, 5.0]], UNITS)[0][8:] == [0, 0, 0, 0]


def test_defaults_stay_what_agents_were_trained_on() -> None:
    assert [recoding_of(name).resolved(10).settings() for name in RECODINGS] == [
        {"name": "expand", "width": 200, "seed": 0, "k": 20},
        {"name": "cosine", "width": 200, "seed": 0, "bandwidth": 0.3},
        {"name": "one_hot", "bins": 8},
        {"name": "tiles", "tiles": 20, "bound": 2.0, "eta": 0.2},
        {"name": "simplicial", "width": 200, "seed": 0, "group": 10, "temperature": 0.5},
        {"name": "project", "width": 200, "seed": 0},
    ]
    assert [recoding_of(name).size(32) for name in RECODINGS] == [640, 640, 256, 640, 640, 640]


@pytest.mark.parametrize("name", RECODINGS)
def test_all_of_them(name: str) -> None:
    codes = torch.randn(20, 3, generator=torch.Generator().manual_seed(1), requires_grad=True)
    recoding = CodeRecoding(UNITS, name)
    shown = recoding.torch(codes)
    assert shown.shape == (20, recoding.width)
    assert torch.equal(shown, CodeRecoding(UNITS, name).torch(codes))
    assert np.array_equal(shown.detach().numpy(), recoding.numpy(codes.detach().numpy()))
    assert torch.equal(shown, CodeRecoding(UNITS, recoding.settings).torch(codes))
    for other in (copy.deepcopy(recoding), pickle.loads(pickle.dumps(recoding))):
        assert torch.equal(shown, other.torch(codes))
    # a dead unit, whatever it does, changes nothing
    assert torch.equal(shown, recoding.torch(codes + torch.tensor([0.0, 0.0, 100.0])))
    assert recoding.torch(codes.to(torch.bfloat16)).dtype == torch.bfloat16
    if "seed" in recoding.settings:
        assert not torch.equal(shown, CodeRecoding(UNITS, {"name": name, "seed": 1}).torch(codes))
    assert shown.requires_grad == recoding.differentiable
    if recoding.differentiable:
        (shown * torch.randn(recoding.width, generator=torch.Generator().manual_seed(2))).sum().backward()
        assert codes.grad is not None
        assert (codes.grad[:, :2] != 0).any(0).all()
        assert (codes.grad[:, 2] == 0).all()


@pytest.mark.parametrize(
    ("recode", "message"),
    [
        ("expnd", r"unknown recode 'expnd'\. Did you mean 'expand'"),
        (3, r"recode needs one of expand, cosine, .* or a mapping such as .*, got 3"),
        ({"width": 3}, "recode needs one of expand, cosine"),
        ({"name": "expand", "wide": 3}, "recode='expand' has the settings width, seed, k, got wide"),
        ({"name": "expand", "width": 0}, r"recode='expand': width needs a whole number in 1\.\.1048576, got 0"),
        ({"name": "expand", "width": 4, "k": 5}, r"recode='expand': k needs a whole number in 1\.\.4, got 5"),
        ({"name": "expand", "k": 61}, r"recode='expand': k needs a whole number in 1\.\.60, got 61"),
        ({"name": "project", "seed": -1}, r"recode='project': seed needs a whole number in 0\.\.4294967295, got -1"),
        ({"name": "cosine", "bandwidth": 0}, "recode='cosine': bandwidth needs a positive number, got 0"),
        ({"name": "one_hot", "bins": 1}, r"recode='one_hot': bins needs a whole number in 2\.\.1000, got 1"),
        ({"name": "tiles", "eta": 2.0}, "recode='tiles': eta needs at most 1, got 2.0"),
        ({"name": "simplicial", "group": 7}, "recode='simplicial': width needs a multiple of group, 7, got 60"),
    ],
)
def test_errors_name_the_argument(recode: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        CodeRecoding(UNITS, recode)


def test_an_encoder_without_active_units_has_nothing_to_recode() -> None:
    dead = UnitStatistics((0.0,), (0.0,), (0.0,), (False,))
    with pytest.raises(ValueError, match="recode='expand' needs active units, but none of the 1 units was active"):
        CodeRecoding(dead, "expand")
