"""Files of a repository at a pinned commit: fetched once, from the cache afterwards, and quick, clear failures."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from rocoft_bench.errors import UserError
from rocoft_bench.tasks import get, instructions
from rocoft_bench.tasks.github import GitHubFiles

REPO, COMMIT = "owner/name", "a" * 40
ROW = {
    "instruction": "Is ice cold?\n\nAnswer format: true/false",
    "input": "",
    "output": "the correct answer is true",
    "answer": "true",
}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "hf" / "rocoft" / REPO / COMMIT


@pytest.fixture
def github(hub: Any, cache: Path, monkeypatch: pytest.MonkeyPatch) -> GitHubFiles:
    """A server that has one file."""
    path = f"/{REPO}/{COMMIT}/dataset/boolq/train.json"

    def answer(asked: str, _: str) -> tuple[int, dict[str, str], bytes]:
        return (200, {}, json.dumps([ROW, ROW]).encode()) if asked in (path, "/") else (404, {}, b"404: Not Found")

    monkeypatch.setattr(hub, "answer", answer)
    return GitHubFiles(REPO, COMMIT, hub.url)


def test_rows_are_fetched_once(github: GitHubFiles, hub: Any, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instructions, "LLM_ADAPTERS", github)
    task = get("commonsense", "boolq")
    loaded = task.load("train")
    assert loaded.examples.to_list() == [ROW, ROW]
    assert {key: value for key, value in loaded.origin.items() if key != "sha256"} == {
        "kind": "github",
        "id": REPO,
        "path": "dataset/boolq/train.json",
        "config": None,
        "revision": COMMIT,
        "split": "train",
        "num_rows": 2,
    }
    assert [file.name for file in cache.rglob("*") if file.is_file()] == ["train.json"]
    asked = len(hub.log)
    hub.close()
    again = task.load("train")
    assert (again.examples.to_list(), again.origin) == (loaded.examples.to_list(), loaded.origin)
    assert len(hub.log) == asked


def test_what_github_does_not_have_is_said_in_one_line(github: GitHubFiles, cache: Path) -> None:
    with pytest.raises(UserError) as caught:
        github.read("dataset/boolq/test.json", ["answer"])
    message = str(caught.value)
    assert message.startswith(f"cannot get dataset/boolq/test.json of GitHub's {REPO}, commit {COMMIT}: ")
    assert "404" in message
    assert f"put the file at {cache / 'dataset/boolq/test.json'}" in message
    assert "\n" not in message
    assert not [file for file in cache.rglob("*") if file.is_file()]


def test_a_server_that_is_away_is_given_up_soon(github: GitHubFiles, hub: Any) -> None:
    hub.close()
    start = time.monotonic()
    with pytest.raises(UserError, match=r"not in the local cache and .* cannot be reached .*--data-dir DIR") as caught:
        github.read("dataset/boolq/train.json", ["answer"])
    assert time.monotonic() - start < 10
    assert "\n" not in str(caught.value)


def test_offline_mode_is_respected(github: GitHubFiles, hub: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match=r"offline mode is on \(HF_HUB_OFFLINE\)"):
        github.fetch("dataset/boolq/train.json")
    assert not hub.log


def test_a_cache_that_cannot_be_written_is_named(github: GitHubFiles, cache: Path) -> None:
    cache.parent.mkdir(parents=True)
    cache.write_text("a file where a folder should be")
    with pytest.raises(UserError, match=r"train\.json: cannot be written .*set HF_HOME"):
        github.fetch("dataset/boolq/train.json")
