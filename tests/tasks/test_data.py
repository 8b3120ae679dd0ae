"""Rows from a folder: the formats agree with one another, and each mistake is named with its file and line."""

import gzip
import json
import os
import socket
import time
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rocoft_bench.config import TaskConfig
from rocoft_bench.errors import UserError
from rocoft_bench.tasks import get, readers
from rocoft_bench.tasks.data import content_sha256, shortest_float32
from rocoft_bench.untrusted.data_files import ENDINGS, FORMS
from tests.tasks.conftest import written

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
FORMATS = [form.removeprefix(".") for form in FORMS if "tsv" not in form]
README = Path(__file__).parents[2] / "configs" / "README.md"


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
    assert loaded.examples.to_list() == WANTED
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
    assert get("glue", "stsb").load("train", tmp_path).examples["label"][:] == [0.0, 3.8, 2.667, 5.0]


@pytest.mark.parametrize("suffix", [form.removeprefix(".") for form in FORMS])
def test_one_line_cells_are_the_same_from_every_form(write, tmp_path: Path, suffix: str) -> None:
    """In a .tsv, as in GLUE's own files, a quotation mark is a quotation mark."""
    rows = [{"sentence": text, "label": 1} for text in ('"Yes', 'no", he said', "ein, zwei", "größer\u2028\x0b", "''")]
    write("cola", "train", rows, suffix)
    loaded = get("glue", "cola").load("train", tmp_path)
    assert loaded.examples.to_list() == rows
    assert loaded.origin["sha256"] == content_sha256({name: [row[name] for row in rows] for name in rows[0]})


@pytest.mark.parametrize(
    ("made", "named"), [("jsonl", "json"), ("json", "jsonl"), ("json", "json.gz"), ("csv.gz", "csv")]
)
def test_the_content_tells_what_a_file_holds(write, tmp_path: Path, made: str, named: str) -> None:
    """JSON Lines called .json, as `datasets` writes them; lists called .jsonl; packed files without .gz, and others."""
    write("rte", "train", written(PAIRS, made), named)
    assert get("glue", "rte").load("train", tmp_path).examples.to_list() == WANTED


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "json", "tsv", "parquet"])
def test_a_cell_may_be_long(write, tmp_path: Path, suffix: str) -> None:
    rows = [{"sentence": "word " * 40_000, "label": 1}, {"sentence": "short", "label": 0}]
    write("cola", "train", rows, suffix)
    assert get("glue", "cola").load("train", tmp_path).examples.to_list() == rows


@pytest.mark.parametrize("suffix", ["jsonl", "json", "csv", "tsv"])
def test_marks_line_ends_and_blank_lines_of_other_systems(write, tmp_path: Path, suffix: str) -> None:
    rows = [{"sentence": "One.", "label": 1}, {"sentence": "Two.", "label": 0}]
    content = written(rows, suffix).replace(b"\r\n", b"\n").rstrip(b"\n") + b"\n\n  \n"
    write("cola", "train", b"\xef\xbb\xbf" + content.replace(b"\n", b"\r\n"), suffix)
    assert get("glue", "cola").load("train", tmp_path).examples.to_list() == rows


@pytest.mark.parametrize("suffix", ["tsv", "jsonl", "parquet"])
def test_labels_may_be_names_as_in_glues_own_files(write, tmp_path: Path, suffix: str) -> None:
    rows = [{"sentence1": "a", "sentence2": "b", "label": label} for label in (0, 1)]
    hashes = set()
    for names in ([0, 1], ["entailment", "not_entailment"]):
        named = [{"index": row, **rows[row], "label": name} for row, name in enumerate(names)]
        write("rte", "train", named, suffix)
        loaded = get("glue", "rte").load("train", tmp_path)
        assert loaded.examples.to_list() == rows
        hashes.add(loaded.origin["sha256"])
    assert len(hashes) == 1


def test_columns_without_a_name_may_be_several(write, tmp_path: Path) -> None:
    write("cola", "train", b"sentence,label,,\na,1,,\n", "csv")
    assert get("glue", "cola").load("train", tmp_path).examples.to_list() == [{"sentence": "a", "label": 1}]


def test_every_form_is_named_where_the_user_looks(tmp_path: Path) -> None:
    told = TaskConfig.model_fields["data_dir"].description
    assert told is not None
    assert ENDINGS in told
    readme = README.read_text(encoding="utf-8")
    assert f"SPLIT{FORMS[0]}` (or `" in readme
    assert [form for form in FORMS[1:] if f"`{form}`" not in readme] == []


