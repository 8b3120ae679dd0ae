"""The examples of an experiment: cut to the number that is wanted, encoded, scored.

What makes them differ from the benchmark's is appended to `notes`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rocoft_bench.config import TaskConfig, TrainingConfig
from rocoft_bench.errors import UserError

if TYPE_CHECKING:
    from datasets import Dataset

    from rocoft_bench.engine.observer import Observer
    from rocoft_bench.engine.prediction import Evaluation, Evaluator, Predictor
    from rocoft_bench.engine.processes import Processes
    from rocoft_bench.models import Limits
    from rocoft_bench.tasks import LoadedSplit, Task


@dataclass(frozen=True)
class EncodedSplit:
    """Examples as they were read and as the model takes them; `origin` says where they are from."""

    raw: Dataset
    encoded: Dataset
    origin: dict[str, Any]

    def longest(self, column: str = "input_ids") -> int:
        """Tokens of the longest example, in a column that holds a list of them for each."""
        from rocoft_bench.engine.batching import lengths_of

        return max(lengths_of(self.encoded, column))


def fitted_settings(task: Task, settings: TaskConfig, limits: Limits, notes: list[str]) -> TaskConfig:
    """The task's settings with lengths that the model can take.

    Raises: UserError if answers could be longer than the model can take.
    """
    fitted = task.fitted(settings, *limits)
    for name in ("max_length", "max_target_length"):
        new, old = getattr(fitted, name, None), getattr(settings, name, None)
        if new != old:
            notes.append(f"the model takes {new} tokens, so {name} is {new} instead of {old}")
    return fitted


def limited(split: LoadedSplit, limit: int | None, name: str, notes: list[str]) -> LoadedSplit:
    """The first examples of a split, where only so many are wanted."""
    from rocoft_bench.tasks import LoadedSplit

    total = len(split.examples)
    if limit is None or limit >= total:
        return split
    notes.append(f"only the first {limit} of {total} {name} examples are used")
    return LoadedSplit(split.examples.select(range(limit)), split.origin)


def held_out_of(split: LoadedSplit, settings: TaskConfig, notes: list[str]) -> tuple[LoadedSplit, LoadedSplit]:
    """What a trial of tuning trains on, and what it is scored on, both drawn from the training examples. Examples whose
    content is that of one that is held out are in neither.

    Raises: UserError if nothing would be left to train on.
    """
    import numpy as np

    from rocoft_bench.tasks import LoadedSplit

    count, wanted = len(split.examples), settings.hold_out or 0
    drawn = sorted(np.random.default_rng(settings.hold_out_seed).permutation(count)[:wanted].tolist())
    held_out = split.examples.select(drawn)
    contents = set(map(repr, held_out))
    rest = [index for index, example in enumerate(split.examples) if repr(example) not in contents]
    if not rest:
        raise UserError(f"task.hold_out = {wanted}: leaves nothing of {count} training examples to train on")
    if alike := count - len(drawn) - len(rest):
        notes.append(f"{alike} training examples are equal to one that is held out, and left out of the trial")
    return LoadedSplit(split.examples.select(rest), split.origin), LoadedSplit(held_out, split.origin)


def encode(
    task: Task, split: LoadedSplit, tokenizer: Any, settings: TaskConfig, training: bool, notes: list[str]
) -> EncodedSplit:
    """Raises: UserError if nothing is left to use."""
    result = task.encode(split.examples, tokenizer, settings, training)
    notes.extend(result.notes)
    if not len(result.examples):
        name = "training" if training else "evaluation"
        raise UserError(f"no {name} example is left to use: {'; '.join(result.notes)}")
    return EncodedSplit(split.examples, result.examples, split.origin)


def predictor_for(task: Task, settings: TaskConfig, tokenizer: Any) -> Predictor:
    """What asks the model for the output that a task reads its answers from."""
    from rocoft_bench.engine.prediction import PREDICTORS

    return PREDICTORS[task.kind, task.output(settings)](tokenizer, task.generation(settings))


def make_evaluator(
    task: Task,
    split: EncodedSplit,
    tokenizer: Any,
    settings: TaskConfig,
    training: TrainingConfig,
    accelerator: Any,
    observer: Observer,
    processes: Processes | None = None,
) -> Evaluator:
    """An evaluator of the model's answers to a split, as the task reads and scores them."""
    from rocoft_bench.engine.prediction import Evaluation, Evaluator
    from rocoft_bench.engine.processes import Processes

    references = task.references(split.raw)

    def score(outputs: list[Any]) -> Evaluation:
        predictions = task.read(outputs, split.encoded, split.raw, tokenizer, settings)
        return Evaluation(task.score([each["prediction"] for each in predictions], references), predictions)

    return Evaluator(
        examples=split.encoded,
        predictor=predictor_for(task, settings, tokenizer),
        score=score,
        batch_size=training.eval_batch_size,
        accelerator=accelerator,
        observer=observer,
        processes=processes or Processes(),
    )


def prediction_lines(task: Task, split: EncodedSplit, evaluation: Evaluation) -> Iterator[dict[str, Any]]:
    """The lines of predictions.jsonl."""
    references = task.references(split.raw)
    for index, (prediction, reference) in enumerate(zip(evaluation.predictions, references, strict=True)):
        yield {"index": index, "prediction": prediction["prediction"], "reference": reference, **prediction}
