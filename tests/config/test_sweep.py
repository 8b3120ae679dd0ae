from __future__ import annotations

import shutil
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rocoft_bench.config import Condition, RunConfig, Settings, Sweep, find_config, read_settings, read_sweep
from rocoft_bench.config.sweep import Override
from rocoft_bench.errors import UserError
from rocoft_bench.experiment.resolve import resolve
from rocoft_bench.methods.dense import Full
from rocoft_bench.methods.vera import VeRA

SWEEP = """
model: {name: roberta-large}
axes:
  config: [glue/rte.yaml, glue/mrpc.yaml]
  method: [full, {name: lora, rank: 4}, {name: rocoft, rank: 1}]
  training.epochs: [1, 2]
  seed: [5]
"""


def sweep_file(folder: Path, text: str = SWEEP) -> Path:
    file = folder / "sweep.yaml"
    file.write_text(text)
    return file


def sweep_of(folder: Path, text: str) -> Sweep:
    sweep = read_sweep(sweep_file(folder, text))
    assert sweep is not None
    return sweep


def test_runs_are_the_product_of_the_axes(tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path, SWEEP)
    runs = [resolve(settings) for _, settings in sweep.runs()]
    found = [
        (run.task.name, run.method.label, run.config.training.epochs, run.config.seed, run.config.model.name)
        for run in runs
    ]
    assert found == [
        (task, label, epochs, 5, "roberta-large")
        for task in ("rte", "mrpc")
        for label in ("FT", "LoRA", "RoCoFT-1-Row")
        for epochs in (1, 2)
    ]


def test_a_method_on_an_axis_leaves_the_files_method_behind_or_builds_on_it(tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path, SWEEP)
    full, _, lora, _, rocoft, _ = [resolve(settings).config for _, settings in sweep.runs()][:6]
    assert full.method == {"name": "full"}
    assert full.training.learning_rate == 3e-5
    assert lora.method["rank"] == 4
    assert (rocoft.method["rank"], rocoft.method["selection"], rocoft.training.learning_rate) == (1, "random", 2e-3)


def test_sources_name_file_and_axis(tmp_path: Path) -> None:
    file = sweep_file(tmp_path)
    sweep = read_sweep(file)
    assert sweep is not None
    _, settings = sweep.runs()[0]
    assert settings.sources["training.epochs"] == f"{file}: axes.training.epochs"
    assert settings.sources["model.name"] == str(file)


def test_settings_of_one_run_are_no_sweep(tmp_path: Path) -> None:
    assert read_sweep(sweep_file(tmp_path, "task: {family: glue, name: rte}")) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("axes: []", "axes must hold `setting: [value, …]`"),
        ("axes: {seed: 3}", "axes.seed = 3: must be a list of values"),
        ("axes: {seed: []}", "axes.seed = []: must be a list of values"),
        ("axes: [1, 2]", "axes must hold `setting: [value, …]`"),
        ("axes: {config: [{a: 1}]}", "axes.config = [{'a': 1}]: must be names of YAML files"),
        (
            "axes: {seed: [1]}\nexcludes: []",
            'excludes is neither a setting nor a part of a sweep; did you mean "exclude"',
        ),
        ("axes: {seed: [1]}\nexclude: {seed: 1}", "exclude = {'seed': 1}: must be a list"),
        ("axes: {seed: [1]}\nexclude: [1]", "exclude, entry 1 = 1: must hold `setting: value`"),
        (
            "axes: {seed: [1]}\nexclude: [{seed: 1}, {seed: []}]",
            "exclude, entry 2: seed = []: must be a value or a list",
        ),
        ("axes: {seed: [1]}\nexclude: [{method: {name: lora}}]", "entry 1: method = {'name': 'lora'}: must be a value"),
        (
            "axes: {seed: [1]}\noverrides: [{where: {seed: 1}}]",
            "overrides, entry 1 = {'where': {'seed': 1}}: must hold",
        ),
        ("axes: {seed: [1]}\nevaluate_also: [svamp]", "evaluate_also must hold `family: [task, …]`"),
        ("axes: {seed: [1]}\nevaluate_also: {math: svamp}", "evaluate_also.math = 'svamp': must be a list of values"),
    ],
)
def test_a_wrong_sweep_is_explained(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(UserError) as caught:
        read_sweep(sweep_file(tmp_path, text))
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("addition", "expected"),
    [
        ("exclude: [{method: lorra}]", 'exclude, entry 1: no run has method = lorra; did you mean "lora"?'),
        ("exclude: [{seed: 5}, {task: [rte, mrcp]}]", 'exclude, entry 2: no run has task = mrcp; did you mean "mrpc"?'),
        ("exclude: [{training.epoch: 1}]", 'no run has a setting training.epoch; did you mean "training.epochs"?'),
        ("exclude: [{config: glue/rt.yaml}]", 'no run has config = glue/rt.yaml; did you mean "glue/rte.yaml"?'),
        ("exclude: [{method: lora, method.rank: 1}]", "exclude, entry 1: no run has all of method = lora, method.rank"),
        ("exclude: [{seed: 5}]", "exclude leaves no run"),
        ("overrides: [{where: {sed: 5}, set: {seed: 6}}]", "overrides, entry 1: no run has a setting sed"),
        ("evaluate_also: {maths: [svamp]}", "evaluate_also: no run has family = maths"),
    ],
)
def test_a_condition_that_no_run_meets_is_a_mistake(tmp_path: Path, addition: str, expected: str) -> None:
    with pytest.raises(UserError) as caught:
        sweep_of(tmp_path, f"{SWEEP}\n{addition}").runs()
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_runs_that_meet_an_exclusion_are_left_out(tmp_path: Path) -> None:
    text = f"{SWEEP}\nexclude: [{{method: [full, lora], config: glue/mrpc.yaml}}, {{training.epochs: 2, task: rte}}]"
    runs = [resolve(settings) for _, settings in sweep_of(tmp_path, text).runs()]
    assert [(run.task.name, run.method.name, run.config.training.epochs) for run in runs] == [
        ("rte", "full", 1),
        ("rte", "lora", 1),
        ("rte", "rocoft", 1),
        ("mrpc", "rocoft", 1),
        ("mrpc", "rocoft", 2),
    ]