def test_the_path_is_recorded_as_it_was_given(write, tmp_path: Path, monkeypatch) -> None:
    write("rte", "train", PAIRS)
    monkeypatch.chdir(tmp_path)
    assert get("glue", "rte").load("train", Path()).origin["path"] == str(Path("glue/rte/train.jsonl"))


def test_a_byte_order_mark_and_windows_line_ends_are_accepted(write, tmp_path: Path) -> None:
    lines = "\r\n".join(json.dumps(row) for row in PAIRS)
    write("rte", "train", b"\xef\xbb\xbf" + lines.encode())
    assert get("glue", "rte").load("train", tmp_path).examples.to_list() == WANTED


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


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.fixed_dictionaries({"sentence": TEXT, "label": st.integers(0, 1)}), min_size=1, max_size=5))
def test_any_text_survives_every_format(write, tmp_path: Path, rows: list[dict[str, object]]) -> None:
    hashes = set()
    for suffix in FORMATS:
        path = write("cola", "train", rows, suffix)
        loaded = get("glue", "cola").load("train", tmp_path)
        path.unlink()
        assert loaded.examples.to_list() == rows
        hashes.add(loaded.origin["sha256"])
    assert len(hashes) == 1


def test_a_large_file_loads_in_seconds_and_shows_nothing(write, tmp_path: Path, capfd) -> None:
    row = {"sentence": "The heron stood quite still by the weir, and nobody saw it. ", "label": 1}
    write("sst2", "train", [row] * 70_000)
    start = time.monotonic()
    assert len(get("glue", "sst2").load("train", tmp_path).examples) == 70_000
    assert time.monotonic() - start < 10
    assert capfd.readouterr() == ("", "")


# Files that are not there


def test_missing_split_says_what_was_looked_for_and_what_is_near(write, tmp_path: Path) -> None:
    write("rte", "trian", PAIRS)
    message = rte_error(tmp_path)
    assert message.startswith("no examples for glue rte: looked for ")
    assert f"{tmp_path / 'glue/rte/train'}.jsonl, {', '.join(FORMS[1:])}; " in message
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

    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    assert rte_error(tmp_path) == f"{path}: cannot be read (Permission denied)"


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet", "json.gz"])
@pytest.mark.parametrize("kind", ["folder", "pipe", "socket", "device"])
def test_what_is_no_file_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, kind: str) -> None:
    path = Path("glue/rte") / f"train.{suffix}"
    monkeypatch.chdir(tmp_path)  # a socket's path is short
    path.parent.mkdir(parents=True)
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        socket.socket(socket.AF_UNIX).bind(str(path))
    else:
        path.symlink_to("/dev/zero")
    assert rte_error(Path()) == f"{path}: is a {kind}, not a file"


def test_links_to_files_are_followed_and_dead_ones_named(write, tmp_path: Path) -> None:
    path = write("rte", "train", PAIRS)
    target = path.rename(tmp_path / "rows")
    path.symlink_to(target)
    assert get("glue", "rte").load("train", tmp_path).examples.to_list() == WANTED
    target.unlink()
    assert rte_error(tmp_path) == f"{path}: cannot be read (no such file)"


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
    "object of columns in json": ("json", '{"sentence1": []}', ', line 1: no column "sentence2"; columns found: sen'),
    "object in several lines": ("json", '{\n"sentence1": []\n}', ": holds an object, not a list of objects or one obj"),
    "list cut off in jsonl": ("jsonl", f"[{GOOD},\n{GOOD[:-5]}", ", line 2: not valid JSON"),
    "first line cut off": ("json", f'{{"sentence1": "a\n{GOOD}\n', ", line 1: not valid JSON"),
    "key twice": ("jsonl", f'{GOOD}\n{GOOD[:-1]}, "label": 1}}', ', line 2: not usable JSON ("label" is there twice)'),
    "key twice in a list": ("json", f'[{GOOD[:-1]}, "label": 1}}]', '("label" is there twice)'),
    "column twice in csv": ("csv", "label,sentence1,sentence2,label\n0,a,b,1\n", ': has 2 columns "label"; keep one'),
    "column twice in tsv": ("tsv", "label\tsentence1\tsentence2\tlabel\n0\ta\tb\t1\n", ': has 2 columns "label"'),
    "tsv row too short": ("tsv", "sentence1\tsentence2\tlabel\na\tb\t0\n\na b\n", ", line 4: 1 cells, but the header"),
    "null byte in csv": ("csv", f"{HEADER}a,b,0\na,\0,0\n", ", line 3: holds a null byte"),
    "null byte in jsonl": ("jsonl", f"{GOOD}\n\0\0\0\0", ", line 2: holds a null byte"),
    "csv label nested deep": ("csv", f"{HEADER}a,b,{'[' * 100_000}\n", ", line 2: label '[[["),
    "csv label of endless digits": ("csv", f"{HEADER}a,b,{'1' * 5_000}\n", ", line 2: label '111"),
    "label too large": ("jsonl", GOOD.replace("0", "9" * 299), ", line 1: label 999"),
    "header without end": ("csv", ",".join(map(str, range(100_000))), "18, 19 and 99980 more"),
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
    "csv label is a word": (
        "csv",
        f"{HEADER}a,b,entails\n",
        ", line 2: label 'entails' is not an integer; allowed: 0 (ent",
    ),
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
    assert len(message) < len(str(path)) + 300


