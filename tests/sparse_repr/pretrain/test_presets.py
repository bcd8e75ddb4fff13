from __future__ import annotations

from pathlib import Path

import pytest

from experiments.agents.cells import encoder_cell
from experiments.agents.scales import AGENT_SCALES
from sparse_repr import PretrainConfig
from sparse_repr.data import DATASETS
from sparse_repr.pretrain import __main__ as pretrain
from sparse_repr.pretrain.__main__ import main, take_preset
from sparse_repr.pretrain.config import PretrainConfig as Config
from sparse_repr.pretrain.presets import (
    FAST,
    KEYPOINT_RECIPES,
    ONE_RESOLUTION,
    PRESETS,
    RECIPES,
    SPARSE_CODE_RECIPES,
    opened,
    preset_config,
)


def test_every_data_set_has_every_recipe() -> None:
    published = {f"{dataset}/{recipe}" for dataset in DATASETS for recipe in RECIPES}
    of_pixels = ("vae", "beta_vae", "beta_vae_capacity", "beta_tcvae", "sparse")
    steady = {f"{dataset}/{recipe}/steady" for dataset in DATASETS for recipe in of_pixels}
    places = {f"{dataset}/{recipe}" for dataset in DATASETS for recipe in KEYPOINT_RECIPES}
    of_zeros = ("top_k", "batch_top_k", "jump_relu", "rectified_gaussian", "vaease")
    sparse = {f"{dataset}/{recipe}" for dataset in DATASETS for recipe in of_zeros}
    robust = {f"{dataset}/vae_robust" for dataset in DATASETS}
    opened = {
        f"dsprites/{recipe}/opened" for recipe in ("vae", "beta_vae", "sparse", "perceptual", "sparse_perceptual")
    }
    turned = {f"dsprites/{recipe}/turned" for recipe in ("vae", "beta_vae", "sparse")}
    fast = {"fast", *(f"{name}/fast" for name in published)}
    assert set(PRESETS) == {*published, *places, *sparse, *robust, *fast, *steady, *opened, *turned}
    assert set(KEYPOINT_RECIPES) == {
        *("keypoints", "sparse_keypoints", "sparse_keypoints_denoised", "sparse_keypoints_looks"),
        "sparse_keypoints_robust",
    }
    assert set(RECIPES) == {
        *("vae", "beta_vae", "beta_vae_capacity", "factor_vae", "beta_tcvae"),
        *("sparse", "perceptual", "sparse_perceptual", "feature_prediction"),
    }


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_every_preset_is_a_configuration(name: str) -> None:
    config = preset_config(name)
    assert config.dataset == (name.split("/")[0] if name != "fast" else "dsprites")
    sizes = {
        **dict.fromkeys(KEYPOINT_RECIPES, (32, 96)),
        "sparse_keypoints_looks": (32, 56),
        **dict.fromkeys(SPARSE_CODE_RECIPES, (64, 64)),
    }
    assert (config.batch_size, config.code_size) == sizes.get(name.split("/")[-1], (64, 10))


@pytest.mark.parametrize("recipe", SPARSE_CODE_RECIPES)
def test_sparse_codes_of_presets_are_those_of_the_study_that_compares_them(recipe: str) -> None:
    config = preset_config(f"h5/{recipe}")
    studied = encoder_cell(AGENT_SCALES["kinds"], "SpriteReach", recipe, 0, Path("nowhere")).training
    assert studied is not None
    same = ("objective", "code_size", "steps", "batch_size", "learning_rate", "initialisation")
    assert [getattr(config, name) for name in same] == [getattr(studied, name) for name in same]
    assert config.pixel_reconstruction() == studied.pixel_reconstruction()
    assert config.objective_options() == studied.objective_options()
    assert config.objective_weights() == studied.objective_weights()


def test_the_robust_vae_is_that_of_the_study() -> None:
    config = preset_config("h5/vae_robust")
    studied = encoder_cell(AGENT_SCALES["cpu"], "SpriteReach", "vae_robust", 0, Path("nowhere")).training
    assert studied is not None
    same = ("objective", "code_size", "steps", "batch_size", "learning_rate", "initialisation")
    assert [getattr(config, name) for name in same] == [getattr(studied, name) for name in same]
    assert config.pixel_reconstruction() == studied.pixel_reconstruction()
    assert (config.denoising(), config.random_shift) == (studied.denoising(), studied.random_shift)


