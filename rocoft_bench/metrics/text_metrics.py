"""Metrics of answers in words: SQuAD's, ROUGE, and LLM-Adapters' accuracy of answers that were read out of text.

What one example scores: `rocoft_bench.metrics.formulas`. A metric is the mean over the examples, as a fraction.
"""

from typing import Any, ClassVar

from datasets import Features, List, Value

from rocoft_bench.metrics import formulas
from rocoft_bench.metrics.formulas import Score
from rocoft_bench.metrics.local_metric import LocalMetric

_TEXTS = Features({"predictions": Value("string"), "references": Value("string")})
_TEXT_AND_TEXTS = Features({"predictions": Value("string"), "references": List(Value("string"))})


class Squad(LocalMetric):
    """SQuAD v1.1: exact_match and f1 of extracted answers, as evaluate-v1.1.py computes them (Rajpurkar et al. 2016,
    https://aclanthology.org/D16-1264).

    A reference is the list of an example's gold answers, at least one; the one that suits best counts. Answers are
    compared normalised: lower case, without ASCII punctuation, without the words a, an and the, blanks made one.
    """

    metric_name = "squad"
    columns = _TEXT_AND_TEXTS

    def _scores(self, predictions: list[str], references: list[list[str]]) -> dict[str, float]:
        return _means([formulas.squad(*each) for each in zip(predictions, references, strict=True)])


class SquadV2(LocalMetric):
    """SQuAD v2.0: exact_match and f1, and where examples without gold answers are among them, each of the two groups.

    As evaluate-v2.0.py (Rajpurkar et al. 2018, https://aclanthology.org/P18-2124). It differs from v1.1 where nothing
    is left of an answer: there an empty answer is an exact match of an empty gold answer and has an F1 of 0; here both
    are 1, gold answers of which nothing is left do not count beside others, and an example without gold answers is one
    whose right answer is empty.

    HasAns_exact_match and HasAns_f1 are means over the examples with gold answers, NoAns_exact_match and NoAns_f1 over
    those without (both are the share of empty predictions). A group without examples is left out.
    """

    metric_name = "squad_v2"
    columns = _TEXT_AND_TEXTS

    def _scores(self, predictions: list[str], references: list[list[str]]) -> dict[str, float]:
        of_each = [formulas.squad_v2(*each) for each in zip(predictions, references, strict=True)]
        scores = _means(of_each)
        if all(references):
            return scores
        for group, has_answer in (("HasAns", True), ("NoAns", False)):
            members = [score for score, golds in zip(of_each, references, strict=True) if bool(golds) == has_answer]
            scores |= {f"{group}_{name}": value for name, value in _means(members).items()}
        return scores


def _means(scores: list[Score]) -> dict[str, float]:
    """Empty for no scores."""
    names = ("exact_match", "f1")
    return {name: sum(values) / len(scores) for name, values in zip(names, zip(*scores, strict=True), strict=False)}


class Rouge(LocalMetric):
    """rouge1, rouge2, rougeL and rougeLsum of n texts against n texts: F-measures of ROUGE (Lin 2004,
    https://aclanthology.org/W04-1013) as the package rouge-score computes it, with Porter stemming.

    This is what summarization papers report, usually in percent. Texts are lower-cased and everything but a-z and 0-9
    is a blank, as in ROUGE-1.5.5. Nothing would be left of texts in other scripts: where most letters of a reference
    are not Latin, both texts are compared by Unicode words without stemming, or by characters where a script does not
    part words (`rocoft_bench.metrics.other_scripts`); such scores compare with each other only.

    ROUGE-Lsum compares sentence by sentence and wants one sentence a line. `formulas.one_sentence_a_line` makes the
    lines: the usual splitter, NLTK's punkt, is a model that has to be downloaded. The others do not see the lines.
    """

    metric_name = "rouge"
    columns = _TEXTS

    def _scores(self, predictions: list[str], references: list[str]) -> dict[str, float]:
        score = formulas.rouge()
        scores = [score(*texts) for texts in zip(predictions, references, strict=True)]
        return {name: sum(each[name] for each in scores) / len(scores) for name in formulas.ROUGE_TYPES}


class _AnswerMetric(LocalMetric):
    """accuracy, then unparsed: both are shares of all examples; a text without a readable answer is a wrong answer.

    As LLM-Adapters counts (`commonsense_evaluate.py` and `evaluate.py` of AGI-Edgerunners/LLM-Adapters).

    unread: the prediction of a text that no answer could be read from.
    """

    unread: ClassVar[Any]
    is_right: "ClassVar[staticmethod[[Any, Any], bool]]"

    def _scores(self, predictions: list[Any], references: list[Any]) -> dict[str, float]:
        right = sum(map(self.is_right, predictions, references))
        return {"accuracy": right / len(predictions), "unparsed": predictions.count(self.unread) / len(predictions)}


class ChoiceAnswers(_AnswerMetric):
    """Equal strings are right answers. (`evaluate` takes no None among strings.)"""

    metric_name = "choice_answers"
    columns = _TEXTS
    unread = ""
    is_right = staticmethod(formulas.is_right_choice)


class NumberAnswers(_AnswerMetric):
    """Numbers that differ by at most `formulas.TOLERANCE` are right answers."""

    metric_name = "number_answers"
    columns = Features({"predictions": Value("float64"), "references": Value("float64")})
    unread = None
    is_right = staticmethod(formulas.is_right_number)


METRICS: tuple[type[LocalMetric], ...] = (Rouge, Squad, SquadV2, ChoiceAnswers, NumberAnswers)
