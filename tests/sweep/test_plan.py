"""What is to be done, told from the files that are there."""

from __future__ import annotations

from pathlib import Path

import pytest

from rocoft_bench.cli.sweep_view import plan_lines
from rocoft_bench.config import parse_filter, read_sweep
from rocoft_bench.errors import UserError
from rocoft_bench.execution.diagnosis import failure_record
from rocoft_bench.experiment.evaluate import evaluation_directory
from rocoft_bench.runs import Failure, RunDirectory, SavedFile, saved_files, write_json
from rocoft_bench.sweep.invalid_runs import record_invalid
from rocoft_bench.sweep.plan import CostHistory, Plan, PlannedRun, State, make_plan

SWEEP = """
task: {family: glue, name: rte}
axes:
  method: [lora, full]
  seed: [0, 1, 2]
"""


def plan_of(folder: Path, text: str = SWEEP, **options: object) -> Plan:
    file = folder / "sweep.yaml"
    file.write_text(text)
    sweep = read_sweep(file)
    assert sweep is not None
    return make_plan(sweep, folder / "results", **options)  # type: ignore[arg-type]


def leave(run: PlannedRun, status: str, adapter: bool = True, **facts: object) -> None:
    """The files that a run leaves."""
    directory = RunDirectory(run.folder)
    directory.start(run.experiment.config)
    record = failure_record(run.job([]), Failure("failed", "there", None))
    seconds = {"train_seconds": 10.0, "eval_seconds": 2.0} if status == "ok" else {}
    write_json(directory.record, record.model_copy(update={"status": status, **seconds, **facts}).model_dump())
    if adapter:
        directory.adapter.mkdir(exist_ok=True)


def states(plan: Plan) -> list[str]:
    return [str(run.state) for run in plan.runs]


def test_states_follow_from_what_is_in_the_folders(tmp_path: Path) -> None:
    first = plan_of(tmp_path)
    assert states(first) == ["to do"] * 6
    leave(first.runs[0], "ok")
    leave(first.runs[1], "ok", adapter=False)
    leave(first.runs[2], "nan")
    leave(first.runs[3], "interrupted")
    RunDirectory(first.runs[4].folder).start(first.runs[4].experiment.config)
    (first.runs[5].folder).mkdir()
    (first.runs[5].folder / "record.json").write_text("{")
    plan = plan_of(tmp_path)
    assert states(plan) == ["done", "done", "failed", "begun", "begun", "failed"]
    (line,) = [line for line in plan_lines(plan, []) if "trained values were taken away" in line]
    assert line.endswith(": 1")
    numbers = {run.name: number for number, run in enumerate(plan.runs)}
    assert [numbers[run.name] for run in plan.to_do(retry_failed=False)] == [3, 4]
    assert [numbers[run.name] for run in plan.to_do(retry_failed=True)] == [2, 3, 4, 5]


def test_a_planted_or_damaged_run_is_to_be_done(tmp_path: Path) -> None:
    first = plan_of(tmp_path)
    other = first.runs[5].experiment.identity.config_hash
    leave(first.runs[0], "ok", config_hash=other)
    leave(first.runs[1], "ok", adapter_files={"weights": SavedFile(bytes=1, sampled_sha256="")})
    weights = RunDirectory(first.runs[2].folder).adapter / "weights"
    leave(first.runs[2], "ok")
    weights.write_bytes(b"1234")
    leave(first.runs[2], "ok", adapter_files=saved_files(weights.parent))
    assert states(plan_of(tmp_path)) == ["to do", "to do", "done", "to do", "to do", "to do"]
    weights.write_bytes(b"")
    assert states(plan_of(tmp_path))[2] == "to do"


def test_a_record_that_states_trained_values_is_no_finished_run_without_them(tmp_path: Path) -> None:
    first = plan_of(tmp_path)
    leave(first.runs[0], "ok", adapter=False, adapter_files={"weights": SavedFile(bytes=1, sampled_sha256="")})
    leave(first.runs[1], "ok", adapter=False)
    RunDirectory(first.runs[1].folder).config.unlink()  # a record by itself
    assert states(plan_of(tmp_path)) == ["to do"] * 6


def test_what_another_process_is_at_comes_last(tmp_path: Path) -> None:
    first = plan_of(tmp_path)
    with RunDirectory(first.runs[0].folder).locked():
        plan = plan_of(tmp_path)
        assert plan.runs[0].state is State.BUSY
        assert plan.to_do(False)[-1] is plan.runs[0]


def test_a_changed_setting_is_another_run(tmp_path: Path) -> None:
    for run in plan_of(tmp_path).runs:
        leave(run, "ok")
    assert states(plan_of(tmp_path)) == ["done"] * 6
    assert states(plan_of(tmp_path, assignments=["training.epochs=4"])) == ["to do"] * 6
    assert states(plan_of(tmp_path, assignments=["training.checkpoint_seconds=4"])) == ["done"] * 6
    assert states(plan_of(tmp_path, SWEEP.replace("[0, 1, 2]", "[2, 3]"))) == ["done", "to do"] * 2