def test_published_settings() -> None:
    assert preset_config("dsprites/beta_vae").objective_weights() == {"beta": 4.0}
    assert preset_config("dsprites/beta_tcvae").objective_weights()["total_correlation_weight"] == 6.4
    capacity = preset_config("dsprites/beta_vae_capacity")
    assert (capacity.learning_rate, capacity.objective_weights()) == (1e-3, {"capacity_weight": 100.0})
    assert capacity.objective_options() == {"capacity_nats": 25.0, "capacity_steps": 100_000}
    factor = preset_config("dsprites/factor_vae")
    assert (factor.learning_rate, factor.objective_weights()) == (1e-4, {"total_correlation_weight": 6.4})
    assert factor.objective_options()["discriminator_learning_rate"] == 1e-4
    assert preset_config("h5/factor_vae").objective_options()["discriminator_learning_rate"] == 1e-5
    both = preset_config("dsprites/sparse_perceptual")
    # half of the squared error's scale, a Gaussian of unit variance, and the KL from above so that positions come first
    assert (both.objective, both.pixel_weight, both.perceptual_weight) == ("sparse", 0.0, 0.5)
    assert (both.initialisation, both.objective_options()["beta_start"]) == ("output_bias", 4.0)
    drawn = preset_config("faces/sparse_perceptual")
    assert (drawn.initialisation, drawn.perceptual_weight, drawn.objective_options()["beta_steps"]) == ("he", 1.0, 0)
    assert str(both.run_folder()) == "runs/dsprites-sparse-perceptual-seed0"


@pytest.mark.parametrize("recipe", ["perceptual", "sparse_perceptual", "sparse_perceptual/fast"])
def test_perceptual_presets_go_from_coarse_to_fine_whatever_the_length_and_size(recipe: str) -> None:
    short = preset_config(f"faces/{recipe}", steps=1_000, device="cpu").resolve()
    assert (short.perceptual_levels, short.perceptual_scale) == ("8,16,32@120:1/4,64@350:1/8", "data")
    # the penalty joins with the last level, where there is one
    assert short.objective_options().get("sparsity_start", 350) == 350
    small = preset_config(f"faces/{recipe}", steps=1_000, image_size=32, device="cpu").resolve()
    assert small.perceptual_levels == "8,16,32@120:1/4"
    trained = preset_config(f"faces/{recipe}", perceptual_features="dae", device="cpu").resolve()
    assert (trained.perceptual_levels, trained.objective_options().get("sparsity_start", 0)) == (None, 0)
    earlier = preset_config(f"faces/{recipe}", **ONE_RESOLUTION, device="cpu")
    assert earlier.resolve().perceptual_levels is None
    assert earlier.objective_options().get("sparsity_start", 0) == 0


def test_fast_changes_how_a_recipe_is_trained_and_not_what_is_minimised() -> None:
    for name in PRESETS:
        if name.endswith("/fast"):
            published, fast = preset_config(name.removesuffix("/fast")), preset_config(name)
            assert fast.objective_weights() == published.objective_weights()
            differing = {field for field, value in vars(published).items() if getattr(fast, field) != value}
            assert differing <= {*FAST, "capacity_steps", "beta_steps"}
            assert fast.objective_options().get("beta_steps", 0) <= FAST["steps"] / 2
            assert "steps" in differing
            assert fast.initialisation == "he"
    assert preset_config("fast") == PretrainConfig(**FAST)
    assert preset_config("dsprites/beta_vae/fast") == PretrainConfig(objective="beta_vae", beta=4.0, **FAST)
    assert preset_config("dsprites/factor_vae/fast").learning_rate == 1e-4
    assert preset_config("dsprites/beta_vae_capacity/fast").objective_options()["capacity_steps"] == FAST["steps"]
    with pytest.raises(ValueError, match="unknown preset 'fats'. Did you mean 'fast'"):
        preset_config("fats")
    with pytest.raises(ValueError, match="unknown preset 'dsprites/sparse/fas'. Did you mean 'dsprites/sparse/fast'"):
        preset_config("dsprites/sparse/fas")


