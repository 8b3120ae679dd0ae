"""A folder of rows is the same however it is spelled, and is found again from anywhere."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from rocoft_bench.config import Settings, find_config, parse_filter, read_settings
from rocoft_bench.errors import UserError
from rocoft_bench.experiment.resolve import Experiment, resolve
from rocoft_bench.runs import RunDirectory, config_values


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory and the user's home; it holds data/."""
    (tmp_path / "data").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def with_rows(data_dir: str, **changes: object) -> Experiment:
    settings = read_settings(find_config("glue/rte.yaml"))
    settings.update({"task": {"data_dir": data_dir}, **changes}, "test")
    return resolve(settings)


@pytest.mark.parametrize("spelled", ["data", "./data/", "data/../data", "~/data", "link"])
def test_every_spelling_is_the_same_run(home: Path, spelled: str) -> None:
    experiment = with_rows(spelled)
    assert config_values(experiment.config)["task"]["data_dir"] == str(home / "data")
    assert experiment.identity.config_hash == with_rows(str(home / "data")).identity.config_hash
    assert parse_filter(f"task.data_dir={spelled}").matches(config_values(experiment.config))


def test_what_a_run_wrote_means_the_same_from_elsewhere(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = yaml.safe_dump(config_values(with_rows("data").config))
    (home / "elsewhere").mkdir()
    monkeypatch.chdir(home / "elsewhere")
    assert resolve(Settings(yaml.safe_load(written))).config.task.data_dir == home / "data"


@pytest.mark.parametrize(
    ("spelled", "why"),
    [("", "is empty"), ("~nobody-here/data", "home directory"), ("a\0b", "null"), ("a\udcff", "not UTF-8")],
)
def test_what_is_no_path_is_named(home: Path, spelled: str, why: str) -> None:
    with pytest.raises(UserError, match=f"task.data_dir = .*{why}"):
        with_rows(spelled)


def leave_as_before(root: Path, experiment: Experiment, data_dir: str) -> Path:
    """A run's config as versions wrote it that kept the path as it was typed, in a folder of another hash."""
    values = config_values(experiment.config)
    values["task"]["data_dir"] = data_dir
    del values["training"]["evaluate_before"]  # a setting that they did not have
    name = experiment.run_name.removesuffix(experiment.identity.config_hash)
    folder = root / f"{name}0123456789ab"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(values))
    return folder


def test_a_run_of_an_earlier_version_is_found_under_the_name_that_it_has(home: Path) -> None:
    experiment, root = with_rows("data"), home / "results"
    assert experiment.folder_in(root) == root / experiment.run_name
    old = leave_as_before(root, experiment, "data")
    assert experiment.folder_in(root) == old
    RunDirectory(old).check_is_ours(experiment.identity)
    other = with_rows("data", training={"epochs": 99})
    assert other.folder_in(root) == root / other.run_name


def test_an_earlier_run_of_another_folder_is_another_run(home: Path) -> None:
    experiment, root = with_rows("data"), home / "results"
    old = leave_as_before(root, experiment, "other")
    assert experiment.folder_in(root) == root / experiment.run_name
    with pytest.raises(UserError, match=f"task.data_dir: {home}/other there, {home}/data here"):
        RunDirectory(old).check_is_ours(experiment.identity)
