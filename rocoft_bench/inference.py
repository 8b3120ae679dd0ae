"""Using a finished run: its model answers, or becomes a plain checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from rocoft_bench import models
from rocoft_bench.config import Settings
from rocoft_bench.errors import UserError
from rocoft_bench.experiment import Experiment, resolve
from rocoft_bench.runs import RunDirectory

TEXT_OPTIONS = ("--text", "--text-pair")


@dataclass(frozen=True)
class TrainedModel:
    """The base model with a run's trained values, ready to answer."""

    experiment: Experiment
    model: Any
    tokenizer: Any


@dataclass(frozen=True)
class Answer:
    """`label` is None for a task whose target is a number; `value` is then that number, else a probability."""

    label: str | None
    value: float


def load_run(directory: RunDirectory) -> TrainedModel:
    """Load the model of a finished run, the base model from where the run had it.

    Raises:
        UserError: If the run is not finished or its base model cannot be had.
    """
    record = directory.read_record()
    if record.status != "ok":
        raise UserError(f"{directory.path}: the run has no result (status {record.status}: {record.error})")
    experiment = resolve(Settings(yaml.safe_load(directory.config.read_text(encoding="utf-8"))))
    task, config = experiment.task, experiment.config
    source = models.locate(config.model)
    model, tokenizer = models.load_classifier(source, config.model, task.num_labels, task.label_names)
    model = experiment.method.load(model, directory.adapter)
    return TrainedModel(experiment, model.eval(), tokenizer)


def answer(trained: TrainedModel, text: str, text_pair: str | None) -> Answer:
    """What the model says to one input.

    Raises:
        UserError: If the task takes one text and two are given, or the other way round.
    """
    import torch

    task = trained.experiment.task
    texts = [text] if text_pair is None else [text, text_pair]
    if len(texts) != len(task.text_columns):
        wanted = " and ".join(
            f"{option} ({name})" for option, name in zip(TEXT_OPTIONS, task.text_columns, strict=False)
        )
        raise UserError(f"{task.family} {task.name} takes {wanted}")
    max_length = min(trained.experiment.config.task.max_length, trained.tokenizer.model_max_length)
    inputs = trained.tokenizer(*texts, truncation=True, max_length=max_length, return_tensors="pt")
    with torch.no_grad():
        logits = trained.model(**inputs).logits.float()  # (1, num_labels)
    if not task.label_names:
        return Answer(None, logits.item())
    index = int(logits.argmax())
    return Answer(task.label_names[index], logits.softmax(-1)[0, index].item())


def export(trained: TrainedModel, folder: Path) -> None:
    """Write the model with all trained values merged, as a plain checkpoint that transformers loads by itself.

    Raises:
        UserError: If the method cannot be merged, or the folder is in use or cannot be written.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder}: exists already and is not an empty folder; choose another")
    merged: Any = trained.experiment.method.merge(trained.model)
    try:
        merged.save_pretrained(folder, safe_serialization=True)
        trained.tokenizer.save_pretrained(folder)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror or error})") from None
