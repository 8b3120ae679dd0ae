"""Why two results differ: what on record does, what statistics say of it, and where the predictions part."""

import re
from collections.abc import Sequence
from typing import Any

from rocoft_bench.analysis.differences import (
    FOLLOWS,
    NO_EFFECT,
    UNSAID,
    Differences,
    beside_paper,
    between,
    facts_of,
    first_other_loss,
    other_rows,
)
from rocoft_bench.analysis.long_table import UNPARSED
from rocoft_bench.analysis.method_comparison import compare_runs, compare_with_number
from rocoft_bench.analysis.records import Run
from rocoft_bench.analysis.references import PaperCell
from rocoft_bench.analysis.statistics import CONFIDENCE, Difference
from rocoft_bench.analysis.table import Cell, Column, Row, Stat, Table, text_cells
from rocoft_bench.errors import shortened

_HASH = re.compile(r"[0-9a-f]{40,64}")
_LONGEST_TEXT = 200
_LONGEST_ANSWER = 120
_SIDES = ("A", "B")


def explain_runs(ours: Run, theirs: Run, examples: int) -> list[Table]:
    """Two runs; of the evaluation examples that they answer differently the first ones."""
    found = between(facts_of(ours), facts_of(theirs))
    difference, note = compare_runs(ours, theirs)
    scores = _scores(ours, theirs.record.metrics or {}, _statistics(difference, note))
    scores.notes += [_losses(ours, theirs)]
    shown = _differences(found, ours.id, theirs.id)
    shown.notes += [rows for split in ("train", "evaluation") if (rows := other_rows(ours, theirs, split))]
    return [shown, scores, _disagreements(ours, theirs, examples)]


def explain_beside_paper(ours: Run, cell: PaperCell) -> list[Table]:
    """A run beside a cell of the paper."""
    found = between(*beside_paper(ours, cell))
    main = next((cell.values.get(name) for name in ours.record.task["metric_names"]), None)
    difference, note = (None, "no score to compare") if main is None else compare_with_number(ours, main)
    said = _statistics(difference, note)
    if difference:
        said += "; the interval is of the run's examples alone, as the paper prints no deviation"
    scores = _scores(ours, {name: value / 100 for name, value in cell.values.items()}, said)
    shown = _differences(found, ours.id, cell.name)
    shown.notes.append(f"the paper does not say: {UNSAID} (`rocoft report --audit` has more)")
    return [shown, scores]


def _differences(found: Differences, ours: str, theirs: str) -> Table:
    columns = [Column("kind", "is of"), *(Column(side, side) for side in _SIDES)]
    rows = []
    for one in found.known:
        cells = text_cells(kind=one.kind, A=_shown(one.ours, one.theirs), B=_shown(one.theirs, one.ours))
        rows.append(Row("", one.name, cells))
    counting = [one for one in found.known if one.kind not in (FOLLOWS, NO_EFFECT)]
    notes = [] if counting else ["nothing on record that could change numbers differs"]
    for side, names in zip(_SIDES, (found.ours_alone, found.theirs_alone), strict=True):
        notes += [f"stated of {side} alone: {', '.join(names)}"] if names else []
    title = "what differs, the likeliest to change numbers first"
    return Table("differences", title, columns, rows, conditions={"A": ours, "B": theirs}, notes=notes)


def _shown(value: Any, other: Any) -> str:
    """A side's value as text; of remarks those that the other side does not have."""
    if isinstance(value, str):
        return value[:12] if _HASH.fullmatch(value) else shortened(value, _LONGEST_TEXT)
    if isinstance(value, list):
        alone = [each for each in value if not isinstance(other, list) or each not in other]
        return shortened("; ".join(map(str, alone)), _LONGEST_TEXT) or "none of these"
    return f"{value:g}" if isinstance(value, float) else "not set" if value is None else str(value)


def _scores(ours: Run, theirs: dict[str, float], statistics: str) -> Table:
    """theirs: fractions by metric."""
    own = ours.record.metrics or {}
    columns = [Column(side, side, ("",), unit="%") for side in _SIDES]
    columns.append(Column("difference", "A − B", ("",), unit="points"))
    rows = []
    for name in dict.fromkeys((*ours.record.task["metric_names"], *own, *theirs)):
        a, b = (100 * scores[name] if name in scores else None for scores in (own, theirs))
        both = None if a is None or b is None else a - b
        if name != UNPARSED or both:
            cells = {key: Cell((Stat(value),)) for key, value in (("A", a), ("B", b), ("difference", both))}
            rows.append(Row("", name.replace("_", " "), cells))
    return Table("scores", "the result", columns, rows, notes=[statistics])


def _statistics(difference: Difference | None, note: str) -> str:
    if difference is None:
        return note
    sure = f"{100 * CONFIDENCE:g} % interval [{difference.low:+.2f}, {difference.high:+.2f}], p = {difference.p:.2g}"
    seeds = "over evaluation examples; other seeds may differ by more"
    return f"main metric: {difference.value:+.2f} points, {sure}, {seeds}".replace("-", "−")


def _losses(ours: Run, theirs: Run) -> str:
    if not (ours.losses() and theirs.losses()):
        return "losses: one of the runs has none on record"
    found = first_other_loss(ours, theirs)
    if found is None:
        return "losses: the same at every step that both have"
    step, a, b = found
    return f"losses: the first that differs is that of step {step} ({a:.6g} and {b:.6g})"


def _disagreements(ours: Run, theirs: Run, most: int) -> Table:
    columns = [Column("reference", "reference"), *(Column(side, side) for side in _SIDES)]
    table = Table("disagreements", "evaluation examples on which they disagree", columns)
    a_said, b_said = ours.predictions(), theirs.predictions()
    pairs = list(zip(a_said, b_said, strict=False))
    if not pairs:
        table.notes = ["one of the runs has no predictions on record"]
        return table
    if len(a_said) != len(b_said):
        table.notes.append(f"predictions on record: {len(a_said)} of A, {len(b_said)} of B; as far as both go:")
    other = dict.fromkeys(_where(pairs, "reference"))
    if other:
        table.notes.append(f"{len(other)} examples have another reference, the first is {next(iter(other))}")
    differing = [index for index in _where(pairs, "prediction") if index not in other]
    table.notes.append(f"other predictions: {len(differing)} of {len(pairs) - len(other)} examples")
    for index in differing[:most]:
        a, b = pairs[index]
        said = ours.named([a.get("reference"), a.get("prediction")]) + theirs.named([b.get("prediction")])
        reference, *answers = (shortened(str(value), _LONGEST_ANSWER) for value in said)
        cells = text_cells(reference=reference, **dict(zip(_SIDES, answers, strict=True)))
        table.rows.append(Row("", f"example {index}", cells))
    return table


def _where(pairs: Sequence[tuple[dict[str, Any], dict[str, Any]]], key: str) -> list[int]:
    return [index for index, (a, b) in enumerate(pairs) if a.get(key) != b.get(key)]
