"""Whatever bytes a file with rows holds, they are rows or one line that names the file: never another error."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rocoft_bench.errors import UserError
from rocoft_bench.tasks import Task, get
from rocoft_bench.untrusted.data_files import FORMS
from tests.tasks.conftest import written

ANSWER = {"text": ["fog"], "answer_start": [0]}
RECORDS = [{"text": "fog", "answer_start": 0}]
ROWS: dict[tuple[str, str], list[dict[str, Any]]] = {
    ("glue", "cola"): [{"sentence": f"Größer {label}", "label": label} for label in (0, 1)],
    ("glue", "stsb"): [{"sentence1": "a", "sentence2": "b", "label": label} for label in (0.5, 3.0)],
    ("squad", "v2.0"): [{"question": "What?", "context": "fog, ice", "answers": ANSWER}] * 2,
    ("summarization", "xsum"): [{"document": "Fog.", "summary": "Мгла."}] * 2,
    ("commonsense", "boolq"): [
        {"instruction": "Ice? Answer format: true/false", "input": "", "output": "true", "answer": "true"}
    ]
    * 2,
    ("math", "gsm8k"): [{"instruction": "How many?", "input": "", "output": "3", "answer": "1,450"}] * 2,
}
FILES = [(get(*name), form, written(rows, form.removeprefix("."))) for name, rows in ROWS.items() for form in FORMS] + [
    (
        get("squad", "v2.0"),
        ".json",
        json.dumps(
            {"data": [{"paragraphs": [{"context": "fog, ice", "qas": [{"question": "What?", "answers": RECORDS}]}]}]}
        ).encode(),
    )
]

PIECES = [b"\0", b"\xff", b"[", b"{", b"}", b'"', b",", b"\n", b"\r", b"\t", b"null", b"NaN", b"1e999", b"-1", b"[]"]
PIECES += [b"9" * 5_000, b"[" * 2_000, b'{"a":' * 2_000, b"\\ud83d", b"\\n", b"\x1f\x8b", b"\xef\xbb\xbf", b"\x1b[31m"]
PLACE = st.floats(0, 1)
DAMAGE = st.lists(
    st.tuples(st.just("cut"), PLACE, st.just(b""))
    | st.tuples(st.sampled_from(["insert", "replace"]), PLACE, st.sampled_from(PIECES) | st.binary(max_size=8)),
    max_size=4,
)


def damaged(content: bytes, damage: list[tuple[str, float, bytes]]) -> bytes:
    for kind, place, piece in damage:
        at = int(place * len(content))
        rest = {"cut": at + len(content), "insert": at, "replace": at + len(piece)}[kind]
        content = content[:at] + piece + content[rest:]
    return content


def rows_or_one_line(folder: Path, task: Task, form: str, content: bytes) -> None:
    path = folder / task.family / (task.folder or task.name) / f"test{form}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    try:
        loaded = task.load("test", folder)
    except UserError as error:
        message = str(error)
        assert message.startswith(str(path))
        assert message.isprintable()
        assert len(message) < len(str(path)) + 400
    else:
        assert loaded.examples.column_names == list(task.columns)
        assert loaded.origin["num_rows"] == len(loaded.examples) > 0
    finally:
        path.unlink()


fuzzed = settings(
    max_examples=500, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.mark.parametrize(("task", "form", "content"), FILES, ids=lambda value: getattr(value, "name", str(value)[:9]))
def test_the_files_are_right_before_they_are_damaged(tmp_path: Path, task: Task, form: str, content: bytes) -> None:
    if (task.family, form.split(".")[1]) in {("squad", "csv"), ("squad", "tsv")}:
        rows_or_one_line(tmp_path, task, form, content)  # the cells of a table are text, and answers are not
        return
    path = tmp_path / task.family / (task.folder or task.name) / f"test{form}"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    assert len(task.load("test", tmp_path).examples) > 0


@fuzzed
@given(file=st.sampled_from(FILES), damage=DAMAGE)
def test_a_damaged_file_is_rows_or_one_line(tmp_path: Path, file: tuple[Task, str, bytes], damage: Any) -> None:
    task, form, content = file
    rows_or_one_line(tmp_path, task, form, damaged(content, damage))


@fuzzed
@given(file=st.sampled_from([file for file in FILES if file[1].endswith(".gz")]), damage=DAMAGE)
def test_a_damaged_file_that_is_packed_is_rows_or_one_line(
    tmp_path: Path, file: tuple[Task, str, bytes], damage: Any
) -> None:
    task, form, content = file
    rows_or_one_line(tmp_path, task, form, gzip.compress(damaged(gzip.decompress(content), damage)))


@fuzzed
@given(form=st.sampled_from(FORMS), content=st.binary(max_size=200))
def test_any_bytes_are_rows_or_one_line(tmp_path: Path, form: str, content: bytes) -> None:
    rows_or_one_line(tmp_path, get("glue", "cola"), form, content)