@pytest.mark.parametrize("name", ["roberta-large", "FacebookAI/roberta-large"])
def test_a_model_is_the_same_by_alias_and_hub_id(tmp_path: Path, name: str) -> None:
    text = SWEEP.replace("seed: [5]", "seed: [5]\n  model: [roberta-large, demo-minilm]")
    runs = sweep_of(tmp_path, f"{text}\nexclude: [{{model: {name}}}]").runs()
    assert {settings.values["model"]["name"] for _, settings in runs} == {"demo-minilm"}


def test_overrides_are_laid_over_the_runs_that_they_are_for_in_their_order(tmp_path: Path) -> None:
    overrides = """
overrides:
  - {where: {method: lora}, set: {training: {learning_rate: 1e-4, batch_size: 8}, method.alpha: 3}}
  - {where: {method: lora, training.epochs: 2}, set: {training.learning_rate: 2.0e-4}}
  - {where: {task: mrpc, method: full}, set: {method: bitfit, training.learning_rate: 5.0e-4}}
"""
    sweep = sweep_of(tmp_path, SWEEP + overrides)
    found = {}
    for point, settings in sweep.runs():
        config = resolve(settings).config
        chosen = (config.training.learning_rate, config.training.batch_size, config.method.get("alpha"))
        found[point["config"][5:9], config.method["name"], config.training.epochs] = chosen
    assert found["rte.", "lora", 1] == found["mrpc", "lora", 1] == (1e-4, 8, 3)
    assert found["rte.", "lora", 2] == (2e-4, 8, 3)
    assert found["rte.", "full", 1] == (3e-5, 32, None)
    assert found["mrpc", "bitfit", 1] == (5e-4, 32, None)
    assert ("mrpc", "full", 1) not in found
    lora = next(settings for point, settings in sweep.runs() if "rank" in point["method"])
    assert lora.sources["method.alpha"] == f"{sweep.path}: overrides, entry 1"


def test_conditions_look_at_what_axes_and_files_say_not_at_overrides(tmp_path: Path) -> None:
    text = f"{SWEEP}\nexclude: [{{training.epochs: 2}}]\n" + (
        "overrides: [{where: {training.epochs: 1}, set: {training.epochs: 2}}, {where: {seed: 5}, set: {seed: 6}}]"
    )
    runs = sweep_of(tmp_path, text).runs()
    assert {(settings.values["training"]["epochs"], settings.values["seed"]) for _, settings in runs} == {(2, 6)}


def test_assignments_win_over_everything_in_every_run(tmp_path: Path) -> None:
    text = f"{SWEEP}\noverrides: [{{where: {{method: lora}}, set: {{training.batch_size: 8}}}}]"
    runs = sweep_of(tmp_path, text).runs(["training.batch_size=4", "training.epochs=9"])
    training = [resolve(settings).config.training for _, settings in runs]
    assert {(section.batch_size, section.epochs) for section in training} == {(4, 9)}
    assert runs[0][1].sources["training.batch_size"] == "--set training.batch_size=4"


