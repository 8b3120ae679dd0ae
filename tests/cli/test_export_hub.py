"""`rocoft export --push-to-hub`: real requests of the real library to a hub on this machine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard

from tests.conftest import Outcome
from tests.uploading_hub import OWNER, READ_ONLY, TOKEN, Repo, UploadingHub

Cli = Callable[..., Any]
PAIR = ("--text", "the cat sleeps", "--text-pair", "a dog runs")


def train(rocoft: Cli, folder: Path, model: Path, data: Path, *more: object) -> Path:
    arguments = ("--model", model, "--data-dir", data, "--epochs", 1, "--set", "training.warmup_steps=1", *more)
    result = rocoft("train", "glue", "--task", "rte", *arguments, "--output", folder)
    assert result.code == 0, result.err
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, glue_dir: Path) -> Path:
    from rocoft_bench.cli import app

    folder = tmp_path_factory.mktemp("trained") / "run"
    few = ["--epochs", "1", "--set", "training.warmup_steps=1", "--output", str(folder)]
    data = ["--model", str(tiny_model), "--data-dir", str(glue_dir)]
    app(["train", "glue", "--task", "rte", *data, *few], standalone_mode=False)
    return folder


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    return shutil.copytree(trained, tmp_path / "run")


EXPORTS = """
import contextlib, io, json, os, sys
from rocoft_bench.cli import main
for line in sys.stdin:
    arguments, os.environ["HF_TOKEN"] = json.loads(line)
    sys.argv = ["rocoft", "export", *arguments]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as end:
            code = end.code or 0
    print(json.dumps([code, out.getvalue(), err.getvalue()]), flush=True)
"""


class Pushing:
    """Calls `rocoft export RUN …` in a process that has the hub's address and is logged in as `token`: call after call
    in the same one, as importing what they need takes longer than all the rest.
    """

    def __init__(self, home: Path) -> None:
        self.hub = UploadingHub()
        kept = {key: value for key, value in os.environ.items() if not key.startswith("HF_") and "proxy" not in key}
        hub = {"HF_HOME": str(home), "HF_ENDPOINT": self.hub.url, "HF_HUB_DISABLE_XET": "1"}
        self.environment = {**kept, **hub}
        pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self.process = subprocess.Popen([sys.executable, "-c", EXPORTS], text=True, env=self.environment, **pipes)

    def __call__(self, run: Path, *options: object, token: str = TOKEN) -> Outcome:
        print(json.dumps([[str(run), *map(str, options)], token]), file=self.process.stdin, flush=True)
        return Outcome(*json.loads(self.process.stdout.readline()))  # type: ignore[union-attr]

    def alone(self, run: Path, *options: object, **environment: str) -> Outcome:
        """In a process of its own, as what is in its environment is read when the hub's library is imported."""
        command = [sys.executable, "-c", "from rocoft_bench.cli import main; main()", "export", str(run)]
        environment = {**self.environment, "HF_TOKEN": TOKEN, **environment}
        done = subprocess.run([*command, *map(str, options)], env=environment, capture_output=True, text=True)
        return Outcome(done.returncode, done.stdout, done.stderr)

    def close(self) -> None:
        self.process.communicate()
        self.hub.close()


@pytest.fixture(scope="module")
def pushing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pushing]:
    made = Pushing(tmp_path_factory.mktemp("hf"))
    yield made
    made.close()


@pytest.fixture
def push(pushing: Pushing) -> Pushing:
    """With a hub where nothing is yet."""
    pushing.hub.written.clear()
    pushing.hub.fails_on = None
    return pushing


def download(repo: Repo, folder: Path) -> Path:
    folder.mkdir()
    for name, content in repo.files.items():
        (folder / name).write_bytes(content)
    return folder


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_an_adapter_arrives_as_a_run_without_paths_of_this_machine(
    rocoft: Cli, run: Path, push: Pushing, tmp_path: Path
) -> None:
    before = snapshot(run)
    done = push.alone(run, "--push-to-hub", "my-adapter")
    assert done.code == 0, done.err
    repo = push.hub.written[f"{OWNER}/my-adapter"]
    assert set(repo.files) == {
        "README.md", "adapter_config.json", "adapter_model.safetensors", "config.yaml", "record.json",
    }  # fmt: skip
    assert done.out == f"trained values: {push.hub.url}/me/my-adapter at commit {repo.sha}\n"
    assert (repo.messages, repo.private) == (["RoCoFT-3-Row on glue rte"], False)
    assert repo.files["adapter_model.safetensors"] == (run / "adapter" / "adapter_model.safetensors").read_bytes()
    described = b"".join(content for name, content in repo.files.items() if not name.endswith(".safetensors"))
    assert str(tmp_path.parent).encode() not in described
    assert json.loads(repo.files["adapter_config.json"])["base_model_name_or_path"] is None
    assert "PeftModel.from_pretrained(model, 'me/my-adapter')" in repo.files["README.md"].decode()
    assert snapshot(run) == before


def test_what_was_downloaded_is_a_run_again(
    rocoft: Cli, run: Path, push: Pushing, tiny_model: Path, tmp_path: Path
) -> None:
    assert push(run, "--push-to-hub", "me/x").code == 0
    copy = download(push.hub.written["me/x"], tmp_path / "copy")
    (copy / "provenance.json").write_text('{"command": ["/home/me"]}')
    assert push(copy, "--push-to-hub", "me/again").code == 0
    assert push.hub.written["me/again"].files.keys() == push.hub.written["me/x"].files.keys()
    config = yaml.safe_load((copy / "config.yaml").read_text())
    assert (config["model"]["name"], config["task"]["data_dir"]) == (tiny_model.name, "data0")
    config["model"]["name"] = str(tiny_model)
    (copy / "config.yaml").write_text(yaml.safe_dump(config))
    said = rocoft("predict", copy, *PAIR)
    assert said.code == 0, said.err
    assert said.out == rocoft("predict", run, *PAIR).out


