"""One page, made of a made-up results folder and a table of it, for all tests here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from rocoft_bench.analysis.records import read_results
from rocoft_bench.analysis.table import Cell, Column, Row, Stat, Table
from rocoft_bench.report.page import write_page
from tests.made_up import run_record, write_run

HOSTILE = "<img src=x onerror=\"document.title='taken'\">"
BREAKING_OUT = "</script><script>document.title='taken'</script>"

RTE = Column("rte", "RTE", ("acc",), task="rte", unit="%", better="higher")
MRPC = Column("mrpc", "MRPC", ("acc", "F1"), task="mrpc", unit="%", better="higher")
ADAPTER = Column("adapter", "adapter", ("parameters",), decimals=0)
COLUMNS = [RTE, MRPC, ADAPTER]


@dataclass(frozen=True)
class Page:
    file: Path
    html: str


@pytest.fixture(scope="session")
def results_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """RoCoFT twice and LoRA once on the same four rows of RTE, a run without memory, and a file that is no record."""
    folder = tmp_path_factory.mktemp("results")
    references = [1, 0, 0, 1]
    config, provenance = "seed: 0  # <b>bold</b>\n", {"packages": {"torch": "9.9.9"}, "python": "3.99"}
    write_run(
        folder / "rocoft 0 & #1",
        run_record(notes=[BREAKING_OUT], epoch_metrics=[{"accuracy": 0.5}, {"accuracy": 0.75}]),
        *([1, 0, 1, 1], references, [2.0, float("nan"), 1.5, 1.25], config, provenance),
    )
    write_run(folder / "rocoft-1", run_record(seed=1), [1, 0, 0, 1], references)
    prompt = {"template": HOSTILE, "template_version": "v1", "training": {"text": HOSTILE, "input_ids": [7, 8]}}
    write_run(folder / "lora-0", run_record(label="LoRA", prompt=prompt), [0, 1, 0, 1], references)
    failed = run_record(label=HOSTILE, status="oom", metrics=None, error=HOSTILE, hint="less", log_tail=[BREAKING_OUT])
    write_run(folder / "failed-0", failed)
    (folder / "broken").mkdir()
    (folder / "broken" / "record.json").write_text("{", encoding="utf-8")
    return folder


def a_table(key: str = "glue") -> Table:
    rocoft = Stat(87.5, 17.68, n=2, reference=76.6, difference=10.9, highlight="best")
    pair = (Stat(88.0, n=1, reference=90.0, difference=-2.0), Stat(91.25, n=1, reference=91.0, difference=0.25))
    rows = [
        Row(
            "roberta-base",
            "RoCoFT-3-Row",
            {
                "rte": Cell((rocoft,), runs=("rocoft 0 & #1", "rocoft-1")),
                "mrpc": Cell(pair),
                "adapter": Cell((Stat(248832.0, n=2),)),
            },
            reference_title="paper",
        ),
        Row("roberta-base", HOSTILE, {"rte": Cell(failures=("oom", "oom"), runs=("failed-0",))}),
        Row("roberta-base", "LoRA", {"rte": Cell((Stat(50.0, n=1, highlight="second"),), runs=("lora-0",))}, "r = 8"),
        Row("roberta-base", "IA3", {"adapter": Cell((Stat(1.2, n=3),), "+1.20 [−0.30, +2.70] *")}),
        Row(
            "bert-base", "LoRA", {"rte": Cell((Stat(reference=60.0),)), "mrpc": Cell((Stat(9.0, n=1), Stat(8.0, n=1)))}
        ),
    ]
    conditions = {"Data": "GLUE, validation", "Hardware": HOSTILE}
    return Table(key, "GLUE <dev>", COLUMNS, rows, "1", conditions, ["A note & more."])


@pytest.fixture(scope="session")
def page(results_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Page:
    file = tmp_path_factory.mktemp("page") / "report.html"
    columns = [Column(f"k{i}", f"kernel {i}", ("acc",), better="higher") for i in range(12)]
    kernels = Table("kernels", "Kernels", columns, [Row("m", "K", {"k1": Cell((Stat(1.0, n=1),))})])
    write_page(file, f"Report {HOSTILE}", read_results(results_folder), [a_table(), kernels])
    return Page(file, file.read_text(encoding="utf-8"))
