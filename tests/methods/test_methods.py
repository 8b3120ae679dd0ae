from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import RobertaConfig, RobertaForSequenceClassification

from rocoft_bench import methods
from rocoft_bench.errors import UserError
from rocoft_bench.models.parameter_counts import count_parameters
from rocoft_bench.models.shape_reading import shapes_of

BASE = {"hidden_size": 768, "num_hidden_layers": 12, "intermediate_size": 3072, "num_attention_heads": 12}
LARGE = {"hidden_size": 1024, "num_hidden_layers": 24, "intermediate_size": 4096, "num_attention_heads": 16}


def roberta(shape: dict[str, int]) -> Any:
    config = RobertaConfig(vocab_size=50265, type_vocab_size=1, max_position_embeddings=514, **shape)
    with torch.device("meta"):
        return RobertaForSequenceClassification(config)


COUNTS = [
    ({"name": "rocoft", "rank": 1}, 82_944, 221_184),
    ({"name": "rocoft", "rank": 3}, 248_832, 663_552),
    ({"name": "rocoft", "rank": 1, "mode": "column"}, 82_944, 221_184),
    ({"name": "rocoft", "rank": 3, "mode": "column"}, 248_832, 663_552),
    ({"name": "rocoft", "rank": 3, "train_bias": True}, 248_832 + 82_944, 663_552 + 221_184),
    ({"name": "rocoft", "rank": 2, "target_modules": ["query", "key", "value"]}, 55_296, 147_456),
    ({"name": "lora"}, 294_912, 786_432),
    ({"name": "head-only"}, 0, 0),
]


@pytest.mark.parametrize(("section", "base", "large"), COUNTS, ids=lambda v: str(v))
def test_counts_to_the_integer(section: dict[str, Any], base: int, large: int) -> None:
    for shape, adapter, head in ((BASE, base, 592_130), (LARGE, large, 1_051_650)):
        method = methods.resolve(section)
        shapes = shapes_of(roberta(shape), has_head=True)
        counts = count_parameters(method.apply(roberta(shape), "sequence_classification", seed=0))
        assert (counts.adapter, counts.head) == (adapter, head)
        assert counts.trainable == adapter + head
        assert method.adapter_parameters(shapes) == adapter


def test_full_fine_tuning_counts_the_whole_model() -> None:
    counts = count_parameters(methods.resolve({"name": "full"}).apply(roberta(BASE), "sequence_classification", 0))
    assert (counts.trainable, counts.total, counts.head) == (124_647_170, 124_647_170, 592_130)


def test_entries_are_another_name_of_mode_random() -> None:
    settings = [methods.resolve({"name": "rocoft", "mode": mode}).settings for mode in ("entries", "random")]
    assert settings[0] == settings[1]


def test_random_entries_follow_their_formula() -> None:
    method = methods.resolve({"name": "rocoft", "mode": "random", "probability": 0.01})
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 64, "num_attention_heads": 2}
    model = RobertaForSequenceClassification(RobertaConfig(vocab_size=50, **shape))
    shapes = shapes_of(model, has_head=True)
    counts = count_parameters(method.apply(model, "sequence_classification", seed=0))
    assert counts.adapter == method.adapter_parameters(shapes) == 2 * (4 * 10 + 2 * 20)


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ({"name": "rocft"}, "unknown method 'rocft'; did you mean \"rocoft\"?"),
        ({}, "method.name is missing"),
        ({"name": "rocoft", "ranks": 3}, 'method.ranks is not a setting; did you mean "rank"?'),
        ({"name": "rocoft", "probability": 0}, "method.probability = 0: input should be greater than 0"),
        ({"name": "full", "rank": 3}, "method.rank is not a setting"),
    ],
)
def test_wrong_settings_are_explained(section: dict[str, Any], expected: str) -> None:
    with pytest.raises(UserError) as caught:
        methods.resolve(section)
    assert expected in str(caught.value)


@pytest.mark.parametrize("name", sorted(methods.METHODS))
def test_every_method_describes_itself(name: str) -> None:
    method = methods.METHODS[name]
    assert method.name == name
    assert method.trains
    assert method.reference
    assert methods.resolve({"name": name}).label
