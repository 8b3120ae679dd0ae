"""CSV that a spreadsheet can be trusted with: a text that it would take for a formula is none there."""

import csv
import io
import unicodedata
from collections.abc import Iterable, Mapping, Sequence

from rocoft_bench.report.writing.cleaning import one_line

FORMULA = ("=", "+", "-", "@")
"""What a formula begins with."""


def csv_text(fields: Sequence[str], lines: Iterable[Mapping[str, object]]) -> str:
    """A line of field names, then a line for each mapping; a field that it lacks is empty.

    Numbers are written in full. A text is on one line and, where a spreadsheet would take it for a formula, begins with
    an apostrophe.
    """
    stream = io.StringIO()
    writer = csv.DictWriter(stream, [_harmless(field) for field in fields], restval="", lineterminator="\n")
    writer.writeheader()
    for line in lines:
        writer.writerow({_harmless(k): _harmless(v) if isinstance(v, str) else v for k, v in line.items()})
    return stream.getvalue()


def _harmless(text: str) -> str:
    shown = one_line(text)
    return f"'{shown}" if unicodedata.normalize("NFKC", shown[:1]) in FORMULA else shown
