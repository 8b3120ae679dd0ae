"""How settings were chosen: what each trial of a search scored, and what that led to."""

from collections.abc import Sequence
from statistics import mean
from typing import Any

from rocoft_bench.analysis.conditions import seeds
from rocoft_bench.analysis.naming import slug
from rocoft_bench.analysis.records import Results
from rocoft_bench.analysis.table import Cell, Column, Row, Stat, Table
from rocoft_bench.runs import TuningRecord

ON_EDGE = "chosen on the edge of what was tried, so that a better value may lie beyond"


def tuning_tables(results: Results) -> list[Table]:
    """A table for each task, model and set of combinations: a row for each search, a column for each combination."""
    groups: dict[tuple[Any, ...], list[TuningRecord]] = {}
    for stored in results.tuning:
        one = stored.record
        key = (one.family, one.task, one.model, one.hold_out, one.hold_out_seed, one.budget, tuple(_combinations(one)))
        groups.setdefault(key, []).append(one)
    return [_table(own) for own in groups.values()]


def in_words(values: dict[str, Any]) -> str:
    """A combination of settings in short: "learning_rate 0.001"."""
    return ", ".join(f"{key.rpartition('.')[2]} {value}" for key, value in values.items())


def _combinations(one: TuningRecord) -> list[str]:
    return list(dict.fromkeys(in_words(trial.values) for trial in one.trials))


def _table(searches: Sequence[TuningRecord]) -> Table:
    first = searches[0]
    model = first.model.rstrip("/").rpartition("/")[2]
    columns = [Column(slug(name), name, ("",), unit="%") for name in _combinations(first)]
    columns += [Column("chosen", "chosen"), Column("failed", "failed", ("",), decimals=0)]
    labels = [one.label for one in searches]
    rows = [Row(model, one.label, _cells(one), one.place if labels.count(one.label) > 1 else "") for one in searches]
    edges = [f"{one.label}: {', '.join(one.on_edge)}" for one in searches if one.on_edge]
    return Table(
        key=slug(f"tuning-{first.family}-{first.task}-{model}"),
        title=f"tuning, {first.family} {first.task}, {model}: the result by what was tried",
        columns=columns,
        rows=rows,
        conditions={
            "Metric": f"{first.metric.replace('_', ' ')} on {first.hold_out} training examples held out (drawn by seed "
            f"{first.hold_out_seed}), in percent; no evaluation example was read",
            "Budget": f"{first.budget} trials for each row, failed ones counted",
            "Seeds": seeds(trial for one in searches for trial in one.trials),
        },
        notes=[f"{ON_EDGE}: {'; '.join(edges)}"] if edges else [],
    )


def _cells(one: TuningRecord) -> dict[str, Cell]:
    cells = {}
    for name in _combinations(one):
        trials = [trial for trial in one.trials if in_words(trial.values) == name]
        scores = [100 * trial.score for trial in trials if trial.score is not None]
        failures = tuple(trial.status for trial in trials if trial.score is None)
        stats = (Stat(mean(scores), n=len(scores)),) if scores else ()
        cells[slug(name)] = Cell(stats, runs=tuple(trial.run for trial in trials), failures=failures)
    chosen = in_words(one.chosen) if one.chosen else "nothing"
    return {**cells, "chosen": Cell(text=chosen), "failed": Cell((Stat(one.failed),))}
