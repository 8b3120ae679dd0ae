"""What may be said of one method beside the others: better, worse, equivalent within a margin, or undecided."""

from collections.abc import Iterator, Mapping, Sequence

from rocoft_bench.analysis.method_comparison import LEVEL, Comparison, MethodComparison, main_metric, runs_by_cell
from rocoft_bench.analysis.naming import slug
from rocoft_bench.analysis.records import Results
from rocoft_bench.analysis.seed_statistics import MOST_SEEDS, POWER, SeedDifference, rank_summaries
from rocoft_bench.analysis.statistics import CONFIDENCE, RESAMPLES
from rocoft_bench.analysis.table import Cell, Column, Row, Stat, Table, text_cells

COLUMNS = [
    Column("seeds", "seeds"),
    Column("difference_seeds", "difference", ("",), unit="points"),
    Column("effect", "Hedges' g", ("",)),
    Column("p_seeds", "p, difference"),
    Column("p_equivalent", "p, equivalence"),
    Column("verdict", "verdict"),
    Column("needed", "seeds needed"),
]

RANK_COLUMNS = [
    Column("mean_rank", "mean rank", ("",), better="lower"),
    Column("best", "best", ("",), unit="%", decimals=0),
]


def verdict(one: Comparison) -> str:
    """What the seeds say of our method, by the corrected p-values; nothing without two seeds on each side."""
    if one.over_seeds is None:
        return ""
    differs, equivalent = (p is not None and p < LEVEL for p in (one.p_seeds_corrected, one.p_equivalent_corrected))
    direction = "better" if one.difference > 0 else "worse"
    if equivalent:
        return f"equivalent ({direction} by less than the margin)" if differs else "equivalent"
    return direction if differs else "undecided"


def claims_table(comparison: MethodComparison) -> Table | None:
    """A row for each other method and task; None where no comparison has two seeds on each side."""
    known = {key: one for key, one in comparison.comparisons.items() if one.over_seeds is not None}
    if not known:
        return None
    several = len({task for _, task in known}) > 1
    others = {row.title: row for row in comparison.others}
    rows = []
    for (title, task), one in known.items():
        variant = ", ".join(filter(None, [others[title].variant, task if several else ""]))
        rows.append(Row(comparison.row.model, others[title].method, _cells(one), variant))
    metrics = ", ".join(dict.fromkeys(f"{one.task} {one.metric}".replace("_", " ") for one in known.values()))
    return Table(
        key=slug(f"{comparison.table.key}-{comparison.row.model}-{comparison.row.title}-claims"),
        title=f"claims: {comparison.row.title} beside the others, {comparison.row.model}: {comparison.table.title}",
        columns=COLUMNS,
        rows=rows,
        conditions=comparison.table.conditions,
        notes=_explanations(comparison.margin, metrics),
    )


def _cells(one: Comparison) -> dict[str, Cell]:
    found = one.over_seeds
    assert found is not None
    said = verdict(one)
    cells = text_cells(
        seeds=f"{one.our_seeds} and {one.their_seeds}",
        p_seeds=p_text(one.p_seeds_corrected),
        p_equivalent=p_text(one.p_equivalent_corrected),
        verdict=said,
        needed=_needed(found) if said == "undecided" else "",
    )
    numbers = {
        "difference_seeds": (one.difference, found.low_seeds, found.high_seeds),
        "effect": (found.effect, found.effect_low, found.effect_high),
    }
    for key, (value, low, high) in numbers.items():
        text = f"{value:+.2f} [{low:+.2f}, {high:+.2f}]".replace("-", "−")
        cells[key] = Cell((Stat(value, n=min(one.our_seeds, one.their_seeds)),), text)
    return cells


def p_text(value: float | None) -> str:
    return "" if value is None else "< 0.001" if value < 0.001 else f"{value:.3f}"


def _needed(found: SeedDifference) -> str:
    """With how many seeds of each method an undecided comparison would probably be decided."""
    ways = {"equivalence": found.seeds_to_equivalence, "this difference": found.seeds_to_difference}
    return "; ".join(f"{seeds or f'over {MOST_SEEDS:,}'} for {what}" for what, seeds in ways.items())


def _explanations(margin: float, metrics: str) -> list[str]:
    return [
        f"difference: of means over seeds ({metrics}) in percentage points, with Welch's {CONFIDENCE:.0%} interval; "
        "Hedges' g: the same in pooled standard deviations of seeds. Intervals are not corrected.",
        f"equivalent: smaller than {margin:g} points either way, by two one-sided Welch tests; better, worse: Welch's "
        f"two-sided test; p-values after Holm's correction over the rows of this table, {LEVEL} being the level. "
        "Neither is undecided, which is no evidence of equivalence.",
        f"seeds needed: of each method, to show equivalence if there is no difference, or a difference as large as the "
        f"one found, with a probability of {POWER:.0%} and without correction.",
        "All of this is over seeds: of the evaluation examples as they are.",
    ]


def rank_tables_over_seeds(results: Results, tables: Sequence[Table]) -> Iterator[Table]:
    """For each model of a table with several tasks, the ranks of the methods that have two seeds on all of them."""
    for table in tables:
        for model, cells in runs_by_cell(results, table).items():
            titles = dict.fromkeys(title for of_rows in cells.values() for title in of_rows)
            runs = {title: [of_rows.get(title, []) for of_rows in cells.values()] for title in titles}
            scores = {
                title: [[main_metric(run) or 0.0 for run in own] for own in by_task]
                for title, by_task in runs.items()
                if min(map(len, by_task)) > 1
            }
            if len(scores) > 1 and len(cells) > 1:
                yield _rank_table(table, model, scores, list(cells))


def _rank_table(table: Table, model: str, scores: Mapping[str, list[list[float]]], tasks: Sequence[str]) -> Table:
    rows = []
    for title, one in sorted(rank_summaries(scores).items(), key=lambda item: item[1].mean):
        text = f"{one.mean:.2f} [{one.low:.2f}, {one.high:.2f}]"
        cells = {"mean_rank": Cell((Stat(one.mean),), text), "best": Cell((Stat(100 * one.best),))}
        rows.append(Row(model, title, cells))
    return Table(
        key=slug(f"{table.key}-{model}-ranks"),
        title=f"ranks over tasks, {model}: {table.title}",
        columns=RANK_COLUMNS,
        rows=rows,
        conditions=table.conditions,
        notes=[
            f"mean rank over {', '.join(tasks)} of the methods that have two seeds on each, 1 for the best, with its "
            f"{CONFIDENCE:.0%} interval; best: how often it is the lowest. Both from {RESAMPLES:,} bootstrap resamples "
            "of the seeds; tasks and evaluation examples are as they are.",
        ],
    )
