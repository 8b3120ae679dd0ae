"""What an accelerator is told of a run, and how it is known."""

from __future__ import annotations

import pytest
from transformers import BartConfig

from rocoft_bench import methods
from rocoft_bench.engine.accelerator import make_accelerator
from rocoft_bench.experiment.run import may_skip_parameters


@pytest.mark.parametrize(
    ("method", "layerdrop", "skips"),
    [
        ("rocoft", 0.0, False),
        ("rocoft", 0.1, True),
        ("lora", 0.0, False),
        ("diff-pruning", 0.0, True),
        ("full", 0.0, True),
    ],
)
def test_parameters_without_gradients_are_looked_for_where_there_may_be_some(
    method: str, layerdrop: float, skips: bool
) -> None:
    found = may_skip_parameters(methods.resolve({"name": method}), BartConfig(encoder_layerdrop=layerdrop))
    assert found == skips
    handler = make_accelerator("fp32", found).ddp_handler
    assert handler is not None
    assert handler.find_unused_parameters == skips
