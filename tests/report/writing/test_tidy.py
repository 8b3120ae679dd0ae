"""Tables as data, read back."""

from __future__ import annotations

import csv
import io
from dataclasses import fields, replace
from typing import Any

import pytest

from rocoft_bench.analysis.method_comparison import Comparison
from rocoft_bench.analysis.seed_statistics import SeedDifference
from rocoft_bench.analysis.table import Cell, Column, Row, Stat, Table
from rocoft_bench.report.writing import as_csv, comparisons_csv
from tests.report.writing.examples import WHY, glue_table, hard_table


def test_every_number_comes_back() -> None:
    table = glue_table()
    expected = [
        (row.method, row.variant, column.key, column.parts[index], part)
        for row in table.rows
        for column in table.columns
        for index, part in enumerate(row.cell(column).parts)
        if part.value is not None or part.reference is not None
    ]
    found = _read([table])
    assert len(found) == len(expected) == 7
    for line, (method, variant, column, name, part) in zip(found, expected, strict=True):
        assert (line["method"], line["variant"], line["column"], line["part"]) == (method, variant, column, name)
        assert _number(line["value"]) == part.value
        assert _number(line["deviation"]) == part.deviation
        assert _number(line["reference"]) == part.reference
        assert _number(line["reference_deviation"]) == part.reference_deviation
        assert _number(line["difference"]) == part.difference
        assert (line["n"], line["standing"]) == (str(part.n), part.highlight or "")


def test_what_else_a_line_says() -> None:
    lines = _read([glue_table()])
    line = next(line for line in lines if (line["method"], line["column"]) == ("LoRA", "rte"))
    assert (line["table"], line["number"], line["model"], line["task"]) == ("table1", "1", "roberta-base", "rte")
    assert (line["value"], line["reference"], line["text"], line["unit"]) == ("", "74.92", "[oom ×2]", "%")
    assert (line["failures"], line["runs"]) == ("oom;oom", "rte/3;rte/4")
    assert (line["condition_model"], line["condition_data"]) == ("some/model", "the hub, validation")
    assert lines[0]["reference_text"] == "0.249M"


def test_cells_without_numbers() -> None:
    cells = {"said": Cell(text="because"), "failed": Cell(failures=("nan",)), "paper": Cell(reference_text="n/a")}
    columns = [replace(WHY, key=key) for key in ("said", "nothing", "failed", "paper")]
    lines = _read([Table("t", "t", columns, [Row("m", "x", cells)])])
    assert [(line["column"], line["text"], line["failures"], line["reference_text"]) for line in lines] == [
        ("said", "because", "", ""),
        ("failed", "[nan]", "nan", ""),
        ("paper", "", "", "n/a"),
    ]


def test_tables_of_other_conditions_share_a_file() -> None:
    seeds = replace(glue_table(), key="other", conditions={"Loss scope": "response"})
    lines = _read([glue_table(), seeds])
    assert [(line["condition_model"], line["condition_loss_scope"]) for line in (lines[0], lines[-1])] == [
        ("some/model", ""),
        ("", "response"),
    ]


FORMULA = "=HYPERLINK(A1)"


@pytest.mark.parametrize("text", [FORMULA, "+1", "-x", "@SUM(A1)", "\uff1dA1", "\t =A1", "\x1b[2J=A1"])
def test_no_text_is_a_formula_or_commands_a_terminal(text: str) -> None:
    columns = [Column(text, text, (text,), task=text, unit=text), Column("why", text)]
    cells = {text: Cell((Stat(-1.5, reference=2.0),), runs=(text,), failures=(text,)), "why": Cell(text=text)}
    written = as_csv([Table(text, text, columns, [Row(text, text, cells, text, text)], text, {text: text}, [text])])
    for line in csv.reader(io.StringIO(written)):
        for field in line:
            assert field.startswith("-1.5") or field[:1] not in "=+-@\uff1d" or not field
            assert field.isprintable()
    (number, _) = csv.DictReader(io.StringIO(written))
    assert float(number["value"]) == -1.5


def test_comparisons_are_as_harmless() -> None:
    texts = {field.name: FORMULA for field in fields(Comparison) if field.type in ("str", "str | None")}
    numbers = {field.name: -0.5 for field in fields(Comparison) if field.name not in (*texts, "over_seeds")}
    of_seeds: dict[str, Any] = {field.name: -0.25 for field in fields(SeedDifference)}
    compared = Comparison(**texts, **numbers, over_seeds=SeedDifference(**of_seeds))
    (line,) = csv.DictReader(io.StringIO(comparisons_csv([compared])))
    assert {name: line[name] for name in texts} == dict.fromkeys(texts, f"'{FORMULA}")
    assert {name: float(line[name]) for name in numbers | of_seeds} == numbers | of_seeds


def test_hard_texts_stay_on_their_line() -> None:
    text = as_csv([hard_table()])
    assert len(text.splitlines()) == 1 + len(_read([hard_table()])) == 1 + 3 * 2
    text.encode("utf-8")


def _read(tables: list[Table]) -> list[dict[str, str]]:
    return list(csv.DictReader(as_csv(tables).splitlines(keepends=True)))


def _number(text: str) -> float | None:
    return float(text) if text else None
