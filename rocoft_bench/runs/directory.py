"""A run's folder: its files, its lock, and what state the run is in."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import yaml

from rocoft_bench.config import RunConfig, absolute, leaves
from rocoft_bench.errors import UserError
from rocoft_bench.runs import lock
from rocoft_bench.runs.files import write_text
from rocoft_bench.runs.record import RunRecord, read_record
from rocoft_bench.untrusted import read_yaml

LEFT_BY_A_KILLED_START = {".lock", ".members", "log.txt", "work", ".config.yaml.partial"}
"""All that can be in a run's folder before its config.yaml is."""


def config_values(config: RunConfig) -> dict[str, Any]:
    """A config as plain values for YAML and JSON."""
    return config.model_dump(mode="json")


def config_hash(config: RunConfig) -> str:
    """Identifies what is computed: equal hashes mean the same run. Checkpoint frequency does not count."""
    values = config_values(config)
    del values["training"]["checkpoint_seconds"]
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]


def settings_hash(config: RunConfig) -> str:
    """Equal for configurations that differ in their seed only."""
    return config_hash(config.model_copy(update={"seed": 0}))


class RunBusyError(UserError):
    """Another process is at work on the run."""


class RunDirectory:
    """Paths of the files of one run.

    `config.yaml` is written first and `record.json` last: a folder with the first and without the second is an
    unfinished run, which can be resumed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.yaml"
        self.record = path / "record.json"
        self.history = path / "history.jsonl"
        self.predictions = path / "predictions.jsonl"
        self.provenance = path / "provenance.json"
        self.adapter = path / "adapter"
        self.log = path / "log.txt"
        self.work = path / "work"
        self.tracking = path / "tracking"
        self.lock = path / ".lock"
        self.members = path / ".members"

    def read_record(self) -> RunRecord:
        """The record of a finished run.

        Raises:
            UserError: If there is none or it is not a valid record.
        """
        if not self.record.is_file():
            raise UserError(f"{self.path}: no finished run here (no record.json)")
        return read_record(self.record, RunRecord)

    def check_is_ours(self, config: RunConfig, replace: bool = False) -> None:
        """Refuse a folder that holds files that no run made or, unless it may be replaced, another run.

        Raises:
            UserError: Naming the settings that differ.
        """
        if not self.path.exists():
            return
        if not self.path.is_dir():
            raise UserError(f"--output {self.path}: is a file, not a folder")
        if not self.config.is_file():
            if {file.name for file in self.path.iterdir()} - LEFT_BY_A_KILLED_START:
                raise UserError(f"--output {self.path}: the folder holds files but no run; choose another")
            return
        if replace:
            return
        try:
            other = read_yaml(self.config)
        except UserError:
            other = None
        differing = _differences(config, other) if isinstance(other, dict) else "its config.yaml cannot be read"
        if differing:
            raise UserError(
                f"--output {self.path}: holds a run with other settings ({differing}); "
                "choose another folder, or delete this one (`rocoft train --force` replaces it)"
            )

    def check_writable(self) -> None:
        """Refuse a place where the run could not be written, before time is spent.

        Raises:
            UserError: Naming the folder that cannot be written.
        """
        existing = next(folder for folder in (self.path, *self.path.absolute().parents) if folder.exists())
        try:
            with TemporaryFile(dir=existing):  # what os.access says is not true of every file system
                pass
        except OSError:
            raise UserError(f"--output {self.path}: cannot be written ({existing} is not a writable folder)") from None

    def start(self, config: RunConfig) -> None:
        self.work.mkdir(parents=True, exist_ok=True)
        write_text(self.config, yaml.safe_dump(config_values(config), sort_keys=False))

    def clear(self) -> None:
        """Remove the files of a run, the record first, so that what is left never looks finished."""
        for file in (self.record, self.config, self.history, self.predictions, self.provenance):
            file.unlink(missing_ok=True)
        for folder in (self.adapter, self.tracking):
            shutil.rmtree(folder, ignore_errors=True)
        self.remove_work()

    def remove_work(self) -> None:
        """Remove what only an unfinished run needs."""
        shutil.rmtree(self.work, ignore_errors=True)

    @contextmanager
    def locked(self) -> Iterator[int]:
        """Hold the run for this process; the lock goes when the process dies.

        Yields its file descriptor: a child process that inherits it holds the run too.

        Raises:
            RunBusyError: If another process is at work on this run.
            UserError: If the folder cannot be written.
        """
        created = [folder for folder in (self.path, *self.path.absolute().parents) if not folder.exists()]
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            descriptor = lock.acquire(self.lock)
        except OSError as error:
            raise UserError(f"--output {self.path}: cannot be written ({error.strerror})") from None
        if descriptor is None:
            raise RunBusyError(f"{self.path}: another process is working on this run")
        if lock.is_held(self.members):
            os.close(descriptor)
            raise RunBusyError(f"{self.path}: processes of an earlier start are still ending")
        try:
            yield descriptor
        finally:
            nothing_started = not self.config.is_file() and not lock.is_inherited(self.lock)
            if nothing_started:  # leave nothing behind
                for file in (self.members, self.lock):
                    file.unlink(missing_ok=True)
                for folder in created:
                    with suppress(OSError):
                        folder.rmdir()
            os.close(descriptor)

    def is_busy(self) -> bool:
        """Whether a process is at work on this run."""
        return lock.is_held(self.lock) or lock.is_held(self.members)

    def join(self) -> None:
        """Keep others from the run for as long as this process lives, which was started to make it by one that has the
        lock.
        """
        while lock.acquire(self.members) is None:  # somebody is looking whether it is held
            time.sleep(0.05)


def _differences(ours: RunConfig, theirs: dict[str, Any]) -> str:
    """The settings that differ. One that a run of an older version did not have yet had its default; its relative paths
    are of the working directory.
    """
    mine, other = dict(leaves(config_values(ours))), dict(leaves(theirs))
    if isinstance(rows := other.get("task.data_dir"), str):
        with suppress(ValueError):
            other["task.data_dir"] = str(absolute(rows))
    named = {"family": ours.task.family, "name": ours.task.name}
    defaults = dict(leaves(config_values(type(ours).model_validate({"task": named}))))
    keys = [key for key in mine if mine[key] != other.get(key, defaults.get(key))]
    keys += [key for key in other if key not in mine]
    keys = [key for key in keys if key != "training.checkpoint_seconds"]
    return ", ".join(f"{key}: {other.get(key)} there, {mine.get(key)} here" for key in keys[:3])


def find_run(path: Path) -> RunDirectory:
    """The run in a folder, or the only run below it.

    Raises:
        UserError: If there is no run or more than one.
    """
    if (path / "config.yaml").is_file():
        return RunDirectory(path)
    if not path.is_dir():
        raise UserError(f"{path}: no such run folder")
    found = sorted(file.parent for file in path.rglob("record.json") if file.parent.parent.name != "evaluations")
    if len(found) != 1:
        what = "no run" if not found else f"{len(found)} runs; name one, e.g. {found[0]}"
        raise UserError(f"{path}: holds {what}")
    return RunDirectory(found[0])
