"""Classification by a prompt: a masked language model's logits of one word for each class, learnt from a few rows.

Which rows are trained on and tested on: given few-shot files, or a draw by the rule of LM-BFF (its
generate_k_shot_data): numpy's global generator is seeded, the training rows are shuffled in place in the order of their
file, and of each class the first k are for training. Of more than 1,000 test rows 1,000 are used (LM-Kernel-FT): the
first after a shuffle with seed 42, or those that pandas' `sample` with random_state 42 gives.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from rocoft_bench.config import Count, TaskConfig
from rocoft_bench.errors import UserError
from rocoft_bench.models import MASKED_LM
from rocoft_bench.tasks.data import LABEL, HubDataset, check_class_labels, check_texts, files_of_split
from rocoft_bench.tasks.fewshot.prompts import Prompter, in_one_line
from rocoft_bench.tasks.readers import RawRows
from rocoft_bench.tasks.sequence import SequenceClassification
from rocoft_bench.tasks.task import Encoded

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

FAMILY = "fewshot"
TEST_ROWS = 1000
TEST_SEED = 42


class FewShotSettings(TaskConfig):
    max_length: Count | None = None  # type: ignore[assignment]
    """Tokens of a prompt; by default the task's own."""
    first_limit: Count | None = None
    """Tokens of a prompt's first sentence; by default the task's own."""
    shots: Count = 16
    """Training rows of each class."""
    draw: int | None = None
    """Seed by which the training rows are drawn; by default the run's."""
    label_words: tuple[str, ...] | None = None
    """By class, each one token after a blank; by default the task's own."""


@dataclass(frozen=True)
class FewShotSource(HubDataset):
    """Where a task's rows are on the hub.

    columns: its names for ours. classes: what its label column holds, in the order of our label codes, where that
    differs. drops_unlabelled: leave out rows with label -1.
    """

    columns: Mapping[str, str] = field(default_factory=dict, hash=False)
    test_split: str = "test"
    classes: tuple[str, ...] = ()
    drops_unlabelled: bool = False


