"""The hub on this machine as one can write to it."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

from tests.fake_hub import Hub, Request

TOKEN = "hf_" + "w" * 34
READ_ONLY = "hf_" + "r" * 34
OWNER = "me"
Answer = tuple[int, dict[str, str], bytes]


@dataclass
class Repo:
    """A model repository: its files at the last commit, and the messages of all commits."""

    private: bool = False
    files: dict[str, bytes] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)

    @property
    def sha(self) -> str:
        return hashlib.sha1(repr(self.messages).encode()).hexdigest()


class UploadingHub(Hub):
    """Also takes what `create_repo` and `create_commit` send, safetensors by the LFS protocol as the real one does.

    `TOKEN` may write to what belongs to `OWNER`; `READ_ONLY` may not write. fails_on: a part of the path of requests
    that fail with an error of the server.
    """

    def __init__(self) -> None:
        super().__init__("main")
        self.written: dict[str, Repo] = {}
        self.objects: dict[str, bytes] = {}
        self.fails_on: str | None = None

    def respond(self, request: Request) -> Answer:
        if self.fails_on and self.fails_on in request.path:
            return 400, {}, json.dumps({"error": "the hub is not in the mood"}).encode()
        if request.path.startswith("/lfs-store/"):
            self.objects[request.path.rpartition("/")[2]] = request.body
            return self._reply({})
        if request.path == "/api/validate-yaml":
            return self._reply({"errors": [], "warnings": []})
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        if request.path == "/api/repos/create":
            return self._create(json.loads(request.body), token)
        for name, repo in self.written.items():
            if request.path in (f"/api/models/{name}", f"/api/models/{name}/revision/main"):
                return self._model_info(name, repo)
            for end, take in {"preupload/main": self._preupload, "commit/main": self._commit}.items():
                if request.path == f"/api/models/{name}/{end}":
                    return take(name, repo, request.body) if token == TOKEN else self._refused(token)
            if request.path == f"/{name}.git/info/lfs/objects/batch":
                return self._lfs(json.loads(request.body))
        return super().respond(request)

    def _refused(self, token: str) -> Answer:
        status = 403 if token == READ_ONLY else 401
        return status, {"X-Error-Message": "You don't have the rights to do that"}, b"{}"

    def _create(self, asked: dict[str, Any], token: str) -> Answer:
        owner = asked["organization"] or OWNER
        name = f"{owner}/{asked['name']}"
        if token != TOKEN or owner != OWNER:
            return self._refused(READ_ONLY if token == TOKEN else token)
        known = name in self.written
        self.written.setdefault(name, Repo(private=asked.get("visibility") == "private"))
        status, headers, content = self._reply({"url": f"{self.url}/{name}"})
        return (409 if known else status), headers, content

    def _model_info(self, name: str, repo: Repo) -> Answer:
        siblings = [{"rfilename": file} for file in repo.files]
        return self._reply({"id": name, "sha": repo.sha, "private": repo.private, "siblings": siblings})

    def _preupload(self, name: str, repo: Repo, body: bytes) -> Answer:
        modes = [
            {"path": file["path"], "uploadMode": "lfs" if file["path"].endswith(".safetensors") else "regular",
             "shouldIgnore": False}
            for file in json.loads(body)["files"]
        ]  # fmt: skip
        return self._reply({"files": modes})

    def _lfs(self, asked: dict[str, Any]) -> Answer:
        objects = [
            {**one, "actions": {"upload": {"href": f"{self.url}/lfs-store/{one['oid']}"}}} for one in asked["objects"]
        ]
        return self._reply({"transfer": "basic", "objects": objects})

    def _commit(self, name: str, repo: Repo, body: bytes) -> Answer:
        for entry in map(json.loads, body.splitlines()):
            key, value = entry["key"], entry["value"]
            if key == "header":
                repo.messages.append(value["summary"])
            else:
                content = self.objects[value["oid"]] if key == "lfsFile" else base64.b64decode(value["content"])
                repo.files[value["path"]] = content
        return self._reply({"commitUrl": f"{self.url}/{name}/commit/{repo.sha}", "commitOid": repo.sha})
