"""ROUGE (Lin 2004, https://aclanthology.org/W04-1013) as the package rouge-score computes it.

F-measures of ROUGE-1, -2, -L and -Lsum with Porter stemming, each the mean over the rows: what summarization papers
report, usually in percent. Texts are lower-cased and everything but a-z and 0-9 is a blank, as in ROUGE-1.5.5.

ROUGE-Lsum compares sentence by sentence and wants one sentence a line. `one_sentence_a_line` makes the lines: the usual
splitter, NLTK's punkt, is a model that has to be downloaded. ROUGE-1, -2 and -L do not see the lines.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from datasets import Features, Value

from rocoft_bench.metrics.base import LocalMetric

if TYPE_CHECKING:
    from rouge_score.rouge_scorer import RougeScorer

TYPES = ("rouge1", "rouge2", "rougeL", "rougeLsum")

_CLOSING, _OPENING = r"""["'\u201d\u2019)\]]""", r"""["'\u201c\u2018(\[]"""
_BREAK = re.compile(rf"(?<=[.!?]){_CLOSING}*(\s+)(?={_OPENING}*[A-Z0-9])")
_ABBREVIATION = re.compile(
    r"\b(?:[A-Z]|Mr|Mrs|Ms|Dr|Prof|Rev|St|Gen|Sen|Rep|Gov|Capt|Col|Lt|Maj|Sgt|Jr|Sr|vs|Inc|Co|Corp|Ltd"
    r"|Jan|Feb|Aug|Sept|Oct|Nov|Dec|a\.m|p\.m|i\.e|e\.g)\.$"
)


class Rouge(LocalMetric):
    """rouge1, rouge2, rougeL and rougeLsum of n texts against n texts, as fractions."""

    columns = Features({"predictions": Value("string"), "references": Value("string")})

    def _scores(self, predictions: list[str], references: list[str]) -> dict[str, float]:
        from rouge_score.rouge_scorer import RougeScorer

        scorer = RougeScorer(list(TYPES), use_stemmer=True)
        rows = [_row_scores(scorer, *texts) for texts in zip(predictions, references, strict=True)]
        return {name: sum(row[name] for row in rows) / len(rows) for name in TYPES}


METRICS: dict[str, type[LocalMetric]] = {"rouge": Rouge}


def one_sentence_a_line(text: str) -> str:
    """The text with a line break after each sentence; line breaks that it has stay.

    A sentence ends with ".", "!" or "?" (closing quotes and brackets may follow) before a blank and a capital letter or
    a digit. It does not end after one capital letter and a full stop, nor after common abbreviations.

    >>> one_sentence_a_line("Dr. Lee won. Who lost? Nobody.")
    'Dr. Lee won.\\nWho lost?\\nNobody.'
    """
    return _BREAK.sub(_line_break, text)


def _line_break(found: re.Match[str]) -> str:
    blank = found.start(1) - found.start()
    if _ABBREVIATION.search(found.string, max(0, found.start() - 10), found.start()):
        return found[0]
    return f"{found[0][:blank]}\n"


def _row_scores(scorer: RougeScorer, prediction: str, reference: str) -> dict[str, float]:
    scores = scorer.score(target=one_sentence_a_line(reference), prediction=one_sentence_a_line(prediction))
    return {name: float(score.fmeasure) for name, score in scores.items()}
