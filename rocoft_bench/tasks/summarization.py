"""Summarization: a news article becomes its summary (Table 7 of the RoCoFT paper, with BART-large).

    task           hub (columns)                                            train rows  validation  test
    xsum           EdinburghNLP/xsum (document, summary, id)                   204,045      11,332  11,334
    cnn_dailymail  abisee/cnn_dailymail 3.0.0 (article, highlights, id)        287,113      13,368  11,490

Both pinned to the commits below. XSum (Narayan et al. 2018, https://aclanthology.org/D18-1206) asks for one sentence on
a BBC article, CNN/DailyMail (See et al. 2017, https://aclanthology.org/P17-1099) for the three or four highlights of an
article, one a line. Trained on the train split, evaluated on test.

Metrics: ROUGE-1, -2, -L and -Lsum (`rocoft_bench.metrics.rouge`); the first ranks runs. No guess scores anything.
(Version 2: summaries in other scripts than the Latin one are scored too, which a note in the record says.)

Answers are made by beam search with the settings of BART's own evaluation (Lewis et al. 2020,
https://aclanthology.org/2020.acl-main.703; fairseq's examples/bart/summarize.py, XSUM_KWARGS and CNN_KWARGS):

                   beam  length penalty  tokens at least  at most  no n-gram twice
    xsum              6               1               10       60  n = 3
    cnn_dailymail     4               2               55      140  n = 3

fairseq's bounds are without the end token, transformers' upper one counts it: `max_new_tokens` is 61 and 141, which is
what the checkpoints bart-large-xsum and -cnn call max_length 62 and 142 (with the token that starts the decoder).
Search stops when as many summaries have ended as there are beams, as in fairseq. fairseq trains on whole summaries; so
does this, but for a few very long ones (`max_target_length`).

Worked example (invented): document "The ferry to Lumo did not leave on Friday. Fog had closed the harbour.", summary
"Fog has stopped the ferry to Lumo.". `encode` gives BART's tokens of "<s>document</s>" and the labels of
"<s>summary</s>". If the answer is "Fog has stopped a ferry.", four of its five words are among the summary's seven, and
two of its four word pairs among the summary's six: ROUGE-1 and ROUGE-L are 2·4/(5 + 7) = 0.6667, ROUGE-2 2·2/(4 + 6) =
0.4.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import NonNegativeInt, PositiveInt, model_validator

from rocoft_bench.config import TaskConfig
from rocoft_bench.metrics import compute
from rocoft_bench.metrics.other_scripts import is_of_other_script
from rocoft_bench.tasks.base import Encoded, HubDataset, Output, Prediction, Task
from rocoft_bench.tasks.data import check_texts

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

    from rocoft_bench.tasks.readers import RawRows

_ENCODE_ROWS = 1000

NEUTRAL = {
    "max_new_tokens": None,
    "min_new_tokens": None,
    "num_return_sequences": 1,
    "repetition_penalty": 1.0,
    "encoder_repetition_penalty": 1.0,
    "encoder_no_repeat_ngram_size": 0,
    "exponential_decay_length_penalty": None,
    "bad_words_ids": None,
    "sequence_bias": None,
    "suppress_tokens": None,
    "begin_suppress_tokens": None,
    "forced_eos_token_id": None,
}
"""Arguments of `generate` without effect, so that those in a checkpoint's generation_config.json have none either."""


class SummarizationConfig(TaskConfig):
    """The defaults are BART's for XSum."""

    max_length: PositiveInt = 1024
    """Longest document in tokens; longer ones are cut at the end, which is counted and reported."""
    max_target_length: PositiveInt = 128
    """Longest summary to train on, in tokens; longer ones are cut, which is counted and reported."""
    num_beams: PositiveInt = 6
    """Hypotheses that beam search follows; 1 is greedy search."""
    length_penalty: float = 1.0
    """Beam search divides a summary's log-probability by its length to this power; more makes longer summaries."""
    min_new_tokens: NonNegativeInt = 10
    """Fewest tokens of a generated summary."""
    max_new_tokens: PositiveInt = 61
    """Most tokens of a generated summary, the end token included."""
    no_repeat_ngram_size: NonNegativeInt = 3
    """So many tokens in a row never occur twice in a generated summary; 0 allows it."""
    early_stopping: bool = True
    """Stop when as many summaries have ended as there are beams; else when no better one is likely."""

    @model_validator(mode="after")
    def _lengths_in_order(self) -> SummarizationConfig:
        if self.min_new_tokens > self.max_new_tokens:
            raise ValueError(f"min_new_tokens {self.min_new_tokens} is more than max_new_tokens {self.max_new_tokens}")
        return self


class CnnDailyMailConfig(SummarizationConfig):
    """The same keys; the defaults are BART's for CNN/DailyMail."""

    max_target_length: PositiveInt = 256
    num_beams: PositiveInt = 4
    length_penalty: float = 2.0
    min_new_tokens: NonNegativeInt = 55
    max_new_tokens: PositiveInt = 141


