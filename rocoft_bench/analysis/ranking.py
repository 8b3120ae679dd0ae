"""Averages and mean ranks over the tasks of a table, and its best numbers."""

from collections.abc import Sequence
from dataclasses import replace

from rocoft_bench.analysis.references import references
from rocoft_bench.analysis.table import Cell, Column, Row, Stat, with_highlights

AVERAGE = Column("average", "avg.", ("first", "second"), better="higher")
MEAN_RANK = Column("mean_rank", "mean rank", ("",), better="lower")


def summarized(rows: Sequence[Row], tasks: Sequence[Column]) -> list[Row]:
    """The rows of a model with averages and mean ranks, and with the best of them marked."""
    ranks = _mean_ranks(rows, tasks)
    found = []
    for row in rows:
        summaries = {"average": _average(row, tasks), "mean_rank": Cell((Stat(ranks.get(row.title)),))}
        found.append(replace(row, cells={**row.cells, **summaries}))
    return with_highlights(found, [*tasks, AVERAGE, MEAN_RANK])


def summary_columns(rows: Sequence[Row], tasks: Sequence[Column]) -> list[Column]:
    """The columns of averages and mean ranks, where any row has one."""
    has_second = sum(len(column.parts) > 1 for column in tasks) > 1
    average = replace(AVERAGE, parts=AVERAGE.parts if has_second else ("",))
    stats = {column.key: [stat for row in rows for stat in row.cell(column).parts] for column in (average, MEAN_RANK)}
    return [
        c for c in (average, MEAN_RANK) if any(s.value is not None or s.reference is not None for s in stats[c.key])
    ]


def _average(row: Row, tasks: Sequence[Column]) -> Cell:
    """Means over all tasks of the first metrics, and of the second ones, as in Table 1; none if a task is missing.

    The reference is the average that the paper prints, which is not always the mean of its cells (`paper_audit`); there
    is no difference to it where the cells have none.
    """
    printed = references(row.model, row.method)
    stats = []
    for place, name in enumerate(("mean_first_metric", "mean_second_metric")):
        own = [row.cell(c).parts[place] for c in tasks if len(row.cell(c).parts) > place]
        values = [stat.value for stat in own if stat.value is not None]
        mean = sum(values) / len(values) if len(values) == len(own) > 1 else None
        reference = printed[result].value if (result := ("average", name)) in printed else None
        if len(own) > 1:
            stat = Stat(mean, reference=reference)
            stats.append(stat.compared() if all(one.difference is not None for one in own) else stat)
    return Cell(tuple(stats))


def _mean_ranks(rows: Sequence[Row], tasks: Sequence[Column]) -> dict[str, float]:
    """Of a model's rows that have every task that any row has, by the first metrics: 1 for the best, ties share a rank.
    None for a single task or row.
    """
    import pandas as pd

    values = {row.title: [next((s.value for s in row.cell(task).parts), None) for task in tasks] for row in rows}
    scores = pd.DataFrame.from_dict(values, orient="index", dtype=float).dropna(axis="columns", how="all").dropna()
    return scores.rank(ascending=False).mean(axis="columns").to_dict() if min(scores.shape) > 1 else {}
