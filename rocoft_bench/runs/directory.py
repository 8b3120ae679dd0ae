"""A run's folder: its files, its lock, and what state the run is in."""

import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import yaml

from rocoft_bench.config import ROW_PATHS, StrictModel
from rocoft_bench.errors import UserError, reason
from rocoft_bench.runs import lock
from rocoft_bench.runs.adapter_files import damage
from rocoft_bench.runs.atomic_files import remove_leftovers, write_text
from rocoft_bench.runs.identity import Identity, Parts, StoredSettings, row_hashes, stated_contents
from rocoft_bench.runs.record import RunRecord, read_record, tells_of_full_disk
from rocoft_bench.untrusted import read_json, read_yaml, require_file

LEFT_BY_A_KILLED_START = re.compile(r"\.lock|\.members|log\.txt|work|\.config\.yaml(\.\w+)?\.partial")
"""All that can be in a run's folder before its config.yaml is."""

ATTEMPTS = 10
"""To make a folder that another process is just removing."""


def config_values(config: StrictModel) -> dict[str, Any]:
    """A config as plain values for YAML and JSON."""
    return config.model_dump(mode="json")


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
        self.inputs = self.work / "data.json"
        self.tracking = path / "tracking"
        self.evaluations = path / "evaluations"
        self.lock = path / ".lock"
        self.members = path / ".members"

    def read_record(self) -> RunRecord:
        """The record of a finished run. Raises: UserError if there is none or it is not a valid record."""
        if not self.record.is_file():
            raise UserError(f"{self.path}: no finished run here (no record.json)")
        return read_record(self.record, RunRecord)

    def readable_record(self) -> RunRecord | None:
        """The record, or None where there is none that can be read."""
        with suppress(UserError):
            return self.read_record()
        return None

    def check_kinds(self, follow_links: bool = False) -> None:
        """Refuse a folder with links, pipes or devices where a run has files and folders of its own: to follow them
        could write or delete elsewhere, or wait for ever. follow_links: to files and folders, for those who only read.

        Raises: UserError naming the one that is not what it should be.
        """
        folders = (self.adapter, self.work, self.tracking, self.evaluations)
        files = (self.config, self.record, self.history, self.predictions, self.provenance, self.log)
        for folder in filter(os.path.lexists, folders):
            if not folder.is_dir() or (folder.is_symlink() and not follow_links):
                raise UserError(f"{folder}: is {'a link' if folder.is_symlink() else 'not a folder'}; remove it")
        for file in filter(os.path.lexists, (*files, *_entries(self.adapter), *_entries(self.work))):
            require_file(file, follow_links)

    def check_is_ours(self, identity: Identity, replace: bool = False) -> None:
        """Refuse a folder that holds files that no run made or, unless it may be replaced, another run.

        Raises: UserError naming the settings that differ.
        """
        if not self.path.exists():
            return
        if not self.path.is_dir():
            raise UserError(f"--output {self.path}: is a file, not a folder")
        self.check_kinds()
        if not self.config.is_file():
            if not all(LEFT_BY_A_KILLED_START.fullmatch(file.name) for file in self.path.iterdir()):
                raise UserError(f"--output {self.path}: the folder holds files but no run; choose another")
            return
        if replace:
            return
        if differing := self._differences(identity):
            raise UserError(
                f"--output {self.path}: holds a run with other settings ({', '.join(differing[:3])}); "
                "choose another folder, or delete this one (`rocoft train --force` replaces it)"
            )

    def finished(self, identity: Identity, with_trained_values: bool = True) -> RunRecord | None:
        """The record, if it is of this run, has a result, and the trained values are there as it states.

        with_trained_values: False where the result is enough. Of a record that states no files, as those of earlier
        versions, values that were taken away as a whole are not missed then; what a record states has to be there.

        Raises: UserError if there is a record that cannot be read.
        """
        if not self.record.is_file():
            return None
        record = self.read_record()
        if record.status != "ok" or not self._is_record_of(identity, record):
            return None
        is_earlier = record.adapter_files is None and self.config.is_file()
        left_out = not with_trained_values and is_earlier and not os.path.lexists(self.adapter)
        return record if left_out or self.damage(record) is None else None

    def damage(self, record: RunRecord) -> str | None:
        """In what the trained values are not those that a record states; None if they are.

        Of records of older versions, which do not state them, the folder only has to be there.
        """
        if record.adapter_files is None:
            return None if self.adapter.is_dir() else f"{self.adapter}: is not there"
        return damage(self.adapter, record.adapter_files)

    def _is_record_of(self, identity: Identity, record: RunRecord) -> bool:
        if record.config_hash == identity.config_hash and record.method == identity.values["method"]:
            return True  # in no time; a plug-in's method may have other defaults than when the hash was made
        stored = self._stored(record)
        return stored is not None and identity.is_of(stored, record.config_hash)

    def holds(self, identity: Identity) -> bool:
        """Whether there is such a run here, finished or not."""
        return self.config.is_file() and not self._differences(identity)

    def _differences(self, identity: Identity) -> list[str]:
        """In what the run that is here is another one."""
        record = self.readable_record()
        stored = self._stored(record)
        if stored is None:
            return ["its config.yaml cannot be read"]
        if not identity.differences(stored):
            return []
        if record is None or record.status != "ok":  # other files at the same place are told of when it is resumed
            stored = replace(stored, contents={})
        return identity.differences(stored)

    def _stored(self, record: RunRecord | None) -> StoredSettings | None:
        """The settings in config.yaml, if it can be read, and what is known of the files that they name."""
        with suppress(UserError):
            if isinstance(values := read_yaml(self.config), dict):
                return StoredSettings(values, stated_contents(record) if record else self._inputs())
        return None

    def _inputs(self) -> dict[str, Parts]:
        """What a run without a record has noted of its rows, which are in a folder if its settings name one."""
        with suppress(UserError, TypeError, LookupError, ValueError):
            train, evaluation = read_json(self.inputs)["rows"]
            return dict.fromkeys(ROW_PATHS, row_hashes(train, evaluation))
        return {}

    def check_writable(self) -> None:
        """Refuse a place where the run could not be written or locked, before time is spent.

        Raises: UserError naming the folder that cannot be written.
        """
        existing = next(folder for folder in (self.path, *self.path.absolute().parents) if folder.exists())
        try:
            with TemporaryFile(dir=existing) as probe:  # what os.access says is not true of every file system
                lock.try_lock(existing, probe.fileno())
        except OSError as error:
            full = tells_of_full_disk(str(error))
            why = f"{existing}: {reason(error)}" if full else f"{existing} is not a writable folder"
            raise UserError(f"--output {self.path}: cannot be written ({why})") from None

    def start(self, config: StrictModel) -> None:
        """Make the folder; what an unfinished run has left stays."""
        self.work.mkdir(parents=True, exist_ok=True)
        write_text(self.config, yaml.safe_dump(config_values(config), sort_keys=False))

    def clear(self) -> None:
        """Remove the files of a run, the record first, so that what is left never looks finished."""
        for file in (self.record, self.config, self.history, self.predictions, self.provenance):
            file.unlink(missing_ok=True)
        for folder in (self.adapter, self.tracking, self.evaluations):
            shutil.rmtree(folder, ignore_errors=True)
        self.remove_work()

    def remove_work(self) -> None:
        """Remove what only an unfinished run needs, and what processes that died were writing."""
        shutil.rmtree(self.work, ignore_errors=True)
        remove_leftovers(self.path)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run for this process; the lock goes when the process dies. A worker that it starts has to `join`.

        Raises:
            RunBusyError: If another process is at work on this run.
            UserError: If the folder cannot be written.
        """
        created = [folder for folder in (self.path, *self.path.absolute().parents) if not folder.exists()]
        try:
            descriptor = self._acquire()
        except OSError as error:
            raise UserError(f"--output {self.path}: cannot be written ({reason(error)})") from None
        if descriptor is None:
            raise RunBusyError(f"{self.path}: another process is working on this run")
        if lock.is_held(self.members):
            os.close(descriptor)
            raise RunBusyError(f"{self.path}: processes of an earlier start are still ending")
        try:
            yield
        finally:
            if not self.config.is_file() and not lock.is_held(self.members):  # nothing was begun, nothing is left
                self.members.unlink(missing_ok=True)
                self.lock.unlink(missing_ok=True)
                for folder in created:
                    with suppress(OSError):
                        folder.rmdir()
            os.close(descriptor)

    def _acquire(self) -> int | None:
        """The descriptor of the lock, in a folder that is made if need be; None if another process has it."""
        for attempt in range(ATTEMPTS):
            try:
                self.path.mkdir(parents=True, exist_ok=True)
                return lock.acquire(self.lock)
            except FileNotFoundError:  # another process, which began nothing, has removed the folder
                if attempt + 1 == ATTEMPTS:
                    raise
        return None

    def is_busy(self) -> bool:
        """Whether a process is at work on this run."""
        return lock.is_held(self.lock) or lock.is_held(self.members)

    def join(self) -> None:
        """Keep others from the run for as long as this process lives, which was started to make it by one that has the
        lock.
        """
        while lock.acquire(self.members) is None:  # somebody is looking whether it is held
            time.sleep(0.05)


def folder_of(identity: Identity, beginning: Path) -> Path:
    """The folder of a run, its name beginning so: the one that ends in its hash or, without it, one that holds the same
    run: an earlier version named it, or its data or model could not be read then.
    """
    named = beginning.with_name(beginning.name + identity.config_hash)
    if os.path.lexists(named) or not named.parent.is_dir():
        return named
    with os.scandir(named.parent) as entries:
        others = sorted(entry.name for entry in entries if entry.name.startswith(beginning.name))
    folders = (named.with_name(name) for name in others)
    return next((folder for folder in folders if RunDirectory(folder).holds(identity)), named)


def find_run(path: Path) -> RunDirectory:
    """The run in a folder, or the only run below it.

    Raises: UserError if there is no run or more than one, or one with something else in place of its files.
    """
    found = [path]
    if not (path / "config.yaml").is_file():
        if not path.is_dir():
            raise UserError(f"{path}: no such run folder")
        found = sorted(file.parent for file in path.rglob("record.json") if file.parent.parent.name != "evaluations")
    if len(found) != 1:
        what = "no run" if not found else f"{len(found)} runs; name one, e.g. {found[0]}"
        raise UserError(f"{path}: holds {what}")
    directory = RunDirectory(found[0])
    directory.check_kinds(follow_links=True)
    return directory


def _entries(folder: Path) -> list[Path]:
    """All that is in a folder, if there is one, but for what was being written when a process died."""
    try:
        return [entry for entry in folder.iterdir() if entry.suffix != ".partial"] if folder.is_dir() else []
    except OSError as error:
        raise UserError(f"{folder}: cannot be read ({reason(error)})") from None
