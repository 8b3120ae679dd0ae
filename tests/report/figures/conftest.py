from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import matplotlib
import pytest

from rocoft_bench.analysis.records import Results, Run, Stored
from rocoft_bench.analysis.table import Table
from rocoft_bench.report.figures import Drawing, FigureData, drawings
from rocoft_bench.report.figures.style import SETTINGS
from rocoft_bench.runs import KernelRecord

Draw = Callable[..., list[Drawing | str]]


@pytest.fixture
def draw() -> Iterator[Draw]:
    """Figures and notes before they are written, of what is given."""

    def drawn(
        tables: Sequence[Table] = (),
        runs: Sequence[Run] = (),
        kernels: Sequence[Stored[KernelRecord]] = (),
        ours: str = "rocoft",
    ) -> list[Drawing | str]:
        results = Results(Path("nowhere"), list(runs), list(kernels))
        return list(drawings(FigureData(results, list(tables), ours)))

    with matplotlib.rc_context(SETTINGS):
        yield drawn
