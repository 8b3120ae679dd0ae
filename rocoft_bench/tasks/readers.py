"""Rows from a file in one of several forms (`untrusted.data_files`), and errors that name the file and the line.

    .jsonl, .json   one object a line, a list of objects, or SQuAD's own form; the content tells which, not the name
    .csv            with a header line; cells may be quoted
    .tsv            with a header line; as in GLUE's own files a quotation mark is one, and no cell has a tab or a break
                    (`read_own_rows`: cells are quoted as in .csv, which is how pandas and spreadsheets write them)
    .parquet        flat columns

All but Parquet are UTF-8 and may be packed by gzip, whether .gz says so or not. The readers check the form of a file;
what its cells may hold is checked in `rocoft_bench.tasks.data`.
"""

import csv
import difflib
import io
import json
import sys
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from gzip import GzipFile
from pathlib import Path
from typing import Any, Self

from rocoft_bench.errors import UserError, reason, shortened
from rocoft_bench.untrusted import decoded, open_file, parse_json, read_bytes, require_file
from rocoft_bench.untrusted.data_files import FORMS

Row = tuple[object, Any]
"""Where the user finds it, and what it holds."""

GIB = 2**30
LARGEST_TEXT = 8 * GIB
"""Bytes of a file that is read as a whole; Parquet is read in batches."""
LARGEST_UNPACKED, LARGEST_RATIO = GIB // 4, 100
"""What a packed file may become: so many bytes, or so many times its own size (text becomes 3 to 10 times)."""
MEMORY_OF_ROWS = 6
"""Bytes of memory for a byte of a file: what is read, as text (up to four bytes a letter), and its cells."""
_BATCH, _BYTES_OF_CELL = 2**16, 8
"""Rows of Parquet at a time, where their values are short; and what a value takes in a list, whatever it is."""
GZIP_MAGIC = b"\x1f\x8b"
_SHOWN_COLUMNS = 20

csv.field_size_limit(sys.maxsize)  # by default a cell of more than 131,072 characters is an error


@dataclass(frozen=True)
class RawRows:
    """Rows as read, unchecked: `columns[name][i]` is a cell of row i, which the user finds at `places[i]`.

    source: the file or the hub dataset, for messages. unit: what `places` count, "line" or "row" from 1, or "question".
    origin: the fields of `LoadedSplit.origin` that say where the rows are from. called: the user's own names of columns
        that have another one here. notes: what was left out, for the record.
    """

    source: str
    unit: str
    places: Sequence[object]
    columns: dict[str, list[Any]]
    origin: dict[str, Any] = field(default_factory=dict)
    called: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def error(self, row: int, problem: str) -> UserError:
        return UserError(f"{self.source}, {self.unit} {self.places[row]}: {problem}")

    def selected(self, numbers: Sequence[int]) -> Self:
        """Some of the rows, in this order."""
        columns = {name: [cells[number] for number in numbers] for name, cells in self.columns.items()}
        return replace(self, places=[self.places[number] for number in numbers], columns=columns)


def read_rows(path: Path, wanted: Sequence[str]) -> RawRows:
    """The columns `wanted` of a benchmark's file whose name ends as one of `FORMS`.

    Raises: UserError that says what is wrong with the file, and in which line.
    """
    form = _form(path)
    if form == ".parquet":
        return _read_parquet(path, wanted)
    if form == ".csv":
        return _from_table(path, _csv_lines(path, _text(path)), wanted)
    if form == ".tsv":
        lines = enumerate(_text(path).split("\n"), start=1)
        cells = ((number, line.removesuffix("\r").split("\t")) for number, line in lines if line.strip())
        return _from_table(path, cells, wanted)
    return _from_objects(path, *_json_rows(path), wanted)


