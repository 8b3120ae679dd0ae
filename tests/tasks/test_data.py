"""Rows from a folder: the formats agree with one another, and each mistake is named with its file and line."""

import json
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rocoft_bench.errors import UserError
from rocoft_bench.tasks import get
from rocoft_bench.tasks.data import content_sha256, shortest_float32

PAIRS = [
    {"sentence1": "A heron stood by the weir.", "sentence2": "A bird stood by the weir.", "label": 0, "idx": 0},
    {
        "sentence1": 'She said "no", twice.',
        "sentence2": "Sie sagte nein, größer\u2028als zuvor 🦢",
        "label": 1,
        "idx": 1,
    },
    {"sentence1": "Zwei\nZeilen, ein Komma", "sentence2": "", "label": 1, "idx": 2},
]
WANTED = [{key: row[key] for key in ("sentence1", "sentence2", "label")} for row in PAIRS]
FORMATS = ["jsonl", "json", "csv", "parquet"]


def rte_error(tmp_path: Path) -> str:
    with pytest.raises(UserError) as caught:
        get("glue", "rte").load("train", tmp_path)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("suffix", FORMATS)
def test_each_format_gives_the_same_rows_and_hash(write, tmp_path: Path, suffix: str) -> None:
    path = write("rte", "train", PAIRS, suffix)
    loaded = get("glue", "rte").load("train", tmp_path)
    assert loaded.rows.to_list() == WANTED
    assert loaded.origin == {
        "kind": "data_dir",
        "id": None,
        "path": str(path),
        "config": None,
        "revision": None,
        "split": "train",
        "num_rows": 3,
        "sha256": "6a9825f469f5a6d472f43e4680f08e15997b3dacedf45cda917c923bf16846c7",
    }


@pytest.mark.parametrize("suffix", FORMATS)
def test_scores_are_the_same_from_each_format(write, tmp_path: Path, suffix: str) -> None:
    rows = [{"sentence1": "a", "sentence2": "b", "label": label} for label in (0.0, 3.8, 2.667, 5.0)]
    write("stsb", "train", rows, suffix)
    assert get("glue", "stsb").load("train", tmp_path).rows["label"][:] == [0.0, 3.8, 2.667, 5.0]


def test_the_path_is_recorded_as_it_was_given(write, tmp_path: Path, monkeypatch) -> None:
    write("rte", "train", PAIRS)
    monkeypatch.chdir(tmp_path)
    assert get("glue", "rte").load("train", Path()).origin["path"] == str(Path("glue/rte/train.jsonl"))


def test_a_byte_order_mark_and_windows_line_ends_are_accepted(write, tmp_path: Path) -> None:
    lines = "\r\n".join(json.dumps(row) for row in PAIRS)
    write("rte", "train", b"\xef\xbb\xbf" + lines.encode())
    assert get("glue", "rte").load("train", tmp_path).rows.to_list() == WANTED


def test_the_hash_depends_on_every_cell_and_on_the_order() -> None:
    rows = {"sentence": ["a", "b"], "label": [0, 1]}
    changed = [{"sentence": ["a", "c"], "label": [0, 1]}, {"sentence": ["b", "a"], "label": [1, 0]}]
    changed += [{"sentence": ["a", "b"], "label": [0, 0]}, {"text": ["a", "b"], "label": [0, 1]}]
    assert len({content_sha256(columns) for columns in [rows, *changed]}) == 5


def test_the_hash_is_made_as_documented() -> None:
    import hashlib

    text = '["sentence","label"]\n["Zoë",1]\n'
    assert content_sha256({"sentence": ["Zoë"], "label": [1]}) == hashlib.sha256(text.encode()).hexdigest()


@settings(max_examples=50)
@given(st.lists(st.floats(0, 5), min_size=1))
def test_scores_survive_float32(values: list[float]) -> None:
    import numpy as np

    once = shortest_float32(values)
    assert once == shortest_float32(np.asarray(values, dtype=np.float32).tolist())
    assert np.asarray(once, dtype=np.float32).tolist() == np.asarray(values, dtype=np.float32).tolist()


TEXT = st.text(st.characters(codec="utf-8"), max_size=20)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.fixed_dictionaries({"sentence": TEXT, "label": st.integers(0, 1)}), min_size=1, max_size=5))
def test_any_text_survives_every_format(write, tmp_path: Path, rows: list[dict[str, object]]) -> None:
    hashes = set()
    for suffix in FORMATS:
        path = write("cola", "train", rows, suffix)
        loaded = get("glue", "cola").load("train", tmp_path)
        path.unlink()
        assert loaded.rows.to_list() == rows
        hashes.add(loaded.origin["sha256"])
    assert len(hashes) == 1


