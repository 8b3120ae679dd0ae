"""A search before a sweep's runs: what is tried, on what it is scored, and what it leads to."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rocoft_bench.analysis.records import read_results
from rocoft_bench.config import Settings, parse_filter, read_sweep
from rocoft_bench.engine.observer import Observer
from rocoft_bench.errors import UserError
from rocoft_bench.execution.diagnosis import failure_record
from rocoft_bench.experiment.build import build
from rocoft_bench.experiment.evaluate import evaluate
from rocoft_bench.experiment.resolve import resolve
from rocoft_bench.report import write_report
from rocoft_bench.report.tables import all_tables
from rocoft_bench.runs import Failure, RunDirectory, write_json
from rocoft_bench.sweep.phases import Phase, phases
from rocoft_bench.sweep.plan import PlannedRun

RATES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
BEST = {"rocoft": 1e-3, "lora": 1e-4, "full": 1e-2}
METHODS = ("lora", "full")
SWEEP = f"""
task: {{family: glue, name: rte}}
axes:
  method: [lora, full]
  seed: [3, 4]
tune:
  grid: {{training.learning_rate: {list(RATES)}}}
  hold_out: 400
  set: {{training.epochs: 1}}
"""


def phases_of(folder: Path, text: str = SWEEP, **options: object) -> Iterator[Phase]:
    file = folder / "sweep.yaml"
    file.write_text(text)
    sweep = read_sweep(file)
    assert sweep is not None
    return phases(sweep, folder / "results", **options)  # type: ignore[arg-type]


def rate(run: PlannedRun) -> float:
    return run.experiment.config.training.learning_rate


def planted(run: PlannedRun) -> float:
    """What a run scores: the better the nearer its rate is to the method's best, and otherwise on the evaluation."""
    distance = abs(math.log10(rate(run)) - math.log10(BEST[run.experiment.method.name]))
    is_trial = run.experiment.config.task.hold_out
    return 0.9 - 0.1 * distance if is_trial else 0.1 * distance + 0.01 * run.experiment.config.seed


def carry_out(phase: Phase, status: Callable[[PlannedRun], str] = lambda run: "ok") -> list[PlannedRun]:
    """What would be run, each with the files that it leaves."""
    to_do = phase.plan.to_do(retry_failed=False)
    for run in to_do:
        directory, ended = RunDirectory(run.folder), status(run)
        directory.start(run.experiment.config)
        record = failure_record(run.job([]), Failure("failed", "there", None))
        metrics = {"accuracy": planted(run)} if ended == "ok" else None
        write_json(directory.record, record.model_copy(update={"status": ended, "metrics": metrics}).model_dump())
        directory.adapter.mkdir()
    return to_do


def test_each_method_is_run_with_the_rate_that_was_best_for_it(tmp_path: Path) -> None:
    trials, finals = (carry_out(phase) for phase in phases_of(tmp_path))
    assert {(run.experiment.method.name, rate(run)) for run in trials} == {(m, r) for m in METHODS for r in RATES}
    tasks = [run.experiment.config.task for run in trials]
    assert {
        (task.hold_out, run.experiment.config.training.epochs) for task, run in zip(tasks, trials, strict=True)
    } == {(400, 1)}
    assert {(run.experiment.method.name, rate(run), run.experiment.config.seed) for run in finals} == {
        (method, BEST[method], seed) for method in METHODS for seed in (3, 4)
    }
    assert all(run.experiment.config.task.hold_out is None for run in finals)
    assert {run.experiment.config.training.epochs for run in finals} == {3}
    record = RunDirectory(finals[0].folder).read_record()
    assert "0.0001 chosen by 5 trials on 400 held-out training rows (accuracy 90.00)" in record.notes[-1]


def test_choices_trials_and_budget_are_on_record_and_no_table_mixes_them_with_results(tmp_path: Path) -> None:
    for phase in phases_of(tmp_path):
        carry_out(phase)
    results = read_results(tmp_path / "results")
    assert (len(results.runs), len(results.trials), len(results.tuning)) == (4, 10, 2)
    found = {stored.record.label: stored.record for stored in results.tuning}
    lora = found["LoRA"]
    assert (lora.budget, lora.hold_out, lora.chosen, lora.on_edge) == (5, 400, {"training.learning_rate": 1e-4}, [])
    assert {trial.run for trial in lora.trials} == {run.id for run in results.trials if run.record.label == "LoRA"}
    trials = {run.id for run in results.trials}
    main = [table for table in all_tables(results) if table.number == "1"]
    shown = {id for table in main for row in table.rows for cell in row.cells.values() for id in cell.runs}
    assert shown == {run.id for run in results.runs}
    assert not shown & trials
    assert {run.record.protocol for run in results.trials} != {run.record.protocol for run in results.runs}


