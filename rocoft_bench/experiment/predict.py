"""Using the model of a finished run: it answers one input, or becomes a plain checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rocoft_bench.errors import UserError, reason
from rocoft_bench.experiment.build import limits
from rocoft_bench.experiment.encoded_split import predictor_for
from rocoft_bench.experiment.trained_model import TrainedModel, experiment_of, load_trained
from rocoft_bench.runs import RunDirectory, atomic_replacement, remove_leftovers
from rocoft_bench.tasks.data import is_text

TEXT_OPTIONS = ("--text", "--text-pair")


def answer(trained: TrainedModel, text: str, text_pair: str | None) -> str:
    """What the model says to one input, in the words of its task.

    Raises:
        UserError: If the task takes one text and two are given, or the other way round, or one is no text.
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
    for option, given in zip(TEXT_OPTIONS, texts, strict=False):
        if not is_text(given):
            raise UserError(f"{option}: is not UTF-8 text")
    example = Dataset.from_list([task.question(*texts)])
    settings = task.fitted(task.for_questions(settings), *limits(trained.experiment, trained.model, trained.tokenizer))
    inputs = task.encode(example, trained.tokenizer, settings, training=False).examples
    predictor = predictor_for(task, settings, trained.tokenizer)
    with torch.no_grad():
        outputs = [predictor(trained.model, predictor.collate([each]))[0] for each in inputs]
    return task.in_words(task.read(outputs, inputs, example, trained.tokenizer, settings)[0])


def export(directory: RunDirectory, folder: Path, base: str | None = None, as_lora: bool = False) -> tuple[str, ...]:
    """Write a finished run's model, all trained values merged, as a plain checkpoint that transformers loads by itself.

    base: as in `load_run`. as_lora: write a LoRA adapter instead, which peft loads by itself. It is put in place whole.
    Returns what is to be said of it.

    Raises:
        UserError: If the run is not finished or cannot be merged (or is no LoRA), or the folder is in use or cannot be
            written.
    """
    from safetensors import SafetensorError

    experiment = experiment_of(directory)
    method = experiment.method
    method.check_is_lora() if as_lora else method.check_mergeable()
    remove_leftovers(folder.absolute().parent, folder.name)
    if folder.is_symlink() or (folder.exists() and (not folder.is_dir() or any(folder.iterdir()))):
        raise UserError(f"{folder}: exists already and is not an empty folder; choose another")
    trained = load_trained(experiment, directory, base)
    merged: Any = None if as_lora else method.merge(trained.model)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with atomic_replacement(folder) as made:
            if as_lora:
                method.save_as_lora(trained.model, made)
            else:
                merged.save_pretrained(made, safe_serialization=True)
            trained.tokenizer.save_pretrained(made)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{folder}: cannot be written ({reason(error)})") from None
    return trained.notes
