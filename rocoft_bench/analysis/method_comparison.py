"""One method against each other one of a table: the difference on every task, and how sure it is."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from rocoft_bench.analysis.example_scores import example_scores
from rocoft_bench.analysis.groups import Key, compatible, grouped
from rocoft_bench.analysis.naming import slug
from rocoft_bench.analysis.records import Results, Run, Stored
from rocoft_bench.analysis.seed_statistics import MARGIN, SeedDifference, holm, seed_difference, welch_p
from rocoft_bench.analysis.statistics import RESAMPLES, Difference, MetricOfMeans, paired_difference, resampled
from rocoft_bench.analysis.table import Cell, Column, Row, Stat, Table
from rocoft_bench.errors import UserError, suggest
from rocoft_bench.runs import EfficiencyRecord

if TYPE_CHECKING:
    import numpy as np

OURS = "rocoft"
"""The method that others are compared with, where no other one is chosen."""

LEVEL = 0.05
"""Corrected p-values below this are marked."""

FEWEST_ROWS = 20
"""Fewer evaluation rows are not resampled: they do not stand for the rows that there might have been."""

OTHERWISE = "not compared, as nothing says that they were evaluated on the same examples in the same way"

Progress = Callable[[int, int], None]
"""Is told how many cells of how many are done."""


@dataclass(frozen=True)
class Comparison:
    """A row of our method against another one on one task.

    difference: of the main metric, ours - theirs, in percentage points; low and high: its 95 % interval over examples.
    p_examples: of the paired bootstrap; p_seeds: of Welch's t test; the corrected ones are Holm's, over all comparisons
    of our row in its table. None where a test was not possible; `note` says why there is none over examples.
    over_seeds: what else the seeds say, where each side has two; p_equivalent_corrected: of its test, by Holm.
    rows: how many were evaluated; our_seeds, their_seeds: how many runs there are.
    """

    table: str
    model: str
    method: str
    baseline: str
    task: str
    metric: str
    difference: float
    low: float | None = None
    high: float | None = None
    p_examples: float | None = None
    p_examples_corrected: float | None = None
    p_seeds: float | None = None
    p_seeds_corrected: float | None = None
    rows: int | None = None
    our_seeds: int = 0
    their_seeds: int = 0
    note: str = ""
    over_seeds: SeedDifference | None = None
    p_equivalent_corrected: float | None = None


@dataclass
class MethodComparison:
    """Everything that one row of our method is compared with.

    others: the rows it is compared with; comparisons: by the other row's title and the task's column; left_out: which
    methods and tasks could not be compared, or not over examples, by the reason. margin: percentage points within which
    methods count as equivalent.
    """

    table: Table
    row: Row
    others: list[Row]
    margin: float = MARGIN
    comparisons: dict[tuple[str, str], Comparison] = field(default_factory=dict)
    left_out: dict[str, dict[str, None]] = field(default_factory=dict)

    def leave_out(self, reason: str, row: Row, column: Column) -> None:
        self.left_out.setdefault(reason, {})[f"{row.title}, {column.title}"] = None

    def correct(self) -> None:
        """Fill in the corrected p-values, once all comparisons are there."""
        examples = holm([one.p_examples for one in self.comparisons.values()])
        seeds = holm([one.p_seeds for one in self.comparisons.values()])
        margin = holm([one.over_seeds.p_equivalent if one.over_seeds else None for one in self.comparisons.values()])
        for (key, one), a, b, c in zip(self.comparisons.items(), examples, seeds, margin, strict=True):
            corrected = replace(one, p_examples_corrected=a, p_seeds_corrected=b, p_equivalent_corrected=c)
            self.comparisons[key] = corrected

    def as_table(self) -> Table:
        """A row for each other method, a column for each task."""
        columns = [
            Column(column.key, column.title, column.parts[:1], column.task, "points", column.decimals)
            for column in self.table.columns
            if any(key == column.key for _, key in self.comparisons)
        ]
        return Table(
            key=slug(f"{self.table.key}-{self.row.model}-{self.row.title}-against-others"),
            title=f"{self.row.title} against the other methods, {self.row.model}: {self.table.title}",
            columns=columns,
            rows=[Row(o.model, o.method, cells, o.variant) for o in self.others if (cells := self._cells(o, columns))],
            conditions=self.table.conditions,
            notes=[*_explanations(self), *(f"{why}: {'; '.join(what)}" for why, what in self.left_out.items())],
        )

    def _cells(self, other: Row, columns: Iterable[Column]) -> dict[str, Cell]:
        """Numbers, and as text what goes with them."""
        cells = {}
        for column in columns:
            if one := self.comparisons.get((other.title, column.key)):
                stat = Stat(one.difference, n=min(one.our_seeds, one.their_seeds))
                runs = (*self.row.cell(column).runs, *other.cell(column).runs)
                cells[column.key] = Cell((stat,), _text(one, column.decimals), runs=runs)
        return cells


@dataclass(frozen=True)
class _Side:
    """The runs of a cell that have results, their scores by example, unless `problem` says why not, and their mean on
    each resample.

    evaluated_on: equal for cells that may be compared; None where the runs of the cell differ in it.
    """

    runs: list[Run]
    evaluated_on: Key | None
    problem: str = ""
    scores: Sequence[MetricOfMeans] = ()
    sampled: np.ndarray | None = None

    @property
    def values(self) -> list[float]:
        """The main metric in percent, one a run."""
        return [100 * (main_metric(run) or 0.0) for run in self.runs]


def compare_methods(
    results: Results,
    tables: Sequence[Table],
    ours: str = OURS,
    progress: Progress | None = None,
    margin: float = MARGIN,
) -> Iterator[MethodComparison]:
    """Each row of our method that has results against every other method of the same table and model.

    ours: the name of a method, or the title of a row. Cells of one task are read and resampled together, so that all
    methods are compared on the same resamples. margin: see `MethodComparison`.
    """
    cells_of = [(table, model, cells) for table in tables for model, cells in runs_by_cell(results, table).items()]
    groups = [(own, cells) for table, model, cells in cells_of if (own := _of_ours(table, model, cells, ours, margin))]
    total, done = sum(len(of_rows) for _, cells in groups for of_rows in cells.values()), 0
    for own, cells in groups:
        for key, of_rows in cells.items():
            sides = _sides(of_rows)
            for comparison in own:
                _compare_all(comparison, comparison.table.column(key), sides)
            done += len(of_rows)
            if progress:
                progress(done, total)
        for comparison in own:
            comparison.correct()
            if comparison.comparisons or comparison.left_out:
                yield comparison


def compare_runs(ours: Run, theirs: Run) -> tuple[Difference | None, str]:
    """The difference of two runs' main metric in percentage points, over examples; or why there is none."""
    sides = _sides({"ours": [ours], "theirs": [theirs]})
    if not _are_comparable(sides["ours"].evaluated_on, sides["theirs"].evaluated_on):
        return None, OTHERWISE
    found, note = _over_examples(sides["ours"], sides["theirs"])
    return found, note and f"not compared over examples ({note})"


