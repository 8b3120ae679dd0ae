"""`rocoft export --push-to-hub`: real requests of the real library to a hub on this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard

from tests.uploading_hub import OWNER, READ_ONLY, TOKEN, Repo, UploadingHub

Cli = Callable[..., Any]
PAIR = ("--text", "the cat sleeps", "--text-pair", "a dog runs")


def train(rocoft: Cli, folder: Path, model: Path, data: Path, *more: object) -> Path:
    arguments = ("--model", model, "--data-dir", data, "--epochs", 1, "--set", "training.warmup_steps=1", *more)
    result = rocoft("train", "glue", "--task", "rte", *arguments, "--output", folder)
    assert result.code == 0, result.err
    return folder


@pytest.fixture
def run(rocoft: Cli, tiny_model: Path, glue_dir: Path, tmp_path: Path) -> Path:
    return train(rocoft, tmp_path / "run", tiny_model, glue_dir)


SEVERAL = """
import contextlib, io, json, sys
from rocoft_bench.cli import main
run, pushes = sys.argv[1], json.loads(sys.argv[2])
results = []
for options in pushes:
    sys.argv = ["rocoft", "export", run, "--push-to-hub", *options]
    output = io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        try:
            main()
        except SystemExit as end:
            results.append((end.code or 0, output.getvalue()))
