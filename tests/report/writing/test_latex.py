"""Tables as LaTeX, by their text and by what pdflatex makes of it."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from rocoft_bench.analysis.table import Cell, Row, Stat, Table
from rocoft_bench.report.writing import as_latex
from rocoft_bench.report.writing.latex import KNOWN, escaped
from tests.report.writing.examples import ADAPTER, MRPC, RTE, WHY, glue_table, hard_table

needs_pdflatex = pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")


def test_the_rows_of_a_table() -> None:
    text = as_latex([glue_table()])
    assert _between(text, r"\toprule", r"\bottomrule") == [
        r"method & adapter & RTE acc (\%) & MRPC acc/F1 (\%) \\",
        r"\midrule",
        r"RoCoFT-3-Row & 248,832 & 78.73 $\pm$ 0.31 (n=3) & "
        r"\textbf{88.61} $\pm$ 0.31 / 90.74 $\pm$ 0.28 (n=3) \\",
        r"\quad paper & 0.249M & 78.31 & 89.71 $\pm$ 0.30 / 90.74 $\pm$ 0.20 \\",
        r"\quad difference &  & +0.42 & $-$1.10 / 0.00 \\",
        r"LoRA, r=8 & 294,912 & {[}oom $\times$2{]} & \underline{86.50} / \textendash{} \\",
        r"\quad reference &  & 74.92 &  \\",
    ]


def test_around_the_rows() -> None:
    lines = _between(as_latex([glue_table()]), "% begin table table1", "% end table table1")
    assert r"\caption{GLUE (Table 1 of the paper)}\label{tab:table1}" in lines
    assert r"\par \textit{Model:} some/\allowbreak{}model $\cdot$ \textit{Data:} the hub, validation" in lines
    assert r"\par $\bullet$ a note" in lines
    assert (lines[0], lines[-1]) == (r"\begin{table}[!htbp]", r"\end{table}")


def test_a_rule_stands_between_models() -> None:
    lines = _between(as_latex([glue_table(("small", "large"))]), r"\toprule", r"\bottomrule")
    after_rules = [lines[index + 1].split(" & ")[:2] for index, line in enumerate(lines) if line == r"\midrule"]
    assert after_rules == [["small", "RoCoFT-3-Row"], ["large", "RoCoFT-3-Row"]]
    assert sum(line.startswith(("small", "large")) for line in lines) == 2


def test_a_long_table_goes_on_under_the_same_number() -> None:
    text = as_latex([_long_table(methods=30)])
    parts = text.split(r"\begin{table}")[1:]
    assert len(parts) > 1
    assert text.count(r"\label{tab:long}") == 1
    assert all("(continued)" in part and r"\addtocounter{table}{-1}" in part for part in parts[1:])
    assert re.findall(r"^method-\d+", text, re.MULTILINE) == [f"method-{index}" for index in range(30)]
    for part in parts:
        assert part.count("\nmethod-") == part.count(r"\quad difference")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("α, é, 中", r"$\alpha$, \'{e}, {\tiny U+4E2D}"),
        ("--rank ---", "-{}-rank -{}-{}-"),
        (r"a_b \x", r"a\_b $\backslash$x"),
    ],
)
def test_characters_stand_for_themselves_or_for_their_number(text: str, expected: str) -> None:
    assert escaped(text) == expected


@needs_pdflatex
def test_pdflatex_takes_hard_texts_and_wide_and_long_tables(tmp_path: Path) -> None:
    notes = replace(glue_table(), key="notes", notes=["a note of some length " * 10] * 120)
    nothing = Table("nothing", "nothing", [ADAPTER])
    wide = replace(glue_table(), key="wide", columns=[ADAPTER, *[RTE, MRPC] * 6])
    log = _compiled(as_latex([hard_table(), _every_character(), _long_table(40), notes, nothing, wide]), tmp_path)
    assert not re.findall(r"Overfull|Float too large|Missing character|multiply", log)
    assert "pk>" not in log, "a font without outlines"


def _every_character() -> Table:
    """ASCII at the start of rows and cells, and each character of another writing that is written somehow."""
    texts = [*map(chr, range(0x20, 0x250)), *KNOWN, *(f"{chr(code)}\u0301" for code in range(0x41, 0x7B))]
    rows = [Row("m", text, {"why": Cell(text=text)}) for text in texts]
    return Table("characters", "characters", [WHY], rows)


def _long_table(methods: int) -> Table:
    cells = {"rte": Cell((Stat(1.0, reference=2.0, difference=-1.0),))}
    rows = [Row("m", f"method-{index}", cells, reference_title="paper") for index in range(methods)]
    return Table("long", "many methods", [RTE], rows, notes=["a note"])


def _between(text: str, start: str, end: str) -> list[str]:
    lines = text.splitlines()
    return lines[lines.index(start) + 1 : lines.index(end)]


def _compiled(text: str, folder: Path) -> str:
    """The log of pdflatex."""
    (folder / "tables.tex").write_text(text, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "tables.tex"]
    result = subprocess.run(command, cwd=folder, capture_output=True, timeout=120)
    log = (folder / "tables.log").read_text(encoding="utf-8", errors="replace")
    assert result.returncode == 0, log[-3000:]
    assert (folder / "tables.pdf").stat().st_size > 10_000
    return log
