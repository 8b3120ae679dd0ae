"""Plug-ins of a test are gone when it ends, and the example is a package that may be installed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rocoft_bench.plugins import Registry, from_file

EXAMPLE = Path(__file__).with_name("example")


@pytest.fixture(autouse=True)
def _forgets_plugins() -> Iterator[None]:
    yield
    Registry.known[:] = [registry for registry in Registry.known if registry.kind != "word"]  # of test_registry.py
    from_file._loaded.clear()
    for registry in Registry.known:
        for plugin in set(registry._origins.values()):
            registry.drop(plugin)
