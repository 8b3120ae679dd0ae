"""Imports point one way, no name stands for two things, and everything is short enough to be read at once."""

from __future__ import annotations

import ast
import re
import statistics
from collections import defaultdict
from collections.abc import Iterable
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import rocoft_bench

ROOT = Path(rocoft_bench.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))

LAYERS = [
    {"cli"},
    {"api"},
    {"sweep", "publish"},
    {"execution", "prefetch", "report", "drift"},
    {"audit"},
    {"analysis"},
    {"ntk"},
    {"experiment", "efficiency"},
    {"methods"},
    {"engine"},
    {"tasks"},
    {"models"},
    {"runs", "metrics", "demo"},
    {"tuner", "config", "paper"},
    {"untrusted", "plugins"},
    {"errors"},
]
RANK = {part: rank for rank, parts in enumerate(LAYERS) for part in parts}


def imports_of(file: Path) -> set[str]:
    """What a file imports of the package, at the top, inside a function or for types alone: modules and their names."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{file}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in found if name.startswith("rocoft_bench.")}


def imported_parts(file: Path) -> set[str]:
    """Parts of the package that a file imports."""
    return {name.split(".")[1] for name in imports_of(file)}


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(ROOT)))
def test_imports_point_downwards(file: Path) -> None:
    relative = file.relative_to(ROOT)
    part = relative.parts[0].removesuffix(".py")
    if part == "__init__":
        return
    for other in imported_parts(file) - {part}:
        assert other in RANK, f"{relative} imports {other}, which has no place in the order of layers"
        assert RANK[other] > RANK[part], f"{relative} imports {other}"


def test_the_tuner_knows_nothing_else_of_this_project() -> None:
    others = {part for file in (ROOT / "tuner").rglob("*.py") for part in imported_parts(file)}
    assert others <= {"tuner"}


def module_name(file: Path) -> str:
    parts = file.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def test_no_files_import_each_other_in_a_circle() -> None:
    modules = {module_name(file): file for file in FILES}
    graph = {
        name: {found if found in modules else found.rpartition(".")[0] for found in imports_of(file)} - {name}
        for name, file in modules.items()
    }
    try:
        tuple(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def named_twice(names: Iterable[tuple[str, Path]]) -> dict[str, list[str]]:
    """What has a name that something else has too, by name."""
    owners = defaultdict(list)
    for name, file in names:
        owners[name].append(str(file.relative_to(ROOT)))
    return {name: files for name, files in owners.items() if len(files) > 1}


def test_no_two_modules_have_one_name() -> None:
    """But for the commands', which have those of the commands: `rocoft evaluate` calls `experiment.evaluate`."""
    twice = named_twice(
        (file.stem, file) for file in FILES if file.name != "__init__.py" and file.parent != ROOT / "cli"
    )
    assert not twice


def test_no_two_classes_have_one_name() -> None:
    twice = named_twice(
        (node.name, file)
        for file in FILES
        if file.name != "__init__.py"
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef)
    )
    assert not twice


def lengths_of_functions() -> dict[str, int]:
    return {
        f"{file.relative_to(ROOT)}:{node.lineno} {node.name}": (node.end_lineno or node.lineno) - node.lineno + 1
        for file in FILES
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }


def test_files_and_functions_are_short() -> None:
    lines = {str(file.relative_to(ROOT)): len(file.read_text(encoding="utf-8").splitlines()) for file in FILES}
    assert not {name: count for name, count in lines.items() if count > 400}
    functions = lengths_of_functions()
    assert not {name: count for name, count in functions.items() if count > 60}
    assert statistics.median(functions.values()) <= 8


def test_the_readme_shows_a_way_through_the_code_that_is_there() -> None:
    text = (ROOT.parent / "README.md").read_text(encoding="utf-8").partition("One example's way")[2]
    steps = re.findall(r"`([\w/]+\.py)` `(\w+)`", text)
    assert len(steps) >= 9
    for file, name in steps:
        tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
        assert name in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}, f"{file}: {name}"
