"""Tables 4, 5 and 13: how well regression with each kernel does, and how far each is from the kernel of all weights."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from rocoft_bench import methods, paper
from rocoft_bench.analysis.conditions import notes_by, origins, repeats, stand_in_notes
from rocoft_bench.analysis.groups import (
    MODEL_KEY,
    Record,
    comparability_key,
    dedupe_by_seed,
    group_compatible,
    key_of,
    records_of,
)
from rocoft_bench.analysis.naming import PAPER_MODEL, differing, join_unique, merge_notes, reference_title, table_key
from rocoft_bench.analysis.pivot import Reference, RowKey, pivot, placed
from rocoft_bench.analysis.table import Column, Table, with_unique_keys
from rocoft_bench.errors import UserError
from rocoft_bench.models import MASKED_LM
from rocoft_bench.runs import KernelName

if TYPE_CHECKING:
    import pandas as pd

TITLES: dict[KernelName, str] = {
    "full_ft": "Full FT",
    "trained_ft": "fine-tuned",
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
"""In the order of the rows."""

KERNEL_NOTE = (
    "K_θ is of the gradients of all parameters, K_row and K_col of one row or column of each matrix, "
    "K_LoRA of LoRA's parameters at their start"
)
METRIC_NOTE = (
    "the paper does not name the metric; the code of Malladi et al. (2023), which it follows, scores MRPC and QQP by "
    "accuracy or by F1; the references are taken for accuracies"
)
DEVIATION_NOTE = "ours are sample standard deviations; the paper does not say of which kind its own are"

DIFFERENCE_TABLES = {16: "5", 64: "13"}
"""The paper's tables of relative differences, by shots."""


class Setup(NamedTuple):
    """Analyses that may stand in one row have the same shots and settings."""

    shots: int
    variant: str = ""


Setups = Mapping[Setup, Sequence[Record]]
Quantity = tuple[Setup, KernelName, str]
"""What a row shows: of which analyses, which kernel, and which metric of it."""


@dataclass(frozen=True)
class KernelTable:
    """What one of the tables shows, of some shots or of all. metrics: a row of each kernel for each, and what is said
    of it in place of the shots.
    """

    key: str
    title: str
    number: str | None
    metrics: dict[str, str]
    description: str
    notes: tuple[str, ...]
    better: Literal["higher", "lower"] = "higher"
    shots: int | None = None

    def row_key(self, model: str, setup: Setup, kernel: KernelName, metric: str) -> RowKey:
        what = self.metrics[metric] or f"{setup.shots}-shot"
        return RowKey(model, TITLES[kernel], join_unique([what, setup.variant]))


ACCURACIES = KernelTable(
    "table4",
    "few-shot accuracy of kernel regression",
    "4",
    {"accuracy": ""},
    "accuracy (F1 where it says so) on the test examples; in percent",
    (KERNEL_NOTE, METRIC_NOTE, DEVIATION_NOTE),
)


def _nearness(shots: int, aligned: bool) -> Iterator[KernelTable]:
    """How near kernels are to that of all parameters: the differences and, if they were measured, the alignments."""
    number = DIFFERENCE_TABLES.get(shots)
    yield KernelTable(
        f"table{number}" if number else f"kernel-differences-{shots}-shot",
        f"relative differences of kernels, {shots}-shot",
        number,
        {"relative_difference_1": "p = 1", "relative_difference_2": "p = 2"},
        "‖K/‖K‖_p − K_θ/‖K_θ‖_p‖_p of the flattened training kernels; lower is nearer",
        (KERNEL_NOTE, DEVIATION_NOTE),
        better="lower",
        shots=shots,
    )
    if aligned:
        yield KernelTable(
            f"kernel-alignment-{shots}-shot",
            f"centred alignment of kernels with K_θ, {shots}-shot",
            None,
            {"alignment": ""},
            "⟨HKH, HK_θH⟩ / ‖HKH‖‖HK_θH‖ of the training kernels, H = I − 11ᵀ/n (Cortes et al. 2012); 1 is the nearest",
            (KERNEL_NOTE, "the paper has no such table"),
            shots=shots,
        )


def kernel_tables(table: pd.DataFrame) -> list[Table]:
    """Tables 4, 5 and 13 for each model; other shots than the paper's have tables of differences of their own."""
    values = table[table.source == "kernels"]
    by_model = group_compatible(records_of(values), lambda analysis: key_of(analysis, MODEL_KEY))
    by_model.sort(key=lambda own: (own[0].model != PAPER_MODEL, own[0].model))
    return with_unique_keys(made for own in by_model for made in _tables(own, values))


def _tables(analyses: Sequence[Record], values: pd.DataFrame) -> Iterator[Table]:
    setups = _setups(analyses)
    places = [(analysis, setup) for setup, own in setups.items() for analysis in own]
    own = placed(values, places)
    is_f1 = own.metric == "f1"  # the second number in the cells of accuracy
    own = own.assign(column=own.task, place=is_f1.astype(int), metric=own.metric.mask(is_f1, "accuracy"))
    aligned = {setup.shots for setup in own.row[(own.metric == "alignment") & own.value.notna()]}
    all_shots = dict.fromkeys(setup.shots for _, setup in places)
    left_out = repeats(len(analyses) - len(places), "analyses")
    for spec in [ACCURACIES, *(spec for shots in all_shots for spec in _nearness(shots, shots in aligned))]:
        in_table = {setup: found for setup, found in setups.items() if spec.shots in (None, setup.shots)}
        fitting = own[own.metric.isin(list(spec.metrics)) & own.row.map(in_table.__contains__)]
        yield _table(spec, analyses[0].model, in_table, fitting, left_out)