def read_own_rows(path: Path, wanted: Sequence[str] | None = None) -> RawRows:
    """The same of a file of the user's own; without `wanted` all columns. Cells of tables stay text, and an object may
    lack a column that others have.

    Raises: UserError as `read_rows`, or where the file is too large to be read here.
    """
    _check_fits(path)
    form = _form(path)
    if form == ".parquet":
        return _read_parquet(path, wanted)
    if form in (".csv", ".tsv"):
        lines = _csv_lines(path, _text(path), "\t" if form == ".tsv" else ",")
        return _from_table(path, lines, wanted, numbers=())
    unit, rows = _json_rows(path)
    known = list(rows)
    names = list(dict.fromkeys(name for _, row in known if isinstance(row, dict) for name in row))
    require_columns(str(path), names, wanted := names if wanted is None else wanted)
    filled = ((place, dict.fromkeys(names) | row if isinstance(row, dict) else row) for place, row in known)
    return _from_objects(path, unit, filled, wanted)


def _form(path: Path) -> str:
    """How the name of a file ends, but for .gz."""
    form = next((form for form in FORMS if path.name.lower().endswith(form)), None)
    if form is None:
        raise UserError(f"{path}: the name tells no form that is read; it ends as one of {', '.join(FORMS)}")
    return form.removesuffix(".gz")


def _check_fits(path: Path) -> None:
    import psutil

    if path.parent.is_dir() and not path.exists():
        close = difflib.get_close_matches(path.name, sorted(entry.name for entry in path.parent.iterdir()), n=1)
        raise UserError(f"{path}: no such file" + (f'; did you mean "{shortened(close[0])}"?' if close else ""))
    needed, free = MEMORY_OF_ROWS * require_file(path), psutil.virtual_memory().available
    if needed > free:
        raise UserError(
            f"{path}: rows are read into memory, which takes about {needed / GIB:,.1f} GiB for this file, and "
            f"{free / GIB:,.1f} GiB are free; keep the columns that are needed, or a part of the rows, in a file"
        )