def compare_with_number(ours: Run, theirs: float) -> tuple[Difference | None, str]:
    """The same beside a number that is known without its examples: the interval is of our examples alone."""
    side = _sides({"ours": [ours]})["ours"]
    if side.sampled is None:
        return None, f"not compared over examples ({side.problem})"
    return paired_difference(side.values[0] - theirs, side.sampled, 0 * side.sampled + theirs), ""


def is_of(run: Run | Stored[EfficiencyRecord], name: str) -> bool:
    """Whether a run or a bench is of a method of that name, or of a row of that title."""
    return name.casefold() in (str(run.record.method.get("name")).casefold(), run.record.label.casefold())


def check_ours(results: Results, name: str) -> None:
    """Raises: UserError if another method than the usual one is chosen, and there are no runs of it."""
    known = {str(run.record.method.get("name")) for run in results.runs} | {run.record.label for run in results.runs}
    if name != OURS and not any(is_of(run, name) for run in results.runs):
        raise UserError(f"--ours {name}: no run in {results.root} is of that method; {suggest(name, sorted(known))}")


_Cells = dict[str, dict[str, list[Run]]]
"""The runs that have results, by a column's key and a row's title."""


def runs_by_cell(results: Results, table: Table) -> dict[str, _Cells]:
    """The runs of a table that have results, by model; none where the table is made of something else."""
    runs = {run.id: run for run in results.runs if main_metric(run) is not None}
    found: dict[str, _Cells] = {model: {} for model in table.models}
    for row in table.rows:
        for column in table.columns:
            if column.task and (finished := [runs[id] for id in row.cell(column).runs if id in runs]):
                found[row.model].setdefault(column.key, {})[row.title] = finished
    return found


def main_metric(run: Run) -> float | None:
    """Its first metric as a fraction; None without a result."""
    names = run.record.task["metric_names"]
    return run.record.metrics.get(names[0]) if run.record.metrics and names else None


def _of_ours(table: Table, model: str, cells: _Cells, ours: str, margin: float) -> list[MethodComparison]:
    """One for each row of our method, if there are others; with those that differ from the usual settings as the row
    does, e.g. in "epochs=1", or with all, if there is no such one.
    """
    with_runs = {title: runs[0] for of_rows in cells.values() for title, runs in of_rows.items()}
    rows = [row for row in table.of_model(model) if row.title in with_runs]
    own = [row for row in rows if is_of(with_runs[row.title], ours)]
    others = [row for row in rows if row not in own]
    alike = {row.variant: [other for other in others if other.variant == row.variant] for row in own}
    return [MethodComparison(table, row, alike[row.variant] or others, margin) for row in own] if others else []


def _compare_all(comparison: MethodComparison, column: Column, sides: Mapping[str, _Side]) -> None:
    if (ours := sides.get(comparison.row.title)) is None:
        return
    for other in comparison.others:
        if (theirs := sides.get(other.title)) is None:
            continue
        if not _are_comparable(ours.evaluated_on, theirs.evaluated_on):
            comparison.leave_out(OTHERWISE, other, column)
            continue
        found = _comparison(comparison, column, other, ours, theirs)
        if found.note:
            at_fault = comparison.row if ours.problem else other
            comparison.leave_out(f"not compared over examples ({found.note})", at_fault, column)
        comparison.comparisons[other.title, column.key] = found


