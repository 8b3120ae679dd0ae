"""What the README shows is what there is."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import rocoft_bench

ROOT = Path(__file__).parents[1]
PACKAGE = Path(rocoft_bench.__file__).parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
CODE_GUIDE = README.partition("## Finding your way in the code")[2]
PATHS = sorted(set(re.findall(r"`([a-z_/]+(?:/|\.py))`", CODE_GUIDE)))
TESTS = re.findall(r"`(test_\w+\.py)` `(test_\w+)`", README)
STEPS = re.findall(r"`([a-z_]+/[a-z_/]+\.py)` `(\w+)`", CODE_GUIDE)


def test_the_method_of_your_own_is_the_one_that_the_tests_install() -> None:
    method = (ROOT / "tests" / "plugins" / "example" / "role_bias" / "method.py").read_text(encoding="utf-8")
    assert f"```python\n{method}```\n" in README


@pytest.mark.parametrize("path", PATHS)
def test_what_is_named_of_the_package_is_there(path: str) -> None:
    assert any(PACKAGE.rglob(path.rstrip("/"))) or path == f"{PACKAGE.name}/"


@pytest.mark.parametrize(("file", "function"), STEPS)
def test_the_steps_of_an_example_are_there(file: str, function: str) -> None:
    tree = ast.parse((PACKAGE / file).read_text(encoding="utf-8"))
    assert function in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_every_folder_of_the_package_is_in_the_guide() -> None:
    folders = {folder.name for folder in PACKAGE.iterdir() if (folder / "__init__.py").is_file()}
    assert {folder for folder in folders if f"`{folder}/`" not in CODE_GUIDE} == set()
    assert len(STEPS) >= 8


@pytest.mark.parametrize(("file", "function"), TESTS)
def test_the_tests_behind_the_table_are_there(file: str, function: str) -> None:
    tree = ast.parse((ROOT / "tests" / "tuner" / file).read_text(encoding="utf-8"))
    assert function in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_each_line_of_the_table_has_its_test() -> None:
    table = README.partition("| | LoRA in peft | RoCoFT |")[2].partition("\n\n")[0]
    assert len(table.splitlines()) - 2 == len(TESTS) >= 20
