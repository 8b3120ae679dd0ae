"""The contract of a task: where its examples are, how a model sees them, how its answers are read and scored.

A benchmark is one file that makes `Task` objects and one line in the registry (`rocoft_bench.tasks`). A new kind of
task is a subclass that says how its examples are checked, encoded and answered; loading stays as it is.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, TypeAlias

from rocoft_bench.config import TaskConfig
from rocoft_bench.errors import UserError
from rocoft_bench.metrics import compute
from rocoft_bench.runs import known_hashes
from rocoft_bench.tasks.data import HubDataset, check_texts, content_sha256, filled, find_split, read_hub
from rocoft_bench.tasks.readers import RawRows, read_rows, require_columns

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

Output = Literal["logits", "spans", "text", "likelihood"]
"""What an evaluation asks of the model; `rocoft_bench.engine.prediction` has a predictor for each."""

Outputs: TypeAlias = "Sequence[np.ndarray]"
"""What a model put out, one array for each encoded example."""

ENCODE_EXAMPLES = 1000
"""Examples that are encoded at a time."""

Prediction = dict[str, Any]
"""One answer, as written to predictions.jsonl: "prediction", in the form that `Task.score` compares, and details."""


@dataclass(frozen=True)
class LoadedSplit:
    """One split, checked and ready to encode, and where it came from.

    examples: the task's `columns` and nothing else.
    origin: for the run record; None where a field does not apply. kind (hub, github, data_dir, file or embedded), id
        (on the hub or of the embedded examples), path (of the file, as it was given), config, revision, split,
        num_rows, sha256 (of the examples' content: equal examples have equal hashes on every machine and in every
        file format).
    notes: what was drawn or left out, one line each, for the record.
    """

    examples: Dataset
    origin: dict[str, Any]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Encoded:
    """Examples as the model takes them: input_ids, attention_mask, and token_type_ids where the tokenizer has them.

    For training also the targets: labels, a number or one a token (-100 where nothing is to be learnt), or
    start_positions and end_positions. A row may become several (windows, choices) or none; further columns say which.
    notes: what was cut or dropped, one line each, for the record.
    """

    examples: Dataset
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Task(ABC):
    """A benchmark task. Nothing is loaded until `load` is called.

    kind: what the model must be able to do; it chooses the model class.
    version: goes up whenever a change here can change a score; results of different versions do not compare.
    text_columns: what the model reads, in that order.
    target_columns: what it should answer.
    metric_names: the first is the one that ranks runs.
    random_baseline: what a random answer scores on the first metric; 0 unless a task says otherwise.
    paper_task: the task's name in the tables of the paper; None if it is not there.
    folder: its folder below DATA_DIR/<family>/ where that is not called as the task.
    made_by: module of `rocoft_bench.demo` and its function that makes the examples, where they ship with the package.
    split_sizes: examples of the splits of its own source, where they are known; `rocoft prefetch` compares.
    """

    kind: ClassVar[str]
    Settings: ClassVar[type[TaskConfig]] = TaskConfig
    """The keys of the `task` section of a config."""
    answer_names: ClassVar[tuple[str, ...]] = ("prediction",)
    """Columns of a table with answers."""

    name: str
    family: str
    version: int = 1
    hub: HubDataset | None = None
    train_split: str = "train"
    eval_split: str = "test"
    text_columns: tuple[str, ...]
    target_columns: tuple[str, ...]
    metric_names: tuple[str, ...]
    random_baseline: float = 0.0
    paper_task: str | None = None
    folder: str | None = None
    split_sizes: Mapping[str, int] = field(default_factory=dict, hash=False)
    made_by: tuple[str, str] | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that a source of examples must have."""
        return (*self.text_columns, *self.target_columns)

    @property
    def scored_by(self) -> str:
        """The metric of `rocoft_bench.metrics` that gives the first of `metric_names`, and maybe the others."""
        return self.metric_names[0]

    @property
    def source(self) -> str:
        """Where its examples come from without `data_dir`, in short."""
        return f"{self.hub.id} {self.hub.config or ''} @ {self.hub.revision[:10]}" if self.hub else "--data-dir"

    @property
    def model_options(self) -> dict[str, Any]:
        """Fields of the model's configuration that the task decides, such as the number of labels."""
        return {}

    def bound(self, settings: Any) -> tuple[Self, Any]:
        """The task as its settings make it, and the settings with what the examples say of them; most stay as they are.

        Raises: UserError where a task needs the examples for that, and they cannot be had.
        """
        return self, settings

    def seeded(self, seed: int) -> Self:
        """The task as a run of that seed has it; most are the same to all."""
        return self

    def load(self, split: str, data_dir: Path | None = None) -> LoadedSplit:
        """Read and check a split: from `<data_dir>/<family>/<folder>/`, else from the task's own source.

        Raises: UserError in one line: what is wrong with which row of which file, or what cannot be reached.
        """
        from datasets import Dataset

        raw = self._read(split, data_dir)
        columns = self._checked(raw)
        examples = Dataset.from_dict(columns)
        content = content_sha256(columns)
        if files := self._files(split, data_dir):
            known_hashes.remember(self._hash_name(split), files, content)
        facts = {"split": split, "num_rows": len(examples), "sha256": content}
        unset = dict.fromkeys(("kind", "id", "path", "config", "revision"))
        return LoadedSplit(examples, {**unset, **raw.origin, **facts}, raw.notes)

    def sha256_of(self, split: str, data_dir: Path | None) -> str:
        """The content hash of a split in a file, which is read only if it has changed since. Raises: as `load`."""
        files, name = self._files(split, data_dir), self._hash_name(split)
        found = known_hashes.recall(name, files)
        if found is None:
            found = content_sha256(self._checked(self._read(split, data_dir)))
            known_hashes.remember(name, files, found)
        return found

    def _files(self, split: str, data_dir: Path | None) -> list[Path]:
        """The user's files that a split is read from. Raises: as `load`."""
        if data_dir is None:
            return []
        if self.made_by is not None:
            raise UserError(f"{self.family} {self.name} has its own examples: leave out --data-dir {data_dir}")
        return [find_split(data_dir, self.family, self.folder or self.name, split)]

    def _hash_name(self, split: str) -> str:
        """What a hash is of: the examples as this task reads them, which others may not."""
        return f"rows of {self.family} {self.name} {self.version}: {', '.join(self.columns)}"

    def splits(self, settings: Any) -> tuple[tuple[Task, str], tuple[Task, str]]:
        """What a run reads: the task that it trains on, and the split; the task and split of its evaluation. A trial of
        tuning reads nothing but the first.

        Raises: UserError if the settings name no such task.
        """
        training = self.training_task(settings), self.train_split
        return training, training if settings.hold_out else (self, self.eval_split)

    def training_task(self, settings: Any) -> Self:
        """The task whose examples a run trains on. Raises: as `splits`."""
        return self

    def load_training(self, settings: Any) -> LoadedSplit:
        """The examples to train on. Raises: as `load`."""
        task, split = self.splits(settings)[0]
        return task.load(split, settings.data_dir)

    def score(self, predictions: Sequence[Any], references: Sequence[Any]) -> dict[str, float]:
        """The task's metrics as fractions in [-1, 1], the main one first. Raises: as `rocoft_bench.metrics.compute`."""
        names = self.metric_names if self.scored_by in self.metric_names else (self.scored_by,)
        return compute(names, predictions, references)

    def template(self, tokenizer: Any) -> str | None:
        """What a model that answers in words is given, with {column} for the texts of a row; None for other models.

        A task that puts words of its own around the texts says so here: results of different templates do not compare.
        """
        answers_in_words = self.kind in ("causal_lm", "seq2seq_lm")
        return "\n".join(f"{{{name}}}" for name in self.text_columns) if answers_in_words else None

    def output(self, settings: Any) -> Output:
        """What an evaluation asks of the model."""
        return "logits"

    def generation(self, settings: Any) -> dict[str, Any]:
        """For the output "text": arguments of transformers' `generate`."""
        return {}

    def prepared(self, model: Any, tokenizer: Any, settings: Any) -> Any:
        """The base model as the task asks it. Raises: UserError if it cannot be asked."""
        return model

    def fitted(self, settings: Any, longest: int | None, longest_target: int | None = None) -> Any:
        """The settings with lengths that a model can take whose longest input is `longest` (None: no limit).

        longest_target: the same of an encoder-decoder's decoder.
        """
        too_long = longest is not None and longest < settings.max_length
        return settings.model_copy(update={"max_length": longest}) if too_long else settings

    @abstractmethod
    def protocol(self, settings: Any) -> str:
        """How answers are made and scored, in a few words; runs of different protocols never share a table."""

    @abstractmethod
    def encode(self, examples: Dataset, tokenizer: PreTrainedTokenizerBase, settings: Any, training: bool) -> Encoded:
        """Examples for training or for evaluation. Nothing is padded: that is done batch by batch.

        settings: this class's `Settings`; its `max_length`, in tokens, is no more than the model takes.
        """

    @abstractmethod
    def read(self, outputs: Outputs, encoded: Dataset, raw: Dataset, tokenizer: Any, settings: Any) -> list[Prediction]:
        """One prediction for each of `raw` from the model's outputs, one for each of `encoded`.

        outputs: for "logits" (num_labels,), for "spans" (2, tokens) start and end logits, for "text" (new tokens,)
            token ids, for "likelihood" (2,) the summed log-probability of the labels and their number.
        """

    def references(self, examples: Dataset) -> list[Any]:
        """The right answers, in the form that `score` compares."""
        return examples[self.target_columns[0]][:]

    def in_words(self, prediction: Prediction) -> str:
        """A prediction as it is told to a person."""
        return str(prediction["prediction"])

    def question(self, *texts: str) -> dict[str, Any]:
        """A row that asks for an answer to `texts` (one for each of `text_columns`) and does not know it."""
        return {**dict(zip(self.text_columns, texts, strict=True)), **self._no_target()}

    def asked(self, table: RawRows) -> list[dict[str, Any]]:
        """A `question` for each row of a file of the user's own; a cell without anything is an empty text.

        Raises: UserError where a column is missing or holds something else than texts.
        """
        called = {name: self.called(name) for name in self.text_columns}
        require_columns(table.source, table.columns, list(called.values()))
        texts = {name: list(map(filled, table.columns[column])) for name, column in called.items()}
        check_texts(replace(table, columns=texts, called=called), self.text_columns)
        return [self.question(*row) for row in zip(*texts.values(), strict=True)]

    def called(self, column: str) -> str:
        """What the user calls a column of the task."""
        return column

    def answer_columns(self, prediction: Prediction) -> dict[str, Any]:
        """A prediction as columns of a table, by `answer_names`."""
        return {"prediction": prediction["prediction"]}

    def for_questions(self, settings: Any) -> Any:
        """The settings for examples whose answer is not known."""
        return settings

    def _no_target(self) -> dict[str, Any]:
        """The other columns of a row whose texts are all that is known."""
        return {name: "" for name in self.columns if name not in self.text_columns}

    @abstractmethod
    def _checked(self, raw: RawRows) -> dict[str, list[Any]]:
        """The columns that the task uses, or a UserError that names the first wrong row."""

    def _read(self, split: str, data_dir: Path | None) -> RawRows:
        """The examples of a split with the task's columns, unchecked."""
        if data_dir is not None:
            (path,) = self._files(split, data_dir)
            return replace(read_rows(path, self.columns), origin={"kind": "data_dir", "path": str(path)})
        if self.made_by is not None:
            module, function = self.made_by
            rows = getattr(import_module(f"rocoft_bench.demo.{module}"), function)(split)
            columns = {name: [row[name] for row in rows] for name in self.columns}
            source = f"{self.family}/{self.name}"
            origin = {"kind": "embedded", "id": source}
            return RawRows(f"{source}, split {split}", "row", range(1, len(rows) + 1), columns, origin)
        if self.hub is None:
            raise UserError(f"{self.family} {self.name}: has no examples of its own; say where they are: --data-dir")
        return read_hub(self.hub, *self.on_hub(split))

    def on_hub(self, split: str) -> tuple[str, tuple[str, ...]]:
        """What a split and the columns are called on the hub."""
        return split, self.columns