def test_a_search_that_was_interrupted_goes_on_and_decides_only_when_it_has_ended(tmp_path: Path) -> None:
    first = phases_of(tmp_path)
    phase = next(first)
    phase.plan.runs = phase.plan.runs[:7]
    carry_out(phase)
    _, lora_alone = phases_of(tmp_path, write=False)
    assert {run.experiment.method.name for run in lora_alone.plan.runs} == {"lora"}
    assert "method full: 3 of 5 trials are still to do" in lora_alone.lines
    trials, finals = (carry_out(phase) for phase in phases_of(tmp_path))
    assert (len(trials), len(finals)) == (3, 4)
    trials, finals = (carry_out(phase) for phase in phases_of(tmp_path))
    assert (trials, finals) == ([], [])


def test_a_failed_trial_counts_and_is_told(tmp_path: Path) -> None:
    def status(run: PlannedRun) -> str:
        return "nan" if (run.experiment.method.name, rate(run)) == ("full", 1e-2) else "ok"

    made = phases_of(tmp_path)
    carry_out(next(made), status)
    finals = next(made)
    assert {rate(run) for run in finals.plan.runs if run.experiment.method.name == "full"} <= {1e-3, 1e-1}
    (line,) = [line for line in finals.lines if "full" in line]
    assert "chosen by 5 trials on 400 held-out training rows, 1 of which failed" in line
    records = [stored.record for stored in read_results(tmp_path / "results").tuning]
    assert {record.budget for record in records} == {5}
    assert sorted(record.failed for record in records) == [0, 1]


def test_where_all_trials_fail_nothing_is_chosen_and_nothing_run(tmp_path: Path) -> None:
    made = phases_of(tmp_path)
    carry_out(next(made), lambda run: "oom" if run.experiment.method.name == "full" else "ok")
    finals = next(made)
    assert {run.experiment.method.name for run in finals.plan.runs} == {"lora"}
    assert finals.without_choice == 1
    assert any("full: nothing chosen: 5 trials" in line for line in finals.lines)


def test_a_choice_on_the_edge_is_named(tmp_path: Path) -> None:
    made = phases_of(tmp_path, SWEEP.replace(str(list(RATES)), "[1.0e-4, 1.0e-3]"))
    carry_out(next(made))
    (lora,) = [line for line in next(made).lines if "lora" in line]
    assert lora.endswith("on the edge of the grid: training.learning_rate")


