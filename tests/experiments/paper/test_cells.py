"""What the study consists of at every scale, counted by hand."""

from __future__ import annotations

import collections
import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from experiments.paper.cells import (
    METHODS,
    PAPER_SCALES,
    PARTS,
    Cell,
    datasets_of,
    make_cell,
    paper_cells,
    present_or_stand_in,
)
from experiments.paper.pages import RESULTS
from experiments.paper.runs import RECORD, stop_is_finished
from experiments.paper.sweep import (
    FAMILIES,
    SELECTION,
    Agreement,
    fresh_cells,
    marks_of,
    read_selection,
    select,
    sweep_cell,
    sweep_cells,
)
from experiments.reproduce_paper import StudyConfig, cells_of, main
from sparse_repr import devices
from sparse_repr.files import write_json
from sparse_repr.pretrain.presets import preset_config
from sparse_repr.pretrain.run_folder import differing_settings
from tests import ROOT
from tests.finished_cells import finished

STAND_INS = ("dsprites", "faces", "chairs3d")


def counts(cells: list[Cell]) -> dict[tuple[str, int], int]:
    """Cells by data set and steps."""
    return dict(collections.Counter((cell.dataset, cell.training.steps) for cell in cells))


@pytest.mark.parametrize(
    ("scale", "expected"),
    [
        ("smoke", {("dsprites", 20): 5, ("faces", 20): 2, ("chairs3d", 20): 1}),
        # five pixel arms of 3 seeds, two perceptual ones of one; VAE, β-VAE and sparse on the others
        ("cpu", {("dsprites", 8_000): 15, ("dsprites", 2_000): 2, ("faces", 8_000): 3, ("chairs3d", 8_000): 3}),
        # eleven methods of three seeds; of the others three methods of three and five of one
        (
            "long",
            {("dsprites", steps): seeds for steps, seeds in ((16_000, 18), (10_000, 3), (14_000, 6), (6_000, 6))}
            | {
                (dataset, steps): seeds
                for dataset in ("faces", "chairs3d")
                for steps, seeds in ((5_333, 9), (3_333, 1), (2_000, 4))
            },
        ),
        ("full", {("dsprites", 346_000): 1}),
        # nine methods on dSprites and the paper's five on the others, ten seeds each
        ("gpu", {("dsprites", 346_000): 110, ("faces", 346_000): 50, ("chairs3d", 346_000): 50}),
    ],
)
def test_cells_of_a_scale(scale: str, expected: dict[tuple[str, int], int], tmp_path: Path) -> None:
    cells = paper_cells(PAPER_SCALES[scale], tmp_path, datasets=STAND_INS)
    assert counts(cells) == expected
    assert len({cell.folder for cell in cells}) == len(cells)
    assert all(cell.training.steps == cell.stops[-1].steps for cell in cells)


def test_one_seed_of_every_arm_comes_before_the_second(tmp_path: Path) -> None:
    cells = paper_cells(PAPER_SCALES["cpu"], tmp_path, datasets=["dsprites"])
    assert [cell.seed for cell in cells] == [0] * 7 + [1] * 5 + [2] * 5
    assert cells[0].folder == tmp_path / "dsprites-vae-seed0"


def test_short_runs_compare_all_arms_at_equal_steps(tmp_path: Path) -> None:
    for cell in paper_cells(PAPER_SCALES["cpu"], tmp_path, datasets=STAND_INS):
        assert cell.stops[0].steps == 2_000
        assert (cell.training.learning_rate, cell.training.batch_size, cell.training.threads) == (1e-3, 64, 1)
    pixels = make_cell(PAPER_SCALES["cpu"], "dsprites", "vae", 0, tmp_path)
    assert [pixels.stop_folder(stop) for stop in pixels.stops] == [pixels.folder / "at-2000", pixels.folder]
    perceptual = make_cell(PAPER_SCALES["cpu"], "dsprites", "perceptual", 0, tmp_path)
    assert len(perceptual.stops) == 1
    assert (perceptual.training.perceptual_layers, perceptual.training.pixel_weight) == ("relu2_2", 0)
    assert perceptual.training.perceptual_images == 16


