"""A cell of the paper's results tables, named on the command line: `paper:table1/RoCoFT-3-Row/rte`."""

from dataclasses import dataclass

from rocoft_bench import paper
from rocoft_bench.analysis.records import Run
from rocoft_bench.analysis.references import ROW_TITLES
from rocoft_bench.errors import UserError, suggest

PREFIX = "paper"


@dataclass(frozen=True)
class PaperCell:
    """values: in percent, by metric. method: as runs are titled. hyperparameters: Table 10's, which are of RoCoFT."""

    table: int
    model: str
    method: str
    task: str
    trainable_millions: str
    values: dict[str, float]

    @property
    def name(self) -> str:
        return f"{PREFIX}:table{self.table}/{self.model}/{self.method}/{self.task}"

    @property
    def hyperparameters(self) -> dict[str, str]:
        return paper.hyperparameters()[self.task] if self.method.startswith("RoCoFT") else {}

    @property
    def names(self) -> tuple[str, ...]:
        return (f"table{self.table}", self.model, self.method, self.task)


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
        named = [cell for cell in left if part.casefold() in map(str.casefold, cell.names)]
        if not named:
            raise UserError(f"{text}: the paper has no {part} there; {suggest(part, _names(left))}")
        left = named
    record = run.record
    own = (record.task.get("paper_task"), record.model.get("paper_name"), record.label)
    for place, name in zip((3, 1, 2), own, strict=True):
        left = [cell for cell in left if cell.names[place] == name] or left
    if len(left) != 1:
        raise UserError(
            f"{text}: is {len(left)} cells of the paper; name table, model, method and task, e.g. {left[0].name}"
        )
    return left[0]


def _names(cells: list[PaperCell]) -> set[str]:
    return {name for cell in cells for name in cell.names}


def _cells() -> list[PaperCell]:
    found: dict[tuple[int, str, str, str], PaperCell] = {}
    for result in paper.results():
        if result.task != "average":
            method = ROW_TITLES.get(result.method, result.method)
            key = (result.table, result.model, method, result.task)
            cell = found.setdefault(key, PaperCell(*key, result.trainable_millions, {}))
            cell.values[result.metric] = result.value
    return list(found.values())
