"""What the paper's text says of its tables, against the tables."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import pairwise
from typing import Any

import yaml

from rocoft_bench import paper
from rocoft_bench.analysis.table import Column, Row, Table, text_cells

HOLDS, ALMOST, PARTLY, FAILS = "holds", "holds but for full fine-tuning", "holds in part", "does not hold"

_COLUMNS = [
    Column("where", "where"),
    Column("said", "the text"),
    Column("data", "the tables"),
    Column("verdict", "verdict"),
]

Key = tuple[str, str]
"""Task and metric."""


@dataclass(frozen=True)
class Highest:
    """A claim that a method has the highest value of a table's column, for the values that the text gives."""

    where: str
    table: int
    model: str
    method: str
    words: str
    values: Mapping[Key, float]

    def rows(self) -> list[Row]:
        return [self._row(key, stated) for key, stated in self.values.items()]

    def _row(self, key: Key, stated: float) -> Row:
        values = {method: cells[key] for method, cells in _cells(self.table, self.model).items() if key in cells}
        own = values.pop(self.method)
        higher = {method: value for method, value in values.items() if value > own}
        verdict = HOLDS if not higher else ALMOST if set(higher) == {"FT"} else FAILS
        data = f"Table {self.table}: {self.method} {own:.2f}; "
        data += "higher: " + _listed(higher) if higher else _runner_up(values, own)
        if own != stated:
            data, verdict = f"{data}; the table prints another value", FAILS
        return _as_row(self, " ".join(key), f"{self.words} {' '.join(key)} ({stated:.2f})", data, verdict)


@dataclass(frozen=True)
class Outperforms:
    """A claim that a method is better than others on a table's tasks; without: tasks that it is not made for."""

    where: str
    table: int
    model: str
    method: str
    words: str
    others: tuple[str, ...]
    without: tuple[str, ...] = ()

    def rows(self) -> list[Row]:
        return [self._row(other) for other in self.others]

    def _row(self, other: str) -> Row:
        cells = _cells(self.table, self.model)
        own, their = cells[self.method], cells[other]
        keys = [key for key in own if key[0] not in ("average", *self.without)]
        lower = {" ".join(key): (own[key], their[key]) for key in keys if own[key] < their[key]}
        equal = sum(own[key] == their[key] for key in keys)
        higher = len(keys) - len(lower) - equal
        data = f"Table {self.table}: higher than {other} in {higher} of {len(keys)} numbers"
        if lower:
            data += "; lower in " + ", ".join(f"{name} ({a:.2f} < {b:.2f})" for name, (a, b) in lower.items())
        return _as_row(
            self,
            f"against {other}",
            f"{self.words} {other}",
            data,
            HOLDS if not lower else PARTLY if higher > len(lower) else FAILS,
        )


@dataclass(frozen=True)
class Stated:
    """Any other claim. of: what; check: what the tables say, and the verdict."""

    where: str
    model: str
    method: str
    of: str
    words: str
    check: Callable[[], tuple[str, str]]

    def rows(self) -> list[Row]:
        return [_as_row(self, self.of, self.words, *self.check())]


Claim = Highest | Outperforms | Stated


def claims() -> Table:
    """Each claim that a number of the tables can decide, those that do not hold first."""
    rows = [row for claim in _claims() for row in claim.rows()]
    order = [FAILS, PARTLY, ALMOST, HOLDS]
    rows.sort(key=lambda row: order.index(row.cells["verdict"].text))
    table = Table("audit-claims", "what the text says of the tables", _COLUMNS, rows)
    failing = sum(row.cells["verdict"].text == FAILS for row in rows)
    table.notes = [
        f'{failing} of {len(rows)} claims do not hold. A claim of the highest value, as which "excels on" and "leads '
        'in" are read too, is taken to be among all rows of the table and model, full fine-tuning (FT) included.',
        "Differences of a few hundredths of a point are far below what seeds and samples make of them; the paper gives "
        "no deviations.",
    ]
    return table


@cache
def _cells(table: int, model: str) -> dict[str, dict[Key, float]]:
    """The values of each method."""
    cells: dict[str, dict[Key, float]] = {}
    for result in paper.results():
        if (result.table, result.model) == (table, model):
            cells.setdefault(result.method, {})[result.task, result.metric] = result.value
    return cells