def test_a_filter_looks_at_complete_settings(tmp_path: Path) -> None:
    def filtered(*texts: str) -> int:
        return len(plan_of(tmp_path, condition=parse_filter(*texts)).runs)

    assert filtered("method=lora") == 3
    assert filtered("method=lora,seed=1", "seed=2") == 2
    assert filtered("method.rank=8") == 3  # LoRA's default, written nowhere
    with pytest.raises(UserError, match=r'--filter: no run has task = rtee; did you mean "rte"\?'):
        filtered("task=rtee")


def test_the_same_run_twice_is_counted_once(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, SWEEP.replace("[lora, full]", "[lora, {name: lora, rank: 8}]"))
    assert (len(plan.runs), plan.repeated) == (3, 3)


def test_a_model_that_cannot_be_is_named_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r'robertabase: no such folder, .*did you mean "roberta-base"'):
        plan_of(tmp_path, assignments=["model=robertabase"])


def test_wrong_runs_do_not_stop_the_others_and_leave_a_record(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, SWEEP.replace("[lora, full]", "[{name: lora, rnk: 8}, full]"))
    assert (len(plan.runs), len(plan.invalid)) == (3, 3)
    record_invalid(plan.invalid, tmp_path / "results", tmp_path / "sweep.yaml")
    folders = sorted((tmp_path / "results" / "glue-rte").iterdir())
    assert len(folders) == 3
    record = RunDirectory(folders[1]).read_record()
    assert (record.status, record.seed, record.label) == ("failed", 1, "lora")
    assert 'method.rnk is not a setting; did you mean "rank"?' in str(record.error)
    corrected = plan_of(tmp_path)
    assert len(corrected.to_do(False)) == 6  # the records stand in nobody's way
    record_invalid(corrected.invalid, tmp_path / "results", tmp_path / "another.yaml")
    assert len(list((tmp_path / "results" / "glue-rte").iterdir())) == 3
    (tmp_path / "results" / "glue-rte" / "garbage").mkdir()
    (tmp_path / "results" / "glue-rte" / "garbage" / "record.json").write_text("{")
    (folders[0] / "notes.txt").touch()
    record_invalid(corrected.invalid, tmp_path / "results", tmp_path / "sweep.yaml")
    left = sorted(file.name for file in (tmp_path / "results" / "glue-rte").rglob("*.*"))
    assert left == ["notes.txt", "record.json"]  # neither is the sweep's


def test_a_run_is_done_when_its_further_evaluations_are(tmp_path: Path) -> None:
    text = "axes: {config: [math/gsm8k.yaml], seed: [0]}\nevaluate_also: {math: [svamp, addsub]}"
    (run,) = plan_of(tmp_path, text).runs
    assert [each.task.name for each in run.evaluations] == ["svamp", "addsub"]
    leave(run, "ok")
    assert states(plan_of(tmp_path, text)) == ["begun"]
    svamp, addsub = (evaluation_directory(RunDirectory(run.folder), each) for each in run.evaluations)
    for target, status in ((svamp, "ok"), (addsub, "failed")):
        target.path.mkdir(parents=True)
        record = failure_record(run.job([]), Failure("failed", "no such rows", None))
        write_json(target.record, record.model_copy(update={"status": status}).model_dump())
    (failed,) = plan_of(tmp_path, text).runs
    assert (failed.state, failed.record and failed.record.error) == (State.FAILED, "no such rows")
    addsub.record.write_text("{")
    assert states(plan_of(tmp_path, text)) == ["failed"]
    write_json(addsub.record, record.model_copy(update={"status": "ok"}).model_dump())
    assert states(plan_of(tmp_path, text)) == ["done"]


def test_a_sweep_of_nothing_but_wrong_runs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="unknown method 'lorra'"):
        plan_of(tmp_path, SWEEP.replace("[lora, full]", "[lorra]"))


def test_times_come_from_the_most_similar_runs(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    assert CostHistory(plan.runs).seconds(plan.runs[0]) is None
    leave(plan.runs[0], "ok")
    plan = plan_of(tmp_path)
    known = CostHistory(plan.runs)
    lora, full = plan.runs[1], plan.runs[3]
    assert known.seconds(lora) == known.seconds(full) == 12.0
    known.add(full, 40.0)
    assert (known.seconds(lora), known.seconds(full)) == (12.0, 40.0)


def test_memory_is_what_was_measured_or_else_the_estimate(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    leave(plan.runs[0], "ok", peak_memory_mib=700.0)
    plan = plan_of(tmp_path)
    lora, full = plan.runs[1], plan.runs[3]
    assert lora.memory_mib == 700.0
    assert (full.memory_mib or 0) > 2000  # 512 tokens in 32 rows of RoBERTa-base
