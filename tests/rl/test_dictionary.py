"""Dictionaries: what they show, by hand; what a fit finds; files and the command."""

from __future__ import annotations

import base64
import copy
import dataclasses
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv

from rl import LatentExtractor, LatentObservation, RecodedCodes, load_agent, save_agent
from rl.agents import codes_wrapping
from rl.code_recoding import CodeRecoding
from rl.dictionaries import Dictionary, load_dictionary, make_dictionary
from rl.dictionary import DictionarySettings, fit_dictionary, main
from rl.latent_encoding import LatentOptions
from rl.recodings import recoding_of
from sparse_repr import FrozenEncoder, load_encoder, save_encoder
from sparse_repr.artefact import parse, serialise
from sparse_repr.encoder import UnitStatistics
from tests.conftest import make_encoder
from tests.frame_envs import Frames

ENCODER = make_encoder(1, code_size=2)
UNITS = UnitStatistics((1.0,) * 2, (1.0, 0.0), (2.0, 1.0), (True, True))
FIT = {"items": 5, "steps": 1, "batch_size": 5, "seed": 0}


def _made(**changes: Any) -> Dictionary:
    header = {
        "encoder": ENCODER.fingerprint,
        "code_size": 2,
        "width": 3,
        "k": 2,
        "binary": False,
        "explained": 0.5,
        "fit": FIT,
        "package_version": "1",
        **changes,
    }
    tensors = {
        "encoder.weight": torch.tensor([[1.0, 0.0, -1.0], [0.0, 2.0, 1.0]]),
        "encoder.bias": torch.tensor([0.0, 0.5, 0.0]),
        "decoder.weight": torch.zeros(3, 2),
        "decoder.bias": torch.zeros(2),
    }
    return make_dictionary(header, tensors)


@pytest.mark.parametrize(
    ("binary", "expected"),
    [(False, [[1, 2.5, 0], [0, 0.5, 1], [0, 2.5, 2]]), (True, [[1, 1, 0], [0, 1, 1], [0, 1, 1]])],
)
def test_the_largest_activations_are_shown(binary: bool, expected: list[list[float]]) -> None:
    recoding = CodeRecoding(UNITS, _made(binary=binary))
    # z = (1, 1), (-1, 0) and (-1, 1): W z + b is (1, 2.5, 0), (-1, 0.5, 1) and (-1, 2.5, 2)
    shown = recoding.numpy(np.array([[3.0, 1.0], [-1.0, 0.0], [-1.0, 1.0]], np.float32))
    assert shown.tolist() == expected
    assert (recoding.width, recoding.differentiable) == (3, not binary)


def test_a_fit_finds_the_directions_that_codes_are_made_of() -> None:
    random = np.random.default_rng(0)
    encoder = make_encoder(1, code_size=6)
    directions = random.normal(size=(12, 6))
    sizes = random.uniform(0.5, 2, (4000, 12)) * (random.random((4000, 12)).argsort(1) < 2)  # two of twelve at a time
    codes = (sizes @ directions).astype(np.float32)
    fitted = fit_dictionary(encoder, codes, DictionarySettings(width=24, k=3, steps=600, batch_size=256))
    assert fitted.header["explained"] > 0.9
    assert fitted.header["encoder"] == encoder.fingerprint
    again = fit_dictionary(encoder, codes, DictionarySettings(width=24, k=3, steps=600, batch_size=256))
    assert again == fitted  # bit for bit
    shown = CodeRecoding(encoder.spec.units, fitted).numpy(codes)
    assert ((shown > 0).sum(1) <= 3).all()
    assert (shown > 0).any(0).mean() > 0.9  # hardly one is dead


def test_defaults_are_those_of_the_random_expansion() -> None:
    assert DictionarySettings().sizes(10) == (200, 20)
    assert DictionarySettings(k=3).sizes(4) == (80, 3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"k": 0}, "k needs a whole number"),
        ({"width": 0}, "width needs a whole number"),
        ({"width": 10, "k": 11}, r"k needs a whole number in 1\.\.10, got 11"),
        ({"k": 41}, r"k needs a whole number in 1\.\.40, got 41"),
        ({"steps": 0}, "steps needs a whole number"),
    ],
)
def test_settings_that_cannot_be_fitted_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit_dictionary(ENCODER, np.zeros((5, 2), np.float32), DictionarySettings(**settings))


