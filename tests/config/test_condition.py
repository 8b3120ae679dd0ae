"""Conditions of sweep files and of --filter: what meets them, and what is said of one that nothing meets."""

from __future__ import annotations

from typing import Any

import pytest

from rocoft_bench.config import Condition, find_config, parse_filter, read_settings
from rocoft_bench.errors import UserError
from rocoft_bench.experiment.resolve import resolve
from rocoft_bench.runs import config_values

RTE = {
    "task": {"family": "glue", "name": "rte"},
    "model": {"name": "FacebookAI/roberta-base", "dropout": None},
    "method": {"name": "lora", "rank": 8, "target_modules": ["query", "value"]},
    "training": {"learning_rate": 1e-3},
    "seed": 0,
}
COLA = {**RTE, "task": {"family": "glue", "name": "cola"}, "method": {"name": "full"}, "seed": 1}


@pytest.mark.parametrize(
    "wanted",
    [
        {"task": ["rte"]},
        {"family": ["glue"]},
        {"method": ["full", "lora"]},
        {"method.rank": [8]},
        {"method.name": ["lora"], "seed": [0]},
        {"seed": ["0"]},
        {"training.learning_rate": ["1e-3"]},  # YAML reads it as text
        {"model": ["roberta-base"]},
        {"model.name": ["FacebookAI/roberta-base"]},
        {"model.dropout": [None]},
        {"method.target_modules": [["query", "value"]]},
        {},
    ],
    ids=str,
)
def test_is_met_by_one_of_the_values_of_each_key(wanted: dict[str, Any]) -> None:
    assert Condition(wanted).matches(RTE)


@pytest.mark.parametrize(
    "wanted",
    [
        {"task": ["cola"]},
        {"method": ["lora"], "seed": [1]},
        {"method.alpha": [16]},
        {"model": ["roberta-large"]},
        {"method": [None]},
        {"training": [None]},
        {"seed": [False]},
        {"task.name.first": ["rte"]},
    ],
    ids=str,
)
def test_is_not_met_where_a_key_has_another_value_or_none(wanted: dict[str, Any]) -> None:
    assert not Condition(wanted).matches(RTE)


def test_a_filter_is_met_by_alternatives_of_one_key_and_by_all_keys() -> None:
    condition = parse_filter("method=lora, task=rte", "method=full")
    assert condition == Condition({"method": ["lora", "full"], "task": ["rte"]})
    assert (condition.matches(RTE), condition.matches(COLA)) == (True, False)
    assert str(condition) == "method = lora or full, task = rte"


def test_a_filter_looks_at_resolved_settings_too() -> None:
    values = config_values(resolve(read_settings(find_config("glue/rte.yaml"))).config)
    assert parse_filter("model=roberta-base,method.probability=0.1,training.max_grad_norm=1,seed=0").matches(values)
    assert not parse_filter("method.train_bias=false").matches(values)


@pytest.mark.parametrize("text", ["", "lora", "method=", "=lora", "method=lora,,task=rte", "method=lora,rte"])
def test_a_filter_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="write it as key=value,…"):
        parse_filter(text)


def test_a_filter_that_is_no_yaml_is_refused() -> None:
    with pytest.raises(UserError, match=r"--filter method=\]: not valid YAML"):
        parse_filter("method=]")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("method=lorra", '--filter: no run has method = lorra; did you mean "lora"? Allowed: full, lora'),
        ("method=lora,method=ful", 'no run has method = ful; did you mean "full"?'),
        ("sed=1", '--filter: no run has a setting sed; did you mean "seed"?'),
        ("tsk=rte", 'no run has a setting tsk; did you mean "task"?'),
        ("method=lora,seed=1", "--filter: no run has all of method = lora, seed = 1; drop a part of it"),
        ("model=roberta-large", "no run has model = roberta-large"),
    ],
)
def test_a_filter_that_nothing_meets_names_what_there_is(text: str, expected: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_filter(text).check_met([RTE, COLA], "--filter")
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_filter_that_something_meets_is_right() -> None:
    parse_filter("method=full,model=roberta-base,seed=1").check_met([RTE, COLA], "--filter")


def test_a_comma_inside_of_brackets_is_part_of_a_list() -> None:
    condition = parse_filter("method.target_modules=[query, value],task=rte", "method.target_modules=key")
    assert condition.wanted == {"method.target_modules": [["query", "value"], "key"], "task": ["rte"]}
    runs = [{"task": {"name": "rte"}, "method": {"target_modules": names}} for names in (["query", "value"], ["key"])]
    assert [condition.matches(run) for run in runs] == [True, False]
