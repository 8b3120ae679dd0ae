"""Measuring benches: all methods of a model and shape take their steps in turn, and each leaves a record."""

import os
import statistics
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rocoft_bench.efficiency.bench_settings import FROZEN, BenchSettings
from rocoft_bench.efficiency.bench_subject import BenchSubject, random_model
from rocoft_bench.efficiency.reference_methods import method_of
from rocoft_bench.engine.failure import diagnose
from rocoft_bench.errors import UserError, reason
from rocoft_bench.models import known_model
from rocoft_bench.plugins import used
from rocoft_bench.runs import EfficiencyRecord, lock, provenance, read_record, remove_leftovers, write_json

RECORD = "efficiency.json"
WARM_UP = 1
"""Turns that are not counted."""

Advance = Callable[[str], None]
"""Called before each thing that takes time, with what it is."""


def stored_record(bench: BenchSettings, output: Path) -> EfficiencyRecord | None:
    """The record of a bench, if it is there and finished. Raises: UserError if it cannot be read."""
    file = output / bench.folder_name / RECORD
    record = read_record(file, EfficiencyRecord) if file.is_file() else None
    return record if record and record.status == "ok" else None


@contextmanager
def only_bench_in(output: Path) -> Iterator[None]:
    """Keeps other benches from a folder of results. Raises: UserError if one is at work there, or it is no place."""
    try:
        output.mkdir(parents=True, exist_ok=True)
        descriptor = lock.acquire(file := output / ".lock")
    except OSError as error:
        raise UserError(f"--output {output}: cannot be written ({reason(error)})") from None
    if descriptor is None:
        raise UserError(f"--output {output}: another `rocoft bench` is at work there; wait for it, or choose another")
    try:
        yield
    finally:
        file.unlink(missing_ok=True)
        os.close(descriptor)


def measurements(benches: Sequence[BenchSettings]) -> int:
    """How often `measure` calls `advance`, if nothing is done yet."""
    return len(benches) * (2 + WARM_UP + benches[0].turns)


def measure(
    benches: Sequence[BenchSettings], output: Path, force: bool = False, advance: Advance = lambda what: None
) -> list[EfficiencyRecord]:
    """Measure benches that share everything but the method; of those that are done, only the frozen model is again.

    A method that fails has a record that says so, and costs no other one.

    Raises: UserError if the model cannot be built.
    """
    done = {bench.folder_name: None if force else stored_record(bench, output) for bench in benches}
    missing = [bench for bench in benches if done[bench.folder_name] is None]
    if missing:
        frozen = next(bench for bench in benches if bench.method["name"] == FROZEN)
        chosen = missing if frozen in missing else [frozen, *missing]
        for bench, record in _measured(chosen, advance):
            if bench in missing:
                _write(record, output / bench.folder_name)
                done[bench.folder_name] = record
    return [found for bench in benches if (found := done[bench.folder_name]) is not None]


def _measured(benches: Sequence[BenchSettings], advance: Advance) -> list[tuple[BenchSettings, EfficiencyRecord]]:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.backends.cuda.matmul.allow_tf32 = benches[0].precision == "tf32"
    base = random_model(benches[0], device)
    subjects: dict[str, BenchSubject] = {}
    findings: dict[str, dict[str, Any]] = {}
    for bench in benches:
        advance(f"{bench.method['name']}: counting")
        name = bench.folder_name
        try:
            subjects[name], findings[name] = _prepared(bench, base)
        except Exception as error:  # on record; what it is does not matter to the other methods
            findings[name] = _failure(error)
    seconds = _taken_in_turn(subjects, findings, benches[0].turns, advance)
    frozen = benches[0].folder_name
    if frozen in seconds:
        for name, own in seconds.items():
            findings[name] |= subjects[name].memory_over_steps() | _times_beside(own, seconds[frozen])
            layers = subjects[name].targeted_layers
            added = findings[name]["operations_per_step"] - findings[frozen]["operations_per_step"]
            findings[name]["added_operations_per_layer"] = added / layers if layers else None
    for name, subject in subjects.items():
        advance(f"{subject.method.name}: merging")
        _guarded(findings[name], subject.merge_and_decode)
    return [(bench, _record(bench, findings[bench.folder_name])) for bench in benches]


