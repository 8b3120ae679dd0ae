"""Tables 4, 5 and 13: how well regression with each kernel does, and how far each is from the kernel of all weights."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import NamedTuple, get_args

from rocoft_bench import paper
from rocoft_bench.analysis.conditions import SOURCES
from rocoft_bench.analysis.groups import (
    PAPER_MODEL,
    alike,
    differing,
    latest,
    listed,
    machines,
    model_facts,
    model_name,
    model_text,
    reference_title,
    repeats,
    said,
    seeds,
    stand_in_notes,
    table_key,
    with_unique_keys,
)
from rocoft_bench.analysis.records import Results, Stored
from rocoft_bench.analysis.table import Cell, Column, Row, Table
from rocoft_bench.report.tables.cells import part
from rocoft_bench.runs import Kernel, KernelName, KernelRecord

Analysis = Stored[KernelRecord]

TITLES: dict[KernelName, str] = {
    "full_ft": "Full FT",
    "K_full": "K_θ",
    "K_row": "K_row",
    "K_column": "K_col",
    "K_lora": "K_LoRA",
    "K_entries": "K_entries",
    "K_biases": "K_biases",
    "K_norms": "K_norms",
    "K_ia3": "K_IA3",
    "K_head": "K_head",
    "K_trained": "K_trained",
}
KERNELS: tuple[KernelName, ...] = get_args(KernelName)

DIFFERENCE_TABLES = {16: "5", 64: "13"}
"""The paper's tables of relative differences, by shots."""

KERNEL_NOTE = (
    "K_θ is of the gradients of all parameters, K_row and K_col of one row or column of each matrix, "
    "K_LoRA of LoRA's parameters at their start"
)
METRIC_NOTE = (
    "the paper does not name the metric; the code of Malladi et al. (2023), which it follows, scores MRPC and QQP by "
    "accuracy or by F1; the references are taken for accuracies"
)
DEVIATION_NOTE = "ours are sample standard deviations; the paper does not say of which kind its own are"


ALIGNMENT = "alignment"


class Quantity(NamedTuple):
    """What a row shows of one kernel: its accuracy, or the relative difference in the p-norm, or its alignment."""

    kernel: KernelName
    p: int | str | None = None


@dataclass(frozen=True)
class Setup:
    """Analyses that may stand in one row, by task: same shots and settings."""

    shots: int
    variant: str
    by_task: dict[str, list[Analysis]]

    @property
    def analyses(self) -> list[Analysis]:
        return [analysis for own in self.by_task.values() for analysis in own]


def kernel_tables(results: Results) -> list[Table]:
    """Tables 4, 5 and 13 for each model; other shots than the paper's have tables of differences of their own."""
    by_model = alike(results.kernels, lambda analysis: model_facts(analysis.record.model))
    by_model.sort(key=lambda own: (_model(own) != PAPER_MODEL, _model(own)))
    return with_unique_keys(table for own in by_model for table in _tables(own))


def _model(analyses: Sequence[Analysis]) -> str:
    return model_name(analyses[0].record.model)


def _tables(analyses: Sequence[Analysis]) -> list[Table]:
    setups = _setups(analyses)
    left_out = len(analyses) - sum(len(setup.analyses) for setup in setups)
    model = _model(analyses)
    tables = [_accuracies(model, setups)]
    for shots in dict.fromkeys(setup.shots for setup in setups if setup.by_task):
        own = [setup for setup in setups if setup.shots == shots]
        tables.append(_differences(model, shots, own))
        if any(_is_measured(setup, Quantity(kernel, ALIGNMENT)) for setup in own for kernel in KERNELS):
            tables.append(_alignments(model, shots, own))
    for table in tables:
        table.notes = [*stand_in_notes(model), *table.notes, *repeats(left_out, "analyses")]
    return tables


def _accuracies(model: str, setups: Sequence[Setup]) -> Table:
    columns = [_accuracy_column(task, setups) for task in _tasks(model, setups, (4,))]
    table = Table(table_key("table4", model), f"few-shot accuracy of kernel regression, {model}", columns, number="4")
    table.rows = [
        row for setup in setups for row in _rows(model, setup, columns, [Quantity(kernel) for kernel in KERNELS])
    ]
    table.conditions = _conditions(setups, "accuracy (F1 where it says so) on the test rows; in percent")
    table.notes = [KERNEL_NOTE, METRIC_NOTE, DEVIATION_NOTE, *_own_notes(setups)]
    return table