def test_runs_that_are_long_take_a_cosine_and_only_the_schedules_that_their_objective_has(tmp_path: Path) -> None:
    trained = {name: make_cell(PAPER_SCALES["long"], "dsprites", name, 0, tmp_path) for name in METHODS}
    vae = trained["vae"]
    assert (vae.training.learning_rate_decay, vae.training.learning_rates().decay_steps) == ("cosine", 16_000)
    assert [stop.steps for stop in vae.stops] == [16_000]
    sparse = trained["sparse"].training
    assert (vae.training.sparsity_warmup, sparse.sparsity_warmup) == (None, 2_000)
    # closed units are opened once the KL has its own weight, and the L1 penalty counts once that weight is whole again
    assert sparse.beta_steps == sparse.opening_step == 2_560
    assert sparse.sparsity_start == sparse.opening_step + sparse.opening_steps == 9_600
    # from so far above that no unit is open at first; where the objective has no such weight, from a start of its own
    assert {trained[name].training.beta_start for name in ("vae", "beta_vae", "sparse", "beta_sparse")} == {128.0}
    opened = {"vae", "beta_vae", "sparse", "beta_sparse", "perceptual_opened", "sparse_perceptual_opened"}
    assert {name for name, cell in trained.items() if cell.training.opening_ica} == opened
    assert {name for name, cell in trained.items() if cell.training.opening_recycle} == opened
    assert {trained[name].training.initialisation for name in ("factor_vae", "beta_tcvae")} == {"output_bias"}
    assert all(cell.training.objective_options().get("beta_steps", 0) <= 8_000 for cell in trained.values())
    # the published nats, by a weight at which runs leave the mean picture, and with steps left at the whole capacity
    capacity = trained["capacity"].training
    assert capacity.initialisation == "output_bias"
    assert (capacity.capacity_nats, capacity.capacity_steps, capacity.capacity_weight) == (25.0, 12_000, 10.0)


@pytest.mark.parametrize(
    ("method", "preset"),
    [
        ("vae", "vae/turned"),
        ("beta_vae", "beta_vae/turned"),
        ("sparse", "sparse/turned"),
        ("perceptual_opened", "perceptual/opened"),
        ("sparse_perceptual_opened", "sparse_perceptual/opened"),
    ],
)
def test_presets_that_pages_name_are_the_arms_whose_numbers_they_quote(
    method: str, preset: str, tmp_path: Path
) -> None:
    arm = dataclasses.asdict(make_cell(PAPER_SCALES["long"], "dsprites", method, 0, tmp_path).training)
    named = dataclasses.asdict(preset_config(f"dsprites/{preset}"))
    assert {name for name in arm if arm[name] != named[name]} == {"run_dir", "device", "threads", "progress"}


def test_the_command_on_the_page_is_the_preset_whose_numbers_follow() -> None:
    page = (ROOT / "sparse_repr/objectives/README.md").read_text(encoding="utf-8")
    command = page.partition("## Sharp and disentangled: opening")[2].partition("```")[2].partition("```")[0]
    assert command.split() == [
        *("python", "-m", "sparse_repr.pretrain"),
        *("--preset", "dsprites/vae/turned", "--run-dir", "runs/turned"),
    ]


def test_perceptual_runs_that_are_long_lower_the_kl_on_dsprites_and_end_all_schedules_in_time(tmp_path: Path) -> None:
    sprites, photographs = (
        make_cell(PAPER_SCALES["long"], dataset, "sparse_perceptual", 0, tmp_path).training
        for dataset in ("dsprites", "celeba")
    )
    assert (sprites.steps, sprites.batch_size, sprites.initialisation) == (6_000, 32, "output_bias")
    assert (sprites.beta_start, sprites.beta_steps, sprites.perceptual_weight) == (4.0, 2_700, 0.5)
    assert (photographs.steps, photographs.initialisation, photographs.perceptual_weight) == (2_000, "he", 1.0)
    for run in (sprites, photographs):
        options = run.objective_options()
        assert options["sparsity_start"] + options["sparsity_warmup"] < 0.7 * run.steps


@pytest.mark.parametrize("method", ["perceptual_opened", "sparse_perceptual_opened"])
def test_arms_that_start_with_pixels_end_without_at_every_scale(method: str, tmp_path: Path) -> None:
    for name, scale in PAPER_SCALES.items():
        run = make_cell(scale, "dsprites", method, 0, tmp_path).training
        settings = run.perceptual()
        assert settings.pixel_start == 1.0
        # the features of smoke are those of an autoencoder, which have no levels and count from step 0
        assert (settings.features_from > 0) == settings.compares_vgg16
        assert settings.features_from + settings.pixel_steps < run.steps
        assert settings.pixel_weight == 0
        assert run.objective_options()["opening_step"] > 0, name
    long = make_cell(PAPER_SCALES["long"], "dsprites", method, 0, tmp_path).training
    assert (long.steps, long.batch_size, long.perceptual_images, long.initialisation) == (14_000, 64, 32, "he")


