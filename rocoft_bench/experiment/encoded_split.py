"""The examples of an experiment: cut to the number that is wanted, encoded, scored.

What makes them differ from the benchmark's is appended to `notes`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rocoft_bench import models
from rocoft_bench.config import TaskConfig
from rocoft_bench.engine.observer import Observer
from rocoft_bench.errors import UserError
from rocoft_bench.experiment.resolve import Experiment
from rocoft_bench.tasks import LoadedSplit, Task

if TYPE_CHECKING:
    from datasets import Dataset

    from rocoft_bench.engine.prediction import Evaluation, Evaluator
    from rocoft_bench.engine.processes import Processes


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


def fitted_settings(
    experiment: Experiment, settings: TaskConfig, model: Any, tokenizer: Any, notes: list[str]
) -> TaskConfig:
    """The task's settings with lengths that the model can take beside the method's own tokens.

    Raises: UserError if the method leaves none, or if answers could be longer than the model can take.
    """
    own, limits = experiment.method.virtual_tokens, models.limits(model, tokenizer)
    if any(tokens is not None and tokens <= own for tokens in limits):
        raise UserError(
            f"{experiment.config.model.name}: takes {min(filter(None, limits))} tokens, of which "
            f"{experiment.method.name} needs {own} (num_virtual_tokens) for its own"
        )
    fitted = experiment.task.fitted(settings, *(None if tokens is None else tokens - own for tokens in limits))
    for name in ("max_length", "max_target_length"):
        new, old = getattr(fitted, name, None), getattr(settings, name, None)
        if new != old:
            notes.append(f"the model takes {new} tokens, so {name} is {new} instead of {old}")
    return fitted


def limited(split: LoadedSplit, limit: int | None, name: str, notes: list[str]) -> LoadedSplit:
    """The first examples of a split, where only so many are wanted."""
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


def make_evaluator(
    experiment: Experiment,
    split: EncodedSplit,
    tokenizer: Any,
    settings: TaskConfig,
    observer: Observer,
    accelerator: Any = None,
    processes: Processes | None = None,
    scored: bool = True,
) -> Evaluator:
    """An evaluator of the model's answers to a split, as the task reads and, where they are known, scores them.

    accelerator, processes: by default of this process alone.
    """
    from rocoft_bench.engine.accelerator import make_accelerator
    from rocoft_bench.engine.prediction import PREDICTORS, Evaluation, Evaluator
    from rocoft_bench.engine.processes import Processes

    task, training = experiment.task, experiment.config.training
    references = task.references(split.raw) if scored else []

    def score(outputs: list[Any]) -> Evaluation:
        predictions = task.read(outputs, split.encoded, split.raw, tokenizer, settings)
        answers = [each["prediction"] for each in predictions]
        return Evaluation(task.score(answers, references) if scored else {}, predictions)

    return Evaluator(
        examples=split.encoded,
        predictor=PREDICTORS[task.kind, task.output(settings)](tokenizer, task.generation(settings)),
        score=score,
        batch_size=training.eval_batch_size,
        accelerator=accelerator or make_accelerator(training.precision),
        observer=observer,
        processes=processes or Processes(),
    )


def prediction_lines(task: Task, split: EncodedSplit, evaluation: Evaluation) -> Iterator[dict[str, Any]]:
    """The lines of predictions.jsonl."""
    references = task.references(split.raw)
    for index, (prediction, reference) in enumerate(zip(evaluation.predictions, references, strict=True)):
        yield {"index": index, "prediction": prediction["prediction"], "reference": reference, **prediction}
