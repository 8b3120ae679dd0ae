"""How every figure looks: one ink, colours that the colour-blind can tell apart, and text that stays text."""

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import textalloc
from matplotlib import rc_params_from_file
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

SETTINGS = rc_params_from_file(Path(__file__).with_name("rocoft.mplstyle"), use_default_template=False)

WIDTH = SETTINGS["figure.figsize"][0]
"""Inches, of every figure."""
PANEL = 1.6
"""Inches that one of several small panels takes, down."""
LETTER = 0.078
"""Inches, about the width of a letter at the size of the tick labels."""
INK = SETTINGS["text.color"]
"""Of everything that is not data."""
OURS, OTHERS = "#d55e00", "#7a8194"
ERROR_BAR = {"elinewidth": 1, "ecolor": INK}
"""Of bars."""


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


def panels(
    rows: int,
    columns: int,
    height: float,
    margins: tuple[float, float, float, float],
    spaces: tuple[float, float] = (0, 0),
    **shared: Any,
) -> tuple[Figure, list[Axes]]:
    """A figure and its panels. height: in inches, as the margins on the left, on the right, below and above; spaces
    between panels, across and down, as shares of one; shared: whether they have one axis, sharex or sharey.
    """
    figure = Figure(figsize=(WIDTH, height))
    found = list(figure.subplots(rows, columns, squeeze=False, **shared).flat)
    left, right, bottom, top = margins
    figure.subplots_adjust(left / WIDTH, bottom / height, 1 - right / WIDTH, 1 - top / height, *spaces)
    return figure, found


def small_multiples(
    titles: Sequence[str], columns: int, names: list[str], x_label: str, y_label: str, share_y: bool = False
) -> tuple[Figure, list[Axes]]:
    """A figure with a panel for each title, and with labels that are all panels'; room above for a legend of names."""
    columns = min(columns, len(titles))
    rows = math.ceil(len(titles) / columns)
    top = 0.3 + legend_height(names)
    spaces = (0.12 if share_y else 0.22, 0.45)
    figure, found = panels(rows, columns, 0.55 + top + PANEL * rows, (0.75, 0.2, 0.5, top), spaces, sharey=share_y)
    for axes in found[len(titles) :]:
        axes.remove()
    for axes, title in zip(found, titles, strict=False):
        axes.set_title(short(title))
        axes.grid(axis="y")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_label_coords(0, 0)  # they have none, which need not be placed then
    figure.supxlabel(x_label, y=0.02)
    figure.supylabel(y_label, x=0.01)
    return figure, found[: len(titles)]


def legend(figure: Figure, handles: list[Any], labels: list[str]) -> None:
    """One legend above all axes, as many entries to a row as fit."""
    figure.legend(handles, labels, loc="upper center", ncols=_legend_columns(labels), borderaxespad=0.2)


def legend_height(labels: list[str]) -> float:
    """Inches that `legend` takes."""
    return 0.15 + 0.19 * math.ceil(len(labels) / _legend_columns(labels))


def _legend_columns(labels: list[str]) -> int:
    return min(len(labels), max(1, int((WIDTH - 0.2) / (0.55 + LETTER * max(map(len, labels))))))


def short(name: str, letters: int = 26) -> str:
    """A name that fits beside an axis and into XML, whatever a user wrote; of a long one both ends, which tell it from
    others."""
    clean = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in name)
    end = (letters - 1) // 2
    return clean if len(clean) <= letters else clean[: letters - 1 - end] + "…" + clean[len(clean) - end :]


def in_two_lines(name: str) -> str:
    """A name for which there is room for two lines."""
    clean = short(name, len(name))
    return "\n".join(textwrap.wrap(clean, 36, max_lines=2, placeholder=" …")) or clean


def count(value: float, _: object = None) -> str:
    """A number of parameters as text, e.g. 10k or 0.25M."""
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


class Label(NamedTuple):
    """A name at a point of the data."""

    text: str
    x: float
    y: float
    colour: str = INK
    weight: str = "normal"


def place_labels(
    axes: Axes,
    labels: Sequence[Label],
    points: Sequence[tuple[float, float]] = (),
    line: Sequence[tuple[float, float]] = (),
    texts: Sequence[Text] = (),
) -> None:
    """Write each name where there is room for it so that none hides another, the first ones nearest to their points,
    and join the two.

    By textalloc, which tries places for one name after the other and finds them for twenty points in a corner too;
    adjustText, which pushes all names apart at once, leaves some of them on others there.

    points, line, texts: what else is drawn, which names keep clear of.

    The limits of the axes and the figure's margins must stand.
    """
    if not labels:
        return
    to_data = axes.transData.inverted()
    corners = [to_data.transform(text.get_window_extent()) for text in texts]  # two opposite ones of each
    lines = [own for own in (np.array(line), *corners) if len(own) > 1]
    drawn: dict[str, Any] = {"x_lines": [own[:, 0] for own in lines], "y_lines": [own[:, 1] for own in lines]}
    points = [*((label.x, label.y) for label in labels), *points]
    textalloc.allocate(
        axes,
        [label.x for label in labels],
        [label.y for label in labels],
        [label.text for label in labels],
        x_scatter=[x for x, _ in points],
        y_scatter=[y for _, y in points],
        textsize=8.5,
        textcolor=[label.colour for label in labels],
        fontweight=[label.weight for label in labels],
        margin=0.008,
        min_distance=0.012,
        max_distance=0.3,
        nbr_candidates=600,
        linecolor=INK,
        plot_kwargs={"alpha": 0.45, "linewidth": 0.6},
        **(drawn if lines else {}),
    )
