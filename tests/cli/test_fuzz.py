"""Wrong input of many kinds through every command: one clear line, in time, and nothing left behind."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzzing.cases import make_case
from tests.fuzzing.running import answer, import_libraries, make_world


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import_libraries()
    folder = tmp_path_factory.mktemp("fuzz") / "world"
    make_world(folder)
    return folder


@settings(
    max_examples=120, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(seed=st.integers(0, 2**32 - 1))
def test_whatever_is_wrong_is_answered_well(world: Path, seed: int) -> None:
    case = make_case(seed)
    found = answer(case, world)
    assert found.verdict == "ok", f"{case.name}: {case.arguments} -> {found.code}, left {found.left}\n{found.output}"
