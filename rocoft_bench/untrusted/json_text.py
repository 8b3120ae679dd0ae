"""JSON within limits: of what it returns, every number fits a float, and no part is nested too deep to be walked."""

import json
import math
import re
from pathlib import Path
from typing import Any

from rocoft_bench.errors import UserError, shortened
from rocoft_bench.untrusted.files import read_text

MAX_DEPTH = 100
"""Lists and objects in each other."""

LONG_NUMBER = re.compile(r"\d{300}")
"""A number without so many digits in a row fits a float."""

OBJECT_TOKEN = re.compile(r'(?P<key>"(?:[^"\\]|\\.)*+")\s*+:|"(?:[^"\\]|\\.)*+"|[{}]')
"""A key, or another string, so that what is in it is no brace, or the beginning or the end of an object."""


def read_json(path: Path) -> Any:
    """The value in a JSON file. Raises: UserError as `read_text` and `parse_json`."""
    return parse_json(read_text(path), str(path))


def parse_json(text: str, where: str, first_line: int = 1, unique_keys: bool = False) -> Any:
    """The value of a JSON text. where: its file, for messages; first_line: where in the file it starts.

    Raises: UserError if it is not valid, too deep or, with unique_keys, has one key twice in an object; with the line.
    """
    try:
        value = json.loads(
            text,
            parse_int=_bounded if LONG_NUMBER.search(text) else None,
            object_pairs_hook=_once if unique_keys else None,
        )
        if text.count("[") + text.count("{") > MAX_DEPTH:  # what has fewer cannot be deeper
            _check_depth(value)
    except json.JSONDecodeError as error:
        place = f"{where}, line {first_line + error.lineno - 1}"
        raise UserError(f"{place}: not valid JSON ({error.msg}, column {error.colno}); is it cut off?") from None
    except RecursionError:
        raise UserError(f"{where}, line {first_line}: not usable JSON (nested too deep)") from None
    except _RepeatedKeyError as error:
        line = first_line + _lines_before_repeated_key(text)
        raise UserError(f"{where}, line {line}: not usable JSON ({error})") from None
    except ValueError as error:
        raise UserError(f"{where}, line {first_line}: not usable JSON ({error})") from None
    return value


def _bounded(digits: str) -> int:
    if math.isinf(float(digits)):
        raise ValueError(f"the number {digits[:10]}… has {len(digits):,} digits")
    return int(digits)


class _RepeatedKeyError(ValueError):
    """An object has one key twice; json does not say where."""


def _lines_before_repeated_key(text: str) -> int:
    """Of a text that is valid JSON otherwise."""
    objects: list[set[str]] = []
    for token in OBJECT_TOKEN.finditer(text):
        if token["key"] is None:
            objects.append(set()) if token[0] == "{" else token[0] == "}" and objects.pop()
        elif (key := json.loads(token["key"])) in objects[-1]:
            return text.count("\n", 0, token.start())
        else:
            objects[-1].add(key)
    return 0


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise _RepeatedKeyError(f'"{shortened(key)}" is there twice')
        found[key] = value
    return found


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        lists = [each.values() if isinstance(each, dict) else each for each in level if isinstance(each, (dict, list))]
        level = [inner for each in lists for inner in each]
        if not level:
            return
    raise ValueError("nested too deep")
