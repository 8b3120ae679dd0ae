"""What the hub would have to give is told before anything is started, where the hub is out of reach."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rocoft_bench.config import read_sweep
from rocoft_bench.prefetch import needs
from rocoft_bench.prefetch.needs import GitHubSplit, unavailable
from rocoft_bench.sweep.plan import PlannedRun, make_plan, refusals
from rocoft_bench.tasks.instructions import LLM_ADAPTERS
from tests.conftest import write_glue

SWEEP = """
task: {family: glue, name: rte}
axes:
  model: [roberta-base, demo-minilm]
  task.data_dir: [null, {data}]
"""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub, which cannot be reached."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "datasets"))
    monkeypatch.setattr(needs, "out_of_reach", lambda endpoint: "there is no network")
    return tmp_path


def planned(tmp_path: Path, text: str) -> list[Any]:
    file = tmp_path / "sweep.yaml"
    file.write_text(text)
    sweep = read_sweep(file)
    assert sweep is not None
    return make_plan(sweep, tmp_path / "results").runs


def lacks(runs: list[PlannedRun]) -> dict[str, str]:
    return unavailable({run.name: (run.experiment, *run.evaluations) for run in runs})


def lacking(tmp_path: Path, data: Path) -> list[str]:
    """What each of the four runs lacks."""
    runs = planned(tmp_path, SWEEP.replace("{data}", str(data)))
    reasons = lacks(runs)
    assert all(
        "is not in the local cache and there is no network; use local files" in each for each in reasons.values()
    )
    return [reasons.get(run.name, "nothing").partition(" is not")[0] for run in runs]


def test_runs_are_told_apart_by_what_they_lack(cache: Path, glue_dir: Path) -> None:
    model, dataset = "model FacebookAI/roberta-base", "dataset nyu-mll/glue"
    assert lacking(cache, glue_dir) == [model, model, dataset, "nothing"]
    (cache / "hub" / "models--FacebookAI--roberta-base").mkdir(parents=True)
    assert lacking(cache, glue_dir) == [dataset, "nothing", dataset, "nothing"]
    (cache / "datasets" / "nyu-mll___glue").mkdir(parents=True)
    assert lacking(cache, glue_dir) == ["nothing"] * 4


@pytest.mark.parametrize("family", ["math", "commonsense"])
def test_rows_from_github_are_told_too(family: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The model is here, the rows are not: no run is started that would say so after loading the model."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HOME", str(cache))
    task = {"math": "gsm8k", "commonsense": "boolq"}[family]
    train_on = {"math": "math_10k", "commonsense": "boolq"}[family]
    text = f"task: {{family: {family}, name: {task}, train_on: {train_on}}}\nmodel: {{name: demo-llama}}\n"
    text += "axes: {task.data_dir: [null, rows]}\n"
    text += "evaluate_also: {math: [svamp]}\n" if family == "math" else ""
    *runs, local = planned(cache, text)
    assert "no training examples: looked for" in lacks([local])[local.name]
    (reason,) = lacks(runs).values()
    assert ".json of AGI-Edgerunners/LLM-Adapters is not in the local cache and there is no network" in reason
    for need in needs.needs([runs[0].experiment]):
        if isinstance(need, GitHubSplit):
            put(LLM_ADAPTERS.cached(need.path))
    left = {name: reason.partition(" of ")[0] for name, reason in lacks(runs).items()}
    assert left == ({runs[0].name: "dataset/SVAMP/test.json"} if family == "math" else {})


def put(file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("[]")


def test_a_hub_that_answers_has_everything(cache: Path, glue_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(needs, "out_of_reach", lambda endpoint: "")
    assert lacking(cache, glue_dir) == ["nothing"] * 4


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


@pytest.mark.parametrize("damage", ["missing", "truncated"])
def test_local_examples_that_cannot_be_used_start_no_run(
    rocoft: Callable[..., Any], tmp_path: Path, damage: str
) -> None:
    write_glue(tmp_path, ("rte",))
    file, out, rows = tmp_path / "sweep.yaml", tmp_path / "out", tmp_path / "glue" / "rte" / "train.jsonl"
    task = f"{{family: glue, name: rte, data_dir: {tmp_path}}}"
    file.write_text(f"task: {task}\nmodel: {{name: demo-minilm}}\naxes: {{seed: [0, 1]}}\n")
    content = rows.read_bytes()
    rows.unlink()
    if damage == "truncated":
        rows.write_bytes(content[:-30])
    result = rocoft("sweep", file, "--output", out)
    assert result.code == 2
    assert result.err.startswith("error: 2 runs cannot start: ")
    assert str(rows.with_suffix("")) in result.err
    assert len(result.err.splitlines()) == 1
    assert not out.exists()


def test_own_examples_that_cannot_be_used_start_no_run(rocoft: Callable[..., Any], tmp_path: Path) -> None:
    """Some kinds of task are known before their examples are read."""
    file, out = tmp_path / "sweep.yaml", tmp_path / "out"
    task = f"{{family: regression, train_file: {tmp_path / 'rows.csv'}}}"
    file.write_text(f"task: {task}\nmodel: {{name: demo-minilm}}\naxes: {{seed: [0, 1]}}\n")
    result = rocoft("sweep", file, "--output", out)
    assert result.code == 2
    assert result.err.startswith(f"error: 2 runs cannot start: {tmp_path / 'rows.csv'}: no such file")
    assert not out.exists()


def test_a_method_that_one_process_trains_is_told_too(tmp_path: Path) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_text(
        "task: {family: demo, name: entailment}\nmodel: {name: demo-minilm}\naxes: {method: [sft, adalora, lora]}"
    )
    sweep = read_sweep(file)
    assert sweep is not None
    runs = make_plan(sweep, tmp_path / "results").runs
    assert lacks(runs) == {}
    assert list(refusals(runs, sharded=False).values()) == [
        "--num-processes: sft is trained by one process; leave it out"
    ]
    assert list(refusals(runs, sharded=True)) == [run.name for run in runs[:2]]
