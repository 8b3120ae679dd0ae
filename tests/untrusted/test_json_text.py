from __future__ import annotations

from pathlib import Path

import pytest

from rocoft_bench.errors import UserError
from rocoft_bench.untrusted import parse_json, read_json


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[" * 100_000, "nested too deep"),
        ("[" * 200 + "]" * 200, "nested too deep"),
        ('{"a": ' * 200 + "1" + "}" * 200, "nested too deep"),
        ('{"a": ' + "9" * 5_000 + "}", "the number 9999999999… has 5,000 digits"),
        ('{"a": -1' + "0" * 400 + "}", "has 402 digits"),
        ('{"a": 1,\n"b"}', "line 2: not valid JSON"),
        ("", "line 1: not valid JSON"),
    ],
    ids=lambda value: value[:20].strip(),
)
def test_what_json_cannot_be(tmp_path: Path, text: str, expected: str) -> None:
    file = tmp_path / "file.json"
    file.write_text(text)
    with pytest.raises(UserError) as caught:
        read_json(file)
    assert str(caught.value).startswith(str(file))
    assert expected in str(caught.value)


def test_usual_values_are_as_they_are() -> None:
    long_text = "9" * 400
    assert parse_json(f'{{"a": [1, 2.5, null, true], "b": "{long_text}", "c": 2}}', "x") == {
        "a": [1, 2.5, None, True],
        "b": long_text,
        "c": 2,
    }
    many = [[[1]] for _ in range(500)]
    assert parse_json(str(many), "x") == many


def test_a_key_can_be_asked_to_be_there_once() -> None:
    text = '{"a": 1, "b": {"c": 1, "c": 2}}'
    assert parse_json(text, "x") == {"a": 1, "b": {"c": 2}}
    with pytest.raises(UserError, match='x, line 1: not usable JSON \\("c" is there twice'):
        parse_json(text, "x", unique_keys=True)


def test_a_repeated_key_is_told_with_its_own_line() -> None:
    text = '[\n {"a": "{", "b": {"a": 1}},\n {"a": 1,\n  "c": "\\"a\\":",\n  "\\u0061": 2}\n]'
    assert parse_json(text, "x") == [{"a": "{", "b": {"a": 1}}, {"a": 2, "c": '"a":'}]
    with pytest.raises(UserError, match='x, line 14: not usable JSON \\("a" is there twice'):
        parse_json(text, "x", first_line=10, unique_keys=True)
