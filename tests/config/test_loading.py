from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from rocoft_bench.config import (
    RunConfig,
    Settings,
    config_root,
    find_config,
    flatten,
    override,
    parse_assignment,
    read_settings,
    validate,
)
from rocoft_bench.errors import UserError
from rocoft_bench.experiment.resolve import resolve
from rocoft_bench.methods.dense import Full
from rocoft_bench.methods.lora import LoRA


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


def test_options_are_named_as_they_are_typed() -> None:
    settings = Settings()
    settings.lay_options({"model.name": "", "task.data_dir": Path("data"), "training.batch_size": 0, "seed": None})
    assert settings.values == {"model": {"name": ""}, "task": {"data_dir": "data"}, "training": {"batch_size": 0}}
    sources = {"model.name": "--model", "task.data_dir": "--data-dir", "training.batch_size": "--batch-size"}
    assert settings.sources == sources


def test_assignments_in_a_group_stand_in_that_group() -> None:
    settings = Settings()
    settings.assign(["rank=2", "model=roberta-base"], group="ntk")
    assert settings.values == {"ntk": {"rank": 2, "model": {"name": "roberta-base"}}}


def test_another_method_starts_from_its_own_defaults() -> None:
    settings = read_settings(find_config("glue/rte.yaml"))
    settings.update(override("method.name", "lora"), "--method")
    assert settings.values["method"] == {"name": "lora"}
    assert "method.mode" not in settings.sources


def test_another_method_brings_its_own_rate_and_decay(tmp_path: Path) -> None:
    base = write(
        tmp_path / "base.yaml",
        "task: {family: glue, name: rte}\nmethod: {name: rocoft}\n"
        "training: {learning_rate: 2.0e-3, weight_decay: 0.5, warmup_steps: 7}",
    )
    settings = read_settings(base)
    settings.update(override("method.name", "full"), "--method")
    resolved = resolve(settings)
    training = resolved.config.training
    assert (training.learning_rate, training.weight_decay) == (Full.learning_rate, Full.weight_decay)
    assert training.warmup_steps == 7
    assert {settings.sources[f"training.{key}"] for key in ("learning_rate", "weight_decay")} == {"default of full"}
    (note,) = resolved.notes
    assert "learning rate 3e-05 (the config's 0.002 is rocoft's) and weight decay 0.1 (the config's 0.5 is" in note
    assert "warm-up" in note
    own = write(
        tmp_path / "own.yaml",
        "include: base.yaml\nmethod: {name: full}\ntraining: {learning_rate: 1.0e-5, weight_decay: 0.0}",
    )
    explicit = resolve(read_settings(own))
    assert (explicit.config.training.learning_rate, explicit.config.training.weight_decay) == (1e-5, 0.0)
    assert explicit.notes == ()
    partly = read_settings(base)
    partly.assign(["training.weight_decay=0.25", "method.name=full"])  # in any order
    assert resolve(partly).config.training.weight_decay == 0.25
    assert "weight decay" not in resolve(partly).notes[0]


def test_what_was_left_behind_is_noted_through_includes(tmp_path: Path) -> None:
    write(
        tmp_path / "base.yaml", "task: {family: glue, name: rte}\nmethod: {name: rocoft}\ntraining: {weight_decay: 0.5}"
    )
    write(tmp_path / "other.yaml", "include: base.yaml\nmethod: {name: lora}")
    resolved = resolve(read_settings(write(tmp_path / "run.yaml", "include: other.yaml\nseed: 1")))
    assert "weight decay 0.1 (the config's 0.5 is rocoft's)" in resolved.notes[0]


def test_a_rate_without_a_method_is_the_default_methods(tmp_path: Path) -> None:
    file = write(tmp_path / "run.yaml", "task: {family: glue, name: rte}\ntraining: {learning_rate: 0.0123}")
    settings = read_settings(file)
    settings.update(override("method.name", "rocoft"), "--method")
    assert resolve(settings).config.training.learning_rate == 0.0123
    settings.update(override("method.name", "lora"), "--method")
    assert "the config's 0.0123 is rocoft's" in resolve(settings).notes[0]