def test_steady_changes_how_a_recipe_starts_and_of_the_weights_only_that_of_a_capacity() -> None:
    for name in PRESETS:
        if name.endswith("/steady"):
            published, steady = preset_config(name.removesuffix("/steady")), preset_config(name)
            if published.objective != "beta_vae_capacity":
                assert steady.objective_weights() == published.objective_weights()
            assert (steady.initialisation, steady.learning_rates()(9_999)) == (
                "output_bias",
                pytest.approx(1e-5, abs=1e-7),
            )
    options = {name: preset_config(f"dsprites/{name}/steady").objective_options() for name in ("vae", "sparse")}
    assert options["vae"] == {"beta_start": 10.0, "beta_steps": 1_000, "opening_step": 0, "opening_steps": 0}
    assert (options["sparse"]["beta_start"], options["sparse"]["sparsity_warmup"]) == (10.0, 1_000)
    assert preset_config("celeba/beta_vae/steady").beta_start == 25.0
    capacity = preset_config("dsprites/beta_vae_capacity/steady")
    assert capacity.objective_weights() == {"capacity_weight": 10.0}
    assert capacity.objective_options() == {"capacity_nats": 12.0, "capacity_steps": 7_500}


def test_opened_has_its_schedule_in_every_length_and_changes_no_weight() -> None:
    for recipe in ("vae", "beta_vae", "sparse"):
        published, config = preset_config(f"dsprites/{recipe}"), preset_config(f"dsprites/{recipe}/opened")
        assert config.objective_weights() == published.objective_weights()
        assert (config.initialisation, config.steps) == ("he", 4_000)
        assert (config.beta_start, config.opening_ica, config.opening_recycle) == (64.0, False, False)
        options = config.objective_options()
        assert (options["beta_steps"], options["opening_step"], options["opening_steps"]) == (640, 640, 1_760)
    assert options["sparsity_start"] == 2_400  # the L1 penalty would close what was opened
    short = PretrainConfig(**{**PRESETS["dsprites/sparse"], **opened("sparse", 7)})
    assert (short.objective_options()["opening_step"], short.objective_options()["opening_steps"]) == (1, 3)
    with pytest.raises(ValueError, match="steps needs at least 28 for the parts of this schedule, got 27"):
        opened("perceptual", 27)
    with pytest.raises(ValueError, match="steps needs at least 7 for the parts of this schedule, got 6"):
        opened("vae", 6)
    with pytest.raises(ValueError, match="unknown recipe whose units can be opened 'factor_vae'"):
        opened("factor_vae", 100)


@pytest.mark.parametrize("recipe", ["vae", "beta_vae", "sparse"])
def test_turned_is_opened_with_time_for_the_first_units(recipe: str) -> None:
    published, config = preset_config(f"dsprites/{recipe}"), preset_config(f"dsprites/{recipe}/turned")
    assert config.objective_weights() == published.objective_weights()
    assert (config.steps, config.beta_start, config.opening_ica, config.opening_recycle) == (16_000, 128.0, True, True)
    assert (config.beta_steps, config.opening_step, config.opening_steps) == (2_560, 2_560, 7_040)


def test_units_are_turned_where_the_first_part_has_2_000_steps() -> None:
    assert [opened("vae", steps)["opening_ica"] for steps in (12_500, 76_000)] == [True, True]
    assert "opening_ica" not in opened("vae", 12_499)
    assert opened("perceptual", 11_200)["opening_ica"]
    assert "opening_ica" not in opened("perceptual", 11_199)


