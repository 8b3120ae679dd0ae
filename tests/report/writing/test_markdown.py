"""Tables as Markdown, by their text and by what a renderer makes of it."""

from __future__ import annotations

from markdown_it import MarkdownIt

from rocoft_bench.report.writing import as_markdown
from rocoft_bench.report.writing.cleaning import cleaned
from tests.report.writing.examples import glue_table, hard_table

RENDERER = MarkdownIt("commonmark").enable(["table", "strikethrough"])


def test_the_whole_of_a_table() -> None:
    assert as_markdown([glue_table()], "Results") == (
        "# Results\n"
        "\n"
        "## Table 1: GLUE\n"
        "\n"
        "- Model: some/model\n"
        "- Data: the hub, validation\n"
        "\n"
        "| method | adapter | RTE acc (%) | MRPC acc/F1 (%) |\n"
        "| --- | ---: | ---: | ---: |\n"
        "| RoCoFT-3-Row | 248,832 | 78.73 ± 0.31 (n=3) | **88.61** ± 0.31 / 90.74 ± 0.28 (n=3) |\n"
        "| *paper* | 0.249M | 78.31 | 89.71 ± 0.30 / 90.74 ± 0.20 |\n"
        "| *difference* |  | +0.42 | −1.10 / 0.00 |\n"
        "| LoRA, r=8 | 294,912 | [oom ×2] | <u>86.50</u> / – |\n"
        "| *reference* |  | 74.92 |  |\n"
        "\n"
        "- a note\n"
        "- another\n"
    )


def test_several_models_have_a_column() -> None:
    lines = as_markdown([glue_table(("small", "large"))]).splitlines()
    assert "| model | method | adapter | RTE acc (%) | MRPC acc/F1 (%) |" in lines
    assert [line.split(" | ")[:2] for line in lines if "RoCoFT" in line] == [
        ["| small", "RoCoFT-3-Row"],
        ["| large", "RoCoFT-3-Row"],
    ]


def test_hard_texts_are_shown_as_they_are() -> None:
    """A renderer finds no markup in them, and the cells where they belong."""
    table = cleaned(hard_table())
    title, condition, *rest = _shown(as_markdown([hard_table()]))
    assert title == f"{table.number}: {table.title}"
    assert condition == "".join(f"{name}: {value}" for name, value in table.conditions.items())
    assert rest[-len(table.notes) :] == table.notes
    number, why = table.columns
    model, method, value, text = rest[4:8]
    assert rest[3] == why.title
    assert rest[2].endswith(f"({number.unit})")
    assert (model, method) == (table.rows[0].model, table.rows[0].title)
    assert value == f"1.00 [{table.rows[0].cells['n'].failures[0]}]"
    assert text == table.rows[0].cells["why"].text


def _shown(markdown: str) -> list[str]:
    """The words of each heading, list item and table cell."""
    inline = [token for token in RENDERER.parse(markdown) if token.type == "inline"]
    return ["".join(child.content for child in token.children or []) for token in inline]
