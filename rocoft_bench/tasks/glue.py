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

from rocoft_bench.tasks.data import HubDataset
from rocoft_bench.tasks.sequence import SequenceClassification, SequenceRegression
from rocoft_bench.tasks.task import Task

_VERSION = 1
_REVISION = "bcdcba79d07bc864c1c254ccfcedcce55bcc9a8c"
_SENTENCE_PAIR = ("sentence1", "sentence2")
_ENTAILMENT = ("entailment", "not_entailment")
_ROWS = {
    "cola": (8551, 1043),
    "sst2": (67349, 872),
    "mrpc": (3668, 408),
    "stsb": (5749, 1500),
    "qqp": (363846, 40430),
    "mnli": (392702, 9815),
    "qnli": (104743, 5463),
    "rte": (2490, 277),
}
"""Examples to train on and to be evaluated on."""


def _classification(
    name: str,
    text_columns: tuple[str, ...],
    label_names: tuple[str, ...],
    metric_names: tuple[str, ...] = ("accuracy",),
    eval_split: str = "validation",
) -> Task:
    return SequenceClassification(
        name=name,
        family="glue",
        version=_VERSION,
        hub=HubDataset("nyu-mll/glue", name, _REVISION),
        train_split="train",
        eval_split=eval_split,
        text_columns=text_columns,
        label_names=label_names,
        metric_names=metric_names,
        random_baseline=1 / len(label_names) if metric_names[0] == "accuracy" else 0.0,
        paper_task=name,
        split_sizes=dict(zip(("train", eval_split), _ROWS[name], strict=True)),
    )


TASKS: tuple[Task, ...] = (
    _classification("cola", ("sentence",), ("unacceptable", "acceptable"), ("matthews_correlation",)),
    _classification("sst2", ("sentence",), ("negative", "positive")),
    _classification("mrpc", _SENTENCE_PAIR, ("not_equivalent", "equivalent"), ("accuracy", "f1")),
    SequenceRegression(
        name="stsb",
        family="glue",
        version=_VERSION,
        hub=HubDataset("nyu-mll/glue", "stsb", _REVISION),
        train_split="train",
        eval_split="validation",
        text_columns=_SENTENCE_PAIR,
        metric_names=("pearson", "spearman"),
        random_baseline=0.0,
        paper_task="stsb",
        lowest_score=0.0,
        highest_score=5.0,
        split_sizes=dict(zip(("train", "validation"), _ROWS["stsb"], strict=True)),
    ),
    _classification("qqp", ("question1", "question2"), ("not_duplicate", "duplicate"), ("accuracy", "f1")),
    _classification(
        "mnli", ("premise", "hypothesis"), ("entailment", "neutral", "contradiction"), eval_split="validation_matched"
    ),
    _classification("qnli", ("question", "sentence"), _ENTAILMENT),
    _classification("rte", _SENTENCE_PAIR, _ENTAILMENT),
)
