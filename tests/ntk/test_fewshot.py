"""Prompts token by token, label words, and which rows are drawn."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest

from rocoft_bench.errors import UserError
from rocoft_bench.ntk.fewshot import tasks
from rocoft_bench.ntk.fewshot.draws import Draw, draw_for_testing, draw_for_training
from rocoft_bench.ntk.fewshot.prompts import Prompter
from rocoft_bench.ntk.kernel_settings import SET_NAMES
from rocoft_bench.ntk.kernels import SETS
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
PAPER = [name for name, task in tasks.TASKS.items() if not task.embedded]


def draw_of(*texts: tuple[str, ...]) -> Draw:
    return Draw(texts, (0,) * len(texts), {"split": "train"})


def tokens(text: str) -> tuple[int, ...]:
    return tuple(VOCABULARY[token] for token in text.replace("film", "Ġfilm").replace("ĠĠ", "Ġ").split())


@pytest.mark.parametrize("name", PAPER)
def test_the_prompt_of_each_task(tokenizer: Any, name: str) -> None:
    row, expected = EXPECTED[name]
    own = Prompter(tasks.get(name), tokenizer)
    own.check("m")
    [example], notes = own.prompts(draw_of(row))
    assert example.input_ids == (0, *tokens(expected), 2)
    assert example.position == example.input_ids.index(VOCABULARY["<mask>"])
    assert notes == []


def test_the_table_is_the_paper_s() -> None:
    assert set(PAPER) == set(EXPECTED)
    for name in PAPER:
        task = tasks.get(name)
        assert len(task.words) == CLASSES.get(name, 2)
        assert task.max_length == (256 if name in ("mnli", "snli", "rte") else 128)
        limit = 240 if name in ("mnli", "rte") else 110 if name in ("mr", "cr", "mpqa", "subj", "trec") else None
        assert task.first_limit == limit
        assert task.has_f1 == (name in ("mrpc", "qqp"))
    assert tuple(SETS) == SET_NAMES


def test_label_words_in_order_of_the_classes(tokenizer: Any) -> None:
    words = Prompter(tasks.get("sst-5"), tokenizer).word_ids()
    assert words == [VOCABULARY[f"Ġ{word}"] for word in ("terrible", "bad", "okay", "good", "great")]


def test_the_last_character_goes_whatever_it_is(tokenizer: Any) -> None:
    [example], _ = Prompter(tasks.get("rte"), tokenizer).prompts(draw_of(("A film!", "A cat")))
    assert example.input_ids[1:3] == (VOCABULARY["A"], VOCABULARY["Ġfilm"])
    assert example.input_ids[5:8] == (VOCABULARY[","], VOCABULARY["Ġa"], VOCABULARY["Ġcat"])


def test_cuts(tokenizer: Any) -> None:
    own = Prompter(tasks.get("mr").with_choices(first_limit=2), tokenizer)
    [example], notes = own.prompts(draw_of(SINGLE))
    assert example.input_ids == (0, *tokens("A film ĠIt Ġwas <mask> ."), 2)
    assert notes == ["the first sentence of 1 train prompts was cut at 2 tokens"]
    own = Prompter(tasks.get("rte").with_choices(max_length=7), tokenizer)
    [example], notes = own.prompts(draw_of(PAIR))
    assert len(example.input_ids) == 7
    assert notes == ["1 train prompts were cut at 7 tokens"]


def test_a_prompt_that_loses_its_mask_is_named(tokenizer: Any) -> None:
    own = Prompter(tasks.get("mr").with_choices(max_length=4), tokenizer)
    with pytest.raises(UserError, match=r"mr, train row 2: the prompt has 8 tokens and loses its mask to the cut at 4"):
        own.prompts(draw_of(("",), ("A film",)))


def test_words_that_will_not_do(tokenizer: Any) -> None:
    task = tasks.get("mr")
    for words, problem in (
        (("unheard", "great"), '" unheard" of mr is not one token'),
        (("small cat", "great"), r"not one token of this model \(Ġsmall Ġcat\)"),
        (("great", "great"), "two of great, great are the same token"),
        (("great",), "mr has 2 classes, not 1"),
    ):
        with pytest.raises(UserError, match=problem):
            Prompter(task.with_choices(words), tokenizer).check("m")


def test_a_model_without_a_mask_token(tokenizer: Any) -> None:
    from transformers import PreTrainedTokenizerFast

    causal = PreTrainedTokenizerFast(tokenizer_object=tokenizer.backend_tokenizer, pad_token="<pad>")
    with pytest.raises(UserError, match="--model gpt: has no mask token"):
        Prompter(tasks.get("mr"), causal).check("gpt")


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
        draw = draw_for_training(tasks.get("mr"), 5, seed, tmp_path)
        assert [text for (text,) in draw.texts] == expected
        assert "drawn by the rule of LM-BFF from 60 rows" in draw.notes[0]


def test_given_draws_are_taken_as_they_are(tmp_path: Path) -> None:
    write_rows(tmp_path / "fewshot/mr/2-13/train.jsonl", [{"text": t, "label": i // 2} for i, t in enumerate("dcba")])
    draw = draw_for_training(tasks.get("mr"), 2, 13, tmp_path)
    assert [text for (text,) in draw.texts] == ["d", "c", "b", "a"]
    assert draw.labels == (0, 0, 1, 1)
    assert draw.notes == ()


def test_a_class_with_too_few_rows_is_named(tmp_path: Path) -> None:
    write_rows(tmp_path / "fewshot/mr/train.jsonl", rows(6))
    with pytest.raises(UserError, match=r"--shots 9: .*train.jsonl has \d rows of class 0 \(terrible\) of mr"):
        draw_for_training(tasks.get("mr"), 9, 13, tmp_path)


@pytest.mark.parametrize("name", ["sst-2", "mr"])
def test_at_most_a_thousand_test_rows(tmp_path: Path, name: str) -> None:
    own = rows(1005)
    write_rows(tmp_path / f"fewshot/{name}/test.jsonl", own)
    draw = draw_for_testing(tasks.get(name), tmp_path)
    if name == "mr":
        expected = pandas.DataFrame(own).sample(n=1000, random_state=42)["text"].tolist()
    else:
        np.random.seed(42)
        np.random.shuffle(own)
        expected = [row["text"] for row in own[:1000]]
    assert [text for (text,) in draw.texts] == expected
    assert draw.notes == ("1,000 of 1,005 test rows are used",)
    assert draw_for_testing(tasks.get(name), tmp_path, 3).texts == draw.texts[:3]


def test_wrong_rows_are_named(tmp_path: Path) -> None:
    write_rows(tmp_path / "fewshot/trec/test.jsonl", [{"text": "a", "label": 6}])
    with pytest.raises(UserError, match=r"line 1: label 6 is not one of 0 \(Description\)"):
        draw_for_testing(tasks.get("trec"), tmp_path)


def test_unknown_tasks() -> None:
    with pytest.raises(UserError, match='did you mean "sst-2"'):
        tasks.get("sst2")


def test_hub_columns_and_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub's names for columns and classes become ours; rows without a label are left out where that is known."""
    from rocoft_bench.ntk.fewshot import draws
    from rocoft_bench.tasks.readers import RawRows

    def fake(hub: Any, split: str, wanted: list[str]) -> RawRows:
        columns = {name: [f"{name} {split} {row}" for row in range(3)] for name in wanted}
        labels = {"SetFit/subj": ["objective", "subjective", "objective"], "stanfordnlp/snli": [0, -1, 2]}[hub.id]
        return RawRows(hub.id, "row", [1, 2, 3], {**columns, wanted[-1]: labels}, {"kind": "hub", "id": hub.id})

    monkeypatch.setattr(draws, "read_hub", fake)
    assert draw_for_testing(tasks.get("subj"), None).labels == (1, 0, 1)
    snli = draw_for_testing(tasks.get("snli"), None)
    assert snli.labels == (0, 2)
    assert snli.texts[0] == ("premise test 0", "hypothesis test 0")
    json.dumps(snli.origin)
