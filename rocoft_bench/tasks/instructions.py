"""Tasks in the form of LLM-Adapters: a causal language model answers an instruction in words.

Examples have the columns instruction, input (mostly empty), output (a response in words) and answer (what it comes down
to; a text, or in JSON and Parquet a number). Models are trained on prompt and `output` (see `prompted`), and
evaluated in one of two protocols:

strict (the default): the prompt ends where the response begins and the model must produce all of it. The answer is
read from the text as LLM-Adapters reads it; a text without one is a wrong answer. LLM-Adapters samples with 4 beams at
temperature 0.1; here nothing is sampled, so that the same model always gives the same score.

published: as the authors' notebooks evaluated, for comparison with their numbers only. The model is given the *right
response* but for its last few tokens (`Published`), in mathematics the worked solution, and adds some more. The number
so read is compared with that of the right response itself, not with `answer`, and examples where one has none are left
out of the accuracy; `unparsed` is their share.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import ValidationInfo, field_validator

from rocoft_bench.config import TaskConfig
from rocoft_bench.errors import UserError, suggest
from rocoft_bench.metrics import compute
from rocoft_bench.tasks.answer_reading import Published
from rocoft_bench.tasks.data import check_texts, files_of_split
from rocoft_bench.tasks.github import GitHubFiles
from rocoft_bench.tasks.prompted import Example, ExampleEncoder, PromptConfig, PromptedTask
from rocoft_bench.tasks.task import Outputs, Prediction
from rocoft_bench.untrusted.data_files import FORMS

if TYPE_CHECKING:
    from datasets import Dataset

    from rocoft_bench.tasks.readers import RawRows

LLM_ADAPTERS = GitHubFiles("AGI-Edgerunners/LLM-Adapters", "816657208af4db747803f87ba40a4c71383fed7a")


class InstructionConfig(PromptConfig):
    """The `task` section of a config."""

    train_on: str | None = None
    """Training examples other than the task's own: a task of the family, or a mixed set of LLM-Adapters."""
    protocol: Literal["strict", "published"] = "strict"
    """strict: the prompt ends where the response begins. published: as the notebooks, with the right response in it."""
    scoring: Literal["generate", "likelihood"] = "generate"
    """Read the answer from generated text, or take the choice whose response is most likely."""

    @field_validator("scoring")
    @classmethod
    def _published_generates(cls, scoring: str, info: ValidationInfo) -> str:
        if scoring == "likelihood" and info.data.get("protocol") == "published":
            raise ValueError('the protocol "published" generates; use generate')
        return scoring


@dataclass(frozen=True)
class TrainingFile:
    """Training examples: their folder below DATA_DIR/<family>/; path and number in LLM-Adapters, if they are there."""

    folder: str
    path: str | None = None
    examples: int | None = None