def _prepared(bench: BenchSettings, base: torch.nn.Module) -> tuple[BenchSubject, dict[str, Any]]:
    """A subject that has taken a step, and what was counted of it."""
    with warnings.catch_warnings(action="ignore"):
        subject = BenchSubject(bench, base)
        counts = subject.counts()
    return subject, {
        "parameters": subject.parameters(),
        "flops_per_step": counts.flops,
        "saved_bytes_per_step": counts.saved_bytes,
        "operations_per_step": counts.operations,
        **subject.memory(counts),
        "adapter_bytes": subject.adapter_bytes(),
    }


def _failure(error: BaseException) -> dict[str, Any]:
    if isinstance(error, UserError):
        return {"status": "failed", "error": str(error)}
    return diagnose(error)._replace(hint=None)._asdict()


def _guarded(finding: dict[str, Any], action: Callable[[], dict[str, float]]) -> None:
    try:
        finding |= action()
    except Exception as error:
        finding.setdefault("notes", []).append(f"merging or decoding failed: {_failure(error)['error']}")


def _taken_in_turn(
    subjects: dict[str, BenchSubject], findings: dict[str, dict[str, Any]], turns: int, advance: Advance
) -> dict[str, list[float]]:
    """Seconds of each subject's steps: A B C A B C …"""
    seconds: dict[str, list[float]] = {name: [] for name in subjects}
    for turn in range(WARM_UP + turns):
        for name, subject in list(subjects.items()):
            advance(f"{subject.method.name}: turn {turn + 1 - WARM_UP} of {turns}")
            try:
                elapsed = subject.timed_step()
            except Exception as error:
                findings[name] |= _failure(error)
                del subjects[name], seconds[name]
                continue
            if turn >= WARM_UP:
                seconds[name].append(elapsed)
    return seconds


def _times_beside(own: list[float], frozen: list[float]) -> dict[str, Any]:
    ratios = [mine / theirs for mine, theirs in zip(own, frozen, strict=True)]
    return {
        "seconds_per_step": statistics.median(own),
        "seconds_per_step_99": float(np.percentile(own, 99)),
        "seconds_beside_frozen": statistics.median(ratios),
    }


def _record(bench: BenchSettings, finding: dict[str, Any]) -> EfficiencyRecord:
    try:
        method = method_of(bench.method, bench.task_kind, bench.model["name"])
        label, settings = method.label, {"name": method.name, **method.settings.model_dump(mode="json")}
    except UserError:  # on record as a failure already
        label, settings = str(bench.method.get("name")), dict(bench.method)
    return EfficiencyRecord(
        config_hash=bench.config_hash(),
        settings_hash=bench.settings_hash(),
        label=label,
        method=settings,
        model=_model_facts(bench),
        seed=bench.seed,
        task=bench.task,
        batch_size=bench.batch_size,
        sequence_length=bench.sequence_length,
        precision=bench.precision if bench.dtype == "float32" else f"{bench.precision}, {bench.dtype} weights",
        measured_steps=bench.turns,
        steps_per_epoch=-(-bench.task_rows // bench.batch_size) if bench.task_rows else None,
        settings=bench.model_dump(
            mode="json", include={"task_kind", "gradient_checkpointing", "gradient_accumulation", "compile"}
        ),
        finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
        **{"status": "ok", **finding},
    )


def _model_facts(bench: BenchSettings) -> dict[str, Any]:
    if bench.is_of_layer:
        return {**bench.model, "kind": "layer"}
    changes = {key: value for key, value in bench.model.items() if key != "name"}
    known = known_model(bench.model["name"])
    name = ", ".join([bench.model["name"], *(f"{key}={value}" for key, value in changes.items())])
    paper_name = known.paper_name if known and not changes else None
    return {"name": name, "kind": "random weights", "paper_name": paper_name}


def _write(record: EfficiencyRecord, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    remove_leftovers(folder)
    write_json(folder / "provenance.json", provenance(used({"method": [record.method.get("name", "")]})))
    write_json(folder / RECORD, record.model_dump(mode="json"))
