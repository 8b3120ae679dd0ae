"""What leaves this machine names no place on it, and everything else stays as it is."""

from __future__ import annotations

import pytest

from rocoft_bench.experiment.card import without_machine_paths


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/home/me/my data", "my data"),
        ("~/models/tiny/", "tiny"),
        (r"C:\Users\me\tiny", "tiny"),
        ("task.data_dir=/home/me/my data", "task.data_dir=my data"),
        ("--output=/scratch/me/run", "--output=run"),
        ("rows of /home/me/rows.jsonl: 3 dropped", "rows of rows.jsonl: 3 dropped"),
        ("/home/me/rows.jsonl: 3 of a/b", "rows.jsonl: 3 of a/b"),
        ("kept in '/home/me/cache' (/tmp/x)", "kept in 'cache' (x)"),
    ],
)
def test_a_path_is_cut_down_to_its_name(text: str, expected: str) -> None:
    assert without_machine_paths(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "FacebookAI/roberta-base",
        "data/glue/rte/train.jsonl",
        "../shared/data",
        "https://huggingface.co/me/x",
        "rows/columns, 3 / 4, and/or",
        r".*\.\d+\.(attention\.self\.query|attention/value)",
        "</s> and <pad/>",
        "note: 5 s/step",
    ],
)
def test_other_text_stays(text: str) -> None:
    assert without_machine_paths(text) == text


def test_values_of_any_depth_are_looked_through() -> None:
    values = {"a": ["/x/y", 1, None], "b": {"c": "/x/z"}, "d": 0.5, "e": True}
    assert without_machine_paths(values) == {"a": ["y", 1, None], "b": {"c": "z"}, "d": 0.5, "e": True}