def test_the_first_part_of_a_long_run_is_no_longer_than_that_of_the_preset() -> None:
    # 12,160 steps of so large a weight left no unit open
    long = PretrainConfig(**{**PRESETS["dsprites/sparse"], **opened("sparse", 76_000)})
    options = long.objective_options()
    assert (options["beta_steps"], options["opening_step"], options["opening_steps"]) == (2_560, 2_560, 33_440)
    assert (options["sparsity_start"], long.learning_rate_warmup) == (2_560 + 33_440, 400)
    features = opened("perceptual", 76_000)
    assert (features["beta_steps"], features["opening_step"], features["learning_rate_warmup"]) == (2_560, 2_560, 400)


@pytest.mark.parametrize("recipe", ["perceptual", "sparse_perceptual"])
def test_opened_with_a_perceptual_loss_ends_on_the_features_alone(recipe: str) -> None:
    config = preset_config(f"dsprites/{recipe}/opened")
    assert (config.steps, config.batch_size, config.perceptual_images) == (14_000, 64, 32)
    settings = config.perceptual()
    assert (settings.features_from, settings.complete_from) == (9_500, 9_500)
    # from step 10,500 on there is no pixel in the loss, as the paper has it
    assert (settings.pixel_start, settings.pixel_steps, settings.pixel_weight) == (1.0, 1_000, 0.0)
    options = config.objective_options()
    assert (options["beta_steps"], options["opening_step"], options["opening_steps"]) == (2_500, 2_500, 6_500)
    assert (config.beta_start, config.opening_ica, config.opening_recycle) == (128.0, True, True)
    if recipe == "sparse_perceptual":
        resolved = config.resolve()
        assert (resolved.sparsity_start, resolved.sparsity_warmup, resolved.sparsity_weight) == (9_500, 500, 1.0)
    brief = PretrainConfig(**{**PRESETS[f"dsprites/{recipe}"], **opened(recipe, 28)}).perceptual()
    assert (brief.features_from, brief.pixel_steps) == (19, 2)


def test_changes_override_a_preset() -> None:
    assert preset_config("dsprites/beta_vae", beta=8.0, seed=3) == PretrainConfig(
        objective="beta_vae", beta=8.0, seed=3
    )
    with pytest.raises(ValueError, match="unknown preset 'dsprites/spars'. Did you mean 'dsprites/sparse'"):
        preset_config("dsprites/spars")
    with pytest.raises(ValueError, match="objective 'vae' has no beta"):
        preset_config("dsprites/beta_vae", objective="vae")


def test_the_command_line_takes_presets_and_explicit_flags_win(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[Config] = []

    def record(config: Config) -> Path:
        seen.append(config)
        return config.run_folder()

    monkeypatch.setattr(pretrain, "pretrain_encoder", record)
    assert main(["--preset", "dsprites/beta_vae_capacity", "--learning-rate", "0.01", "--seed", "5"]) == 0
    assert main(["--steps", "7", "--preset=dsprites/beta_tcvae"]) == 0
    assert main([]) == 0
    assert main(["--preset", "fast", "--steps", "9"]) == 0
    assert (seen[0].objective, seen[0].learning_rate, seen[0].capacity_nats) == ("beta_vae_capacity", 0.01, 25.0)
    assert str(seen[0].run_folder()) == "runs/dsprites-beta_vae_capacity-seed5"
    assert (seen[1].objective, seen[1].steps) == ("beta_tcvae", 7)
    assert seen[2] == PretrainConfig()
    assert seen[3] == PretrainConfig(**{**FAST, "steps": 9})
    capsys.readouterr()
    assert main(["--preset", "dsprites/nothing"]) == 2
    assert "error: unknown preset 'dsprites/nothing'" in capsys.readouterr().err


def test_preset_needs_one_name() -> None:
    assert take_preset(["--seed", "1"]) == (None, ["--seed", "1"])
    for arguments in (["--preset"], ["--preset="], ["--preset", "a/b", "--preset=c/d"]):
        with pytest.raises(ValueError, match="--preset needs one name, such as dsprites/sparse or fast"):
            take_preset(arguments)


def test_help_explains_every_objective_and_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for recipe in RECIPES:
        assert recipe in text
    for paper in (
        "Kim and Mnih 2018",
        "Chen et al. 2018",
        "Kumar et al. 2018",
        "Burda et al. 2016",
        "Tonolini et al. 2019",
    ):
        assert paper in text
