"""`rocoft ntk` on a tiny masked language model, and what it says to wrong input."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from rocoft_bench.config import Settings, config_root, read_settings
from rocoft_bench.demo import entailment
from rocoft_bench.ntk.kernel_settings import KernelSettings, analyses, of_paper
from tests.conftest import Outcome
from tests.ntk.conftest import masked_lm, rows_dir  # noqa: F401 - fixtures

Rocoft = Callable[..., Outcome]


@pytest.fixture
def tiny(rocoft: Rocoft, masked_lm: Path, rows_dir: Path) -> Rocoft:  # noqa: F811
    def call(*arguments: object) -> Outcome:
        common = ("--model", masked_lm, "--data-dir", rows_dir, "--shots", 4)
        return rocoft("ntk", *common, *arguments)

    return call


def test_tables_and_records(tiny: Rocoft, tmp_path: Path) -> None:
    outcome = tiny("--task", "mr,trec", "--seeds", "13,21", "--kernels", "full,row,ia3", "--output", tmp_path)
    assert outcome.code == 0, outcome.err
    assert "Table 4: few-shot accuracy of kernel regression" in outcome.out
    assert "K_IA3" in outcome.out
    assert "(n=2)" in outcome.out
    assert "memory: about" in outcome.err
    assert len(list(tmp_path.glob("ntk-*/*/kernels.json"))) == 4


def test_fine_tuning_is_a_row_of_the_table(tiny: Rocoft, tmp_path: Path) -> None:
    steps = ("--fine-tune", "--set", "fine_tuning.steps=4", "--seeds", "13", "--output", tmp_path)
    outcome = tiny("--task", "mr", "--method", "rocoft", *steps)
    assert outcome.code == 0, outcome.err
    assert "fine-tuned" in outcome.out
    [file] = tmp_path.glob("ntk-mr/*/kernels.json")
    assert json.loads(file.read_text())["settings"]["fine_tuning"]["steps"] == 4


def test_two_folders_side_by_side(tiny: Rocoft, rocoft: Rocoft, tmp_path: Path) -> None:
    assert tiny("--task", "mr", "--seeds", "13", "--output", tmp_path).code == 0
    assert tiny("--task", "mr", "--seeds", "13", "--output", tmp_path, "--set", "tied=false").code == 0
    outcome = rocoft("ntk", "compare", *sorted(tmp_path.glob("ntk-mr/*")))
    assert outcome.code == 0, outcome.err
    rows = {line.split()[0]: line.split() for line in outcome.out.splitlines()}
    assert float(rows["K_row"][2]) == 0  # tying changes nothing in a row of the blocks
    assert float(rows["K_full"][2]) > 0


def test_a_plan_makes_nothing(tiny: Rocoft, tmp_path: Path) -> None:
    outcome = tiny("--task", "all", "--dry-run", "--output", tmp_path / "new")
    assert outcome.code == 0
    assert outcome.out.count("to do") == 13 * 5
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ((), "--task is missing"),
        (("--task", "sst2"), 'did you mean "sst-2"'),
        (("--task", "mr", "--kernels", "rows"), 'unknown kernel "rows"; did you mean "row"'),
        (("--task", "mr", "--seeds", "a"), "--seeds a: write whole numbers"),
        (("--task", "mr", "--solver", "svm"), "--solver: ntk.solver = 'svm'"),
        (("--task", "mr", "--set", "lora_rnk=3"), 'ntk.lora_rnk is not a setting; did you mean "lora_rank"'),
        (("--task", "mr", "--set", "sedes=[1]"), 'ntk.sedes is not a setting; did you mean "seeds"'),
        (("--task", "mr", "--solver", "published", "--f0"), "error: ntk: solver published does not use f0"),
        (("--task", "mr", "--shots", "99"), "shots 99: "),
        (("--task", "mr", "--label-words", "great,unheard"), 'label word " unheard" of mr is not one token'),
        (("--task", "mr", "--max-length", "4"), "loses its mask to the cut at 4"),
        (("--task", "rte"), "rte"),
        (("--task", "mr", "--memory-gib", "0.01"), "--memory-gib 0.01: too little"),
        (("--task", "mr", "--set", "lora_targets=[quary]"), "has no layers quary"),
        (("--task", "mr", "--set", "shots=x"), "ntk.shots = 'x'"),
        (("--task", "mr", "--set", "task=mr"), "ntk.task: is of one analysis; name them all in a list, ntk.tasks"),
        (("--set", "tasks=5"), "ntk.tasks = 5: must be a list of names"),
        (("--task", "mr", "--set", "lora_rank=99999999999"), "ntk.lora_rank = 99999999999"),
        (("--task", "mr", "--set", "max_length=9223372036854775808"), "ntk.max_length = 9223372036854775808"),
        (("--task", "mr", "--set", "lora_rank=99999"), "lora_rank 99999: more than the 8 columns of "),
        (("--task", "mr", "--solver", "published"), "--solver published: cross-validates in 5 folds"),
    ],
)
def test_wrong_input_is_one_line(tiny: Rocoft, tmp_path: Path, arguments: tuple[str, ...], problem: str) -> None:
    outcome = tiny(*arguments, "--output", tmp_path / "new")
    assert outcome.code == 2
    assert problem in outcome.err
    assert outcome.err.strip().splitlines()[-1].startswith("error: ")
    assert not (tmp_path / "new").exists()


def test_a_file_of_something_else_is_named(rocoft: Rocoft, tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("task: {family: glue, name: rte}")
    problem = f"{file}: task is not a setting of kernel analyses"
    assert problem in rocoft("ntk", "--config", file, "--output", tmp_path / "new").err
    file.write_text("ntk: {tasks: [mr]}")
    assert f"{file}: task.name is missing" in rocoft("train", "glue", "--config", file).err


def test_a_pipe_among_the_kernels_of_others_is_left_alone(tiny: Rocoft, tmp_path: Path) -> None:
    (tmp_path / "ntk-mr" / "other").mkdir(parents=True)
    os.mkfifo(tmp_path / "ntk-mr" / "other" / "kernels.safetensors")
    assert tiny("--task", "mr", "--seeds", "13", "--kernels", "row", "--output", tmp_path).code == 0


def test_shipped_files() -> None:
    for file in sorted(config_root().glob("ntk_*.yaml")):
        groups = analyses(read_settings(file))
        groups = [group for group in groups if group[0].method is None]
        assert [group[0].task for group in groups] == of_paper()
        assert all([own.seed for own in group] == [13, 21, 42, 87, 100] for group in groups)
        assert all(own.shots == (64 if "64" in file.name else 16) for group in groups for own in group)


def test_analyses_on_record_count_as_done() -> None:
    files = sorted((Path(__file__).parents[2] / "results" / "ntk").glob("ntk-*/*/config.yaml"))
    assert len(files) == 13 * 5
    for file in files:
        own = KernelSettings(**yaml.safe_load(file.read_text()))
        assert own.folder_name == f"{file.parents[1].name}/{file.parent.name}"


def test_the_published_preset_yields_to_flags() -> None:
    def of(**values: Any) -> Any:
        return analyses(Settings({"ntk": {"tasks": ["mr"], "seeds": [13], "preset": "published", **values}}))[0][0]

    assert (of().solver, of().tied, of().lora_head) == ("published", False, True)
    assert of(solver="ridge").solver == "ridge"


def test_the_record_says_what_was_chosen(tiny: Rocoft, tmp_path: Path) -> None:
    tiny("--task", "mr", "--seeds", "13", "--preset", "published", "--shots", 5, "--output", tmp_path)
    [file] = tmp_path.glob("ntk-mr/*/kernels.json")
    settings = json.loads(file.read_text())["settings"]
    assert settings["preset"] == "published"
    assert settings["solver"] == "published"
    assert settings["tied"] is False
    assert {"embeddings", "head", "lora_rank", "lora_alpha", "lora_targets", "logits", "f0", "kernel"} <= set(settings)


def test_the_demo(rocoft: Rocoft, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(entailment.SPLIT_SIZES, "test", 70)
    outcome = rocoft("demo", "--family", "ntk", "--output", tmp_path)
    assert outcome.code == 0, outcome.err
    assert outcome.out.count("(n=5)") >= 4
    assert "Table 5: relative differences of kernels, 16-shot, demo-roberta" in outcome.out


def test_a_file_of_analyses_is_a_sweep(rocoft: Rocoft, masked_lm: Path, rows_dir: Path, tmp_path: Path) -> None:  # noqa: F811
    file = tmp_path / "few.yaml"
    names = f"model: {masked_lm}, data_dir: {rows_dir}, tasks: [mr], seeds: [13], kernels: [row]"
    file.write_text(f"ntk: {{{names}}}", encoding="utf-8")
    for state in ("to do", "done"):
        outcome = rocoft("sweep", file, "--set", "shots=4", "--output", tmp_path / "out", "--dry-run")
        assert state in outcome.out, outcome.err
        assert rocoft("sweep", file, "--set", "shots=4", "--output", tmp_path / "out").code == 0
    assert len(list((tmp_path / "out").glob("ntk-mr/*/kernels.json"))) == 1
    assert "--jobs: is for runs" in rocoft("sweep", file, "--jobs", 2).err
    assert rocoft("validate", file).out.splitlines()[-1] == "valid"
    file.write_text(f"ntk: {{{names}, solver: svm}}", encoding="utf-8")
    assert "ntk.solver = 'svm'" in rocoft("validate", file).err


def test_a_task_that_fails_costs_no_other_one(tiny: Rocoft, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    common = ("--seeds", "13", "--kernels", "row", "--output", tmp_path)
    outcome = tiny("--task", "rte,mr", *common)
    assert outcome.code == 1
    assert "rte: error: " in outcome.err
    assert len(list(tmp_path.glob("ntk-mr/*/kernels.json"))) == 1
    monkeypatch.setattr("rocoft_bench.ntk.analyse.solve", lambda *arguments: 1 / 0)
    outcome = tiny("--task", "trec", *common)
    assert outcome.code == 1
    assert outcome.err.splitlines()[-1] == "trec: failed: ZeroDivisionError: division by zero"
    [record] = tmp_path.glob("ntk-trec/*/kernels.json")
    assert json.loads(record.read_text())["status"] == "failed"
