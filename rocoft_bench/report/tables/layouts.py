"""The paper's tables that are made of training runs: which runs belong in them, and which numbers stand there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from rocoft_bench import paper
from rocoft_bench.runs import RunRecord


@dataclass(frozen=True)
class Layout:
    """One table of the paper, or the half of it that is of one family.

    models: the paper's, in its order. random: a table of randomly chosen entries (Appendix B.2) and of nothing else.
    """

    key: str
    number: str
    title: str
    families: tuple[str, ...]
    models: tuple[str, ...]
    random: bool = False

    @property
    def results(self) -> list[paper.PaperResult]:
        """The paper's cells, without its averages."""
        cells = (r for r in paper.results() if str(r.table) == self.number and r.model in self.models)
        return [cell for cell in cells if cell.task != "average"]

    @property
    def tasks(self) -> list[str]:
        return list(dict.fromkeys(cell.task for cell in self.results))

    def methods(self, model: str) -> list[str]:
        """Row titles, as runs have them."""
        return list(dict.fromkeys(TITLES.get(r.method, r.method) for r in self.results if r.model == model))

    def holds(self, record: RunRecord) -> bool:
        is_random = record.method.get("mode") == "random"
        fits = record.task["family"] in self.families and record.model.get("paper_name") in self.models
        return fits and is_random == self.random


_LLMS = ("bloomz-7b", "gpt-j-6b", "llama-2-7b", "llama-2-13b")
_REASONING = ("commonsense", "math")

LAYOUTS = (
    Layout("table1", "1", "GLUE, RoBERTa-base", ("glue",), ("roberta-base",)),
    Layout("table2", "2", "commonsense and math", _REASONING, _LLMS),
    Layout("table6", "6", "GLUE, RoBERTa-large", ("glue",), ("roberta-large",)),
    Layout("table7-squad", "7", "question answering, DeBERTaV3-base", ("squad",), ("deberta-v3-base",)),
    Layout("table7-summarization", "7", "summarization, BART-large", ("summarization",), ("bart-large",)),
    Layout("table11", "11", "GLUE, random entries", ("glue",), ("roberta-base", "roberta-large"), random=True),
    Layout("table12", "12", "commonsense and math, random entries", _REASONING, _LLMS, random=True),
)

STAND_INS = {"glue": "roberta-base", "squad": "deberta-v3-base", "summarization": "bart-large"}
"""The model of the paper whose numbers stand beside those of a model that the paper does not have."""

TITLES = {f"RoCoFT-{mode}": f"RoCoFT-{paper.TABLE_7_RANK}-{mode}" for mode in ("Row", "Column")}
"""Row titles of Table 7, as runs have them."""


def layout_of(record: RunRecord) -> Layout | None:
    """The table of the paper that a run belongs in; None if there is none."""
    return next((layout for layout in LAYOUTS if layout.holds(record)), None)


@cache
def references(model: str, title: str) -> Mapping[tuple[str, str], paper.PaperResult]:
    """The paper's results of a method on one of its models, by (task, metric)."""
    return {
        (result.task, result.metric): result
        for result in paper.results()
        if result.model == model and TITLES.get(result.method, result.method) == title
    }
