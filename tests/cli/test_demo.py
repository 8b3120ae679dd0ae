"""`rocoft demo` shows what it has while it goes; what it trains is tested in tests/demo."""

from __future__ import annotations

from pathlib import Path

import pytest

from rocoft_bench.cli import demo
from tests.made_up import a_run, run_record


def test_the_table_grows_with_every_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = iter(("RoCoFT-3-Row", "RoCoFT-3-Column", "LoRA", "Head only"))
    monkeypatch.setattr(demo, "_run", lambda *_: a_run(run_record(label=next(labels))))
    demo.demo(output=tmp_path)
    shown = capsys.readouterr().out
    assert [shown.count(label) for label in ("RoCoFT-3-Row", "Head only")] == [4, 1]
    assert shown.index("LoRA") < shown.index("Head only")
