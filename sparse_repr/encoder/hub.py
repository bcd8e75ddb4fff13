"""Encoders on the Hugging Face Hub: pushed with a model card, loaded at a revision that somebody wrote down.

What travels is the artefact alone, `encoder.safetensors`. Nothing of a repository is ever unpickled or run.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sparse_repr.encoder.frozen import FrozenEncoder, load_encoder
from sparse_repr.files.json_reader import read_json

SCHEME = "hf://"
_FILE = "encoder.safetensors"
_ADDRESS = re.compile(r"hf://(?P<repo>[\w.-]+/[\w.-]+)@(?P<revision>[^#@\s]+)(?:#(?P<fingerprint>[0-9a-f]{8,64}))?")
_HOW = "hf://OWNER/NAME@REVISION or hf://OWNER/NAME@REVISION#FINGERPRINT, as push_to_hub returns it"
_PICKLES = (".bin", ".ckpt", ".joblib", ".pickle", ".pkl", ".pt", ".pth", ".zip")
_PICTURES = (".png", ".jpg", ".gif", ".webp")
# of a run's settings, what says something of its machine alone
_LOCAL = ("data_path", "device", "perceptual_weights_path", "progress", "resume", "run_dir", "threads")


def load_from_hub(address: str) -> FrozenEncoder:
    """The encoder at ``hf://OWNER/NAME@REVISION[#FINGERPRINT]``; `load_encoder` comes here.

    A revision is a commit, a tag or a branch; only a commit, or a fingerprint (its first 8 to 64 digits), says that
    nobody can exchange what is loaded. Files come through the Hub's own cache: what was loaded once at a commit is
    there without a network (`HF_HUB_OFFLINE=1`).

    Raises:
        ImportError: huggingface_hub is not installed.
        ValueError: no such address, a repository that holds no encoder of ours, or an encoder of another fingerprint.
        FileNotFoundError: no such repository or revision, or no network and nothing in the cache.
    """
    found = _ADDRESS.fullmatch(address)
    if found is None:
        raise ValueError(f"load_encoder needs {_HOW}, got {address!r}")
    repo, revision, fingerprint = found["repo"], found["revision"], found["fingerprint"]
    hub = _hub()
    errors = hub.errors
    try:
        path = hub.HfApi().hf_hub_download(repo, _FILE, revision=revision)
    except errors.RepositoryNotFoundError as error:  # private ones and those with conditions too
        raise FileNotFoundError(f"{address}: no such repository, or none that you may read (hf auth login)") from error
    except errors.RevisionNotFoundError as error:
        raise FileNotFoundError(f"{address}: the repository has no revision {revision!r}") from error
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled, ConnectionError) as error:
        raise FileNotFoundError(
            f"{address}: not in the cache of the Hub, and the Hub cannot be reached (offline?): load it once with a "
            "network, or copy its encoder.safetensors and load that"
        ) from error
    except errors.EntryNotFoundError as error:
        raise ValueError(f"{address}: {_what_instead(hub, repo, revision)}") from error
    encoder = FrozenEncoder.from_bytes(Path(path).read_bytes(), address)
    if fingerprint and not encoder.fingerprint.startswith(fingerprint):
        raise ValueError(
            f"{address}: expected fingerprint {fingerprint}, found {encoder.fingerprint[: len(fingerprint)]}: this is "
            "not the encoder that was meant"
        )
    return encoder


def push_to_hub(
    encoder: FrozenEncoder | str | os.PathLike[str],
    repo: str,
    *,
    licence: str | None = None,
    pictures: Sequence[str | os.PathLike[str]] = (),
    scores: Mapping[str, float] | None = None,
    command: str | None = None,
    private: bool = False,
    token: str | None = None,
) -> str:
    """Upload an encoder and its model card as one commit; the repository is made if there is none.

    Args:
        encoder: a frozen encoder; or a run folder, whose settings and scores (`metrics.json`) the card then shows.
        repo: OWNER/NAME.
        licence: of the weights, as the Hub spells it, such as ``"mit"``.
        pictures: files to show. None are taken by themselves: reconstructions show the training images, and not
            everybody may publish those.
        scores: name -> value, to show beside those of the run.
        command: what trained it.
        private: of a repository that is made.
        token: None takes the one that `hf auth login` stored.

    Returns:
        ``hf://OWNER/NAME@COMMIT#FINGERPRINT``, what `load_encoder` takes.

    Raises:
        ImportError: huggingface_hub is not installed.
        ValueError: a name that is none, or a picture that is none.
        FileNotFoundError: there is no such picture or run.
    """
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repo):
        raise ValueError(f"push_to_hub needs a repository OWNER/NAME, got {repo!r}")
    shown = [Path(picture) for picture in pictures]
    for picture in shown:
        if picture.suffix not in _PICTURES:
            raise ValueError(f"push_to_hub: pictures need one of the endings {', '.join(_PICTURES)}, got {picture}")
        if not picture.is_file():
            raise FileNotFoundError(f"push_to_hub: no picture at {picture}")
    settings: dict[str, Any] = {}
    found = dict(scores or {})
    if not isinstance(encoder, FrozenEncoder):
        run = Path(encoder)
        encoder = load_encoder(encoder)
        settings = _settings_of(run)
        found = {**_scores_of(run), **found}
    hub = _hub()
    card = model_card(
        encoder,
        repo,
        licence=licence,
        pictures=[picture.name for picture in shown],
        scores=found,
        command=command,
        settings=settings,
    )
    api = hub.HfApi(token=token)
    api.create_repo(repo, private=private, exist_ok=True)
    operations = [
        hub.CommitOperationAdd(_FILE, encoder.to_bytes()),
        hub.CommitOperationAdd("README.md", card.encode()),
        *(hub.CommitOperationAdd(f"pictures/{picture.name}", picture.read_bytes()) for picture in shown),
    ]
    commit = api.create_commit(repo, operations, commit_message=f"Encoder {encoder.fingerprint[:12]}")
    return f"{SCHEME}{repo}@{commit.oid}#{encoder.fingerprint[:16]}"


def model_card(
    encoder: FrozenEncoder,
    repo: str,
    *,
    licence: str | None = None,
    pictures: Sequence[str] = (),
    scores: Mapping[str, float] | None = None,
    command: str | None = None,
    settings: Mapping[str, Any] | None = None,
) -> str:
    """The README.md of a repository: what the encoder is, how it was made, its scores, and how an agent uses it.

    Args:
        encoder: what it is about.
        repo: OWNER/NAME.
        licence: of the weights.
        pictures: names in the folder ``pictures``.
        scores: name -> value.
        command: what trained it.
        settings: of its training.
    """
    spec = encoder.spec
    head = [
        "library_name: sparse-repr",
        "tags:",
        "- reinforcement-learning",
        "- stable-baselines3",
        "- representation-learning",
    ]
    if licence:
        head.insert(0, f"license: {json.dumps(licence)}")
    active = sum(spec.units.active)
    trained = "\n".join(
        f"- {name}: {value if isinstance(value, str) else json.dumps(value)}"
        for name, value in spec.objective.items()
        if value not in (None, {}, [])
    )
    parts = [
        "---\n" + "\n".join(head) + "\n---",
        f"# {repo.split('/')[1]}",
        f"A frozen encoder of [sparse-repr](https://pypi.org/project/sparse-repr/): {encoder.preprocessing.describe()} "
        f"become codes of {encoder.code_size} numbers, of which {active} vary over the images that it was made for "
        f"({spec.dataset['name']}).",
        *(f"![{name}](pictures/{name})" for name in pictures),
        f"## Use\n\n```python\nfrom stable_baselines3 import PPO\nfrom rl import make_latent_vec_env\n"
        f"from sparse_repr import load_encoder\n\n"
        f'encoder = load_encoder("{SCHEME}{repo}@REVISION#{encoder.fingerprint[:16]}")  # REVISION: a commit of this '
        f'repository\nvenv = make_latent_vec_env("your/Env-v0", encoder, n_envs=4)\n'
        f'PPO("MlpPolicy", venv).learn(100_000)\n```',
        f"## What it is\n\n- fingerprint: `{encoder.fingerprint}`\n- architecture: {spec.architecture}, posterior "
        f"{spec.posterior}\n{trained}\n- made with sparse-repr {spec.package_version}",
    ]
    if scores:
        rows = "\n".join(f"| {name} | {value:.4f} |" for name, value in scores.items())
        parts.append(f"## Scores\n\n| score | value |\n|---|---|\n{rows}")
    if command:
        parts.append(f"## Training\n\n```\n{command}\n```")
    if settings:
        parts.append(f"## Settings\n\n```json\n{json.dumps(settings, indent=1, sort_keys=True)}\n```")
    return "\n\n".join(parts) + "\n"


def _hub() -> Any:
    try:
        import huggingface_hub
        import huggingface_hub.errors
    except ImportError as error:
        raise ImportError("the Hub needs huggingface_hub: install sparse-repr[hub]") from error
    return huggingface_hub


def _what_instead(hub: Any, repo: str, revision: str) -> str:
    """What a repository holds that has no encoder of ours."""
    names = sorted(hub.HfApi().list_repo_files(repo, revision=revision))
    pickles = [name for name in names if name.endswith(_PICKLES)]
    if pickles:
        return (
            f"refused, the repository has no {_FILE} and offers {', '.join(pickles[:3])}, which can run code when it "
            "is loaded; only safetensors are read"
        )
    held = ", ".join(names[:5]) or "nothing"
    return f"the repository has no {_FILE}, it holds {held}; only encoders of sparse-repr can be loaded (push_to_hub)"


def _settings_of(run: Path) -> dict[str, Any]:
    if not (run / "config.json").is_file():
        return {}
    return {name: value for name, value in read_json(run / "config.json").items() if name not in _LOCAL}


def _scores_of(run: Path) -> dict[str, float]:
    if not (run / "metrics.json").is_file():
        return {}
    scores = read_json(run / "metrics.json").get("disentanglement") or {}
    return {name: value for name, value in scores.items() if isinstance(value, float)}
