"""What has to answer at once does so without loading torch."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "transformers", "peft", "datasets", "accelerate", "sklearn", "evaluate")


@pytest.mark.parametrize(
    "arguments",
    ["--help", "train --help", "ls tasks", "ls methods", "ls models", "validate glue/rte.yaml"],
)
def test_loads_nothing_heavy(arguments: str) -> None:
    code = (
        "import sys\nfrom rocoft_bench.cli import main\n"
        f"try:\n    main()\nexcept SystemExit as e:\n    assert not e.code\n"
        f"print('LOADED', sorted(set({HEAVY!r}) & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, *arguments.split()], capture_output=True, text=True, check=True
    )
    assert result.stdout.splitlines()[-1] == "LOADED []"
    assert len(result.stdout.splitlines()) > 3


def test_what_starts_the_processes_of_a_run_loads_no_model_library() -> None:
    code = (
        "import sys\nfrom rocoft_bench.engine import failure\nfrom rocoft_bench.execution import launcher, worker\n"
        "sys.exit(sorted({'transformers', 'peft', 'datasets', 'evaluate'} & set(sys.modules)) or 0)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_shell_completion_knows_the_commands() -> None:
    code = "from rocoft_bench.cli import main; main()"
    environment = {
        "_ROCOFT_COMPLETE": "complete_bash",
        "COMP_WORDS": "rocoft tr",
        "COMP_CWORD": "1",
        "PATH": "/usr/bin:/bin",
    }
    script = f"import sys; sys.argv = ['rocoft']; {code}"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment)
    assert "train" in result.stdout
