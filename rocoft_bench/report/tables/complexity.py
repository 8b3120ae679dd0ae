"""Table 3: the paper's formulas for one layer, and whether what was measured agrees with them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

from rocoft_bench import paper
from rocoft_bench.analysis.groups import latest, repeats, said, seeds
from rocoft_bench.analysis.table import Cell, Column, Row, Table
from rocoft_bench.report.tables.benches import Bench, bench_cell, parameters, variants_of
from rocoft_bench.runs import EfficiencyRecord

PRINTED_TITLES = {
    "full": "FT",
    "ia3": "(IA) ³",
    "prompt-tuning": "Prompt",
    "prefix-tuning": "Prefix",
    "lora": "LoRA",
    "lora-fa": "LoRA-FA",
    "adalora": "AdaLoRA",
    "loha": "LoHA",
    "bitfit": "BitFit",
    "rocoft row": "RoCoFT _{Row}",
    "rocoft column": "RoCoFT _{Column}",
}
"""The row of Table 3 that each method (with its mode, if it has one) stands in."""

TERMS: dict[str, tuple[tuple[int, str], ...]] = {
    "0": (),
    "d": ((1, "d"),),
    "d²": ((1, "dd"),),
    "3d": ((3, "d"),),
    "dr": ((1, "dr"),),
    "rd": ((1, "rd"),),
    "2dr": ((2, "dr"),),
    "2dr + r²": ((2, "dr"), (1, "rr")),
    "4dr": ((4, "dr"),),
    "l_p · d": ((1, "ld"),),
    "L · l_p · d": ((1, "Lld"),),
}
"""The paper's counts of parameters as sums of products: factors and the sizes they multiply."""

COUNTS = ("trainable", "additional")

COLUMNS = [
    Column("space", "space"),
    Column("time", "time"),
    Column("trainable_formula", "trainable (TTPs)"),
    Column("additional_formula", "additional (APs)"),
    Column("trainable", "trainable, measured", ("",), unit="parameters", decimals=0),
    Column("additional", "additional, measured", ("",), unit="parameters", decimals=0),
]

NOTES = [
    "the first four columns are the paper's, for a layer of d inputs and d outputs; beside each measured number stands "
    "what the paper's formula gives for the same sizes",
    "d: width; r: rank (AdaLoRA's at its start); l_p: virtual tokens; L: layers, one here; l_k, l_v, l_ff: dimensions "
    "of the vectors of IA3",
]


def is_of_a_layer(record: EfficiencyRecord) -> bool:
    return record.model.get("kind") == "layer"


def complexity_tables(benches: Sequence[Bench]) -> list[Table]:
    """Table 3 with what benches of single layers counted; nothing without such benches."""
    if not benches:
        return []
    table = Table("table3", "space, time and parameters of one linear layer", COLUMNS, number="3")
    by_row: dict[str, list[Bench]] = {}
    for bench in benches:
        by_row.setdefault(_printed_title(bench.record), []).append(bench)
    shown = 0
    for printed in (*paper.complexity(), None):
        own = by_row.pop(printed.method, []) if printed else [b for others in by_row.values() for b in others]
        rows = _rows(printed, own)
        shown += sum(len(row.cell(COLUMNS[-1]).runs) for row in rows)
        table.rows += rows
    notes = said((bench.record.label, note) for bench in benches for note in bench.record.notes)
    table.conditions = {"Model": "one linear layer", "Metric": "numbers of parameters", "Seeds": seeds(benches)}
    table.notes = [*NOTES, *sorted(notes), *repeats(len(benches) - shown, "benches")]
    return [table]


def _printed_title(record: EfficiencyRecord) -> str:
    """The paper's row for a method, as printed; for others their own title."""
    method = " ".join(filter(None, [record.method.get("name"), record.method.get("mode")]))
    return PRINTED_TITLES.get(method, record.label)


def _rows(printed: paper.Complexity | None, benches: Sequence[Bench]) -> list[Row]:
    """A row for each method and size that was measured; where none was, the paper's formulas alone."""
    formulas = _formulas(printed) if printed else {}
    groups: dict[tuple[str, str], list[Bench]] = {}
    for bench in benches:
        title = plain_title(printed.method) if printed else bench.record.label
        groups.setdefault((title, _sizes_text(bench.record)), []).append(bench)
    if printed and not groups:
        return [Row(LAYER, plain_title(printed.method), formulas)]
    rows = []
    for (title, size), own in groups.items():
        for variant, same in variants_of(own):
            named = ", ".join(filter(None, [size, variant]))
            rows.append(_row(title, named, printed, formulas, latest(same)))
    return rows


LAYER = "one layer"


def _row(
    title: str, variant: str, printed: paper.Complexity | None, formulas: Mapping[str, Cell], benches: Sequence[Bench]
) -> Row:
    sizes = _sizes(benches[0].record)
    cells = dict(formulas)
    for name, counted in zip(COUNTS, ("adapter", "additional"), strict=True):
        expected = formula_value(getattr(printed, name), sizes) if printed else None
        cells[name] = bench_cell(benches, parameters(counted), expected, comparable=True)
    has_reference = any(cells[name].parts[0].reference is not None for name in COUNTS)
    return Row(LAYER, title, cells, variant, "the paper's formula" if has_reference else "")


def _formulas(printed: paper.Complexity) -> dict[str, Cell]:
    texts = {
        "space": printed.space,
        "time": printed.time,
        "trainable_formula": printed.trainable,
        "additional_formula": printed.additional,
    }
    return {key: Cell(text=plain(text)) for key, text in texts.items()}


def formula_value(formula: str, sizes: Mapping[str, int]) -> int | None:
    """What a printed count of parameters is for some sizes; None if it speaks of one that is not among them."""
    terms = TERMS[plain(formula)]
    if any(symbol not in sizes for _, symbols in terms for symbol in symbols):
        return None
    return sum(factor * math.prod(sizes[symbol] for symbol in symbols) for factor, symbols in terms)


def _sizes(record: EfficiencyRecord) -> dict[str, int]:
    """The sizes that the formulas speak of. A layer that is not square has no d."""
    d_in, d_out = record.model.get("d_in"), record.model.get("d_out")
    method = record.method
    known = {
        "d": d_in if d_in == d_out else None,
        "r": method.get("init_rank") or method.get("rank"),
        "l": method.get("num_virtual_tokens"),
        "L": 1,
    }
    return {symbol: size for symbol, size in known.items() if size is not None}


def _sizes_text(record: EfficiencyRecord) -> str:
    """E.g. "d = 768, r = 8"; both dimensions of a layer that is not square."""
    sizes = _sizes(record)
    width = f"d = {sizes['d']}" if "d" in sizes else f"{record.model.get('d_in')} → {record.model.get('d_out')}"
    others = [f"{name} = {sizes[symbol]}" for symbol, name in (("r", "r"), ("l", "l_p")) if symbol in sizes]
    return ", ".join([width, *others])


def plain(formula: str) -> str:
    """A formula of Table 3 without LaTeX, e.g. O(d × r)."""
    text = formula.strip("$").replace(r" \times ", " × ").replace(r" \cdot ", " · ").replace("^2", "²")
    return re.sub(r"_\{(\w+)\}", r"_\1", text)


def plain_title(title: str) -> str:
    """A row title of Table 3 without LaTeX, e.g. RoCoFT-Row."""
    return re.sub(r" _\{(\w+)\}", r"-\1", title).replace(" ³", "³")