@dataclass(frozen=True, kw_only=True)
class FewShotTask(SequenceClassification):
    """One task. label_names: a word for each class, without its leading blank; each is one token.

    pieces: of the prompt. max_length: tokens of a prompt; first_limit: of its first sentence. test_by: how more than
    1,000 test rows are cut, "shuffle" or "sample". shots, draw: of the variant that reads the rows of one draw.
    run_seed: draws the rows where the settings do not.
    """

    kind: ClassVar[str] = MASKED_LM
    Settings: ClassVar[type[TaskConfig]] = FewShotSettings
    pieces: tuple[str, ...]
    max_length: int
    first_limit: int | None
    test_by: str = "shuffle"
    shots: int | None = None
    draw: int | None = None
    run_seed: int | None = None
    family: str = FAMILY

    @property
    def model_options(self) -> dict[str, Any]:
        return {}

    def bound(self, settings: Any) -> tuple[Self, Any]:
        """See `Task.bound`. Raises: UserError if there is not one word for each class."""
        words = settings.label_words or self.label_names
        if len(words) != len(self.label_names):
            raise UserError(f"label_words: {self.name} has {len(self.label_names)} classes, not {len(words)}")
        own = {"max_length": self.max_length, "first_limit": self.first_limit}
        left_open = {name: value for name, value in own.items() if getattr(settings, name) is None}
        return replace(self, label_names=words), settings.model_copy(update=left_open)

    def seeded(self, seed: int) -> Self:
        """Whose seed draws the training rows."""
        return replace(self, run_seed=seed)

    def protocol(self, settings: Any, outputs: str = "logits") -> str:
        """See `Task.protocol`. outputs: what is made of the words' logits."""
        whole, first = settings.max_length or self.max_length, settings.first_limit or self.first_limit
        lengths = f"at most {whole} tokens" + (f", the first sentence at most {first}" if first else "")
        words = ", ".join(self.label_names)
        return f"{in_one_line(self.pieces)}: {outputs} of {words} at the mask; {lengths}; at most 1,000 test rows"

    # Rows

    def training_task(self, settings: Any) -> Self:
        """Of the rows in DATA_DIR/fewshot/TASK/SHOTS-DRAW where they are there, else of a draw from all."""
        draw = self.run_seed if settings.draw is None else settings.draw
        folder = f"{self.name}/{settings.shots}-{draw}"
        is_given = settings.data_dir and files_of_split(settings.data_dir / FAMILY / folder, self.train_split)
        return replace(self, shots=settings.shots, **({"folder": folder} if is_given else {"draw": draw}))

    def on_hub(self, split: str) -> tuple[str, tuple[str, ...]]:
        assert isinstance(self.hub, FewShotSource)
        columns = tuple(self.hub.columns.get(name, name) for name in self.columns)
        return self.hub.test_split if split == self.eval_split else split, columns

    def _hash_name(self, split: str) -> str:
        return f"{super()._hash_name(split)}, draw {self.shots} {self.draw}, {self.test_by}"

    def _read(self, split: str, data_dir: Path | None) -> RawRows:
        raw = super()._read(split, data_dir)
        return self._drawn(self._as_ours(raw) if raw.origin["kind"] == "hub" else raw, split)

    def _as_ours(self, raw: RawRows) -> RawRows:
        """Rows of the hub under our names for columns and labels."""
        assert isinstance(self.hub, FewShotSource)
        columns = {name: raw.columns[self.hub.columns.get(name, name)] for name in self.columns}
        codes = {theirs: code for code, theirs in enumerate(self.hub.classes)}
        columns[LABEL] = [codes.get(label, label) for label in columns[LABEL]]
        labelled = [row for row, label in enumerate(columns[LABEL]) if label != -1]
        ours = replace(raw, columns=columns)
        return ours.selected(labelled) if self.hub.drops_unlabelled else ours

    def _drawn(self, raw: RawRows, split: str) -> RawRows:
        """The rows that are used, checked. Raises: UserError also if a class has too few."""
        self._checked(raw)
        count, notes = len(raw.places), []
        if split == self.eval_split and count > TEST_ROWS:
            raw = _drawn_rows(raw, self._test_rows(count))
            notes.append(f"{TEST_ROWS:,} of {count:,} test rows are used")
        elif split == self.train_split and self.draw is not None:
            raw = _drawn_rows(raw, self._training_rows(raw))
            notes.append(f"the training rows were drawn by the rule of LM-BFF from {count:,} rows of {raw.source}")
        elif split == self.train_split and self.shots is not None:
            self._check_counts(raw, raw.columns[LABEL])
        if raw.origin["kind"] == "hub" and self.hub is not None and not self.hub.is_pinned:
            notes.append(f"{self.hub.id} is taken as it is on the day: commit {raw.origin['revision'][:10]}")
        return replace(raw, notes=(*raw.notes, *notes))

    def _training_rows(self, raw: RawRows) -> list[int]:
        """Row numbers, class by class in the order in which the classes first come."""
        import numpy as np

        labels = raw.columns[LABEL]
        by_class: dict[int, list[int]] = {}
        for row in np.random.RandomState(self.draw).permutation(len(labels)).tolist():
            by_class.setdefault(labels[row], []).append(row)
        chosen = [row for rows in by_class.values() for row in rows[: self.shots]]
        self._check_counts(raw, [labels[row] for row in chosen])
        return chosen

    def _test_rows(self, count: int) -> list[int]:
        import numpy as np

        generator = np.random.RandomState(TEST_SEED)
        if self.test_by == "sample":  # as pandas.DataFrame.sample
            return generator.choice(count, TEST_ROWS, replace=False).tolist()
        return generator.permutation(count)[:TEST_ROWS].tolist()

    def _check_counts(self, raw: RawRows, labels: Sequence[int]) -> None:
        for code, word in enumerate(self.label_names):
            if (count := labels.count(code)) != self.shots:
                raise UserError(
                    f"shots {self.shots}: {raw.source} has {count} rows of class {code} ({word}) of {self.name}"
                )

    def _checked(self, raw: RawRows) -> dict[str, list[Any]]:
        check_texts(raw, self.text_columns)
        check_class_labels(raw, self.label_names)
        return raw.columns

    # Prompts

    def template(self, tokenizer: Any) -> str:
        return in_one_line(self.pieces)

    def prepared(self, model: Any, tokenizer: Any, settings: Any) -> Any:
        from rocoft_bench.models.label_words import read_words

        read_words(model, self.word_ids(tokenizer, settings))
        return model

    def word_ids(self, tokenizer: Any, settings: Any) -> list[int]:
        """By class, the token whose logit is read. Raises: UserError if a word is not one token."""
        return self._prompter(tokenizer, settings).word_ids(self.label_names)

    def _prompter(self, tokenizer: Any, settings: Any) -> Prompter:
        return Prompter(self.name, self.pieces, tokenizer, settings.max_length, settings.first_limit)

    def encode(self, examples: Dataset, tokenizer: PreTrainedTokenizerBase, settings: Any, training: bool) -> Encoded:
        """See `Task.encode`; mask_position: where the logits are read.

        Raises: UserError if a prompt loses its mask to the cut.
        """
        from datasets import Dataset

        texts = list(zip(*(examples[name] for name in self.text_columns), strict=True))
        name = self.train_split if training else self.eval_split
        prompts, notes = self._prompter(tokenizer, settings).prompts(texts, name)
        columns = {
            "input_ids": prompts,
            "attention_mask": [[1] * len(prompt) for prompt in prompts],
            "mask_position": [prompt.index(tokenizer.mask_token_id) for prompt in prompts],
            "labels": examples[LABEL][:],
        }
        return Encoded(Dataset.from_dict(columns), notes)


def _drawn_rows(raw: RawRows, rows: Sequence[int]) -> RawRows:
    return replace(raw.selected(rows), origin={**raw.origin, "drawn_from": len(raw.places)})
