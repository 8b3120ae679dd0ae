from __future__ import annotations

import time
from typing import Any

import pytest
from peft import LoraConfig
from transformers import BertConfig, BertForSequenceClassification

from rocoft_bench.errors import UserError
from rocoft_bench.models import peft_pattern, require_targets, target_modules, with_names_for_patterns

ENDLESS = r"(([a-z._0-9]+)+)+[!?]"
"""For Python's `re`, and so for peft."""
SLOW = r"(.+?)(.+?)(.+?)(.+?)(.+?)(.+?)(.+?)(.+?)(.+?)\1\2\3"
"""For `regex` too."""


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    assert target_modules.MATCH_SECONDS <= 2
    monkeypatch.setattr(target_modules, "MATCH_SECONDS", 0.2)


@pytest.fixture(scope="module")
def bert() -> Any:
    config = BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=8)
    return BertForSequenceClassification(config)


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        ("(", "method.target_modules = '(': not a regular expression"),
        ("*", "not a regular expression"),
        ("[a", "not a regular expression"),
        ("(" * 5_000, "not a regular expression"),
        ("a" * 20_000, "longer than 10,000 characters"),
        ("x{99999999999}", "not a regular expression"),
        (ENDLESS, "the model has no module"),
        (SLOW, "takes more than 0.2 s to match"),
        ("nosuch", "the model has no module 'nosuch'"),
        ("", "the model has no module ''"),
        ([], "the model has no module ''"),
        (["query", "nosuch"], "the model has no module 'nosuch'"),
        (["quer"], 'did you mean "query"?'),
        (["ffn_gate"], "the model has no module 'ffn_gate'"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_targets_that_name_nothing_are_refused_in_time(bert: Any, targets: Any, expected: str) -> None:
    start = time.monotonic()
    with pytest.raises(UserError) as caught:
        require_targets(targets, bert)
    assert expected in str(caught.value)
    assert time.monotonic() - start < 5


def test_a_role_of_other_architectures_is_a_warning(bert: Any) -> None:
    with pytest.warns(UserWarning, match="a bert model has no ffn_gate"):
        found = require_targets(["query", "ffn_gate"], bert)
    assert found == [f"bert.encoder.layer.{n}.attention.self.query" for n in (0, 1)]


def test_peft_gets_the_names_that_an_expression_means(bert: Any) -> None:
    pattern = peft_pattern(r".*\.1\.(?:intermediate|output)\.dense", bert)
    assert pattern == r"bert\.encoder\.layer\.1\.intermediate\.dense|bert\.encoder\.layer\.1\.output\.dense"


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"target_modules": ENDLESS}, "target_modules = .*: the model has no such module"),
        ({"target_modules": SLOW}, "target_modules = .*takes more than 0.2 s to match"),
        ({"target_modules": "("}, "target_modules = .*not a regular expression"),
        ({"target_modules": ["query"], "exclude_modules": ENDLESS}, "exclude_modules = .*must be the name of a module"),
        ({"target_modules": ["query"], "modules_to_save": [ENDLESS]}, "modules_to_save = .*must be the name"),
        ({"target_modules": ["query"], "rank_pattern": {ENDLESS: 3}}, "rank_pattern = .*must be the name"),
    ],
)
def test_a_stored_expression_that_peft_would_hang_on_is_refused(
    bert: Any, config: dict[str, Any], expected: str
) -> None:
    with pytest.raises(UserError, match=f"adapter_config.json: {expected}"):
        with_names_for_patterns(LoraConfig(**config), bert)


def test_a_stored_expression_becomes_the_names_that_it_means(bert: Any) -> None:
    config = with_names_for_patterns(LoraConfig(target_modules=r".*\.0\..*key"), bert)
    assert config.target_modules == r"bert\.encoder\.layer\.0\.attention\.self\.key"
