"""What the page says before any script has run."""

from __future__ import annotations

import base64
import gzip
import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from rocoft_bench.analysis.records import read_results
from rocoft_bench.analysis.table import Cell, Column, Row, Stat, Table
from rocoft_bench.report.figures import Drawing, FigureFiles
from rocoft_bench.report.page import write_page
from rocoft_bench.report.page.packing import MAX_EXAMPLES, pack
from tests.made_up import kernel_record, run_record, write_record, write_run
from tests.report.page.conftest import BREAKING_OUT, HOSTILE, Page


class Reader(HTMLParser):
    """Rows of tables as texts of cells, every tag that was opened, and what the elements link to."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.tags: list[str] = []
        self.runs: dict[str, str] = {}
        self.scripts = 0
        self._cell: list[str] | None = None
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = dict(attributes)
        self.tags.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self._cell = []
        if values.get("class") == "runs":
            self.runs[values["data-runs"] or ""] = values["href"] or ""

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th") and self._cell is not None:
            self.rows[-1].append(" ".join("".join(self._cell).split()))
            self._cell = None

    def handle_data(self, data: str) -> None:
        if self._cell is not None:
            self._cell.append(data)


def unpacked(piece: str) -> Any:
    return json.loads(gzip.decompress(base64.b64decode(piece)))


def test_cells_hold_the_numbers_and_what_they_stand_beside(page: Page) -> None:
    rows = {row[0]: row[1:] for row in Reader(page.html).rows}
    rocoft, pair, adapter = rows["RoCoFT-3-Row"]
    assert rocoft == "87.50 ± 17.68 n = 2ref 76.60Δ +10.90"
    assert pair == "88.00 / 91.25 ref 90.00 / 91.00Δ −2.00 / +0.25"
    assert adapter.startswith("248,832")
    assert rows["LoRAr = 8"] == ["50.00", "", ""]
    assert rows["LoRA"] == ["ref 60.00", "9.00 / 8.00", ""]
    assert rows[HOSTILE] == ["2 × oom", "", ""]
    assert '<span class="best">87.50 ± 17.68</span>' in page.html
    assert '<span class="second">50.00</span>' in page.html


def test_a_text_is_shown_in_place_of_the_numbers_that_it_is_sorted_by(page: Page) -> None:
    rows = [row for row in Reader(page.html).rows if row[0] == "IA3"]
    assert rows == [["IA3", "", "", "+1.20 [−0.30, +2.70] *"]]
    assert 'data-value="1.2"' in page.html


def test_what_all_references_are_of_is_said_once(page: Page, tmp_path: Path, results_folder: Path) -> None:
    assert "<dt>Ref</dt><dd>paper</dd>" in page.html
    rows = [Row("m", method, {}, reference_title=title) for method, title in (("A", "paper"), ("B", "other/"))]
    write_page(tmp_path / "page.html", "Report", read_results(results_folder), [Table("t", "T", [], rows)])
    html = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert [row[0] for row in Reader(html).rows[1:]] == ["m", "Aref: paper", "Bref: other/"]
    assert "<dt>Ref</dt>" not in html


def test_a_cell_links_to_its_runs(page: Page) -> None:
    links = Reader(page.html).runs
    index = unpacked(re.search(r'id="piece-index">([^<]*)<', page.html)[1])  # type: ignore[index]
    ids = [run["id"] for run in index["runs"]]
    assert links[f"{ids.index('rocoft 0 & #1')} {ids.index('rocoft-1')}"] == "#run=rocoft%200%20%26%20%231"
    assert links[str(ids.index("failed-0"))] == "#run=failed-0"


def test_conditions_problems_and_counts_are_on_the_page(page: Page) -> None:
    assert "<dt>Data</dt><dd>GLUE, validation</dd>" in page.html
    assert "A note &amp; more." in page.html
    assert "1 file could not be read" in page.html
    assert "broken/record.json" in page.html
    assert "3 ok" in page.html
    assert "1 oom" in page.html
    assert "torch 9.9.9" in page.html


def test_nothing_from_a_record_is_markup_and_nothing_is_loaded(page: Page) -> None:
    tags = Reader(page.html).tags
    assert "img" not in tags
    assert page.html.count("<script>") == 0
    assert page.html.count('<script type="module">') == 1
    assert "default-src 'none'" in page.html
    assert not re.search(r"""(src|href)=["'](?!#|data:,)""", page.html)


def test_analyses_bring_their_provenance(tmp_path: Path) -> None:
    write_record(tmp_path / "kernels", kernel_record())
    (tmp_path / "kernels" / "provenance.json").write_text('{"python": "3.11"}')
    (details,) = unpacked(pack(read_results(tmp_path)).pieces["runs-0"])
    assert details["provenance"] == {"python": "3.11"}
    assert details["record"]["task"] == "sst-2"


