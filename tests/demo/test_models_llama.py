from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM, PreTrainedTokenizerBase

import rocoft_bench
from rocoft_bench.demo.choices import choice_rows
from rocoft_bench.demo.word_problems import word_problem_rows

FOLDER = Path(rocoft_bench.__file__).parent / "demo" / "models" / "llama"
LOG = FOLDER.parents[3] / "scripts" / "logs" / "pretrain_llama.jsonl"
PROMPT = f"Write a response.  \n\n{' ' * 16}### Response:\n{' ' * 16}"


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(FOLDER)


@pytest.fixture(scope="module")
def model() -> LlamaForCausalLM:
    return AutoModelForCausalLM.from_pretrained(FOLDER)


def test_the_folder_is_small_and_holds_weights_and_text_only() -> None:
    files = [file for file in FOLDER.rglob("*") if file.is_file()]
    assert {file.suffix for file in files} <= {".safetensors", ".json", ".txt"}
    assert sum(file.stat().st_size for file in files) <= 8_000_000


def test_it_is_a_llama_in_float32_with_tied_embeddings(model: LlamaForCausalLM) -> None:
    assert isinstance(model, LlamaForCausalLM)
    assert model.dtype == torch.float32
    assert model.lm_head.weight is model.model.embed_tokens.weight


def test_config_and_tokenizer_agree(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase) -> None:
    assert model.config.vocab_size == len(tokenizer)
    assert model.config.bos_token_id == tokenizer.bos_token_id
    assert model.config.eos_token_id == model.generation_config.eos_token_id == tokenizer.eos_token_id
    assert model.config.pad_token_id == tokenizer.pad_token_id
    assert len({tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.bos_token_id}) == 3
    assert tokenizer.model_max_length == model.config.max_position_embeddings


def test_a_text_starts_with_bos_and_comes_back_whole(tokenizer: PreTrainedTokenizerBase) -> None:
    text = f"{PROMPT}7 + 15 = 22. Größe, 漢字 and 🙂!"
    ids = tokenizer(text)["input_ids"]
    assert ids[0] == tokenizer.bos_token_id
    assert tokenizer.eos_token_id not in ids
    assert tokenizer.decode(ids, skip_special_tokens=True) == text


@pytest.mark.parametrize("response", ["7 + 15 = 22. The answer is 22.", "the correct answer is answer3"])
def test_a_prompt_has_the_tokens_that_it_has_before_a_response(
    tokenizer: PreTrainedTokenizerBase, response: str
) -> None:
    prompt = tokenizer(PROMPT)["input_ids"]
    assert tokenizer(PROMPT + response)["input_ids"][: len(prompt)] == prompt


def test_digits_are_single_tokens(tokenizer: PreTrainedTokenizerBase) -> None:
    assert tokenizer.tokenize("1207") == ["1", "2", "0", "7"]


def test_rows_of_the_embedded_sets_are_short(tokenizer: PreTrainedTokenizerBase) -> None:
    for row in word_problem_rows("test") + choice_rows("test"):
        assert len(tokenizer(row["instruction"] + row["output"])["input_ids"]) <= 80


def test_it_can_add(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase) -> None:
    right = 0
    for a, b in ((3, 4), (7, 5), (12, 6), (9, 8), (15, 3), (6, 11), (14, 9), (20, 5)):
        ids = tokenizer(f"8 - 3 = 5. {a} + {b} =", return_tensors="pt")["input_ids"]
        made = model.generate(ids, max_new_tokens=4, do_sample=False)[0, ids.shape[1] :]
        right += tokenizer.decode(made, skip_special_tokens=True).startswith(f" {a + b}.")
    assert right >= 7


def test_it_can_find_the_number_of_what_answers_a_question(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase
) -> None:
    text = "Which animal lives in the sea? Item1: a fox Item2: a camel Item3: a whale Item4: a cow\nIt is item"
    ids = tokenizer(text, return_tensors="pt")["input_ids"]
    assert tokenizer.decode(model(ids).logits[0, -1].argmax()) == "3"


def test_the_log_belongs_to_this_model(model: LlamaForCausalLM) -> None:
    lines = [json.loads(line) for line in LOG.read_text(encoding="utf-8").splitlines()]
    headers = [line for line in lines if "seed" in line]
    assert len(headers) == 3, "one for each phase"
    for header in headers:
        assert header["parameters"] == model.num_parameters()
        assert header["vocab_size"] == model.config.vocab_size
    steps = [line for line in lines if "loss" in line]
    assert steps[-1]["step"] == headers[-1]["steps"]
    assert steps[-1]["loss"] < steps[0]["loss"] / 3
