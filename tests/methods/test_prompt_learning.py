"""Virtual tokens before the input: what the model gives and generates is as if they were not there."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedTokenizerFast

from rocoft_bench import methods
from rocoft_bench.engine.prediction import DecoderText, EncoderText
from rocoft_bench.errors import UserError

L = 3
NEW = 6
NAMES = ("prompt-tuning", "prefix-tuning")
ROWS = [[5, 6, 7, 8, 9, 10, 11], [12, 13, 14], [20, 21, 22, 23, 24]]


def applied(name: str, model: Any, kind: str) -> Any:
    return methods.resolve({"name": name, "num_virtual_tokens": L}).apply(model, kind, 0).eval()


def with_prompt(base: Any, tuned: Any, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """The base model's inputs with the trained embeddings in front, put together by hand."""
    prompt = tuned.prompt_encoder["default"].embedding.weight
    embedded = base.get_input_embeddings()(batch["input_ids"])
    rows = len(embedded)
    return {
        "inputs_embeds": torch.cat([prompt.expand(rows, -1, -1), embedded], dim=1),
        "attention_mask": torch.cat([torch.ones(rows, L, dtype=torch.long), batch["attention_mask"]], dim=1),
    }


@pytest.mark.parametrize("model_type", ["bert", "roberta", "deberta-v2"])
def test_answers_of_a_prompted_model_are_at_the_real_tokens(
    model_type: str, make_model: Callable[..., Any], make_batch: Callable[..., Any]
) -> None:
    kind = "question_answering"
    base, batch = make_model(model_type, kind), make_batch(kind)
    tuned = applied("prompt-tuning", make_model(model_type, kind), kind)
    found, expected = tuned(**batch), base(**with_prompt(base, tuned, batch))
    assert found.start_logits.shape == batch["input_ids"].shape
    torch.testing.assert_close(found.start_logits, expected.start_logits[:, L:])
    torch.testing.assert_close(found.end_logits, expected.end_logits[:, L:])
    losses = [
        F.cross_entropy(logits[:, L:], batch[f"{side}_positions"])
        for side, logits in (("start", expected.start_logits), ("end", expected.end_logits))
    ]
    torch.testing.assert_close(found.loss, sum(losses) / 2)
    assert batch["start_positions"].tolist() == [1, 2, 3], "the caller's batch has been changed"


@pytest.mark.parametrize("model_type", ["bert", "roberta", "deberta-v2"])
def test_the_head_of_a_prompted_classifier_reads_the_first_real_token(
    model_type: str, make_model: Callable[..., Any], make_batch: Callable[..., Any]
) -> None:
    kind = "sequence_classification"
    base, batch = make_model(model_type, kind), make_batch(kind)
    tuned = applied("prompt-tuning", make_model(model_type, kind), kind)
    hidden = base.base_model(**with_prompt(base, tuned, batch)).last_hidden_state[:, L:]
    pooler = getattr(base.base_model, "pooler", None) or getattr(base, "pooler", None)
    expected = base.classifier(hidden if pooler is None else pooler(hidden))
    found = tuned(**batch)
    torch.testing.assert_close(found.logits, expected)
    torch.testing.assert_close(found.loss, F.cross_entropy(expected, batch["labels"]))


def test_a_classifier_that_needs_token_ids_is_refused() -> None:
    method = methods.resolve({"name": "prompt-tuning"})
    with pytest.raises(UserError, match="a llama classifier finds a text's end in its token ids"):
        method.check_supports("sequence_classification", "llama")
    method.check_supports("causal_lm", "llama")


@pytest.mark.parametrize("model_type", ["llama", "gptj", "bloom"])
def test_logits_of_a_prompted_language_model_are_those_of_the_real_tokens(
    model_type: str, make_model: Callable[..., Any], make_batch: Callable[..., Any]
) -> None:
    base, batch = make_model(model_type, "causal_lm"), make_batch("causal_lm")
    tuned = applied("prompt-tuning", make_model(model_type, "causal_lm"), "causal_lm")
    found, expected = tuned(**batch), base(**with_prompt(base, tuned, batch)).logits[:, L:]
    real = batch["attention_mask"].bool()
    torch.testing.assert_close(found.logits[real], expected[real])
    loss = F.cross_entropy(expected[:, :-1].flatten(0, 1), batch["labels"][:, 1:].flatten())
    told = (batch["labels"][:, 0] != -100).sum() + (batch["labels"][:, 1:] != -100).sum()
    first = F.cross_entropy(base(**with_prompt(base, tuned, batch)).logits[:, L - 1], batch["labels"][:, 0])
    torch.testing.assert_close(found.loss, (loss * (told - 3) + first * 3) / told)


