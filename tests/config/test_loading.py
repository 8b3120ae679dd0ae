from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from rocoft_bench.config import (
    RunConfig,
    config_root,
    find_config,
    leaves,
    override,
    parse_assignment,
    read_settings,
    validate,
)
from rocoft_bench.errors import UserError
from rocoft_bench.experiment import resolve
from rocoft_bench.methods.dense import Full


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_command_line_beats_file_beats_included_file_beats_default(tmp_path: Path) -> None:
    write(
        tmp_path / "base.yaml",
        "training: {epochs: 7, batch_size: 4, weight_decay: 0.5}\ntask: {family: glue, name: rte}",
    )
    file = write(tmp_path / "run.yaml", "include: base.yaml\ntraining: {epochs: 8, batch_size: 5}")
    settings = read_settings(file)
    settings.update(override("training.epochs", 9), "--epochs")
    training = validate(settings).training
    assert (training.epochs, training.batch_size, training.weight_decay) == (9, 5, 0.5)
    assert training.learning_rate == RunConfig.model_fields["training"].default.learning_rate
    assert settings.sources["training.epochs"] == "--epochs"
    assert settings.sources["training.batch_size"] == str(file)
    assert settings.sources["training.weight_decay"] == str(tmp_path / "base.yaml")


def test_another_method_starts_from_its_own_defaults() -> None:
    settings = read_settings(find_config("glue/rte.yaml"))
    settings.update(override("method.name", "lora"), "--method")
    assert settings.values["method"] == {"name": "lora"}
    assert "method.mode" not in settings.sources


def test_another_method_does_not_inherit_the_learning_rate(tmp_path: Path) -> None:
    base = write(
        tmp_path / "base.yaml",
        "task: {family: glue, name: rte}\nmethod: {name: rocoft}\ntraining: {learning_rate: 2.0e-3}",
    )
    settings = read_settings(base)
    settings.update(override("method.name", "full"), "--method")
    resolved = resolve(settings)
    assert resolved.config.training.learning_rate == Full.learning_rate
    assert settings.sources["training.learning_rate"] == "default of full"
    assert resolved.notes == ("the learning rate is full's default, 3e-05; the config's 0.002 is rocoft's",)
    own = write(tmp_path / "own.yaml", "include: base.yaml\nmethod: {name: full}\ntraining: {learning_rate: 1.0e-5}")
    explicit = resolve(read_settings(own))
    assert (explicit.config.training.learning_rate, explicit.notes) == (1e-5, ())


@pytest.mark.parametrize("wrong", ["method: lora", "training: 5", "training: {learning_rate: 2e-3}"])
def test_a_malformed_section_is_no_crash_when_the_method_changes(tmp_path: Path, wrong: str) -> None:
    settings = read_settings(write(tmp_path / "run.yaml", f"task: {{family: glue, name: rte}}\n{wrong}"))
    settings.update(override("method.name", "full"), "--method")
    assert settings.values["method"] == {"name": "full"}
    if wrong == "training: 5":
        with pytest.raises(UserError, match="training = 5"):
            resolve(settings)
    else:
        assert resolve(settings).config.training.learning_rate == Full.learning_rate


def test_the_same_method_keeps_the_learning_rate() -> None:
    settings = read_settings(find_config("glue/rte.yaml"))
    settings.update(override("method.name", "rocoft"), "--method")
    assert resolve(settings).config.training.learning_rate == 2e-3


def test_repeating_the_method_keeps_its_settings() -> None:
    settings = read_settings(find_config("glue/rte.yaml"))
    settings.update(override("method.name", "rocoft"), "--method")
    assert settings.values["method"]["selection"] == "random"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("training.learning_rat=1", 'training.learning_rat is not a setting; did you mean "learning_rate"?'),
        ("training.epochs=-1", "training.epochs = -1: input should be greater than 0"),
        ("seed=-3", "seed = -3: input should be greater than or equal to 0"),
        ("training.precision=fp8", "training.precision = 'fp8': input should be 'fp32', 'bf16' or 'fp16'"),
        ("modle.name=x", 'modle is not a setting; did you mean "model"?'),
    ],
)
def test_a_wrong_setting_is_named_with_its_source_and_a_remedy(text: str, expected: str) -> None:
    settings = read_settings(find_config("glue/rte.yaml"))
    settings.update(parse_assignment(text), "--set")
    with pytest.raises(UserError) as caught:
        validate(settings)
    assert str(caught.value).startswith("--set: " + expected)
    assert "\n" not in str(caught.value)