def test_an_included_file_with_another_method_leaves_the_one_before_it_behind(tmp_path: Path) -> None:
    """Also where both know the same settings."""
    write(
        tmp_path / "base.yaml",
        "task: {family: glue, name: rte}\nmethod: {name: rocoft, rank: 7}\ntraining: {learning_rate: 0.5, epochs: 9}",
    )
    write(tmp_path / "lora.yaml", "method: {name: lora}")
    resolved = resolve(read_settings(write(tmp_path / "run.yaml", "include: [base.yaml, lora.yaml]")))
    assert resolved.config.training.learning_rate == LoRA.learning_rate
    assert (resolved.config.method["rank"], resolved.config.training.epochs) == (LoRA.Settings().rank, 9)
    assert "the config's 0.5 is rocoft's" in resolved.notes[0]
    back = resolve(read_settings(write(tmp_path / "back.yaml", "include: [lora.yaml, base.yaml]"))).config
    assert (back.method["name"], back.method["rank"], back.training.learning_rate) == ("rocoft", 7, 0.5)


def test_a_problem_is_told_of_the_file_that_has_it(tmp_path: Path) -> None:
    write(tmp_path / "base.yaml", "task: {family: glue, name: rte}\nmodel: {name: roberta-base}")
    file = write(tmp_path / "run.yaml", "include: base.yaml\ntraining: fast")
    with pytest.raises(UserError, match=f"^{re.escape(str(file))}: training = 'fast': is a group of settings"):
        resolve(read_settings(file))


def test_a_name_alone_is_a_method_or_a_model(tmp_path: Path) -> None:
    """In files as with --set; what an included file says for another method goes with it."""
    write(
        tmp_path / "base.yaml", "task: {family: glue, name: rte}\nmethod: {name: lora, rank: 4}\nmodel: roberta-large"
    )
    config = resolve(read_settings(write(tmp_path / "run.yaml", "include: base.yaml\nmethod: dora"))).config
    assert (config.method["name"], config.model.name) == ("dora", "roberta-large")
    assert config.method["rank"] != 4
    with pytest.raises(UserError, match=r'unknown method .dorra.; did you mean "dora".*--plugin FILE.py adds'):
        resolve(read_settings(write(tmp_path / "run.yaml", "include: base.yaml\nmethod: dorra")))


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
        ("training.precision=fp8", "training.precision = 'fp8': did you mean \"fp32\"? Allowed: bf16, fp16, fp32"),
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
    assert list(flatten(override(dotted, value))) == [(dotted, value)]


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
        ("task: {family: glue, name: rte}\nmethod: lora\nmodel: [x]", "model = ['x']: is a group of settings"),
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


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("training.epochs=[1", "--set training.epochs=[1: not valid YAML"),
        ("training.epochs=" + "[" * 100_000, "more than 30 lists and groups in each other"),
        ("a." * 5_000 + "b=1", "is not a setting; it has 5,001 levels"),
        ("seed=2020-13-45", "seed = '2020-13-45': input should be a valid integer"),
        ("seed=0x_", "0x_ cannot be read as int"),
        ("seed=" + "9" * 5_000, "cannot be read as int"),
        ("seed=010", "010 is another number to YAML than it looks like"),
        ("seed=1:30", "1:30 is another number to YAML than it looks like"),
        ("seed=true", "seed = True: a number is wanted, not true or false"),
        ("training.epochs=yes", "training.epochs = True: a number is wanted"),
        ("training.weight_decay=off", "training.weight_decay = False: a number is wanted"),
        ("task.max_eval_rows=true", "task.max_eval_rows = True: a number is wanted"),
        ("training=true", "training = True: "),
        ("method.rank=true", "method.rank = True: a number is wanted"),
        ("method.name=[lora]", "unknown method ['lora']"),
        ("training.epochs=caf\udce9", "is not UTF-8"),
    ],
    ids=lambda value: value[:20],
)
def test_a_damaged_assignment_gives_one_short_line(text: str, expected: str) -> None:
    def assign() -> None:
        settings = read_settings(find_config("glue/rte.yaml"))
        settings.assign([text])
        resolve(settings)

    with pytest.raises(UserError) as caught:
        assign()
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_a_number_without_a_point_before_its_exponent_stays_a_number(tmp_path: Path) -> None:
    text = "task: {family: glue, name: rte}\ntraining: {learning_rate: 1e-3}"
    assert resolve(read_settings(write(tmp_path / "run.yaml", text))).config.training.learning_rate == 1e-3


def test_files_that_include_each_other_twice_are_read_once_each(tmp_path: Path) -> None:
    write(tmp_path / "0.yaml", "seed: 5")
    for number in range(1, 40):
        write(tmp_path / f"{number}.yaml", f"include: [{number - 1}.yaml, {number - 1}.yaml]")
    assert read_settings(tmp_path / "39.yaml").values == {"seed": 5}


