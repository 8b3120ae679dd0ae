"""The parameter audit: what each method trains on each model of the paper, beside the paper's figure.

Ours is counted by the methods' formulas on the paper's architectures, without weights. Where the settings here do not
give the paper's figure, all choices of the blocks' linear layers with every rank are searched for one that does.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Any

from rocoft_bench import methods, models, paper
from rocoft_bench.analysis.table import Cell, Column, Row, Stat, Table, text_cells
from rocoft_bench.errors import UserError, suggest
from rocoft_bench.methods import Method
from rocoft_bench.models import ModelShapes

TASK_KINDS = {
    "roberta-base": "sequence_classification",
    "roberta-large": "sequence_classification",
    "deberta-v3-base": "question_answering",
    "bart-large": "seq2seq_lm",
    "bloomz-7b": "causal_lm",
    "gpt-j-6b": "causal_lm",
    "llama-2-7b": "causal_lm",
    "llama-2-13b": "causal_lm",
}
"""What the paper uses each of its models for."""


@dataclass(frozen=True)
class PrintedCount:
    """A trainable-parameter figure of the paper: `millions` as printed. Table 8's rows have a rank of their own."""

    table: int
    model: str
    method: str
    millions: str
    section: dict[str, Any]

    @property
    def printed(self) -> str:
        return f"{self.millions}M"


@dataclass(frozen=True)
class AuditRow:
    """One method on one model. Counts are of parameters; `figure` is None where the paper has none."""

    model: str
    method: Method
    adapter: int
    head: int
    total: int
    figure: PrintedCount | None

    @property
    def counted(self) -> int:
        """What comes nearest to the paper's figure: the adapter alone, or with the head."""
        if self.figure is None:
            return self.adapter
        printed = float(self.figure.millions) * 1e6
        return min(self.adapter, self.adapter + self.head, key=lambda count: abs(count - printed))

    @property
    def agrees(self) -> bool:
        return self.figure is not None and paper.is_printed_as(self.counted, self.figure.printed)


def figures() -> list[PrintedCount]:
    """All trainable-parameter figures of Tables 1, 2, 6, 7 and 8, each once."""
    printed = [(r.table, r.model, r.method, r.trainable_millions) for r in paper.results() if r.table <= 7]
    found = [PrintedCount(*row, section_of(row[2])) for row in dict.fromkeys(printed)]
    for row in paper.rank_efficiency():
        section = {**section_of(row.method), "rank": row.rank, "target_modules": ["query", "key", "value"]}
        found.append(PrintedCount(8, "roberta-base", f"{row.method}, rank {row.rank}", row.trainable_millions, section))
    return found


def section_of(label: str) -> dict[str, Any]:
    """The `method` section that a row title of the paper's tables stands for.

    Raises: KeyError if no method has that title.
    """
    if label.startswith("RoCoFT"):
        *rank, mode = label.split("-")[1:]
        return {"name": "rocoft", "mode": mode.lower(), "rank": int(rank[0]) if rank else paper.TABLE_7_RANK}
    return {"name": {method.label: name for name, method in methods.METHODS.items() if name != "rocoft"}[label]}


def parameter_audit(model: str | None = None, method: str | None = None) -> list[AuditRow]:
    """Rows for every figure of the paper; for one model every method there is, for one method every model.

    Raises: UserError if there is no such model in the paper, or no such method.
    """
    if model is not None and model not in TASK_KINDS:
        raise UserError(f"--model {model}: not a model of the paper; {suggest(model, TASK_KINDS)}")
    if method is not None and method not in methods.METHODS:
        raise UserError(f"--method {method}: unknown; {suggest(method, methods.METHODS)}")
    found = [f for f in figures() if model in (None, f.model) and method in (None, f.section["name"])]
    rows = [_row(figure.model, figure.section, figure) for figure in found]
    if model is None and method is None:
        return rows
    covered = {(row.model, row.method.name) for row in rows}
    wanted_models = [model] if model else list(TASK_KINDS)
    wanted_methods = [method] if method else list(methods.METHODS)
    pairs = [(m, n) for m in wanted_models for n in wanted_methods if (m, n) not in covered and _serves(n, m)]
    return rows + [_row(name, {"name": other}, None) for name, other in pairs]


def _serves(method: str, model: str) -> bool:
    kind = TASK_KINDS[model]
    try:
        methods.resolve({"name": method}, task_kind=kind, model=model).check_supports(kind, models.model_type_of(model))
    except UserError:
        return False
    return True


def _row(model: str, section: dict[str, Any], figure: PrintedCount | None) -> AuditRow:
    method = methods.resolve(section, task_kind=TASK_KINDS[model], model=model)
    shapes = shapes_of(model)
    head, total = method.head_parameters(shapes), shapes.total + shapes.head
    return AuditRow(model, method, method.reported_parameters(shapes), head, total, figure)