def test_all_problems_are_reported_at_once() -> None:
    settings = read_settings(find_config("glue/rte.yaml"))
    settings.update({"training": {"epochs": 0, "batch_size": 0}}, "--set")
    with pytest.raises(UserError) as caught:
        validate(settings)
    assert len(str(caught.value).splitlines()) == 2


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("a: [1", "line 1: not valid YAML"),
        ("- 1", "must hold `key: value` settings"),
        ("include: run.yaml", "include goes round in a circle"),
        ("include: absent.yaml", "cannot be read"),
    ],
)
def test_a_broken_file_gives_one_line(tmp_path: Path, content: str, expected: str) -> None:
    file = write(tmp_path / "run.yaml", content)
    with pytest.raises(UserError, match=expected) as caught:
        read_settings(file)
    assert "\n" not in str(caught.value)


def test_an_unknown_config_suggests_the_nearest_shipped_one() -> None:
    with pytest.raises(UserError, match=r'did you mean "glue/rte.yaml"'):
        find_config("configs/glue/rt.yaml")


def test_an_assignment_needs_an_equals_sign() -> None:
    with pytest.raises(UserError, match="key=value"):
        parse_assignment("training.epochs")


@given(st.integers(1, 99), st.floats(1e-6, 1.0), st.sampled_from(["cosine", "linear", "constant"]), st.integers(0, 9))
def test_any_valid_settings_survive_a_round_trip_through_yaml(epochs: int, rate: float, name: str, seed: int) -> None:
    config = RunConfig.model_validate(
        {
            "task": {"family": "glue", "name": "rte"},
            "training": {"epochs": epochs, "learning_rate": rate, "lr_scheduler": name},
            "seed": seed,
        }
    )
    values = config.model_dump(mode="json")
    assert RunConfig.model_validate(yaml.safe_load(yaml.safe_dump(values))) == config


@given(st.lists(st.from_regex(r"[a-z]{1,5}", fullmatch=True), min_size=1, max_size=4), st.integers())
def test_override_and_leaves_are_inverse(path: list[str], value: int) -> None:
    dotted = ".".join(path)
    assert list(leaves(override(dotted, value))) == [(dotted, value)]


def test_configs_ship_for_every_task_that_can_be_trained() -> None:
    from rocoft_bench import tasks

    for task in tasks.all_tasks():
        folder = config_root() / task.family
        assert (folder / f"{task.name}.yaml").is_file(), f"no config for {task.family} {task.name}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("include: 5", "include = 5: must be the name of a file or a list of names"),
        ("include: [1, 2]", "include = [1, 2]: must be"),
        ("include: null", "include = None: must be"),
        ("seed: 1\nseed: 2", "line 2: seed is there twice"),
        ("training: {epochs: 1, epochs: 2}", "line 1: epochs is there twice"),
        ("task: {family: glue, name: rte}\nmethod: lora", "is a group of settings; perhaps method.name = lora"),
        (
            "task: {family: glue, name: rte}\ntraining: {learning_rate: .inf}",
            "learning_rate = inf: input should be a finite",
        ),
        ("task: &itself {name: *itself}", "settings are plain values, lists and groups"),
        (
            "seed: 4294967296\ntask: {family: glue, name: rte}",
            "seed = 4294967296: input should be less than 4294967296",
        ),
    ],
)
def test_what_yaml_can_say_but_settings_cannot(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(UserError) as caught:
        resolve(read_settings(write(tmp_path / "run.yaml", text)))
    assert expected in str(caught.value)
