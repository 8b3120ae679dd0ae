from __future__ import annotations

import json
from pathlib import Path

import pytest
from transformers import AutoModelForMaskedLM, AutoModelForSeq2SeqLM, AutoTokenizer

import rocoft_bench
from rocoft_bench.demo.questions import question_rows
from rocoft_bench.demo.summaries import summary_rows

MODELS = Path(rocoft_bench.__file__).parent / "demo" / "models"
LOGS = Path(rocoft_bench.__file__).parents[1] / "scripts" / "logs"
CLASSES = {"roberta": AutoModelForMaskedLM, "bart": AutoModelForSeq2SeqLM}


@pytest.mark.parametrize("name", CLASSES)
def test_the_folder_holds_nothing_but_a_small_model_and_its_tokenizer(name: str) -> None:
    files = list((MODELS / name).iterdir())
    assert {file.suffix for file in files} <= {".safetensors", ".json", ".txt"}
    assert (MODELS / name / "model.safetensors").stat().st_size <= 8_000_000
    assert sum(file.stat().st_size for file in files) <= 9_000_000


@pytest.mark.parametrize("name", CLASSES)
def test_model_and_tokenizer_agree(name: str) -> None:
    model, tokenizer = CLASSES[name].from_pretrained(MODELS / name), AutoTokenizer.from_pretrained(MODELS / name)
    config = model.config
    assert config.model_type == name
    assert config.vocab_size == len(tokenizer) == model.get_input_embeddings().num_embeddings
    special = (tokenizer.bos_token_id, tokenizer.pad_token_id, tokenizer.eos_token_id)
    assert (config.bos_token_id, config.pad_token_id, config.eos_token_id) == special
    assert tokenizer.is_fast
    assert tokenizer.model_max_length <= config.max_position_embeddings
    assert tokenizer("a", "b")["input_ids"].count(tokenizer.sep_token_id) == {"roberta": 3, "bart": 3}[name]


@pytest.mark.parametrize("name", CLASSES)
def test_the_log_is_that_of_the_model(name: str) -> None:
    lines = [json.loads(line) for line in (LOGS / f"pretrain_{name}.jsonl").read_text(encoding="utf-8").splitlines()]
    model = CLASSES[name].from_pretrained(MODELS / name)
    assert (lines[0]["model"], lines[0]["parameters"]) == (name, model.num_parameters())
    assert lines[-1]["step"] == lines[0]["steps"]
    assert lines[-1]["loss"] < lines[1]["loss"] / 2


@pytest.mark.parametrize("name", CLASSES)
def test_every_row_fits_and_answers_can_be_found_by_offsets(name: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(MODELS / name)
    for row in question_rows("test"):
        encoded = tokenizer(row["question"], row["context"], return_offsets_mapping=True)
        (text,), (start,) = row["answers"]["text"], row["answers"]["answer_start"]
        first = encoded.char_to_token(0, start, sequence_index=1)
        last = encoded.char_to_token(0, start + len(text) - 1, sequence_index=1)
        offsets = encoded["offset_mapping"]
        assert (offsets[first][0], offsets[last][1]) == (start, start + len(text))
        assert len(encoded["input_ids"]) <= tokenizer.model_max_length
    longest = max(len(ids) for ids in tokenizer([row["document"] for row in summary_rows("test")])["input_ids"])
    assert longest <= 128
