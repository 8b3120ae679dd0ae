from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from rocoft_bench.config import RunConfig, Settings
from rocoft_bench.errors import UserError
from rocoft_bench.experiment.resolve import resolve
from rocoft_bench.runs import (
    Identity,
    RunBusyError,
    RunDirectory,
    RunRecord,
    find_run,
    provenance,
    replace_atomically,
    saved_files,
    write_json,
)


def config(**changes: object) -> RunConfig:
    return resolve(Settings({"task": {"family": "glue", "name": "rte"}, **changes})).config


def identity(**changes: object) -> Identity:
    return resolve(Settings({"task": {"family": "glue", "name": "rte"}, **changes})).identity


def test_a_failing_write_leaves_the_old_file(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    write_json(file, {"value": 1})

    def full_disk(partial: Path) -> None:
        partial.write_text("{")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        replace_atomically(file, full_disk)
    assert file.read_text() == '{\n  "value": 1\n}\n'
    assert [f.name for f in tmp_path.iterdir()] == ["a.json"]


def test_nan_never_reaches_a_json_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", float("nan"))


def test_a_folder_with_another_run_is_refused_with_the_difference(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path / "run")
    directory.start(config(seed=1))
    directory.check_is_ours(identity(seed=1))
    with pytest.raises(UserError, match="seed: 1 there, 2 here"):
        directory.check_is_ours(identity(seed=2))


def test_a_setting_that_an_older_run_did_not_know_had_its_default(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path / "run")
    directory.start(config())
    older = directory.config.read_text().replace("  evaluate: epochs\n", "")
    assert older != directory.config.read_text()
    directory.config.write_text(older)
    directory.check_is_ours(identity())
    with pytest.raises(UserError, match=r"training.evaluate: epochs there, end here"):
        directory.check_is_ours(identity(training={"evaluate": "end"}))


def test_evaluations_inside_a_run_are_not_runs_of_their_own(tmp_path: Path) -> None:
    for folder in ("a", "a/evaluations/svamp_1"):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / folder / "record.json").write_text("{}")
    assert find_run(tmp_path).path == tmp_path / "a"


def test_a_folder_with_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(UserError, match="holds files but no run"):
        RunDirectory(tmp_path).check_is_ours(identity())


def test_a_run_killed_before_it_began_can_begin_again(tmp_path: Path) -> None:
    (tmp_path / ".lock").touch()
    (tmp_path / "work").mkdir()
    RunDirectory(tmp_path).check_is_ours(identity())


def test_only_one_process_works_on_a_run(tmp_path: Path) -> None:
    first, second = RunDirectory(tmp_path / "run").locked(), RunDirectory(tmp_path / "run").locked()
    with first, pytest.raises(UserError, match="another process"), second:
        pass
    with RunDirectory(tmp_path / "run").locked():
        pass


def test_a_lock_around_nothing_leaves_nothing(tmp_path: Path) -> None:
    with RunDirectory(tmp_path / "a" / "b").locked():
        pass
    assert not (tmp_path / "a").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root can write everywhere")
def test_an_unwritable_place_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match="cannot be written"):
        RunDirectory(tmp_path / "run").check_writable()


def test_a_place_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="not a writable folder"):
        RunDirectory(tmp_path / "file" / "run").check_writable()


def test_find_run_takes_the_only_run_below(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "record.json").touch()
    assert find_run(tmp_path / "a").path == tmp_path / "a"
    with pytest.raises(UserError, match="2 runs; name one"):
        find_run(tmp_path)
    with pytest.raises(UserError, match="no such run folder"):
        find_run(tmp_path / "c")


def test_provenance_names_code_and_machine_and_hides_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["/somewhere/rocoft", "train", "--set", "x=hf_abcdefghijklmnopqrstuv"])
    facts = provenance()
    assert facts["command"] == ["rocoft", "train", "--set", "x=[redacted]"]
    assert facts["packages"]["torch"]
    assert facts["hardware"]["cpu_count"] >= 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "invalid json"),
        ('{"schema_version": 1}', "status: field required"),
        ("[]", "should be an object"),
    ],
)
def test_a_record_that_is_none_says_what_is_wrong(tmp_path: Path, text: str, expected: str) -> None:
    (tmp_path / "record.json").write_text(text)
    with pytest.raises(UserError, match="not a valid record") as caught:
        RunDirectory(tmp_path).read_record()
    assert expected in str(caught.value)


def test_a_record_of_a_future_version_is_named(tmp_path: Path) -> None:
    (tmp_path / "record.json").write_text('{"schema_version": 2, "state": "ok"}')
    with pytest.raises(UserError, match="of schema version 2, which this version of rocoft-bench does not read"):
        RunDirectory(tmp_path).read_record()


