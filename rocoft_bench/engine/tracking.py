"""Curves and settings of a run for an experiment tracker, by accelerate's classes for each of them.

A tracker only listens: it is no part of a run's settings, and where it fails the run continues without it.
"""

from __future__ import annotations

import json
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from enum import StrEnum
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from rocoft_bench.config import RunConfig, flatten
from rocoft_bench.engine.observer import Observer, Several
from rocoft_bench.errors import UserError, reason
from rocoft_bench.runs import RunDirectory, config_values, write_text

if TYPE_CHECKING:
    from accelerate.tracking import GeneralTracker

PROJECT = "rocoft"

WANDB_FINISH_SECONDS = 60
"""How long the end of a run waits for what is still to be uploaded; `wandb sync` sends the rest."""


class TrackerName(StrEnum):
    """The trackers, by the name of their package, which is the name of the extra too."""

    tensorboard = "tensorboard"
    wandb = "wandb"
    trackio = "trackio"


@contextmanager
def tracked(
    observer: Observer, name: TrackerName | None, config: RunConfig, directory: RunDirectory
) -> Iterator[Observer]:
    """An observer for a run that tells the given one and, where one is named, a tracker."""
    if name is None:
        yield observer
        return
    tracking = Tracking(name, config, directory)
    try:
        yield Several(observer, tracking)
    finally:
        tracking.finish()


def check_installed(name: TrackerName | None) -> None:
    """Raises UserError if a tracker's package is missing."""
    if name is not None and find_spec(name) is None:
        raise UserError(f"--track {name}: needs the extra {name}: pip install 'rocoft-bench[{name}]'")


class Tracking(Observer):
    """Sends what is logged to a tracker, from the first step that is trained on. An error ends it with one warning."""

    def __init__(self, name: TrackerName, config: RunConfig, directory: RunDirectory) -> None:
        self.name, self.config, self.directory = name, config, directory
        self._tracker: GeneralTracker | None = None

    def training_started(self, total_steps: int, done_steps: int) -> None:
        with self._or_stop():
            self._tracker = self._start(done_steps)

    def logged(self, entry: dict[str, Any]) -> None:
        if self._tracker is not None:
            with self._or_stop():
                self._tracker.log(_curves(entry), step=entry["step"])

    def finish(self) -> None:
        """Close the tracker, which may wait for an upload."""
        if self._tracker is not None:
            with self._or_stop():
                self._tracker.finish()

    def _start(self, done_steps: int) -> GeneralTracker:
        from accelerate import PartialState
        from accelerate.tracking import LOGGER_TYPE_TO_CLASS

        PartialState(cpu=True)  # in a process that only launches others: use no GPU; in any other it is there already
        options = _OPTIONS[self.name](self.directory, done_steps)
        tracker = LOGGER_TYPE_TO_CLASS[self.name](**options)
        tracker.start()
        if not done_steps:
            tracker.store_init_configuration(_plain(self.config))
        return tracker

    @contextmanager
    def _or_stop(self) -> Iterator[None]:
        """A tracker's prints go to stderr. After an error it is left alone."""
        try:
            with redirect_stdout(sys.stderr):
                yield
        except Exception as error:
            self._tracker = None
            print(f"warning: --track {self.name}: {reason(error)}; the run continues without it", file=sys.stderr)


def _curves(entry: dict[str, Any]) -> dict[str, float]:
    if "metrics" in entry:
        return {f"eval/{name}": value for name, value in entry["metrics"].items()}
    return {f"train/{name}": entry[name] for name in ("loss", "learning_rate")}


def _plain(config: RunConfig) -> dict[str, Any]:
    """All settings by dotted names; lists as JSON, since trackers take single values only."""
    values = flatten(config_values(config))
    return {key: json.dumps(value) if isinstance(value, list | dict) else value for key, value in values}


def _tensorboard_options(directory: RunDirectory, done_steps: int) -> dict[str, Any]:
    """Files in the run's folder. What a killed process wrote after its last checkpoint is withdrawn."""
    step = done_steps + 1 if done_steps else 0
    return {"run_name": directory.tracking.name, "logging_dir": directory.path, "purge_step": step}


def _wandb_options(directory: RunDirectory, done_steps: int) -> dict[str, Any]:
    """Silent: it neither prints nor asks for a key. Not the console: events of the run go through there."""
    import wandb

    settings = wandb.Settings(silent=True, console="off", finish_timeout=WANDB_FINISH_SECONDS)
    wandb.setup(settings)
    place = {"id": _run_id(directory), "resume": "allow", "dir": directory.tracking}
    return {"run_name": PROJECT, "name": directory.path.name, "settings": settings, **place}


def _trackio_options(directory: RunDirectory, done_steps: int) -> dict[str, Any]:
    resume = "allow" if (directory.tracking / "id").is_file() else "never"
    _run_id(directory)
    return {"run_name": PROJECT, "name": directory.path.name, "resume": resume}


def _run_id(directory: RunDirectory) -> str:
    """Names a run to its tracker for as long as its folder is not made anew."""
    file = directory.tracking / "id"
    if not file.is_file():
        directory.tracking.mkdir(exist_ok=True)
        write_text(file, secrets.token_hex(8))
    return file.read_text(encoding="utf-8")


_OPTIONS = {
    TrackerName.tensorboard: _tensorboard_options,
    TrackerName.wandb: _wandb_options,
    TrackerName.trackio: _trackio_options,
}
"""Arguments of accelerate's class for a tracker, from the run's folder and the step after which training resumes."""
