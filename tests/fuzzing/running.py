"""Inputs that are wrong in ways that people and disks make them, for every command, and how each is answered.

A case is made of a seed. It runs in a forked child, so that the libraries are imported once and a hang ends.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

TIMEOUT_SECONDS = 30
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\ud800-\udfff]")
LONGEST_LINE = 4_000
TELLS = ("error: ", "skipped: ", "failed", "nan: ", "✗", "wrong")
"""One of these stands in what says that something is wrong."""
VERDICTS = ("ok", "traceback", "accepted", "hang", "unclear", "half-written")

Damage = Callable[[Path], None]


@dataclass
class Case:
    """A command in a folder that was damaged. refused: whether it is certainly wrong."""

    name: str
    arguments: list[str]
    refused: bool = True
    damage: Damage | None = None


FEW_SHOT_RUN = "few-shot/run"


@dataclass
class Answer:
    """How a case was answered; details: what the command printed, and what it left behind."""

    verdict: str
    code: int | None
    output: str
    left: list[str] = field(default_factory=list)


def make_world(folder: Path) -> None:
    """Tiny models, rows, a config, a sweep and a finished run, all with relative names."""
    from tests.conftest import save_tiny_bert, write_glue
    from tests.ntk.models import save_masked_lm, write_few_shot_rows

    folder.mkdir(parents=True, exist_ok=True)
    save_tiny_bert(folder / "model")
    save_masked_lm(folder / "masked-lm")
    write_glue(folder / "data", tasks=("rte",))
    write_few_shot_rows(folder / "data")
    (folder / "run.yaml").write_text(
        "task: {family: glue, name: rte, max_length: 16, data_dir: data}\nmodel: {name: model}\n"
        "method: {name: rocoft, mode: row, rank: 1}\n"
        "training:\n  learning_rate: 1.0e-3\n  epochs: 1\n  batch_size: 32\nseed: 1\n"
    )
    (folder / "sweep.yaml").write_text(
        "include: run.yaml\naxes:\n  method: [lora, {name: rocoft, rank: 2}]\n  seed: [0, 1]\n"
        "exclude:\n  - {method: lora, seed: 1}\n"
    )
    few_shot = ["--task", "mr", "--model", "masked-lm", "--data-dir", "data", "--seed", "13", "--set", "task.shots=4"]
    for arguments in (
        ["glue", "--config", "run.yaml", "--output", "results/run"],
        ["fewshot", *few_shot, "--epochs", "1", "--output", FEW_SHOT_RUN],
    ):
        code, output = _call(["train", *arguments], folder)
        if code != 0:
            raise RuntimeError(f"a run that the cases start from failed:\n{output}")


def answer(case: Case, world: Path) -> Answer:
    """Carry out a case in a copy of the world."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as name:
        folder = Path(name, "world")
        shutil.copytree(world, folder, symlinks=True)
        if case.damage is not None:
            case.damage(folder)
        before = _files(folder)
        code, output = _call(case.arguments, folder)
        after = _files(folder)
        left = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
        return Answer(_verdict(case, code, output, left), code, output, left)


def _verdict(case: Case, code: int | None, output: str, left: list[str]) -> str:
    if code is None:
        return "hang"
    if "Traceback (most recent call last)" in output or code not in (0, 1, 2):
        return "traceback"
    if code == 0 and case.refused:
        return "accepted"
    if code == 2 and left:
        return "half-written"
    said = code == 0 or any(
        word in output.lower() for word in ("error: ", "skipped: ", "failed", "nan: ", "✗", "wrong")
    )
    if not said or CONTROL.search(output) or max(map(len, output.splitlines()), default=0) > LONGEST_LINE:
        return "unclear"
    return "ok"


def _files(folder: Path) -> dict[str, tuple[int, int, int]]:
    found = {}
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(place, name)
            status = path.lstat()
            size = status.st_size if name in files else 0
            found[path.relative_to(folder).as_posix()] = (status.st_mode, size, status.st_mtime_ns if size else 0)
    return found


def _call(arguments: list[str], folder: Path) -> tuple[int | None, str]:
    """Exit code and output of `rocoft ARGUMENTS` in a forked child; None if it did not end in time."""
    with tempfile.TemporaryFile() as output:
        child = os.fork()
        if child == 0:
            _run_command(arguments, folder, output.fileno())
        code = _wait(child)
        output.seek(0)
        return code, output.read().decode("utf-8", errors="surrogateescape")


def _run_command(arguments: list[str], folder: Path, output: int) -> None:
    code = 70
    try:
        os.setsid()
        os.chdir(folder)
        for descriptor in (1, 2):
            os.dup2(output, descriptor)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for name, descriptor in (("stdout", 1), ("stderr", 2)):
            setattr(sys, name, os.fdopen(os.dup(descriptor), "w", encoding="utf-8"))
        os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
        from rocoft_bench.cli import main

        sys.argv = ["rocoft", *arguments]
        try:
            main()
            code = 0
        except SystemExit as error:
            code = int(error.code or 0)
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(code)


def _wait(child: int) -> int | None:
    end = time.monotonic() + TIMEOUT_SECONDS
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def import_libraries() -> None:
    """What the commands import, once, before children are forked."""
    import datasets
    import peft
    import torch
    import transformers

    from rocoft_bench import cli, report  # noqa: F401

    torch.set_num_threads(1)
    datasets.disable_progress_bars()
    transformers.AutoModelForSequenceClassification, peft.PeftModel  # noqa: B018 - loads what they stand for
