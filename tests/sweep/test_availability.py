"""What the hub would have to give is told before anything is started, where the hub is out of reach."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rocoft_bench.config import read_sweep
from rocoft_bench.sweep import availability
from rocoft_bench.sweep.availability import unavailable
from rocoft_bench.sweep.plan import make_plan

SWEEP = """
task: {family: glue, name: rte}
axes:
  model: [roberta-base, demo-minilm]
  task.data_dir: [null, somewhere]
"""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub, which cannot be reached."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "datasets"))
    monkeypatch.setattr(availability, "out_of_reach", lambda: "there is no network")
    return tmp_path


def lacking(tmp_path: Path) -> list[str]:
    """What each of the four runs lacks."""
    file = tmp_path / "sweep.yaml"
    file.write_text(SWEEP)
    sweep = read_sweep(file)
    assert sweep is not None
    runs = make_plan(sweep, tmp_path / "results").runs
    reasons = unavailable(runs)
    assert all(
        "is not in the local cache and there is no network; use local files" in each for each in reasons.values()
    )
    return [reasons.get(run.name, "nothing").partition(" is not")[0] for run in runs]


def test_runs_are_told_apart_by_what_they_lack(cache: Path) -> None:
    model, dataset = "model FacebookAI/roberta-base", "dataset nyu-mll/glue"
    assert lacking(cache) == [model, model, dataset, "nothing"]
    (cache / "hub" / "models--FacebookAI--roberta-base").mkdir(parents=True)
    assert lacking(cache) == [dataset, "nothing", dataset, "nothing"]
    (cache / "datasets" / "nyu-mll___glue").mkdir(parents=True)
    assert lacking(cache) == ["nothing"] * 4


def test_a_hub_that_answers_has_everything(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(availability, "out_of_reach", lambda: "")
    assert lacking(cache) == ["nothing"] * 4


def test_a_sweep_of_which_nothing_can_start_ends_in_a_line_for_each_reason(
    rocoft: Callable[..., Any], cache: Path
) -> None:
    result = rocoft("sweep", "llama2.yaml", "--output", cache / "out")
    assert result.code == 2
    lines = result.err.splitlines()
    assert [line.partition(" is not")[0] for line in lines] == [
        "error: 54 runs cannot start: model meta-llama/Llama-2-7b-hf",
        "54 runs cannot start: model meta-llama/Llama-2-13b-hf",
    ]
    assert not (cache / "out").exists()


def test_a_method_that_one_process_trains_is_told_too(tmp_path: Path) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_text(
        "task: {family: demo, name: entailment}\nmodel: {name: demo-minilm}\naxes: {method: [sft, adalora, lora]}"
    )
    sweep = read_sweep(file)
    assert sweep is not None
    runs = make_plan(sweep, tmp_path / "results").runs
    assert unavailable(runs) == {}
    assert list(unavailable(runs, shared=True).values()) == [
        "--num-processes: sft is trained by one process; leave it out"
    ]
    assert list(unavailable(runs, shared=True, sharded=True)) == [run.name for run in runs[:2]]
