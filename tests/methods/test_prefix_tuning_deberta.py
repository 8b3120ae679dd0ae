"""Prefix-tuning of DeBERTa, which peft cannot do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from rocoft_bench import methods
from rocoft_bench.models import paper_model
from rocoft_bench.models.parameter_counts import count_parameters
from rocoft_bench.models.shape_reading import shapes_of


def test_count_of_table_7() -> None:
    """l = 94 on DeBERTaV3-base, by formula and as built; the head is not counted in the paper's 1.733M."""
    method = methods.resolve({"name": "prefix-tuning"}, task_kind="question_answering", model="deberta-v3-base")
    model = paper_model("deberta-v3-base", "AutoModelForQuestionAnswering")
    assert method.adapter_parameters(shapes_of(model, has_head=True)) == 1_732_608
    counts = count_parameters(method.apply(model, "question_answering", seed=0))
    assert (counts.adapter, counts.head) == (1_732_608, 1_538)


def test_saved_are_keys_values_and_head_under_their_own_names(
    make_model: Callable[..., Any], make_batch: Callable[..., Any], tmp_path: Path
) -> None:
    kind = "question_answering"
    method = methods.resolve({"name": "prefix-tuning", "num_virtual_tokens": 4})
    model: Any = method.apply(make_model("deberta-v2", kind), kind, seed=0)
    prefixes = [layer.attention.self.prefix for layer in model.deberta.encoder.layer]
    for prefix in prefixes:
        torch.nn.init.normal_(prefix.key)
        torch.nn.init.normal_(prefix.value)
    method.save(model, tmp_path)
    saved = load_file(tmp_path / "trained.safetensors")
    names = {f"deberta.encoder.layer.{i}.attention.self.prefix.{part}" for i in range(2) for part in ("key", "value")}
    assert set(saved) == names | {"qa_outputs.weight", "qa_outputs.bias"}
    assert all(saved[name].shape == (4, 16) for name in names)

    batch = make_batch(kind)
    with torch.no_grad():
        expected = model(**batch).start_logits
        found = method.load(make_model("deberta-v2", kind), tmp_path, kind)(**batch).start_logits
        plain = make_model("deberta-v2", kind)(**batch).start_logits
    torch.testing.assert_close(found, expected)
    assert found.shape == plain.shape
    assert not torch.allclose(found, plain, atol=1e-3)
