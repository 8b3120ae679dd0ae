"""Commonsense reasoning: eight multiple-choice tasks (Tables 2 and 12 of the RoCoFT paper).

Examples: LLM-Adapters (Hu et al. 2023, https://aclanthology.org/2023.emnlp-main.319), from GitHub at a pinned commit,
dataset/<folder>/train.json and test.json. Evaluated on the test file, which for boolq, piqa, siqa, hellaswag and
winogrande holds the validation examples of the original data, whose test answers are not public.

    task           folder          train    test  choices               random answer
    boolq          boolq           9,427   3,270  true, false                   0.500
    piqa           piqa           16,113   1,838  solution1, solution2          0.500
    siqa           social_i_qa    33,410   1,954  answer1 to answer3            0.333
    hellaswag      hellaswag      39,905  10,042  ending1 to ending4            0.250
    winogrande     winogrande     63,238   1,267  option1, option2              0.500
    arc_easy       ARC-Easy        2,251   2,376  answer1 to answer4            0.250
    arc_challenge  ARC-Challenge   1,119   1,172  answer1 to answer4            0.250
    obqa           openbookqa      4,957     500  answer1 to answer4            0.250

Some ARC questions have three or five choices; a random answer scores the mean over the test examples of one divided by
their number. Answering "true" throughout is right for 62.2 % of boolq.

`train_on` is the task's own train.json unless it says "commonsense_170k", LLM-Adapters' mixture of the eight, or names
another of the tasks. (The published notebooks train on each task's own file; the literature mostly on the mixture.)

Metrics: accuracy as LLM-Adapters counts it (`commonsense_evaluate.py`): the answer is the first of the task's choices
that is named in the generated text, and a text that names none is a wrong answer; `unparsed` is the share of these.
With `scoring` "likelihood" nothing is generated: for each choice of the row the summed log-probability of "the correct
answer is <choice>" after the prompt is computed, and the highest wins (the first of equal ones).

The protocol "published" follows the notebooks of Kowsher/RoCoFT. They cut `cut` tokens off the end of the full text,
right response included, generate at most `new` tokens, and take the first of the choices, in the order given, that
occurs after the marker:

    task           cut  new  marker            choices
    boolq            3    4  "### Response:"   false, true; true if neither occurs
    piqa             3    7  "correct answer"  solution1; solution2 if it does not occur
    siqa             3    4  "### Response:"   answer1 to answer3
    hellaswag        2    7  "correct answer"  ending1 to ending4
    arc_easy         3    4  "### Response:"   answer1 to answer4
    arc_challenge    2    3  "### Response"    answer1 to answer4
    obqa             2    3  "### Response"    answer1 to answer4
    winogrande       3    4  "### Response:"   option1, option2 (there is no notebook; as siqa)

With LLaMA's tokenizer, for which they were written, the cut takes all of the choice ("answer1" is two tokens, "true"
one); with another one it may leave a part of the right choice in the prompt. Where a choice cannot be read, some
notebooks drop it from one of two lists that they then compare row by row; here both entries are left out.

Worked example (an invented row of arc_easy): instruction "Please choose the correct answer to the question: What melts
in the sun?\\n\\nAnswer1: ice Answer2: stone Answer3: sand Answer4: glass\\n\\nAnswer format:
answer1/answer2/answer3/answer4", input "", output "the correct answer is answer1", answer "answer1". The model is given
the prompt around the instruction; from the text "the correct answer is answer1" the prediction "answer1" is read. With
three more examples, of which one names no answer and the others are right, `score` gives accuracy 0.75 and unparsed
0.25.
"""

from __future__ import annotations

import reprlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

from rocoft_bench.errors import UserError, shortened
from rocoft_bench.tasks.answer_reading import Published, contained_choice, first_choice, listed_choices
from rocoft_bench.tasks.instructions import InstructionTask, TrainingFile
from rocoft_bench.tasks.prompted import Example, ExampleEncoder, prompt
from rocoft_bench.tasks.task import Output, Outputs, Prediction, Task

if TYPE_CHECKING:
    from datasets import Dataset

RESPONSE = "the correct answer is {}"
"""The response that names a choice, in every row of LLM-Adapters."""


