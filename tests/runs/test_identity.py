"""A run stays the same run: whatever is added to the settings, however they are written, wherever its files lie."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from rocoft_bench.config import Count, ModelConfig, Settings, TrainingConfig, config_root, defaults_of, read_sweep
from rocoft_bench.errors import UserError
from rocoft_bench.experiment.resolve import Experiment, resolve
from rocoft_bench.experiment.run_record import make_record
from rocoft_bench.methods import METHODS
from rocoft_bench.methods.rocoft import RoCoFT, RoCoFTSettings
from rocoft_bench.models.weights import weights_sha256
from rocoft_bench.plugins import load_files
from rocoft_bench.runs import RunDirectory, write_json
from rocoft_bench.sweep.plan import State, make_plan
from rocoft_bench.tasks import OWN_FAMILIES, TASKS
from tests.config.plugins import PLUGINS

DEFAULTS = Path(__file__).with_name("defaults.jsonl")
RESULTS = config_root().parent / "results"

Changes = dict[str, dict[str, Any]]

GOLDEN: list[tuple[Changes, int, str, str]] = [
    ({}, 0, "9dd202619e46", "9dd202619e46"),
    ({"model": {"name": "demo-minilm"}, "method": {"name": "lora", "rank": 4, "alpha": 8}}, 3, "8c59ddff81f9",
     "66e224b8d85d"),
    ({"task": {"name": "cola", "max_train_rows": 100}, "training": {"epochs": 5, "learning_rate": 2e-4},
      "method": {"name": "rocoft", "mode": "random", "probability": 0.01, "rank": 7}}, 0, "3c7057b9b2fb",
     "3c7057b9b2fb"),
    ({"task": {"family": "math", "name": "gsm8k", "train_on": "svamp"}, "method": {"name": "adalora"},
      "model": {"name": "llama-2-7b", "dtype": "bfloat16"}}, 0, "0413f3a65ec7", "0413f3a65ec7"),
]  # fmt: skip


def experiment(changes: Changes | None = None, seed: int = 0) -> Experiment:
    changes = changes or {}
    task = {"family": "glue", "name": "rte", **changes.get("task", {})}
    return resolve(Settings({**changes, "task": task, "seed": seed}))


def hash_of(changes: Changes | None = None) -> str:
    return experiment(changes).identity.config_hash


@pytest.mark.parametrize(("changes", "seed", "config_hash", "settings_hash"), GOLDEN)
def test_hashes_are_for_good(changes: Changes, seed: int, config_hash: str, settings_hash: str) -> None:
    identity = experiment(changes, seed).identity
    assert (identity.config_hash, identity.settings_hash) == (config_hash, settings_hash)


def all_defaults() -> dict[str, Any]:
    """What identity leaves out of a hash: all of the package's settings by default."""
    found: dict[str, Any] = {"model": defaults_of(ModelConfig), "training": defaults_of(TrainingConfig)}
    for name, method in METHODS.items():
        own = {"settings": defaults_of(method.Settings), "presets": method.presets}
        rates = {"learning_rate": method.learning_rate, "weight_decay": method.weight_decay}
        found[f"method {name}"] = {**own, "training": rates}
    found |= {f"task {name}": defaults_of(task.Settings) for name, task in {**TASKS, **OWN_FAMILIES}.items()}
    return dict(json.loads(json.dumps(found)))


def test_a_default_that_changes_is_a_new_version_of_identity() -> None:
    """A new setting, method or task is added to the file: `python tests/runs/test_identity.py` writes it. Where a
    default is another one than before, `identity.VERSION` goes up first, or old and new results share a cell.
    """
    assert dict(map(json.loads, DEFAULTS.read_text().splitlines())) == all_defaults()


@pytest.mark.parametrize(
    "same",
    [
        {"training": {"epochs": 3, "max_grad_norm": 1, "warmup_steps": 0}},
        {"training": {"checkpoint_seconds": 99}},
        {"model": {"name": "roberta-base"}},
        {"model": {"revision": "e2da8e2f811d1448a5b465c236feacd80ffbac7b"}},
        {"method": {"name": "rocoft", "rank": 3, "probability": 0.7}},
        {"training": {"learning_rate": 1e-3, "weight_decay": 0}},
    ],
)
def test_what_changes_nothing_is_the_same_run(same: Changes) -> None:
    assert hash_of(same) == hash_of()


