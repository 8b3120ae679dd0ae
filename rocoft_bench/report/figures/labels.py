"""Names beside points, so that none hides another."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from rocoft_bench.report.figures.style import INK

DISTANCES = (7, 16, 26, 38, 52, 68, 86, 106, 128, 152)
"""Dots of 1/72 inch between a point and its name; the first that is free is taken."""
DIRECTIONS = [math.radians(angle) for angle in (0, 180, 90, 270, 30, 330, 150, 210, 60, 300, 120, 240)]
LEADER = 9
"""From this distance on a thin line joins the two."""


class Label(NamedTuple):
    """A name at a point of the data. Its box keeps clear of points, other names and the edge of the axes."""

    text: str
    x: float
    y: float
    colour: str = INK
    weight: str = "normal"


def place_labels(
    axes: Axes, labels: Sequence[Label], obstacles: Sequence[tuple[float, float]] = (), texts: Sequence[Text] = ()
) -> None:
    """Write each name where there is room for it, the first ones nearest to their points.

    obstacles, texts: further points, and what is already written.

    The limits of the axes and the figure's margins must stand.
    """
    figure = axes.get_figure(root=True)
    assert figure is not None
    scale = figure.dpi / 72
    renderer = FigureCanvasAgg(figure).get_renderer()
    points = [*((label.x, label.y) for label in labels), *obstacles]
    taken = [_box(x, y, 10 * scale, 10 * scale) for x, y in axes.transData.transform(points)] if points else []
    taken += [text.get_window_extent(renderer) for text in texts]
    for label in labels:
        x, y = axes.transData.transform((label.x, label.y))
        text = axes.annotate(label.text, (label.x, label.y), (0, 0), textcoords="offset points", color=label.colour)
        text.set(fontweight=label.weight, fontsize=8.5, ha="center", va="center")
        box = text.get_window_extent(renderer)
        across, down, box = _free_place(x, y, box.width, box.height, axes.bbox, taken, scale)
        text.set_position((across / scale, down / scale))
        taken.append(box)
        if math.hypot(_gap(across, box.width), _gap(down, box.height)) > LEADER * scale:
            _join(axes, label, (across, down), box, scale)


def _free_place(
    x: float, y: float, width: float, height: float, room: Bbox, taken: Sequence[Bbox], scale: float
) -> tuple[float, float, Bbox]:
    """Where to put the middle of a box, from its point in pixels: the nearest place where it touches least."""
    best = None
    for across, down in _places(width, height, scale):
        box = _box(x + across, y + down, width, height)
        outside = not (room.x0 <= box.x0 and box.x1 <= room.x1 and room.y0 <= box.y0 and box.y1 <= room.y1)
        cost = 1000 * outside + sum(box.overlaps(other) for other in taken)
        if best is None or cost < best[0]:
            best = (cost, across, down, box)
        if cost == 0:
            break
    assert best is not None
    return best[1:]


def _places(width: float, height: float, scale: float) -> Iterator[tuple[float, float]]:
    for distance in DISTANCES:
        for angle in DIRECTIONS:
            across, down = math.cos(angle), math.sin(angle)
            yield across * (distance * scale + width / 2), down * (distance * scale + height / 2)


def _gap(offset: float, size: float) -> float:
    return max(0.0, abs(offset) - size / 2)


def _join(axes: Axes, label: Label, offset: tuple[float, float], box: Bbox, scale: float) -> None:
    """A line from the point to the nearest edge of its name."""
    ends = [math.copysign(_gap(o, s), o) / scale for o, s in zip(offset, (box.width, box.height), strict=True)]
    line = {"arrowstyle": "-", "color": INK, "alpha": 0.45, "linewidth": 0.6, "shrinkA": 0, "shrinkB": 3}
    axes.annotate("", (label.x, label.y), (ends[0], ends[1]), textcoords="offset points", arrowprops=line)


def _box(x: float, y: float, width: float, height: float) -> Bbox:
    return Bbox.from_extents(x - width / 2, y - height / 2, x + width / 2, y + height / 2)