def test_published_cells_have_the_settings_they_were_trained_by(tmp_path: Path) -> None:
    scale = PAPER_SCALES["cpu"]
    asked = {
        cell.name: cell for cell in [*paper_cells(scale, tmp_path, datasets=STAND_INS), *sweep_cells(scale, tmp_path)]
    }
    compared = set()
    for path in (RESULTS / "cpu" / "cells").iterdir():
        record = json.loads(path.read_text(encoding="utf-8"))["record"]
        if record["last"] and record["cell"] in asked:
            # published without the places of files
            write_json(
                tmp_path / "config.json", {"data_path": None, "perceptual_weights_path": None, **record["training"]}
            )
            # bf16 where the processor of that machine multiplied it
            again = dataclasses.replace(asked[record["cell"]].training, precision=record["training"]["precision"])
            assert not differing_settings(tmp_path, again.resolve()), path.name
            compared.add(record["cell"])
    assert {"dsprites-vae-seed0", "dsprites-perceptual-seed0", "dsprites-sparse_perceptual-seed0"} <= compared


@pytest.mark.parametrize("native", [True, False])
def test_what_runs_on_a_cpu_takes_bf16_only_where_it_is_multiplied(
    native: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "_processor_multiplies_bf16", lambda: native)
    for scale in (PAPER_SCALES[name] for name in ("cpu", "long", "full")):
        run = make_cell(scale, "dsprites", "vae", 0, tmp_path).training
        assert run.resolve().precision == ("bf16" if native else "float32")


def test_methods_are_what_their_names_say(tmp_path: Path) -> None:
    training = {name: make_cell(PAPER_SCALES["cpu"], "dsprites", name, 3, tmp_path).training for name in METHODS}
    assert (training["beta_vae"].objective, training["beta_vae"].beta) == ("beta_vae", 4)
    assert (training["beta_sparse"].beta, training["beta_sparse"].sparsity_weight) == (4, 1)
    assert (training["sparse"].beta, training["sparse"].sparsity_weight) == (1, 1)
    assert training["sparse_perceptual"].objective == "sparse"
    assert training["sparse_perceptual"].perceptual_weight == training["perceptual"].perceptual_weight == 1
    assert training["perceptual"].beta_start is None  # as they were computed
    assert training["capacity"].capacity_steps == 8_000  # spans the run
    assert {config.seed for config in training.values()} == {3}
    full = make_cell(PAPER_SCALES["gpu"], "dsprites", "capacity", 0, tmp_path).training
    assert (full.capacity_steps, full.device, full.learning_rate) == (100_000, "cuda", 1e-3)
    # a stand-in is trained by the recipe of what it stands in for
    assert make_cell(PAPER_SCALES["gpu"], "faces", "beta_vae", 0, tmp_path).training.beta == 10
    with pytest.raises(ValueError, match="unknown method 'betavae'. Did you mean 'beta_vae'"):
        make_cell(PAPER_SCALES["cpu"], "dsprites", "betavae", 0, tmp_path)
    with pytest.raises(ValueError, match="unknown data set of the study 'mpi3d'"):
        make_cell(PAPER_SCALES["cpu"], "mpi3d", "vae", 0, tmp_path)


def test_parts_name_their_data_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert datasets_of(["fig5", "table1", "fig3"]) == ["dsprites", "chairs"]
    assert datasets_of(list(PARTS)) == ["dsprites", "celeba", "chairs"]
    monkeypatch.delenv("SPARSE_REPR_DATA", raising=False)
    assert [present_or_stand_in(name) for name in ("dsprites", "celeba", "chairs")] == list(STAND_INS)
    chosen = cells_of(StudyConfig("cpu", only="table2", out=str(tmp_path)))
    assert [cell.name for cell in chosen] == ["faces-vae-seed0", "faces-beta_vae-seed0", "faces-sparse-seed0"]
    more = cells_of(StudyConfig("cpu", dataset="faces", method="perceptual,factor_vae", seeds="0,5", out=str(tmp_path)))
    assert [(cell.method, cell.seed) for cell in more] == [
        ("perceptual", 0),
        ("factor_vae", 0),
        ("perceptual", 5),
        ("factor_vae", 5),
    ]


def test_the_sweep_gives_every_family_as_many_tries(tmp_path: Path) -> None:
    assert {len(family.configurations) for family in FAMILIES.values()} == {6}
    cells = sweep_cells(PAPER_SCALES["cpu"], tmp_path)
    # two seeds of 4 x 6 configurations and the VAE, and three perceptual cells
    assert len(cells) == 2 * 25 + 3
    assert {cell.dataset for cell in cells} == {"dsprites"}
    arms = {cell.name: cell for cell in paper_cells(PAPER_SCALES["cpu"], tmp_path, datasets=["dsprites"])}
    shared = {cell.name for cell in cells} & set(arms)
    # VAE, β = 4, L1 1 on the mean with β 1 and 4, for both seeds; perceptual and sparse + perceptual
    assert len(shared) == 2 * 4 + 2
    assert all(arms[cell.name] == cell for cell in cells if cell.name in shared)
    assert "dsprites-sparse-weight4-output-seed1" in {cell.name for cell in cells}
    assert marks_of({"beta": 2}) == "-beta2"


