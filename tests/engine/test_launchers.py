"""What a launcher has left in the environment does not change what a run computes."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rocoft_bench.engine.launchers import OWN_LAUNCH, forget_launchers

LEFT = {
    "ACCELERATE_MIXED_PRECISION": "bf16",
    "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "4",
    "ACCELERATE_USE_FSDP": "true",
    "FSDP_VERSION": "1",
    "ACCELERATE_DYNAMO_BACKEND": "EAGER",
    "WORLD_SIZE": "2",
    "RANK": "1",
    "LOCAL_RANK": "1",
    "OMPI_COMM_WORLD_SIZE": "2",
}


def test_a_run_computes_the_same(
    rocoft: Callable[..., Any], tiny_model: Path, glue_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("train", "glue", "--task", "rte", "--model", tiny_model, "--data-dir", glue_dir, "--epochs", 1)
    assert rocoft(*words, "--output", tmp_path / "plain").code == 0
    for name, value in LEFT.items():
        monkeypatch.setenv(name, value)
    result = rocoft(*words, "--output", tmp_path / "left")
    assert result.code == 0, result.err
    for name in ("history.jsonl", "predictions.jsonl"):
        assert (tmp_path / "left" / name).read_text() == (tmp_path / "plain" / name).read_text()


@pytest.mark.parametrize("own", [False, True])
def test_only_this_projects_launcher_says_how_processes_share_a_model(
    own: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in LEFT.items():
        monkeypatch.setenv(name, value)
    if own:
        monkeypatch.setenv(OWN_LAUNCH, "1")
    forget_launchers()
    sharing = {"ACCELERATE_USE_FSDP", "FSDP_VERSION", "WORLD_SIZE", "RANK", "LOCAL_RANK", "OMPI_COMM_WORLD_SIZE"}
    assert {name for name in LEFT if name in os.environ} == (sharing if own else set())
