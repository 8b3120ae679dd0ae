"""Using a finished run: its model answers, or becomes a plain checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from rocoft_bench import models
from rocoft_bench.config import Settings
from rocoft_bench.errors import UserError
from rocoft_bench.experiment import Experiment, predictor_for, resolve
from rocoft_bench.runs import RunDirectory

TEXT_OPTIONS = ("--text", "--text-pair")


@dataclass(frozen=True)
class TrainedModel:
    """The base model with a run's trained values, ready to answer."""

    experiment: Experiment
    model: Any
    tokenizer: Any


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
    model, tokenizer = models.load(source, config.model, task.kind, task.model_options)
    model = experiment.method.load(model, directory.adapter)
    return TrainedModel(experiment, model.eval(), tokenizer)


def answer(trained: TrainedModel, text: str, text_pair: str | None) -> str:
    """What the model says to one input, in the words of its task.

    Raises:
        UserError: If the task takes one text and two are given, or the other way round.
    """
    import torch
    from datasets import Dataset

    task, settings = trained.experiment.task, trained.experiment.config.task
    texts = [text] if text_pair is None else [text, text_pair]
    if len(texts) != len(task.text_columns):
        wanted = " and ".join(
            f"{option} ({name})" for option, name in zip(TEXT_OPTIONS, task.text_columns, strict=False)
        )
        raise UserError(f"{task.family} {task.name} takes {wanted}")
    rows = Dataset.from_list([task.question(*texts)])
    settings = task.fitted(settings, models.longest_input(trained.model, trained.tokenizer))
    encoded = task.encode(rows, trained.tokenizer, settings, training=False).rows
    predictor = predictor_for(task, settings, trained.tokenizer)
    with torch.no_grad():
        outputs = [predictor(trained.model, predictor.collate([row]))[0] for row in encoded]
    return task.in_words(task.read(outputs, encoded, rows, trained.tokenizer, settings)[0])


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
