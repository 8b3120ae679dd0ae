"""Tables of benches: Table 3, the paper's formulas for one layer beside what was counted there; the numbers of
Figure 2, what training costs; and what memory that is for, with the costs of what was trained.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from rocoft_bench import paper
from rocoft_bench.analysis.conditions import notes_by, origins, repeats, seeds
from rocoft_bench.analysis.groups import MODEL_KEY, Record, comparability_key, group_compatible, key_of, records_of
from rocoft_bench.analysis.naming import PAPER_MODEL, UNKNOWN, join_unique, table_key
from rocoft_bench.analysis.pivot import Reference, References, RowKey, in_columns, pivot, placed
from rocoft_bench.analysis.table import Column, Table, text_cells
from rocoft_bench.analysis.variants import bench_variants

if TYPE_CHECKING:
    import pandas as pd


class Measure(NamedTuple):
    """What benches measure, as a column. size: the column's unit in that of the records."""

    column: Column
    size: float = 1


LAYER_MEASURES = {
    "adapter": Measure(Column("trainable", "trainable, measured", ("",), unit="parameters", decimals=0)),
    "additional": Measure(Column("additional", "additional, measured", ("",), unit="parameters", decimals=0)),
    "flops_per_step": Measure(Column("mflop", "step, measured", ("",), unit="MFLOP", decimals=1), 1e6),
    "saved_bytes_per_step": Measure(
        Column("saved", "saved for backward, measured", ("",), unit="KiB", decimals=1), 2**10
    ),
}

FORMULAS = {
    "space": Column("space", "space"),
    "time": Column("time", "time"),
    "trainable": Column("trainable_formula", "trainable (TTPs)"),
    "additional": Column("additional_formula", "additional (APs)"),
}
"""By their names in the paper's table."""

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

LAYER_NOTES = (
    "the first four columns are the paper's, for a layer of d inputs and d outputs; beside each measured number stands "
    "what the paper's formula gives for the same sizes",
    "d: width; r: rank (AdaLoRA's at its start); l_p: virtual tokens; L: layers, one here; l_k, l_v, l_ff: dimensions "
    "of the vectors of IA3",
    "RoCoFT's trained values are kept apart from the frozen matrix and written into it for each pass, so that an "
    "adapter can be taken off again; the paper's formula is of values trained in the matrix itself",
)


COST = partial(Column, parts=("",), better="lower")

COSTS = {
    "seconds_per_step": Measure(COST("seconds_per_step", "step", unit="s", decimals=4)),
    "tokens_per_second": Measure(Column("tokens_per_second", "training", ("",), unit="tokens/s", decimals=0)),
    "seconds_per_epoch": Measure(COST("epoch_minutes", "epoch", unit="min", decimals=2), 60),
    "model_memory_mib": Measure(COST("model_memory_mib", "model", unit="MiB", decimals=0)),
    "optimization_memory_mib": Measure(COST("optimization_memory_mib", "optimization", unit="MiB", decimals=0)),
    "peak_memory_mib": Measure(COST("peak_memory_mib", "peak", unit="MiB", decimals=0)),
    "flops_per_step": Measure(COST("gflop_per_step", "step", unit="GFLOP", decimals=1), 1e9),
    "saved_bytes_per_step": Measure(COST("saved_mib_per_step", "saved for backward", unit="MiB", decimals=1), 2**20),
    "seconds_beside_frozen": Measure(COST("seconds_beside_frozen", "step", unit="× frozen", decimals=3)),
    "added_operations_per_layer": Measure(
        COST("added_operations_per_layer", "operations per layer", unit="beside frozen", decimals=1)
    ),
}

PARTS = {
    "gradients_mib": Measure(COST("gradients_mib", "gradients", unit="MiB", decimals=1)),
    "optimizer_state_mib": Measure(COST("optimizer_state_mib", "optimizer state", unit="MiB", decimals=1)),
    "mean_memory_mib": Measure(COST("mean_memory_mib", "mean of peaks", unit="MiB", decimals=0)),
    "memory_mib_99": Measure(COST("memory_mib_99", "99th percentile of peaks", unit="MiB", decimals=0)),
    "reserved_memory_mib": Measure(COST("reserved_memory_mib", "reserved", unit="MiB", decimals=0)),
    "adapter_bytes": Measure(COST("saved_adapter_mib", "saved adapter", unit="MiB", decimals=2), 2**20),
    "merge_seconds": Measure(COST("merge_seconds", "merging", unit="s", decimals=3)),
    "decode_seconds": Measure(COST("decode_seconds", "generating", unit="s", decimals=3)),
    "merged_decode_seconds": Measure(COST("merged_decode_seconds", "generating, merged", unit="s", decimals=3)),
}

FIGURE_NOTE = (
    "the paper prints no numbers for Figure 2 and does not name its model, batch or hardware; "
    'its text says "approximately 2.85GB" of RoCoFT'
)


def complexity_tables(table: pd.DataFrame) -> list[Table]:
    """Table 3 with what benches of single layers counted; nothing without such benches."""
    values = table[(table.source == "bench") & (table.model_kind == "layer")]
    benches = records_of(values)
    if not benches:
        return []
    layers = list(_layers(benches))
    rows = {key: own for key, own, _ in layers}
    printed = {key: formulas for key, _, formulas in layers if formulas}

    def reference(key: RowKey, column: Column, place: int) -> Reference | None:
        formula = getattr(printed.get(key), column.key, None)
        return Reference(formula_value(formula, _sizes(rows[key][0]))) if formula and rows[key] else None

    made = _table(
        rows,
        values,
        LAYER_MEASURES,
        reference,
        key="table3",
        title="space, time and parameters of one linear layer",
        number="3",
        conditions={"Model": "one linear layer", "Metric": "numbers of parameters", "Seeds": seeds(benches)},
        notes=[*LAYER_NOTES, *_notes(benches, rows)],
    )
    for row, (_, _, formulas) in zip(made.rows, layers, strict=True):
        if formulas:
            row.cells.update(text_cells(**{own.key: plain(getattr(formulas, name)) for name, own in FORMULAS.items()}))
    made.columns = [*FORMULAS.values(), *made.columns]
    return [made]


