"""Sweep files: one file for many runs, as the product of `axes` over common settings.

    model: {name: roberta-base}
    axes:
      config: [glue/rte.yaml, glue/mrpc.yaml]           # files below configs/ that the runs start from
      method: [full, {name: rocoft, mode: row, rank: 1}]
      seed: [0, 1, 2]

Every other key is a setting of all runs. An axis is a setting too, dotted where it lies deeper
(`training.learning_rate`); `method`, `model` and `task` take a name alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from rocoft_bench.config.loading import Settings, find_config, override, read_settings
from rocoft_bench.errors import UserError

AXES = "axes"
NAMED = ("method", "model", "task")
"""Sections of which a name alone says enough."""


@dataclass(frozen=True)
class Sweep:
    """A sweep file: what is common to its runs, and the values of each axis."""

    path: Path
    common: dict[str, Any]
    axes: dict[str, list[Any]]

    def runs(self) -> Iterator[tuple[dict[str, Any], Settings]]:
        """Every run: its value on each axis, and its settings. File of the axis `config` < common < other axes.

        Raises:
            UserError: If a file of the axis `config` cannot be read.
        """
        for values in product(*self.axes.values()):
            point = dict(zip(self.axes, values, strict=True))
            settings = read_settings(find_config(point["config"])) if "config" in point else Settings()
            settings.update(self.common, str(self.path))
            for axis, value in point.items():
                if axis != "config":
                    settings.update(_as_settings(axis, value), f"{self.path}: {AXES}.{axis}")
            yield point, settings


def read_sweep(path: Path) -> Sweep | None:
    """The sweep that a file describes, or None where it is the settings of one run.

    Raises:
        UserError: If the file cannot be read or an axis is not a list of values.
    """
    values = read_settings(path).values
    if AXES not in values:
        return None
    axes = values.pop(AXES)
    if not isinstance(axes, dict) or not axes:
        raise UserError(f"{path}: {AXES} must hold `setting: [value, …]`")
    for name, choices in axes.items():
        if not isinstance(choices, list) or not choices:
            raise UserError(f"{path}: {AXES}.{name} = {choices!r}: must be a list of values")
    return Sweep(path, values, axes)


def _as_settings(axis: str, value: Any) -> dict[str, Any]:
    return override(axis, {"name": value} if axis in NAMED and isinstance(value, str) else value)