@dataclass(frozen=True, kw_only=True)
class InstructionTask(PromptedTask):
    """An answer that is read out of a response.

    published: how the notebook of this task evaluates.
    path: of a split in LLM-Adapters; None where the examples come from elsewhere.
    needs_output: whether examples without a response are errors; they are where they are trained on.
    """

    Settings: ClassVar[type[TaskConfig]] = InstructionConfig
    answer_names: ClassVar[tuple[str, ...]] = ("prediction", "response")
    train_files: ClassVar[Mapping[str, TrainingFile]] = {}
    """What `train_on` may name."""

    target_columns: tuple[str, ...] = ("output", "answer")
    metric_names: tuple[str, ...] = ("accuracy", "unparsed")
    published: Published
    path: str | None = None
    needs_output: bool = False

    @property
    def columns(self) -> tuple[str, ...]:
        return ("instruction", "input", "output", "answer")

    @property
    def source(self) -> str:
        return f"{LLM_ADAPTERS.repo} @ {LLM_ADAPTERS.commit[:10]}" if self.path else super().source

    def protocol(self, settings: Any) -> str:
        if settings.protocol == "published":
            given = f"given the right response but for its last {self.published.cut} tokens"
            return f"published: {given}; rows without a readable answer left out"
        return super().protocol(settings)

    def generation(self, settings: Any) -> dict[str, Any]:
        if settings.protocol == "published":
            return {"max_new_tokens": self.published.new_tokens, "num_beams": 1}
        return super().generation(settings)

    def training_task(self, settings: Any) -> Self:
        """This task with the training examples that `train_on` names in place of its own. Raises: as `splits`."""
        name = settings.train_on
        if name is None:
            return replace(self, needs_output=True)
        if name not in self.train_files:
            raise UserError(f'task.train_on = "{name}": {suggest(name, self.train_files)}')
        chosen = self.train_files[name]
        sizes = {self.train_split: chosen.examples} if chosen.examples else {}
        return replace(self, folder=chosen.folder, path=chosen.path, split_sizes=sizes, needs_output=True)

    def _require_training_file(self, data_dir: Path) -> None:
        """Raises: UserError that names the training examples that are there instead, and how to choose them."""
        own, split = data_dir / self.family / (self.folder or self.name), self.train_split
        if files_of_split(own, split):
            return
        there = [name for name, file in self.train_files.items() if files_of_split(own.parent / file.folder, split)]
        ways = f"choose examples that are there with --train-on: {', '.join(there)}" if there else "add them"
        raise UserError(f"no training examples: looked for {own / split}{', '.join(FORMS)}; {ways}")

    def _longest_example(self, settings: Any, training: bool) -> int:
        """For the protocol "published" with the tokens that are then taken off again."""
        if self.output(settings) == "likelihood":
            return settings.max_length
        longest = super()._longest_example(settings, training)
        taken_off = self.published.cut if settings.protocol == "published" and not training else 0
        return min(settings.max_length, longest + taken_off) if taken_off else longest

    def _evaluation(self, encoder: ExampleEncoder, batch: Example, start: int, settings: Any) -> Iterator[Example]:
        """See `PromptedTask`. A further column for the protocol "published": "removed", the response's last tokens."""
        if settings.protocol != "published":
            return super()._evaluation(encoder, batch, start, settings)
        prompts = self.prompts(batch, encoder.tokens.tokenizer, settings)
        full = [before + response for before, response in zip(prompts, batch["output"], strict=True)]
        return encoder.truncated(full, self.published.cut)

    def read(self, outputs: Outputs, encoded: Dataset, raw: Dataset, tokenizer: Any, settings: Any) -> list[Prediction]:
        """See `Task.read`. Predictions: an answer or None; in the protocol "published" also what should be read.

        text: what the model said.
        """
        texts = [tokenizer.decode(ids, skip_special_tokens=True).strip() for ids in outputs]
        if settings.protocol == "strict":
            return [{"prediction": self.answer_in(text), "text": text} for text in texts]
        given, removed = encoded["input_ids"][:], encoded["removed"][:]
        scored = [
            self._as_published(tokenizer.decode([*ids, *new]), tokenizer.decode([*ids, *gone]))
            for ids, new, gone in zip(given, outputs, removed, strict=True)
        ]
        return [{"prediction": answer, "text": text} for answer, text in zip(scored, texts, strict=True)]

    def _as_published(self, continued: str, full: str) -> dict[str, str] | None:
        answer, gold = self.published.answer(continued), self.published.answer(full)
        return None if answer is None or gold is None else {"read": answer, "gold": gold}

    @abstractmethod
    def answer_in(self, text: str) -> Any:
        """The answer that a generated text gives, in the form of `references`; None if it gives none."""

    def score(self, predictions: Sequence[Any], references: Sequence[Any]) -> dict[str, float]:
        """See `Task.score`. Predictions of the protocol "published" bring their own references."""
        scored = [answer for answer in predictions if isinstance(answer, dict)]
        if not scored:
            return super().score(predictions, references)
        read, gold = ([answer[key] for answer in scored] for key in ("read", "gold"))
        return {**compute(("choice_answers",), read, gold), "unparsed": 1 - len(scored) / len(predictions)}

    def in_words(self, prediction: Prediction) -> str:
        answer, text = prediction["prediction"], prediction["text"]
        return f"no answer in: {text}" if answer is None else f"{answer}  (from: {text})"

    def answer_columns(self, prediction: Prediction) -> dict[str, Any]:
        return {"prediction": prediction["prediction"], "response": prediction.get("text")}

    def for_questions(self, settings: Any) -> Any:
        return settings.model_copy(update={"protocol": "strict"})  # the other one needs the right response

    def _checked(self, raw: RawRows) -> dict[str, list[Any]]:
        raw = replace(raw, columns={**raw.columns, "answer": [_as_text(cell) for cell in raw.columns["answer"]]})
        check_texts(raw, self.columns)
        named = (raw.columns[name] for name in ("instruction", "output", "answer"))
        for row, (instruction, output, answer) in enumerate(zip(*named, strict=True)):
            no_output = '"output" is empty, so there is nothing to learn' if not output.strip() else None
            problem = (self.needs_output and no_output) or self._problem(instruction, answer)
            if problem:
                raise raw.error(row, problem)
        return raw.columns

    @abstractmethod
    def _problem(self, instruction: str, answer: str) -> str | None:
        """What is wrong with a row's answer; None if nothing is."""

    def _files(self, split: str, data_dir: Path | None) -> list[Path]:
        if data_dir is not None and self.needs_output and self.made_by is None:
            self._require_training_file(data_dir)
        return super()._files(split, data_dir)

    def _read(self, split: str, data_dir: Path | None) -> RawRows:
        if data_dir is not None or self.made_by is not None:
            return super()._read(split, data_dir)
        if self.path is None:
            raise UserError(
                f"{self.family} {self.folder or self.name} has no {split} examples in {LLM_ADAPTERS.repo}; "
                "give a folder that has some with --data-dir"
            )
        return LLM_ADAPTERS.read(self.path.format(split=split), self.columns)


def _as_text(answer: Any) -> Any:
    """A number as JSON writes it, so that 36 is one answer in every file format; no answer as an empty one."""
    if answer is None:
        return ""
    return json.dumps(answer) if type(answer) in (int, float) else answer