def shapes_of(model: str) -> ModelShapes:
    """Of a model of the paper, for what the paper uses it for."""
    shapes = models.shipped_shapes(model, TASK_KINDS[model])
    assert shapes is not None, f"{model}: every model of the paper ships its shapes"
    return shapes


SIZES = ("init_rank", "rank", "num_virtual_tokens", "bottleneck")
"""Settings that say how large a method's part is; counts are polynomials of at most second degree in them."""

LARGEST_SIZE = 1024


def explanation(row: AuditRow) -> str:
    """How the paper's figure and ours are related, in a few words."""
    if row.figure is None:
        return ""
    if row.agrees:
        return "with head" if row.counted > row.adapter else "without head"
    for meaning, count in row.method.other_counts(shapes_of(row.model)).items():
        for head, words in ((0, "without head"), (row.head, "with head")):
            if paper.is_printed_as(count + head, row.figure.printed):
                return f"given by {meaning}, {words}: {count + head:,}"
    settings = row.method.settings
    size = next((name for name in SIZES if getattr(settings, name, None) is not None), None)
    has_targets = "target_modules" in type(settings).model_fields
    found = next(_settings_that_give(row.figure, row, size, has_targets), None)
    if found is not None:
        return f"given by {found}"
    varied = [f"no {size}"] if size else []
    varied += ["no choice of linear layers"] if has_targets else []
    return f"{' and '.join(varied)} gives it" if varied else "no setting gives it"


def _settings_that_give(figure: PrintedCount, row: AuditRow, size: str | None, has_targets: bool) -> Iterator[str]:
    """Settings whose count, with or without the head, is the printed figure; few and small ones first."""
    parts = _parts(row, size, has_targets)
    for number in range(1, len(parts) + 1):
        for chosen in combinations(parts, number):
            polynomial = [sum(column) for column in zip(*(parts[name] for name in chosen), strict=True)]
            for value, head in _sizes_that_give(figure.millions, polynomial, row.head, size is not None):
                changes = ({size: value} if size else {}) | ({"target_modules": list(chosen)} if has_targets else {})
                if not paper.is_printed_as(_count(row, changes) + row.head * head, figure.printed):
                    continue  # a size that a matrix clips, or parts that do not just add up
                sized = f"{size} {value}" if size else ""
                layers = f"on {', '.join(chosen)}" if has_targets else ""
                yield " ".join(filter(None, [sized, layers, "with head" if head else "without head"]))


def _parts(row: AuditRow, size: str | None, has_targets: bool) -> dict[str, list[int]]:
    """Coefficients (c0, c1, c2) of the count as a polynomial in the size, for each part that can be chosen alone."""
    shapes = shapes_of(row.model)
    layout = models.LINEAR_ROLES[shapes.model_type]
    by_layers = {getattr(layout, role): role for role in reversed(models.ROLES) if getattr(layout, role)}
    names: Iterable[str] = by_layers.values() if has_targets else ["all"]
    parts = {}
    for name in reversed(list(names)):
        chosen = {"target_modules": [name]} if has_targets else {}
        at_1, at_2, at_3 = (_count(row, chosen | ({size: value} if size else {})) for value in (1, 2, 3))
        second = (at_3 - 2 * at_2 + at_1) // 2
        first = at_2 - at_1 - 3 * second
        parts[name] = [at_1 - first - second, first, second]
    return parts


def _count(row: AuditRow, changes: dict[str, Any]) -> int:
    settings = row.method.settings.model_copy(update=changes)
    return type(row.method)(settings).adapter_parameters(shapes_of(row.model))


def _sizes_that_give(millions: str, polynomial: list[int], head: int, sized: bool) -> Iterator[tuple[int, bool]]:
    for value in range(1, LARGEST_SIZE + 1 if sized else 2):
        count = polynomial[0] + polynomial[1] * value + polynomial[2] * value * value
        for with_head in (False, True) if head else (False,):
            if paper.is_printed_as(count + head * with_head, f"{millions}M"):
                yield value, with_head
        if count > float(millions) * 1e6 * 1.01:
            return


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
    return Table("audit-parameters", title, _COLUMNS, list(map(_shown, shown)), notes=notes)


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
    return Table("audit-ranks", title, columns, list(map(_shown, rows)), notes=[*_memory_notes(), note])


def inputs_of_base(targets: list[str] | None) -> int:
    """Parameters of one row of each of RoBERTa-base's layers, or of some."""
    return sum(linear.d_in for linear in shapes_of("roberta-base").targeted(targets))


def _shown(row: AuditRow) -> Row:
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