def test_a_large_file_loads_in_seconds_and_shows_nothing(write, tmp_path: Path, capfd) -> None:
    row = {"sentence": "The heron stood quite still by the weir, and nobody saw it. ", "label": 1}
    write("sst2", "train", [row] * 70_000)
    start = time.monotonic()
    assert len(get("glue", "sst2").load("train", tmp_path).rows) == 70_000
    assert time.monotonic() - start < 10
    assert capfd.readouterr() == ("", "")


# Files that are not there


def test_missing_split_says_what_was_looked_for_and_what_is_near(write, tmp_path: Path) -> None:
    write("rte", "trian", PAIRS)
    message = rte_error(tmp_path)
    assert message.startswith("no rows for glue rte: looked for ")
    assert f"{tmp_path / 'glue/rte/train'}.jsonl, .json, .parquet, .csv; " in message
    assert 'does not exist, the nearest name there is "trian.jsonl"' in message


@pytest.mark.parametrize("there", ["rtee/train.jsonl", "mrpc/train.jsonl"])
def test_missing_task_folder_names_what_is_there(tmp_path: Path, there: str) -> None:
    file = tmp_path / "glue" / there
    file.parent.mkdir(parents=True)
    file.touch()
    message = rte_error(tmp_path)
    assert f"{tmp_path / 'glue/rte'} does not exist" in message
    assert file.parent.name in message


def test_missing_data_dir_names_its_nearest_sibling(tmp_path: Path) -> None:
    (tmp_path / "my_data").mkdir()
    assert 'mydata does not exist, the nearest name there is "my_data"' in rte_error(tmp_path / "mydata")


def test_a_data_dir_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").touch()
    assert "rows.jsonl is not a folder" in rte_error(tmp_path / "rows.jsonl")


def test_two_files_for_one_split(write, tmp_path: Path) -> None:
    write("rte", "train", PAIRS, "csv")
    write("rte", "train", PAIRS, "jsonl")
    assert "holds train.jsonl and train.csv; keep one" in rte_error(tmp_path)


