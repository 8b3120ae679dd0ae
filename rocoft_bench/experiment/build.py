"""Everything that an experiment trains on and with, loaded: data, model, method."""

import itertools
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from rocoft_bench import models
from rocoft_bench.config import RunConfig, TaskConfig
from rocoft_bench.engine.observer import Observer
from rocoft_bench.errors import UserError
from rocoft_bench.experiment.encoded_split import EncodedSplit, encode, fitted_settings, held_out_of, limited
from rocoft_bench.experiment.resolve import Experiment
from rocoft_bench.models import Loaded, ModelSource
from rocoft_bench.models.quantised import quantised_options

CALIBRATION_EXAMPLES = 32
"""Training examples from which a scored selection (max, min, mixed) takes its activations."""

NOT_IN_FP16 = ("deberta-v2",)
"""Model types whose activations overflow in half precision; DeBERTa-v3 is one of them."""


@dataclass
class Built:
    """Everything loaded, nothing trained yet.

    settings: the task's, with the max_length that the model allows. notes: how the run differs from what its name says.
    """

    model: Any
    tokenizer: Any
    settings: TaskConfig
    train: EncodedSplit
    evaluation: EncodedSplit
    model_origin: dict[str, Any]
    notes: list[str]


def build(experiment: Experiment, observer: Observer) -> Built:
    """Load data and model, and apply the method.

    Raises: UserError if the data or the model cannot be had or do not fit together.
    """
    config, task = experiment.config, experiment.task
    _check_precision(config.training.precision)
    train = task.load_training(config.task)
    evaluation = train if config.task.hold_out else task.load(task.eval_split, config.task.data_dir)
    source = models.locate(config.model)
    model, tokenizer, of_model = load_base(experiment, source)
    _check_half_precision(config, model.config.model_type)
    notes = list(dict.fromkeys([*experiment.notes, *train.notes, *evaluation.notes, *of_model]))
    if task.output(config.task) == "text":
        from rocoft_bench.engine.prediction import own_generation_settings

        notes += own_generation_settings(model)
    model = applied(experiment, model, notes)
    train = limited(train, config.task.max_train_rows, "training", notes)
    if config.task.hold_out:
        train, evaluation = held_out_of(train, config.task, notes)
    else:
        evaluation = limited(evaluation, config.task.max_eval_rows, "evaluation", notes)
    settings = fitted_settings(experiment, config.task, model, tokenizer, notes)
    built = Built(
        model=model,
        tokenizer=tokenizer,
        settings=settings,
        train=encode(task, train, tokenizer, settings, True, notes),
        evaluation=encode(task, evaluation, tokenizer, settings, False, notes),
        model_origin=source.origin(model.config),
        notes=notes,
    )
    calibrate(experiment, model, built.train, tokenizer, notes)
    for note in notes:
        observer.note(note)
    return built


def load_base(experiment: Experiment, source: ModelSource) -> Loaded:
    """The model that the method starts from, and its tokenizer."""
    method, task, config = experiment.method, experiment.task, experiment.config
    how = method.loading_options | quantised_options(config.model)
    check = partial(method.check_supports, task.kind)
    loaded = models.load(source, config.model, task.kind, task.model_options, check, how)
    return loaded._replace(model=task.prepared(loaded.model, loaded.tokenizer, config.task))


def _check_precision(precision: str) -> None:
    import torch

    gpu = torch.cuda.is_available()
    if (precision == "fp16" and not gpu) or (precision == "tf32" and not (gpu and torch.cuda.is_tf32_supported())):
        needed = "a GPU" if precision == "fp16" else "an NVIDIA GPU since Ampere"
        raise UserError(f"training.precision = '{precision}': {precision} needs {needed}; use fp32 or bf16")


def _check_half_precision(config: RunConfig, model_type: str) -> None:
    half = "float16" if config.model.dtype == "float16" else config.training.precision
    if model_type in NOT_IN_FP16 and half in ("float16", "fp16"):
        raise UserError(f"{config.model.name}: a {model_type} model gives NaN in {half}; use fp32 or bf16")


def applied(experiment: Experiment, model: Any, notes: list[str]) -> Any:
    """Apply the method; what it warns of, once per layer perhaps, becomes one note per kind."""
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            made = experiment.method.apply(model, experiment.task.kind, experiment.config.seed)
    except (ValueError, TypeError) as error:
        raise UserError(
            f"method {experiment.method.name} does not fit {experiment.config.model.name}: {error}"
        ) from error
    messages = [str(warning.message) for warning in caught if issubclass(warning.category, UserWarning)]
    if messages:
        more = f" (and {len(messages) - 1} more such warnings)" if len(messages) > 1 else ""
        notes.append(messages[0] + more)
    return made


def calibrate(experiment: Experiment, model: Any, train: EncodedSplit, tokenizer: Any, notes: list[str]) -> None:
    """Let the method choose what it trains by the first training examples, where it does."""
    if experiment.method.calibrate(model, single_examples(train, tokenizer)):
        count = min(CALIBRATION_EXAMPLES, len(train.encoded))
        notes.append(f"rows or columns were scored on the first {count} training examples")


def single_examples(train: EncodedSplit, tokenizer: Any) -> Iterator[dict[str, Any]]:
    """The first examples one at a time, so that no padding is in the activations."""
    from rocoft_bench.engine.batching import padding_collate

    collate = padding_collate(tokenizer)
    for example in itertools.islice(train.encoded, CALIBRATION_EXAMPLES):
        yield collate([example])