@pytest.mark.parametrize(
    ("name", "model_type", "kind"),
    [
        ("prompt-tuning", "roberta", "sequence_classification"),
        ("prompt-tuning", "bart", "seq2seq_lm"),
        ("prompt-tuning", "llama", "causal_lm"),
        ("prefix-tuning", "roberta", "sequence_classification"),
        ("prefix-tuning", "bart", "seq2seq_lm"),
        ("prefix-tuning", "llama", "causal_lm"),
    ],
)
def test_every_virtual_token_has_a_gradient(
    name: str, model_type: str, kind: str, make_model: Callable[..., Any], make_batch: Callable[..., Any]
) -> None:
    tuned = applied(name, make_model(model_type, kind), kind)
    tuned(**make_batch(kind)).loss.backward()
    gradient = tuned.prompt_encoder["default"].embedding.weight.grad
    assert gradient.shape[0] == L
    assert (gradient.abs().amax(dim=1) > 0).all()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("model_type", "longest"), [("bert", 80), ("roberta", 78)])
def test_the_longest_input_leaves_room_for_the_virtual_tokens(
    name: str, model_type: str, longest: int, make_model: Callable[..., Any]
) -> None:
    """longest: what the position table of the tiny model holds."""
    kind = "sequence_classification"
    method = methods.resolve({"name": name, "num_virtual_tokens": L})
    tuned = method.apply(make_model(model_type, kind), kind, 0).eval()
    ids = torch.full((1, longest - method.virtual_tokens), 7)
    assert tuned(input_ids=ids, attention_mask=torch.ones_like(ids)).logits.isfinite().all()
    ids = torch.full((1, longest - method.virtual_tokens + 1), 7)
    with pytest.raises((IndexError, RuntimeError)):
        tuned(input_ids=ids, attention_mask=torch.ones_like(ids))


def peaked(model: Any) -> Any:
    """Weights large enough for answers that differ from input to input, and no end of an answer."""
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.data.mul_(16)
    model.generation_config.eos_token_id = None
    model.generation_config.forced_eos_token_id = None
    return model


def generated(tuned: Any, rows: list[list[int]], decoder_only: bool) -> list[list[int]]:
    tokenizer: Any = PreTrainedTokenizerFast(tokenizer_object=_no_tokenizer(), pad_token="<pad>")
    predictor = (DecoderText if decoder_only else EncoderText)(tokenizer, {"max_new_tokens": NEW})
    batch = predictor.collate([{"input_ids": row, "attention_mask": [1] * len(row)} for row in rows])
    with torch.no_grad():
        return [np.asarray(answer).tolist() for answer in predictor(tuned, batch)]


def _no_tokenizer() -> Any:
    from tokenizers import Tokenizer, models

    return Tokenizer(models.WordLevel({"<unused>": 0, "<pad>": 1}, unk_token="<unused>"))


@torch.no_grad()
def step_by_step(tuned: Any, row: list[int], decoder_only: bool) -> list[int]:
    """Greedy decoding of one row through `forward`, without a cache."""
    ids, answer = torch.tensor([row]), [2]
    for _ in range(NEW):
        if decoder_only:
            inputs = {"input_ids": torch.tensor([row + answer[1:]])}
        else:
            inputs = {"input_ids": ids, "decoder_input_ids": torch.tensor([answer])}
        logits = tuned(**inputs, attention_mask=torch.ones_like(inputs["input_ids"])).logits
        answer.append(int(logits[0, -1].argmax()))
    return answer[1:]


@pytest.mark.parametrize("model_type", ["llama", "gptj", "bloom", "bart"])
@pytest.mark.parametrize("name", NAMES)
def test_generated_answers_do_not_depend_on_the_batch(
    name: str, model_type: str, make_model: Callable[..., Any]
) -> None:
    kind = "seq2seq_lm" if model_type == "bart" else "causal_lm"
    model = peaked(make_model(model_type, kind))
    tuned = applied(name, model, kind)
    together = generated(tuned, ROWS, kind == "causal_lm")
    assert together == [generated(tuned, [row], kind == "causal_lm")[0] for row in ROWS]
    assert together == [step_by_step(tuned, row, kind == "causal_lm") for row in ROWS]
    assert len({tuple(answer) for answer in together}) > 1


def test_prompt_tuning_starts_from_embeddings_of_the_vocabulary(make_model: Callable[..., Any]) -> None:
    tuned = applied("prompt-tuning", make_model("roberta", "sequence_classification"), "sequence_classification")
    table = tuned.get_input_embeddings().weight
    prompt = tuned.prompt_encoder["default"].embedding.weight
    assert all((table == row).all(dim=1).any() for row in prompt)


def test_prefix_tuning_says_where_it_cannot_go() -> None:
    method = methods.resolve({"name": "prefix-tuning"})
    with pytest.raises(UserError, match=re.escape("which a distilbert model does not take")):
        method.check_supports("sequence_classification", "distilbert")
