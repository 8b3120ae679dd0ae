"""The demo task: sentence-pair entailment on rows that ship with the package, so that it runs without a network.

The rows are made from templates (`rocoft_bench.demo.entailment`), with the columns and the label codes of GLUE RTE; the
test split has a vocabulary of its own. Scored by accuracy, as RTE is; guessing gives 0.5. A score on it says that a
method learns, and cannot stand beside a score on RTE.

Worked example (in the manner of the rows): sentence1 "Ten of the bakers wore a hat.", sentence2 "Six of the bakers wore
a hat.", label 0 (entailment).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rocoft_bench.errors import UserError
from rocoft_bench.tasks.readers import RawRows
from rocoft_bench.tasks.sequence import SequenceClassification


@dataclass(frozen=True, kw_only=True)
class EmbeddedEntailment(SequenceClassification):
    """Sentence pairs from the package itself."""

    def _read(self, split: str, data_dir: Path | None) -> RawRows:
        from rocoft_bench.demo.entailment import entailment_rows

        if data_dir is not None:
            raise UserError(f"{self.family} {self.name} has its own rows: leave out --data-dir {data_dir}")
        rows = entailment_rows(split)
        columns = {name: [row[name] for row in rows] for name in (*self.text_columns, "label")}
        source = f"{self.family}/{self.name}"
        origin = {"kind": "embedded", "id": source}
        return RawRows(f"{source}, split {split}", "row", range(1, len(rows) + 1), columns, origin)


TASKS = (
    EmbeddedEntailment(
        name="entailment",
        family="demo",
        version=1,
        hub=None,
        train_split="train",
        eval_split="test",
        text_columns=("sentence1", "sentence2"),
        label_names=("entailment", "not_entailment"),
        metric_names=("accuracy",),
        random_baseline=0.5,
        paper_task=None,
    ),
)
