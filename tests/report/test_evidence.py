"""The section on tuned comparisons in results/README.md: every number again, from the records that it is about."""

import json
import re
import runpy
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import ttest_ind

RESULTS = Path(__file__).parents[2] / "results"
SCRIPT = runpy.run_path(str(RESULTS.parent / "scripts" / "evidence_section.py"), run_name="script")
README = (RESULTS / "README.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"<!-- scripts/evidence_section.py ([\w ]+) -->(.*)<!-- end \1 -->", README, re.DOTALL))
"""By the folder of results/ that they are about, and those from which RoCoFT is taken."""


def read(folders: str) -> Iterator[dict[str, Any]]:
    for place, folder in enumerate(folders.split()):
        records = [json.loads(file.read_text()) for file in (RESULTS / folder).rglob("record.json")]
        yield from (record for record in records if not place or record["label"] in SCRIPT["OURS"])


RECORDS = {name: list(read(name)) for name in SECTIONS}
TASKS = [(name, task) for name, text in SECTIONS.items() for task in re.findall(r"### (\w+),", text)]


def lines(name: str, task: str, columns: int) -> list[list[str]]:
    """The rows of a task's table with so many columns, without its head."""
    text = SECTIONS[name].partition(f"### {task},")[2].partition("###")[0]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("| ")
    ]
    return [row for row in rows if len(row) == columns and row[0] not in ("method", "claim")]


def scores(name: str, task: str, label: str, trials: bool = False) -> list[float]:
    """In percent, of the runs or of the trials."""
    own = [r for r in RECORDS[name] if (r["task"]["name"], r["label"], r["status"]) == (task, label, "ok")]
    own = [record for record in own if bool(record["task"]["settings"].get("hold_out")) == trials]
    return [
        100 * record["metrics"][record["task"]["metric_names"][0]] for record in sorted(own, key=lambda r: r["seed"])
    ]


def labels(name: str, task: str) -> set[str]:
    return {record["label"] for record in RECORDS[name] if record["task"]["name"] == task}


def test_there_are_such_sections() -> None:
    assert {("evidence", "sst2"), ("evidence", "cola")} <= {*TASKS}


@pytest.mark.parametrize("name", SECTIONS)
def test_it_is_what_the_script_makes_of_the_records(name: str) -> None:
    assert SECTIONS[name].strip() == SCRIPT["section"](*(RESULTS / folder for folder in name.split()))


def test_rocoft_of_another_folder_stands_beside_the_methods_of_one(tmp_path: Path) -> None:
    for run in (RESULTS / "evidence" / "glue-sst2").glob("*_LoRA_*"):
        shutil.copytree(run, tmp_path / "glue-sst2" / run.name)
    made = SCRIPT["section"](tmp_path, RESULTS / "evidence")
    whole = "### sst2" + SECTIONS["evidence"].partition("### sst2")[2]
    assert [line for line in made.splitlines() if line.startswith("### ")] == [whole.splitlines()[0]]

    def shown(text: str) -> set[tuple[str, ...]]:
        """The rows without what is corrected for the number of comparisons."""
        rows = [line.split(" | ") for line in text.splitlines() if re.match(r"\| (LoRA|RoCoFT)", line)]
        return {tuple(row[: 8 if len(row) == 8 else 5]) for row in rows if len(row) >= 8}

    left_out = ("FT", "Head only")
    assert shown(made) == {row for row in shown(whole) if not row[0].endswith(left_out)}


@pytest.mark.parametrize(("name", "task"), TASKS)
def test_means_and_trials(name: str, task: str) -> None:
    rows = lines(name, task, 8)
    assert {row[0] for row in rows} == labels(name, task)
    for label, _, _, tried, n, result, *_ in rows:
        found = scores(name, task, label)
        mean, _, deviation = result.partition(" ± ")
        assert int(n) == len(found)
        assert float(mean) == pytest.approx(np.mean(found), abs=0.006)
        assert float(deviation) == pytest.approx(np.std(found, ddof=1), abs=0.006)
        assert sorted(map(float, tried.split())) == pytest.approx(
            sorted(scores(name, task, label, trials=True)), abs=0.06
        )


@pytest.mark.parametrize(("name", "task"), TASKS)
def test_differences_and_verdicts(name: str, task: str) -> None:
    rows = lines(name, task, 9)
    assert len(rows) == 2 * len(labels(name, task)) - 3  # rows beside all others, columns beside all but rows
    for claim, n, difference, *_, p_differs, p_equivalent, said, _ in rows:
        ours, wanted, theirs = re.split(r" is (\w+ t\w+) ", claim)
        pair = scores(name, task, ours), scores(name, task, theirs)
        assert n == " and ".join(str(len(one)) for one in pair)
        value, low, high = map(float, re.findall(r"[+-]\d+\.\d+", difference.replace("−", "-")))
        interval = ttest_ind(*pair, equal_var=False).confidence_interval()
        assert value == pytest.approx(np.mean(pair[0]) - np.mean(pair[1]), abs=0.006)
        assert (low, high) == pytest.approx((interval.low, interval.high), abs=0.006)
        differs, equivalent = (text == "< 0.001" or float(text) < 0.05 for text in (p_differs, p_equivalent))
        if wanted == "better than":
            supported, refuted = differs and not equivalent and value > 0, equivalent or (differs and value < 0)
        else:
            supported, refuted = equivalent, differs and not equivalent
        assert said.partition(":")[0] == ("supported" if supported else "not supported" if refuted else "undecided")
        assert not equivalent or abs(value) < SCRIPT["MARGIN"]
