"""Table 3: the paper's formulas for one layer, and whether what was measured agrees with them."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from rocoft_bench import paper
from rocoft_bench.analysis.conditions import notes_by, repeats, seeds
from rocoft_bench.analysis.groups import Record, records_of
from rocoft_bench.analysis.naming import join_unique
from rocoft_bench.analysis.pivot import Reference, RowKey, in_columns, pivot, placed
from rocoft_bench.analysis.table import Cell, Column, Row, Table
from rocoft_bench.analysis.variants import bench_variants

if TYPE_CHECKING:
    import pandas as pd

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

COLUMNS = [
    Column("space", "space"),
    Column("time", "time"),
    Column("trainable_formula", "trainable (TTPs)"),
    Column("additional_formula", "additional (APs)"),
    Column("trainable", "trainable, measured", ("",), unit="parameters", decimals=0),
    Column("additional", "additional, measured", ("",), unit="parameters", decimals=0),
    Column("mflop", "step, measured", ("",), unit="MFLOP", decimals=1),
    Column("saved", "saved for backward, measured", ("",), unit="KiB", decimals=1),
]

NOTES = [
    "the first four columns are the paper's, for a layer of d inputs and d outputs; beside each measured number stands "
    "what the paper's formula gives for the same sizes",
    "d: width; r: rank (AdaLoRA's at its start); l_p: virtual tokens; L: layers, one here; l_k, l_v, l_ff: dimensions "
    "of the vectors of IA3",
    "RoCoFT's trained values are kept apart from the frozen matrix and written into it for each pass, so that an "
    "adapter can be taken off again; the paper's formula is of values trained in the matrix itself",
]

LAYER = "one layer"

MEASURED = {
    "trainable": ("adapter", 1),
    "additional": ("additional", 1),
    "mflop": ("flops_per_step", 1e6),
    "saved": ("saved_bytes_per_step", 2**10),
}
"""What benches measure, by column, and the column's unit in that of the records."""


def complexity_tables(table: pd.DataFrame) -> list[Table]:
    """Table 3 with what benches of single layers counted; nothing without such benches."""
    values = table[(table.source == "bench") & (table.model_kind == "layer")]
    benches = records_of(values)
    if not benches:
        return []
    rows = list(_rows_of(benches))
    places = [(bench, key) for key, own, _ in rows for bench in own]
    return [
        Table(
            key="table3",
            title="space, time and parameters of one linear layer",
            columns=COLUMNS,
            rows=[
                replace(row, cells={**row.cells, **(_formulas(printed) if printed else {})})
                for row, (_, _, printed) in zip(_measured(rows, placed(values, places)), rows, strict=True)
            ],
            number="3",
            conditions={"Model": "one linear layer", "Metric": "numbers of parameters", "Seeds": seeds(benches)},
            notes=[
                *NOTES,
                *notes_by(benches, lambda bench: bench.label),
                *repeats(len(benches) - len(places), "benches"),
            ],
        )
    ]


LayerRow = tuple[RowKey, list[Record], paper.Complexity | None]
"""A row with its benches, and the paper's formulas."""


def _measured(rows: Sequence[LayerRow], values: pd.DataFrame) -> list[Row]:
    """What was counted, beside what the paper's formula gives for the same sizes."""
    printed = {key: (formulas, _sizes(benches[0])) for key, benches, formulas in rows if benches and formulas}

    def reference(key: RowKey, column: Column, place: int) -> Reference | None:
        if key not in printed or not hasattr(printed[key][0], column.key):
            return None
        formulas, sizes = printed[key]
        return Reference(formula_value(getattr(formulas, column.key), sizes))

    own = in_columns(values, {("bench", metric): column for column, (metric, _) in MEASURED.items()})
    own = own.assign(value=own.value / [dict(MEASURED.values())[metric] for metric in own.metric])
    return pivot(
        own,
        [key for key, _, _ in rows],
        COLUMNS,
        reference,
        reference_title=lambda model: "the paper's formula",
    )


def _rows_of(benches: Sequence[Record]) -> Iterator[LayerRow]:
    """A row for each method and size that was measured, in the paper's order, then of others; where none was, the
    paper's formulas alone.
    """
    by_title: dict[str, dict[str, list[Record]]] = {}
    for bench in benches:
        by_title.setdefault(_printed_title(bench), {}).setdefault(_sizes_text(bench), []).append(bench)
    printed = {formulas.method: formulas for formulas in paper.complexity()}
    for title in dict.fromkeys((*printed, *by_title)):
        key = RowKey(LAYER, plain_title(title) if title in printed else title)
        for size, own in by_title.get(title, {}).items():
            for variant, same in bench_variants(own).items():
                yield key._replace(variant=join_unique([size, variant])), same, printed.get(title)
        if title not in by_title:
            yield key, [], printed[title]


def _printed_title(bench: Record) -> str:
    """The paper's row for a method, as printed; for others their own title."""
    return PRINTED_TITLES.get(" ".join(filter(None, [bench.method, bench.mode])), bench.label)


def _sizes(bench: Record) -> dict[str, int]:
    """The sizes that the formulas speak of. A layer that is not square has no d."""
    settings = json.loads(bench.settings)["method"]
    known = {
        "d": bench.layer_inputs if bench.layer_inputs == bench.layer_outputs else None,
        "r": settings.get("init_rank") or settings.get("rank"),
        "l": settings.get("num_virtual_tokens"),
        "L": 1,
    }
    return {symbol: size for symbol, size in known.items() if size is not None}


def _sizes_text(bench: Record) -> str:
    """E.g. "d = 768, r = 8"; both dimensions of a layer that is not square."""
    sizes = _sizes(bench)
    width = f"d = {sizes['d']}" if "d" in sizes else f"{bench.layer_inputs} → {bench.layer_outputs}"
    others = [f"{name} = {sizes[symbol]}" for symbol, name in (("r", "r"), ("l", "l_p")) if symbol in sizes]
    return ", ".join([width, *others])


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


def plain(formula: str) -> str:
    """A formula of Table 3 without LaTeX, e.g. O(d × r)."""
    text = formula.strip("$").replace(r" \times ", " × ").replace(r" \cdot ", " · ").replace("^2", "²")
    return re.sub(r"_\{(\w+)\}", r"_\1", text)


def plain_title(title: str) -> str:
    """A row title of Table 3 without LaTeX, e.g. RoCoFT-Row."""
    return re.sub(r" _\{(\w+)\}", r"-\1", title).replace(" ³", "³")
