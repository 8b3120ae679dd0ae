"""Two runs of the same training, by other means."""

from __future__ import annotations

from typing import Any

import pytest


def assert_same(two: dict[str, Any], one: dict[str, Any]) -> None:
    """Equal answers; losses and trained values to 1e-5."""
    assert two["steps"] == one["steps"]
    assert two["losses"] == pytest.approx(one["losses"], abs=1e-5)
    assert two["metrics"] == one["metrics"]
    assert two["answers"] == one["answers"]
    assert two["values"].keys() == one["values"].keys()
    for name, value in one["values"].items():
        assert _flat(two["values"][name]) == pytest.approx(_flat(value), abs=1e-5), name


def _flat(value: Any) -> list[float]:
    return [number for part in value for number in _flat(part)] if isinstance(value, list) else [value]
