"""Findings on the paper's own numbers, recomputed here from what it prints."""

from __future__ import annotations

import pytest

from rocoft_bench import paper
from rocoft_bench.analysis.references import ROW_TITLES
from rocoft_bench.analysis.table import Row, Table
from rocoft_bench.audit import paper_audit
from rocoft_bench.paper import is_printed_as


@pytest.fixture(scope="module")
def tables() -> dict[str, Table]:
    return {table.key: table for table in paper_audit()}


def rows_of(table: Table, method: str, model: str = "") -> list[Row]:
    return [row for row in table.rows if row.method == method and model in ("", row.model)]


def text(row: Row, column: str) -> str:
    return row.cells[column].text


def test_every_cell_is_of_a_column(tables: dict[str, Table]) -> None:
    for table in tables.values():
        assert len({row.key for row in table.rows}) == len(table.rows) > 0
        assert all(set(row.cells) >= {column.key for column in table.columns} for row in table.rows)


@pytest.mark.parametrize(
    ("method", "first", "second", "verdict"),
    [
        ("LoRA", (84.11, 84.32), (88.12, 87.28), "first is printed as 84.32, second is printed as 87.28"),
        ("AdaLoRA", (83.42, 84.06), (87.91, 87.21), "first is printed as 84.06, second is printed as 87.21"),
        ("RoCoFT-3-Row", (85.77, 85.65), (89.34, 90.61), "first is printed as 85.65, second is printed as 90.61"),
        ("RoCoFT-1-Row", (84.21, 84.21), (88.10, 89.97), "second is printed as 89.97"),
        ("RoCoFT-1-Column", (84.24, 84.11), (88.59, 89.96), "first is printed as 84.11, second is printed as 89.96"),
        ("IA3", (82.47, 82.46), (86.65, 86.64), "agrees"),
        ("VeRA", (83.57, 83.57), (87.65, 87.65), "agrees"),
    ],
)
def test_averages(
    tables: dict[str, Table], method: str, first: tuple[float, float], second: tuple[float, float], verdict: str
) -> None:
    (row,) = rows_of(tables["audit-averages"], method)
    for name, (recomputed, printed) in (("first", first), ("second", second)):
        (part,) = row.cells[name].parts
        assert part.value == pytest.approx(recomputed, abs=0.005)
        assert part.reference == printed
        assert part.difference == pytest.approx((part.value or 0) - printed)
    assert text(row, "verdict") == verdict


def test_the_sum_behind_an_average_is_written_out(tables: dict[str, Table]) -> None:
    (row,) = rows_of(tables["audit-averages"], "LoRA")
    first, second = text(row, "arithmetic").split("; ")
    assert first == "(60.09 + 93.31 + 86.50 + 90.66 + 88.83 + 86.54 + 92.02 + 74.92) / 8 = 84.1088"
    assert second == "(88.68 + 90.47 + 85.21) / 3 = 88.1200"


def test_who_leads_by_the_recomputed_averages(tables: dict[str, Table]) -> None:
    notes = " ".join(tables["audit-averages"].notes)
    assert "printed RoCoFT-3-Column (90.69), recomputed RoCoFT-3-Row (89.34)" in notes


def test_rocofts_parameters_are_shown_with_their_arithmetic(tables: dict[str, Table]) -> None:
    table = tables["audit-parameters"]
    (base,) = rows_of(table, "RoCoFT-3-Row", "roberta-base")
    assert text(base, "arithmetic").endswith("3 × (60 × 768 + 12 × 3,072) = 3 × 82,944 = 248,832")
    (llama,) = rows_of(table, "RoCoFT-3-Row", "llama-2-7b")
    per_row = 32 * (6 * 4096 + 11008)
    assert llama.cells["adapter"].parts[0].value == 3 * per_row == 3_416_064
    assert text(llama, "arithmetic").endswith(f"{13.47e6 / per_row:.3f} ranks")
    assert text(llama, "verdict").startswith("disagrees")
    assert not rows_of(table, "LoRA", "roberta-base")  # agrees, with the head


def test_table_8s_first_rank_is_not_half_of_its_second(tables: dict[str, Table]) -> None:
    verdicts = {row.method: text(row, "verdict").startswith("disagrees") for row in tables["audit-ranks"].rows}
    assert len(verdicts) == 15
    assert {method for method, wrong in verdicts.items() if wrong} == {
        "RoCoFT-Row, rank 1",
        "RoCoFT-Column, rank 1",
    }
    (row,) = rows_of(tables["audit-ranks"], "RoCoFT-Row, rank 1")
    assert "1 × 27,648 = 27,648" in text(row, "arithmetic")
    assert sum("memory falls" in note for note in tables["audit-ranks"].notes) == 2


