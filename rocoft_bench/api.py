"""Runs, evaluations and results from Python, for notebooks and scripts.

>>> from rocoft_bench.api import evaluate, load_results, run
>>> record = run("glue/rte.yaml", {"method": "lora", "seed": 1})  # doctest: +SKIP
>>> table = load_results("results/")  # doctest: +SKIP
>>> table[table.metric == "accuracy"].pivot_table("value", "label", "task")  # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rocoft_bench.config import Settings, find_config, override, read_settings
from rocoft_bench.engine.observer import Observer
from rocoft_bench.runs import RunRecord, find_run

if TYPE_CHECKING:
    import pandas as pd


def run(
    config: str | Path | Mapping[str, Any],
    changes: Mapping[str, Any] | None = None,
    output: str | Path | None = None,
    force: bool = False,
) -> RunRecord:
    """Train, as `rocoft train` does, in this process: resume what was interrupted, leave alone what is finished.

    config: a file, also one that comes with the package, e.g. "glue/rte.yaml", or settings as such a file has them.
    changes: further settings by dotted key, as of `--set`. output: the run's folder; by its settings if None.

    Raises: UserError if settings, model or data cannot be used. A run that fails says how in its record.
    """
    from rocoft_bench.experiment.resolve import resolve
    from rocoft_bench.experiment.run import run as run_experiment

    settings = Settings()
    if isinstance(config, Mapping):
        settings.update(dict(config), "config")
    else:
        settings = read_settings(find_config(config))
    _change(settings, changes)
    experiment = resolve(settings)
    folder = Path(output) if output else experiment.folder_in(Path("results"))
    return run_experiment(experiment, folder, Observer(), force)[0]


def evaluate(folder: str | Path, changes: Mapping[str, Any] | None = None, force: bool = False) -> RunRecord:
    """Evaluate the model of a finished run once more, as `rocoft evaluate` does: {"task": "qnli"}.

    Raises: UserError if the run, the settings or the data cannot be used.
    """
    from rocoft_bench.experiment.evaluate import evaluate as evaluate_run

    settings = Settings()
    _change(settings, changes)
    return evaluate_run(find_run(Path(folder)), settings, Observer(), force)[0]


def load_results(folder: str | Path = "results") -> pd.DataFrame:
    """All results below a folder as the table that reports are made of: a row for each value, conditions as columns.

    `rocoft_bench.analysis.long_table.COLUMNS` says what is in each column. Records that cannot be read are named in a
    warning.

    Raises: UserError if the folder does not exist or holds no records.
    """
    import warnings

    from rocoft_bench.analysis.long_table import long_table
    from rocoft_bench.analysis.records import read_results

    results = read_results(Path(folder))
    for problem in results.problems:
        warnings.warn(f"skipped: {problem.path}: {problem.reason}", stacklevel=2)
    return long_table(results)


def _change(settings: Settings, changes: Mapping[str, Any] | None) -> None:
    for key, value in (changes or {}).items():
        settings.update(override(key, value), key)
