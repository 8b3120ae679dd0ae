"""The wheel is all that is needed: installed in an environment of its own, it works from any folder."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest

import rocoft_bench

ROOT = Path(__file__).parents[1]
PIP = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """installed(command, …): what a command of the new environment prints, called from an empty folder."""
    pytest.importorskip("hatchling", reason="builds the wheel; in the extra dev")
    folder = tmp_path_factory.mktemp("wheel")
    _run(*PIP, "wheel", "--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", folder, ROOT)
    _run(sys.executable, "-m", "venv", "--without-pip", folder / "env")
    binaries = folder / "env" / "bin"
    wheel = next(folder.glob("*.whl"))
    _run(*PIP, "--python", binaries / "python", "install", "--no-deps", "--no-index", "--no-compile", wheel)
    # last: pip would take the package as it is installed for these tests for the one that it was asked for
    packages = next((folder / "env" / "lib").glob("python*/site-packages"))
    shared = {sysconfig.get_path(name) for name in ("purelib", "platlib")}
    (packages / "libraries.pth").write_text("\n".join(sorted(shared)) + "\n")
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    return lambda command, *arguments: _run(binaries / command, *arguments, cwd=elsewhere)


def _run(*command: object, cwd: Path | None = None) -> str:
    environment = {name: value for name, value in os.environ.items() if cwd is None or not name.startswith("PYTHON")}
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, cwd=cwd, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_installed_package_is_the_one_that_is_imported(installed: Callable[..., str]) -> None:
    assert "/wheel" in installed("python", "-c", "import rocoft_bench; print(rocoft_bench.__file__)")


def test_it_says_its_version(installed: Callable[..., str]) -> None:
    assert rocoft_bench.__version__ in installed("rocoft", "--version")


def test_it_lists_what_there_is(installed: Callable[..., str]) -> None:
    assert "rocoft" in installed("rocoft", "ls", "methods")
    assert "demo-minilm" in installed("rocoft", "ls", "models")


@pytest.mark.parametrize("config", ["glue/rte.yaml", "table1_roberta_base.yaml"])
def test_it_has_the_shipped_configs(installed: Callable[..., str], config: str) -> None:
    assert installed("rocoft", "validate", config).endswith("valid\n")
