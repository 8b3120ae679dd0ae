"""No integer setting is without an upper bound: what no machine can do is a slip of the keyboard."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel

from rocoft_bench.config import RunConfig
from rocoft_bench.efficiency.bench_settings import BenchSettings
from rocoft_bench.methods import METHODS
from rocoft_bench.ntk.kernel_settings import KernelSettings

GROUPS = {
    "run": RunConfig,
    "kernels": KernelSettings,
    "bench": BenchSettings,
    **{name: METHODS[name].Settings for name in METHODS},
}


def unbounded(schema: Any, where: str = "") -> Iterator[str]:
    if isinstance(schema, dict):
        if schema.get("type") == "integer" and not {"maximum", "exclusiveMaximum", "enum"} & set(schema):
            yield where
        for key, value in schema.items():
            yield from unbounded(value, f"{where}.{key}")
    elif isinstance(schema, list):
        for value in schema:
            yield from unbounded(value, where)


@pytest.mark.parametrize("name", GROUPS)
def test_every_integer_has_an_upper_bound(name: str) -> None:
    settings: type[BaseModel] = GROUPS[name]
    assert list(unbounded(settings.model_json_schema())) == []