def _setups(analyses: Sequence[Record]) -> Setups:
    """Analyses of one model that count, by what may stand in one row. For the paper's model the paper's shots are all
    there.
    """
    settings = list(dict.fromkeys(analysis.settings for analysis in analyses))
    names = dict(zip(settings, _names(list(map(json.loads, settings))), strict=True))
    found: dict[Setup, dict[str, list[Record]]] = {}
    for same in group_compatible(analyses, lambda a: (a.task, a.shots, a.settings, *comparability_key(a))):
        first = same[0]
        setup, number = Setup(first.shots, names[first.settings]), 1
        while first.task in found.get(setup, {}):
            number += 1
            setup = Setup(first.shots, join_unique([names[first.settings], f"other settings or data ({number})"]))
        found.setdefault(setup, {})[first.task] = dedupe_by_seed(same)
    if analyses[0].model == PAPER_MODEL:
        run = {setup.shots for setup in found}
        found |= {Setup(shots): {} for shots in DIFFERENCE_TABLES if shots not in run}
    return {setup: [analysis for own in found[setup].values() for analysis in own] for setup in sorted(found)}


def _names(settings: Sequence[dict[str, Any]]) -> list[str]:
    """What tells them apart; which kernels were made is told by the rows, and so mostly not by the settings."""
    told = [{**own, **({"method": method_label(own["method"])} if "method" in own else {})} for own in settings]
    names = differing([{key: value for key, value in own.items() if key != "kernels"} for own in told])
    return names if len(set(names)) == len(names) else differing(told)


def method_label(method: dict[str, Any]) -> str:
    """As in the tables of runs."""
    try:
        return methods.resolve(method, None, MASKED_LM).label
    except UserError:  # of another version or a plug-in
        return str(method.get("name"))


def _table(spec: KernelTable, model: str, setups: Setups, values: pd.DataFrame, left_out: Sequence[str]) -> Table:
    """values: those of the table, each in its `row` (a setup), `column` and `place`."""
    analyses = [analysis for own in setups.values() for analysis in own]
    columns = _columns(spec, model, {analysis.task for analysis in analyses}, set(values.task[values.place == 1]))
    has_one_size = len({analysis.shots for analysis in analyses}) == 1
    quantities = {spec.row_key(model, *shown): shown for shown in _quantities(spec, model, setups, values)}
    rows = [spec.row_key(model, *cell) for cell in zip(values.row, values.kernel, values.metric, strict=True)]

    def reference(key: RowKey, column: Column, place: int) -> Reference | None:
        setup, kernel, metric = quantities[key]
        printed = _printed().get((column.key, setup.shots, kernel, metric)) if place == 0 else None
        return Reference(printed.mean, printed.deviation, compare=model == PAPER_MODEL) if printed else None

    conditions = {
        "Data": "; ".join(merge_notes((analysis.task, analysis.data) for analysis in analyses)),
        "Metric": spec.description,
        "Protocol": "; ".join(merge_notes((analysis.task, analysis.protocol) for analysis in analyses)),
    }
    return Table(
        key=table_key(spec.key, model),
        title=f"{spec.title}, {model}",
        columns=columns,
        rows=pivot(values.assign(row=rows), quantities, columns, reference, {}, reference_title),
        number=spec.number,
        conditions=origins(analyses, conditions),
        notes=[
            *stand_in_notes(model),
            *spec.notes,
            *notes_by(analyses, lambda a: a.task if has_one_size else f"{a.task} {a.shots}-shot"),
            *left_out,
        ],
    )


def _quantities(spec: KernelTable, model: str, setups: Setups, values: pd.DataFrame) -> Iterator[Quantity]:
    """Every kernel that was measured or that the paper has; if all analyses failed, whatever the shots."""
    known = values[values.value.notna()]
    measured = set(zip(known.row, known.kernel, known.metric, strict=True))
    for setup, analyses in setups.items():
        all_failed = bool(analyses) and not any(row == setup for row, _, _ in measured)
        of_paper = {
            (kernel, metric)
            for _, shots, kernel, metric in _printed()
            if all_failed or (shots == setup.shots and model == PAPER_MODEL)
        }
        for kernel in TITLES:
            for metric in spec.metrics:
                if (setup, kernel, metric) in measured or (kernel, metric) in of_paper:
                    yield setup, kernel, metric


@cache
def _printed() -> dict[tuple[str, int, str, str], paper.KernelResult]:
    """The paper's numbers by task, shots, kernel and metric."""
    metrics = {None: "accuracy", 1: "relative_difference_1", 2: "relative_difference_2"}
    return {(r.task, r.shots, r.kernel, metrics[r.p]): r for r in paper.kernel_results()}


def _columns(spec: KernelTable, model: str, run: set[str], with_f1: set[str]) -> list[Column]:
    """The tasks in the paper's order, then others; of another model than the paper's only those that were run."""
    of_table = {r.task for r in paper.kernel_results() if str(r.table) == spec.number and model == PAPER_MODEL}
    order = dict.fromkeys(result.task for result in paper.kernel_results() if result.table == 5)

    def column(task: str) -> Column:
        title = {"subj": "Subj"}.get(task, task.upper())  # as the paper prints it
        if spec is ACCURACIES:
            names = ("acc", "F1") if task in with_f1 else ("acc",)
            return Column(task, title, names, task=task, unit="%", decimals=1, better="higher")
        return Column(task, title, ("",), task=task, decimals=3, better=spec.better)

    return [column(task) for task in (*order, *sorted(run - set(order))) if task in run | of_table]