@dataclass(frozen=True, kw_only=True)
class MultipleChoice(InstructionTask):
    """One of the choices that an instruction ends with: "Answer format: true/false".

    choices: all that examples of this task may list; None where any may be listed.
    """

    scored_by = "choice_answers"
    choices: tuple[str, ...] | None

    def protocol(self, settings: Any) -> str:
        likelihood = settings.scoring == "likelihood"
        return "strict: the most likely of the choices" if likelihood else super().protocol(settings)

    def template(self, tokenizer: Any) -> str:
        """See `Task.template`; with the response that likelihoods are of."""
        return f"{super().template(tokenizer)}\n\n{RESPONSE}"

    def output(self, settings: Any) -> Output:
        return "likelihood" if settings.scoring == "likelihood" else "text"

    def answer_in(self, text: str) -> str | None:
        return first_choice(text, self.choices or ())

    def references(self, examples: Dataset) -> list[Any]:
        return examples["answer"][:]

    def read(self, outputs: Outputs, encoded: Dataset, raw: Dataset, tokenizer: Any, settings: Any) -> list[Prediction]:
        """See `Task.read`. scores: the log-probability of each choice, where these are compared."""
        if settings.scoring != "likelihood":
            return super().read(outputs, encoded, raw, tokenizer, settings)
        scores: list[dict[str, float]] = [{} for _ in range(len(raw))]
        for row, choice, (score, _) in zip(encoded["row"][:], encoded["choice"][:], outputs, strict=True):
            scores[row][choice] = float(score)
        return [{"prediction": max(of_row, key=of_row.__getitem__), "scores": of_row} for of_row in scores]

    def score(self, predictions: Sequence[Any], references: Sequence[Any]) -> dict[str, float]:
        return super().score(["" if answer is None else answer for answer in predictions], references)

    def in_words(self, prediction: Prediction) -> str:
        if "scores" not in prediction:
            return super().in_words(prediction)
        return f"{prediction['prediction']}  (log-probabilities: {prediction['scores']})"

    def training_task(self, settings: Any) -> Self:
        if settings.hold_out and settings.train_on not in (None, self.name) and settings.scoring != "likelihood":
            raise UserError(
                f"task.hold_out: answers to the rows of {settings.train_on} cannot be read as those of {self.name}; "
                "compare likelihoods (task.scoring: likelihood)"
            )
        task = super().training_task(settings)
        return task if settings.train_on is None else replace(task, choices=None)

    def _evaluation(self, encoder: ExampleEncoder, batch: Example, start: int, settings: Any) -> Iterator[Example]:
        """For likelihoods a row for each choice: "row" is the number of the question, "choice" what is answered."""
        if settings.scoring != "likelihood":
            yield from super()._evaluation(encoder, batch, start, settings)
            return
        for row, texts in enumerate(zip(batch["instruction"], batch["input"], strict=True), start):
            choices = listed_choices(texts[0]) or self.choices or ()
            responses = [RESPONSE.format(choice) for choice in choices]
            for choice, encoded in zip(choices, encoder.alternatives(prompt(*texts), responses), strict=True):
                yield {**encoded, "row": row, "choice": choice}

    def _problem(self, instruction: str, answer: str) -> str | None:
        listed = listed_choices(instruction)
        if not listed:
            return 'the instruction does not end with its choices, such as "Answer format: true/false"'
        strange = [choice for choice in listed if self.choices is not None and choice not in self.choices]
        if strange:
            return f'the choice "{shortened(strange[0])}" is none of this task: {", ".join(self.choices or ())}'
        choices = shortened(", ".join(listed))
        return None if answer in listed else f'"answer" is {reprlib.repr(answer)}, none of the choices {choices}'


def _numbered(word: str, count: int) -> tuple[str, ...]:
    return tuple(f"{word}{number}" for number in range(1, count + 1))


_ANSWERS, _FOUR_ANSWERS, _THREE_ANSWERS = (_numbered("answer", count) for count in (5, 4, 3))
_ENDINGS, _OPTIONS = _numbered("ending", 4), _numbered("option", 2)
_AFTER_RESPONSE, _AFTER_ANSWER = "### Response:", "correct answer"
_SIZES = {
    "boolq": ("boolq", 9427, 3270),
    "piqa": ("piqa", 16113, 1838),
    "siqa": ("social_i_qa", 33410, 1954),
    "hellaswag": ("hellaswag", 39905, 10042),
    "winogrande": ("winogrande", 63238, 1267),
    "arc_easy": ("ARC-Easy", 2251, 2376),
    "arc_challenge": ("ARC-Challenge", 1119, 1172),
    "obqa": ("openbookqa", 4957, 500),
}
"""Of each task its folder, training examples and test examples."""

_TRAIN_FILES = {
    "commonsense_170k": TrainingFile("commonsense_170k", "ft-training_set/commonsense_170k.json", 170420),
    **{name: TrainingFile(folder, f"dataset/{folder}/train.json", size) for name, (folder, size, _) in _SIZES.items()},
}


class CommonsenseTask(MultipleChoice):
    """A task of LLM-Adapters, which can be trained on the examples of the others too."""

    train_files: ClassVar[Mapping[str, TrainingFile]] = _TRAIN_FILES


def _task(name: str, choices: tuple[str, ...], random_baseline: float, published: Published) -> Task:
    folder, train, test = _SIZES[name]
    return CommonsenseTask(
        name=name,
        family="commonsense",
        folder=folder,
        split_sizes={"train": train, "test": test},
        path=f"dataset/{folder}/{{split}}.json",
        choices=choices,
        random_baseline=random_baseline,
        paper_task=name,
        published=published,
    )


_FALSE_OR_TRUE = contained_choice(("false", "true"), otherwise="true")
_SOLUTIONS = contained_choice(("solution1",), otherwise="solution2")

TASKS: tuple[Task, ...] = (
    _task("boolq", ("true", "false"), 1 / 2, Published(3, 4, _AFTER_RESPONSE, _FALSE_OR_TRUE)),
    _task("piqa", _numbered("solution", 2), 1 / 2, Published(3, 7, _AFTER_ANSWER, _SOLUTIONS)),
    _task("siqa", _ANSWERS, 1 / 3, Published(3, 4, _AFTER_RESPONSE, contained_choice(_THREE_ANSWERS))),
    _task("hellaswag", _ENDINGS, 1 / 4, Published(2, 7, _AFTER_ANSWER, contained_choice(_ENDINGS))),
    _task("winogrande", _OPTIONS, 1 / 2, Published(3, 4, _AFTER_RESPONSE, contained_choice(_OPTIONS))),
    _task("arc_easy", _ANSWERS, 0.250161, Published(3, 4, _AFTER_RESPONSE, contained_choice(_FOUR_ANSWERS))),
    _task("arc_challenge", _ANSWERS, 0.250156, Published(2, 3, "### Response", contained_choice(_FOUR_ANSWERS))),
    _task("obqa", _ANSWERS, 1 / 4, Published(2, 3, "### Response", contained_choice(_FOUR_ANSWERS))),
)
