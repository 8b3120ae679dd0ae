"""The sections on settings in results/README.md: every number again, from the records that it is about."""

import json
import re
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from readme_section import marks
from scipy.stats import ttest_ind

RESULTS = Path(__file__).parents[2] / "results"
SCRIPT = runpy.run_path(str(RESULTS.parent / "scripts" / "settings_section.py"), run_name="script")
README = (RESULTS / "README.md").read_text(encoding="utf-8")
NAMES = re.findall(r"<!-- scripts/settings_section.py (\w+) -->", README)


def written(name: str) -> str:
    begin, end = marks("settings_section.py", name)
    return README.partition(begin)[2].partition(end)[0].strip()


def values(name: str, task: str) -> list[tuple[float, float, float]]:
    """Of each run of a task: its result in percent, and the mean losses of its two halves."""
    found = []
    for file in (RESULTS / name).rglob("record.json"):
        record: dict[str, Any] = json.loads(file.read_text())
        if record["task"]["name"] == task and not record["task"]["settings"].get("hold_out"):  # no trial
            lines = [json.loads(line) for line in file.with_name("history.jsonl").read_text().splitlines()]
            losses = [line["loss"] for line in lines if "loss" in line]
            half = len(losses) // 2
            metric = record["metrics"][record["task"]["metric_names"][0]]
            found.append((100 * metric, float(np.mean(losses[:half])), float(np.mean(losses[half:]))))
    return found


def test_there_are_such_sections() -> None:
    assert "quantised" in NAMES


@pytest.mark.parametrize("name", NAMES)
def test_it_is_what_the_script_makes_of_the_records(name: str) -> None:
    assert written(name) == SCRIPT["section"](RESULTS / name)


@pytest.mark.parametrize("name", NAMES)
def test_means_are_those_of_the_records(name: str) -> None:
    for part in written(name).split("### ")[1:]:
        rows = [line.strip("| ").split(" | ") for line in part.splitlines() if " ± " in line]
        runs = values(name, part.partition(",")[0])
        assert sum(int(row[1]) for row in rows) == len(runs)
        for place, column in enumerate((2, 5, 6)):
            means = [float(row[column].partition(" ±")[0]) * int(row[1]) for row in rows]
            assert sum(means) == pytest.approx(sum(run[place] for run in runs), abs=0.01 * len(runs))


def test_a_difference_is_welchs() -> None:
    ours, theirs = [80.0, 81.5, 82.0], [79.0, 79.5, 81.0]
    interval = ttest_ind(ours, theirs, equal_var=False).confidence_interval()
    expected = f"+1.33 [{interval.low:+.2f}, {interval.high:+.2f}]".replace("-", "−")
    assert SCRIPT["_difference"](ours, theirs, 2) == expected
