"""The registry and what a task does with rows, tokens and logits."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset

from rocoft_bench.errors import UserError
from rocoft_bench.tasks import Task, all_tasks, get, of_family

PAIR = {"sentence1": ["a b c d e f", "a"], "sentence2": ["b c", "b"], "label": [0, 1]}


@pytest.fixture(scope="module")
def tokenizers():
    """One that gives token_type_ids, as BERT's does, and one that does not, as RoBERTa's. One word is one token."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = ["<pad>", "<s>", "</s>", "<unk>"]
    words = {word: code for code, word in enumerate([*special, *"abcdefgh"])}
    raw = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    raw.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> $B:1 </s>:1", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    inputs = ["input_ids", "attention_mask"]
    return {
        "bert": PreTrainedTokenizerFast(
            tokenizer_object=raw, pad_token="<pad>", model_input_names=[*inputs, "token_type_ids"]
        ),
        "roberta": PreTrainedTokenizerFast(tokenizer_object=raw, pad_token="<pad>", model_input_names=inputs),
    }


def test_families_and_their_tasks() -> None:
    families: dict[str, list[str]] = {}
    for task in all_tasks():
        families.setdefault(task.family, []).append(task.name)
    assert families == {
        "glue": ["cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "qnli", "rte"],
        "squad": ["v1.1", "v2.0"],
        "summarization": ["xsum", "cnn_dailymail"],
        "commonsense": ["boolq", "piqa", "siqa", "hellaswag", "winogrande", "arc_easy", "arc_challenge", "obqa"],
        "math": ["gsm8k", "multiarith", "addsub", "singleeq", "svamp"],
        "fewshot": [
            *("sst-2", "sst-5", "mr", "cr", "mpqa", "subj", "trec", "mnli", "snli", "qnli", "rte", "mrpc", "qqp"),
            "demo",
        ],
        "demo": ["entailment", "questions", "summaries", "choices", "word_problems"],
    }
    assert {family: list(of_family(family)) for family in families} == families
    assert get("glue", "stsb").name == "stsb"


def test_unknown_names_get_the_nearest() -> None:
    with pytest.raises(UserError, match='unknown task family "gleu": did you mean "glue"'):
        get("gleu", "rte")
    with pytest.raises(UserError, match='unknown glue task "sst-2": did you mean "sst2"'):
        get("glue", "sst-2")


def test_the_registry_stays_light() -> None:
    heavy = {"torch", "datasets", "numpy", "evaluate", "transformers", "pyarrow", "huggingface_hub"}
    code = f"import sys, rocoft_bench.tasks as t; t.get('glue', 'rte'); print({heavy} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


@pytest.mark.parametrize("task", all_tasks(), ids=lambda task: f"{task.family}-{task.name}")
def test_every_task_is_complete(task: Task) -> None:
    assert task.version >= 1
    assert {*task.text_columns, *task.target_columns} <= set(task.columns)
    assert task.protocol(task.Settings(family=task.family, name=task.name))
    assert len(set(task.metric_names)) == len(task.metric_names) > 0
    assert 0 <= task.random_baseline < 1
    assert task.hub is None or not task.hub.is_pinned or re.fullmatch("[0-9a-f]{40}", task.hub.revision)


def test_glue_as_the_benchmark_defines_it() -> None:
    facts = {
        task.name: (task.model_options["num_labels"], task.text_columns, task.metric_names, task.random_baseline)
        for task in all_tasks()
        if task.family == "glue"
    }
    pair = ("sentence1", "sentence2")
    assert facts == {
        "cola": (2, ("sentence",), ("matthews_correlation",), 0.0),
        "sst2": (2, ("sentence",), ("accuracy",), 0.5),
        "mrpc": (2, pair, ("accuracy", "f1"), 0.5),
        "stsb": (1, pair, ("pearson", "spearman"), 0.0),
        "qqp": (2, ("question1", "question2"), ("accuracy", "f1"), 0.5),
        "mnli": (3, ("premise", "hypothesis"), ("accuracy",), pytest.approx(1 / 3)),
        "qnli": (2, ("question", "sentence"), ("accuracy",), 0.5),
        "rte": (2, pair, ("accuracy",), 0.5),
    }
    assert {task.eval_split for task in all_tasks() if task.family == "glue" and task.name != "mnli"} == {"validation"}
    assert get("glue", "mnli").eval_split == "validation_matched"


# Encoding


def encode(task: Task, rows: Dataset, tokenizer, max_length: int) -> Dataset:
    settings = task.Settings(family=task.family, name=task.name, max_length=max_length)
    return task.encode(rows, tokenizer, settings, training=True).examples


def test_encode_keeps_the_pair_apart_and_pads_nothing(tokenizers) -> None:
    rows = encode(get("glue", "rte"), Dataset.from_dict(PAIR), tokenizers["bert"], 64)
    assert rows.column_names == ["input_ids", "token_type_ids", "attention_mask", "labels"]
    assert rows["input_ids"][:] == [[1, 4, 5, 6, 7, 8, 9, 2, 5, 6, 2], [1, 4, 2, 5, 2]]
    assert rows["token_type_ids"][:] == [[0] * 8 + [1] * 3, [0] * 3 + [1] * 2]
    assert rows["attention_mask"][:] == [[1] * 11, [1] * 5]
    assert rows["labels"][:] == [0, 1]


def test_encode_without_token_types(tokenizers) -> None:
    rows = encode(get("glue", "rte"), Dataset.from_dict(PAIR), tokenizers["roberta"], 64)
    assert rows.column_names == ["input_ids", "attention_mask", "labels"]


def test_encode_cuts_the_longer_text_of_a_pair(tokenizers) -> None:
    rows = encode(get("glue", "rte"), Dataset.from_dict(PAIR), tokenizers["bert"], 7)
    assert rows["input_ids"][:] == [[1, 4, 5, 2, 5, 6, 2], [1, 4, 2, 5, 2]]


def test_encode_one_sentence_and_a_score(tokenizers) -> None:
    sentence = Dataset.from_dict({"sentence": ["a b"], "label": [1]})
    assert encode(get("glue", "cola"), sentence, tokenizers["bert"], 8)["input_ids"][:] == [[1, 4, 5, 2]]
    scored = encode(get("glue", "stsb"), Dataset.from_dict({**PAIR, "label": [2.5, 5.0]}), tokenizers["bert"], 8)
    assert scored["labels"][:] == [2.5, 5.0]


def test_encode_many_rows_is_encode_of_each_and_shows_nothing(tokenizers, capfd) -> None:
    count = 2_500
    texts = [" ".join("abcdefgh"[: 1 + row % 8]) for row in range(count)]
    rows = Dataset.from_dict({"sentence": texts, "label": [row % 2 for row in range(count)]})
    task = get("glue", "sst2")
    encoded = encode(task, rows, tokenizers["bert"], 8)
    assert len(encoded) == count
    for row in (0, 999, 1000, 1001, 2499):
        assert encoded[row] == encode(task, rows.select([row]), tokenizers["bert"], 8)[0]
    assert encoded.cache_files == []
    assert capfd.readouterr() == ("", "")


# Predicting and scoring


def test_rows_that_fill_the_length_are_counted(tokenizers) -> None:
    task = get("glue", "rte")
    settings = task.Settings(family="glue", name="rte", max_length=7)
    notes = task.encode(Dataset.from_dict(PAIR), tokenizers["bert"], settings, training=False).notes
    assert notes == ("1 evaluation examples fill max_length 7 and may have been cut",)


def read(task: Task, logits: list[list[float]]) -> list[dict]:
    rows = Dataset.from_dict({"label": [0] * len(logits)})
    return task.read(np.array(logits, dtype=np.float32), rows, rows, None, None)


def test_classes_are_predicted_by_the_highest_logit() -> None:
    predictions = read(get("glue", "mnli"), [[0.1, 2.0, 1.0], [3.0, 0.0, 1.0], [0.0, 0.0, 0.5]])
    assert [row["prediction"] for row in predictions] == [1, 0, 2]
    assert all(type(row["prediction"]) is int for row in predictions)
    assert predictions[1]["scores"] == [3.0, 0.0, 1.0]
    assert get("glue", "mnli").in_words(predictions[1]) == "entailment  (probability 0.8438)"


def test_a_score_is_predicted_as_it_is() -> None:
    predictions = read(get("glue", "stsb"), [[2.5], [-0.25], [6.0]])
    assert [row["prediction"] for row in predictions] == [2.5, -0.25, 6.0]
    assert get("glue", "stsb").in_words(predictions[0]) == "2.5000"


def test_tasks_score_with_their_own_metrics() -> None:
    assert get("glue", "mrpc").score([1, 1, 0, 0], [1, 0, 0, 0]) == {"accuracy": 0.75, "f1": pytest.approx(2 / 3)}
    assert get("glue", "stsb").score([1.0, 2.0, 3.0], [0.0, 1.0, 5.0])["spearman"] == pytest.approx(1.0)
    assert get("glue", "cola").score([1, 1, 1], [1, 0, 1]) == {"matthews_correlation": 0.0}


def test_the_worked_example_of_the_docstring() -> None:
    task = get("glue", "rte")
    assert read(task, [[2.1, -0.3]])[0]["prediction"] == 0
    assert task.score([0, 1, 0, 1], [0, 1, 1, 1]) == {"accuracy": 0.75}


# The demo task


@pytest.mark.parametrize(("split", "label_count"), [("train", 2), ("test", 2)])
def test_demo_rows_are_embedded_and_balanced(split: str, label_count: int) -> None:
    loaded = get("demo", "entailment").load(split)
    assert loaded.examples.column_names == ["sentence1", "sentence2", "label"]
    labels = loaded.examples["label"][:]
    assert [labels.count(label) for label in range(label_count)] == [len(labels) // 2] * 2
    assert loaded.origin["kind"] == "embedded"
    assert (loaded.origin["id"], loaded.origin["split"]) == ("demo/entailment", split)
    assert loaded.origin["sha256"] == get("demo", "entailment").load(split).origin["sha256"]


def test_demo_rows_cannot_be_replaced(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has its own examples: leave out --data-dir"):
        get("demo", "entailment").load("train", tmp_path)


def test_demo_has_no_other_split() -> None:
    with pytest.raises(UserError, match="did you mean"):
        get("demo", "entailment").load("tests")
