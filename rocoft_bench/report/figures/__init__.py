"""The figures of a report, as PNG and SVG. Importing this loads matplotlib."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import matplotlib

from rocoft_bench.analysis.method_comparison import OURS
from rocoft_bench.analysis.records import Results
from rocoft_bench.analysis.table import Table
from rocoft_bench.report.figures.figure import Drawing, FigureData, FigureFiles, remove_figures, write
from rocoft_bench.report.figures.kernel_figures import heatmaps, kernels_against_training, spectra
from rocoft_bench.report.figures.losses import losses
from rocoft_bench.report.figures.memory_time import memory_time
from rocoft_bench.report.figures.pareto import pareto
from rocoft_bench.report.figures.selection_figure import selection
from rocoft_bench.report.figures.sensitivity import sensitivity
from rocoft_bench.report.figures.style import SETTINGS
from rocoft_bench.report.figures.svg import themed_svg

__all__ = ["Drawing", "Drawn", "FigureData", "FigureFiles", "draw_figures", "drawings", "remove_figures", "themed_svg"]


class Drawn(NamedTuple):
    """notes: why a figure, or a part of one, that a reader may look for is not there; a sentence each."""

    figures: list[FigureFiles]
    notes: list[str]


def draw_figures(results: Results, tables: Sequence[Table], folder: Path, ours: str = OURS) -> Drawn:
    """Every figure that there are results for, written into a folder, which is made if need be.

    ours: the method that stands out, by its name or the title of a row.

    Raises: OSError if a file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    drawn = Drawn([], [])
    keys: Counter[str] = Counter()
    with matplotlib.rc_context(SETTINGS):
        for drawing in drawings(FigureData(results, tables, ours)):
            if isinstance(drawing, str):
                drawn.notes.append(drawing)
                continue
            keys[drawing.key] += 1
            if (count := keys[drawing.key]) > 1:
                drawing = replace(drawing, key=f"{drawing.key}-{count}")
            drawn.figures.append(write(drawing, folder))
    return drawn


def drawings(data: FigureData) -> Iterator[Drawing | str]:
    """The figures before they are written, in the style that is set, and the notes."""
    for kind in (pareto, memory_time, heatmaps, selection, spectra, kernels_against_training, losses, sensitivity):
        yield from kind(data)
