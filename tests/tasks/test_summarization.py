"""Summarization: what a model sees, how it is asked, how its answers are read; on a tiny random BART."""

import dataclasses
import os
from pathlib import Path

import pytest
from datasets import Dataset

from rocoft_bench.errors import UserError
from rocoft_bench.tasks import get
from tests.conftest import write_rows

WORDS = (
    *("fog", "has", "stopped", "the", "a", "ferry", "to", "lumo", "did", "not", "leave", "on", "friday", "had"),
    *("closed", "harbour", ".", "ship", "sailed", "boat"),
)
ROWS = {
    "document": ["the ferry to lumo did not leave on friday . fog had closed the harbour .", "a ship sailed .", "  "],
    "summary": ["fog has stopped the ferry to lumo .", "a boat sailed .", "the harbour ."],
}


@pytest.fixture(scope="module")
def bart():
    """A 1-layer BART of width 16 whose checkpoint has generation settings of its own, and its word tokenizer."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BartConfig, BartForConditionalGeneration, PreTrainedTokenizerFast

    special = ["<s>", "<pad>", "</s>", "<unk>"]
    raw = Tokenizer(models.WordLevel({word: i for i, word in enumerate([*special, *WORDS])}, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    raw.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    names = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    inputs = ["input_ids", "attention_mask"]
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, model_input_names=inputs, **names)
    torch.manual_seed(0)
    sizes = {
        f"{side}_{name}": value
        for side in ("encoder", "decoder")
        for name, value in (("layers", 1), ("attention_heads", 2), ("ffn_dim", 32))
    }
    model = BartForConditionalGeneration(
        BartConfig(vocab_size=len(tokenizer), d_model=16, max_position_embeddings=64, init_std=0.5, **sizes)
    ).eval()
    leaking = {"num_beams": 3, "max_length": 5, "min_length": 4, "repetition_penalty": 9.0, "do_sample": True}
    model.generation_config.update(**leaking, suppress_tokens=[8], forced_bos_token_id=0)
    return model, tokenizer


def settings(**changes):
    task = get("summarization", "xsum")
    return task.Settings(family="summarization", name="xsum", **{"max_length": 64, **changes})


def generate(bart, rows, chosen, batch_size):
    """The predictions for evaluation examples, as a run makes them."""

    from accelerate import Accelerator

    from rocoft_bench.engine.interrupt import GracefulStop
    from rocoft_bench.engine.observer import Observer
    from rocoft_bench.engine.prediction import PREDICTORS, Evaluation, Evaluator

    model, tokenizer = bart
    task = get("summarization", "xsum")
    encoded = task.encode(rows, tokenizer, chosen, training=False).examples
    evaluator = Evaluator(
        examples=encoded,
        predictor=PREDICTORS[task.kind, task.output(chosen)](tokenizer, task.generation(chosen)),
        score=lambda outputs: Evaluation({}, task.read(outputs, encoded, rows, tokenizer, chosen)),
        batch_size=batch_size,
        accelerator=Accelerator(cpu=True),
        observer=Observer(),
    )
    with GracefulStop() as stop:
        return [row["prediction"] for row in evaluator.run(model, stop).predictions]


# What the model sees


def test_training_rows_have_the_summary_as_labels(bart) -> None:
    encoded = get("summarization", "xsum").encode(Dataset.from_dict(ROWS), bart[1], settings(), training=True)
    assert encoded.examples.column_names == ["input_ids", "attention_mask", "labels"]
    texts = [bart[1].decode(ids) for ids in encoded.examples["labels"][:]]
    assert texts == [f"<s> {text} </s>" for text in ROWS["summary"][:2]]
    assert bart[1].decode(encoded.examples["input_ids"][1]) == "<s> a ship sailed . </s>"
    assert encoded.notes == ("1 training examples without a document were dropped",)


def test_evaluation_rows_are_all_kept_and_show_no_summary(bart) -> None:
    encoded = get("summarization", "xsum").encode(Dataset.from_dict(ROWS), bart[1], settings(), training=False)
    assert encoded.examples.column_names == ["input_ids", "attention_mask"]
    assert encoded.examples["input_ids"][2] == [0, 2]
    assert encoded.notes == ("1 evaluation examples without a document",)


def test_what_is_too_long_is_cut_and_told(bart) -> None:
    short = settings(max_length=8, max_target_length=7)
    encoded = get("summarization", "xsum").encode(Dataset.from_dict(ROWS), bart[1], short, training=True)
    assert [len(ids) for ids in encoded.examples["input_ids"][:]] == [8, 6]
    assert [len(ids) for ids in encoded.examples["labels"][:]] == [7, 6]
    assert encoded.examples["input_ids"][0][-1] == encoded.examples["labels"][0][-1] == 2
    assert encoded.notes[1:] == (
        "1 training examples have documents that fill max_length 8 and may have been cut",
        "1 training examples have summaries that fill max_target_length 7 and may have been cut",
    )


def test_rows_of_which_none_is_usable_leave_none(bart) -> None:
    rows = Dataset.from_dict({"document": [" "], "summary": ["a boat ."]})
    encoded = get("summarization", "xsum").encode(rows, bart[1], settings(), training=True)
    assert len(encoded.examples) == 0


def test_summaries_in_other_scripts_are_told(bart) -> None:
    rows = Dataset.from_dict({"document": ["a boat ."] * 3, "summary": ["a boat .", "паром стоит", "船停了"]})
    task = get("summarization", "xsum")
    assert task.encode(rows, bart[1], settings(), training=True).notes == ()
    assert task.encode(rows, bart[1], settings(), training=False).notes == (
        "2 evaluation examples have summaries in another script than the Latin one, and are scored by ROUGE over "
        "Unicode words without stemming",
    )


# How it is asked


def test_the_search_is_barts() -> None:
    def of(name: str) -> dict[str, object]:
        task = get("summarization", name)
        return task.generation(task.Settings(family="summarization", name=name))

    names = (
        "num_beams",
        "length_penalty",
        "min_length",
        "max_length",
        "no_repeat_ngram_size",
        "early_stopping",
    )
    assert [of("xsum")[name] for name in names] == [6, 1.0, 11, 62, 3, True]
    assert [of("cnn_dailymail")[name] for name in names] == [4, 2.0, 56, 142, 3, True]


def test_protocols_tell_what_differs() -> None:
    task = get("summarization", "xsum")
    assert task.protocol(settings()) == (
        "beam 6, length penalty 1, early stopping, 10 to 61 tokens, no 3 tokens in a row twice, "
        "ROUGE F-measure with stemming"
    )
    greedy = settings(num_beams=1, no_repeat_ngram_size=0)
    assert task.protocol(greedy) == "greedy, 10 to 61 tokens, ROUGE F-measure with stemming"


def test_lengths_must_be_in_order() -> None:
    with pytest.raises(ValueError, match="min_new_tokens 70 is more than max_new_tokens 61"):
        settings(min_new_tokens=70)


def test_settings_reach_the_search_and_the_checkpoints_do_not(bart, caplog) -> None:
    import transformers

    model, tokenizer = bart
    rows = Dataset.from_dict(ROWS)
    chosen = settings(num_beams=2, length_penalty=1.5, min_new_tokens=6, max_new_tokens=9, no_repeat_ngram_size=2)
    got = generate(bart, rows, chosen, batch_size=1)
    encoded = get("summarization", "xsum").encode(rows, tokenizer, chosen, training=False).examples
    own = transformers.GenerationConfig(
        num_beams=2,
        length_penalty=1.5,
        min_new_tokens=6,
        max_new_tokens=9,
        no_repeat_ngram_size=2,
        early_stopping=True,
        forced_bos_token_id=0,
        decoder_start_token_id=2,
        eos_token_id=2,
        pad_token_id=1,
    )
    before, model.generation_config = model.generation_config, transformers.GenerationConfig()
    try:
        wanted = [model.generate(**tokenizer.pad([row], return_tensors="pt"), generation_config=own) for row in encoded]
    finally:
        model.generation_config = before
    assert got == [tokenizer.decode(ids[0], skip_special_tokens=True) for ids in wanted]
    assert all(4 <= len(text.split()) <= 9 for text in got)
    assert not caplog.records


@pytest.mark.parametrize("beams", [1, 4])
def test_answers_do_not_depend_on_the_batch(bart, beams: int) -> None:
    texts = [" ".join(WORDS[(i * 7 + j) % len(WORDS)] for j in range(1 + 5 * i % 17)) for i in range(12)]
    rows = Dataset.from_dict({"document": texts, "summary": ["a boat ."] * len(texts)})
    chosen = settings(num_beams=beams, min_new_tokens=2, max_new_tokens=12)
    alone = generate(bart, rows, chosen, batch_size=1)
    assert generate(bart, rows, chosen, batch_size=8) == alone
    assert len(set(alone)) > 3


# How answers are read and scored


def test_answers_are_text_without_special_tokens(bart) -> None:
    import numpy as np

    ids = np.array(bart[1]("fog has stopped the ferry .")["input_ids"] + [1])
    task = get("summarization", "xsum")
    (prediction,) = task.read([ids], Dataset.from_dict({}), Dataset.from_dict(ROWS), bart[1], settings())
    assert prediction == {"prediction": "fog has stopped the ferry ."}
    assert task.in_words(prediction) == "fog has stopped the ferry ."
    assert task.question("a ship sailed .") == {"document": "a ship sailed .", "summary": ""}


def test_scores_are_fractions_the_main_one_first() -> None:
    task = get("summarization", "xsum")
    scores = task.score(["Fog has stopped a ferry."], ["Fog has stopped the ferry to Lumo."])
    assert list(scores) == [*task.metric_names, "rougeLsum"]
    assert scores["rouge1"] == pytest.approx(2 / 3)


# Rows


def test_rows_of_a_folder_and_rows_of_its_own(tmp_path: Path) -> None:
    rows = [{"article": "A b.", "highlights": "A .\nB .", "id": "1"}, {"article": "", "highlights": "C .", "id": "2"}]
    write_rows(tmp_path / "summarization" / "cnn_dailymail" / "train.jsonl", rows)
    task = get("summarization", "cnn_dailymail")
    loaded = task.load("train", tmp_path)
    assert loaded.examples.to_list() == [{key: row[key] for key in ("article", "highlights")} for row in rows]
    assert task.references(loaded.examples) == ["A .\nB .", "C ."]

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Embedded(type(task)):
        def _read(self, split, data_dir):
            raw = super()._read(split, tmp_path)
            return dataclasses.replace(raw, origin={"kind": "embedded", "id": "made"})

    own = Embedded(**{field.name: getattr(task, field.name) for field in dataclasses.fields(task)})
    assert own.load("train").origin["kind"] == "embedded"


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"document": "A b.", "summary": " "}, 'line 2: "summary" is empty'),
        ({"document": "A b.", "summary": None}, 'line 2: "summary" is None, not a string'),
        ({"document": ["A b."], "summary": "A"}, "line 2: \"document\" is ['A b.'], not a string"),
        ({"text": "A b.", "summary": "A"}, 'line 2: no column "document"; columns found: text, summary'),
    ],
)
def test_wrong_rows_are_named(tmp_path: Path, row, problem: str) -> None:
    rows = [{"document": "A b.", "summary": "A."}, row]
    write_rows(tmp_path / "summarization" / "xsum" / "test.jsonl", rows)
    with pytest.raises(UserError) as caught:
        get("summarization", "xsum").load("test", tmp_path)
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)


# The real rows, where they are at hand

DATA_DIR = Path(os.environ.get("ROCOFT_DATA_DIR") or Path(__file__).parents[3] / "shared" / "data")
SIZES = {"xsum": (160, 300, 300), "cnn_dailymail": (100, 200, 200)}


@pytest.mark.skipif(
    not (DATA_DIR / "summarization").is_dir(),
    reason=f"no summarization rows in {DATA_DIR}; set ROCOFT_DATA_DIR to the folder above summarization/",
)
@pytest.mark.parametrize("name", SIZES)
def test_real_rows(bart, name: str) -> None:
    task = get("summarization", name)
    chosen = task.Settings(family="summarization", name=name)
    for split, count in zip(("train", "validation", "test"), SIZES[name], strict=True):
        rows = task.load(split, DATA_DIR).examples
        assert len(rows) == len(task.encode(rows, bart[1], chosen, training=split == "train").examples) == count
    gold = task.references(rows)
    assert task.score(gold, gold) == dict.fromkeys([*task.metric_names, "rougeLsum"], 1.0)
    assert max(task.score(gold, [*gold[1:], gold[0]]).values()) < 0.3