def test_an_including_sweep_keeps_replaces_and_adds(tmp_path: Path) -> None:
    exceptions = "exclude: [{method: full}]\noverrides: [{where: {seed: 5}, set: {seed: 6}}]"
    (tmp_path / "base.yaml").write_text(f"{SWEEP}\n{exceptions}")
    text = "include: base.yaml\nmodel: {name: roberta-base}\naxes: {config: [glue/cola.yaml], model.dropout: [0.3]}\n"
    runs = [resolve(settings).config for _, settings in sweep_of(tmp_path, f"{text}exclude: []").runs()]
    assert [(run.task.name, run.method["name"]) for run in runs[::2]] == [
        ("cola", name) for name in ("full", "lora", "rocoft")
    ]
    assert {(run.model.name, run.model.dropout, run.seed, run.training.epochs) for run in runs} == {
        ("roberta-base", 0.3, 6, epochs) for epochs in (1, 2)
    }


def test_one_training_is_evaluated_on_further_tasks(tmp_path: Path) -> None:
    text = "axes: {config: [math/gsm8k.yaml, glue/rte.yaml]}\nevaluate_also: {math: [gsm8k, addsub, svamp]}"
    sweep = sweep_of(tmp_path, text)
    (_, gsm8k), (_, rte) = sweep.runs()
    assert not list(sweep.evaluation_settings(rte))
    changed = [resolve(settings) for settings in sweep.evaluation_settings(gsm8k)]
    assert [(run.task.name, run.config.task.train_on) for run in changed] == [  # type: ignore[attr-defined]
        ("addsub", "math_10k"),
        ("svamp", "math_10k"),
    ]
    assert gsm8k.values["task"]["name"] == "gsm8k"


def test_a_run_is_not_changed_by_what_happens_to_another(tmp_path: Path) -> None:
    text = "axes: {config: [glue/rte.yaml], seed: [0, 1]}\nmodel: {name: roberta-base}"
    sweep = sweep_of(tmp_path, text)
    (_, first), (_, second) = sweep.runs()
    expected = second.copy()
    first.update({"model": {"name": "x", "new": {"deep": 1}}, "training": {"epochs": 99}}, "test")
    first.values["task"]["name"] = "other"
    first.update({"method": {"name": "full"}}, "test")
    assert second == expected
    assert sweep.runs()[0][1] == Settings({**expected.values, "seed": 0}, expected.sources)


def test_settings_read_again_or_copied_are_no_ones_elses(tmp_path: Path) -> None:
    file = sweep_file(tmp_path, "model: {a: {b: {c: 1}}}")
    given = {"model": {"a": {"b": {"d": 2}}}, "method": {"x": {"y": 1}}}
    settings = read_settings(file)
    copied = settings.copy()
    settings.update(given, "test")
    settings.update({"model": {"a": {"b": {"c": 3}}}, "method": {"x": {"y": 2}}}, "test")
    assert given == {"model": {"a": {"b": {"d": 2}}}, "method": {"x": {"y": 1}}}
    assert copied.values == read_settings(file).values == {"model": {"a": {"b": {"c": 1}}}}


Choices = dict[str, list[Any]]
AXES: st.SearchStrategy[Any] = st.fixed_dictionaries(
    {
        "seed": st.lists(st.integers(0, 9), min_size=1, max_size=4, unique=True),
        "method": st.lists(st.sampled_from(["full", "lora", "bitfit", "ia3"]), min_size=1, max_size=4, unique=True),
        "training.epochs": st.lists(st.integers(1, 9), min_size=1, max_size=3, unique=True),
    }
)


@st.composite
def axes_and_conditions(draw: st.DrawFn) -> tuple[Choices, list[Choices]]:
    """Axes, and up to three conditions on some of their values."""
    axes: Choices = draw(AXES)
    conditions = []
    for _ in range(draw(st.integers(0, 3))):
        keys = draw(st.lists(st.sampled_from(sorted(axes)), min_size=1, unique=True))
        conditions.append({key: draw(st.lists(st.sampled_from(axes[key]), min_size=1, unique=True)) for key in keys})
    return axes, conditions


def meets(point: dict[str, Any], condition: Choices) -> bool:
    return all(point[key] in values for key, values in condition.items())


