from __future__ import annotations

import time
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from rocoft_bench.errors import UserError
from rocoft_bench.untrusted import parse_yaml, read_yaml

BOMB = "a0: &a0 [1, 2]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 60))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[" * 100_000, "line 1: more than 30 lists and groups in each other"),
        ("a: 1\nb: " + "{a: " * 500, "line 2: more than 30 lists and groups in each other"),
        ("- " * 5_000, "more than 30 lists and groups in each other"),
        (BOMB, "more than 20,000 values and keys"),
        ("base: &base {a: 1}\n" + "x: &x {<<: [" + "*base, " * 40_000 + "]}", "more than 20,000 values and keys"),
        ("".join(f"k{i}: 1\n" for i in range(50_000)), "line 10000: more than 20,000 values and keys"),
        ("a: &itself {name: *itself}", "line 1: *itself holds itself"),
        ("a: 1\nb: 0x_", "line 2: 0x_ cannot be read as int"),
        ("a: !!int x", "line 1: x cannot be read as int"),
        ("a: !!bool x", "line 1: x cannot be read as bool"),
        ("a: !!timestamp 2020-13-45", "line 1: the tag tag:yaml.org,2002:timestamp is not for settings"),
        ("a: !!python/object:os.system x", "is not for settings"),
        ("a: !!binary eA==", "is not for settings"),
        ("a: " + "9" * 5_000, "… cannot be read as int"),
        ("a: 0x" + "f" * 300, "… is too large a number"),
        ("a: 36893488147419103232", "is too large a number"),
        ("a: 010", "line 1: 010 is another number to YAML than it looks like"),
        ("a: 1:30", "line 1: 1:30 is another number to YAML than it looks like"),
        ("a: 1\na: 2", "line 2: a is there twice"),
        ("1: a\n'1': b", "line 2: 1 is there twice"),
        ("? [a, b]\n: 1", "line 1: a list or group cannot be a key"),
        ("a: *nobody", "line 1: not valid YAML (found undefined alias"),
        ("a: [1", "line 1: not valid YAML"),
        ("a: 1\n---\nb: 1", "line 2: not valid YAML"),
        ("a: 1\nb: \x00", "not valid YAML"),
        ("%YAML 9.9\n---\na: 1", "not valid YAML"),
    ],
    ids=lambda value: value[:20].replace("\n", " ") if isinstance(value, str) else None,
)
def test_what_settings_cannot_be(tmp_path: Path, text: str, expected: str) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(text)
    start = time.monotonic()
    with pytest.raises(UserError) as caught:
        read_yaml(file)
    assert time.monotonic() - start < 2
    assert str(caught.value).startswith(f"{file}: ")
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < len(str(file)) + 250


def test_values_are_what_they_look_like() -> None:
    text = (
        "{a: 1e-3, b: 2020-13-45, c: yes, d: null, e: 1_000, f: 0, g: 0.5, h: '010', 1: x, no: y, i: 08, j: 2020-01-01}"
    )
    assert parse_yaml(text, "--set") == {
        **{"a": "1e-3", "b": "2020-13-45", "c": True, "d": None, "e": 1000, "f": 0, "g": 0.5, "h": "010"},
        **{"1": "x", "no": "y", "i": "08", "j": "2020-01-01"},
    }


def test_anchors_and_merge_keys_work() -> None:
    text = "base: &base {a: 1, b: 2}\nrun: {<<: *base, b: 3}\nlist: [*base, *base]"
    base = {"a": 1, "b": 2}
    assert parse_yaml(text, "x") == {"base": base, "run": {"a": 1, "b": 3}, "list": [base, base]}


def test_an_argument_of_other_bytes_than_utf8() -> None:
    with pytest.raises(UserError, match="--set x: is not UTF-8 text"):
        parse_yaml("caf\udce9", "--set x")


def test_an_empty_text_is_nothing() -> None:
    assert parse_yaml("", "x") is None


@given(st.text(max_size=60) | st.text("[]{}:,*&!<>?|%@-0x1 \n'\"", max_size=60))
def test_any_text_is_a_value_or_one_line(text: str) -> None:
    message = "x: line 1"
    try:
        parse_yaml(text, "x", name_line=True)
    except UserError as error:
        message = str(error)
    assert message.startswith("x: line ")
    assert "\n" not in message


PLAIN = st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | st.text(max_size=5)


@given(st.dictionaries(st.text(max_size=5), st.recursive(PLAIN, lambda inner: st.lists(inner, max_size=3))))
def test_what_the_writer_writes_is_read_back(value: dict[str, object]) -> None:
    assert parse_yaml(yaml.safe_dump(value), "x") == value