def test_an_encoder_without_an_active_unit_is_refused() -> None:
    units = dataclasses.replace(ENCODER.spec.units, active=(False, False))
    dead = FrozenEncoder(dataclasses.replace(ENCODER.spec, units=units), ENCODER.network().state_dict())
    with pytest.raises(ValueError, match="needs active units"):
        fit_dictionary(dead, np.zeros((5, 2), np.float32))
    with pytest.raises(ValueError, match=r"codes needs shape \(N, 2\), .* got \(5, 3\)"):
        fit_dictionary(ENCODER, np.zeros((5, 3), np.float32))
    with pytest.raises(ValueError, match=r"N at least 2, got \(1, 2\)"):
        fit_dictionary(ENCODER, np.zeros((1, 2), np.float32))
    with pytest.raises(ValueError, match="needs items that differ, got 5 with the same code"):
        fit_dictionary(ENCODER, np.ones((5, 2), np.float32))
    with pytest.raises(ValueError, match="needs finite numbers, got NaN or infinity"):
        fit_dictionary(ENCODER, np.array([[0, 1], [np.nan, 2]], np.float32))


def _shown(recode: Any) -> LatentObservation:
    return LatentObservation(Frames(shape=(64, 64, 1)), ENCODER, recode=recode)


def test_messages_tell_of_dictionaries_by_their_hash() -> None:
    codes = np.random.default_rng(0).standard_normal((200, 2)).astype(np.float32)
    one, other = (fit_dictionary(ENCODER, scale * codes, DictionarySettings(steps=5)) for scale in (1, 3))
    options = [LatentOptions(recode=each.settings()) for each in (one, other)]
    assert all(len(str(each)) < 500 for each in options)
    assert str(options[0]) != str(options[1])
    venv = DummyVecEnv(
        [
            lambda kind=each: LatentObservation(Frames(shape=(64, 64, 1)), ENCODER, recode=kind.settings())
            for each in (one, other)
        ]
    )
    with pytest.raises(ValueError, match="an agent needs one set of options in all environments") as told:
        codes_wrapping(venv)
    assert len(str(told.value)) < 1_000


def test_a_dictionary_is_one_file_of_its_own(tmp_path: Path) -> None:
    made = _made()
    file = made.save(tmp_path / "some.safetensors")
    for found in (load_dictionary(file), recoding_of(str(file)), recoding_of(file), recoding_of(made.settings())):
        assert found == made
    assert pickle.loads(pickle.dumps(made)) == copy.deepcopy(made) == made
    assert file.read_bytes()[:2] != b"PK"
    with pytest.raises(ValueError, match="ends in .safetensors"):
        made.save(tmp_path / "some.bin")
    with pytest.raises(FileNotFoundError, match=r"no dictionary at .*python -m rl.dictionary RUN writes one"):
        recoding_of("nowhere.safetensors")
    with pytest.raises(ValueError, match="fitted to codes of 2 units of encoder"):
        CodeRecoding(make_encoder(1, code_size=3).spec.units, made)
    with pytest.raises(ValueError, match=r"recode='dictionary' needs the file of one, as python -m rl\.dictionary"):
        recoding_of("dictionary")


def _changed(**changes: Any) -> bytes:
    tensors, header = parse(_made().to_bytes(), "file", "dictionary")
    tensors = {name: changes.pop(name, tensor) for name, tensor in tensors.items()}
    return serialise(tensors, {**header, **changes})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"nothing", "expected a safetensors file"),
        (ENCODER.to_bytes(), "expected kind 'dictionary', found 'encoder'"),
        (_changed(k=4), "expected at most 3 of at most 1048576 values, found 4"),
        (_changed(k=0), "k needs a whole number"),
        (_changed(width=4), "expected float32 tensors"),
        (_changed(more=1), "the header"),
        (_changed(**{"encoder.bias": torch.full((3,), torch.nan)}), "needs finite weights"),
        (_made().to_bytes()[:-4], "expected a safetensors file"),
    ],
)
def test_damaged_and_other_files_are_refused_by_name(content: bytes, message: str, tmp_path: Path) -> None:
    file = tmp_path / "damaged.safetensors"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=rf"damaged\.safetensors.*{message}"):
        load_dictionary(file)
    with pytest.raises(ValueError, match=message):
        recoding_of({"name": "dictionary", "artefact": base64.b64encode(content).decode()})


