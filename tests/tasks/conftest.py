"""Helpers to write rows in every format."""

import csv
import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.fake_hub import hub, python

__all__ = ["hub", "python"]

Rows = list[dict[str, Any]]


def _jsonl(rows: Rows) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def _json(rows: Rows) -> bytes:
    return json.dumps(rows, indent=1).encode()


def _csv(rows: Rows) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, rows[0])
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def _parquet(rows: Rows) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), buffer)
    return buffer.getvalue()


def _tsv(rows: Rows) -> bytes:
    """Of rows whose cells have neither tabs nor line breaks."""
    return "".join("\t".join(map(str, line)) + "\n" for line in [rows[0], *(row.values() for row in rows)]).encode()


WRITERS = {"jsonl": _jsonl, "json": _json, "csv": _csv, "tsv": _tsv, "parquet": _parquet}


def written(rows: Rows, suffix: str) -> bytes:
    content = WRITERS[suffix.removesuffix(".gz")](rows)
    return gzip.compress(content) if suffix.endswith(".gz") else content


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """write(task, split, content, suffix) puts rows (or raw bytes) where --data-dir expects them; gives the file."""

    def put(task: str, split: str, content: Rows | bytes, suffix: str = "jsonl") -> Path:
        path = tmp_path / "glue" / task / f"{split}.{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else written(content, suffix))
        return path

    return put
