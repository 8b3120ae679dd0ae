"""Plug-ins of a test are gone when it ends, and the example is a package that may be installed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rocoft_bench.plugins import Registry

EXAMPLE = Path(__file__).with_name("example")


@pytest.fixture(autouse=True)
def _forgets_plugins(forgets_plugins: None) -> Iterator[None]:
    yield
    Registry.known[:] = [registry for registry in Registry.known if registry.kind != "word"]  # of test_registry.py
