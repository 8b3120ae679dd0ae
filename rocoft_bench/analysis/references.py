"""The paper's tables of training runs: which runs belong in them, and which numbers those stand beside."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from rocoft_bench import paper
from rocoft_bench.analysis.groups import Record


@dataclass(frozen=True)
class PaperTable:
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

    def methods(self, model: str) -> list[str]:
        """Row titles, as runs have them."""
        return list(dict.fromkeys(ROW_TITLES.get(r.method, r.method) for r in self.results if r.model == model))


_LLMS = ("bloomz-7b", "gpt-j-6b", "llama-2-7b", "llama-2-13b")
_REASONING = ("commonsense", "math")

PAPER_TABLES = (
    PaperTable("table1", "1", "GLUE, RoBERTa-base", ("glue",), ("roberta-base",)),
    PaperTable("table2", "2", "commonsense and math", _REASONING, _LLMS),
    PaperTable("table6", "6", "GLUE, RoBERTa-large", ("glue",), ("roberta-large",)),
    PaperTable("table7-squad", "7", "question answering, DeBERTaV3-base", ("squad",), ("deberta-v3-base",)),
    PaperTable("table7-summarization", "7", "summarization, BART-large", ("summarization",), ("bart-large",)),
    PaperTable("table11", "11", "GLUE, random entries", ("glue",), ("roberta-base", "roberta-large"), random=True),
    PaperTable("table12", "12", "commonsense and math, random entries", _REASONING, _LLMS, random=True),
)

STAND_INS = {"glue": "roberta-base", "squad": "deberta-v3-base", "summarization": "bart-large"}
"""The model of the paper whose numbers stand beside those of a model that the paper does not have."""

ROW_TITLES = {f"RoCoFT-{mode}": f"RoCoFT-{paper.TABLE_7_RANK}-{mode}" for mode in ("Row", "Column")}
"""Row titles of Table 7, as runs have them."""


def paper_table_of(run: Record) -> PaperTable | None:
    """The table of the paper that a run belongs in; None if there is none."""
    is_random = run.mode == "random"
    fitting = (
        t for t in PAPER_TABLES if run.family in t.families and run.paper_model in t.models and t.random == is_random
    )
    return next(fitting, None)


@cache
def references(model: str, title: str) -> Mapping[tuple[str, str], paper.PaperResult]:
    """The paper's results of a method on one of its models, by (task, metric)."""
    return {
        (result.task, result.metric): result
        for result in paper.results()
        if result.model == model and ROW_TITLES.get(result.method, result.method) == title
    }
