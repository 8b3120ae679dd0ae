"""Arithmetic word problems: five tasks (Tables 2 and 12 of the RoCoFT paper).

Examples: LLM-Adapters (Hu et al. 2023, https://aclanthology.org/2023.emnlp-main.319), from GitHub at a pinned commit,
dataset/<folder>/test.json. The `output` of these test files was written by ChatGPT and is often wrong (and empty in six
examples of gsm8k), so only `answer` counts; a random answer scores 0.

    task        folder      test rows  right in `output`
    gsm8k       gsm8k           1,319        771
    multiarith  MultiArith        600        560  (20 questions occur twice)
    addsub      AddSub            395        370
    singleeq    SingleEq          508        484
    svamp       SVAMP           1,000        803

Trained on math_10k.json (9,919 examples), as the published notebooks do. It holds test questions of AddSub, MultiArith
and SingleEq (LLM-Adapters issue 43), which every record of a run on it says, and multiple choice from AQuA, whose
`answer` is a letter: training reads `output` only, so any answer will do there. With `--data-dir` any file
math/<folder>/train.json can be named by `train_on` instead.

Metrics: accuracy as LLM-Adapters counts it (`evaluate.py`): the answer is the last number of the generated text, commas
left out, and right if it is within 0.001 of `answer`; a text without a number is a wrong answer, and `unparsed` is the
share of these. Since version 2 fractions and the minus sign U+2212 are read too, which LLM-Adapters does not. A model
trained without end token (`append_eos`) goes on after its answer, and is then scored by the last number of that.

The protocol "published" follows the notebooks of Kowsher/RoCoFT. They cut `cut` tokens off the end of the full text,
worked solution included, generate at most `new` tokens, and read the first number (without its sign) after "The answer
is". It must equal the number that they read from the uncut text; `answer` is not looked at. Examples without "The
answer is", or without a number after it, are left out:

    task                            cut  new  number
    gsm8k, addsub, singleeq, svamp    5    7  \\d+\\.\\d+|\\d+
    multiarith                        3    3  \\d+

In this way they print 0.990 for gsm8k, 1.0 for multiarith, 0.986 for svamp, and 0.992 for addsub and singleeq, whose
notebooks show the same output.

Worked example (an invented row of svamp): instruction "Ada has 3 boxes of 12 pens. How many pens does she have?", input
"", output "\\nA: She has 3 * 12 = 36 pens. The answer is 36.", answer "36.0". From the generated text "3 * 12 = 36. The
answer is 36." the prediction 36.0 is read; with a second row whose text has no number, `score` gives accuracy 0.5 and
unparsed 0.5.
"""

from __future__ import annotations

import reprlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import field_validator

from rocoft_bench.config import Count, TaskConfig
from rocoft_bench.tasks.answer_reading import Published, first_number, last_number, spelt_number
from rocoft_bench.tasks.instructions import InstructionConfig, InstructionTask, TrainingFile
from rocoft_bench.tasks.prompted import ExampleEncoder
from rocoft_bench.tasks.task import Task

if TYPE_CHECKING:
    from datasets import Dataset

MATH_10K = "math_10k"


class NumberConfig(InstructionConfig):
    """The `task` section of a config."""

    max_new_tokens: Count = 256
    """Longest answer that is generated, in tokens."""

    @field_validator("scoring")
    @classmethod
    def _no_choices(cls, scoring: str) -> str:
        if scoring == "likelihood":
            raise ValueError("there are no choices to compare; use generate")
        return scoring


@dataclass(frozen=True, kw_only=True)
class WordProblems(InstructionTask):
    """A number, the last one of the response."""

    Settings: ClassVar[type[TaskConfig]] = NumberConfig
    scored_by = "number_answers"
    version: int = 2

    def answer_in(self, text: str) -> float | None:
        return last_number(text)

    def references(self, examples: Dataset) -> list[Any]:
        return [spelt_number(answer) for answer in examples["answer"]]

    def _problem(self, instruction: str, answer: str) -> str | None:
        if self.needs_output or spelt_number(answer) is not None:
            return None  # examples to train on may have any answer: nothing reads it
        return f'"answer" is {reprlib.repr(answer)}, not a number'


class MathConfig(NumberConfig):
    """The `task` section of a config."""

    train_on: str | None = MATH_10K
    """Training examples: math_10k of LLM-Adapters, or those of a task, from math/<folder>/train.json in --data-dir."""


_DECIMAL = Published(5, 7, "The answer is", first_number(r"\d+\.\d+|\d+", float))
_WHOLE = Published(3, 3, "The answer is", first_number(r"\d+", int))
_FACTS = {
    "gsm8k": ("gsm8k", 1319, _DECIMAL),
    "multiarith": ("MultiArith", 600, _WHOLE),
    "addsub": ("AddSub", 395, _DECIMAL),
    "singleeq": ("SingleEq", 508, _DECIMAL),
    "svamp": ("SVAMP", 1000, _DECIMAL),
}
"""Of each task its folder, the number of its test examples, and how its notebook evaluates."""


class MathTask(WordProblems):
    """A task of LLM-Adapters, trained on a set that is not its own."""

    Settings: ClassVar[type[TaskConfig]] = MathConfig
    train_files: ClassVar[Mapping[str, TrainingFile]] = {
        MATH_10K: TrainingFile(MATH_10K, f"ft-training_set/{MATH_10K}.json", 9919),
        **{name: TrainingFile(folder) for name, (folder, *_) in _FACTS.items()},
    }

    def _notes(self, encoder: ExampleEncoder, settings: Any, training: bool) -> Iterator[str]:
        yield from super()._notes(encoder, settings, training)
        if training and settings.train_on == MATH_10K:
            yield f"{MATH_10K} holds test questions of AddSub, MultiArith and SingleEq (LLM-Adapters issue 43)"


TASKS: tuple[Task, ...] = tuple(
    MathTask(
        name=name,
        family="math",
        folder=folder,
        split_sizes={"test": test},
        path=f"dataset/{folder}/{{split}}.json",
        paper_task=name,
        published=published,
    )
    for name, (folder, test, published) in _FACTS.items()
)
