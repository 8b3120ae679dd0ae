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
    hub.revision = "main"
    hub.repos["SetFit/subj"] = {"README.md": CARD, **files}
    code = """
from rocoft_bench.ntk.fewshot import tasks
from rocoft_bench.ntk.fewshot.draws import draw_for_testing, draw_for_training
train, test = draw_for_training(tasks.get("subj"), 4, 13, None), draw_for_testing(tasks.get("subj"), None)
show([train.texts, train.labels, train.origin["id"], train.notes, test.labels])
"""
    texts, labels, source, notes, test_labels = python(code, hub.url)
    assert sorted(labels) == [0] * 4 + [1] * 4
    assert all(int(text.split()[1]) % 2 == label for [text], label in zip(texts, labels, strict=True))
    assert source == "SetFit/subj"
    assert notes[-1] == "SetFit/subj is taken as it is on the day: no commit of it is known here"
    assert test_labels == [0, 1] * 20