@pytest.mark.parametrize(
    "other",
    [
        {"training": {"epochs": 4}},
        {"training": {"evaluate": "end"}},
        {"model": {"name": "roberta-large"}},
        {"model": {"revision": "main"}},
        {"method": {"name": "lora"}},
        {"method": {"name": "rocoft", "rank": 4}},
        {"method": {"name": "rocoft", "mode": "random"}},
    ],
)
def test_what_changes_something_is_another_run(other: Changes) -> None:
    assert hash_of(other) != hash_of()


def test_settings_that_the_method_ignores_do_not_count() -> None:
    def random(**more: object) -> str:
        return hash_of({"method": {"name": "rocoft", "mode": "random", **more}})

    assert random() == random(rank=7, selection="max") != random(probability=0.2)
    assert hash_of({"method": {"name": "lokr"}}) == hash_of({"method": {"name": "lokr", "alpha": 4}})
    low_rank = {"name": "lokr", "rank": 2}
    assert hash_of({"method": low_rank}) != hash_of({"method": {**low_rank, "alpha": 4}})


def test_the_seed_alone_is_left_out_of_settings_hash() -> None:
    first, second = experiment(seed=0).identity, experiment(seed=1).identity
    assert first.settings_hash == second.settings_hash
    assert first.config_hash != second.config_hash


def test_what_shares_a_cell_differs_in_nothing_that_counts() -> None:
    def compared(**changes: Any) -> dict[str, Any]:
        return experiment({"method": {"name": "rocoft", "mode": "random"}, **changes}).identity.compared

    ignored = {"name": "rocoft", "mode": "random", "rank": 7}
    assert compared() == compared(method=ignored, training={"evaluate": "end", "max_grad_norm": 1})
    assert compared() != compared(training={"epochs": 4})


def test_a_setting_that_a_later_version_adds_makes_no_run_look_new(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: Changes = {"method": {"name": "rocoft", "rank": 4}}
    before = hash_of(chosen)

    class Later(RoCoFTSettings):
        temperature: Count = 7

    monkeypatch.setattr(RoCoFT, "Settings", Later)
    assert experiment(chosen).config.method["temperature"] == 7
    assert hash_of(chosen) == before
    assert hash_of({"method": {"name": "rocoft", "rank": 4, "temperature": 8}}) != before


# Runs on disk


@pytest.fixture
def rows(glue_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of rows of one's own, as `data` in the working directory."""
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(glue_dir, tmp_path / "data"))


def with_rows(data_dir: Path | str, **model: object) -> Experiment:
    return experiment({"task": {"data_dir": str(data_dir)}, "model": {"name": "demo-minilm", **model}})


def leave(run: Experiment, folder: Path, config: dict[str, Any] | None = None, **facts: Any) -> RunDirectory:
    """What a finished run leaves. config: changes of the config.yaml. facts: changes of the record."""
    directory = RunDirectory(folder)
    directory.start(run.config)
    directory.remove_work()
    directory.adapter.mkdir()
    values = yaml.safe_load(directory.config.read_text())
    for section, changes in (config or {}).items():
        values[section] |= changes
    directory.config.write_text(yaml.safe_dump(values))
    (train, split), (evaluation, eval_split) = run.task.splits(run.config.task)
    loaded = train.load(split, run.config.task.data_dir), evaluation.load(eval_split, run.config.task.data_dir)
    data = {"train": loaded[0].origin, "evaluation": loaded[1].origin, "train_rows": 1, "eval_rows": 1}
    record = make_record(run, None, status="ok", data=data)
    write_json(directory.record, record.model_copy(update=facts).model_dump())
    return directory


def test_rows_are_the_same_wherever_they_lie(rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = with_rows(rows)
    directory = leave(run, run.folder_in(tmp_path / "results"))
    moved = Path(shutil.move(rows, tmp_path / "elsewhere"))
    for place in (moved, "elsewhere", f"{moved}/../elsewhere"):
        again = with_rows(place)
        assert again.folder_in(tmp_path / "results") == directory.path
        assert directory.finished(again.identity)
        directory.check_is_ours(again.identity)
    (tmp_path / "deep").mkdir()
    monkeypatch.chdir(tmp_path / "deep")
    assert with_rows("../elsewhere").identity.config_hash == run.identity.config_hash


def test_a_finished_run_stays_one_when_its_rows_are_gone(rows: Path, tmp_path: Path) -> None:
    run = with_rows(rows)
    directory = leave(run, run.folder_in(tmp_path / "results"))
    shutil.rmtree(rows)
    again = with_rows("data")
    assert again.folder_in(tmp_path / "results") == directory.path
    assert directory.finished(again.identity)
    assert directory.finished(with_rows("others").identity) is None


def test_other_rows_at_the_same_place_are_another_run(rows: Path, tmp_path: Path) -> None:
    run = with_rows(rows)
    directory = leave(run, run.folder_in(tmp_path / "results"))
    file = rows / "glue/rte/validation.jsonl"
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:-1]))
    again = with_rows(rows)
    assert again.folder_in(tmp_path / "results") != directory.path
    assert directory.finished(again.identity) is None
    with pytest.raises(UserError, match=r"task\.data_dir: other evaluation rows"):
        directory.check_is_ours(again.identity)


