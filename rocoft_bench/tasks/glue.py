"""GLUE: eight sentence and sentence-pair tasks (Table 1 and Table 11 of the RoCoFT paper).

Hub: https://huggingface.co/datasets/nyu-mll/glue, one config a task, pinned to the commit below. Labels of the test
splits are not public, so models are evaluated on the validation split (MNLI: validation_matched), as in the paper.

    task  train rows  evaluated on  labels from 0                       what the model decides
    cola       8,551         1,043  unacceptable, acceptable            is the sentence good English grammar?
    sst2      67,349           872  negative, positive                  is the piece of a film review favourable?
    mrpc       3,668           408  not_equivalent, equivalent          do two news sentences say the same?
    stsb       5,749         1,500  none: a score from 0 to 5           how similar are two sentences in meaning?
    qqp      363,846        40,430  not_duplicate, duplicate            do two Quora questions ask the same?
    mnli     392,702         9,815  entailment, neutral, contradiction  does the premise imply the hypothesis?
    qnli     104,743         5,463  entailment, not_entailment          does the sentence answer the question?
    rte        2,490           277  entailment, not_entailment          does sentence1 imply sentence2?

Metrics are those of Wang et al. 2019 (https://openreview.net/forum?id=rJ4km2R5t7), computed by
`rocoft_bench.metrics` with scikit-learn and scipy; where there are two, the first ranks runs. `random_baseline` is what
a uniform guess scores on the first metric: 1 / number of labels for accuracy, 0 for a correlation. Giving every row
the majority label can be better: it is right for 68.4 % of MRPC's validation examples (52.7 % of RTE's).

Worked example (an invented row of rte): sentence1 "The ferry to Lumo was cancelled on Friday because of fog.",
sentence2 "Fog stopped the ferry to Lumo.", label 0. For RoBERTa `encode` gives the tokens of
"<s>sentence1</s></s>sentence2</s>", and labels 0. Logits (2.1, -0.3) give the prediction 0; with three more examples
predicted 1, 0, 1 where the labels are 1, 1, 1, `score` gives {"accuracy": 0.75}.
"""

from typing import Any

from rocoft_bench.tasks.data import HubDataset
from rocoft_bench.tasks.sequence import SequenceClassification, SequenceRegression
from rocoft_bench.tasks.task import Task

_REVISION = "bcdcba79d07bc864c1c254ccfcedcce55bcc9a8c"
_SENTENCE, _SENTENCE_PAIR, _QUESTIONS = ("sentence",), ("sentence1", "sentence2"), ("question1", "question2")
_ENTAILMENT = ("entailment", "not_entailment")


def _facts(name: str, train: int, evaluated: int, eval_split: str = "validation") -> dict[str, Any]:
    """train, evaluated: how many examples there are."""
    return {
        "name": name,
        "family": "glue",
        "hub": HubDataset("nyu-mll/glue", name, _REVISION),
        "eval_split": eval_split,
        "paper_task": name,
        "split_sizes": {"train": train, eval_split: evaluated},
    }


def _classification(
    facts: dict[str, Any], texts: tuple[str, ...], labels: tuple[str, ...], *metrics: str
) -> SequenceClassification:
    names = metrics or ("accuracy",)
    random_baseline = 1 / len(labels) if names[0] == "accuracy" else 0.0
    return SequenceClassification(
        **facts, text_columns=texts, label_names=labels, metric_names=names, random_baseline=random_baseline
    )


TASKS: tuple[Task, ...] = (
    _classification(_facts("cola", 8551, 1043), _SENTENCE, ("unacceptable", "acceptable"), "matthews_correlation"),
    _classification(_facts("sst2", 67349, 872), _SENTENCE, ("negative", "positive")),
    _classification(_facts("mrpc", 3668, 408), _SENTENCE_PAIR, ("not_equivalent", "equivalent"), "accuracy", "f1"),
    SequenceRegression(
        **_facts("stsb", 5749, 1500),
        text_columns=_SENTENCE_PAIR,
        metric_names=("pearson", "spearman"),
        lowest_score=0.0,
        highest_score=5.0,
    ),
    _classification(_facts("qqp", 363846, 40430), _QUESTIONS, ("not_duplicate", "duplicate"), "accuracy", "f1"),
    _classification(
        _facts("mnli", 392702, 9815, "validation_matched"),
        ("premise", "hypothesis"),
        ("entailment", "neutral", "contradiction"),
    ),
    _classification(_facts("qnli", 104743, 5463), ("question", "sentence"), _ENTAILMENT),
    _classification(_facts("rte", 2490, 277), _SENTENCE_PAIR, _ENTAILMENT),
)
