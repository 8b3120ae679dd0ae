"""ROUGE (Lin 2004, https://aclanthology.org/W04-1013) as the package rouge-score computes it.

F-measures of ROUGE-1, -2, -L and -Lsum with Porter stemming, each the mean over the examples: what summarization papers
report, usually in percent. Texts are lower-cased and everything but a-z and 0-9 is a blank, as in ROUGE-1.5.5.

Nothing would be left of texts in other scripts. Where most letters of a reference are not Latin, both texts are
compared by Unicode words without stemming, or by characters where a script does not part words
(`rocoft_bench.metrics.other_scripts`); such scores compare with each other only.

ROUGE-Lsum compares sentence by sentence and wants one sentence a line. `one_sentence_a_line` makes the lines: the usual
splitter, NLTK's punkt, is a model that has to be downloaded. ROUGE-1, -2 and -L do not see the lines.
"""

from datasets import Features, Value

from rocoft_bench.metrics import formulas
from rocoft_bench.metrics.local_metric import LocalMetric


class Rouge(LocalMetric):
    """rouge1, rouge2, rougeL and rougeLsum of n texts against n texts, as fractions."""

    metric_name = "rouge"
    columns = Features({"predictions": Value("string"), "references": Value("string")})

    def _scores(self, predictions: list[str], references: list[str]) -> dict[str, float]:
        score = formulas.rouge()
        scores = [score(*texts) for texts in zip(predictions, references, strict=True)]
        return {name: sum(each[name] for each in scores) / len(scores) for name in formulas.ROUGE_TYPES}


METRICS: tuple[type[LocalMetric], ...] = (Rouge,)