@given(axes_and_conditions())
def test_the_runs_are_the_product_less_what_is_excluded(drawn: tuple[Choices, list[Choices]]) -> None:
    axes, conditions = drawn
    points = [dict(zip(axes, values, strict=True)) for values in product(*axes.values())]
    kept = [point for point in points if not any(meets(point, condition) for condition in conditions)]
    sweep = Sweep(Path("sweep.yaml"), {}, axes, exclude=[Condition(condition) for condition in conditions])
    if kept:
        assert [point for point, _ in sweep.runs()] == kept
    else:
        with pytest.raises(UserError, match="exclude leaves no run"):
            sweep.runs()


@given(axes_and_conditions())
def test_an_override_is_applied_exactly_where_its_condition_is_met(drawn: tuple[Choices, list[Choices]]) -> None:
    axes, conditions = drawn
    overrides = [
        Override(Condition(condition), {"training": {f"setting_{number}": True}}, "")
        for number, condition in enumerate(conditions)
    ]
    for point, settings in Sweep(Path("sweep.yaml"), {}, axes, overrides=overrides).runs():
        applied = {key for key in settings.values["training"] if key.startswith("setting_")}
        assert applied == {f"setting_{n}" for n, condition in enumerate(conditions) if meets(point, condition)}


def test_validate_shows_methods_and_the_number_of_runs(rocoft: Callable[..., Any], tmp_path: Path) -> None:
    result = rocoft("validate", sweep_file(tmp_path))
    assert result.code == 0
    assert "12 runs: 2 config x 3 method x 2 training.epochs x 1 seed" in result.out
    assert result.out.count("RoCoFT-1-Row") == 2  # one for each task's own settings


def test_validate_names_every_problem_once_and_where_it_is(rocoft: Callable[..., Any], tmp_path: Path) -> None:
    text = SWEEP.replace("full,", "ful, {name: lora, rnk: 2},")
    result = rocoft("validate", sweep_file(tmp_path, text))
    assert result.code == 2
    lines = result.err.splitlines()
    assert len(lines) == 2
    assert "config glue/rte.yaml, method ful, training.epochs 1, seed 5 and 3 more: unknown method 'ful'" in lines[0]
    assert 'did you mean "rank"?' in lines[1]
    assert "valid" not in result.out


@pytest.mark.parametrize("axes", ["method: [lora, rocoft], training.learning_rate: [0.1, 0.2]",
                                  "training.learning_rate: [0.1, 0.2], method: [lora, rocoft]"])  # fmt: skip
def test_what_a_sweep_says_holds_for_every_method_in_any_order(tmp_path: Path, axes: str) -> None:
    """A method leaves behind the learning rate of a file of one run, on the axis or included, and no other."""
    text = f"axes: {{config: [glue/rte.yaml], {axes}}}"
    rates = {(run.method["name"], run.training.learning_rate) for run in configs(tmp_path, text)}
    assert rates == {(name, rate) for name in ("lora", "rocoft") for rate in (0.1, 0.2)}
    shared = "training: {learning_rate: 0.3}\naxes: {config: [glue/rte.yaml], method: [lora, rocoft]}"
    assert [run.training.learning_rate for run in configs(tmp_path, shared)] == [0.3, 0.3]
    decayed = "training: {weight_decay: 0.2}\naxes: {config: [glue/cola.yaml], method: [vera, rocoft]}"
    assert [run.training.weight_decay for run in configs(tmp_path, decayed)] == [0.2, 0.2]
    of_file = "axes: {config: [glue/cola.yaml], method: [vera, rocoft]}"
    assert [run.training.weight_decay for run in configs(tmp_path, of_file)] == [0.0, 0.1]
    of_included = "include: cola.yaml\naxes: {AXIS: [vera, full, rocoft]}"
    shutil.copy(find_config("glue/cola.yaml"), tmp_path)
    for axis in ("method", "method.name"):
        runs = [resolve(settings) for _, settings in sweep_of(tmp_path, of_included.replace("AXIS", axis)).runs()]
        assert [run.config.training.learning_rate for run in runs] == [VeRA.learning_rate, Full.learning_rate, 2e-4]
        assert [len(run.notes) for run in runs] == [1, 1, 0]
        own = f"training: {{weight_decay: 0.2}}\n{of_included.replace('AXIS', axis)}"
        assert [run.training.weight_decay for run in configs(tmp_path, own)] == [0.2, 0.2, 0.2]
    rank = "axes: {config: [glue/rte.yaml], method.rank: [5, 6], method: [lora, rocoft]}"
    assert sorted(run.method["rank"] for run in configs(tmp_path, rank)) == [5, 5, 6, 6]


def configs(folder: Path, text: str) -> list[RunConfig]:
    sweep = read_sweep(sweep_file(folder, text))
    assert sweep is not None
    return [resolve(settings).config for _, settings in sweep.runs()]