def _comparison(comparison: MethodComparison, column: Column, other: Row, ours: _Side, theirs: _Side) -> Comparison:
    record = ours.runs[0].record
    over_examples, note = _over_examples(ours, theirs)
    return Comparison(
        table=comparison.table.key,
        model=comparison.row.model,
        method=comparison.row.title,
        baseline=other.title,
        task=column.task or "",
        metric=record.task["metric_names"][0],
        difference=statistics.mean(ours.values) - statistics.mean(theirs.values),
        low=over_examples.low if over_examples else None,
        high=over_examples.high if over_examples else None,
        p_examples=over_examples.p if over_examples else None,
        p_seeds=welch_p(ours.values, theirs.values),
        over_seeds=seed_difference(ours.values, theirs.values, comparison.margin),
        rows=record.data.get("eval_rows"),
        our_seeds=len(ours.runs),
        their_seeds=len(theirs.runs),
        note=note,
    )


def _over_examples(ours: _Side, theirs: _Side) -> tuple[Difference | None, str]:
    """The difference of two sides that were evaluated alike, or why there is none over examples."""
    note = ours.problem or theirs.problem
    if not note and ours.scores[0].references != theirs.scores[0].references:
        note = "predictions.jsonl has other references"
    if note or ours.sampled is None or theirs.sampled is None:
        return None, note
    difference = statistics.mean(ours.values) - statistics.mean(theirs.values)
    return paired_difference(difference, ours.sampled, theirs.sampled), ""


def _sides(cells: Mapping[str, list[Run]]) -> dict[str, _Side]:
    """The cells of one task by their rows' titles; what was evaluated on the same rows is resampled together."""
    sides = {title: _side(runs) for title, runs in cells.items()}
    for titles in grouped((side.evaluated_on, title) for title, side in sides.items() if not side.problem).values():
        sampled = resampled([one for title in titles for one in sides[title].scores])
        start = 0
        for title in titles:
            end = start + len(sides[title].scores)
            sides[title] = replace(sides[title], sampled=100 * sampled[:, start:end].mean(axis=1))
            start = end
    return sides


def _side(runs: list[Run]) -> _Side:
    """A cell before it is resampled."""
    evaluated_on = _evaluated_on(runs[0])
    if not all(_are_comparable(evaluated_on, _evaluated_on(run)) for run in runs):
        return _Side(runs, None, "its runs were evaluated on different examples")
    try:
        scores = [example_scores(run) for run in runs]
    except UserError as error:
        return _Side(runs, evaluated_on, str(error))
    if len(scores[0].rows) < FEWEST_ROWS:
        return _Side(runs, evaluated_on, f"fewer than {FEWEST_ROWS} evaluation examples")
    if len({one.references for one in scores}) > 1:
        return _Side(runs, evaluated_on, "predictions.jsonl of its runs have different references")
    return _Side(runs, evaluated_on, scores=scores)


def _evaluated_on(run: Run) -> Key | None:
    """What has to be equal for runs to be compared; None where the record does not say on which rows it was."""
    data, record = run.record.data, run.record
    content, template = data.get("evaluation", {}).get("sha256"), record.prompt.get("template_version")
    return (content, data.get("eval_rows"), record.protocol, record.task.get("version"), template) if content else None


def _are_comparable(one: Key | None, other: Key | None) -> bool:
    return one is not None and other is not None and compatible(one, other)


def _text(one: Comparison, decimals: int) -> str:
    """The difference, [its interval], * where it is significant over examples, and † where it is over seeds."""
    text = f"{one.difference:+.{decimals}f}"
    if one.low is not None and one.high is not None:
        text += f" [{one.low:+.{decimals}f}, {one.high:+.{decimals}f}]"
    marks = (("*", one.p_examples_corrected), ("†", one.p_seeds_corrected))
    found = "".join(mark for mark, p in marks if p is not None and p < LEVEL)
    return f"{text} {found}".rstrip().replace("-", "−")


def _explanations(comparison: MethodComparison) -> list[str]:
    over_examples = sum(one.p_examples is not None for one in comparison.comparisons.values())
    over_seeds = sum(one.p_seeds is not None for one in comparison.comparisons.values())
    return [
        f"A cell is the main metric of {comparison.row.title} minus that of the row's method, means over their runs in "
        f"percentage points, with its 95 % interval over {RESAMPLES:,} paired bootstrap resamples of the evaluation "
        "examples.",
        f"* marks p < {LEVEL} over examples (normal test with the bootstrap's standard error; {over_examples} tests), "
        f"† p < {LEVEL} over seeds (Welch's t test; {over_seeds} tests, which need two runs on each side), each after "
        "Holm's correction for the number of its tests in this table. The intervals are not corrected.",
        "Intervals and * say what other evaluation examples might have changed, for the runs as they are; only † says "
        "what other seeds might have changed.",
    ]