def _differences(model: str, shots: int, setups: Sequence[Setup]) -> Table:
    number = DIFFERENCE_TABLES.get(shots)
    tasks = _tasks(model, setups, (int(number),) if number else ())
    columns = [Column(task, _title(task), ("",), task=task, decimals=3, better="lower") for task in tasks]
    key = f"table{number}" if number else f"kernel-differences-{shots}-shot"
    title = f"relative differences of kernels, {shots}-shot, {model}"
    table = Table(table_key(key, model), title, columns, number=number)
    quantities = [Quantity(kernel, p) for kernel in KERNELS for p in (1, 2)]
    table.rows = [row for setup in setups for row in _rows(model, setup, columns, quantities)]
    table.conditions = _conditions(
        setups, "‖K/‖K‖_p − K_θ/‖K_θ‖_p‖_p of the flattened training kernels; lower is nearer"
    )
    table.notes = [KERNEL_NOTE, DEVIATION_NOTE, *_own_notes(setups)]
    return table


def _alignments(model: str, shots: int, setups: Sequence[Setup]) -> Table:
    columns = [
        Column(task, _title(task), ("",), task=task, decimals=3, better="higher") for task in _tasks(model, setups, ())
    ]
    title = f"centred alignment of kernels with K_θ, {shots}-shot, {model}"
    table = Table(table_key(f"kernel-alignment-{shots}-shot", model), title, columns)
    quantities = [Quantity(kernel, ALIGNMENT) for kernel in KERNELS]
    table.rows = [row for setup in setups for row in _rows(model, setup, columns, quantities)]
    table.conditions = _conditions(
        setups,
        "⟨HKH, HK_θH⟩ / ‖HKH‖‖HK_θH‖ of the training kernels, H = I − 11ᵀ/n (Cortes et al. 2012); 1 is the nearest",
    )
    table.notes = [KERNEL_NOTE, "the paper has no such table", *_own_notes(setups)]
    return table


def _setups(analyses: Sequence[Analysis]) -> list[Setup]:
    """Analyses of one model by what may stand in one row. For the paper's model all the paper's shots are there."""
    names = _setting_names(analyses)
    found: dict[tuple[int, str], dict[str, list[Analysis]]] = {}
    for same in alike(analyses, lambda a: (a.record.task, a.record.shots, _settings(a), *_cell_facts(a))):
        record = same[0].record
        variant = names[_settings(same[0])]
        number = 1
        while record.task in found.get((record.shots, variant), {}):
            number += 1
            variant = listed(filter(None, [names[_settings(same[0])], f"other settings or data ({number})"]))
        found.setdefault((record.shots, variant), {})[record.task] = latest(same)
    if _model(analyses) == PAPER_MODEL:
        run = {shots for shots, _ in found}
        found |= {(shots, ""): {} for shots in DIFFERENCE_TABLES if shots not in run}
    return [Setup(shots, variant, by_task) for (shots, variant), by_task in sorted(found.items())]


def _settings(analysis: Analysis) -> str:
    return repr(sorted(analysis.record.settings.items()))


def _setting_names(analyses: Sequence[Analysis]) -> dict[str, str]:
    """A name for each of the settings that there are, of what differs in them."""
    settings = {_settings(analysis): analysis.record.settings for analysis in analyses}
    return dict(zip(settings, differing(list(settings.values())), strict=True))


def _cell_facts(analysis: Analysis) -> tuple[str | None, ...]:
    record = analysis.record
    return (record.settings_hash, record.protocol, record.data.get("evaluation", {}).get("sha256"))


def _rows(model: str, setup: Setup, columns: Sequence[Column], quantities: Sequence[Quantity]) -> list[Row]:
    """A row for each quantity that was measured or that the paper has; if all analyses failed, whatever the shots."""
    measured = {quantity for quantity in quantities if _is_measured(setup, quantity)}
    has_failed = not measured and setup.analyses
    of_paper = {
        (kernel, p)
        for _, shots, kernel, p in _printed()
        if has_failed or (shots == setup.shots and model == PAPER_MODEL)
    }
    wanted = [quantity for quantity in quantities if quantity in measured or quantity in of_paper]
    return [_row(model, setup, columns, quantity) for quantity in wanted]


def _row(model: str, setup: Setup, columns: Sequence[Column], quantity: Quantity) -> Row:
    cells = {column.key: _cell(model, setup, column, quantity) for column in columns}
    has_reference = any(part.reference is not None for cell in cells.values() for part in cell.parts)
    detail = f"p = {quantity.p}" if isinstance(quantity.p, int) else f"{setup.shots}-shot"
    variant = listed(filter(None, [detail, setup.variant]))
    return Row(model, TITLES[quantity.kernel], cells, variant, reference_title(model) if has_reference else "")


