"""What one example scores: the metrics that are means over examples, without what `evaluate` makes of them.

`rocoft_bench.metrics.text_metrics` has the metrics; this light module has their formulas.
"""

import re
import string
from collections import Counter
from collections.abc import Callable
from typing import Any

TOLERANCE = 1e-3
"""How far a number may be from the right one: as LLM-Adapters' evaluate.py has it."""

ROUGE_TYPES = ("rouge1", "rouge2", "rougeL", "rougeLsum")

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)

_CLOSING, _OPENING = r"""["'\u201d\u2019)\]]""", r"""["'\u201c\u2018(\[]"""
_BREAK = re.compile(rf"(?<=[.!?]){_CLOSING}*(\s+)(?={_OPENING}*[A-Z0-9])")
_ABBREVIATION = re.compile(
    r"\b(?:[A-Z]|Mr|Mrs|Ms|Dr|Prof|Rev|St|Gen|Sen|Rep|Gov|Capt|Col|Lt|Maj|Sgt|Jr|Sr|vs|Inc|Co|Corp|Ltd"
    r"|Jan|Feb|Aug|Sept|Oct|Nov|Dec|a\.m|p\.m|i\.e|e\.g)\.$"
)

Score = tuple[float, float]
"""Exact match and F1 of one row."""


def squad(prediction: str, golds: list[str]) -> Score:
    """As SQuAD v1.1 has it, against the gold answer that suits best; there is at least one."""
    given = normalized(prediction).split()
    wanted = [normalized(gold).split() for gold in golds]
    return max(float(given == gold) for gold in wanted), max(token_f1(given, gold) for gold in wanted)


def squad_v2(prediction: str, golds: list[str]) -> Score:
    """As SQuAD v2.0 has it: an empty answer is right where there is no gold one."""
    wanted = [gold for gold in golds if normalized(gold)] or [""]
    if not normalized(prediction):
        return (1.0, 1.0) if wanted == [""] else (0.0, 0.0)
    return squad(prediction, wanted)


def normalized(answer: str) -> str:
    """The answer in lower case, without ASCII punctuation and articles, words parted by single blanks.

    >>> normalized("The  Duke's horse!")
    'dukes horse'
    """
    return " ".join(_ARTICLES.sub(" ", answer.lower().translate(_NO_PUNCTUATION)).split())


def token_f1(prediction: list[str], gold: list[str]) -> float:
    """Harmonic mean of the shares of words that two answers have in common, each counted as often as it occurs."""
    common = (Counter(prediction) & Counter(gold)).total()
    return 2 * common / (len(prediction) + len(gold)) if common else 0.0


def rouge(types: tuple[str, ...] = ROUGE_TYPES) -> Callable[[str, str], dict[str, float]]:
    """A function from a prediction and a reference to their F-measures of these types.

    The script of the reference chooses between rouge-score's own words and those of `other_scripts`.
    """
    from rouge_score.rouge_scorer import RougeScorer

    from rocoft_bench.metrics.other_scripts import UnicodeWords, is_of_other_script

    latin = RougeScorer(list(types), use_stemmer=True)
    other = RougeScorer(list(types), tokenizer=UnicodeWords())

    def score(prediction: str, reference: str) -> dict[str, float]:
        scorer = other if is_of_other_script(reference) else latin
        scores = scorer.score(target=one_sentence_a_line(reference), prediction=one_sentence_a_line(prediction))
        return {name: float(measures.fmeasure) for name, measures in scores.items()}

    return score


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


def is_right_choice(given: Any, wanted: Any) -> bool:
    """An answer that could be read, and is the right one."""
    return given not in (None, "") and bool(given == wanted)


def is_right_number(given: float | None, wanted: float) -> bool:
    """A number that could be read, and is at most `TOLERANCE` from the right one."""
    return given is not None and abs(given - wanted) <= TOLERANCE