def test_rows_in_another_kind_of_file_are_the_same(rows: Path) -> None:
    before = with_rows(rows).identity.config_hash
    file = rows / "glue/rte/train.jsonl"
    file.with_suffix(".json").write_text(json.dumps([json.loads(line) for line in file.read_text().splitlines()]))
    file.unlink()
    assert with_rows(rows).identity.config_hash == before


def test_a_model_in_a_folder_is_known_by_its_weights(rows: Path, tiny_model: Path, tmp_path: Path) -> None:
    first = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    run = with_rows(rows, name=str(first))
    facts = {"name": str(first), "kind": "folder", "weights_sha256": weights_sha256(first)}
    directory = leave(run, tmp_path / "run", model=facts)
    moved = Path(shutil.move(first, tmp_path / "moved"))
    again = with_rows(rows, name=str(moved))
    assert again.identity.config_hash == run.identity.config_hash
    assert directory.finished(again.identity)
    weights = moved / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(UserError, match=r"model\.name: other weights"):
        directory.check_is_ours(with_rows(rows, name=str(moved)).identity)


def test_a_record_of_an_earlier_version_is_that_of_its_config(rows: Path, tmp_path: Path) -> None:
    """It had fewer settings, a path as it was typed, another spelling of numbers, and a hash of all that."""
    run = with_rows(rows)
    directory = leave(run, tmp_path / "run", {"task": {"data_dir": "data"}, "training": {"max_grad_norm": 1}})
    values = yaml.safe_load(directory.config.read_text())
    del values["training"]["evaluate"], values["training"]["checkpoint_seconds"]
    directory.config.write_text(yaml.safe_dump(values))
    record = json.loads(directory.record.read_text())
    record["config_hash"] = "0123456789ab"
    directory.record.write_text(json.dumps(record))
    assert directory.finished(run.identity) is None  # not the record of these settings
    record["config_hash"] = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]
    directory.record.write_text(json.dumps(record))
    assert directory.finished(run.identity)


def committed() -> list[Path]:
    return sorted(file.parent for file in RESULTS.rglob("record.json"))


@pytest.mark.skipif(not RESULTS.is_dir(), reason="not a checkout")
def test_every_committed_record_is_of_the_run_that_its_config_describes(
    monkeypatch: pytest.MonkeyPatch, forgets_plugins: None
) -> None:
    load_files(PLUGINS.values())
    monkeypatch.setattr(RunDirectory, "damage", lambda self, record: None)  # trained values are not committed
    assert len(committed()) > 100
    for folder in committed():
        directory = RunDirectory(folder)
        run = resolve(Settings(yaml.safe_load(directory.config.read_text())))
        assert directory.finished(run.identity), folder


@pytest.mark.skipif(not RESULTS.is_dir(), reason="not a checkout")
def test_the_sweep_that_made_committed_records_runs_nothing_again() -> None:
    sweep = read_sweep(config_root() / "demo.yaml")
    assert sweep is not None
    plan = make_plan(sweep, RESULTS)
    assert [run.state for run in plan.runs] == [State.DONE] * 12


if __name__ == "__main__":
    DEFAULTS.write_text("".join(json.dumps(each) + "\n" for each in all_defaults().items()))