def _cell(model: str, setup: Setup, column: Column, quantity: Quantity) -> Cell:
    """Mean and deviation over seeds; analyses that failed before they had a value show as what they are."""
    values = {analysis.id: _values(analysis.record, quantity) for analysis in setup.by_task.get(column.key, ())}
    failures = {
        analysis.id: analysis.record.status
        for analysis in setup.by_task.get(column.key, ())
        if analysis.record.status != "ok" and not values[analysis.id]
    }
    printed = _printed().get((column.key, setup.shots, *quantity))
    parts = []
    for index in range(len(column.parts)):
        own = [numbers[index] for numbers in values.values() if len(numbers) > index]
        reference = printed if index == 0 else None
        made = part(own, reference.mean if reference else None, comparable=model == PAPER_MODEL)
        parts.append(replace(made, reference_deviation=reference.deviation if reference else None))
    runs = tuple(id for id, numbers in values.items() if numbers or id in failures)
    return Cell(tuple(parts), runs=runs, failures=tuple(failures.values()))


def _values(record: KernelRecord, quantity: Quantity) -> list[float]:
    """The numbers of one analysis: accuracy and, where it was taken, F1, in percent; or a relative difference."""
    kernel = record.kernels.get(quantity.kernel, Kernel())
    if quantity.p == ALIGNMENT:
        return [] if kernel.alignment is None else [kernel.alignment]
    if quantity.p is not None:
        return [value for p, value in kernel.relative_difference.items() if p == str(quantity.p)]
    if kernel.accuracy is None:
        return []
    return [100 * kernel.accuracy, *([] if kernel.f1 is None else [100 * kernel.f1])]


def _is_measured(setup: Setup, quantity: Quantity) -> bool:
    return any(_values(analysis.record, quantity) for analysis in setup.analyses)


@cache
def _printed() -> dict[tuple[str, int, str, int | str | None], paper.KernelResult]:
    """The paper's numbers by task, shots, kernel and p."""
    return {(result.task, result.shots, result.kernel, result.p): result for result in paper.kernel_results()}


def _tasks(model: str, setups: Iterable[Setup], tables: Sequence[int]) -> list[str]:
    """The tasks in the paper's order, then others; of another model than the paper's only those that were run."""
    run = {task for setup in setups for task in setup.by_task}
    of_tables = {result.task for result in paper.kernel_results() if result.table in tables}
    order = dict.fromkeys(result.task for result in paper.kernel_results() if result.table == 5)
    wanted = run | of_tables if model == PAPER_MODEL else run
    return [task for task in (*order, *sorted(run - set(order))) if task in wanted]


def _accuracy_column(task: str, setups: Iterable[Setup]) -> Column:
    analyses = [analysis for setup in setups for analysis in setup.by_task.get(task, ())]
    has_f1 = any(kernel.f1 is not None for analysis in analyses for kernel in analysis.record.kernels.values())
    names = ("acc", "F1") if has_f1 else ("acc",)
    return Column(task, _title(task), names, task=task, unit="%", decimals=1, better="higher")


def _title(task: str) -> str:
    """As the paper prints it, e.g. SST-2."""
    return {"subj": "Subj"}.get(task, task.upper())


def _conditions(setups: Sequence[Setup], metric: str) -> dict[str, str]:
    analyses = [analysis for setup in setups for analysis in setup.analyses]
    return {
        "Model": model_text(analysis.record.model for analysis in analyses),
        "Data": "; ".join(said((analysis.record.task, _data(analysis.record)) for analysis in analyses)),
        "Metric": metric,
        "Protocol": "; ".join(said((analysis.record.task, analysis.record.protocol) for analysis in analyses)),
        "Seeds": seeds(analyses),
        "Hardware": machines(analyses),
    }


def _data(record: KernelRecord) -> str:
    source = record.data.get("evaluation", {})
    kind = source.get("kind")
    where = f"{SOURCES.get(kind, kind)} " if kind else ""
    rows = f", tested on {record.data['eval_rows']:,} rows" if "eval_rows" in record.data else ""
    return f"{where}{source.get('id') or ''}".strip() + rows if record.data else ""


def _own_notes(setups: Iterable[Setup]) -> list[str]:
    records = [analysis.record for setup in setups for analysis in setup.analyses]
    return sorted(said((f"{record.task}, {record.shots}-shot", note) for record in records for note in record.notes))
