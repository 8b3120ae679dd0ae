"""Tables on terminals of several widths."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest

from rocoft_bench.analysis.table import Cell, Column, Row, Stat, Table
from rocoft_bench.cli.console import TerminalConsole
from rocoft_bench.cli.tables import print_tables
from tests.report.writing.examples import WHY, glue_table, hard_table


def printed(*tables: Table, width: int = 200, color_system: str | None = None) -> str:
    file = io.StringIO()
    terminal = color_system is not None
    console = TerminalConsole(
        file=file,
        width=width,
        color_system=color_system,  # type: ignore[arg-type]
        force_terminal=terminal,
        legacy_windows=False,
    )
    print_tables(tables, console)
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines())


def test_a_table_as_a_whole() -> None:
    assert printed(glue_table()) == (
        "\n"
        "Table 1: GLUE\n"
        "Model: some/model · Data: the hub, validation\n"
        "method        adapter         RTE acc (%)                    MRPC acc/F1 (%)\n"
        "RoCoFT-3-Row  248,832  78.73 ± 0.31 (n=3)  88.61 ± 0.31 / 90.74 ± 0.28 (n=3)\n"
        "  paper        0.249M               78.31        89.71 ± 0.30 / 90.74 ± 0.20\n"
        "  difference                        +0.42                       −1.10 / 0.00\n"
        "LoRA, r=8     294,912            [oom ×2]                          86.50 / –\n"
        "  reference                         74.92\n"
        "- a note\n"
        "- another"
    )


def test_a_simple_table_looks_simple() -> None:
    columns = [Column("adapter", "adapter", ("",), decimals=0), Column("task", "entailment", ("acc",), task="task")]
    values = {"Head only": (0, 51.14), "LoRA": (73_728, 69.14)}
    rows = [
        Row("demo-minilm", name, {"adapter": Cell((Stat(adapter, n=1),)), "task": Cell((Stat(score, n=1),))})
        for name, (adapter, score) in values.items()
    ]
    assert printed(Table("demo", "demo, demo-minilm", columns, rows)) == (
        "\n"
        "demo, demo-minilm\n"
        "method     adapter  entailment acc\n"
        "Head only        0           51.14\n"
        "LoRA        73,728           69.14"
    )


def test_what_an_earlier_table_told_at_length_is_referred_to() -> None:
    """A single note is told again, and so is a short condition."""
    first, second, third = (replace(glue_table(), number=number) for number in ("4", "5", None))
    protocol = "a sentence of a protocol, " * 8
    for table in (first, second):
        table.conditions = {**table.conditions, "Protocol": protocol}
    second.notes = [*first.notes, "a third"]
    third.notes = ["a third", "a fourth"]
    one, two, three = (" ".join(part.split()) for part in printed(first, second, third).split("\n\n"))
    assert "Protocol: a sentence" in one
    assert one.endswith("- a note - another")
    assert "Model: some/model · Data: the hub, validation · Protocol: as of Table 4 " in two
    assert two.endswith("- a third - 2 notes as of Table 4")
    assert three.endswith("- a third - a fourth")


def test_several_models_head_their_rows() -> None:
    lines = printed(glue_table(("small", "large"))).splitlines()
    assert [line for line in lines if line in ("small", "large")] == ["small", "large"]
    assert lines[lines.index("large") + 1].startswith("RoCoFT-3-Row  248,832")


@pytest.mark.parametrize("width", [60, 80, 100, 200])
def test_a_wide_table_is_split_and_no_number_is_broken(width: int) -> None:
    """Each cell is on one line, below its heading and right of its method."""
    columns = [Column(f"task{i}", f"task{i}", ("acc", "F1"), task=f"task{i}") for i in range(8)]
    cells = {column.key: Cell((Stat(80.0 + i, 0.5, 3), Stat(70.0 + i, 0.5, 3))) for i, column in enumerate(columns)}
    rows = [Row("m", "RoCoFT-3-Row", cells), Row("m", "LoRA", cells)]
    lines = printed(Table("wide", "wide", columns, rows), width=width).splitlines()
    assert max(map(len, lines)) <= width
    blocks = "\n".join(lines[2:]).split("\n\n")
    assert len(blocks) == {60: 8, 80: 8, 100: 4, 200: 2}[width]
    found = [heading for block in blocks for heading in block.splitlines()[0].split()[1::2]]
    assert found == [column.key for column in columns]
    for block in blocks:
        head, *methods = block.splitlines()
        assert [line.split()[0] for line in methods] == ["RoCoFT-3-Row", "LoRA"]
        for index in map(int, (word[4:] for word in head.split()[1::2])):
            assert all(f"{80 + index}.00 ± 0.50 / {70 + index}.00 ± 0.50 (n=3)" in line for line in methods)


def test_a_block_says_nothing_of_references_that_it_has_not() -> None:
    table = glue_table()
    narrow = printed(replace(table, columns=table.columns[:2]), width=40)
    adapter, rte = narrow.split("\n\n")
    assert "  paper        0.249M" in adapter
    assert "difference" not in adapter
    assert "  difference               +0.42" in rte


def test_long_words_are_wrapped_and_complete() -> None:
    name, reason = "a-very-long-name-" * 5, "training.epoch is not a setting " * 5
    text = printed(Table("wrong", "wrong", [WHY], [Row("m", name, {"why": Cell(text=reason)})]), width=80)
    head, *lines = text.splitlines()[2:]
    split = head.index("why")
    assert max(map(len, lines)) <= 80
    assert "".join(line[:split].strip() for line in lines) == name
    assert " ".join(line[split:].strip() for line in lines).split() == reason.split()


def test_names_give_way_to_numbers() -> None:
    column = Column("rouge", "xsum", ("R1", "R2", "RL"))
    row = Row(
        "m", "a-very-long-name-" * 5, {"rouge": Cell((Stat(40.0, 0.5, 3), Stat(20.0, 0.5, 3), Stat(35.0, 0.5, 3)))}
    )
    assert "40.00 ± 0.50 / 20.00 ± 0.50 / 35.00 ± 0.50 (n=3)" in printed(Table("t", "t", [column], [row]), width=92)


def test_headings_are_wrapped_where_that_saves_a_block() -> None:
    columns = [Column(f"c{index}", "trained parameters", ("",), decimals=0) for index in range(4)]
    row = Row("m", "LoRA", {column.key: Cell((Stat(1.0, n=1),)) for column in columns})
    table = Table("t", "t", columns, [row])
    assert printed(table, width=100).splitlines()[2] == "method" + "  trained parameters" * 4
    assert printed(table, width=60).splitlines()[3] == "method" + "  parameters" * 4


def test_best_is_bold_and_second_underlined() -> None:
    text = printed(glue_table(), color_system="standard")
    assert "\x1b[1m88.61\x1b[0m" in text
    assert "\x1b[4m86.50\x1b[0m" in text


def test_hard_texts_command_nothing() -> None:
    """Neither the terminal nor rich reads them as more than words."""
    text = printed(hard_table(), width=2000)
    assert "[bold]" in text
    assert "[/]" in text
    assert not {"\x1b", "\x00", "\r", "\ud800"} & set(text)


def test_nothing_to_show_is_a_table_without_rows() -> None:
    empty = replace(glue_table(), rows=[])
    assert printed(empty).splitlines()[3] == "method  adapter  RTE acc (%)  MRPC acc/F1 (%)"
    assert printed(replace(empty, columns=[])).splitlines()[3] == "method"
