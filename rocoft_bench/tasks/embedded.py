"""The demo tasks: one of each family, on rows that ship with the package, so that they run without a network.

    task           stands for     rows (`rocoft_bench.demo`)  scored by           made for the model
    entailment     glue           sentence pairs, as in RTE   accuracy            demo-minilm
    questions      squad          SQuAD v1.1's form           exact match and F1  demo-roberta
    summaries      summarization  XSum's form                 ROUGE               demo-bart
    choices        commonsense    LLM-Adapters' form          accuracy            demo-llama
    word_problems  math           LLM-Adapters' form          accuracy            demo-llama

All rows are made from templates; the test splits have words of their own. A score on them says that a method learns,
and cannot stand beside a score on the benchmark of that family.

Worked example (in the manner of entailment's rows): sentence1 "Ten of the bakers wore a hat.", sentence2 "Six of the
bakers wore a hat.", label 0 (entailment). Those of the other tasks: see their families.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, ClassVar

from rocoft_bench.errors import UserError
from rocoft_bench.tasks.answer_reading import Published, contained_choice, first_number
from rocoft_bench.tasks.commonsense import MultipleChoice
from rocoft_bench.tasks.math import WordProblems
from rocoft_bench.tasks.readers import RawRows
from rocoft_bench.tasks.sequence import SequenceClassification
from rocoft_bench.tasks.spans import SpanExtraction
from rocoft_bench.tasks.summarization import Summarization
from rocoft_bench.tasks.task import Task


class Embedded:
    """A task whose rows a function of the package makes: `rows_from` is its module and its name."""

    rows_from: ClassVar[tuple[str, str]]
    name: str
    family: str
    columns: tuple[str, ...]
    source = "embedded"

    def _read(self, split: str, data_dir: Path | None) -> RawRows:
        if data_dir is not None:
            raise UserError(f"{self.family} {self.name} has its own rows: leave out --data-dir {data_dir}")
        module, function = self.rows_from
        rows = getattr(importlib.import_module(f"rocoft_bench.demo.{module}"), function)(split)
        columns = {name: [row[name] for row in rows] for name in self.columns}
        source = f"{self.family}/{self.name}"
        origin = {"kind": "embedded", "id": source}
        return RawRows(f"{source}, split {split}", "row", range(1, len(rows) + 1), columns, origin)


class EmbeddedEntailment(Embedded, SequenceClassification):
    """Sentence pairs from the package itself."""

    rows_from = ("entailment", "entailment_rows")


class EmbeddedQuestions(Embedded, SpanExtraction):
    """Passages and questions from the package itself."""

    rows_from = ("questions", "question_rows")


class EmbeddedSummaries(Embedded, Summarization):
    """Reports and their summaries from the package itself."""

    rows_from = ("summaries", "summary_rows")


class EmbeddedChoices(Embedded, MultipleChoice):
    """Multiple-choice questions from the package itself."""

    rows_from = ("choices", "choice_rows")


class EmbeddedWordProblems(Embedded, WordProblems):
    """Word problems from the package itself."""

    rows_from = ("word_problems", "word_problem_rows")


def _facts(name: str, version: int = 1) -> dict[str, Any]:
    return {
        "name": name,
        "family": "demo",
        "version": version,
        "hub": None,
        "train_split": "train",
        "eval_split": "test",
        "paper_task": None,
    }


_CHOICES = ("answer1", "answer2", "answer3", "answer4")

TASKS: tuple[Task, ...] = (
    EmbeddedEntailment(
        **_facts("entailment"),
        text_columns=("sentence1", "sentence2"),
        label_names=("entailment", "not_entailment"),
        metric_names=("accuracy",),
        random_baseline=0.5,
    ),
    EmbeddedQuestions(**_facts("questions"), random_baseline=0.0),
    EmbeddedSummaries(**_facts("summaries")),
    EmbeddedChoices(
        **_facts("choices"),
        choices=_CHOICES,
        random_baseline=0.25,
        published=Published(3, 3, "the correct answer", contained_choice(_CHOICES)),
    ),
    EmbeddedWordProblems(
        **_facts("word_problems", version=2),
        published=Published(3, 3, "The answer is", first_number(r"\d+", int)),
    ),
)
