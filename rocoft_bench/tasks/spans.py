"""Tasks whose answer is a span of a text: extractive question answering, with or without unanswerable questions.

A context that is too long for the model becomes several overlapping windows, and the best span over all windows is the
answer. Windows, targets and the search for the best span are those of BERT's run_squad.py (Devlin et al. 2019,
https://aclanthology.org/N19-1423), in the form that transformers' run_qa.py gave them; the differences are said where
they are made.
"""

from __future__ import annotations

import json
import math
import reprlib
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import model_validator

from rocoft_bench.config import Count, CountFromZero, TaskConfig
from rocoft_bench.errors import UserError, shortened
from rocoft_bench.tasks.data import check_texts
from rocoft_bench.tasks.task import ENCODE_EXAMPLES, Encoded, Output, Outputs, Prediction, Task

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset
    from tokenizers import Encoding
    from transformers import PreTrainedTokenizerBase

    from rocoft_bench.tasks.readers import RawRows

_NULL = 0
"""The token that stands for "no answer": the first one, [CLS] or <s>."""
_OUTSIDE = -1
"""In place of the characters of a token that is not of the context."""


class SpanConfig(TaskConfig):
    """What extractive question answering can be told."""

    max_length: Count = 384
    """Longest input in tokens; a longer context becomes several windows of this length."""
    doc_stride: CountFromZero = 128
    """Tokens that two neighbouring windows of a context have in common."""
    n_best: Count = 20
    """Best start and best end tokens of a window that are combined to spans."""
    max_answer_length: Count = 30
    """Longest answer in tokens."""
    null_threshold: float = 0.0
    """Answer nothing where that scores more than this above the best span; where every question has an answer, unused.
    """

    @model_validator(mode="after")
    def _windows_advance(self) -> SpanConfig:
        """The default overlap is made to fit a short window, with a note."""
        if self.doc_stride >= self.max_length and self.doc_stride != type(self).model_fields["doc_stride"].default:
            raise ValueError(f"doc_stride = {self.doc_stride}: must be below max_length = {self.max_length}")
        return self


