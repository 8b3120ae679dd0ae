"""A figure of the report: as it is drawn, and as it lies on the disk."""

import re
import warnings
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import matplotlib
from matplotlib.figure import Figure

from rocoft_bench.errors import UserError
from rocoft_bench.report.figures.style import short
from rocoft_bench.untrusted import open_file

DOTS_PER_INCH = 150
IMAGE_DOTS_PER_INCH = 100
"""Of images in an SVG, which a page holds many of."""
KEY_LETTERS = 80

CREATOR = "rocoft-bench"
MARKED_BYTES = 4096
"""Every SVG names its creator within its first bytes."""


@dataclass(frozen=True)
class Drawing:
    """A figure.

    key: unique within a report, stem of its files. caption: what is shown, of which runs, under which conditions.
    number: the paper's, e.g. "Figure 2"; None if it has none. table: key of the table that it is drawn from, None if it
    is drawn from records.
    """

    key: str
    title: str
    caption: str
    figure: Figure
    number: str | None = None
    table: str | None = None


class FigureFiles(NamedTuple):
    """A figure as it was written."""

    drawing: Drawing
    png: Path
    svg: Path


def key_of(*parts: str | int) -> str:
    """Parts joined to a key, in letters that every file system and every link takes."""
    words = (re.sub(r"[^a-z0-9.]+", "-", str(part).lower()).strip("-.") for part in parts)
    return "-".join(filter(None, words))[:KEY_LETTERS].strip("-.")


def write(drawing: Drawing, folder: Path) -> FigureFiles:
    """PNG on white, SVG on nothing; the same bytes for the same drawing.

    Raises: OSError if a file cannot be written.
    """
    png, svg = folder / f"{drawing.key}.png", folder / f"{drawing.key}.svg"
    metadata = {"Date": None, "Creator": CREATOR, "Title": short(drawing.title, 200)}
    with matplotlib.rc_context({"svg.hashsalt": drawing.key}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        drawing.figure.savefig(png, dpi=DOTS_PER_INCH, metadata={"Software": None}, pil_kwargs={"compress_level": 4})
        drawing.figure.savefig(svg, dpi=IMAGE_DOTS_PER_INCH, transparent=True, metadata=metadata)
    return FigureFiles(drawing, png, svg)


def remove_figures(folder: Path, kept: Collection[str]) -> None:
    """Remove the figures that were written into a folder before, but for files of some names.

    Raises: OSError if one cannot be removed.
    """
    for svg in [file for file in folder.glob("*.svg") if file.name not in kept and _is_ours(file)]:
        for file in (svg, svg.with_suffix(".png")):
            file.unlink(missing_ok=True)


def _is_ours(svg: Path) -> bool:
    try:
        with open_file(svg, follow_links=False) as stream:
            return CREATOR.encode() in stream.read(MARKED_BYTES)
    except UserError:
        return False