print(json.dumps(results))
"""


@dataclass(frozen=True)
class Pushing:
    """Calls `rocoft export RUN --push-to-hub …` in a process of its own, logged in to the hub as `token`."""

    hub: UploadingHub
    home: Path

    def __call__(self, run: Path, *options: object, token: str | None = TOKEN, **environment: str) -> Any:
        code = "from rocoft_bench.cli import main; main()"
        return self._python([code, "export", str(run), *map(str, options)], token, environment)

    def one_after_the_other(self, run: Path, *pushes: tuple[str, ...]) -> list[tuple[int, str]]:
        """The exit code and the output of each, from one process: it imports what they need once."""
        done = self._python([SEVERAL, str(run), json.dumps(pushes)], TOKEN, {})
        assert done.returncode == 0, done.stderr
        return [(code, output) for code, output in json.loads(done.stdout.splitlines()[-1])]

    def _python(self, arguments: list[str], token: str | None, environment: dict[str, str]) -> Any:
        kept = {key: value for key, value in os.environ.items() if not key.startswith("HF_") and "proxy" not in key}
        own = {"HF_HOME": str(self.home), "HF_ENDPOINT": self.hub.url, "HF_HUB_DISABLE_XET": "1"}
        logged_in = {"HF_TOKEN": token} if token else {}
        environment = {**kept, **own, **logged_in, **environment}
        return subprocess.run([sys.executable, "-c", *arguments], env=environment, capture_output=True, text=True)


@pytest.fixture
def push(uploading_hub: UploadingHub, tmp_path: Path) -> Pushing:
    return Pushing(uploading_hub, tmp_path / "hf")


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
    done = push(run, "--push-to-hub", "my-adapter")
    assert done.returncode == 0, done.stderr
    repo = push.hub.written[f"{OWNER}/my-adapter"]
    assert set(repo.files) == {
        "README.md", "adapter_config.json", "adapter_model.safetensors", "config.yaml", "record.json",
    }  # fmt: skip
    assert done.stdout == f"trained values: {push.hub.url}/me/my-adapter at commit {repo.sha}\n"
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
    assert push(run, "--push-to-hub", "me/x").returncode == 0
    copy = download(push.hub.written["me/x"], tmp_path / "copy")
    (copy / "provenance.json").write_text('{"command": ["/home/me"]}')
    assert push(copy, "--push-to-hub", "me/again").returncode == 0
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
    values, whole, mixed, public, again = push.one_after_the_other(
        run,
        ("me/values",),
        ("me/whole", "--merged", "--private"),
        ("me/values", "--merged"),
        ("me/values", "--private"),
        ("me/values",),
    )
    assert (values[0], whole[0], again[0]) == (0, 0, 0), (values, whole, again)
    assert "trained.safetensors" in push.hub.written["me/values"].files
    assert "merged model: " in whole[1]
    repo = push.hub.written["me/whole"]
    assert repo.private
    assert ModelCard(repo.files["README.md"].decode()).data.library_name == "transformers"
    merged = download(repo, tmp_path / "whole")
    assert str(tmp_path) not in (merged / "config.json").read_text()
    AutoModelForSequenceClassification.from_pretrained(merged)
    assert not (run / "merged").exists()

    assert mixed[0] == 2
    assert "me/values: holds trained.safetensors of a model in another form" in mixed[1]
    assert (public[0], len(public[1].splitlines())) == (2, 1)
    assert "me/values is there already and public" in public[1]


def test_a_run_of_before_cards_goes_up_with_one(run: Path, push: Pushing) -> None:
    (run / "adapter" / "README.md").write_text("---\nbase_model: /somewhere/else\n---\n[More Information Needed]")
    (run / "provenance.json").unlink()
    assert push(run, "--push-to-hub", "me/x").returncode == 0
    card = push.hub.written["me/x"].files["README.md"].decode()
    assert "More Information Needed" not in card
    assert "/somewhere" not in card
    assert "RoCoFT-3-Row on glue rte" in card


@pytest.mark.parametrize(
    ("options", "environment", "expected"),
    [
        (("--push-to-hub", "a/b/c"), {}, "Repo id must be in the form"),
        (("--push-to-hub", "me/x", "--output", "there"), {}, "give one of them"),
        (("--merged",), {}, "name a repository, --push-to-hub OWNER/NAME"),
        (("--private",), {}, "name a repository, --push-to-hub OWNER/NAME"),
        (("--push-to-hub", "me/x"), {"HF_HUB_OFFLINE": "1"}, "offline mode is on (HF_HUB_OFFLINE)"),
        (("--push-to-hub", "me/x"), {"HF_ENDPOINT": "http://127.0.0.1:9"}, "cannot be reached"),
        (("--push-to-hub", "me/x"), {"HF_TOKEN": ""}, "nobody is logged in to the hub; log in with `hf auth login`"),
        (("--push-to-hub", "me/x"), {"HF_TOKEN": "hf_expired"}, "log in with `hf auth login`"),
        (("--push-to-hub", "me/x"), {"HF_TOKEN": READ_ONLY}, "the token may not write there"),
        (("--push-to-hub", "others/x"), {}, "the token may not write there"),
    ],
)
def test_what_cannot_be_uploaded_is_said_in_one_line(
    run: Path, push: Pushing, options: tuple[str, ...], environment: dict[str, str], expected: str
) -> None:
    before = snapshot(run)
    done = push(run, *options, **environment)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert expected in done.stderr
    assert not [secret for secret in (TOKEN, READ_ONLY) if secret in done.stderr + done.stdout]
    assert snapshot(run) == before
    assert not push.hub.written


def test_a_token_that_cannot_be_sent_is_not_shown(run: Path, push: Pushing) -> None:
    push.home.mkdir()
    (push.home / "token").write_text("hf_\0secret")
    done = push(run, "--push-to-hub", "me/x", token=None)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert "Illegal header value" in done.stderr
    assert "secret" not in done.stderr


@pytest.mark.parametrize("step", ["preupload", "lfs-store", "commit"])
def test_an_upload_that_breaks_off_leaves_no_file_on_the_hub(run: Path, push: Pushing, step: str) -> None:
    push.hub.fails_on = step
    done = push(run, "--push-to-hub", "me/x")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert "--push-to-hub me/x: " in done.stderr
    assert push.hub.written["me/x"].files == {}


def test_a_run_that_cannot_be_pushed_makes_no_repository(
    rocoft: Cli, tiny_model: Path, glue_dir: Path, push: Pushing, tmp_path: Path
) -> None:
    run = train(rocoft, tmp_path / "run", tiny_model, glue_dir, "--method", "adapter", "--set", "method.bottleneck=4")
    done = push(run, "--push-to-hub", "me/x", "--merged")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "adapter cannot be merged into the base model" in done.stderr
    lost = ((run / "adapter", "only the record is here"), (run / "config.yaml", "config.yaml: cannot be read"))
    for place, expected in lost:
        place.rename(tmp_path / place.name)
        done = push(run, "--push-to-hub", "me/x")
        assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
        assert expected in done.stderr
    assert not push.hub.written
