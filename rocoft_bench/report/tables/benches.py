"""Cells made of efficiency benches, and which benches may be compared."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rocoft_bench.analysis.groups import Facts, alike, differing, hardware
from rocoft_bench.analysis.records import Stored
from rocoft_bench.analysis.table import Cell
from rocoft_bench.report.tables.cells import part
from rocoft_bench.runs import EfficiencyRecord

Bench = Stored[EfficiencyRecord]


Value = Callable[[EfficiencyRecord], float | None]


def parameters(kind: str) -> Value:
    """The number of parameters of a kind, e.g. "adapter"."""
    return lambda record: record.parameters.get(kind)


def circumstances(bench: Bench) -> Facts:
    """What has to be the same for times and memory to be compared."""
    record = bench.record
    shape = (record.task or "", record.batch_size, record.sequence_length, record.precision)
    return (*shape, record.peak_memory_kind, hardware(bench.provenance))


def circumstances_text(bench: Bench) -> str:
    record = bench.record
    batch = f"batches of {record.batch_size} rows of {record.sequence_length} tokens, {record.precision}"
    return f"{batch}, {hardware(bench.provenance)}"


def variants_of(benches: Sequence[Bench]) -> list[tuple[str, list[Bench]]]:
    """Benches of one method by their settings, each group with those in which it is not as the others; "" for one."""
    groups = alike(benches, lambda bench: (bench.record.settings_hash,))
    if len(groups) == 1:
        return [("", groups[0])]
    names = differing([{**own[0].record.method, **own[0].record.settings} for own in groups])
    return [(name or own[0].record.settings_hash, own) for name, own in zip(names, groups, strict=True)]


def bench_cell(
    benches: Sequence[Bench],
    value: Value,
    reference: float | None = None,
    comparable: bool = False,
) -> Cell:
    """The mean over seeds; benches that failed before they had the value show as what they are."""
    values = {bench.id: value(bench.record) for bench in benches}
    failures = tuple(b.record.status for b in benches if b.record.status != "ok" and values[b.id] is None)
    numbers = [number for number in values.values() if number is not None]
    return Cell((part(numbers, reference, comparable),), runs=tuple(values), failures=failures)