def _json_rows(path: Path) -> tuple[str, Iterable[Row]]:
    """What its places count, and the rows.

    Blank lines are skipped. Only a newline ends a line: JSON strings may hold other line separators.
    """
    text = _text(path)
    if not text.strip():
        raise UserError(f"{path}: is empty")
    if _is_one_object_a_line(text):
        lines = ((number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip())
        return "line", ((number, parse_json(line, str(path), number, unique_keys=True)) for number, line in lines)
    whole = parse_json(text, str(path), unique_keys=True)
    if _is_squad_form(whole):
        return "question", _squad_questions(str(path), whole)
    if not isinstance(whole, list):
        raise UserError(f"{path}: holds {_kind(whole)}, not a list of objects or one object a line")
    return "row", enumerate(whole, start=1)


def _read_parquet(path: Path, wanted: Sequence[str] | None) -> RawRows:
    try:
        columns = _parquet_columns(path, wanted)
    except UserError:
        raise
    except Exception as error:  # what a damaged or odd file makes pyarrow raise is of all kinds
        raise UserError(f"{path}: not a readable Parquet file ({reason(error)})") from error
    return _rows(path, "row", range(1, len(next(iter(columns.values()), ())) + 1), columns)


def _parquet_columns(path: Path, wanted: Sequence[str] | None) -> dict[str, list[Any]]:
    import pyarrow.parquet as pq
    from pyarrow.types import is_dictionary

    with open_file(path) as stream, pq.ParquetFile(stream) as file:
        _require_once(str(path), file.schema_arrow.names)
        wanted = file.schema_arrow.names if wanted is None else wanted
        columns: dict[str, list[Any]] = {name: [] for name in wanted}
        require_columns(str(path), file.schema_arrow.names, wanted)
        limit = _limit(path.stat().st_size)
        largest = _check_unpacked(path, file.metadata, wanted, limit)
        size = 0
        for batch in file.iter_batches(min(_BATCH, limit // largest), columns=list(wanted)):
            for name in wanted:
                column = batch[name].dictionary_decode() if is_dictionary(batch[name].type) else batch[name]
                size += column.nbytes + _BYTES_OF_CELL * len(column)
                if size > limit:  # a value that stands once in the file can be that of every row
                    raise _too_large(path)
                columns[name] += column.to_pylist()
    return columns


def _check_unpacked(path: Path, metadata: Any, wanted: Sequence[str], limit: int) -> int:
    """Bytes of the largest part of a column, which no value in it can exceed, before anything is unpacked.

    Raises: UserError if the columns become larger than the limit, as the file itself says.
    """
    groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
    parts = [group.column(index) for group in groups for index in range(group.num_columns)]
    sizes = [part.total_uncompressed_size for part in parts if part.path_in_schema.split(".")[0] in wanted]
    if sum(sizes) > limit:
        raise _too_large(path)
    return max(sizes, default=1) or 1


def require_columns(where: str, found: Iterable[str], wanted: Sequence[str]) -> None:
    """Raises: UserError that lists the columns found, where one of `wanted` is not among them."""
    found = list(found)
    missing = [name for name in wanted if name not in found]
    if missing:
        names = [shortened(name) for name in found[:_SHOWN_COLUMNS]]
        more = f" and {len(found) - len(names)} more" if len(found) > len(names) else ""
        close = difflib.get_close_matches(missing[0], found, n=1)
        hint = f'; did you mean "{shortened(close[0])}"?' if close else ""
        raise UserError(f'{where}: no column "{missing[0]}"; columns found: {", ".join(names) or "none"}{more}{hint}')


def _require_once(where: str, found: Sequence[str]) -> None:
    """Columns without a name, which spreadsheets add, may be several."""
    twice = next((name for name, count in Counter(found).items() if name and count > 1), None)
    if twice is not None:
        raise UserError(f'{where}: has {found.count(twice)} columns "{shortened(twice)}"; keep one of them')


def _text(path: Path) -> str:
    content = read_bytes(path, LARGEST_TEXT)
    if content.startswith(GZIP_MAGIC):
        content = _unpacked(path, content)
    text = decoded(content, path)
    null = text.find("\0")
    if null >= 0:
        line = text.count("\n", 0, null) + 1
        raise UserError(f"{path}, line {line}: holds a null byte, which no text has; is the file damaged?")
    return text


def _unpacked(path: Path, packed: bytes) -> bytes:
    limit = _limit(len(packed))
    try:
        with GzipFile(fileobj=io.BytesIO(packed)) as stream:
            content = stream.read(limit + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: not a whole gzip file ({reason(error)}); is it cut off?") from error
    if len(content) > limit:
        raise _too_large(path)
    return content


def _limit(size: int) -> int:
    """Bytes that a packed file of that size may become."""
    return max(LARGEST_UNPACKED, LARGEST_RATIO * size)


def _too_large(path: Path) -> UserError:
    return UserError(f"{path}: becomes more than {LARGEST_RATIO} times as large; if that is right, unpack it first")


def _is_one_object_a_line(text: str) -> bool:
    """Whether the first line that is not blank is an object by itself, and not all of SQuAD in one line."""
    start = len(text) - len(text.lstrip())
    end = text.find("\n", start)
    try:
        first = json.loads(text[start : end if end >= 0 else None])
    except (ValueError, RecursionError):
        return False
    return isinstance(first, dict) and not _is_squad_form(first)


def _is_squad_form(value: Any) -> bool:
    """SQuAD's own files: {"data": [{"paragraphs": [{"context": …, "qas": [{"question": …, "answers": […]}]}]}]}."""
    return isinstance(value, dict) and isinstance(value.get("data"), list)


def _squad_questions(path: str, squad: Any) -> Iterator[tuple[object, dict[str, Any]]]:
    """Each question with all that is said of it and of its paragraph, by its id, or by its number where it has none.

    Raises: UserError that says which part of the file has another form.
    """
    number = 0
    for article_place, article in _squad_parts(path, "", squad, "data"):
        for paragraph_place, paragraph in _squad_parts(path, article_place, article, "paragraphs"):
            for place, question in _squad_parts(path, paragraph_place, paragraph, "qas"):
                number += 1
                if not isinstance(question, dict):
                    raise UserError(f"{path}, {place}: is not an object")
                if question.get("is_impossible") is True and question.get("answers"):
                    raise UserError(f"{path}, {place}: is_impossible is true, but there are answers")
                identity = question.get("id")
                name = shortened(identity) if isinstance(identity, str) and identity else number
                yield name, {**paragraph, **question}


def _squad_parts(path: str, place: str, whole: Any, key: str) -> Iterator[tuple[str, Any]]:
    """The entries of the list `whole[key]`, and where they are in the file."""
    if not isinstance(whole, dict) or not isinstance(whole.get(key), list):
        raise UserError(f'{path}, {place}: is not an object with a list "{key}", as in SQuAD\'s own files')
    here = f"{place}.{key}" if place else key
    return ((f"{here}[{index}]", part) for index, part in enumerate(whole[key]))


def _csv_lines(path: Path, text: str, delimiter: str = ",") -> Iterator[tuple[int, list[str]]]:
    """Each row that is not blank, with the number of the line it starts on."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=delimiter)
    start = 1
    try:
        for row in reader:
            if len(row) > 1 or "".join(row).strip():
                yield start, row
            start = reader.line_num + 1
    except csv.Error as error:
        form = "CSV" if delimiter == "," else "TSV"
        raise UserError(f"{path}, line {start}: not valid {form} ({error}); is it cut off?") from error


def _from_table(
    path: Path,
    lines: Iterator[tuple[int, list[str]]],
    wanted: Sequence[str] | None,
    numbers: Sequence[str] = ("label",),
) -> RawRows:
    """The first line names the columns. The cells of `numbers` become numbers, others stay text."""
    _, header = next(lines, (1, []))
    if not header:
        raise UserError(f"{path}: is empty")
    _require_once(str(path), header)
    wanted = list(filter(None, header)) if wanted is None else wanted
    require_columns(str(path), header, wanted)
    return _from_objects(path, "line", _table_rows(path, header, lines, numbers), wanted)


def _table_rows(
    path: Path, header: list[str], lines: Iterator[tuple[int, list[str]]], numbers: Sequence[str]
) -> Iterator[Row]:
    for line, cells in lines:
        if len(cells) != len(header):
            raise UserError(f"{path}, line {line}: {len(cells)} cells, but the header has {len(header)}")
        yield line, {name: _number(cell) if name in numbers else cell for name, cell in zip(header, cells, strict=True)}


def _number(cell: str) -> Any:
    """The number that a cell of a table spells, or the cell itself."""
    try:
        value = json.loads(cell)
    except (ValueError, RecursionError):
        return cell
    return value if isinstance(value, int | float) else cell


def _from_objects(path: Path, unit: str, rows: Iterable[Row], wanted: Sequence[str]) -> RawRows:
    places: list[object] = []
    columns: dict[str, list[Any]] = {name: [] for name in wanted}
    for place, row in rows:
        where = f"{path}, {unit} {place}"
        if not isinstance(row, dict):
            raise UserError(f"{where}: holds {_kind(row)}, not an object with the columns {', '.join(wanted)}")
        require_columns(where, row, wanted)
        places.append(place)
        for name in wanted:
            columns[name].append(row[name])
    return _rows(path, unit, places, columns)


def _rows(path: Path, unit: str, places: Sequence[object], columns: dict[str, list[Any]]) -> RawRows:
    if not places:
        raise UserError(f"{path}: is empty, it holds no rows")
    return RawRows(str(path), unit, places, columns)


def _kind(value: Any) -> str:
    kinds = {dict: "an object", list: "a list", str: "a string", bool: "a true/false value", type(None): "null"}
    return kinds.get(type(value), "a number")
