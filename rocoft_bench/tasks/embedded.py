"""The demo tasks: one of each family, on examples that ship with the package, so that they run without a network.

    task           stands for     `rocoft_bench.demo`         scored by           made for the model
    entailment     glue           sentence pairs, as in RTE   accuracy            demo-minilm
    questions      squad          SQuAD v1.1's form           exact match and F1  demo-roberta
    summaries      summarization  XSum's form                 ROUGE               demo-bart
    choices        commonsense    LLM-Adapters' form          accuracy            demo-llama
    word_problems  math           LLM-Adapters' form          accuracy            demo-llama

All examples are made from templates; the test splits have words of their own. A score on them says that a method
learns, and cannot stand beside a score on the benchmark of that family.

Worked example (in the manner of entailment's examples): sentence1 "Ten of the bakers wore a hat.", sentence2 "Six of
the bakers wore a hat.", label 0 (entailment). Those of the other tasks: see their families.
"""

from typing import Any

from rocoft_bench.tasks.answer_reading import Published, contained_choice, first_number
from rocoft_bench.tasks.commonsense import MultipleChoice
from rocoft_bench.tasks.math import WordProblems
from rocoft_bench.tasks.sequence import SequenceClassification
from rocoft_bench.tasks.spans import SpanExtraction
from rocoft_bench.tasks.summarization import Summarization
from rocoft_bench.tasks.task import Task


def _facts(name: str, module: str, function: str) -> dict[str, Any]:
    return {"name": name, "family": "demo", "made_by": (module, function)}


_CHOICES = ("answer1", "answer2", "answer3", "answer4")

TASKS: tuple[Task, ...] = (
    SequenceClassification(
        **_facts("entailment", "entailment", "entailment_rows"),
        text_columns=("sentence1", "sentence2"),
        label_names=("entailment", "not_entailment"),
        metric_names=("accuracy",),
        random_baseline=0.5,
    ),
    SpanExtraction(**_facts("questions", "questions", "question_rows")),
    Summarization(**_facts("summaries", "summaries", "summary_rows")),
    MultipleChoice(
        **_facts("choices", "choices", "choice_rows"),
        choices=_CHOICES,
        random_baseline=0.25,
        published=Published(3, 3, "the correct answer", contained_choice(_CHOICES)),
    ),
    WordProblems(
        **_facts("word_problems", "word_problems", "word_problem_rows"),
        published=Published(3, 3, "The answer is", first_number(r"\d+", int)),
    ),
)
