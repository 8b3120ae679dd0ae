"""Tables as a LaTeX document with booktabs, for pdflatex; each can be taken into another document as it stands."""

import re
import unicodedata
from collections.abc import Sequence
from itertools import groupby

from rocoft_bench.analysis.table import Highlight, Row, Table
from rocoft_bench.report.writing.cleaning import readable
from rocoft_bench.report.writing.texts import Line, Piece, heading, lines, place

PREAMBLE = r"""\documentclass{article}
\usepackage[a4paper,landscape,margin=15mm]{geometry}
\usepackage{booktabs,graphicx}
\begin{document}
"""

FIT = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"
"""Opens a box that is scaled down to the width of the text if it is wider."""

LINES_PER_PAGE = 36
CHARACTERS_PER_LINE = 150
"""What a page holds of a table at full size; wider tables are scaled down, and so more of their lines fit."""

LONGEST_WORDS = 40
"""Characters of a text that is set on one line; longer ones are paragraphs."""

LONGEST_NOTES = 2000
"""Characters of conditions and notes that are set with the table; more follow it, where they may fill pages."""

BEGIN_FLOAT = (r"\begin{table}[!htbp]", r"\centering\small\setlength{\tabcolsep}{4pt}")

MARKS: dict[Highlight | None, str] = {"best": r"\textbf{%s}", "second": r"\underline{%s}", None: "%s"}


def as_latex(tables: Sequence[Table]) -> str:
    """A whole document. Each table stands between comment lines with its key and is labelled `tab:KEY`; one too long
    for a page goes on in a further `table` of the same number. Best values are bold, second best underlined.
    """
    shown = [line for table in tables for line in _table(readable(table))]
    return "\n".join([PREAMBLE, *shown, r"\end{document}", ""])


def _table(table: Table) -> list[str]:
    key = re.sub(r"[^A-Za-z0-9_.-]", "-", table.key)
    floats = [[*_head(table, key, index), *_tabular(table, rows)] for index, rows in enumerate(_pages(table))]
    below, after = _below(table), []
    if sum(map(len, below)) <= LONGEST_NOTES:
        floats[-1] += [r"\begin{minipage}{\linewidth}\footnotesize\raggedright", *below, r"\end{minipage}"]
    else:
        after = [r"{\footnotesize\raggedright", *below, r"\par}"]
    shown = [line for lines_ in floats for line in (*BEGIN_FLOAT, *lines_, r"\end{table}")]
    return [f"% begin table {key}", *shown, *after, f"% end table {key}", r"\clearpage", ""]


def _head(table: Table, key: str, index: int) -> list[str]:
    """The caption of a page of the table. The number is LaTeX's; that of the paper stands behind the title."""
    title = escaped(table.title) + (f" ({escaped(place(table))} of the paper)" if table.number else "")
    if index == 0:
        return [rf"\caption{{{title}}}\label{{tab:{key}}}"]
    return [r"\addtocounter{table}{-1}", rf"\caption{{{title} (continued)}}"]


def _below(table: Table) -> list[str]:
    """The conditions and the notes, a paragraph each."""
    holds = [rf"\textit{{{breakable(name)}:}} {breakable(value)}" for name, value in table.conditions.items()]
    notes = [rf"$\bullet$ {breakable(note)}" for note in table.notes]
    return [rf"\par {text}" for text in (*([r" $\cdot$ ".join(holds)] if holds else []), *notes)]


def _pages(table: Table) -> list[list[Row]]:
    """The rows by pages; a row stays with its reference."""
    pages: list[list[Row]] = [[]]
    room = capacity = _capacity(table)
    for row in table.rows:
        height = len(lines(row, table.columns))
        if height > room and pages[-1]:
            pages.append([])
            room = capacity
        pages[-1].append(row)
        room -= height
    return pages


def _capacity(table: Table) -> int:
    """How many lines of the table a page holds."""
    shown = [line for row in table.rows for line in lines(row, table.columns)]
    widths = [
        max([len(heading(column)), *(_length(line.cells[i]) for line in shown)])
        for i, column in enumerate(table.columns)
    ]
    return int(LINES_PER_PAGE * max(1.0, sum(widths) / CHARACTERS_PER_LINE))


def _length(pieces: Sequence[Piece]) -> int:
    return sum(len(piece.text) for piece in pieces)


