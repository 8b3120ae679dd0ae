"""A hub of our own on this machine, and a fresh Python to talk to it."""

import contextlib
import hashlib
import http.server
import io
import json
import os
import subprocess
import sys
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest


@dataclass(frozen=True)
class Commit:
    """A state of a repository: file names to bytes. names: what it can be asked for by, its hash first."""

    files: dict[str, bytes]
    names: tuple[str, ...]
    gated: bool = False


@dataclass(frozen=True)
class Request:
    command: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Pull:
    """A pull request to a model, by default one of the hub's conversion bot. commit: of its files."""

    num: int
    files: dict[str, bytes]
    commit: str
    title: str = "Adding `safetensors` variant of this model"
    author: str = "SFconvertbot"
    status: str = "open"


class Hub:
    """As much of the Hugging Face hub as its libraries ask for.

    `repos` (of datasets) and `models` map ids to file names to bytes, all of them at one commit, `revision`. `pulls`
    maps ids of models to the pull requests to them.
    `refusals[id]` is an HTTP status and the hub's own error code for a repository that it does not give out. Of a
    `gated` model the names of the files are given out, the files are not.
    """

    def __init__(self, revision: str) -> None:
        self.revision = revision
        self.repos: dict[str, dict[str, bytes]] = {}
        self.models: dict[str, dict[str, bytes]] = {}
        self.pulls: dict[str, list[Pull]] = {}
        self.gated: set[str] = set()
        self.refusals: dict[str, tuple[int, str]] = {}
        self.log: list[str] = []
        hub = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                hub.log.append(f"{self.command} {self.path}")
                path = urllib.parse.unquote(self.path.split("?")[0])
                status, headers, content = hub.respond(Request(self.command, path, dict(self.headers), body))
                self.send_response(status)
                for key, value in {**headers, "Content-Length": str(len(content))}.items():
                    self.send_header(key, value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content)

            do_HEAD = do_POST = do_PUT = do_GET  # noqa: N815 (http.server looks for these names)

            def log_message(self, *_: Any) -> None: ...

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=[0.01], daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def respond(self, request: Request) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and content. A subclass answers to more than reading."""
        return self.answer(request.path, request.body.decode())

    def answer(self, path: str, body: str) -> tuple[int, dict[str, str], bytes]:
        if path == "/":
            return 200, {}, b"hub"
        for repo, (status, code) in self.refusals.items():
            if f"/{repo}/" in path:
                return status, {"X-Error-Code": code}, b"{}"
        for gated in self.gated:
            if path.startswith((f"/{gated}/resolve/", f"/api/models/{gated}/auth-check")):
                return 401, {"X-Error-Code": "GatedRepo"}, b"{}"
        for model in self.models:
            if path == f"/api/models/{model}/discussions":
                return self._discussions(model, self.pulls.get(model, []))
        for page, api, commit in self._commits():
            for name in commit.names:
                for kind, prefix in {
                    "file": f"/{page}/resolve/{name}/",
                    "info": f"/api/{api}/revision/{name}",
                    "tree": f"/api/{api}/tree/{name}",
                    "paths": f"/api/{api}/paths-info/{name}",
                }.items():
                    if path.startswith(prefix):
                        return getattr(self, f"_{kind}")(commit, path.removeprefix(prefix).strip("/"), body)
        return 404, {"X-Error-Code": "RevisionNotFound"}, b"{}"

    def _commits(self) -> Iterator[tuple[str, str, Commit]]:
        """With where files and facts of the repository are."""
        for repo, files in self.repos.items():
            yield f"datasets/{repo}", f"datasets/{repo}", Commit(files, (self.revision, "main"))
        for repo, files in self.models.items():
            yield repo, f"models/{repo}", Commit(files, (self.revision,), repo in self.gated)
            for pull in self.pulls.get(repo, []):
                yield repo, f"models/{repo}", Commit(pull.files, (pull.commit, f"refs/pr/{pull.num}"))

    def _discussions(self, model: str, pulls: list[Pull]) -> tuple[int, dict[str, str], bytes]:
        repo = {"name": model, "type": "model"}
        known = [
            {"num": pull.num, "title": pull.title, "author": {"name": pull.author}, "status": pull.status, "repo": repo,
             "isPullRequest": True, "createdAt": "2024-01-01T00:00:00.000Z"}
            for pull in pulls
        ]  # fmt: skip
        return self._reply({"discussions": known, "count": len(known), "start": 0})

    def _file(self, commit: Commit, name: str, _: str) -> tuple[int, dict[str, str], bytes]:
        at = {"X-Repo-Commit": commit.names[0]}
        if name not in commit.files:
            return 404, {"X-Error-Code": "EntryNotFound", **at}, b"{}"
        return 200, {"ETag": f'"{_hash(commit.files[name])}"', **at}, commit.files[name]

    def _info(self, commit: Commit, _: str, __: str) -> tuple[int, dict[str, str], bytes]:
        siblings = [
            {"rfilename": name, "size": len(content), "blobId": _hash(content)}
            for name, content in commit.files.items()
        ]
        gated = "manual" if commit.gated else False
        return self._reply({"id": "", "sha": commit.names[0], "gated": gated, "siblings": siblings})

    def _tree(self, commit: Commit, folder: str, _: str) -> tuple[int, dict[str, str], bytes]:
        start = f"{folder}/" if folder else ""
        names = {start + name.removeprefix(start).split("/")[0] for name in commit.files if name.startswith(start)}
        return self._reply([self._entry(commit.files, name) for name in sorted(names)])

    def _paths(self, commit: Commit, _: str, body: str) -> tuple[int, dict[str, str], bytes]:
        wanted = json.loads(body)["paths"] if body.startswith("{") else urllib.parse.parse_qs(body)["paths"]
        there = [path for path in wanted if any(name == path or name.startswith(f"{path}/") for name in commit.files)]
        return self._reply([self._entry(commit.files, path) for path in there])

    def _entry(self, files: dict[str, bytes], name: str) -> dict[str, Any]:
        if name not in files:
            return {"type": "directory", "path": name, "size": 0, "oid": "0" * 40}
        return {"type": "file", "path": name, "size": len(files[name]), "oid": _hash(files[name])}

    def _reply(self, value: Any) -> tuple[int, dict[str, str], bytes]:
        return 200, {"Content-Type": "application/json"}, json.dumps(value).encode()


def _hash(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()


@pytest.fixture
def hub() -> Iterator[Hub]:
    """Holds nyu-mll/glue at the commit that the tasks pin, with two invented rows in each split of two configs."""
    from rocoft_bench.tasks import get

    pinned = get("glue", "rte").hub
    assert pinned is not None
    server = Hub(pinned.revision)
    server.repos[pinned.id] = _glue_files()
    yield server
    with contextlib.suppress(OSError):
        server.close()


def _glue_files() -> dict[str, bytes]:
    files, card = {}, ["---", "configs:"]
    labels = {"rte": pa.array([0, 1]), "stsb": pa.array([3.8, 5.0], pa.float32())}
    for config, label in labels.items():
        card += [f"- config_name: {config}", "  data_files:"]
        table = pa.table({"sentence1": ["A b.", "C d."], "sentence2": ["E f.", "G h."], "label": label, "idx": [0, 1]})
        for split in ("train", "validation"):
            card += [f"  - split: {split}", f"    path: {config}/{split}-*"]
            buffer = io.BytesIO()
            pq.write_table(table, buffer)
            files[f"{config}/{split}-00000-of-00001.parquet"] = buffer.getvalue()
    return {"README.md": "\n".join([*card, "---", ""]).encode(), **files}


FORKING = """
import json, os, sys, traceback
import pandas, pyarrow.parquet, scipy.optimize, torch._dynamo, torch.distributed.tensor
for line in sys.stdin:
    code, env, folder = json.loads(line)
    if not os.fork():
        for number, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(f"{folder}/{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        os.environ.clear()
        os.environ.update(env)
        try:
            exec(code, {"__name__": "__main__"})
            sys.stdout.flush()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    print(os.waitstatus_to_exitcode(os.wait()[1]), flush=True)
"""
"""Has imported what takes longest and reads no HF_ variable; forks for each line that it reads."""


@cache
def _forking() -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", FORKING], stdin=pipe, stdout=pipe, text=True)


@pytest.fixture
def python(tmp_path: Path) -> Callable[..., Any]:
    """python(code, endpoint) runs code in a process with an HF cache of its own and gives what it prints.

    Nothing of this package or of Hugging Face's is imported there yet.

    The code finds `get`, `failure` (the message of the UserError that a call raises, or None) and `show` (print JSON).
    """
    prelude = (
        "import json\nfrom rocoft_bench.errors import UserError\nfrom rocoft_bench.tasks import HubDataset, get\n"
        "def show(value): print('RESULT ' + json.dumps(value))\n"
        "def failure(call):\n    try:\n        call()\n    except UserError as error:\n        return str(error)\n"
    )
    keep = {key: value for key, value in os.environ.items() if not key.startswith("HF_") and "proxy" not in key.lower()}

    def run(code: str, endpoint: str) -> Any:
        env = {**keep, "HF_HOME": str(tmp_path / "hf"), "HF_ENDPOINT": endpoint}
        server, folder = _forking(), tmp_path / "said"
        folder.mkdir(exist_ok=True)
        assert server.stdin is not None
        assert server.stdout is not None
        print(json.dumps([prelude + code, env, str(folder)]), file=server.stdin, flush=True)
        assert server.stdout.readline() == "0\n", (folder / "err").read_text()
        said = (folder / "out").read_text().splitlines()
        return json.loads([line.removeprefix("RESULT ") for line in said if line.startswith("RESULT ")][-1])

    return run
