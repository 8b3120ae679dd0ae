"""The paper's numbers, as data: tidy CSV files parsed from its tables (`tables/*.csv`), never retyped."""

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TypeVar

from pydantic import TypeAdapter

T = TypeVar("T")

UNITS = {"K": 1e3, "M": 1e6}
"""Of printed counts."""

TABLE_7_RANK = 3
"""RoCoFT's in Table 7, which does not print it: Table 10 and Appendix A state it. The table's #TTPs fit no rank."""


@dataclass(frozen=True)
class PaperResult:
    """One cell of a results table. `value` is in percent; `trainable_millions` (#TTPs) with the decimals printed."""

    table: int
    model: str
    method: str
    trainable_millions: str
    task: str
    metric: str
    value: float


@cache
def results() -> tuple[PaperResult, ...]:
    """All cells of Tables 1, 2, 6, 7, 11 and 12."""
    return _rows(PaperResult, "results")


@cache
def cells(table: int, model: str) -> dict[str, dict[tuple[str, str], float]]:
    """The values of a model in a results table: by method, and for each by task and metric."""
    found: dict[str, dict[tuple[str, str], float]] = {}
    for result in results():
        if (result.table, result.model) == (table, model):
            found.setdefault(result.method, {})[result.task, result.metric] = result.value
    return found


@cache
def hyperparameters() -> dict[str, dict[str, str]]:
    """The rows of Table 10 by task, values as printed."""
    return {row["task"]: row for row in _read("hyperparameters")}


@dataclass(frozen=True)
class KernelResult:
    """One cell of Table 4 (percent), 5 or 13 (a ratio): mean and standard deviation over five seeds, as printed.

    kernel: as in a kernel analysis' record. p: of the norm in Tables 5 and 13; None in Table 4.
    """

    table: int
    shots: int
    task: str
    kernel: str
    p: int | None
    mean: float
    deviation: float


@cache
def kernel_results() -> tuple[KernelResult, ...]:
    """All cells of Tables 4, 5 and 13, RoBERTa-base; tasks in the paper's order, single sentences before pairs."""
    return _rows(KernelResult, "ntk", p="p_norm", deviation="std")


@dataclass(frozen=True)
class RankResult:
    """One row of Table 8: RoBERTa-base on SST-2, query, key and value only.

    train_seconds: the caption says "training time (minutes)" and the cells are printed as minutes:seconds, e.g. 3:12;
    this is the same in seconds, 192. Whether it is of one epoch or of a whole training, the paper does not say.
    accuracy: a fraction. trainable_millions: with the decimals printed.
    """

    rank: int
    method: str
    train_seconds: int
    accuracy: float
    trainable_millions: str
    memory_mb: int


@cache
def rank_efficiency() -> tuple[RankResult, ...]:
    """All rows of Table 8."""
    return _rows(RankResult, "rank_efficiency")


@dataclass(frozen=True)
class Complexity:
    """One row of Table 3, for a square layer of width d; formulas and titles in LaTeX, as printed.

    trainable: parameters that are trained (TTPs). additional: parameters that the plain layer does not have (APs).
    """

    method: str
    space: str
    time: str
    trainable: str
    additional: str


@cache
def complexity() -> tuple[Complexity, ...]:
    """All rows of Table 3."""
    return _rows(Complexity, "complexity")


@dataclass(frozen=True)
class DatasetSize:
    """One number of Table 14 or 15: the rows of a split, as printed, e.g. "8.8K". dataset: as printed."""

    table: int
    dataset: str
    split: str
    rows: str


@cache
def dataset_sizes() -> tuple[DatasetSize, ...]:
    """All numbers of Tables 14 and 15; where the paper prints a dash there is none."""
    tables = ((14, "datasets_llm", ("train", "test")), (15, "datasets_nlu_qa_sum", ("train", "validation", "test")))
    return tuple(
        DatasetSize(number, row["dataset"], split, row[split])
        for number, name, splits in tables
        for row in _read(name)
        for split in splits
        if row[split] not in ("-", "–")
    )


def _rows(kind: type[T], name: str, **columns: str) -> tuple[T, ...]:
    """The lines of a file. columns: of fields that are called otherwise there, with nothing where a cell is empty."""
    lines = [{**row, **{field: row[column] or None for field, column in columns.items()}} for row in _read(name)]
    return tuple(TypeAdapter(list[kind]).validate_python(lines))  # type: ignore[valid-type]


def _read(name: str) -> list[dict[str, str]]:
    text = (files(__package__) / "tables" / f"{name}.csv").read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


def is_printed_as(count: int, text: str) -> bool:
    """Whether a count, rounded or cut off at the digits of e.g. "0.249M", "8.8K" or "1,319", is that text."""
    number = text.upper().replace(",", "")
    digits = number.rstrip("KM")
    unit = UNITS.get(number[-1], 1.0) / 10 ** len(digits.partition(".")[2])
    return int(digits.replace(".", "")) in (round(count / unit), int(count / unit))