def _as_row(claim: Claim, of: str, said: str, data: str, verdict: str) -> Row:
    cells = text_cells(where=claim.where, said=said, data=data, verdict=verdict)
    return Row(claim.model, claim.method, cells, of)


def _listed(values: Mapping[str, float]) -> str:
    ordered = sorted(values.items(), key=lambda item: -item[1])
    return ", ".join(f"{method} {value:.2f}" for method, value in ordered)


def _runner_up(values: Mapping[str, float], own: float) -> str:
    highest = max(values.values())
    named = _listed({method: value for method, value in values.items() if value == highest})
    return f"{'as high' if highest == own else 'next'}: {named}"


def _trained_in_table_7() -> tuple[str, str]:
    printed = {r.model: r.trainable_millions for r in paper.results() if r.table == 7 and r.method.startswith("RoCoFT")}
    same = len(set(printed.values())) == 1
    data = "Table 7: " + ", ".join(f"{model} {millions}M" for model, millions in printed.items())
    return data, HOLDS if same else PARTLY


def _rank_1() -> tuple[str, str]:
    rows = {row.method: row for row in paper.rank_efficiency() if row.rank == 1}
    row, lora = rows["RoCoFT-Row"], rows["LoRA"]
    data = f"Table 8: {row.accuracy:.3f} with {row.trainable_millions}M, LoRA with {lora.trainable_millions}M"
    same = (row.accuracy, row.trainable_millions, lora.trainable_millions) == (0.913, "0.022", "0.055")
    return f"{data}; for the 0.022M see Table 8 by rank", HOLDS if same else FAILS


def _accuracy_by_rank() -> tuple[str, str]:
    texts, rises = [], True
    for method in dict.fromkeys(row.method for row in paper.rank_efficiency()):
        values = [row.accuracy for row in paper.rank_efficiency() if row.method == method]
        rises &= all(a < b for a, b in pairwise(values))
        texts.append(f"{method} {', '.join(f'{value:.3f}' for value in values)}")
    ranks = ", ".join(str(rank) for rank in dict.fromkeys(row.rank for row in paper.rank_efficiency()))
    return f"Table 8, r = {ranks}: {'; '.join(texts)}", HOLDS if rises else PARTLY


def _memory_at_64() -> tuple[str, str]:
    rows = {row.method: row for row in paper.rank_efficiency() if row.rank == 64}
    row, lora = rows["RoCoFT-Row"], rows["LoRA"]
    highest = max(other.accuracy for other in paper.rank_efficiency())
    data = (
        f"Table 8: {row.accuracy:.3f}, the highest being {highest:.3f}; {row.memory_mb:,} MB and {lora.memory_mb:,} MB"
    )
    same = (row.accuracy, row.memory_mb, lora.memory_mb) == (highest, 2656, 2993)
    return data, HOLDS if same else FAILS


def _faster_at_low_ranks() -> tuple[str, str]:
    texts, faster = [], True
    for rank in (1, 2):
        seconds = {row.method: row.train_seconds for row in paper.rank_efficiency() if row.rank == rank}
        lora = seconds.pop("LoRA")
        faster &= all(value < lora for value in seconds.values())
        texts.append(f"r = {rank}: {', '.join(f'{m} {s} s' for m, s in seconds.items())}, LoRA {lora} s")
    return f"Table 8, {'; '.join(texts)}", HOLDS if faster else FAILS


CHECKS = {
    "trained_in_table_7": _trained_in_table_7,
    "rank_1": _rank_1,
    "accuracy_by_rank": _accuracy_by_rank,
    "faster_at_low_ranks": _faster_at_low_ranks,
    "memory_at_64": _memory_at_64,
}


def _claims() -> list[Claim]:
    """What `claims.yaml` holds."""
    text = files("rocoft_bench.audit").joinpath("claims.yaml").read_text(encoding="utf-8")
    return list(map(_claim, yaml.safe_load(text)))


def _claim(entry: dict[str, Any]) -> Claim:
    if "check" in entry:
        return Stated(**{**entry, "check": CHECKS[entry["check"]]})
    if "values" in entry:
        values = {tuple(key.split()): value for key, value in entry["values"].items()}
        return Highest(**{**entry, "values": values})
    return Outperforms(**entry)