def test_a_long_chain_of_includes_is_refused(tmp_path: Path) -> None:
    for number in range(2_000):
        write(tmp_path / f"{number}.yaml", f"include: {number + 1}.yaml")
    with pytest.raises(UserError, match="more than 50 files include one the other"):
        read_settings(tmp_path / "0.yaml")


def test_an_included_link_to_itself_is_refused(tmp_path: Path) -> None:
    (tmp_path / "loop.yaml").symlink_to("loop.yaml")
    with pytest.raises(UserError, match=r"loop.yaml: cannot be read"):
        read_settings(write(tmp_path / "run.yaml", "include: loop.yaml"))


def test_of_many_problems_the_first_are_told(tmp_path: Path) -> None:
    text = "task: {family: glue, name: rte}\n" + "".join(f"key{number}: 1\n" for number in range(9_000))
    with pytest.raises(UserError) as caught:
        resolve(read_settings(write(tmp_path / "run.yaml", text)))
    lines = str(caught.value).splitlines()
    assert lines[-1] == "and 8,990 more problems"
    assert len(lines) == 11


@pytest.mark.parametrize(
    ("assignments", "expected"),
    [
        (["method.rank=9223372036854775808"], "method.rank = 9223372036854775808: input should be less than or equal"),
        (["method.rank=1" + "0" * 18], "input should be less than or equal to 1000000"),
        (["training.epochs=1000001"], "training.epochs = 1000001: input should be less than or equal to 1000000"),
        (["training.batch_size=1e30"], "training.batch_size = '1e30': input should be a valid integer"),
        (["method.name=lokr", "method.factor=1000000000"], "method.factor = 1000000000: input should be less than"),
        (["method.mode=random", "method.rank=5"], "--set method.rank=5: method.rank has no effect in mode random"),
        (["method.mode=random", "method.selection=max"], "method.selection has no effect in mode random"),
        (["method.probability=0.5"], "method.probability has no effect in mode row"),
    ],
)
def test_settings_beyond_reason_or_without_effect_are_refused(assignments: list[str], expected: str) -> None:
    settings = read_settings(find_config("glue/rte.yaml"))
    settings.assign(assignments)
    with pytest.raises(UserError) as caught:
        resolve(settings)
    assert expected in str(caught.value)


def test_what_a_file_says_for_another_mode_is_left_alone() -> None:
    settings = read_settings(find_config("glue/rte.yaml"))
    settings.assign(["method.mode=random"])
    assert resolve(settings).config.method["selection"] == "random"


def test_windows_of_a_text_must_advance() -> None:
    settings = read_settings(find_config("squad/v1.1.yaml"))
    settings.assign(["task.doc_stride=384", "task.max_length=384"])
    with pytest.raises(UserError, match="doc_stride = 384: must be below max_length = 384"):
        resolve(settings)


def test_a_value_where_a_group_belongs_is_refused_when_a_flag_follows(tmp_path: Path) -> None:
    settings = read_settings(write(tmp_path / "run.yaml", "task: {family: glue, name: rte}\ntraining: fast"))
    with pytest.raises(UserError, match=r"run.yaml: training = 'fast': is a group of settings"):
        settings.update(override("training.epochs", 1), "--epochs")


@pytest.mark.parametrize(
    ("method", "notes"),
    [
        ("{mode: random, rank: 5, selection: first}", ["method.rank = 5 has no effect in mode random"]),
        ("{mode: row, rank: 5, probability: 0.2}", ["method.probability = 0.2 has no effect in mode row"]),
        ("{mode: random, rank: 3, probability: 0.2}", []),
    ],
)
def test_what_a_file_states_in_vain_is_noted(method: str, notes: list[str], tmp_path: Path) -> None:
    text = f"task: {{family: glue, name: rte}}\nmethod: {method}".replace("{mode", "{name: rocoft, mode")
    file = write(tmp_path / "run.yaml", text)
    assert list(resolve(read_settings(file)).notes) == notes


def test_a_file_for_another_mode_is_not_blamed(tmp_path: Path) -> None:
    text = "task: {family: glue, name: rte}\nmethod: {name: rocoft, mode: row, selection: max}"
    settings = read_settings(write(tmp_path / "run.yaml", text))
    settings.assign(["method.mode=random"])
    assert resolve(settings).notes == ()
