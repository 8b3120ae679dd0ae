"""Names beside points, so that none hides another.

By textalloc, which tries places for one name after the other and finds them for twenty points in a corner too;
adjustText, which pushes all names apart at once, leaves some of them on others there.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import textalloc
from matplotlib.axes import Axes
from matplotlib.text import Text

from rocoft_bench.report.figures.style import INK


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
    """Write each name where there is room for it, the first ones nearest to their points, and join the two.

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