def test_the_own_format_and_the_merged_model(
    rocoft: Cli, tiny_model: Path, glue_dir: Path, push: Pushing, tmp_path: Path
) -> None:
    from transformers import AutoModelForSequenceClassification

    run = train(rocoft, tmp_path / "run", tiny_model, glue_dir, "--method", "bitfit")
    for options in (("me/values",), ("me/whole", "--merged", "--private")):
        done = push(run, "--push-to-hub", *options)
        assert done.code == 0, done.err
    assert "trained.safetensors" in push.hub.written["me/values"].files
    assert "merged model: " in done.out
    repo = push.hub.written["me/whole"]
    assert repo.private
    assert ModelCard(repo.files["README.md"].decode()).data.library_name == "transformers"
    merged = download(repo, tmp_path / "whole")
    assert str(tmp_path) not in (merged / "config.json").read_text()
    AutoModelForSequenceClassification.from_pretrained(merged)
    assert not (run / "merged").exists()

    mixed = push(run, "--push-to-hub", "me/values", "--merged")
    assert mixed.code == 2
    assert "me/values: holds trained.safetensors of a model in another form" in mixed.err
    public = push(run, "--push-to-hub", "me/values", "--private")
    assert (public.code, len(public.err.splitlines())) == (2, 1)
    assert "me/values is there already and public" in public.err
    assert push(run, "--push-to-hub", "me/values").code == 0


def test_a_run_of_before_cards_goes_up_with_one(run: Path, push: Pushing) -> None:
    (run / "adapter" / "README.md").write_text("---\nbase_model: /somewhere/else\n---\n[More Information Needed]")
    (run / "provenance.json").unlink()
    assert push(run, "--push-to-hub", "me/x").code == 0
    card = push.hub.written["me/x"].files["README.md"].decode()
    assert "More Information Needed" not in card
    assert "/somewhere" not in card
    assert "RoCoFT-3-Row on glue rte" in card


def assert_refused(done: Outcome, expected: str) -> None:
    assert (done.code, len(done.err.splitlines())) == (2, 1), done.err
    assert expected in done.err
    assert not [secret for secret in (TOKEN, READ_ONLY, "secret") if secret in done.err + done.out]


@pytest.mark.parametrize(
    ("options", "token", "expected"),
    [
        (("--push-to-hub", "a/b/c"), TOKEN, "Repo id must be in the form"),
        (("--push-to-hub", "me/x", "--output", "there"), TOKEN, "give one of them"),
        (("--merged",), TOKEN, "name a repository, --push-to-hub OWNER/NAME"),
        (("--private",), TOKEN, "name a repository, --push-to-hub OWNER/NAME"),
        (("--push-to-hub", "me/x"), "", "nobody is logged in to the hub; log in with `hf auth login`"),
        (("--push-to-hub", "me/x"), "hf_expired", "log in with `hf auth login`"),
        (("--push-to-hub", "me/x"), READ_ONLY, "the token may not write there"),
        (("--push-to-hub", "others/x"), TOKEN, "the token may not write there"),
    ],
)
def test_what_cannot_be_uploaded_is_said_in_one_line(
    run: Path, push: Pushing, options: tuple[str, ...], token: str, expected: str
) -> None:
    before = snapshot(run)
    assert_refused(push(run, *options, token=token), expected)
    assert snapshot(run) == before
    assert not push.hub.written


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"HF_HUB_OFFLINE": "1"}, "offline mode is on (HF_HUB_OFFLINE)"),
        ({"HF_ENDPOINT": "http://127.0.0.1:9"}, "cannot be reached"),
    ],
)
def test_a_hub_that_cannot_be_asked_is_said_in_one_line(
    run: Path, push: Pushing, environment: dict[str, str], expected: str
) -> None:
    before = snapshot(run)
    assert_refused(push.alone(run, "--push-to-hub", "me/x", **environment), expected)
    assert snapshot(run) == before
    assert not push.hub.written


def test_a_token_that_cannot_be_sent_is_not_shown(run: Path, push: Pushing, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("hf_\0secret")
    done = push.alone(run, "--push-to-hub", "me/x", HF_HOME=str(tmp_path), HF_TOKEN="")
    assert_refused(done, "Illegal header value")


@pytest.mark.parametrize("step", ["preupload", "lfs-store", "commit"])
def test_an_upload_that_breaks_off_leaves_no_file_on_the_hub(run: Path, push: Pushing, step: str) -> None:
    push.hub.fails_on = step
    done = push(run, "--push-to-hub", "me/x")
    assert (done.code, len(done.err.splitlines())) == (2, 1), done.err
    assert "--push-to-hub me/x: " in done.err
    assert push.hub.written["me/x"].files == {}


def test_a_run_that_cannot_be_pushed_makes_no_repository(
    rocoft: Cli, tiny_model: Path, glue_dir: Path, push: Pushing, tmp_path: Path
) -> None:
    run = train(rocoft, tmp_path / "run", tiny_model, glue_dir, "--method", "adapter", "--set", "method.bottleneck=4")
    done = push(run, "--push-to-hub", "me/x", "--merged")
    assert (done.code, len(done.err.splitlines())) == (2, 1)
    assert "adapter cannot be merged into the base model" in done.err
    lost = ((run / "adapter", "only the record is here"), (run / "config.yaml", "config.yaml: cannot be read"))
    for place, expected in lost:
        place.rename(tmp_path / place.name)
        done = push(run, "--push-to-hub", "me/x")
        assert (done.code, len(done.err.splitlines())) == (2, 1), done.err
        assert expected in done.err
    assert not push.hub.written
