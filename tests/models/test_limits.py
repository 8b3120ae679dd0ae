"""How many tokens a model takes: as many as it has positions for, and no more than its tokenizer says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import transformers

from rocoft_bench.models import limits

SIZES: dict[str, Any] = {
    "vocab_size": 40, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8
}  # fmt: skip
TABLES = {
    "roberta": {"max_position_embeddings": 18, "pad_token_id": 1},
    "xlm-roberta": {"max_position_embeddings": 18, "pad_token_id": 1},
    "bert": {"max_position_embeddings": 16},
    "gpt2": {"n_positions": 16, "n_embd": 8, "n_layer": 1, "n_head": 2},
    "gptj": {"n_positions": 16, "n_embd": 8, "n_layer": 1, "n_head": 2, "rotary_dim": 2},
    "bart": {
        "max_position_embeddings": 16,
        "d_model": 8,
        "encoder_layers": 1,
        "decoder_layers": 1,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
    },
}


def model_of(model_type: str, **sizes: Any) -> Any:
    return transformers.AutoModel.from_config(
        transformers.AutoConfig.for_model(model_type, **{**SIZES, **sizes})
    ).eval()


@pytest.mark.parametrize(("model_type", "sizes"), TABLES.items(), ids=TABLES)
@pytest.mark.parametrize(("said", "expected"), [(10**30, 16), (512, 16), (10, 10)])
def test_a_model_takes_as_many_tokens_as_it_has_positions(
    model_type: str, sizes: dict[str, Any], said: int, expected: int
) -> None:
    model = model_of(model_type, **sizes)
    longest, target = limits(model, SimpleNamespace(model_max_length=said))
    assert longest == expected
    assert target == (16 if model_type == "bart" else None)
    ids = torch.full((1, 16), 5)
    assert model(ids).last_hidden_state.isfinite().all()
    with pytest.raises((IndexError, RuntimeError)):
        model(torch.full((1, 17), 5))


@pytest.mark.parametrize("model_type", ["t5", "bloom"])
def test_models_without_a_number_of_positions(model_type: str) -> None:
    sizes = {"d_model": 8, "d_ff": 8, "num_layers": 1, "num_heads": 2} if model_type == "t5" else {"n_head": 2}
    model = model_of(model_type, **sizes)
    assert limits(model, SimpleNamespace(model_max_length=10**30)) == (None, None)
    assert limits(model, SimpleNamespace(model_max_length=64)) == (64, None)


def trained(rocoft: Callable[..., Any], *arguments: object) -> Any:
    small = ("--epochs", 1, "--set", "task.max_train_rows=4", "--set", "task.max_eval_rows=2")
    return rocoft("train", *arguments, *small, "--set", "training.warmup_steps=0")


@pytest.mark.parametrize("said", [None, 600])
def test_long_rows_are_cut_to_what_roberta_takes(
    said: int | None, rocoft: Callable[..., Any], tiny_of: Callable[[str], Path], tmp_path: Path
) -> None:
    import json
    import shutil

    from tests.conftest import write_rows

    model = shutil.copytree(tiny_of("FacebookAI/roberta-base"), tmp_path / "model")
    config = json.loads((model / "tokenizer_config.json").read_text())
    del config["model_max_length"]
    (model / "tokenizer_config.json").write_text(json.dumps(config | ({"model_max_length": said} if said else {})))
    rows: list[dict[str, object]] = [{"sentence": "a cat " * 100, "label": n % 2, "idx": n} for n in range(4)]
    for split in ("train", "validation"):
        write_rows(tmp_path / "data" / "glue" / "cola" / f"{split}.jsonl", rows)
    arguments = ("--task", "cola", "--model", model, "--data-dir", tmp_path / "data", "--set", "task.max_length=700")
    result = trained(rocoft, "glue", *arguments, "--output", tmp_path / "run")
    assert result.code == 0, result.err
    notes = json.loads((tmp_path / "run" / "record.json").read_text())["notes"]
    assert "the model takes 512 tokens, so max_length is 512 instead of 700" in notes


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"max_target_length": 600}, "the model takes 512 tokens, so max_target_length is 512 instead of 600"),
        ({"max_new_tokens": 600}, "task.max_new_tokens = 600: the model's decoder takes 512 tokens"),
    ],
)
def test_summaries_are_no_longer_than_barts_decoder_takes(
    settings: dict[str, int], expected: str, rocoft: Callable[..., Any], tiny_of: Callable[[str], Path], tmp_path: Path
) -> None:
    import json

    from tests.conftest import write_rows

    rows: list[dict[str, object]] = [{"document": "a cat " * 20, "summary": "a big cat " * 80} for _ in range(4)]
    for split in ("train", "test"):
        write_rows(tmp_path / "data" / "summarization" / "xsum" / f"{split}.jsonl", rows)
    assignments = [part for name, value in settings.items() for part in ("--set", f"task.{name}={value}")]
    where = ("--model", tiny_of("facebook/bart-large"), "--data-dir", tmp_path / "data", "--output", tmp_path / "run")
    result = trained(rocoft, "summarization", "--task", "xsum", *where, "--set", "task.num_beams=1", *assignments)
    said = result.err
    if (tmp_path / "run").exists():
        said = "\n".join(json.loads((tmp_path / "run" / "record.json").read_text())["notes"])
    assert expected in said
    assert result.code == (0 if "max_target_length" in settings else 2)