def test_claims_of_the_highest_value(tables: dict[str, Table]) -> None:
    failing = {
        (row.model, row.method, row.variant.split()[0])
        for row in tables["audit-claims"].rows
        if text(row, "verdict") == "does not hold" and "higher: " in text(row, "data")
    }
    assert failing == {
        ("bloomz-7b", "RoCoFT-3-Column", "gsm8k"),
        ("gpt-j-6b", "RoCoFT-3-Row", "multiarith"),
        ("gpt-j-6b", "RoCoFT-3-Column", "siqa"),
        ("llama-2-7b", "RoCoFT-3-Column", "singleeq"),
        ("llama-2-13b", "RoCoFT-3-Row", "svamp"),
        ("roberta-large", "RoCoFT-3-Row", "mrpc"),
        ("roberta-large", "RoCoFT-3-Column", "stsb"),
        ("roberta-large", "RoCoFT-3-Column", "qqp"),
    }


def test_no_claim_of_a_value_that_the_table_does_not_print(tables: dict[str, Table]) -> None:
    assert not [text(row, "data") for row in tables["audit-claims"].rows if "another value" in text(row, "data")]


def test_a_claim_that_only_full_fine_tuning_beats(tables: dict[str, Table]) -> None:
    exact, f1 = rows_of(tables["audit-claims"], "RoCoFT-Row", "deberta-v3-base")
    assert (text(exact, "verdict"), text(f1, "verdict")) == ("holds but for full fine-tuning", "holds")
    assert "FT 82.83" in text(exact, "data")


def test_bitfit_is_not_outperformed_on_roberta_large(tables: dict[str, Table]) -> None:
    values = {
        method: {(r.task, r.metric): r.value for r in paper.results() if (r.table, r.method) == (6, method)}
        for method in ("RoCoFT-1-Row", "BitFit")
    }
    better = sum(values["RoCoFT-1-Row"][key] > value for key, value in values["BitFit"].items())
    (row,) = rows_of(tables["audit-claims"], "RoCoFT-1-Row", "roberta-large")
    assert f"higher than BitFit in {better} of 11 numbers" in text(row, "data")
    assert text(row, "verdict") == "does not hold"


def test_protocol_notes(tables: dict[str, Table]) -> None:
    notes = {row.method: text(row, "printed") + " → " + text(row, "meaning") for row in tables["audit-protocol"].rows}
    assert "dim=0" in notes["Algorithm 1"]
    assert "294,912 + 592,130 of the head = 887,042" in notes["Tables 1 and 6: #TTPs"]
    everything = " ".join(notes.values())
    assert "Gradient Accumul. 0 (12 tasks)" in everything
    assert "82,944 with it, 73,728 without" in everything
    assert "331,776" in everything
    assert "Table 2 has 69.32" in everything


def test_data_sizes(tables: dict[str, Table]) -> None:
    found = {(row.method, row.variant): row for row in tables["audit-data-sizes"].rows}
    assert set(found) == {("PIQA", "test"), ("ARC-e", "train"), ("ARC-c", "train")}
    piqa, easy = found["PIQA", "test"], found["ARC-e", "train"]
    assert (text(piqa, "printed"), text(piqa, "counted"), text(piqa, "remark")) == ("1,830", "1,838", "")
    assert (text(easy, "counted"), text(easy, "remark")) == ("2,251", "it is the size of ARC-c")
    assert any(note.startswith("AQuA ") for note in tables["audit-data-sizes"].notes)
    assert any(
        note.startswith("MultiArith, AddSub, SingleEq, SVAMP have no training rows")
        for note in tables["audit-data-sizes"].notes
    )


@pytest.mark.parametrize(
    ("count", "printed", "expected"),
    [(39905, "39.9K", True), (10570, "10.6k", True), (1119, "1.1K", True), (2251, "1.1K", False), (1319, "1,319", True),
     (1838, "1,830", False), (872, "872", True), (63238, "63.2K", True), (63399, "63.2K", False)],
)  # fmt: skip
def test_printed_sizes(count: int, printed: str, expected: bool) -> None:
    assert is_printed_as(count, printed) is expected


def test_the_papers_data_sizes_are_read() -> None:
    sizes = {(size.table, size.dataset, size.split): size.rows for size in paper.dataset_sizes()}
    assert sizes[14, "GSM8K", "train"] == "8.8K"
    assert sizes[15, "RTE", "test"] == "3k"
    assert (14, "SVAMP", "train") not in sizes
    assert (15, "SQuAD v1.1", "test") not in sizes


def test_every_place_has_the_same_rank_for_table_7(tables: dict[str, Table]) -> None:
    """The table does not print it; counts and results stand beside the one that the paper's text states."""
    assert ROW_TITLES["RoCoFT-Row"] == "RoCoFT-3-Row"
    for row in tables["audit-parameters"].rows:
        if row.method in ROW_TITLES:
            assert "= 3 × (" in text(row, "arithmetic")
    (note,) = [note for note in tables["audit-parameters"].notes if "Table 7" in note]
    assert "; 3 is that of" in note