def test_the_choice_needs_a_whole_family(tmp_path: Path) -> None:
    expected = r"run --only sweep first; missing of beta 12 \(such as dsprites-beta_vae-beta2-seed0\), sparse 12 "
    with pytest.raises(ValueError, match=expected):
        select(PAPER_SCALES["cpu"], tmp_path)


Configurations = Mapping[str, Sequence[Sequence[Cell]]]


def first_agrees_best(families: Configurations) -> dict[str, list[Agreement]]:
    """UDR that falls from one configuration of a family to the next, while that by KL rises."""
    return {
        name: [Agreement([0.9 - place / 100, 0.2], [0.1 + place / 100] * 2) for place in range(len(configurations))]
        for name, configurations in families.items()
    }


def last_agrees_best(families: Configurations) -> dict[str, list[Agreement]]:
    """The other way round."""
    return {name: agreements[::-1] for name, agreements in first_agrees_best(families).items()}


def test_what_was_chosen_elsewhere_stands_where_its_cells_are_not(tmp_path: Path) -> None:
    here, published, scale = tmp_path / "here", tmp_path / "published", PAPER_SCALES["cpu"]

    def only_beta(cell: Cell) -> bool:
        return cell.method.startswith("beta_vae")

    assert select(scale, here, finished=only_beta, udr=first_agrees_best) == {"beta": {"beta": 2}}
    there = select(
        scale, published, finished=lambda cell: not cell.method.startswith("beta_tcvae"), udr=last_agrees_best
    )
    assert list(there) == ["beta", "sparse", "beta_sparse"]
    assert there["beta"] == {"beta": 16}
    merged = select(scale, here, published=published, finished=only_beta, udr=first_agrees_best)
    assert merged == {**there, "beta": {"beta": 2}}
    written = read_selection(here)
    assert written is not None
    assert list(written["families"]) == list(merged)


def test_cells_of_the_sweep_are_evaluated_briefly_but_for_the_arms_of_the_paper(tmp_path: Path) -> None:
    scale = PAPER_SCALES["cpu"]
    for cell in sweep_cells(scale, tmp_path):
        is_arm = cell.method in METHODS
        assert (cell.stops[-1].lpips_items > 0) == is_arm
        assert (cell.stops[-1].metrics == scale.metrics) == is_arm
    fresh = sweep_cell(scale, "vae", {}, 100, tmp_path)
    assert fresh.name == "dsprites-vae-seed100"
    assert [stop.lpips_items for stop in fresh.stops] == [0]


def test_a_record_from_before_a_setting_of_the_evaluation_was_done_by_its_default(tmp_path: Path) -> None:
    cell = paper_cells(PAPER_SCALES["cpu"], tmp_path, datasets=["dsprites"], methods=["vae"])[0]
    evaluation = dataclasses.asdict(cell.stops[0])
    del evaluation["lpips_items"]
    record = {**finished("vae").record, "evaluation": evaluation}
    write_json(cell.stop_folder(cell.stops[0]) / RECORD, record)
    assert stop_is_finished(cell, cell.stops[0])
    assert not stop_is_finished(cell, cell.stops[1])


def test_the_choice_sees_no_factor(tmp_path: Path) -> None:
    chosen = select(PAPER_SCALES["cpu"], tmp_path, finished=lambda _: True, udr=last_agrees_best)
    assert chosen == {name: family.configurations[-1] for name, family in FAMILIES.items()}
    assert (tmp_path / SELECTION).is_file()
    fresh = fresh_cells(PAPER_SCALES["cpu"], tmp_path, chosen)
    assert sorted({cell.seed for cell in fresh}) == [100, 101, 102]
    assert len(fresh) == 3 * 5


def test_wrong_words_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="unknown table or figure 'table4'. Did you mean 'table"):
        StudyConfig("cpu", only="table4")
    with pytest.raises(ValueError, match="processes needs a whole number in 1..1024, got 0"):
        StudyConfig("cpu", processes=0)
    assert main(["--scale", "cpu", "--dataset", "mpi3d", "--out", str(tmp_path)]) == 2
    assert "unknown data set of the study 'mpi3d'" in capsys.readouterr().err


def test_a_full_protocol_needs_a_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert main(["--scale", "gpu", "--only", "table1", "--out", str(tmp_path)]) == 2
    assert "--scale gpu needs a CUDA GPU, none is available here; use --scale cpu" in capsys.readouterr().err