@pytest.mark.parametrize("suffix", ["jsonl", "json", "csv"])
def test_text_that_is_not_utf8(write, tmp_path: Path, suffix: str) -> None:
    path = write("rte", "train", f"{HEADER}a,b,0\n".encode() + "é".encode("latin-1"), suffix)
    assert rte_error(tmp_path).startswith(f"{path}, line 3: byte 0xe9 is not UTF-8")


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (lambda packed: packed[:-20], "Compressed file ended before"),
        (lambda packed: packed[:40] + bytes(9) + packed[49:], "not a whole gzip file"),
        (lambda packed: packed + b"more", "Not a gzipped file"),
        (lambda packed: gzip.compress(packed), "byte 0x8b is not UTF-8"),
    ],
)
def test_a_packed_file_that_is_damaged(write, tmp_path: Path, damage, expected: str) -> None:
    path = write("rte", "train", damage(gzip.compress(written(PAIRS * 30, "jsonl"))), "jsonl.gz")
    message = rte_error(tmp_path)
    assert message.startswith(str(path))
    assert expected in message


def test_a_packed_file_that_becomes_huge_is_not_read_to_its_end(write, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(readers, "LARGEST_UNPACKED", 10**6)
    path = write("rte", "train", gzip.compress(bytes(2 * 10**6)), "csv.gz")
    assert rte_error(tmp_path) == f"{path}: becomes more than 100 times as large; if that is right, unpack it first"


@pytest.mark.parametrize("packing", ["in its pages", "in one value for all rows", "as categories"])
def test_parquet_that_becomes_huge_is_not_read_to_its_end(write, tmp_path: Path, monkeypatch, packing: str) -> None:
    """The file itself says how large its pages become; a value that all rows share stands in it once."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    count, text = 300, "x" * 10_000
    values = [f"{number:05}{text}" for number in range(count)] if packing == "in its pages" else [text] * count
    path = write("cola", "train", b"", "parquet")
    column = pa.array(values).dictionary_encode() if packing == "as categories" else pa.array(values)
    pq.write_table(pa.table({"sentence": column, "label": [0] * count}), path, compression="zstd")
    assert get("glue", "cola").load("train", tmp_path).origin["num_rows"] == count
    monkeypatch.setattr(readers, "LARGEST_UNPACKED", 10**6)
    monkeypatch.setattr(readers, "LARGEST_RATIO", 2)
    with pytest.raises(UserError, match="becomes more than 2 times as large"):
        get("glue", "cola").load("train", tmp_path)


@pytest.mark.parametrize("labels", [[[0], [1]], [{"a": 0}, {"a": 1}], [b"0", b"1"], [Decimal(0), Decimal(1)]])
def test_parquet_cells_of_other_types(write, tmp_path: Path, labels: list[object]) -> None:
    rows = [{**row, "label": label} for row, label in zip(PAIRS, labels, strict=False)]
    path = write("rte", "train", rows, "parquet")
    message = rte_error(tmp_path)
    assert message.startswith(f"{path}, row 1: label ")
    assert "is not an integer" in message


def test_parquet_that_pyarrow_cannot_give_out(write, tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = write("cola", "train", b"", "parquet")
    label = pa.array([2**62], pa.timestamp("ns", tz="+07:00"))
    tables = {
        "twice": (
            pa.Table.from_arrays([pa.array(["a"]), pa.array([1])] * 2, ["sentence", "label"] * 2),
            'columns "sen',
        ),
        "bytes": (pa.table({"sentence": pa.array([b"\xff"]).view(pa.string()), "label": [1]}), "not a readable Parq"),
        "time": (pa.table({"sentence": ["a"], "label": label}), "label"),
    }
    for table, expected in tables.values():
        pq.write_table(table, path)
        with pytest.raises(UserError) as caught:
            get("glue", "cola").load("train", tmp_path)
        assert str(caught.value).startswith(str(path))
        assert expected in str(caught.value)


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
