"""The file of an agent: one zip that holds the SB3 model, its encoder, how it is wrapped, and its statistics."""

from __future__ import annotations

import dataclasses
import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from rl.code_features import CodeFeatures
from rl.code_scaling import Scaling
from rl.normalization import Normalization
from sparse_repr import FrozenEncoder
from sparse_repr.artefact import canonical_json
from sparse_repr.files import write_bytes
from sparse_repr.files.json_reader import FLAG, OBJECT, TEXT, Shape, many, one_of, optional, parse_json, require, whole
from sparse_repr.files.stored_archive import read_stored_archive

FORMAT_VERSION = 1
_HEADER, _MODEL, _ENCODER, _STATISTICS = "agent.json", "model.zip", "encoder.safetensors", "normalization.npz"
_NEEDED = (_HEADER, _MODEL, _ENCODER)
_ENTRIES: dict[str, Shape] = {
    "format": whole(),
    "kind": TEXT,
    "algorithm": TEXT,
    "encoder": TEXT,
    "wrapper": optional(OBJECT),
    "normalization": optional(OBJECT),
    "environment": optional(TEXT),
}
_WRAPPER: dict[str, Shape] = {
    "image_keys": optional(many(TEXT)),
    "n_stack": whole(1),
    "code_scaling": one_of(*get_args(Scaling)),
    "include_log_variance": FLAG,
    "keep_image": FLAG,
}
_REMEDY = "copy the file or save the agent again"


@dataclasses.dataclass(frozen=True)
class AgentArchive:
    """All that is in the file."""

    algorithm: str
    """MODULE:CLASS of the SB3 algorithm."""
    model: bytes
    """What the algorithm's `save` wrote. It holds pickles."""
    encoder: FrozenEncoder
    """The encoder whose codes the agent observes."""
    wrapper: Mapping[str, Any] | None
    """Keyword arguments of `VecLatentObservation`; None for an agent that encodes images in its policy."""
    normalization: Normalization | None
    """State of the VecNormalize; None where there is none."""
    environment: str | None
    """Id of the environment it was trained on, where known: for messages and people, nothing is made from it."""
    changes_actions: str | None = None
    """The wrapper that changed its actions on their way to that environment, if any: for messages."""

    def write(self, path: Path) -> None:
        """Write the file atomically."""
        header = {
            "format": FORMAT_VERSION,
            "kind": "agent",
            "algorithm": self.algorithm,
            "encoder": self.encoder.fingerprint,
            "wrapper": None if self.wrapper is None else dict(self.wrapper),
            "normalization": None if self.normalization is None else dict(self.normalization.settings),
            "environment": self.environment,
            # files of agents without such a wrapper stay those of before
            **({} if self.changes_actions is None else {"changes_actions": self.changes_actions}),
        }
        members = {_HEADER: canonical_json(header).encode(), _MODEL: self.model, _ENCODER: self.encoder.to_bytes()}
        if self.normalization is not None:
            members[_STATISTICS] = self.normalization.to_bytes()
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w") as archive:
            for name, part in members.items():
                # a ZipInfo of its own, whose date is fixed: equal agents give equal files
                archive.writestr(zipfile.ZipInfo(name), part)
        write_bytes(path, content.getvalue())

    @classmethod
    def read(cls, path: Path) -> AgentArchive:
        """Read a file that `write` wrote. Members are read by their known names into memory, never extracted.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: damaged, incomplete, not an agent's, or its encoder is not the one it was saved with.
        """
        members = _members(path)
        header = _header(members[_HEADER], path)
        encoder = FrozenEncoder.from_bytes(members[_ENCODER], f"{path}, {_ENCODER}")
        if encoder.fingerprint != header["encoder"]:
            raise ValueError(
                f"{path}: expected encoder {header['encoder'][:12]}, on whose codes the agent was trained, found "
                f"{encoder!r}: the file was put together from two; save the agent again"
            )
        wrapper = header["wrapper"]
        size = 0  # of the codes that the wrapper shows
        if wrapper is not None:
            shown = {
                name: wrapper[name] for name in ("code_scaling", "include_log_variance", "recode") if name in wrapper
            }
            try:
                size = wrapper["n_stack"] * CodeFeatures(encoder, **shown).width
            except (TypeError, ValueError) as error:
                raise ValueError(f"{path}, {_HEADER}: {error}") from error
        normalization = None
        if header["normalization"] is not None:
            if _STATISTICS not in members:
                raise ValueError(f"{path}: expected {_STATISTICS}, as {_HEADER} says, found {', '.join(members)}")
            origin = f"{path}, {_STATISTICS}"
            normalization = Normalization.from_bytes(header["normalization"], members[_STATISTICS], origin)
            if wrapper is not None:
                normalization.require_codes(size, wrapper["image_keys"], origin)
        elif _STATISTICS in members:
            raise ValueError(f"{path}: expected no {_STATISTICS}, as {_HEADER} says, found one; {_REMEDY}")
        return cls(
            header["algorithm"],
            members[_MODEL],
            encoder,
            wrapper,
            normalization,
            header["environment"],
            header.get("changes_actions"),
        )


def _members(path: Path) -> dict[str, bytes]:
    if not path.is_file():
        raise FileNotFoundError(f"no agent at {path}: expected a file that save_agent wrote")
    try:
        members = read_stored_archive(path.read_bytes())
    except ValueError as error:
        raise ValueError(
            f"{path}: expected a file that save_agent wrote, found a damaged or other file ({error}); copy or save it "
            "again"
        ) from error
    _check_names(list(members), path)
    try:
        read_stored_archive(members[_MODEL])
    except ValueError as error:
        raise ValueError(
            f"{path}, {_MODEL}: expected what Stable-Baselines3 saves, found another or damaged file ({error}); "
            f"{_REMEDY}"
        ) from error
    return members


def _check_names(names: list[str], path: Path) -> None:
    if "policy.pth" in names:
        raise ValueError(
            f"{path}: expected a file that save_agent wrote, found a plain Stable-Baselines3 model, which tells "
            "nothing of its encoder: load it with its algorithm's load, and give save_agent what you load"
        )
    unknown = sorted(set(names) - {*_NEEDED, _STATISTICS})
    missing = [name for name in _NEEDED if name not in names]
    if missing or unknown:
        raise ValueError(
            f"{path}: expected {', '.join(_NEEDED)} and perhaps {_STATISTICS}, found {', '.join(names) or 'nothing'}; "
            "save the agent again"
        )


def _header(content: bytes, path: Path) -> dict[str, Any]:
    origin = f"{path}, {_HEADER}"
    header: dict[str, Any] = parse_json(content, origin, {"format": whole(), "kind": TEXT}, remedy=_REMEDY)
    if header["format"] != FORMAT_VERSION or header["kind"] != "agent":
        raise ValueError(
            f"{path}: expected an agent of format version {FORMAT_VERSION}, found {header['kind']!r} of version "
            f"{header['format']}; use the sparse-repr version that wrote it"
        )
    # only agents whose actions a wrapper changed have the entry
    told: dict[str, Shape] = {"changes_actions": TEXT} if "changes_actions" in header else {}
    require(header, {**_ENTRIES, **told}, origin, closed=True, remedy=_REMEDY)
    if header["wrapper"] is not None:
        # only agents on recoded codes have the entry
        shape = {**_WRAPPER, "recode": OBJECT} if "recode" in header["wrapper"] else _WRAPPER
        require({"wrapper": header["wrapper"]}, {"wrapper": shape}, origin, closed=True, remedy=_REMEDY)
    return header