def _tabular(table: Table, rows: Sequence[Row]) -> list[str]:
    """The model is a column of its own where there are several, with a rule between them."""
    several = len(table.models) > 1
    names = [*([table.models] if several else []), [row.title for row in table.rows]]
    texts = ([row.cell(column).text for row in table.rows] for column in table.columns)
    of_columns = ("r" if column.parts else _words(own) for column, own in zip(table.columns, texts, strict=True))
    layout = "".join([*map(_words, names), *of_columns])
    titles = [*(["model"] if several else []), "method", *(escaped(heading(column)) for column in table.columns)]
    body: list[str] = []
    for model, group in groupby(rows, key=lambda row: row.model):
        shown = [line for row in group for line in lines(row, table.columns)]
        firsts = [[escaped(model) if index == 0 else ""] if several else [] for index in range(len(shown))]
        body += [r"\midrule", *(_line([*first, *_cells(line)]) for first, line in zip(firsts, shown, strict=True))]
    return [
        FIT,
        rf"\begin{{tabular}}{{{layout}}}",
        r"\toprule",
        _line(titles),
        *body,
        r"\bottomrule",
        r"\end{tabular}}",
    ]


def _words(texts: Sequence[str]) -> str:
    return r"p{60mm}" if any(len(text) > LONGEST_WORDS for text in texts) else "l"


def _cells(line: Line) -> list[str]:
    title = escaped(line.title) if line.is_result else rf"\quad {escaped(line.title)}"
    return [title, *("".join(MARKS[piece.highlight] % escaped(piece.text) for piece in cell) for cell in line.cells)]


def _line(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"


NAMED = (
    "αalpha βbeta γgamma δdelta εvarepsilon ζzeta ηeta θtheta ιiota κkappa λlambda μmu µmu νnu ξxi πpi ρrho σsigma "
    "τtau υupsilon φvarphi χchi ψpsi ωomega ΓGamma ΔDelta ΘTheta ΛLambda ΞXi ΠPi ΣSigma ΥUpsilon ΦPhi ΨPsi ΩOmega "
    "±pm ×times ÷div ·cdot ≤leq ≥geq ≈approx ≠neq →rightarrow ←leftarrow ↔leftrightarrow ↑uparrow ↓downarrow "
    "∞infty ∈in ∇nabla ∂partial ℓell •bullet"
)
"""Characters that mathematics has, each followed by its name there."""

KNOWN = {
    **{character: f"\\{character}" for character in "&%#_{}"},
    "$": r"$\$$",  # mathematics, since \$ is of a font that has no outlines in a small installation
    **{character: f"${character}$" for character in "<>|"},
    **{character: f"{{{character}}}" for character in "[]*"},  # commands after the end of a table's row
    "\\": r"$\backslash$",
    "^": r"\^{}",
    "~": r"$\sim$",
    "`": r"\`{}",
    '"': "''",
    "−": "$-$",
    "–": r"\textendash{}",
    "—": r"\textemdash{}",
    "…": r"\dots{}",
    "“": r"\textquotedblleft{}",
    "”": r"\textquotedblright{}",
    "‘": r"\textquoteleft{}",
    "’": "'",
    "°": r"$^\circ$",
    "²": "$^2$",
    "³": "$^3$",
    "ß": r"\ss{}",
    "æ": r"\ae{}",
    "Æ": r"\AE{}",
    "œ": r"\oe{}",
    "Œ": r"\OE{}",
    "ø": r"\o{}",
    "Ø": r"\O{}",
    "ł": r"\l{}",
    "Ł": r"\L{}",
    "ı": r"\i{}",
    **{named[0]: f"$\\{named[1:]}$" for named in NAMED.split()},
}
"""How to set characters that are commands, or that the standard fonts (OT1, Computer Modern) lack."""

ACCENTS = dict(
    zip("\u0300\u0301\u0302\u0303\u0304\u0306\u0307\u0308\u030a\u030b\u030c\u0327", "`'^~=u.\"rHvc", strict=True)
)
"""The command of each combining mark."""


def escaped(text: str) -> str:
    """A text of one line, nothing in it a command; a letter that the fonts do not have as its code point."""
    return re.sub("-(?=-)", "-{}", "".join(map(_character, text)))


def breakable(text: str) -> str:
    """A text for a paragraph, where a long path or name may go on in the next line."""
    return escaped(text).replace("/", r"/\allowbreak{}").replace(r"\_", r"\_\allowbreak{}")


def _character(character: str) -> str:
    if character in KNOWN:
        return KNOWN[character]
    if character.isascii():
        return character
    decomposed = unicodedata.normalize("NFD", character)
    base, mark = decomposed[0], decomposed[1:]
    if base.isascii() and base.isalpha() and mark in ACCENTS:
        return f"\\{ACCENTS[mark]}{{{base}}}"
    return rf"{{\tiny U+{ord(character):04X}}}"
