"""Prompts token by token, label words, and which rows are drawn."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
from datasets import Dataset

from rocoft_bench import tasks
from rocoft_bench.errors import UserError
from rocoft_bench.ntk.kernel_settings import of_paper
from rocoft_bench.tasks import LoadedSplit
from rocoft_bench.tasks.fewshot import FewShotTask
from rocoft_bench.tasks.task import Encoded
from tests.conftest import write_rows
from tests.ntk.models import VOCABULARY, word_tokenizer


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return word_tokenizer()


SINGLE, PAIR = ("A film.",), ("A film.", "Cat was small")
WAS = "A film . ĠIt Ġwas <mask> ."
EXPECTED = {
    **dict.fromkeys(("sst-2", "sst-5", "mr", "cr", "mpqa"), (SINGLE, WAS)),
    "subj": (SINGLE, "A film . ĠThis Ġis <mask> ."),
    "trec": (SINGLE, "<mask> : ĠA Ġfilm ."),
    **dict.fromkeys(("mnli", "snli", "qnli", "rte"), (PAIR, "A film ? <mask> , Ġcat Ġwas Ġsmall")),
    **dict.fromkeys(("mrpc", "qqp"), (PAIR, "A film . <mask> , Ġcat Ġwas Ġsmall")),
}
CLASSES = {"sst-5": 5, "trec": 6, "mnli": 3, "snli": 3}
PAPER = of_paper()


def task_of(name: str) -> FewShotTask:
    task = tasks.get("fewshot", name)
    assert isinstance(task, FewShotTask)
    return task


def settings_of(name: str, **chosen: Any) -> Any:
    task = task_of(name)
    return task.bound(task.Settings(family="fewshot", name=name, **chosen))[1]


def encoded(name: str, tokenizer: Any, *texts: tuple[str, ...], **chosen: Any) -> Encoded:
    task = task_of(name)
    columns = dict(zip(task.text_columns, map(list, zip(*texts, strict=True)), strict=True))
    rows = Dataset.from_dict({**columns, "label": [0] * len(texts)})
    return task.encode(rows, tokenizer, settings_of(name, **chosen), training=True)


def words_of(name: str, tokenizer: Any, **chosen: Any) -> list[int]:
    settings = settings_of(name, **chosen)
    task, bound = task_of(name).bound(settings)
    assert isinstance(task, FewShotTask)
    return task.word_ids(tokenizer, bound)


def for_training(name: str, shots: int, seed: int, data_dir: Path) -> LoadedSplit:
    settings = settings_of(name, shots=shots, data_dir=str(data_dir))
    return task_of(name).seeded(seed).load_training(settings)


def for_testing(name: str, data_dir: Path | None) -> LoadedSplit:
    return task_of(name).load("test", data_dir)


def tokens(text: str) -> tuple[int, ...]:
    return tuple(VOCABULARY[token] for token in text.replace("film", "Ġfilm").replace("ĠĠ", "Ġ").split())


@pytest.mark.parametrize("name", PAPER)
def test_the_prompt_of_each_task(tokenizer: Any, name: str) -> None:
    row, expected = EXPECTED[name]
    found = encoded(name, tokenizer, row)
    [ids], [position] = found.examples["input_ids"][:], found.examples["mask_position"][:]
    assert tuple(ids) == (0, *tokens(expected), 2)
    assert position == ids.index(VOCABULARY["<mask>"])
    assert found.notes == ()
    assert len(words_of(name, tokenizer)) == CLASSES.get(name, 2)


def test_the_table_is_the_paper_s() -> None:
    assert set(PAPER) == set(EXPECTED)
    for name in PAPER:
        task, settings = task_of(name), settings_of(name)
        assert settings.max_length == (256 if name in ("mnli", "snli", "rte") else 128)
        limit = 240 if name in ("mnli", "rte") else 110 if name in ("mr", "cr", "mpqa", "subj", "trec") else None
        assert settings.first_limit == limit
        assert task.metric_names == (("accuracy", "f1") if name in ("mrpc", "qqp") else ("accuracy",))


def test_label_words_in_order_of_the_classes(tokenizer: Any) -> None:
    expected = [VOCABULARY[f"Ġ{word}"] for word in ("terrible", "bad", "okay", "good", "great")]
    assert words_of("sst-5", tokenizer) == expected


def test_the_last_character_goes_whatever_it_is(tokenizer: Any) -> None:
    [ids] = encoded("rte", tokenizer, ("A film!", "A cat")).examples["input_ids"][:]
    assert ids[1:3] == [VOCABULARY["A"], VOCABULARY["Ġfilm"]]
    assert ids[5:8] == [VOCABULARY[","], VOCABULARY["Ġa"], VOCABULARY["Ġcat"]]


def test_cuts(tokenizer: Any) -> None:
    found = encoded("mr", tokenizer, SINGLE, first_limit=2)
    assert found.examples["input_ids"][:] == [[0, *tokens("A film ĠIt Ġwas <mask> ."), 2]]
    assert found.notes == ("the first sentence of 1 train prompts was cut at 2 tokens",)
    found = encoded("rte", tokenizer, PAIR, max_length=7)
    assert len(found.examples["input_ids"][0]) == 7
    assert found.notes == ("1 train prompts were cut at 7 tokens",)


def test_a_prompt_that_loses_its_mask_is_named(tokenizer: Any) -> None:
    with pytest.raises(UserError, match=r"mr, train row 2: the prompt has 8 tokens and loses its mask to the cut at 4"):
        encoded("mr", tokenizer, ("",), ("A film",), max_length=4)


def test_words_that_will_not_do(tokenizer: Any) -> None:
    for words, problem in (
        (("unheard", "great"), '" unheard" of mr is not one token'),
        (("small cat", "great"), r"not one token of this model \(Ġsmall Ġcat\)"),
        (("great", "great"), "two of great, great are the same token"),
        (("great",), "mr has 2 classes, not 1"),
    ):
        with pytest.raises(UserError, match=problem):
            words_of("mr", tokenizer, label_words=words)


def test_a_model_without_a_mask_token(tokenizer: Any) -> None:
    from transformers import PreTrainedTokenizerFast

    causal = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer.backend_tokenizer, pad_token="<pad>", name_or_path="gpt"
    )
    with pytest.raises(UserError, match="gpt: has no mask token"):
        words_of("mr", causal)


def rows(count: int, classes: int = 2) -> list[dict[str, object]]:
    return [{"text": f"text {index}", "label": index * index % 7 % classes} for index in range(count)]


def test_draws_by_the_rule(tmp_path: Path) -> None:
    """As LM-BFF writes it: shuffle the list in place, then take the first k of each class in order of appearance."""
    own = rows(60)
    write_rows(tmp_path / "fewshot/mr/train.jsonl", own)
    for seed in (13, 100):
        np.random.seed(seed)
        shuffled = list(own)
        np.random.shuffle(shuffled)
        by_class: dict[object, list[str]] = {}
        for row in shuffled:
            by_class.setdefault(row["label"], []).append(str(row["text"]))
        expected = [text for texts in by_class.values() for text in texts[:5]]
        draw = for_training("mr", 5, seed, tmp_path)
        assert draw.examples["text"][:] == expected
        assert "drawn by the rule of LM-BFF from 60 rows" in draw.notes[0]


def test_given_draws_are_taken_as_they_are(tmp_path: Path) -> None:
    write_rows(tmp_path / "fewshot/mr/2-13/train.jsonl", [{"text": t, "label": i // 2} for i, t in enumerate("dcba")])
    draw = for_training("mr", 2, 13, tmp_path)
    assert draw.examples["text"][:] == ["d", "c", "b", "a"]
    assert draw.examples["label"][:] == [0, 0, 1, 1]
    assert draw.notes == ()


def test_a_class_with_too_few_rows_is_named(tmp_path: Path) -> None:
    write_rows(tmp_path / "fewshot/mr/train.jsonl", rows(6))
    with pytest.raises(UserError, match=r"shots 9: .*train.jsonl has \d rows of class 0 \(terrible\) of mr"):
        for_training("mr", 9, 13, tmp_path)


@pytest.mark.parametrize("name", ["sst-2", "mr"])
def test_at_most_a_thousand_test_rows(tmp_path: Path, name: str) -> None:
    own = rows(1005)
    write_rows(tmp_path / f"fewshot/{name}/test.jsonl", own)
    draw = for_testing(name, tmp_path)
    if name == "mr":
        expected = pandas.DataFrame(own).sample(n=1000, random_state=42)["text"].tolist()
    else:
        np.random.seed(42)
        np.random.shuffle(own)
        expected = [row["text"] for row in own[:1000]]
    assert draw.examples["text"][:] == expected
    assert draw.notes == ("1,000 of 1,005 test rows are used",)
    assert (draw.origin["num_rows"], draw.origin["drawn_from"]) == (1000, 1005)


def test_wrong_rows_are_named(tmp_path: Path) -> None:
    write_rows(tmp_path / "fewshot/trec/test.jsonl", [{"text": "a", "label": 6}])
    with pytest.raises(UserError, match=r"line 1: label 6 is not one of 0 \(Description\)"):
        for_testing("trec", tmp_path)


def test_unknown_tasks() -> None:
    with pytest.raises(UserError, match='did you mean "sst-2"'):
        task_of("sst2")


def test_hub_columns_and_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub's names for columns and classes become ours; rows without a label are left out where that is known."""
    from rocoft_bench.tasks import task as contract
    from rocoft_bench.tasks.readers import RawRows

    def fake(hub: Any, split: str, wanted: list[str]) -> RawRows:
        columns = {name: [f"{name} {split} {row}" for row in range(3)] for name in wanted}
        labels = {"SetFit/subj": ["objective", "subjective", "objective"], "stanfordnlp/snli": [0, -1, 2]}[hub.id]
        origin = {"kind": "hub", "id": hub.id, "revision": "f" * 40}
        return RawRows(hub.id, "row", [1, 2, 3], {**columns, wanted[-1]: labels}, origin)

    monkeypatch.setattr(contract, "read_hub", fake)
    subj = for_testing("subj", None)
    assert subj.examples["label"][:] == [1, 0, 1]
    assert subj.notes == ("SetFit/subj is taken as it is on the day: commit ffffffffff",)
    snli = for_testing("snli", None)
    assert snli.examples["label"][:] == [0, 2]
    assert snli.examples[0] == {"text_a": "premise test 0", "text_b": "hypothesis test 0", "label": 0}
    json.dumps(snli.origin)