@pytest.mark.parametrize(
    ("methods", "message"),
    [
        ("[lora, full]", "method.rank is not a setting"),
        ("[{name: rocoft, mode: random}, {name: rocoft}]", "budgets are not equal"),
    ],
)
def test_unequal_budgets_are_refused(tmp_path: Path, methods: str, message: str) -> None:
    text = SWEEP.replace("training.learning_rate", "method.rank").replace(str(list(RATES)), "[1, 2]")
    with pytest.raises(UserError) as caught:
        next(phases_of(tmp_path, text.replace("[lora, full]", methods)))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "options", "message"),
    [
        ("hold_out: 400", "hold_out: 0", {}, "tune.hold_out = 0"),
        ("hold_out: 400", "holdout: 400", {}, 'tune.holdout is not a setting; did you mean "hold_out"?'),
        ("training.learning_rate: ", "seed: ", {}, "no setting that can be tuned"),
        ("training.learning_rate: ", "task: ", {}, "no setting that can be tuned"),
        ("training.learning_rate: ", "training.learning_rat: ", {}, 'did you mean "learning_rate"?'),
        ("seed: [3, 4]", "training.learning_rate: [1.0e-3]", {}, "is an axis too"),
        ("training.epochs: 1", "training: {learning_rate: 1}", {}, "learning_rate is in tune.set too"),
        ("training.epochs: 1", "seed: 1", {}, "tune.set: seed is said by tune.seeds"),
        ("seed: [3, 4]", "seed: [x]", {}, "axes.seed: seed = 'x'"),
        ("x", "x", {"condition": parse_filter("seed=7")}, "seed"),
        ("x", "x", {"assignments": ["training.learning_rate=1"]}, "is set on the command line too"),
        (str(list(RATES)), "{low: 1.0e-5, high: 1.0e-2}", {}, "say how many `trials`"),
        (str(list(RATES)), "{low: 1.0e-2, high: 1.0e-5}", {}, "low must be below high"),
        (str(list(RATES)), "{low: 1.0e-2, high: .inf}", {}, "should be a finite number"),
        (str(list(RATES)), "1.0e-3", {}, "learning_rate.values = 0.001: input should be a valid list"),
        (str(list(RATES)), "{lo: 1, high: 2}", {}, "learning_rate.range.low is missing"),
        (str(list(RATES)), "[0.001, 1.0e-3]", {}, "training.learning_rate has 0.001 2 times"),
        ("hold_out: 400", "hold_out: 400\n  seeds: [0, 0]", {}, "seeds has 0 2 times"),
        ("hold_out: 400", "hold_out: 400\n  trials: 6", {}, "the grid has 5 different combinations"),
    ],
)
def test_bad_input(tmp_path: Path, old: str, new: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(UserError) as caught:
        next(phases_of(tmp_path, SWEEP.replace(old, new), **options))
    assert message in str(caught.value)


def test_a_search_of_one_method_is_called_so(tmp_path: Path) -> None:
    text = SWEEP.replace("  method: [lora, full]\n", "").replace("axes:", "method: {name: lora}\naxes:")
    _, runs = [(carry_out(phase), phase)[1] for phase in phases_of(tmp_path, text)]
    assert runs.lines[0].startswith("LoRA: training.learning_rate 0.0001 chosen")


def test_a_random_search_draws_the_same_for_every_method(tmp_path: Path) -> None:
    text = SWEEP.replace(str(list(RATES)), "{low: 1.0e-5, high: 1.0e-2}, training.warmup_steps: [0, 10]")
    (trials, _) = (carry_out(phase) for phase in phases_of(tmp_path, text + "  trials: 6\n"))
    drawn: dict[str, list[tuple[float, int]]] = {}
    for run in trials:
        training = run.experiment.config.training
        drawn.setdefault(run.experiment.method.name, []).append((training.learning_rate, training.warmup_steps))
    assert drawn["lora"] == drawn["full"]
    assert len(set(drawn["lora"])) == 6
    assert all(1e-5 <= rate <= 1e-2 for rate, _ in drawn["lora"])
    other = next(phases_of(tmp_path, text + "  trials: 6\n  seed: 1\n"))
    assert {rate(run) for run in other.plan.runs}.isdisjoint(rate for rate, _ in drawn["lora"])


def test_a_filter_on_seeds_is_one_on_results(tmp_path: Path) -> None:
    trials, finals = (carry_out(phase) for phase in phases_of(tmp_path, condition=parse_filter("method=lora,seed=4")))
    assert (len(trials), [run.experiment.config.seed for run in finals]) == (5, [4])


def trial(data: Path, model: Path, **settings: object) -> Settings:
    task = {"family": "glue", "name": "rte", "data_dir": str(data), "max_length": 32, "hold_out": 10, **settings}
    return Settings({"task": task, "model": {"name": str(model)}, "method": {"name": "head-only"}})


def contents(examples: object) -> list[str]:
    return [json.dumps(example, sort_keys=True) for example in examples]  # type: ignore[attr-defined]


def test_a_trial_sees_no_example_of_the_evaluation(glue_dir: Path, tiny_model: Path) -> None:
    task = resolve(trial(glue_dir, tiny_model)).task
    training, evaluation = (set(contents(task.load(split, glue_dir).examples)) for split in ("train", "validation"))
    built = build(resolve(trial(glue_dir, tiny_model)), Observer())
    trained, scored = contents(built.train.raw), contents(built.evaluation.raw)
    assert (len(trained), len(scored)) == (30, 10)
    assert set(trained) | set(scored) == training
    assert not (set(trained) | set(scored)) & evaluation
    again, other = (build(resolve(trial(glue_dir, tiny_model, hold_out_seed=seed)), Observer()) for seed in (0, 1))
    assert contents(again.evaluation.raw) == scored != contents(other.evaluation.raw)


def test_a_trial_does_not_need_the_rows_of_the_evaluation(tmp_path: Path, glue_dir: Path, tiny_model: Path) -> None:
    folder = tmp_path / "glue" / "rte"
    folder.mkdir(parents=True)
    rows = (glue_dir / "glue" / "rte" / "train.jsonl").read_text().splitlines(keepends=True)
    (folder / "train.jsonl").write_text("".join([*rows, *rows[:5]]))  # some twice
    built = build(resolve(trial(tmp_path, tiny_model)), Observer())
    assert set(contents(built.train.raw)).isdisjoint(contents(built.evaluation.raw))
    with pytest.raises(UserError, match="hold_out = 45: leaves nothing of 45 training examples"):
        build(resolve(trial(tmp_path, tiny_model, hold_out=45)), Observer())


def test_a_trial_is_not_evaluated_otherwise(tmp_path: Path) -> None:
    run, *_ = carry_out(next(phases_of(tmp_path)))
    with pytest.raises(UserError, match="is a trial of tuning"):
        evaluate(RunDirectory(run.folder), Settings(), Observer())


def test_a_report_shows_what_each_trial_scored(tmp_path: Path) -> None:
    for phase in phases_of(tmp_path, SWEEP.replace("[lora, full]", "[rocoft, lora, full]")):
        carry_out(phase, lambda run: "nan" if rate(run) == RATES[-1] else "ok")
    results = read_results(tmp_path / "results")
    write_report(results, all_tables(results), tmp_path / "report", "tuned")
    (table,) = [table for table in all_tables(results) if table.key.startswith("tuning")]
    lora = next(row for row in table.rows if row.method == "LoRA")
    values = [row_cell.parts[0].value for row_cell in list(lora.cells.values())[:4]]
    assert values == pytest.approx([80, 90, 80, 70])
    assert lora.cells["learning-rate-0.1"].failures == ("nan",)
    assert (lora.cells["chosen"].text, lora.cells["failed"].parts[0].value) == ("learning_rate 0.0001", 1)
    assert table.conditions["Budget"] == "5 trials for each row, failed ones counted"
    assert "## tuning, glue rte, " in (tmp_path / "report" / "tables.md").read_text()
    (figure,) = (tmp_path / "report" / "figures").glob("sensitivity-glue-rte*.svg")
    assert "learning rate" in figure.read_text()
    assert "mathdefault" not in figure.read_text()