@dataclass(frozen=True, kw_only=True)
class SpanExtraction(Task):
    """The span of "context" that answers "question"; scored as SQuAD v1.1 or, with unanswerable questions, v2.0.

    has_unanswerable: examples may have no answer, and predictions may be empty.
    """

    kind: ClassVar[str] = "question_answering"
    Settings: ClassVar[type[TaskConfig]] = SpanConfig
    text_columns: tuple[str, ...] = ("question", "context")
    target_columns: tuple[str, ...] = ("answers",)
    metric_names: tuple[str, ...] = ("exact_match", "f1")
    has_unanswerable: bool = False

    def output(self, settings: Any) -> Output:
        return "spans"

    def protocol(self, settings: Any) -> str:
        null = f", or none above a margin of {settings.null_threshold:g}" if self.has_unanswerable else ""
        best = f"the best of {settings.n_best} start and {settings.n_best} end tokens of each window"
        return f"{best}, up to {settings.max_answer_length} tokens long{null}"

    def encode(self, examples: Dataset, tokenizer: PreTrainedTokenizerBase, settings: Any, training: bool) -> Encoded:
        """See `Task.encode`. One encoded row for each window.

        Training windows have start_positions and end_positions: the first and the last token that the row's first
        answer touches, or twice `_NULL` where the window does not hold all of them. Evaluation windows have "row", the
        number of their row, and for each token "starts" and "ends": where what it stands for begins and ends in the
        context, in characters and without blanks around it, or -1 for a token that is not of the context.

        Raises: UserError for a tokenizer that cannot tell the characters of its tokens, or a hopeless max_length.
        """
        from datasets import Dataset, concatenate_datasets

        cutter = _WindowCutter(tokenizer, settings)
        parts: list[Dataset] = []
        for batch in examples.iter(ENCODE_EXAMPLES):
            rows: list[dict[str, Any]] = []
            cuts = zip(batch["context"], batch["answers"], cutter.cut(batch), strict=True)
            for number, (context, answers, cut) in enumerate(cuts, len(parts) * ENCODE_EXAMPLES):
                more = _targets(cut, context, answers) if training else _bookkeeping(cut, context, number)
                rows += [{**cutter.inputs(window), **extra} for window, extra in zip(cut.windows, more, strict=True)]
            parts.append(Dataset.from_list(rows))
        return Encoded(concatenate_datasets(parts), cutter.notes("training" if training else "evaluation"))

    def read(self, outputs: Outputs, encoded: Dataset, raw: Dataset, tokenizer: Any, settings: Any) -> list[Prediction]:
        """The best span over all windows of a row as it stands in the context, and its score, start plus end logit.

        With unanswerable questions also the lowest score of `_NULL` over the windows and by how much that is above the
        best span's. The prediction is empty where that is more than `null_threshold`, or where there is no span at all.
        """
        best: list[_Span | None] = [None] * len(raw)
        null = [math.inf] * len(raw)
        windows = encoded.select_columns(["row", "starts", "ends"]).with_format("numpy")
        for logits, window in zip(outputs, windows, strict=True):
            row = int(window["row"])
            null[row] = min(null[row], float(logits[:, _NULL].sum()))
            span = _best_span(logits, window["starts"], window["ends"], settings)
            known = best[row]
            if span and (known is None or span.score > known.score):
                best[row] = span
        answers = zip(raw["context"], best, null, strict=True)
        return [self._prediction(*answer, settings.null_threshold) for answer in answers]

    def _prediction(self, context: str, span: _Span | None, null: float, threshold: float) -> Prediction:
        text = context[span.start : span.end] if span else ""
        score = span.score if span else None
        if not self.has_unanswerable:
            return {"prediction": text, "score": score}
        odds = null - span.score if span else None
        text = "" if odds is None or odds > threshold else text
        return {"prediction": text, "score": score, "null_score": null, "null_odds": odds}

    @property
    def scored_by(self) -> str:
        return "squad_v2" if self.has_unanswerable else "squad"

    def in_words(self, prediction: Prediction) -> str:
        return prediction["prediction"] or "(no answer)"

    def references(self, examples: Dataset) -> list[Any]:
        return [answers["text"] for answers in examples["answers"]]

    def _no_target(self) -> dict[str, Any]:
        return {"answers": {"text": [], "answer_start": []}}

    def _checked(self, raw: RawRows) -> dict[str, list[Any]]:
        check_texts(raw, self.text_columns)
        for row, context in enumerate(raw.columns["context"]):
            if not context.strip():
                raise raw.error(row, '"context" is empty')
        answers = [_checked_answers(raw, row, self.has_unanswerable) for row in range(len(raw.places))]
        return {**raw.columns, "answers": answers}


@dataclass(frozen=True)
class _Span:
    """A span of the context from character `start` up to `end`; score: start logit plus end logit."""

    score: float
    start: int
    end: int


def _best_span(logits: np.ndarray, starts: np.ndarray, ends: np.ndarray, settings: SpanConfig) -> _Span | None:
    """The best span of one window that is allowed, of those that join one of the best starts and one of the best ends.

    logits: (2, tokens). starts, ends: (tokens,). Of equal scores the one with the better, then the earlier start wins.
    As in run_qa.py, the best tokens are looked for among all of the window, the question too; unlike there, a span
    without characters is not a candidate.
    """
    import numpy as np

    order = np.argsort(-logits, axis=1, kind="stable")[:, : settings.n_best]
    first, last = order[0][:, None], order[1][None, :]
    in_context = (starts[first] > _OUTSIDE) & (ends[last] > starts[first])
    allowed = in_context & (last >= first) & (last - first < settings.max_answer_length)
    if not allowed.any():
        return None
    scores = np.where(allowed, logits[0][first] + logits[1][last], -np.inf)
    start, end = np.unravel_index(scores.argmax(), scores.shape)
    return _Span(float(scores[start, end]), int(starts[order[0][start]]), int(ends[order[1][end]]))


