"""Few-shot rows from the hub, under its own names for columns and labels."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.fake_hub import Hub, hub, python

__all__ = ["hub", "python"]

CARD = b"""---
configs:
- config_name: default
  data_files:
  - {split: train, path: train-*}
  - {split: test, path: test-*}
---
"""


def test_rows_are_drawn_from_the_hub(hub: Hub, python: Callable[..., Any]) -> None:
    """SetFit/subj calls class 1 0 in its label column; the names of its classes are what counts."""
    names = ["subjective", "objective"] * 20
    table = pa.table({"text": [f"film {row}" for row in range(40)], "label": [1, 0] * 20, "label_text": names})
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    files = {"train-0.parquet": buffer.getvalue(), "test-0.parquet": buffer.getvalue()}
    hub.repos["SetFit/subj"] = {"README.md": CARD, **files}
    code = """
from rocoft_bench import tasks
task = tasks.get("fewshot", "subj")
settings = task.bound(task.Settings(family="fewshot", name="subj", shots=4, draw=13))[1]
train, test = task.load_training(settings), task.load("test")
show([train.examples["text"][:], train.examples["label"][:], train.origin, train.notes, test.examples["label"][:]])
"""
    texts, labels, origin, notes, test_labels = python(code, hub.url)
    assert sorted(labels) == [0] * 4 + [1] * 4
    assert all(int(text.split()[1]) % 2 == label for text, label in zip(texts, labels, strict=True))
    assert (origin["id"], origin["revision"]) == ("SetFit/subj", hub.revision)
    assert notes[-1] == f"SetFit/subj is taken as it is on the day: commit {hub.revision[:10]}"
    assert test_labels == [0, 1] * 20
