"""Seeds and weights of a study: how they are written, combined and named."""

from __future__ import annotations

from pathlib import Path

import pytest

from sparse_repr import PretrainConfig
from sparse_repr.pretrain.__main__ import main, take_weight_lists
from sparse_repr.pretrain.variations import parse_seeds, parse_weights, vary


@pytest.mark.parametrize(
    ("text", "seeds"), [("7", [7]), ("0-3", [0, 1, 2, 3]), ("0,2,5-7", [0, 2, 5, 6, 7]), ("4 , 1-1", [4, 1])]
)
def test_seeds_are_numbers_and_ranges(text: str, seeds: list[int]) -> None:
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("3-1", "needs ranges that go up, got '3-1'; write 1-3"),
        ("0,0-2", "needs every seed once, got 0 more than once"),
        ("", "needs numbers and ranges such as 0-15 or 0,2,5-7, got ''"),
        ("1,,2", "numbers and ranges"),
        ("-1", "numbers and ranges"),
        ("1.5", "numbers and ranges"),
    ],
)
def test_other_seeds_are_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_seeds(text)


def test_weights_are_numbers_that_differ() -> None:
    assert parse_weights("beta", "0,1e-3,4") == [0.0, 0.001, 4.0]
    with pytest.raises(ValueError, match="--sparsity-weight needs a number, or numbers separated by commas, got '1,x'"):
        parse_weights("sparsity_weight", "1,x")
    with pytest.raises(ValueError, match="--beta needs every value once, got '1,1.0'"):
        parse_weights("beta", "1,1.0")


def test_every_combination_gets_a_folder_of_its_own() -> None:
    seeds_alone = vary(PretrainConfig(), seeds=[0, 3])
    # the names of single runs, so that one of them can be continued by --seed alone
    assert [config.run_folder() for config in seeds_alone] == [PretrainConfig(seed=k).run_folder() for k in (0, 3)]
    config = PretrainConfig(run_dir="study", batch_size=8, seed=2)
    varied = vary(config, weights={"beta": [1.0], "sparsity_weight": [0.0, 0.25]})
    assert [(member.seed, member.beta, member.sparsity_weight) for member in varied] == [(2, 1, 0), (2, 1, 0.25)]
    assert varied[1].run_folder() == Path("study/dsprites-sparse-beta1-sparsity_weight0.25-seed2")
    assert {member.batch_size for member in varied} == {8}
    with pytest.raises(ValueError, match="objective 'vae' has no beta"):
        vary(PretrainConfig(objective="vae"), weights={"beta": [1.0, 2.0]})


def test_lists_are_taken_from_the_command_line() -> None:
    arguments = ["--beta", "1,4", "--steps", "3", "--sparsity_weight=0,1", "--code-size", "4", "--beta"]
    lists, others = take_weight_lists(arguments)
    assert lists == {"beta": [1.0, 4.0], "sparsity_weight": [0.0, 1.0]}
    assert others == ["--steps", "3", "--code-size", "4", "--beta"]
    assert take_weight_lists(["--beta", "4"]) == ({}, ["--beta", "4"])
    with pytest.raises(ValueError, match="--beta needs one list, got several"):
        take_weight_lists(["--beta", "1,4", "--beta", "2,3"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seeds", "3-1"], "ranges that go up"),
        (["--seeds", "0,1", "--seed", "3"], "--seeds takes the place of --seed"),
        (["--sparsity-weight", "0,-1"], "sparsity_weight needs a finite number of at least 0, got -1"),
        (["--objective", "factor_vae", "--seeds", "0,1", "--together", "vectorized"], "trains a discriminator"),
    ],
)
def test_the_command_line_says_what_is_wrong(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "--run-dir", str(tmp_path / "runs")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
