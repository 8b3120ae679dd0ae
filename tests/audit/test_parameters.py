"""The parameter audit: our counts beside the paper's figures, and what is said where they differ."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from rocoft_bench import methods
from rocoft_bench.audit.parameters import AuditRow, explanation, figures, parameter_audit, shapes_of
from rocoft_bench.errors import UserError
from rocoft_bench.paper import is_printed_as


@pytest.fixture(scope="module")
def rows() -> dict[tuple[int, str, str], AuditRow]:
    return {
        (row.figure.table, row.model, row.figure.method): row for row in parameter_audit() if row.figure is not None
    }


@pytest.mark.parametrize(
    ("count", "millions", "printed"),
    [
        (887_042, "0.89", True),
        (82_944, "0.083", True),
        (355_361_794, "355.3", True),  # cut off
        (110_592, "0.110", True),  # cut off
        (221_184, "0.222", False),
        (27_648, "0.022", False),
        (406_291_456, "460", False),
        (183_833_090, "184", True),
    ],
)
def test_rounded_or_cut_off(count: int, millions: str, printed: bool) -> None:
    assert is_printed_as(count, f"{millions}M") is printed


def test_every_figure_of_the_paper_has_a_row(rows: dict[tuple[int, str, str], AuditRow]) -> None:
    assert len(rows) == len(figures())
    tables = [table for table, _, _ in rows]
    assert {table: tables.count(table) for table in set(tables)} == {1: 22, 2: 24, 6: 17, 7: 20, 8: 15}


MET = {  # (table, model, method): adapter, adapter + head
    (1, "roberta-base", "FT"): (124_055_040, 124_647_170),
    (1, "roberta-base", "Adapter-S"): (7_414_464, 8_006_594),
    (1, "roberta-base", "Prompt tuning"): (15_360, 607_490),
    (1, "roberta-base", "Prefix-tuning"): (368_640, 960_770),
    (1, "roberta-base", "IA3"): (64_512, 656_642),
    (1, "roberta-base", "AdaLoRA"): (442_656, 1_034_786),
    (1, "roberta-base", "MAM Adapter"): (1_189_248, 1_781_378),
    (1, "roberta-base", "PROPETL Adapter"): (1_278_784, 1_870_914),
    (1, "roberta-base", "MoSLoRA"): (1_666_080, 2_258_210),
    (1, "roberta-base", "LoRA-XS"): (259_200, 851_330),
    (1, "roberta-base", "VeRA"): (43_008, 635_138),
    (1, "roberta-base", "LoRA-FA"): (442_368, 1_034_498),
    (1, "roberta-base", "SFT"): (900_000, 1_492_130),
    (1, "roberta-base", "Diff Pruning"): (1_240_550, 1_832_680),
    (6, "roberta-large", "Adapter-S"): (19_768_704, 20_820_354),
    (6, "roberta-large", "PROPETL Adapter"): (4_353_109, 5_404_759),
    (6, "roberta-large", "MoSLoRA"): (2_174_304, 3_225_954),
    (7, "deberta-v3-base", "FT"): (183_831_552, 183_833_090),
    (7, "deberta-v3-base", "Prefix-tuning"): (1_732_608, 1_734_146),
    (8, "roberta-base", "LoRA, rank 64"): (3_538_944, 4_131_074),
    (8, "roberta-base", "RoCoFT-Row, rank 64"): (1_769_472, 2_361_602),
}


@pytest.mark.parametrize(("place", "counts"), MET.items(), ids=lambda v: str(v))
def test_figures_that_are_met(
    rows: dict[tuple[int, str, str], AuditRow], place: tuple[int, str, str], counts: tuple[int, int]
) -> None:
    row = rows[place]
    assert (row.adapter, row.adapter + row.head) == counts
    assert row.agrees
    assert explanation(row) in ("with head", "without head")


NOT_MET = {
    (1, "roberta-base", "PROPETL Prefix"): (2_410_496, "the prefix unshared, with head: 10,490,626"),
    (1, "roberta-base", "PROPETL LoRA"): (1_277_952, "LoRA unshared, with head: 1,771,778"),
    (6, "roberta-large", "PROPETL LoRA"): (3_276_800, "LoRA unshared, with head: 4,197,378"),
    (6, "roberta-large", "RoCoFT-3-Row"): (663_552, "no rank and no choice of linear layers gives it"),
    (2, "llama-2-7b", "LoRA"): (24_543_232, "no rank and no choice of linear layers gives it"),
    (2, "bloomz-7b", "AdaLoRA"): (24_085_740, "no init_rank and no choice of linear layers gives it"),
    (2, "llama-2-7b", "IA3"): (614_400, "no choice of linear layers gives it"),
    (2, "llama-2-7b", "RoCoFT-3-Row"): (3_416_064, "no rank and no choice of linear layers gives it"),
    (2, "llama-2-7b", "RoCoFT-3-Column"): (4_079_616, "no rank and no choice of linear layers gives it"),
    (2, "bloomz-7b", "RoCoFT-3-Row"): (2_580_480, "no rank and no choice of linear layers gives it"),
    (7, "bart-large", "FT"): (406_291_456, "no setting gives it"),
    (7, "deberta-v3-base", "Prompt tuning"): (15_360, "given by num_virtual_tokens 844 with head"),
    (8, "roberta-base", "RoCoFT-Row, rank 1"): (27_648, "no rank and no choice of linear layers gives it"),
}


@pytest.mark.parametrize(("place", "expected"), NOT_MET.items(), ids=lambda v: str(v))
def test_figures_that_are_not_met(
    rows: dict[tuple[int, str, str], AuditRow], place: tuple[int, str, str], expected: tuple[int, str]
) -> None:
    row = rows[place]
    assert not row.agrees
    assert row.adapter == expected[0]
    assert expected[1] in explanation(row)


def test_lokr_whose_factors_are_full_has_no_rank_to_vary(rows: dict[tuple[int, str, str], AuditRow]) -> None:
    """A rank past half a factor's side trains it in full, so that no rank of 118 or 353 gives Table 7's figures."""
    for model in ("deberta-v3-base", "bart-large"):
        assert explanation(rows[7, model, "LoKr"]) == "no choice of linear layers gives it"


def test_settings_that_are_said_to_give_a_figure_give_it(rows: dict[tuple[int, str, str], AuditRow]) -> None:
    said = [(row, explanation(row)) for row in rows.values() if not row.agrees]
    tried = 0
    for row, words in said:
        found = re.fullmatch(r"given by (\w+) (\d+)(?: on (.+?))? (with|without) head", words)
        if found is None:
            continue
        size, value, layers, head = found.groups()
        changes = {size: int(value)} | ({"target_modules": layers.split(", ")} if layers else {})
        method = methods.resolve({"name": row.method.name, **row.method.settings.model_dump(), **changes})
        count = method.adapter_parameters(shapes_of(row.model)) + (row.head if head == "with" else 0)
        assert row.figure is not None
        assert is_printed_as(count, row.figure.printed), words
        tried += 1
    assert tried > 3


def test_one_model_with_every_method_that_serves_it() -> None:
    names = {row.method.name for row in parameter_audit(model="llama-2-7b")}
    serving = {name for name in methods.METHODS if _serves(name, "causal_lm", "llama")}
    assert names == serving
    assert not {"head-only", "bitfit"} & names


def _serves(name: str, kind: str, model_type: str) -> bool:
    try:
        methods.resolve({"name": name}, task_kind=kind).check_supports(kind, model_type)
    except UserError:
        return False
    return True


def test_one_method_on_every_model() -> None:
    rows = parameter_audit(method="dora")
    assert [row.model for row in rows] == [
        *("roberta-base", "roberta-large", "deberta-v3-base", "bart-large"),
        *("bloomz-7b", "gpt-j-6b", "llama-2-7b", "llama-2-13b"),
    ]
    assert all(row.figure is None for row in rows)


def test_the_command(rocoft: Callable[..., Any]) -> None:
    result = rocoft("params", "--model", "roberta-base", "--method", "lora")
    assert result.code == 0
    line = next(line for line in result.out.splitlines() if line.startswith("1 "))
    assert line.split() == [
        *("1", "roberta-base", "LoRA", "294,912", "592,130", "887,042", "0.712", "0.89", "0.887", "=", "with", "head")
    ]
    assert result.out.splitlines()[-1] == "6 of 6 figures of the paper are met as printed"


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [("--model", "roberta-bas", 'did you mean "roberta-base"?'), ("--method", "lorra", 'did you mean "lora"?')],
)
def test_wrong_names(rocoft: Callable[..., Any], option: str, value: str, expected: str) -> None:
    result = rocoft("params", option, value)
    assert result.code == 2
    assert expected in result.err