def cost_tables(table: pd.DataFrame) -> list[Table]:
    """Figure 2, for each model, task, shape of batch, precision and machine; and with it a table of `PARTS`."""
    values = table[(table.source == "bench") & (table.model_kind != "layer")]
    groups = group_compatible(records_of(values), lambda bench: (*key_of(bench, MODEL_KEY), *comparability_key(bench)))
    groups.sort(key=lambda own: (own[0].model != PAPER_MODEL, own[0].model, str(comparability_key(own[0]))))
    return [made for own in groups for made in _costs(own, values)]


def _has_values(table: Table) -> bool:
    return any(part.value is not None for _, _, cell in table.cells() for part in cell.parts)


def _costs(benches: Sequence[Record], values: pd.DataFrame) -> Iterator[Table]:
    first = benches[0]
    steps = join_unique(str(bench.measured_steps) for bench in benches)
    rows = {
        RowKey(first.model, label, variant): own
        for label in sorted({bench.label for bench in benches})
        for variant, own in bench_variants([bench for bench in benches if bench.label == label]).items()
    }
    conditions = {
        "Data": f"examples of {first.task}" if first.task else "made-up examples",
        "Batch": f"{first.batch_size} examples of {first.sequence_length} tokens, {first.precision}",
        "Metric": f"medians of {steps} training steps, without loading and evaluation; "
        f"memory: {first.peak_memory_kind or UNKNOWN}",
    }
    of = [first.model, first.task]
    yield _table(
        rows,
        values,
        COSTS,
        key=table_key("figure2", first.model),
        title=join_unique(["time and memory of training", *of]),
        number="Figure 2",
        conditions=origins(benches, conditions),
        notes=[FIGURE_NOTE, *_notes(benches, rows)],
    )
    metric = "bytes by part; seconds of one merge, and of the fastest of three times that tokens were generated"
    parts = _table(
        rows,
        values,
        PARTS,
        key=table_key("parts", first.model),
        title=join_unique(["memory of training by part, and costs of what was trained", *of]),
        conditions=origins(benches, {**conditions, "Metric": metric}),
        notes=_notes(benches, rows),
    )
    if _has_values(parts):
        yield parts


def _table(
    rows: Mapping[RowKey, Sequence[Record]],
    values: pd.DataFrame,
    measures: Mapping[str, Measure],
    references: References = lambda key, column, place: None,
    **fields: Any,
) -> Table:
    """fields: of the table, beside its columns and rows."""
    places = [(bench, key) for key, own in rows.items() for bench in own]
    columns = [measure.column for measure in measures.values()]
    found = in_columns(placed(values, places), {("bench", name): own.column.key for name, own in measures.items()})
    found = found.assign(value=found.value / [measures[name].size for name in found.metric])
    shown = pivot(found, rows, columns, references, reference_title=lambda model: "the paper's formula")
    return Table(columns=columns, rows=shown, **fields)


def _notes(benches: Sequence[Record], rows: Mapping[RowKey, Sequence[Record]]) -> list[str]:
    left_out = len(benches) - sum(map(len, rows.values()))
    return [*notes_by(benches, lambda bench: bench.label), *repeats(left_out, "benches")]


def _layers(benches: Sequence[Record]) -> Iterator[tuple[RowKey, list[Record], paper.Complexity | None]]:
    """A row, its benches and the paper's formulas for each method and size that was measured, in the paper's order,
    then of others; where none was, the paper's formulas alone.
    """
    by_title: dict[str, dict[str, list[Record]]] = {}
    for bench in benches:
        title = PRINTED_TITLES.get(" ".join(filter(None, [bench.method, bench.mode])), bench.label)
        by_title.setdefault(title, {}).setdefault(_sizes_text(bench), []).append(bench)
    printed = {formulas.method: formulas for formulas in paper.complexity()}
    for title in dict.fromkeys((*printed, *by_title)):
        # "RoCoFT _{Row}" without LaTeX is RoCoFT-Row
        plain_title = re.sub(r" _\{(\w+)\}", r"-\1", title).replace(" ³", "³") if title in printed else title
        key = RowKey("one layer", plain_title)
        for size, own in by_title.get(title, {}).items():
            for variant, same in bench_variants(own).items():
                yield key._replace(variant=join_unique([size, variant])), same, printed.get(title)
        if title not in by_title:
            yield key, [], printed[title]


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


def formula_value(formula: str, sizes: Mapping[str, int]) -> int | None:
    """What a printed count of parameters, a sum of products, is for some sizes; None if it speaks of one that is not
    among them.
    """

    def factor(text: str) -> int:
        return int(text) if text.isdecimal() else sizes[text[0]] ** (2 if text.endswith("²") else 1)

    terms = plain(formula).replace("l_p", "l").split(" + ")
    try:
        return sum(math.prod(map(factor, re.findall(r"\d+|[a-zA-Z]²?", term))) for term in terms)
    except KeyError:
        return None


def plain(formula: str) -> str:
    """A formula of Table 3 without LaTeX, e.g. O(d × r)."""
    text = formula.strip("$").replace(r" \times ", " × ").replace(r" \cdot ", " · ").replace("^2", "²")
    return re.sub(r"_\{(\w+)\}", r"_\1", text)
