"""What results/README.md says about its tables, in numbers, is in them or in the records."""

import json
import re
from pathlib import Path

import pytest

RESULTS = Path(__file__).parents[2] / "results"
SECTIONS = {part.partition("\n")[0]: part for part in (RESULTS / "README.md").read_text("utf-8").split("\n## ")[1:]}
STATED = re.compile(r"[+−]\d+\.\d\d(?!\d)|(?<=p = )\d\.\d+")
MADE = [name for name, part in SECTIONS.items() if "<!-- scripts/" in part]


def test_there_are_such_sections() -> None:
    assert {"What of RoCoFT matters?", "Does the published code's training differ?"} <= set(MADE)


@pytest.mark.parametrize("name", MADE)
def test_differences_and_p_values_in_words_are_in_the_tables(name: str) -> None:
    lines = SECTIONS[name].splitlines()
    tables = "\n".join(line for line in lines if line.startswith("|"))
    words = "\n".join(line for line in lines if not line.startswith("|"))
    in_tables = set(re.findall(r"[+−]?\d+\.\d+", tables))
    assert not [number for number in STATED.findall(words) if number not in in_tables]


def test_the_minutes_of_the_choices_are_those_of_the_records() -> None:
    minutes = {True: 0.0, False: 0.0}
    for file in (RESULTS / "choices").rglob("record.json"):
        record = json.loads(file.read_text())
        is_trial = bool(record["task"]["settings"].get("hold_out"))
        minutes[is_trial] += (record["train_seconds"] + record["eval_seconds"]) / 60
    words = " ".join(SECTIONS["What of RoCoFT matters?"].split())
    of_trials, of_runs = (f"{minutes[is_trial]:.0f}" for is_trial in (True, False))
    assert f"40 trials took {of_trials} minutes of training and evaluation, 40 runs {of_runs}." in words
