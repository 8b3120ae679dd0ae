"""Finding and reading what runs, kernel analyses and efficiency benches have left in a folder."""

import os
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from pydantic import BaseModel
from pydantic_core import from_json

from rocoft_bench.errors import UserError, reason
from rocoft_bench.runs import EfficiencyRecord, KernelRecord, RunDirectory, RunRecord, read_provenance, read_record
from rocoft_bench.runs.analysis_records import TuningRecord
from rocoft_bench.runs.record import LARGEST
from rocoft_bench.untrusted import read_bytes, read_text

HISTORY_POINTS = 200


class Unreadable(NamedTuple):
    """A file that is not a record that can be read, and why."""

    path: Path
    reason: str


R = TypeVar("R", bound=BaseModel)


@dataclass(frozen=True)
class Stored(Generic[R]):
    """A record, and the folder that holds it. id: the folder below the results."""

    id: str
    record: R
    folder: Path

    @cached_property
    def provenance(self) -> dict[str, Any] | None:
        """As `rocoft_bench.runs.provenance` made it; None if it is missing or damaged."""
        return read_provenance(self.folder)


@dataclass(frozen=True)
class Run(Stored[RunRecord]):
    """A run's record, and its other files, read when they are asked for."""

    @cached_property
    def directory(self) -> RunDirectory:
        return RunDirectory(self.folder)

    @cached_property
    def config_text(self) -> str | None:
        try:
            return read_text(self.directory.config)
        except UserError:
            return None

    def losses(self, points: int = HISTORY_POINTS) -> list[tuple[int, float]]:
        """(step, loss) at about so many steps, evenly spread over the file, where both are numbers, infinity not
        among them; empty if there is no history.
        """
        lines = _lines(self.directory.history)
        values = (_value(line) for line in lines[:: max(1, len(lines) // points)])
        pairs: list[tuple[Any, Any]] = [
            (value.get("step"), value.get("loss")) for value in values if isinstance(value, dict)
        ]
        return [(step, loss) for step, loss in pairs if _is_number(step) and _is_number(loss)]

    def predictions(self, limit: int | None = None) -> list[dict[str, Any]]:
        """The first lines of predictions.jsonl; none if it is missing or damaged."""
        try:
            rows = from_json(b"[%b]" % b",".join(_lines(self.directory.predictions)[:limit]))
        except ValueError:
            return []
        return rows if all(isinstance(row, dict) for row in rows) else []

    def named(self, answers: list[Any]) -> list[Any]:
        """Codes of labels by the names that the user's own data have for them; other answers as they are."""
        labels = self.record.task.get("settings", {}).get("labels")
        names = dict(enumerate(labels)) if isinstance(labels, list) else {}
        return [names.get(answer, answer) if type(answer) is int else answer for answer in answers]


@dataclass
class Results:
    """Everything below a folder that can be read, in order of path, and what cannot. Trials of tuning are no runs: what
    they were scored on were training rows.
    """

    root: Path
    runs: list[Run] = field(default_factory=list)
    kernels: list[Stored[KernelRecord]] = field(default_factory=list)
    efficiency: list[Stored[EfficiencyRecord]] = field(default_factory=list)
    problems: list[Unreadable] = field(default_factory=list)
    trials: list[Run] = field(default_factory=list)
    tuning: list[Stored[TuningRecord]] = field(default_factory=list)


def read_results(folder: Path) -> Results:
    """Everything below a folder: `record.json` of runs, `tuning.json` of searches, `kernels.json` and `efficiency.json`
    of analyses.

    Raises: UserError if the folder does not exist or holds nothing of the kind.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    results = Results(folder)
    for file in _record_files(results):
        try:
            _add(results, file)
        except UserError as error:
            results.problems.append(Unreadable(file, str(error).removeprefix(f"{file}: ")))
    if not any((results.runs, results.trials, results.kernels, results.efficiency, results.problems)):
        raise UserError(f"{folder}: holds no runs (no record.json); make one with `rocoft train` or `rocoft demo`")
    return results


def _record_files(results: Results) -> list[Path]:
    """Whatever has the name of a record, in order; folders that cannot be listed become problems."""

    def name_problem(error: OSError) -> None:
        results.problems.append(Unreadable(Path(error.filename), f"cannot be read ({reason(error)})"))

    names = {"record.json", "tuning.json", "kernels.json", "efficiency.json"}
    walk = os.walk(results.root, onerror=name_problem)
    found = ((Path(place), names.intersection((*folders, *files))) for place, folders, files in walk)
    return sorted(place / name for place, here in found for name in here)


def _add(results: Results, file: Path) -> None:
    if not file.is_file():
        raise UserError(f"{file}: is not a file")
    place = file.parent
    id = place.relative_to(results.root).as_posix()
    if file.name == "record.json":
        run = Run(id, read_record(file, RunRecord), place)
        is_trial = run.record.task.get("settings", {}).get("hold_out")
        (results.trials if is_trial else results.runs).append(run)
    elif file.name == "tuning.json":
        results.tuning.append(Stored(id, read_record(file, TuningRecord), place))
    elif file.name == "kernels.json":
        results.kernels.append(Stored(id, read_record(file, KernelRecord), place))
    else:
        results.efficiency.append(Stored(id, read_record(file, EfficiencyRecord), place))


def _lines(file: Path) -> list[bytes]:
    try:
        return read_bytes(file, limit=None).splitlines()
    except UserError:
        return []


def _value(line: bytes) -> Any:
    """Of a line of JSON; None where the run was killed while it wrote."""
    try:
        return from_json(line)
    except ValueError:
        return None


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and abs(value) <= LARGEST
