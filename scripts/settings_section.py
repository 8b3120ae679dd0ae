"""What the settings of a small sweep do to the loss and the result: tables in results/README.md, from its records.

python scripts/settings_section.py quantised            # print them, of results/quantised
python scripts/settings_section.py quantised --write    # put them between the marks in results/README.md
"""

import statistics
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from readme_section import main, markdown

from rocoft_bench.analysis.method_comparison import main_metric
from rocoft_bench.analysis.records import Run, read_results
from rocoft_bench.analysis.seed_statistics import holm, welch_interval, welch_p
from rocoft_bench.analysis.verdicts import p_text
from rocoft_bench.config import ModelConfig
from rocoft_bench.config.loading import flatten
from rocoft_bench.methods.rocoft import RoCoFTSettings
from rocoft_bench.untrusted.yaml_text import read_yaml

HEADER = (
    "setting",
    "n",
    "result",
    "beside the first",
    "p",
    "loss, first half",
    "loss, second half",
    "beside the first",
)
DEFAULTS = dict(flatten({"method": RoCoFTSettings().model_dump(), "model": ModelConfig().model_dump()}))
EVERY_STEP = 10**9
"""More points of a loss curve than there are."""


def section(folder: Path) -> str:
    """In Markdown: for each task a row for each setting, the mean and spread over its seeds, 95 % intervals of the
    differences from the first setting, and p-values, both of Welch's test, after Holm's correction over the table.
    """
    by_task: dict[str, list[Run]] = defaultdict(list)
    for run in read_results(folder).runs:
        by_task[run.record.task["name"]].append(run)
    return "\n".join(line for task, runs in sorted(by_task.items()) for line in _of_task(task, runs)).strip()


def _of_task(task: str, runs: Sequence[Run]) -> Iterator[str]:
    yield f"### {task}, {runs[0].record.task['metric_names'][0].replace('_', ' ')}"
    yield ""
    groups = _by_setting(runs)
    first, *others = groups.values()
    p_values = [None, *holm([welch_p(_values(own)[0], _values(first)[0]) for own in others])]
    rows = (
        [name, str(len(own)), *_cells(own, None if own is first else first, p)]
        for (name, own), p in zip(groups.items(), p_values, strict=True)
    )
    yield from markdown(HEADER, rows)
    yield ""


def _by_setting(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """By what differs between the runs' configurations beside their seeds, and from RoCoFT's defaults; those first."""
    configs = [DEFAULTS | dict(flatten(read_yaml(run.directory.config))) for run in runs]  # a file may be older
    keys = sorted({key for config in configs for key in config} - {"seed"})
    varied = [key for key in keys if len({str(config.get(key)) for config in configs}) > 1]
    groups: dict[tuple[str, ...], list[Run]] = defaultdict(list)
    for run, config in zip(runs, configs, strict=True):
        own = (f"{key.partition('.')[2]} {config[key]}" for key in varied if config.get(key) != DEFAULTS.get(key))
        groups[tuple(own)].append(run)
    ordered = sorted(groups.items(), key=lambda item: (len(item[0]), item[0]))
    return {", ".join(own) or "by default": some for own, some in ordered}


def _cells(runs: Sequence[Run], first: Sequence[Run] | None, p: float | None) -> Iterator[str]:
    results, early, late = _values(runs)
    beside = (None, None, None) if first is None else _values(first)
    yield f"{statistics.mean(results):.2f} ± {statistics.stdev(results):.2f}"
    yield _difference(results, beside[0], 2)
    yield p_text(p)
    yield f"{statistics.mean(early):.3f} ± {statistics.stdev(early):.3f}"
    yield f"{statistics.mean(late):.3f} ± {statistics.stdev(late):.3f}"
    yield _difference(late, beside[2], 3)


def _values(runs: Sequence[Run]) -> tuple[list[float], list[float], list[float]]:
    """Of each run the result in percent, and the mean loss of the first and of the second half of its steps."""
    results, early, late = [], [], []
    for run in runs:
        losses = [loss for _, loss in run.losses(EVERY_STEP)]
        half = len(losses) // 2
        results.append(100 * (main_metric(run) or 0.0))
        early.append(statistics.mean(losses[:half]))
        late.append(statistics.mean(losses[half:]))
    return results, early, late


def _difference(ours: Sequence[float], first: Sequence[float] | None, decimals: int) -> str:
    if first is None:
        return ""
    low, high = welch_interval(ours, first)
    difference = statistics.mean(ours) - statistics.mean(first)
    return f"{difference:+.{decimals}f} [{low:+.{decimals}f}, {high:+.{decimals}f}]".replace("-", "−")


if __name__ == "__main__":
    main(__file__, __doc__, section)
