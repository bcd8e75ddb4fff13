"""The Hub, spoken with through its own library against a small server here: what is pushed, pinned and refused."""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from sparse_repr import FrozenEncoder, load_encoder
from sparse_repr.encoder.hub import load_from_hub, model_card, push_to_hub
from tests.conftest import make_encoder

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class _Hub:
    """Repositories in memory: name -> revision -> path -> content."""

    def __init__(self) -> None:
        self.repositories: dict[str, dict[str, dict[str, bytes]]] = {}
        self.created: list[Any] = []


class _Handler(BaseHTTPRequestHandler):
    """The endpoints that `huggingface_hub` asks for a download, a listing, a new repository and a commit."""

    hub: _Hub

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def _answer(self, status: int, body: bytes = b"{}", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), "Content-Type": "application/json", **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _missing(self, what: str) -> None:
        self._answer(404, b"{}", X_Error_Code=what)

    def do_HEAD(self) -> None:
        """Of a file: its commit, size and etag."""
        self.do_GET()

    def do_GET(self) -> None:
        """A file, or the list of files."""
        path = self.path.split("?")[0].strip("/")
        if path.startswith("api/models/"):
            owner, name, *rest = path.removeprefix("api/models/").split("/")
            files = self.hub.repositories.get(f"{owner}/{name}", {}).get(rest[1] if rest else COMMIT)
            if files is None:
                return self._missing("RepoNotFound")
            if rest and rest[0] == "tree":
                tree = [{"type": "file", "path": file, "size": len(files[file]), "oid": COMMIT} for file in files]
                return self._answer(200, json.dumps(tree).encode())
            listing = [{"rfilename": file} for file in files]
            return self._answer(200, json.dumps({"id": f"{owner}/{name}", "sha": COMMIT, "siblings": listing}).encode())
        if path.count("/") < 3:
            return self._missing("EntryNotFound")
        owner, name, _, revision, *rest = path.split("/")
        repository = self.hub.repositories.get(f"{owner}/{name}")
        if repository is None:
            return self._missing("RepoNotFound")
        if revision not in repository:
            return self._missing("RevisionNotFound")
        content = repository[revision].get("/".join(rest))
        if content is None:
            return self._answer(404, b"{}", X_Error_Code="EntryNotFound", X_Repo_Commit=COMMIT)
        return self._answer(200, content, ETag=f'"{hashlib.sha256(content).hexdigest()}"', X_Repo_Commit=COMMIT)

    def do_POST(self) -> None:
        """A new repository, the question how files are uploaded, or a commit."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/api/validate-yaml":  # of a model card
            return self._answer(200, b'{"errors": [], "warnings": []}')
        if self.path == "/api/repos/create":
            made = json.loads(body)
            self.hub.created.append(made)
            name = f"{made['organization']}/{made['name']}" if made.get("organization") else made["name"]
            self.hub.repositories.setdefault(name, {})
            return self._answer(200, json.dumps({"url": f"http://{self.headers['Host']}/{name}"}).encode())
        owner, name, action = self.path.split("?")[0].removeprefix("/api/models/").split("/")[:3]
        if action == "preupload":
            files = [{**file, "uploadMode": "regular", "shouldIgnore": False} for file in json.loads(body)["files"]]
            return self._answer(200, json.dumps({"files": files}).encode())
        assert action == "commit"
        lines = [json.loads(line) for line in body.splitlines()]
        files = {
            line["value"]["path"]: base64.b64decode(line["value"]["content"]) for line in lines if line["key"] == "file"
        }
        self.hub.repositories[f"{owner}/{name}"] = {COMMIT: files, "main": files}
        url = f"http://{self.headers['Host']}/{owner}/{name}/commit/{COMMIT}"
        return self._answer(200, json.dumps({"success": True, "commitOid": COMMIT, "commitUrl": url}).encode())


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[_Hub]:
    """A server on this machine in place of the Hub, with an empty cache."""
    library = pytest.importorskip("huggingface_hub")
    served = _Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": served}))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    here = functools.partial(library.HfApi, endpoint=f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(library, "HfApi", here)
    monkeypatch.setattr(library.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_TOKEN", "hf_test")
    yield served
    server.shutdown()
    server.server_close()
    thread.join()


def test_an_encoder_comes_back_as_it_was_pushed(hub: _Hub) -> None:
    encoder = make_encoder(3)
    address = push_to_hub(encoder, "me/small", licence="mit", scores={"mig": 0.25}, private=True)
    assert address == f"hf://me/small@{COMMIT}#{encoder.fingerprint[:16]}"
    assert hub.created[0].get("visibility") == "private" or hub.created[0]["private"] is True
    files = hub.repositories["me/small"][COMMIT]
    assert sorted(files) == ["README.md", "encoder.safetensors"]
    assert files["encoder.safetensors"] == encoder.to_bytes()
    card = files["README.md"].decode()
    assert card.startswith('---\nlicense: "mit"\nlibrary_name: sparse-repr\n')
    assert "| mig | 0.2500 |" in card
    FrozenEncoder._known.clear()
    loaded = load_encoder(address)
    assert loaded is not encoder
    assert loaded == encoder
    assert load_encoder("hf://me/small@main") == encoder


def test_what_was_loaded_once_is_there_without_a_network(hub: _Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    address = push_to_hub(make_encoder(3), "me/small")
    loaded = load_encoder(address)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    hub.repositories.clear()
    assert load_encoder(address) == loaded
    with pytest.raises(FileNotFoundError, match="hf://me/other@main: not in the cache of the Hub, and the Hub cannot"):
        load_encoder("hf://me/other@main")


def test_an_exchanged_encoder_is_found(hub: _Hub) -> None:
    address = push_to_hub(make_encoder(3), "me/small")
    other = make_encoder(1)
    hub.repositories["me/small"][COMMIT]["encoder.safetensors"] = other.to_bytes()
    wanted = make_encoder(3).fingerprint[:16]
    with pytest.raises(ValueError, match=f"expected fingerprint {wanted}, found {other.fingerprint[:16]}"):
        load_encoder(address)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"model.pth": b"x", "policy.zip": b"x"}, r"refused, .* offers model\.pth, policy\.zip, which can run code"),
        ({"model.safetensors": b"x"}, r"no encoder\.safetensors, it holds model\.safetensors; only encoders of"),
        ({}, "it holds nothing"),
        ({"encoder.safetensors": b"\x80\x02cposix"}, "expected a safetensors file, found a pickle"),
        ({"encoder.safetensors": b"<html>"}, "that are not one"),
    ],
)
def test_repositories_without_an_encoder_are_refused(files: dict[str, bytes], message: str, hub: _Hub) -> None:
    hub.repositories["a/b"] = {COMMIT: files}
    with pytest.raises(ValueError, match=f"hf://a/b@{COMMIT}: .*{message}"):
        load_encoder(f"hf://a/b@{COMMIT}")


def test_a_missing_repository_and_revision_are_told_apart(hub: _Hub) -> None:
    hub.repositories["a/b"] = {COMMIT: {}}
    with pytest.raises(FileNotFoundError, match="hf://a/c@main: no such repository, or none that you may read"):
        load_encoder("hf://a/c@main")
    with pytest.raises(FileNotFoundError, match="the repository has no revision 'v2'"):
        load_encoder("hf://a/b@v2")


@pytest.mark.parametrize("address", ["hf://a/b", "hf://a@main", "hf://a/b@", "hf://a/b@main#xyz", "hf://a/../b@main"])
def test_addresses_without_a_revision_are_refused(address: str) -> None:
    with pytest.raises(ValueError, match=r"load_encoder needs hf://OWNER/NAME@REVISION or .*, got "):
        load_encoder(address)


def test_the_card_of_a_run_shows_scores_and_settings_but_no_paths(tmp_path: Path) -> None:
    encoder = make_encoder(1)
    card = model_card(
        encoder, "me/small", pictures=["traversals.png"], command="python -m sparse_repr.pretrain", settings={"seed": 0}
    )
    assert f"fingerprint: `{encoder.fingerprint}`" in card
    assert "uint8 images with 1 channel of 64x64 become codes of 4 numbers" in card
    assert "![traversals.png](pictures/traversals.png)" in card
    assert "```\npython -m sparse_repr.pretrain\n```" in card
    compile(card.split("```python\n")[1].split("```")[0], "card", "exec")


def test_a_run_folder_is_pushed_with_its_scores_and_settings(hub: _Hub, rectangles_run: Path, tmp_path: Path) -> None:
    import shutil

    run = Path(shutil.copytree(rectangles_run, tmp_path / "run"))
    (run / "metrics.json").write_text(json.dumps({"disentanglement": {"mig": 0.5, "over": "all items"}}))
    picture = tmp_path / "shown.png"
    picture.write_bytes(b"picture")
    push_to_hub(run, "me/run", pictures=[picture], scores={"aam": 0.125})
    files = hub.repositories["me/run"]["main"]
    card = files["README.md"].decode()
    assert "| mig | 0.5000 |\n| aam | 0.1250 |" in card
    assert '"batch_size": 8' in card
    assert str(rectangles_run.parent) not in card
    assert files["pictures/shown.png"] == b"picture"
    with pytest.raises(ValueError, match=r"pictures need one of the endings \.png"):
        push_to_hub(run, "me/run", pictures=[run / "state.pt"])
    with pytest.raises(FileNotFoundError, match="no picture at"):
        push_to_hub(run, "me/run", pictures=[tmp_path / "none.png"])
    with pytest.raises(ValueError, match="needs a repository OWNER/NAME, got 'run'"):
        push_to_hub(run, "run")


def test_a_missing_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ImportError, match=r"install sparse-repr\[hub\]"):
        load_from_hub("hf://a/b@main")
