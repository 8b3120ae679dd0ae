"""The paper's trainable-parameter figures against counts by formula."""

from collections import Counter
from itertools import pairwise

from rocoft_bench import paper
from rocoft_bench.analysis.table import Cell, Column, Row, Stat, Table, text_cells
from rocoft_bench.audit.parameters import AuditRow, explanation, parameter_audit, shapes_of

_COLUMNS = [
    Column("table", "table"),
    Column("printed", "printed"),
    Column("adapter", "adapter", ("",), unit="parameters", decimals=0),
    Column("head", "head", ("",), unit="parameters", decimals=0),
    Column("verdict", "verdict"),
    Column("arithmetic", "arithmetic"),
]


def parameter_counts() -> Table:
    """Figures of Tables 1, 2, 6 and 7 that the settings here do not give, and all of RoCoFT's."""
    title = "trainable parameters: figures that the counts here do not give, and RoCoFT's"
    rows = [row for row in parameter_audit() if row.figure is not None and row.figure.table != 8]
    shown = [row for row in rows if not row.agrees or row.method.name == "rocoft"]
    agreeing = [row for row in rows if row.agrees]
    with_head = [row for row in agreeing if row.counted > row.adapter]
    notes = [
        f"{len(agreeing)} of {len(rows)} figures are given by the settings here, {len(with_head)} of them only if the "
        "task head is counted: "
        + ", ".join(sorted({f"{row.figure.method}" for row in with_head if row.figure}))
        + ". RoCoFT's leave the head out.",
        "A figure agrees where a count, rounded or cut off at the printed decimals, is the figure. Where none does, "
        "every choice of the blocks' linear layers with every size was searched for one that does; the paper does not "
        "state the baselines' settings, so no figure of theirs need be wrong.",
        f"Table 7 does not print RoCoFT's rank; {paper.TABLE_7_RANK} is that of Table 10 and Appendix A.",
    ]
    return Table("audit-parameters", title, _COLUMNS, list(map(_row, shown)), notes=notes)


def rank_counts() -> Table:
    """Table 8's figures: r times a number that does not depend on r."""
    rows = [row for row in parameter_audit("roberta-base") if row.figure is not None and row.figure.table == 8]
    title = "Table 8: trainable parameters by rank, on query, key and value alone"
    columns = [column for column in _COLUMNS if column.key not in ("table", "head")]
    attention = ["query", "key", "value"]
    without, with_output = (inputs_of_base(targets) for targets in (attention, [*attention, "attention_output"]))
    note = (
        f'Appendix B.1 says "attention block"; the counts are those of query, key and value ({without:,} per rank), '
        f"without the attention's output layer ({with_output:,} with it)."
    )
    return Table("audit-ranks", title, columns, list(map(_row, rows)), notes=[*_memory_notes(), note])


def inputs_of_base(targets: list[str] | None) -> int:
    """Parameters of one row of each of RoBERTa-base's layers, or of some."""
    return sum(linear.d_in for linear in shapes_of("roberta-base").targeted(targets))


def _row(row: AuditRow) -> Row:
    assert row.figure is not None
    cells = text_cells(
        table=f"Table {row.figure.table}",
        printed=row.figure.printed,
        verdict=explanation(row) if row.agrees else f"disagrees; {explanation(row)}",
        arithmetic=_arithmetic(row),
    )
    counts = {"adapter": Cell((Stat(row.adapter),)), "head": Cell((Stat(row.head),))}
    return Row(row.model, row.figure.method, cells | counts)


def _arithmetic(row: AuditRow) -> str:
    """RoCoFT's and LoRA's count from the sizes of the layers; for another method the count alone."""
    assert row.figure is not None
    settings = row.method.settings
    linears = shapes_of(row.model).targeted(getattr(settings, "target_modules", None))
    if row.method.name == "rocoft":
        by_rows = settings.mode == "row"
        sizes, name = [linear.d_in if by_rows else linear.d_out for linear in linears], "d_in" if by_rows else "d_out"
    elif row.method.name == "lora":
        sizes, name = [linear.d_in + linear.d_out for linear in linears], "(d_in + d_out)"
    else:
        return f"{row.adapter:,}" + (f"; with the head {row.adapter + row.head:,}" if row.head else "")
    rank = settings.rank
    terms = " + ".join(f"{number} × {size:,}" for size, number in Counter(sizes).items())
    per_rank = f"r × sum of {name} = {rank} × ({terms}) = {rank} × {sum(sizes):,} = {rank * sum(sizes):,}"
    if row.agrees:
        return per_rank
    return f"{per_rank}; printed / {sum(sizes):,} = {float(row.figure.millions) * 1e6 / sum(sizes):.3f} ranks"


def _memory_notes() -> list[str]:
    """Ranks at which RoCoFT is said to need less memory than at a smaller one."""
    notes = []
    for method in ("RoCoFT-Row", "RoCoFT-Column"):
        rows = [row for row in paper.rank_efficiency() if row.method == method]
        falls = [(a, b) for a, b in pairwise(rows) if b.memory_mb < a.memory_mb]
        notes += [
            f"{method}'s memory falls from {a.memory_mb:,} MB at r = {a.rank} to {b.memory_mb:,} MB at r = {b.rank}, "
            "though more parameters are trained; the paper gives no reason."
            for a, b in falls
        ]
    return notes