@dataclass(frozen=True, kw_only=True)
class Summarization(Task):
    """A summary, generated by an encoder-decoder, for each document."""

    kind: ClassVar[str] = "seq2seq_lm"
    Settings: ClassVar[type[TaskConfig]] = SummarizationConfig
    text_columns: tuple[str, ...] = ("document",)
    target_columns: tuple[str, ...] = ("summary",)
    metric_names: tuple[str, ...] = ("rouge1", "rouge2", "rougeL")
    random_baseline: float = 0.0

    def output(self, settings: Any) -> Output:
        return "text"

    def generation(self, settings: Any) -> dict[str, Any]:
        """Everything that decides what beam search answers, but for the model's special tokens.

        Its bounds count the token that starts the decoder. (A checkpoint that has bounds of its own would make
        `generate` warn of bounds that do not.)
        """
        one_beam = settings.num_beams == 1  # greedy search takes neither of the two
        return {
            **NEUTRAL,
            "num_beams": settings.num_beams,
            "length_penalty": 1.0 if one_beam else settings.length_penalty,
            "early_stopping": False if one_beam else settings.early_stopping,
            "min_length": settings.min_new_tokens + 1,
            "max_length": settings.max_new_tokens + 1,
            "no_repeat_ngram_size": settings.no_repeat_ngram_size,
        }

    def protocol(self, settings: Any) -> str:
        search = f"beam {settings.num_beams}, length penalty {settings.length_penalty:g}, "
        search += "early stopping" if settings.early_stopping else "no early stopping"
        size = settings.no_repeat_ngram_size
        return ", ".join(
            [
                "greedy" if settings.num_beams == 1 else search,
                f"{settings.min_new_tokens} to {settings.max_new_tokens} tokens",
                *([f"no {size} tokens in a row twice"] if size else []),
                "ROUGE F-measure with stemming",
            ]
        )

    def encode(self, rows: Dataset, tokenizer: PreTrainedTokenizerBase, settings: Any, training: bool) -> Encoded:
        """See `Task.encode`. Training rows without a document are dropped; there is nothing to learn from them."""
        from datasets import Dataset, concatenate_datasets

        (document,), (summary,) = self.text_columns, self.target_columns
        told = [row for row, text in enumerate(rows[document]) if text.strip()]
        counts = Counter(empty=len(rows) - len(told))
        if training:
            rows = rows.select(told)
        else:
            counts["other_script"] = sum(map(is_of_other_script, rows[summary]))
        parts = []
        for batch in rows.iter(_ENCODE_ROWS):
            columns = dict(tokenizer(batch[document], truncation=True, max_length=settings.max_length))
            counts["documents"] += _full(columns["input_ids"], settings.max_length)
            if training:
                targets = tokenizer(text_target=batch[summary], truncation=True, max_length=settings.max_target_length)
                columns["labels"] = targets["input_ids"]
                counts["summaries"] += _full(columns["labels"], settings.max_target_length)
            parts.append(Dataset.from_dict(columns))
        return Encoded(concatenate_datasets(parts) if parts else rows, _notes(counts, settings, training))

    def read(
        self,
        outputs: Sequence[np.ndarray],
        encoded: Dataset,
        rows: Dataset,
        tokenizer: PreTrainedTokenizerBase,
        settings: Any,
    ) -> list[Prediction]:
        options = {"skip_special_tokens": True, "clean_up_tokenization_spaces": False}
        return [{"prediction": str(tokenizer.decode(ids, **options)).strip()} for ids in outputs]

    @property
    def judged_by(self) -> str:
        return "rouge"

    def score(self, predictions: Sequence[Any], references: Sequence[Any]) -> dict[str, float]:
        """ROUGE-1, -2, -L and -Lsum as fractions."""
        return compute((self.judged_by,), predictions, references)

    def references(self, rows: Dataset) -> list[Any]:
        return rows[self.target_columns[0]][:]

    def _no_target(self) -> dict[str, Any]:
        return {self.target_columns[0]: ""}

    def _checked(self, raw: RawRows) -> dict[str, list[Any]]:
        """A document may be empty: XSum's articles are rid of sharing links, and some consist of nothing else.

        (https://github.com/EdinburghNLP/XSum/issues/29)
        """
        check_texts(raw, self.columns)
        (summary,) = self.target_columns
        for row, text in enumerate(raw.columns[summary]):
            if not text.strip():
                raise raw.error(row, f'"{summary}" is empty')
        return raw.columns


@dataclass(frozen=True, kw_only=True)
class CnnDailyMail(Summarization):
    """Several sentences, one a line, instead of one."""

    Settings: ClassVar[type[TaskConfig]] = CnnDailyMailConfig
    text_columns: tuple[str, ...] = ("article",)
    target_columns: tuple[str, ...] = ("highlights",)


def _full(token_ids: list[list[int]], limit: int) -> int:
    """How many texts are as long as allowed; a tokenizer does not tell which of them it cut."""
    return sum(len(ids) >= limit for ids in token_ids)


def _notes(counts: Counter[str], settings: Any, training: bool) -> tuple[str, ...]:
    rows = "training" if training else "evaluation"
    lines = {
        "empty": "without a document" + (" were dropped" if training else ""),
        "documents": f"have documents that fill max_length {settings.max_length} and may have been cut",
        "other_script": "have summaries in another script than the Latin one, and are scored by ROUGE over Unicode "
        "words without stemming",
        "summaries": f"have summaries that fill max_target_length {settings.max_target_length} and may have been cut",
    }
    return tuple(f"{counts[name]} {rows} rows {line}" for name, line in lines.items() if counts[name])


TASKS: tuple[Task, ...] = (
    Summarization(
        name="xsum",
        family="summarization",
        version=2,
        hub=HubDataset("EdinburghNLP/xsum", None, "7d4d486c2f8ef850b1a11aead99b894ff3dd7da9"),
        train_split="train",
        eval_split="test",
        paper_task="xsum",
        split_sizes={"train": 204045, "validation": 11332, "test": 11334},
    ),
    CnnDailyMail(
        name="cnn_dailymail",
        family="summarization",
        version=2,
        hub=HubDataset("abisee/cnn_dailymail", "3.0.0", "96df5e686bee6baa90b8bee7c28b81fa3fa6223d"),
        train_split="train",
        eval_split="test",
        paper_task="cnn_dailymail",
        split_sizes={"train": 287113, "validation": 13368, "test": 11490},
    ),
)
