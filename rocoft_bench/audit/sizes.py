"""The data sizes of Tables 14 and 15 against those of the data."""

from rocoft_bench import paper, tasks
from rocoft_bench.analysis.table import Cell, Column, Row, Table
from rocoft_bench.audit.printed import is_printed_as

_COLUMNS = [
    Column("table", "table"),
    Column("printed", "printed"),
    Column("counted", "rows of the data"),
    Column("remark", "remark"),
]

DATASETS = {
    "GSM8K": ("math", "gsm8k"),
    "MultiArith": ("math", "multiarith"),
    "AddSub": ("math", "addsub"),
    "SingleEq": ("math", "singleeq"),
    "SVAMP": ("math", "svamp"),
    "BoolQ": ("commonsense", "boolq"),
    "PIQA": ("commonsense", "piqa"),
    "SIQA": ("commonsense", "siqa"),
    "HellaSwag": ("commonsense", "hellaswag"),
    "WinoGrande": ("commonsense", "winogrande"),
    "ARC-e": ("commonsense", "arc_easy"),
    "ARC-c": ("commonsense", "arc_challenge"),
    "OBQA": ("commonsense", "obqa"),
    "SQuAD v1.1": ("squad", "v1.1"),
    "SQuAD v2.0": ("squad", "v2.0"),
    "XSum": ("summarization", "xsum"),
    "DailyMail": ("summarization", "cnn_dailymail"),
    "CoLA": ("glue", "cola"),
    "SST2": ("glue", "sst2"),
    "MRPC": ("glue", "mrpc"),
    "STS-B": ("glue", "stsb"),
    "QQP": ("glue", "qqp"),
    "MNLI": ("glue", "mnli"),
    "QNLI": ("glue", "qnli"),
    "RTE": ("glue", "rte"),
}
"""The tasks that the datasets' names stand for, where there is one."""


def data_sizes() -> Table:
    """Printed sizes that are no rounding of the sizes of the data that the tasks here load."""
    sizes = [size for size in paper.dataset_sizes() if _counted(size) is not None]
    differing = [size for size in sizes if not is_printed_as(_counted(size) or 0, size.rows)]
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
    if size.dataset not in DATASETS:
        return None
    known = tasks.get(*DATASETS[size.dataset]).split_sizes
    return next((rows for split, rows in known.items() if split.startswith(size.split)), None)


def _row(size: paper.DatasetSize, others: list[paper.DatasetSize]) -> Row:
    alike = [
        other.dataset
        for other in others
        if (other.table, other.split) == (size.table, size.split)
        and other != size
        and is_printed_as(_counted(other) or 0, size.rows)
    ]
    remark = f"it is the size of {', '.join(alike)}" if alike else ""
    texts = {"table": f"Table {size.table}", "printed": size.rows, "counted": f"{_counted(size):,}", "remark": remark}
    return Row("", size.dataset, {name: Cell(text=text) for name, text in texts.items()}, size.split)


def _without_results() -> list[str]:
    """Datasets that are listed and that no table has results on."""
    tested = {result.task for result in paper.results()}
    named = dict.fromkeys(size.dataset for size in paper.dataset_sizes())
    without = [n for n in named if n not in DATASETS or tasks.get(*DATASETS[n]).paper_task not in tested]
    return [f"{name} is listed, but no table has results on it." for name in without]


def _without_training_rows() -> list[str]:
    sizes = paper.dataset_sizes()
    trained = {size.dataset for size in sizes if size.split == "train"}
    names = [name for name in dict.fromkeys(size.dataset for size in sizes) if name not in trained]
    return [
        f"{', '.join(names)} have no training rows in Table 14, while Table 10 has hyperparameters for training on "
        "each; the paper does not say on what (the published notebooks: math_10k of LLM-Adapters)."
    ]
