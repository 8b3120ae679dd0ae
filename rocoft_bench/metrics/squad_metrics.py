"""Exact match and F1 of extracted answers, as SQuAD's own evaluation scripts compute them.

`squad` follows evaluate-v1.1.py (Rajpurkar et al. 2016, https://aclanthology.org/D16-1264), `squad_v2` follows
evaluate-v2.0.py (Rajpurkar et al. 2018, https://aclanthology.org/P18-2124). Both compare normalised answers: lower
case, without ASCII punctuation, without the words a, an and the, blanks made one. An example scores what it scores
against the gold answer that suits it best; a metric is the mean over the examples, here as a fraction.

The two differ where nothing is left of an answer. In v1.1 an empty answer is an exact match of an empty gold answer and
has an F1 of 0. In v2.0 both are 1, gold answers of which nothing is left do not count beside others, and an example
without gold answers is one whose right answer is empty.
"""

from datasets import Features, List, Value

from rocoft_bench.metrics import formulas
from rocoft_bench.metrics.formulas import Score
from rocoft_bench.metrics.local_metric import LocalMetric


class Squad(LocalMetric):
    """SQuAD v1.1: exact_match and f1. A reference is the list of an example's gold answers, at least one."""

    metric_name = "squad"
    columns = Features({"predictions": Value("string"), "references": List(Value("string"))})

    def _scores(self, predictions: list[str], references: list[list[str]]) -> dict[str, float]:
        return _means([self._example_score(*each) for each in zip(predictions, references, strict=True)])

    def _example_score(self, prediction: str, golds: list[str]) -> Score:
        return formulas.squad(prediction, golds)


class SquadV2(Squad):
    """SQuAD v2.0: exact_match and f1, and where examples without gold answers are among them, each of the two groups.

    HasAns_exact_match and HasAns_f1 are means over the examples with gold answers, NoAns_exact_match and NoAns_f1 over
    those without (both are the share of empty predictions). A group without examples is left out.
    """

    metric_name = "squad_v2"

    def _scores(self, predictions: list[str], references: list[list[str]]) -> dict[str, float]:
        of_each = [self._example_score(*each) for each in zip(predictions, references, strict=True)]
        groups = {
            "HasAns": [score for score, golds in zip(of_each, references, strict=True) if golds],
            "NoAns": [score for score, golds in zip(of_each, references, strict=True) if not golds],
        }
        scores = _means(of_each)
        if groups["NoAns"]:
            for group, members in groups.items():
                scores |= {f"{group}_{name}": value for name, value in _means(members).items()}
        return scores

    def _example_score(self, prediction: str, golds: list[str]) -> Score:
        return formulas.squad_v2(prediction, golds)


def _means(scores: list[Score]) -> dict[str, float]:
    """Empty for no scores."""
    names = ("exact_match", "f1")
    return {name: sum(values) / len(scores) for name, values in zip(names, zip(*scores, strict=True), strict=False)}


METRICS: tuple[type[LocalMetric], ...] = (Squad, SquadV2)
