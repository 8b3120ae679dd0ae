"""How the files that a case finds are damaged."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.fuzzing.running import Damage

ESCAPES = "\x1b[31mred\x07"

BAD_JSON = [
    "",
    "null",
    "[]",
    "5",
    '"x"',
    "{",
    '{"a": 1',
    "[" * 100_000,
    "\x00\x01",
    '{"a": NaN}',
    '{"a": ' + "9" * 5_000 + "}",
]


def special_file(path: Path, rng: random.Random) -> None:
    """Put something that is no file in a file's place."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    kind = rng.choice(["pipe", "folder", "device", "missing", "circle"])
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "circle":
        path.symlink_to(path.name)


def write(name: str, content: bytes | str) -> Damage:
    return lambda folder: write_to(folder / name, content)


def write_to(path: Path, content: bytes | str) -> None:
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", errors="surrogateescape"))


def special(name: str, rng: random.Random) -> Damage:
    return lambda folder: special_file(folder / name, rng)


def cut(name: str, share: float) -> Damage:
    def damage(folder: Path) -> None:
        path = folder / name
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * share)])

    return damage


def edited(name: str, change: Callable[[Any], Any]) -> Damage:
    """A JSON file with its value changed."""

    def damage(folder: Path) -> None:
        path = folder / name
        value = json.loads(path.read_text())
        path.write_text(json.dumps(change(value)))

    return damage


def with_keys(**changes: Any) -> Callable[[Any], Any]:
    return lambda value: {**value, **changes}


def tensors(name: str, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Damage:
    """A file of tensors with others in their place."""

    def damage(folder: Path) -> None:
        from safetensors.torch import load_file, save_file

        path = folder / name
        path.write_bytes(path.read_bytes())  # the copy shares no mapping with what is replaced
        changed = change({key: value.clone() for key, value in load_file(path).items()})
        save_file(changed, path, metadata={"format": "pt"})

    return damage


def wrong_tensors(rng: random.Random) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """One tensor left out, renamed, of another shape, or not finite."""
    kind = rng.randrange(4)

    def change(values: dict[str, Any]) -> dict[str, Any]:
        key = rng.choice(sorted(key for key in values if "pooler" not in key))
        if kind == 0:
            del values[key]
        elif kind == 1:
            values[f"{key}.{ESCAPES}"] = values.pop(key)
        elif kind == 2:
            values[key] = values[key].repeat(*([2] * values[key].dim()))
        else:
            values[key] = values[key].float() * float("nan")
        return values

    return change


def swapped(source: str, target: str) -> Damage:
    """One file stands in another's place."""

    def damage(folder: Path) -> None:
        (folder / target).unlink()
        shutil.copy(folder / source, folder / target)

    return damage


def without_vocabulary(folder: Path) -> None:
    """A tokenizer of special tokens alone, as transformers makes one of no files."""
    for file in (folder / "model").glob("*token*"):
        file.unlink()