def test_pieces_hold_what_the_runs_left(results_folder: Path) -> None:
    packed = pack(read_results(results_folder))
    details = unpacked(packed.pieces["runs-0"])[packed.numbers["rocoft 0 & #1"]]
    assert details["record"]["notes"] == [BREAKING_OUT]
    assert details["config"].startswith("seed: 0")
    assert details["provenance"]["python"] == "3.99"
    assert details["losses"] == [[1, 2.0], [3, 1.5], [4, 1.25]]
    answers = unpacked(packed.pieces[f"answers-{packed.numbers['rocoft 0 & #1']}"])
    assert answers["values"] == [1, 0, 1, 1]
    assert answers["right"] == "1101"


def test_runs_on_the_same_rows_share_them(results_folder: Path) -> None:
    packed = pack(read_results(results_folder))
    runs = {run["id"]: run["examples"] for run in unpacked(packed.pieces["index"])["runs"]}
    assert runs["rocoft-1"] == runs["lora-0"] is not None
    assert runs["failed-0"] is None
    assert sum(name.startswith("examples-") for name in packed.pieces) == 1


def test_predictions_that_have_no_room_are_named(results_folder: Path) -> None:
    packed = pack(read_results(results_folder), max_prediction_bytes=0)
    assert sorted(packed.left_out) == ["lora-0", "rocoft 0 & #1", "rocoft-1"]
    assert not any(name.startswith(("answers-", "examples-")) for name in packed.pieces)


def test_long_predictions_are_cut_and_counted(tmp_path: Path) -> None:
    record = run_record(data={"evaluation": {"kind": "hub"}, "train_rows": 9, "eval_rows": MAX_EXAMPLES + 5})
    write_run(tmp_path / "run", record, ["x" * 600] * (MAX_EXAMPLES + 5), ["y"] * (MAX_EXAMPLES + 5))
    answers = unpacked(pack(read_results(tmp_path)).pieces["answers-0"])
    assert len(answers["values"]) == MAX_EXAMPLES
    assert answers["values"][0] == "x" * 500 + "…"
    assert answers["left_out"] == 5


def test_figures_are_part_of_the_page(results_folder: Path, tmp_path: Path) -> None:
    svg = '<svg xmlns="http://www.w3.org/2000/svg"><text>drawn</text></svg>'
    (tmp_path / "pareto.svg").write_text(svg, encoding="utf-8")
    drawing = Drawing("pareto", "Quality", "A & B", Figure(), "Figure 9", "glue")
    figure = FigureFiles(drawing, tmp_path / "pareto.png", tmp_path / "pareto.svg")
    write_page(
        tmp_path / "page.html", "Report", read_results(results_folder), [], [figure], notes=["Fig. 2 is < none."]
    )
    html = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<text>drawn</text></svg>" in html
    assert 'id="pareto" data-of="glue"' in html
    assert "A &amp; B" in html
    assert "<li>Fig. 2 is &lt; none.</li>" in html


def test_a_folder_whose_name_is_no_text_is_linked_to_all_the_same(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"run-\xff")
    write_run(folder, run_record())
    cell = Cell((Stat(75.0, n=1),), runs=(folder.name,))
    table = Table("t", "T", [Column("rte", "RTE", ("acc",))], [Row("m", "RoCoFT", {"rte": cell})])
    write_page(tmp_path / "page.html", "Report", read_results(tmp_path), [table])
    assert list(Reader((tmp_path / "page.html").read_text(encoding="utf-8")).runs) == ["0"]


@pytest.mark.parametrize(
    ("family", "task", "prediction", "reference", "right"),
    [
        ("glue", "stsb", 2.5, 2.5, None),
        ("squad", "v1.1", "The Duke!", ["duke", "a duke"], "1"),
        ("math", "gsm8k", 3.9999, 4.0, "1"),
        ("math", "gsm8k", None, 4.0, "0"),
        ("commonsense", "boolq", {"read": "true", "gold": "true"}, "false", "1"),
        ("glue", "cola", {"unexpected": 1}, 1, None),
    ],
)
def test_answers_are_right_as_their_metric_has_it(
    family: str, task: str, prediction: Any, reference: Any, right: str | None, tmp_path: Path
) -> None:
    write_run(tmp_path / "run", run_record(family, task), [prediction], [reference])
    assert unpacked(pack(read_results(tmp_path)).pieces["answers-0"])["right"] == right


def test_damaged_files_cost_their_part_only(tmp_path: Path) -> None:
    write_run(tmp_path / "run", run_record())
    for name in ("predictions.jsonl", "history.jsonl", "provenance.json"):
        (tmp_path / "run" / name).write_text('{"step": "x", "loss": null}\n[1]\n\x00', encoding="utf-8")
    (tmp_path / "run" / "config.yaml").write_bytes(b"\xff")
    details = unpacked(pack(read_results(tmp_path)).pieces["runs-0"])[0]
    assert (details["config"], details["provenance"], details["losses"]) == (None, None, [])