@dataclass(frozen=True)
class _Cut:
    """A row as windows. Window i begins with token i * step of the context.

    characters: for each token of the whole context, where what it stands for begins and ends.
    """

    windows: list[Encoding]
    step: int
    characters: list[tuple[int, int]]

    def context_tokens(self) -> Iterator[tuple[int, list[int]]]:
        """For each window the number of its first token of the context, and the places of these tokens in it."""
        for index, window in enumerate(self.windows):
            yield index * self.step, [place for place, part in enumerate(window.sequence_ids) if part == 1]


class _WindowCutter:
    """Makes windows of questions and contexts, and counts what had to be done for them to fit.

    A question may take half of a window and is cut at its end where it is longer. Windows overlap by `doc_stride`
    tokens, or less where each would not go a quarter further than the one before.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, settings: SpanConfig) -> None:
        if not tokenizer.is_fast:
            raise UserError(
                f"{type(tokenizer).__name__} cannot tell which characters a token stands for; "
                "finding answers in a text needs a fast tokenizer (one with a tokenizer.json)"
            )
        self.tokenizer: Any = tokenizer
        self.settings = settings
        self.tokens = settings.max_length - tokenizer.num_special_tokens_to_add(pair=True)
        if self.tokens < 2:
            raise UserError(f"max_length {settings.max_length} has no room for a question and a context")
        self.counts: Counter[str] = Counter()

    def cut(self, batch: dict[str, list[Any]]) -> Iterator[_Cut]:
        """Each row of a batch as windows."""
        questions = self._encodings([question.lstrip() for question in batch["question"]])
        for question, context in zip(questions, self._encodings(batch["context"]), strict=True):
            yield self._cut(question, context)

    def inputs(self, window: Encoding) -> dict[str, list[int]]:
        """What the model is given of a window."""
        columns = {
            "input_ids": window.ids,
            "attention_mask": window.attention_mask,
            "token_type_ids": window.type_ids,
        }
        return {name: value for name, value in columns.items() if name in self.tokenizer.model_input_names}

    def notes(self, kind: str) -> tuple[str, ...]:
        """What happened to examples of a kind ("training"), one line each."""
        lines = {
            "cut": f"{kind} questions are longer than half of max_length {self.settings.max_length} and were cut",
            "narrowed": f"{kind} examples have windows that overlap by less than doc_stride "
            f"{self.settings.doc_stride}, which is too much for max_length {self.settings.max_length}",
        }
        return tuple(f"{self.counts[what]} {line}" for what, line in lines.items() if self.counts[what])

    def _encodings(self, texts: list[str]) -> list[Encoding]:
        return self.tokenizer(texts, add_special_tokens=False, truncation=False, padding=False, verbose=False).encodings

    def _cut(self, question: Encoding, context: Encoding) -> _Cut:
        self.counts["cut"] += len(question.ids) > self.tokens // 2
        question.truncate(self.tokens // 2)
        room = self.tokens - len(question.ids)
        overlap = min(self.settings.doc_stride, room - max(1, room // 4))
        self.counts["narrowed"] += len(context.ids) > room and overlap < self.settings.doc_stride
        characters = context.offsets
        context.truncate(room, stride=overlap)
        join = self.tokenizer.backend_tokenizer.post_process
        windows = [join(question, piece) for piece in (context, *context.overflowing)]
        return _Cut(windows, room - overlap, characters)


def _targets(cut: _Cut, context: str, answers: dict[str, list[Any]]) -> Iterator[dict[str, int]]:
    """Where the first answer starts and ends in each window."""
    touched = _touched(cut.characters, context, answers)
    for skipped, places in cut.context_tokens():
        first, last = (token - skipped for token in touched)
        held = 0 <= first <= last < len(places)
        start, end = (places[first], places[last]) if held else (_NULL, _NULL)
        yield {"start_positions": start, "end_positions": end}


def _touched(characters: list[tuple[int, int]], context: str, answers: dict[str, list[Any]]) -> tuple[int, int]:
    """The first and the last token of the whole context that the first answer touches; (-1, -1) if there is none."""
    if not answers["text"]:
        return _OUTSIDE, _OUTSIDE
    answer, begin = answers["text"][0], answers["answer_start"][0]
    begin, end = _without_blanks(context, begin, begin + len(answer))
    tokens = [token for token, (start, stop) in enumerate(characters) if start < end and stop > begin]
    return (tokens[0], tokens[-1]) if tokens else (_OUTSIDE, _OUTSIDE)


def _bookkeeping(cut: _Cut, context: str, row: int) -> Iterator[dict[str, Any]]:
    """What an answer is read from: the number of the row, and the characters of each token of a window."""
    spans = [_without_blanks(context, *characters) for characters in cut.characters]
    for window, (skipped, places) in zip(cut.windows, cut.context_tokens(), strict=True):
        starts, ends = ([_OUTSIDE] * len(window.ids) for _ in range(2))
        for place, span in zip(places, spans[skipped:], strict=False):
            starts[place], ends[place] = span
        yield {"row": row, "starts": starts, "ends": ends}


def _without_blanks(text: str, start: int, end: int) -> tuple[int, int]:
    """The span of characters without the blanks at its sides; some tokenizers count the blank before a word to it.

    A span of blanks alone begins behind and ends before them, so that it adds none to a longer one.
    """
    part = text[start:end]
    return start + len(part) - len(part.lstrip()), end - len(part) + len(part.rstrip())


def _checked_answers(raw: RawRows, row: int, may_be_none: bool) -> dict[str, list[Any]]:
    """The answers of a row with nothing else in them. Raises: UserError that says what is wrong with them."""
    answers = _by_column(raw.columns["answers"][row])
    texts, starts = (
        (answers.get(key) for key in ("text", "answer_start")) if isinstance(answers, dict) else (None, None)
    )
    if not isinstance(texts, list) or not isinstance(starts, list):
        form = '{"text": [...], "answer_start": [...]} or [{"text": ..., "answer_start": ...}, ...]'
        raise raw.error(row, f'"answers" is {reprlib.repr(answers)}, not {form}')
    if len(texts) != len(starts):
        raise raw.error(row, f"{len(texts)} answers, but {len(starts)} values of answer_start")
    if not texts and not may_be_none:
        raise raw.error(row, "there is no answer, but each question of this task has one")
    for text, start in zip(texts, starts, strict=True):
        problem = _wrong_answer(raw.columns["context"][row], text, start)
        if problem:
            raise raw.error(row, problem)
    return {"text": texts, "answer_start": starts}


def spelt_out(cell: Any) -> Any:
    """The list or object that a cell spells as JSON, which is how a table can hold one; any other cell as it is."""
    if isinstance(cell, str) and cell.lstrip().startswith(("{", "[")):
        with suppress(ValueError, RecursionError):
            return json.loads(cell)
    return cell


def _by_column(answers: Any) -> Any:
    """The hub has the answers of a row as columns, SQuAD's own files as a list of records; a table either as JSON."""
    answers = spelt_out(answers)
    if not isinstance(answers, list) or not all(isinstance(answer, dict) for answer in answers):
        return answers
    return {key: [answer.get(key) for answer in answers] for key in ("text", "answer_start")}


def _wrong_answer(context: str, text: Any, start: Any) -> str | None:
    if not isinstance(text, str) or not text:
        return f"the answer {reprlib.repr(text)} is not a text"
    if type(start) is not int:
        return f"answer_start {reprlib.repr(start)} is not an integer"
    if not 0 <= start < len(context):
        return f"answer_start {reprlib.repr(start)} is not inside the context of {len(context)} characters"
    end = start + len(text)
    if context[start:end] == text:
        return None
    found, answer = (f'"{shortened(part, 40)}"' for part in (context[start:end], text))
    return f"the span {start}..{end} of the context is {found}, not the answer {answer}"
