"""A method and a task from outside the package, from `ls` to the statistics of a report."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rocoft_bench import methods
from rocoft_bench.models import shipped_shapes
from rocoft_bench.plugins import load_files
from tests.conftest import WORDS, write_rows
from tests.plugins.conftest import EXAMPLE

METHOD, TASK = EXAMPLE / "role_bias" / "method.py", EXAMPLE / "role_bias" / "task.py"
BOTH = ("--plugin", METHOD, "--plugin", TASK)


@pytest.fixture(scope="module")
def sweep_file(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    """A sweep of the method on the task, which names the files of both, and the rows."""
    folder = tmp_path_factory.mktemp("own")
    for split, count in (("train", 24), ("validation", 12)):
        rows = [{"sentence": " ".join(WORDS[i % 7 : i % 7 + 3]), "label": i % 2} for i in range(count)]
        write_rows(folder / "data" / "reviews" / "films" / f"{split}.jsonl", rows)
    for file in (METHOD, TASK):
        (folder / file.name).write_text(file.read_text())
    file = folder / "sweep.yaml"
    file.write_text(
        f"task: {{family: reviews, name: films, data_dir: {folder / 'data'}, max_length: 16}}\n"
        f"model: {{name: {tiny_model}}}\n"
        "training: {epochs: 1}\n"
        "plugins: [method.py, task.py]\n"
        "axes:\n  method: [role-bias, rocoft]\n"
    )
    return file


def test_ls_and_params_know_them(rocoft: Callable[..., Any]) -> None:
    listed = rocoft("ls", "methods", *BOTH)
    row = next(line for line in listed.out.splitlines() if line.startswith("role-bias"))
    assert "method.py" in row
    assert "reviews" in rocoft("ls", "tasks", *BOTH).out
    counted = rocoft("params", "--method", "role-bias", *BOTH)
    assert f"{12 * (768 + 3072):,}" in next(line for line in counted.out.splitlines() if "roberta-base" in line)


def test_an_analysis_of_its_kernel_is_planned(rocoft: Callable[..., Any]) -> None:
    planned = rocoft("ntk", "--task", "mr", "--seeds", "13", "--method", "role-bias", "--dry-run", "--plugin", METHOD)
    assert planned.code == 0, planned.err
    assert "trained" in planned.out.splitlines()[-1]


def test_the_estimate_of_memory_knows_whose_values_it_trains() -> None:
    load_files([METHOD])
    shapes = shipped_shapes("roberta-base", "sequence_classification")
    assert shapes is not None
    own, adding = (methods.resolve({"name": name}).memory(shapes, 4) for name in ("role-bias", "adapter"))
    assert (own.adds_values, adding.adds_values) == (False, True)


def test_a_sweep_takes_them_into_its_processes_and_a_report_compares_them(
    rocoft: Callable[..., Any], sweep_file: Path, tmp_path: Path
) -> None:
    results = tmp_path / "results"
    assert rocoft("sweep", sweep_file, "--output", results, "--filter", "method=role-bias").code == 0
    other = tmp_path / "other.yaml"
    other.write_text(sweep_file.read_text().partition("plugins:")[0])
    trained = rocoft("train", "reviews", "--config", other, "--output", results / "other", *BOTH)
    assert trained.code == 0, trained.err
    run = next(results.glob("*/*Role-bias*"))
    used = json.loads((run / "provenance.json").read_text())["plugins"]
    assert [(entry.get("method") or entry.get("task"), entry["plugin"]) for entry in used] == [
        ("role-bias", "method.py"),
        ("reviews films", "task.py"),
    ]
    assert all(len(entry["sha256"]) == 64 for entry in used)
    reported = rocoft("report", results)
    assert reported.code == 0
    assert "Role bias" in reported.out
    assert "RoCoFT-3-Row,Role bias,films" in (results / "report" / "comparisons.csv").read_text()
    assert rocoft("report", results, "--ours", "role-bias").code == 0
    assert "Role bias,RoCoFT-3-Row,films" in (results / "report" / "comparisons.csv").read_text()


def test_a_run_says_which_plugin_it_needs(
    rocoft: Callable[..., Any], sweep_file: Path, tiny_model: Path, tmp_path: Path
) -> None:
    run, data = tmp_path / "run", sweep_file.parent / "data"
    how = ("--method", "role-bias", "--model", tiny_model, "--data-dir", data, "--epochs", 1, "--output", run)
    trained = rocoft("train", "reviews", "--task", "films", *how, *BOTH)
    assert trained.code == 0, trained.err
    record = json.loads((run / "record.json").read_text())
    assert record["parameters"]["adapter"] == 2 * (16 + 32)
    card = (run / "adapter" / "README.md").read_text()
    predict = next(line for line in card.splitlines() if line.startswith("rocoft predict"))
    assert predict == 'rocoft predict RUN --plugin method.py --plugin task.py --text "SENTENCE"'
    assert "--config config.yaml --plugin method.py --plugin task.py\n" in card
    ask = ("predict", run, "--text", "the cat")
    assert rocoft(*ask, *BOTH).code == 0
    code = (
        "import sys; from rocoft_bench.cli import main\n"
        f"sys.argv = ['rocoft', 'predict', {str(run)!r}, '--text', 'the cat']; main()"
    )
    alone = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert alone.returncode == 2
    assert alone.stderr == f"error: {run}: needs the method role-bias of a plug-in: --plugin method.py\n"


def test_an_installed_package_is_found_by_itself(tmp_path: Path) -> None:
    pytest.importorskip("hatchling", reason="builds the package; in the extra dev")
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--no-build-isolation"]
    subprocess.run([*pip, "--target", str(tmp_path), str(EXAMPLE)], check=True)
    code = "import sys; from rocoft_bench.cli import main; sys.argv = ['rocoft', 'ls', 'methods']; main()"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *filter(None, sys.path)])}
    listed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert "role-bias 1.2.0" in next(line for line in listed.stdout.splitlines() if line.startswith("role-bias"))
