"""The paper's tables of training runs: which runs belong in them, which numbers those stand beside, and a cell of them
that is named on the command line: `paper:table1/RoCoFT-3-Row/rte`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache

from rocoft_bench import paper
from rocoft_bench.analysis.groups import Record, grouped
from rocoft_bench.analysis.records import Run
from rocoft_bench.errors import UserError, suggest

PREFIX = "paper"
"""Of a cell's name."""

ROW_TITLES = {f"RoCoFT-{mode}": f"RoCoFT-{paper.TABLE_7_RANK}-{mode}" for mode in ("Row", "Column")}
"""Row titles of Table 7, as runs have them."""


@cache
def _titled_results() -> tuple[paper.PaperResult, ...]:
    """The paper's results by the row titles that runs have."""
    return tuple(replace(result, method=ROW_TITLES.get(result.method, result.method)) for result in paper.results())


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
        cells = (cell for cell in _titled_results() if str(cell.table) == self.number and cell.model in self.models)
        return [cell for cell in cells if cell.task != "average"]

    def methods(self, model: str) -> list[str]:
        return list(dict.fromkeys(cell.method for cell in self.results if cell.model == model))


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
    own = (result for result in _titled_results() if (result.model, result.method) == (model, title))
    return {(result.task, result.metric): result for result in own}


@dataclass(frozen=True)
class PaperCell:
    """values: in percent, by metric. hyperparameters: Table 10's, which are of RoCoFT."""

    table: int
    model: str
    method: str
    task: str
    trainable_millions: str
    values: dict[str, float]

    @property
    def name(self) -> str:
        return f"{PREFIX}:{'/'.join(self.parts)}"

    @property
    def parts(self) -> tuple[str, ...]:
        return (f"table{self.table}", self.model, self.method, self.task)

    @property
    def hyperparameters(self) -> dict[str, str]:
        return paper.hyperparameters()[self.task] if self.method.startswith("RoCoFT") else {}


def is_paper(text: str) -> bool:
    """Whether a cell of the paper is meant, and no folder."""
    return text.partition(":")[0] == PREFIX


def find_cell(text: str, run: Run) -> PaperCell:
    """The cell that `paper` or `paper:PART/PART/…` names: a table, model, method and task, in any order. What it leaves
    open is as of the run.

    Raises: UserError if there is no such cell, or several.
    """
    left = _cells()
    for part in filter(None, text.partition(":")[2].split("/")):
        named = [cell for cell in left if part.casefold() in map(str.casefold, cell.parts)]
        if not named:
            known = {name for cell in left for name in cell.parts}
            raise UserError(f"{text}: the paper has no {part} there; {suggest(part, known)}")
        left = named
    record = run.record
    own = (record.task.get("paper_task"), record.model.get("paper_name"), record.label)
    for place, name in zip((3, 1, 2), own, strict=True):
        left = [cell for cell in left if cell.parts[place] == name] or left
    if len(left) != 1:
        raise UserError(
            f"{text}: is {len(left)} cells of the paper; name table, model, method and task, e.g. {left[0].name}"
        )
    return left[0]


def _cells() -> list[PaperCell]:
    results = (result for result in _titled_results() if result.task != "average")
    by_cell = grouped(((result.table, result.model, result.method, result.task), result) for result in results)
    return [
        PaperCell(*key, own[0].trainable_millions, {result.metric: result.value for result in own})
        for key, own in by_cell.items()
    ]
