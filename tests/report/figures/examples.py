"""Tables and kernels as the report has them, made up."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from rocoft_bench.analysis.records import Stored
from rocoft_bench.analysis.table import Cell, Column, Row, Stat, Table
from rocoft_bench.runs import KernelRecord
from tests.made_up import kernel_record, stored

ADAPTER = Column("adapter", "adapter", ("",), decimals=0)


def row(method: str, adapter: float | None, scores: Mapping[str, float], **changes: Any) -> Row:
    """A method with a score on each of some tasks."""
    cells = {task: Cell((Stat(score, n=1),)) for task, score in scores.items()}
    return Row("roberta-base", method, {**cells, "adapter": Cell((Stat(adapter),))}, **changes)


def table(*rows: Row, tasks: tuple[str, ...] = ("rte", "cola"), **changes: Any) -> Table:
    columns = [ADAPTER, *(Column(task, task, ("acc",), task=task, unit="%", better="higher") for task in tasks)]
    return Table(changes.pop("key", "table1"), "GLUE", columns, list(rows), **changes)


def kernels_of(folder: Path, task: str = "sst-2", **changes: Any) -> Stored[KernelRecord]:
    """An analysis of two classes of 16 examples, with the kernels in a file."""
    record = kernel_record(task, **changes)
    block = np.kron(np.eye(2), np.ones((16, 16))).astype(np.float32)
    folder.mkdir(parents=True)
    save_file({"K_full": 1000 * block, "K_row": 10 * block, "K_lora": block}, folder / "kernels.safetensors")
    return stored(record, folder.name, folder)
