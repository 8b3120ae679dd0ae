"""The data sizes of Tables 14 and 15 against those of the data."""

from collections.abc import Mapping

from rocoft_bench import paper, tasks
from rocoft_bench.analysis.table import Column, Row, Table, text_cells
from rocoft_bench.tasks.task import Task

_COLUMNS = [
    Column("table", "table"),
    Column("printed", "printed"),
    Column("counted", "rows of the data"),
    Column("remark", "remark"),
]

OTHER_NAMES = {
    **{"ARC-e": "arc_easy", "ARC-c": "arc_challenge"},
    **{"SQuAD v1.1": "v1.1", "SQuAD v2.0": "v2.0", "DailyMail": "cnn_dailymail"},
}
"""Of the tasks whose names are not those of their datasets, but for case and hyphens."""


def data_sizes() -> Table:
    """Printed sizes that are no rounding of the sizes of the data that the tasks here load."""
    sizes = paper.dataset_sizes()
    counted = {size: rows for size in sizes if (rows := _counted(size)) is not None}
    differing = [size for size, rows in counted.items() if not paper.is_printed_as(rows, size.rows)]
    names = dict.fromkeys(size.dataset for size in sizes)
    tested = {result.task for result in paper.results()}
    without_results = [name for name in names if (task := _task(name)) is None or task.paper_task not in tested]
    trained = {size.dataset for size in sizes if size.split == "train"}
    notes = [
        f"{len(counted) - len(differing)} of {len(counted)} sizes that can be checked agree, rounded or cut off at the "
        "printed digits. The data of Table 14 are those of LLM-Adapters, the others' those of the hub's datasets.",
        *(f"{name} is listed, but no table has results on it." for name in without_results),
        f"{', '.join(name for name in names if name not in trained)} have no training rows in Table 14, while Table 10 "
        "has hyperparameters for training on each; the paper does not say on what (the published notebooks: math_10k "
        "of LLM-Adapters).",
    ]
    title = "data sizes of Tables 14 and 15 that differ from the data"
    return Table("audit-data-sizes", title, _COLUMNS, [_row(size, counted) for size in differing], notes=notes)


def _counted(size: paper.DatasetSize) -> int | None:
    """The rows of the split; None where they are not known here."""
    known = task.split_sizes if (task := _task(size.dataset)) else {}
    return next((rows for split, rows in known.items() if split.startswith(size.split)), None)


def _task(dataset: str) -> Task | None:
    """The task that a dataset's name stands for, if there is one."""
    name = OTHER_NAMES.get(dataset, dataset.lower().replace("-", ""))
    return next((task for task in tasks.all_tasks() if task.name == name), None)


def _row(size: paper.DatasetSize, counted: Mapping[paper.DatasetSize, int]) -> Row:
    others = [other for other in counted if (other.table, other.split) == (size.table, size.split) and other != size]
    alike = [other.dataset for other in others if paper.is_printed_as(counted[other], size.rows)]
    remark = f"it is the size of {', '.join(alike)}" if alike else ""
    cells = text_cells(table=f"Table {size.table}", printed=size.rows, counted=f"{counted[size]:,}", remark=remark)
    return Row("", size.dataset, cells, size.split)
