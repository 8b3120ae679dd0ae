"""Tables as data, read back."""

from __future__ import annotations

import csv
from dataclasses import replace

from rocoft_bench.report.model import Cell, Row, Table
from rocoft_bench.report.writing import as_csv
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
        assert (line["n"], line["standing"]) == (str(part.n), part.standing or "")


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


def test_hard_texts_stay_on_their_line() -> None:
    text = as_csv([hard_table()])
    assert len(text.splitlines()) == 1 + len(_read([hard_table()])) == 1 + 3 * 2
    text.encode("utf-8")


def _read(tables: list[Table]) -> list[dict[str, str]]:
    return list(csv.DictReader(as_csv(tables).splitlines(keepends=True)))


def _number(text: str) -> float | None:
    return float(text) if text else None
