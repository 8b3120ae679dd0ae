"""What the paper's text says of its tables, against the tables."""

from collections.abc import Iterator, Mapping
from importlib.resources import files
from itertools import pairwise
from typing import Any

import yaml

from rocoft_bench import paper
from rocoft_bench.analysis.groups import grouped
from rocoft_bench.analysis.table import Column, Row, Table, text_cells

HOLDS, ALMOST, PARTLY, FAILS = "holds", "holds but for full fine-tuning", "holds in part", "does not hold"

_COLUMNS = [
    Column("where", "where"),
    Column("said", "the text"),
    Column("data", "the tables"),
    Column("verdict", "verdict"),
]

Claim = Mapping[str, Any]
"""An entry of `claims.yaml`."""


def claims() -> Table:
    """Each claim that a number of the tables can decide, those that do not hold first."""
    text = files("rocoft_bench.audit").joinpath("claims.yaml").read_text(encoding="utf-8")
    rows = [row for claim in yaml.safe_load(text) for row in _rows(claim)]
    order = [FAILS, PARTLY, ALMOST, HOLDS]
    rows.sort(key=lambda row: order.index(row.cells["verdict"].text))
    failing = sum(row.cells["verdict"].text == FAILS for row in rows)
    notes = [
        f'{failing} of {len(rows)} claims do not hold. A claim of the highest value, as which "excels on" and "leads '
        'in" are read too, is taken to be among all rows of the table and model, full fine-tuning (FT) included.',
        "Differences of a few hundredths of a point are far below what seeds and samples make of them; the paper gives "
        "no deviations.",
    ]
    return Table("audit-claims", "what the text says of the tables", _COLUMNS, rows, notes=notes)


def _rows(claim: Claim) -> Iterator[Row]:
    """A row for each value that is said to be the highest, for each method that is said to be worse, or for a check."""

    def row(of: str, said: str, data: str, verdict: str) -> Row:
        cells = text_cells(where=claim["where"], said=said, data=data, verdict=verdict)
        return Row(claim["model"], claim["method"], cells, of)

    if "check" in claim:
        yield row(claim["of"], claim["words"], *CHECKS[claim["check"]]())
    for key, stated in claim.get("values", {}).items():
        yield row(key, f"{claim['words']} {key} ({stated:.2f})", *_highest(claim, key, stated))
    for other in claim.get("others", ()):
        yield row(f"against {other}", f"{claim['words']} {other}", *_outperforms(claim, other))


def _highest(claim: Claim, key: str, stated: float) -> tuple[str, str]:
    """Of a value by task and metric, e.g. "rte accuracy": whether it is the highest, and as the text has it."""
    task, metric = key.split()
    cells = paper.cells(claim["table"], claim["model"])
    values = {method: of_method[task, metric] for method, of_method in cells.items() if (task, metric) in of_method}
    own = values.pop(claim["method"])
    higher = {method: value for method, value in values.items() if value > own}
    verdict = HOLDS if not higher else ALMOST if set(higher) == {"FT"} else FAILS
    next_highest = max(values.values())
    runners_up = {method: value for method, value in values.items() if value == next_highest}
    beside = "higher" if higher else "as high" if next_highest == own else "next"
    data = f"Table {claim['table']}: {claim['method']} {own:.2f}; {beside}: {_listed(higher or runners_up)}"
    return (data, verdict) if own == stated else (f"{data}; the table prints another value", FAILS)


def _listed(values: Mapping[str, float]) -> str:
    ordered = sorted(values.items(), key=lambda item: -item[1])
    return ", ".join(f"{method} {value:.2f}" for method, value in ordered)


def _outperforms(claim: Claim, other: str) -> tuple[str, str]:
    """Whether the method is better than another one on the tasks of the table that the claim is made for."""
    cells = paper.cells(claim["table"], claim["model"])
    own, their = cells[claim["method"]], cells[other]
    keys = [key for key in own if key[0] not in ("average", *claim.get("without", ()))]
    lower = {" ".join(key): (own[key], their[key]) for key in keys if own[key] < their[key]}
    higher = sum(own[key] > their[key] for key in keys)
    data = f"Table {claim['table']}: higher than {other} in {higher} of {len(keys)} numbers"
    if lower:
        data += "; lower in " + ", ".join(f"{name} ({a:.2f} < {b:.2f})" for name, (a, b) in lower.items())
    return data, HOLDS if not lower else PARTLY if higher > len(lower) else FAILS


def _trained_in_table_7() -> tuple[str, str]:
    printed = {r.model: r.trainable_millions for r in paper.results() if r.table == 7 and r.method.startswith("RoCoFT")}
    same = len(set(printed.values())) == 1
    data = "Table 7: " + ", ".join(f"{model} {millions}M" for model, millions in printed.items())
    return data, HOLDS if same else PARTLY


def _of_rank(rank: int) -> dict[str, paper.RankResult]:
    """Table 8's rows of a rank by method."""
    return {row.method: row for row in paper.rank_efficiency() if row.rank == rank}


def _rank_1() -> tuple[str, str]:
    row, lora = _of_rank(1)["RoCoFT-Row"], _of_rank(1)["LoRA"]
    data = f"Table 8: {row.accuracy:.3f} with {row.trainable_millions}M, LoRA with {lora.trainable_millions}M"
    same = (row.accuracy, row.trainable_millions, lora.trainable_millions) == (0.913, "0.022", "0.055")
    return f"{data}; for the 0.022M see Table 8 by rank", HOLDS if same else FAILS


def _accuracy_by_rank() -> tuple[str, str]:
    by_method = grouped((row.method, row.accuracy) for row in paper.rank_efficiency())
    rises = all(a < b for values in by_method.values() for a, b in pairwise(values))
    texts = [f"{method} {', '.join(f'{value:.3f}' for value in values)}" for method, values in by_method.items()]
    ranks = ", ".join(str(rank) for rank in dict.fromkeys(row.rank for row in paper.rank_efficiency()))
    return f"Table 8, r = {ranks}: {'; '.join(texts)}", HOLDS if rises else PARTLY


def _memory_at_64() -> tuple[str, str]:
    row, lora = _of_rank(64)["RoCoFT-Row"], _of_rank(64)["LoRA"]
    highest = max(other.accuracy for other in paper.rank_efficiency())
    data = (
        f"Table 8: {row.accuracy:.3f}, the highest being {highest:.3f}; {row.memory_mb:,} MB and {lora.memory_mb:,} MB"
    )
    same = (row.accuracy, row.memory_mb, lora.memory_mb) == (highest, 2656, 2993)
    return data, HOLDS if same else FAILS


def _faster_at_low_ranks() -> tuple[str, str]:
    texts, faster = [], True
    for rank in (1, 2):
        seconds = {method: row.train_seconds for method, row in _of_rank(rank).items()}
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
