"""The data sizes of Tables 14 and 15 against those of the data."""

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
    sizes = [size for size in paper.dataset_sizes() if _counted(size) is not None]
    differing = [size for size in sizes if not paper.is_printed_as(_counted(size) or 0, size.rows)]
    table = Table("audit-data-sizes", "data sizes of Tables 14 and 15 that differ from the data", _COLUMNS)
    table.rows = [_row(size, sizes) for size in differing]
    table.notes = [
        f"{len(sizes) - len(differing)} of {len(sizes)} sizes that can be checked agree, rounded or cut off at the "
        "printed digits. The data of Table 14 are those of LLM-Adapters, the others' those of the hub's datasets.",
        *_without_results(),
        *_without_training_rows(),
    ]
    return table


def _counted(size: paper.DatasetSize) -> int | None:
    """The rows of the split; None where they are not known here."""
    known = task.split_sizes if (task := _task(size.dataset)) else {}
    return next((rows for split, rows in known.items() if split.startswith(size.split)), None)


def _task(dataset: str) -> Task | None:
    """The task that a dataset's name stands for, if there is one."""
    name = OTHER_NAMES.get(dataset, dataset.lower().replace("-", ""))
    return next((task for task in tasks.all_tasks() if task.name == name), None)


def _row(size: paper.DatasetSize, others: list[paper.DatasetSize]) -> Row:
    alike = [
        other.dataset
        for other in others
        if (other.table, other.split) == (size.table, size.split)
        and other != size
        and paper.is_printed_as(_counted(other) or 0, size.rows)
    ]
    remark = f"it is the size of {', '.join(alike)}" if alike else ""
    cells = text_cells(table=f"Table {size.table}", printed=size.rows, counted=f"{_counted(size):,}", remark=remark)
    return Row("", size.dataset, cells, size.split)


def _without_results() -> list[str]:
    """Datasets that are listed and that no table has results on."""
    tested = {result.task for result in paper.results()}
    named = dict.fromkeys(size.dataset for size in paper.dataset_sizes())
    without = [name for name in named if (task := _task(name)) is None or task.paper_task not in tested]
    return [f"{name} is listed, but no table has results on it." for name in without]


def _without_training_rows() -> list[str]:
    sizes = paper.dataset_sizes()
    trained = {size.dataset for size in sizes if size.split == "train"}
    names = [name for name in dict.fromkeys(size.dataset for size in sizes) if name not in trained]
    return [
        f"{', '.join(names)} have no training rows in Table 14, while Table 10 has hyperparameters for training on "
        "each; the paper does not say on what (the published notebooks: math_10k of LLM-Adapters)."
    ]
