"""`rocoft check`: what has drifted is named, what is within the tolerances is not."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from rocoft_bench.drift import fixed_runs
from rocoft_bench.drift.golden import FILE, drifts, read_golden

Cli = Callable[..., Any]


@pytest.fixture
def golden() -> dict[str, Any]:
    return read_golden(FILE)


PLANTED: dict[str, Callable[[dict[str, Any]], None]] = {
    "losses[3]": lambda run: run["losses"].__setitem__(3, run["losses"][3] * 1.002),
    "metrics.after.accuracy": lambda run: run["metrics"]["after"].update(accuracy=0.9),
    "prompt.template": lambda run: run["prompt"].update(template="Answer."),
    "prompt.evaluation.input_ids[7]": lambda run: run["prompt"]["evaluation"]["input_ids"].__setitem__(7, -1),
    "prompt.stop.eos_token_id": lambda run: run["prompt"]["stop"].update(eos_token_id=None),
    "parameters.adapter": lambda run: run["parameters"].update(adapter=1),
    "losses, how many": lambda run: run["losses"].pop(),
    "status": lambda run: run.update(status="nan"),
}


@pytest.mark.parametrize("what", PLANTED)
def test_a_value_that_has_drifted_is_named(what: str, golden: dict[str, Any]) -> None:
    now = deepcopy(golden["runs"]["choices"])
    assert drifts("choices", golden, now) == []
    PLANTED[what](now)
    assert [drift.what for drift in drifts("choices", golden, now)] == [what]


def test_rounding_is_no_drift_and_an_unknown_run_is(golden: dict[str, Any]) -> None:
    now = deepcopy(golden["runs"]["entailment"])
    now["losses"] = [loss * 1.0005 for loss in now["losses"]]
    now["scores"] = [[score + 0.005 for score in scores] for scores in now["scores"]]
    assert drifts("entailment", golden, now) == []
    assert [drift.run for drift in drifts("another", golden, now)] == ["another"]


def test_the_golden_file_is_of_all_fixed_runs(golden: dict[str, Any]) -> None:
    assert list(golden["runs"]) == list(fixed_runs.config_files())
    assert golden["runs"]["word_problems"]["prompt"]["training"]["loss_mask"]


def test_the_command_remakes_holds_and_tells(rocoft: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_USE_CPU", "")
    monkeypatch.setattr(fixed_runs, "FEW", (*fixed_runs.FEW, "task.max_train_rows=8", "task.max_eval_rows=2"))
    one = {"choices": fixed_runs.config_files()["choices"]}
    monkeypatch.setattr(fixed_runs, "config_files", lambda: one)
    file = tmp_path / "golden.json"
    assert rocoft("check", "--golden", file, "--remake").code == 0
    held = rocoft("check", "--golden", file)
    assert held.code == 0, held.err
    assert "no drift in 1 runs" in held.out
    content = json.loads(file.read_text())
    content["versions"]["torch"] = "1.0"
    content["runs"]["choices"]["losses"][0] *= 1.1
    file.write_text(json.dumps(content))
    drifted = rocoft("check", "--golden", file)
    assert drifted.code == 1
    assert "the golden file is of 1.0" in drifted.out
    assert "losses[0]" in drifted.out
    assert rocoft("check", "--golden", tmp_path / "nowhere.json").code == 2
    file.write_text("[]")
    for options in ((), ("--remake",)):
        assert "is no golden file" in rocoft("check", "--golden", file, *options).err
    assert rocoft("check", "--golden", tmp_path / "no" / "golden.json", "--remake").code == 2