def test_a_file_that_may_not_be_read(write, tmp_path: Path, monkeypatch) -> None:
    path = write("rte", "train", PAIRS)

    def refuse(_: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert rte_error(tmp_path) == f"{path}: cannot be read (Permission denied)"


# Files that are there and wrong

GOOD = '{"sentence1": "a", "sentence2": "b", "label": 0}'
HEADER = "sentence1,sentence2,label\n"
BAD_FILES = {
    "empty jsonl": ("jsonl", "", ": is empty"),
    "blank jsonl": ("jsonl", "\n \n", ": is empty"),
    "empty json": ("json", "", ": is empty"),
    "json without rows": ("json", "[]", ": is empty"),
    "empty csv": ("csv", "", ": is empty"),
    "csv with a header only": ("csv", HEADER, ": is empty"),
    "truncated line": ("jsonl", f'{GOOD}\n\n{GOOD}\n{{"sentence1": "a", "sen', ", line 4: not valid JSON"),
    "truncated json": ("json", f"[{GOOD},\n{GOOD},\n{GOOD[:-5]}", ", line 3: not valid JSON"),
    "truncated csv": ("csv", f'{HEADER}a,b,0\na,"b', ", line 3: not valid CSV"),
    "deep nesting": ("jsonl", "[" * 200_000, ", line 1: not usable JSON"),
    "number of endless digits": ("jsonl", f'{{"label": {"1" * 5000}}}', ", line 1: not usable JSON"),
    "list in jsonl": ("jsonl", f"{GOOD}\n[1, 2]", ", line 2: holds a list, not an object"),
    "null in jsonl": ("jsonl", f"{GOOD}\nnull", ", line 2: holds null, not an object"),
    "string in json": ("json", f'[{GOOD}, "x"]', ", row 2: holds a string, not an object"),
    "object of columns in json": ("json", '{"sentence1": []}', ": holds an object, not a list of objects"),
    "missing column": (
        "jsonl",
        f'{GOOD}\n{{"sentence1": "a", "label": 0}}',
        ', line 2: no column "sentence2"; columns',
    ),
    "columns found": ("jsonl", '{"premise": "a", "label": 0}', "columns found: premise, label"),
    "csv without labels": ("csv", "sentence1,sentence2\na,b\n", ': no column "label"; columns found: sentence1, sen'),
    "csv with semicolons": ("csv", "sentence1;sentence2;label\na;b;0\n", "columns found: sentence1;sentence2;label"),
    "csv row too short": ("csv", f'{HEADER}"a\nb",c,0\na,b\n', ", line 4: 2 cells, but the header has 3"),
    "csv row too long": ("csv", f"{HEADER}a,b,c,0\n", ", line 2: 4 cells, but the header has 3"),
    "text is null": ("jsonl", GOOD.replace('"b"', "null"), ', line 1: "sentence2" is None, not a string'),
    "text is a number": (
        "json",
        f'[{GOOD}, {{"sentence1": 7, "sentence2": "b", "label": 0}}]',
        ', row 2: "sentence1" is 7, not a string',
    ),
    "text is half a character": ("jsonl", GOOD.replace('"a"', r'"\ud83d"'), ', line 1: "sentence1" holds half of a'),
    "label is a string": ("jsonl", GOOD.replace("0", '"0"'), "label '0' is not an integer; allowed: 0 (entailment), 1"),
    "label is a float": ("jsonl", GOOD.replace("0", "0.0"), ", line 1: label 0.0 is not an integer"),
    "label is true": ("jsonl", GOOD.replace("0", "true"), ", line 1: label True is not an integer"),
    "label is null": ("jsonl", GOOD.replace("0", "null"), ", line 1: label None is not an integer"),
    "label out of range": ("jsonl", f"{GOOD}\n\n{GOOD.replace('0', '2')}", ", line 3: label 2 is not one of 0 (entail"),
    "label missing in the source": ("jsonl", GOOD.replace("0", "-1"), ", line 1: label -1 means unlabelled"),
    "csv label is a word": ("csv", f"{HEADER}a,b,entailment\n", ", line 2: label 'entailment' is not an integer"),
    "csv label is empty": ("csv", f"{HEADER}a,b,\n", ", line 2: label '' is not an integer"),
    "not a parquet file": ("parquet", "PAR1 and then nothing", ": not a readable Parquet file"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_wrong_file_is_named_with_the_place(write, tmp_path: Path, case: str) -> None:
    suffix, content, expected = BAD_FILES[case]
    path = write("rte", "train", content.encode(), suffix)
    message = rte_error(tmp_path)
    assert message.startswith(str(path))
    assert expected in message


@pytest.mark.parametrize("suffix", ["jsonl", "json", "csv"])
def test_text_that_is_not_utf8(write, tmp_path: Path, suffix: str) -> None:
    path = write("rte", "train", f"{HEADER}a,b,0\n".encode() + "é".encode("latin-1"), suffix)
    assert rte_error(tmp_path).startswith(f"{path}, line 3: byte 0xe9 is not UTF-8")


def test_parquet_with_other_columns_and_without_rows(write, tmp_path: Path) -> None:
    path = write("rte", "train", [{"text": "a", "label": 0}], "parquet")
    assert rte_error(tmp_path) == f'{path}: no column "sentence1"; columns found: text, label'
    write("rte", "train", [{**PAIRS[0], "label": None}], "parquet")
    assert f"{path}, row 1: label None is not an integer" in rte_error(tmp_path)


def test_parquet_without_rows(write, tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = write("rte", "train", b"", "parquet")
    pq.write_table(pa.Table.from_pylist(PAIRS).slice(0, 0), path)
    assert rte_error(tmp_path) == f"{path}: is empty, it holds no rows"


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("NaN", "label nan is not from 0 to 5"),
        ("Infinity", "label inf is not from 0 to 5"),
        ("5.01", "label 5.01 is not from 0 to 5"),
        ("-1", "label -1 is not from 0 to 5"),
        ("true", "label True is not a number from 0 to 5"),
        ('"high"', "label 'high' is not a number from 0 to 5"),
    ],
)
def test_scores_out_of_range(write, tmp_path: Path, label: str, expected: str) -> None:
    path = write("stsb", "train", f"{GOOD}\n{GOOD.replace('0', label)}".encode())
    with pytest.raises(UserError) as caught:
        get("glue", "stsb").load("train", tmp_path)
    assert str(caught.value) == f"{path}, line 2: {expected}"
