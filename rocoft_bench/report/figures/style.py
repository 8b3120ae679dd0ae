"""How every figure looks: one ink, colours that the colour-blind can tell apart, and text that stays text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

WIDTH = 6.4
"""Inches, of every figure."""
LETTER = 0.078
"""Inches, about the width of a letter at the size of the tick labels."""
INK = "#1f2430"
"""Of everything that is not data; no data has it, so that a page can replace it by its own colour of text."""
OURS, OTHERS = "#d55e00", "#7a8194"
PAPER = "white"

SETTINGS: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titley": 1.0,  # where it is anyway; matplotlib need not lay out all ticks to see that nothing is in its way
    "axes.labelsize": 9,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "text.parse_math": False,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "hatch.color": INK,
    "hatch.linewidth": 0.5,
    "axes.facecolor": "none",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "lines.linewidth": 1.4,
    "svg.fonttype": "none",
    "path.simplify_threshold": 0.5,
}


class Series(NamedTuple):
    """The look of one of several lines or bars: never told by its colour alone."""

    colour: str
    line: str
    marker: str
    hatch: str

    def line_settings(self, points: int = 1) -> dict[str, Any]:
        """Of a line through so many points, a few of them marked."""
        marks = {"marker": self.marker, "markersize": 4, "markevery": max(1, points // 6)}
        return {"color": self.colour, "linestyle": self.line, **marks}

    def bar_settings(self) -> dict[str, Any]:
        return {"facecolor": self.colour, "hatch": self.hatch, "linewidth": 0}


SERIES = (
    Series(OURS, "-", "o", ""),
    Series("#0072b2", "--", "s", "///"),
    Series("#009e73", "-.", "^", "..."),
    Series("#cc79a7", ":", "D", "xxx"),
    Series("#e69f00", "-", "v", "\\\\\\"),
    Series("#56b4e9", "--", "P", "---"),
    Series(OTHERS, "-.", "X", "ooo"),
    Series("#8b5a2b", ":", "*", "+++"),
)
"""Okabe and Ito's colours, without the yellow that a white page swallows and the black that is the ink."""


def canvas(height: float) -> Canvas:
    """An empty figure so many inches high."""
    return Canvas(figsize=(WIDTH, height), facecolor=PAPER)


def place(figure: Canvas, left: float, right: float, bottom: float, top: float, **spaces: float) -> None:
    """The margins around a figure's axes, in inches; spaces between them as shares of an axis."""
    width, height = figure.get_size_inches()
    margins = {"left": left / width, "right": 1 - right / width, "bottom": bottom / height, "top": 1 - top / height}
    figure.subplots_adjust(**margins, **spaces)


def grid(axes: Axes, along: str) -> None:
    """Faint lines across the "x" or the "y" axis, or "both"."""
    axes.grid(axis=along, color=INK, alpha=0.15, linewidth=0.6)  # type: ignore[arg-type]


def panel(axes: Axes, title: str) -> None:
    """One of many small axes: a title, few ticks, and labels that are the figure's, so none of its own to place."""
    axes.set_title(short(title))
    grid(axes, "y")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_label_coords(0, 0)


def legend(figure: Canvas, handles: list[Any], labels: list[str]) -> None:
    """One legend above all axes, as many entries to a row as fit."""
    columns = max(1, int((WIDTH - 0.2) / (0.55 + LETTER * max(map(len, labels)))))
    figure.legend(handles, labels, loc="upper center", ncols=min(columns, len(labels)), borderaxespad=0.2)


def legend_height(labels: list[str]) -> float:
    """Inches that `legend` takes."""
    columns = max(1, int((WIDTH - 0.2) / (0.55 + LETTER * max(map(len, labels)))))
    return 0.15 + 0.19 * -(-len(labels) // columns)


def short(name: str, letters: int = 26) -> str:
    """A name that fits beside an axis and into XML, whatever a user wrote; of a long one both ends, which tell it from
    others."""
    clean = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in name)
    end = (letters - 1) // 2
    return clean if len(clean) <= letters else clean[: letters - 1 - end] + "…" + clean[len(clean) - end :]


def count(value: float, _: object = None) -> str:
    """A number of parameters as text, e.g. 10k or 0.25M."""
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


def is_ours(method: str) -> bool:
    return method.startswith("RoCoFT")


def listed(names: Sequence[str], most: int = 6) -> str:
    """Names as a phrase, the number of further ones in place of them all."""
    shown, more = names[:most], len(names) - most
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")