def test_a_run_is_held_as_long_as_a_process_that_joined_it_lives(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path / "run")
    code = f"""
import sys
from pathlib import Path
from rocoft_bench.runs import RunDirectory
RunDirectory(Path({str(directory.path)!r})).join()
print("joined", flush=True)
sys.stdin.read()
"""
    with directory.locked():
        directory.start(config())
        member = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert member.stdout is not None
        assert member.stdout.readline() == b"joined\n"
    assert directory.is_busy()
    with pytest.raises(RunBusyError, match="still ending"), directory.locked():
        pass
    member.communicate()
    assert not directory.is_busy()
    with directory.locked():
        pass


def test_a_config_that_cannot_be_read_is_that_of_another_run(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("{ broken")
    with pytest.raises(UserError, match=r"its config.yaml cannot be read.*delete this one"):
        RunDirectory(tmp_path).check_is_ours(identity())


def finished_run(folder: Path, **changes: object) -> RunDirectory:
    """A run's folder with a record and an adapter of one file."""
    directory = RunDirectory(folder)
    directory.start(config())
    directory.remove_work()
    directory.adapter.mkdir()
    (directory.adapter / "weights").write_bytes(bytes(range(256)) * 40_000)
    facts: dict[str, object] = {
        "status": "ok", "config_hash": identity().config_hash, "settings_hash": "", "label": "", "protocol": "",
        "task": {"family": "glue", "name": "rte", "metric_names": [], "eval_split": ""}, "method": {},
        "model": {"name": "m"}, "seed": 0, "keep": "last", "finished_at": "",
        "adapter_files": saved_files(directory.adapter),
    }  # fmt: skip
    write_json(directory.record, RunRecord.model_validate(facts | changes).model_dump())
    return directory


def test_a_finished_run_has_the_files_that_its_record_states(tmp_path: Path) -> None:
    weights = (finished := finished_run(tmp_path / "run")).adapter / "weights"
    assert finished.finished(identity())
    whole = weights.read_bytes()
    for damaged in (whole[:-1], b"", b"\0" * len(whole), whole[:-1] + b"x"):
        weights.write_bytes(damaged)
        assert finished.finished(identity()) is None
    weights.unlink()
    assert finished.finished(identity()) is None


def test_a_planted_record_is_no_finished_run(tmp_path: Path) -> None:
    assert finished_run(tmp_path / "a").finished(identity(seed=1)) is None
    other = identity(seed=1).config_hash
    assert finished_run(tmp_path / "b", config_hash=other).finished(identity()) is None
    assert finished_run(tmp_path / "c", status="nan").finished(identity()) is None


def test_a_finished_run_of_an_older_version_stays_one(tmp_path: Path) -> None:
    """Its settings were fewer, so that its hash is another, and its record states no files."""
    directory = finished_run(tmp_path / "run")
    older = yaml.safe_load(directory.config.read_text())
    del older["training"]["evaluate"]
    directory.config.write_text(yaml.safe_dump(older))
    del older["training"]["checkpoint_seconds"]
    hashed = hashlib.sha256(json.dumps(older, sort_keys=True).encode()).hexdigest()[:12]
    record = json.loads(directory.record.read_text())
    del record["adapter_files"]
    directory.record.write_text(json.dumps({**record, "config_hash": hashed}))
    assert directory.finished(identity())
    assert directory.finished(identity(training={"evaluate": "end"})) is None
    shutil.rmtree(directory.adapter)
    assert directory.finished(identity()) is None


@pytest.mark.parametrize("name", ["adapter", "work", "evaluations", "tracking"])
def test_a_folder_that_leads_elsewhere_is_refused_and_left_alone(tmp_path: Path, name: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "thesis.tex").touch()
    directory = RunDirectory(tmp_path / "run")
    directory.start(config())
    directory.remove_work()
    (directory.path / name).symlink_to(elsewhere)
    for replace in (False, True):
        with pytest.raises(UserError, match=f"{name}: is a link"):
            directory.check_is_ours(identity(), replace)
    assert (elsewhere / "thesis.tex").exists()


@pytest.mark.parametrize("name", ["config.yaml", "record.json", "work/checkpoint.safetensors", "adapter/weights"])
def test_pipes_links_and_folders_are_no_files_of_a_run(tmp_path: Path, name: str) -> None:
    directory = finished_run(tmp_path / "run")
    directory.work.mkdir()
    file = directory.path / name
    for make in (os.mkfifo, os.mkdir, lambda place: place.symlink_to("/dev/zero")):
        file.unlink(missing_ok=True)
        make(file)
        with pytest.raises(UserError, match=f"{name}: is a (pipe|link|folder), not a file"):
            directory.check_is_ours(identity())
        if file.is_dir() and not file.is_symlink():
            file.rmdir()