def test_what_is_no_base64_is_refused() -> None:
    with pytest.raises(ValueError, match="artefact needs the file of a dictionary in base64"):
        recoding_of({"name": "dictionary", "artefact": "ä"})


def test_the_command_fits_one_to_a_run(
    rectangles_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(rectangles_run, run)
    dead = load_encoder(run)
    assert main([str(run)]) == 2
    assert "a dictionary needs active units, but none of the 3 units of" in capsys.readouterr().err
    units = dataclasses.replace(dead.spec.units, active=(True, True, False))
    encoder = FrozenEncoder(dataclasses.replace(dead.spec, units=units), dead.network().state_dict())
    save_encoder(encoder, run / "encoder.safetensors")
    assert main([str(run), "--steps", "5", "--width", "30", "--k", "4"]) == 0
    assert "30 values, 4 of them not 0, bring back" in capsys.readouterr().out
    assert load_dictionary(run / "dictionary.safetensors").header["encoder"] == encoder.fingerprint
    for wrong, message in (
        (["--k", "0"], "k needs a whole number"),
        (["--k", "61"], r"k needs a whole number in 1..60, got 61"),
        (["--out", "x.bin"], "out needs a path that ends in .safetensors"),
        (["--items", "0"], "items needs a whole number"),
    ):
        assert main([str(run), *wrong]) == 2
        assert message in capsys.readouterr().err
    assert main([str(tmp_path / "nowhere")]) == 2
    assert main([]) == 2


@pytest.mark.parametrize("recoded", [False, True])
def test_an_agent_keeps_the_dictionary_it_saw_whatever_becomes_of_the_file(recoded: bool, tmp_path: Path) -> None:
    encoder = make_encoder(3, code_size=2)
    codes = np.random.default_rng(0).standard_normal((200, 2)).astype(np.float32)
    path = tmp_path / "dictionary.safetensors"
    fit_dictionary(encoder, codes, DictionarySettings(steps=20, seed=0)).save(path)
    kind: type[Any] = RecodedCodes if recoded else LatentExtractor
    given = {"recode": path} if recoded else {"recode": path, "encoder": encoder}
    policy = {"features_extractor_class": kind, "features_extractor_kwargs": given}
    env = LatentObservation(Frames(), encoder) if recoded else Frames()
    name = "MlpPolicy" if recoded else "CnnPolicy"
    model = PPO(name, env, n_steps=8, batch_size=8, seed=0, device="cpu", policy_kwargs=policy)
    model.save(tmp_path / "plain.zip")
    observed = np.stack([env.reset(seed=0)[0], env.step(0)[0]])

    def seen(agent: Any) -> torch.Tensor:
        policy = agent.policy
        with torch.no_grad():
            found: torch.Tensor = policy.extract_features(
                policy.obs_to_tensor(observed if recoded else observed.transpose(0, 3, 1, 2))[0]
            )
        return found

    before = seen(model)
    fit_dictionary(encoder, 3 * codes[::-1], DictionarySettings(steps=20, seed=1)).save(path)
    with pytest.raises(ValueError, match="saved with another dictionary than that of recode=: its file was"):
        PPO.load(tmp_path / "plain.zip", device="cpu")
    path.unlink()
    save_agent(tmp_path / "whole.zip", model)
    assert given["recode"] == path  # what the user gave makes the next agent, from what the file holds then
    loaded, _ = load_agent(tmp_path / "whole.zip", Frames())
    assert torch.equal(seen(loaded), before)
    # agents of before tell nothing
    state = {name: value for name, value in model.policy.state_dict().items() if not name.endswith("_extra_state")}
    if recoded:
        model.policy.load_state_dict(state)
