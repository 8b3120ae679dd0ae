"""What a sweep amounts to before anything runs: which runs are done, to do, failed, or wrong."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import compress
from pathlib import Path
from typing import Any

from rocoft_bench.config import Condition, Sweep, SweepRun
from rocoft_bench.errors import UserError
from rocoft_bench.execution.job import Job, record_mtime
from rocoft_bench.experiment.evaluate import evaluation_directory
from rocoft_bench.experiment.memory_estimate import memory_mib
from rocoft_bench.experiment.resolve import Experiment, resolve
from rocoft_bench.models import check_name
from rocoft_bench.runs import RunDirectory, RunRecord, config_values

EVERY_RUN = Condition({})


class State(StrEnum):
    """How far a run is."""

    DONE = "done"
    FAILED = "failed"
    BEGUN = "begun"
    TO_DO = "to do"
    BUSY = "busy"


@dataclass
class ValidRun:
    """What the settings of a combination of the axes amount to, where they are right.

    point: on the axes. evaluations: of the run's model on further tasks. memory_mib: estimated need, where it is known.
    """

    point: dict[str, Any]
    experiment: Experiment
    evaluations: list[Experiment]
    memory_mib: float | None

    @property
    def place(self) -> str:
        """The point in words."""
        return place_of(self.point)


@dataclass
class PlannedRun(ValidRun):
    """A run of a sweep; its folder, and what is there already.

    memory_mib: measured on a run of the same kind, or else estimated. seconds: what the most similar runs took.
    record: of a run that is done or has failed. record_mtime: of the record that was there.
    """

    folder: Path
    state: State
    record: RunRecord | None = None
    record_mtime: int | None = None
    seconds: float | None = None

    @property
    def name(self) -> str:
        """Folder name of the task and of the run."""
        return f"{self.folder.parent.name}/{self.folder.name}"

    def job(self, command: list[str], **how: Any) -> Job:
        """What the process of this run is told. command: what the user typed. how: further fields of a `Job`."""
        return Job(
            folder=str(self.folder),
            config=config_values(self.experiment.config),
            notes=list(self.experiment.notes),
            command=command,
            evaluations=[evaluation.task.name for evaluation in self.evaluations],
            record_mtime=self.record_mtime,
            memory_mib=self.memory_mib,
            seconds=self.seconds,
            **how,
        )


@dataclass(frozen=True)
class InvalidRun:
    """A combination of the axes that cannot be run, and why."""

    place: str
    values: dict[str, Any]
    error: str


@dataclass
class Plan:
    """The runs of a sweep in their order. repeated: combinations that come out as a run that is in the list already."""

    runs: list[PlannedRun] = field(default_factory=list)
    invalid: list[InvalidRun] = field(default_factory=list)
    repeated: int = 0

    def in_state(self, *states: State) -> list[PlannedRun]:
        return [run for run in self.runs if run.state in states]

    @property
    def problems(self) -> dict[str, str]:
        """What is wrong, and where: see `places_of`."""
        return places_of(self.invalid)

    def to_do(self, retry_failed: bool) -> list[PlannedRun]:
        """What is to be run, in the order of the sweep; what another process is at comes last."""
        open_states = (State.TO_DO, State.BEGUN, *([State.FAILED] if retry_failed else []))
        return self.in_state(*open_states) + self.in_state(State.BUSY)


def make_plan(
    sweep: Sweep,
    output: Path,
    condition: Condition = EVERY_RUN,
    assignments: Sequence[str] = (),
    runs: Iterable[SweepRun] | None = None,
) -> Plan:
    """Every run of the sweep that meets the condition, with its state below the folder `output`.

    assignments: `key=value` settings for all runs. runs: instead of the sweep's own.

    Raises: UserError if the sweep file is wrong, all of its runs are, or the condition is met by none of them.
    """
    valid, invalid = resolve_all(sweep, sweep.runs(assignments) if runs is None else runs)
    values = [config_values(run.experiment.config) if condition.wanted else {} for run in valid]
    condition.check_met([*values, *(run.values for run in invalid)], "--filter")
    plan = Plan(invalid=[run for run in invalid if condition.matches(run.values)])
    folders: set[Path] = set()
    for run in compress(valid, map(condition.matches, values)):
        folder = run.experiment.folder_in(output)
        if folder in folders:
            plan.repeated += 1
            continue
        folders.add(folder)
        state, record = state_of(folder, run)
        planned = PlannedRun(**vars(run), folder=folder, state=state, record=record, record_mtime=record_mtime(folder))
        try:
            if state is State.TO_DO:  # the folder of a finished run's model may be gone
                check_name(run.experiment.config.model.name)
        except UserError as error:
            plan.invalid.append(InvalidRun(run.place, config_values(run.experiment.config), str(error)))
        else:
            plan.runs.append(planned)
    history = CostHistory(plan.runs)
    for planned in plan.runs:
        planned.memory_mib, planned.seconds = history.memory_mib(planned), history.seconds(planned)
    if not plan.runs:
        raise UserError("\n".join(f"{places}: {error}" for error, places in plan.problems.items()))
    return plan


def resolve_all(sweep: Sweep, runs: Iterable[SweepRun]) -> tuple[list[ValidRun], list[InvalidRun]]:
    """Runs of a sweep, by whether their settings are right."""
    valid, invalid = [], []
    for point, settings in runs:
        try:
            experiment = resolve(settings)
            evaluations = [resolve(changed) for changed in sweep.evaluation_settings(settings)]
            valid.append(ValidRun(point, experiment, evaluations, memory_mib(experiment)))
        except UserError as error:
            invalid.append(InvalidRun(place_of(point), settings.values, str(error)))
    return valid, invalid


def places_of(wrong: Iterable[InvalidRun]) -> dict[str, str]:
    """Each problem once, with the first place on the axes that has it and how many others do."""
    places: dict[str, list[str]] = {}
    for run in wrong:
        places.setdefault(run.error, []).append(run.place)
    return {error: f"{first} and {len(more)} more" if more else first for error, (first, *more) in places.items()}


def refusals(runs: Iterable[PlannedRun], sharded: bool) -> dict[str, str]:
    """By name, the runs whose method several processes cannot train, and why. sharded: each has a part of the model."""
    refused = {}
    for run in runs:
        try:
            run.experiment.method.check_processes(sharded)
        except UserError as error:
            refused[run.name] = str(error)
    return refused


def place_of(point: Mapping[str, Any]) -> str:
    """Values on the axes in words."""
    return ", ".join(f"{axis} {plain(value)}" for axis, value in point.items())


def plain(value: Any) -> str:
    """A setting in a few words."""
    if isinstance(value, dict):
        return " ".join(str(part) for part in value.values())
    return "+".join(map(str, value)) if isinstance(value, list) else str(value)


def state_of(folder: Path, run: ValidRun) -> tuple[State, RunRecord | None]:
    """How far a run in a folder is, its further evaluations included, and its record if that says how it ended.

    Raises: UserError if the folder is on a file system without locks.
    """
    directory = RunDirectory(folder)
    if not folder.is_dir():
        return State.TO_DO, None
    if directory.is_busy():
        return State.BUSY, None
    if not directory.record.is_file():
        return State.BEGUN if directory.config.is_file() else State.TO_DO, None
    try:
        return _recorded(directory, run)
    except UserError:  # a record that cannot be read
        return State.FAILED, None


def _recorded(directory: RunDirectory, run: ValidRun) -> tuple[State, RunRecord | None]:
    record = directory.read_record()
    if record.status == "interrupted":
        return State.BEGUN, None
    if record.status != "ok":
        return State.FAILED, record
    if directory.finished(run.experiment.identity, with_trained_values=False) is None:
        return State.TO_DO, None
    state, record = _with_evaluations(record, [evaluation_directory(directory, each) for each in run.evaluations])
    lacks_model = state is not State.DONE and directory.damage(record) is not None
    return (State.TO_DO, None) if lacks_model else (state, record)


def _with_evaluations(record: RunRecord, evaluations: list[RunDirectory]) -> tuple[State, RunRecord]:
    """The state of a finished run, by the records of its further evaluations."""
    if not all(evaluation.record.is_file() for evaluation in evaluations):
        return State.BEGUN, record
    records = [evaluation.read_record() for evaluation in evaluations]
    failed = next((each for each in records if each.status != "ok"), None)
    return (State.DONE, record) if failed is None else (State.FAILED, failed)


class CostHistory:
    """How long runs took and what memory they needed, by what was run, to say what others will take."""

    def __init__(self, runs: Iterable[PlannedRun] = ()) -> None:
        self._seconds: dict[tuple[str, ...], list[float]] = {}
        self._peaks: dict[str, float] = {}
        for run in runs:
            if run.record is not None and run.record.status == "ok":
                self.add(run, (run.record.train_seconds or 0) + (run.record.eval_seconds or 0))
                peak, key = run.record.peak_memory_mib or 0, run.experiment.identity.settings_hash
                self._peaks[key] = max(peak, self._peaks.get(key, 0))

    def add(self, run: PlannedRun, seconds: float) -> None:
        for key in _keys(run):
            self._seconds.setdefault(key, []).append(seconds)

    def seconds(self, run: PlannedRun) -> float | None:
        """Of the most similar runs that are known: same task, model and method, then task and model, then any."""
        found = next((self._seconds[key] for key in _keys(run) if key in self._seconds), None)
        return None if found is None else statistics.mean(found)

    def memory_mib(self, run: PlannedRun) -> float | None:
        """Measured on a run with the same settings but its seed, or else estimated for rows of full length."""
        return self._peaks.get(run.experiment.identity.settings_hash, run.memory_mib) if self._peaks else run.memory_mib


def _keys(run: PlannedRun) -> list[tuple[str, ...]]:
    """Keys that a run shares with others that take about as long, from the closest to all."""
    task, config = run.experiment.task, run.experiment.config
    same_task = (task.family, task.name, config.model.name)
    return [(*same_task, run.experiment.method.label), same_task, ()]
