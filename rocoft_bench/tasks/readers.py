"""Rows from a file in one of four formats, and the errors that name the file and the line.

JSON Lines (one object a line), JSON (a list of objects), Parquet and CSV (with a header line), all in UTF-8. The
readers check the form of a file; what its cells may hold is checked in `rocoft_bench.tasks.data`.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rocoft_bench.errors import UserError

Row = tuple[int, Any]


@dataclass(frozen=True)
class RawRows:
    """Rows as read, unchecked: `columns[name][i]` is a cell of row i, which the user finds at `places[i]`.

    source: the file or the hub dataset, for messages. unit: what `places` count, "line" or "row", from 1.
    origin: the fields of `LoadedSplit.origin` that say where the rows are from.
    """

    source: str
    unit: str
    places: Sequence[int]
    columns: dict[str, list[Any]]
    origin: dict[str, Any] = field(default_factory=dict)

    def error(self, row: int, problem: str) -> UserError:
        return UserError(f"{self.source}, {self.unit} {self.places[row]}: {problem}")


def read_jsonl(path: Path, wanted: Sequence[str]) -> RawRows:
    """Blank lines are skipped. Only a newline ends a line: JSON strings may hold other line separators."""
    lines = [(number, line) for number, line in enumerate(_text(path).split("\n"), start=1) if line.strip()]
    return _from_objects(path, "line", ((number, _json(path, line, number)) for number, line in lines), wanted)


def read_json(path: Path, wanted: Sequence[str]) -> RawRows:
    text = _text(path)
    rows = _json(path, text, 1) if text.strip() else []
    if not isinstance(rows, list):
        raise UserError(f"{path}: holds {_kind(rows)}, not a list of objects (one object a line: name it .jsonl)")
    return _from_objects(path, "row", enumerate(rows, start=1), wanted)


def read_csv(path: Path, wanted: Sequence[str]) -> RawRows:
    """Labels become numbers, other cells stay text. A row is named by the line it starts on."""
    lines = _csv_lines(path)
    if not lines:
        raise UserError(f"{path}: is empty")
    header = lines[0][1]
    require_columns(str(path), header, wanted)
    rows = ((number, _csv_row(path, number, header, row)) for number, row in lines[1:])
    return _from_objects(path, "line", rows, wanted)


def read_parquet(path: Path, wanted: Sequence[str]) -> RawRows:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            require_columns(str(path), file.schema_arrow.names, wanted)
            table = file.read(columns=list(wanted))
        columns = {name: table[name].to_pylist() for name in wanted}
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a readable Parquet file ({str(error).splitlines()[0]})") from error
    _require_rows(path, table.num_rows)
    return RawRows(str(path), "row", range(1, table.num_rows + 1), columns)


READERS: dict[str, Callable[[Path, Sequence[str]], RawRows]] = {
    ".jsonl": read_jsonl,
    ".json": read_json,
    ".parquet": read_parquet,
    ".csv": read_csv,
}


def require_columns(where: str, found: Iterable[str], wanted: Sequence[str]) -> None:
    """Raises: UserError that lists the columns found, where one of `wanted` is not among them."""
    found = list(found)
    missing = [name for name in wanted if name not in found]
    if missing:
        raise UserError(f'{where}: no column "{missing[0]}"; columns found: {", ".join(found) or "none"}')


def _text(path: Path) -> str:
    """The file as text; a byte order mark at its start is dropped."""
    raw = path.read_bytes().removeprefix(codecs.BOM_UTF8)
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{path}, line {line}: byte 0x{raw[error.start]:02x} is not UTF-8; save the file in that encoding"
        ) from error


def _json(path: Path, text: str, first_line: int) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        where = f"{path}, line {first_line + error.lineno - 1}"
        raise UserError(f"{where}: not valid JSON ({error.msg}, column {error.colno}); is it cut off?") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}, line {first_line}: not usable JSON ({error})") from error


def _csv_lines(path: Path) -> list[tuple[int, list[str]]]:
    """Each row that is not blank, with the number of the line it starts on."""
    reader = csv.reader(io.StringIO(_text(path), newline=""), strict=True)
    lines, start = [], 1
    try:
        for row in reader:
            lines.append((start, row))
            start = reader.line_num + 1
    except csv.Error as error:
        raise UserError(f"{path}, line {start}: not valid CSV ({error}); is it cut off?") from error
    return [(number, row) for number, row in lines if row]


def _csv_row(path: Path, number: int, header: list[str], row: list[str]) -> dict[str, Any]:
    if len(row) != len(header):
        raise UserError(f"{path}, line {number}: {len(row)} cells, but the header has {len(header)}")
    cells: dict[str, Any] = dict(zip(header, row, strict=True))
    return {name: _number(cell) if name == "label" else cell for name, cell in cells.items()}


def _number(cell: str) -> Any:
    """The number that a CSV cell spells, or the cell itself."""
    try:
        return json.loads(cell)
    except ValueError:
        return cell


def _from_objects(path: Path, unit: str, rows: Iterable[Row], wanted: Sequence[str]) -> RawRows:
    places: list[int] = []
    columns: dict[str, list[Any]] = {name: [] for name in wanted}
    for place, row in rows:
        where = f"{path}, {unit} {place}"
        if not isinstance(row, dict):
            raise UserError(f"{where}: holds {_kind(row)}, not an object with the columns {', '.join(wanted)}")
        require_columns(where, row, wanted)
        places.append(place)
        for name in wanted:
            columns[name].append(row[name])
    _require_rows(path, len(places))
    return RawRows(str(path), unit, places, columns)


def _require_rows(path: Path, count: int) -> None:
    if not count:
        raise UserError(f"{path}: is empty, it holds no rows")


def _kind(value: Any) -> str:
    kinds = {dict: "an object", list: "a list", str: "a string", bool: "a true/false value", type(None): "null"}
    return kinds.get(type(value), "a number")
