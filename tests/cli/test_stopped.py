"""Commands that are stopped say so in a line and end with 130."""

from collections.abc import Callable
from typing import Any

import pytest

from rocoft_bench.cli import evaluate, predict, sweep
from rocoft_bench.engine.interrupt import Interrupted


@pytest.mark.parametrize("stop", [Interrupted, KeyboardInterrupt])
@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        (predict, ["predict", "results/one", "--text", "x"]),
        (evaluate, ["evaluate", "results/one"]),
        (sweep, ["sweep", "demo.yaml"]),
    ],
)
def test_it_is_no_traceback(
    rocoft: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, module: Any, arguments: list[str], stop: type
) -> None:
    def stopped(*_: object) -> None:
        raise stop

    monkeypatch.setattr(module, "read_sweep" if module is sweep else "find_run", stopped)
    end = rocoft(*arguments)
    assert end.code == 130
    assert end.err.strip() == ("stopped" if stop is Interrupted else "")  # typer sees to the other one
