"""Using the model of a finished run: it answers one input, or becomes a plain checkpoint."""

import csv
import io
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rocoft_bench.engine.interrupt import GracefulStop
from rocoft_bench.engine.observer import Observer
from rocoft_bench.errors import UserError, reason
from rocoft_bench.experiment.encoded_split import EncodedSplit, fitted_settings, make_evaluator
from rocoft_bench.experiment.trained_model import TrainedModel, experiment_of, load_trained
from rocoft_bench.models.pretrained import quiet_transformers
from rocoft_bench.runs import RunDirectory, atomic_replacement, remove_leftovers, write_json_lines, write_text
from rocoft_bench.tasks import Task
from rocoft_bench.tasks.data import is_text
from rocoft_bench.tasks.readers import RawRows, read_own_rows
from rocoft_bench.tasks.task import Prediction
from rocoft_bench.untrusted import require_file

TEXT_OPTIONS = ("--text", "--text-pair")
OUTPUT_FORMS = (".csv", ".tsv", ".jsonl")


def answer(trained: TrainedModel, text: str, text_pair: str | None, observer: Observer) -> str:
    """What the model says to one input, in the words of its task. observer: told of what was cut.

    Raises: UserError if the task takes one text and two are given, or the other way round, or one is no text.
    """
    task = trained.experiment.task
    texts = [text] if text_pair is None else [text, text_pair]
    if len(texts) != len(task.text_columns):
        wanted = " and ".join(
            f"{option} ({name})" for option, name in zip(TEXT_OPTIONS, task.text_columns, strict=False)
        )
        raise UserError(f"{task.family} {task.name} takes {wanted}")
    for option, given in zip(TEXT_OPTIONS, texts, strict=False):
        if not is_text(given):
            raise UserError(f"{option}: is not UTF-8 text")
    return task.in_words(_predictions(trained, [task.question(*texts)], observer)[0])


@dataclass(frozen=True)
class FileToAnswer:
    """A file whose rows are to be answered, checked before any model is loaded.

    rows: all of its columns. questions: a row of the task for each. output: where the rows and the answers go.
    """

    rows: list[dict[str, Any]]
    questions: list[dict[str, Any]]
    output: Path


def open_file_to_answer(task: Task, file: Path, output: Path) -> FileToAnswer:
    """Raises: UserError if the file cannot be read or written out again, lacks what the task reads, or if the output is
    no file of a form that its name tells, or the file itself.
    """
    if output.suffix not in OUTPUT_FORMS:
        raise UserError(f"--output {output}: the name ends as one of {', '.join(OUTPUT_FORMS)}")
    if not output.absolute().parent.is_dir():
        raise UserError(f"--output {output}: the folder {output.absolute().parent} does not exist")
    if output.exists():
        require_file(output)
        if file.exists() and output.samefile(file):
            raise UserError(f"--output {output}: is the file that is read; choose another")
    table = read_own_rows(file)
    answered = next((name for name in task.answer_names if name in table.columns), None)
    if answered is not None:
        raise UserError(f'{file}: has a column "{answered}" already; rename it, answers are called so')
    return FileToAnswer(_plain_rows(table), task.asked(table), output)


def answer_file(trained: TrainedModel, asked: FileToAnswer, observer: Observer) -> int:
    """Write all rows with their answers, at once, and say how many there are.

    Raises:
        UserError: If the output cannot be written.
        Interrupted: On Ctrl-C, SIGTERM or SIGHUP; nothing is written then.
    """
    task = trained.experiment.task
    answers = [task.answer_columns(each) for each in _predictions(trained, asked.questions, observer)]
    try:
        _write_rows(asked.output, [{**row, **own} for row, own in zip(asked.rows, answers, strict=True)])
    except OSError as error:
        raise UserError(f"--output {asked.output}: cannot be written ({reason(error)})") from None
    return len(answers)


def _write_rows(output: Path, rows: list[dict[str, Any]]) -> None:
    if output.suffix == ".jsonl":
        return write_json_lines(output, rows)
    text, delimiter = io.StringIO(newline=""), "\t" if output.suffix == ".tsv" else ","
    writer = csv.DictWriter(text, list(rows[0]), delimiter=delimiter, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _cell(value) for name, value in row.items()} for row in rows)
    return write_text(output, text.getvalue())


def _cell(value: Any) -> Any:
    """Lists and objects, which tables have no form for, as JSON."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict) else value


def _plain_rows(table: RawRows) -> list[dict[str, Any]]:
    """Raises: UserError for a text that no file can hold."""
    cells = zip(*table.columns.values(), strict=True)
    rows = [dict(zip(table.columns, map(_plain, each), strict=True)) for each in cells]
    for number, row in enumerate(rows):
        if not is_text(json.dumps(row, ensure_ascii=False)):
            raise table.error(number, "holds half of a surrogate pair, which is not text")
    return rows


def _plain(value: Any) -> Any:
    """A cell as JSON can hold it; what pandas writes for none (NaN) is none."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    return value if value is None or isinstance(value, str | int | float) else str(value)


def _predictions(trained: TrainedModel, questions: list[dict[str, Any]], observer: Observer) -> list[Prediction]:
    """What the model answers to rows of its task, in batches."""
    from datasets import Dataset

    experiment, tokenizer = trained.experiment, trained.tokenizer
    settings = experiment.task.for_questions(experiment.config.task)
    settings = fitted_settings(experiment, settings, trained.model, tokenizer, notes=[])
    rows = Dataset.from_list(questions)
    encoded = experiment.task.encode(rows, tokenizer, settings, training=False)
    for note in encoded.notes:
        observer.note(note)
    split = EncodedSplit(rows, encoded.examples, origin={})
    evaluator = make_evaluator(experiment, split, tokenizer, settings, observer, scored=False)
    with GracefulStop() as stop:
        return evaluator.run(trained.model.to(evaluator.accelerator.device), stop).predictions


def export(directory: RunDirectory, folder: Path, base: str | None = None, as_lora: bool = False) -> tuple[str, ...]:
    """Write a finished run's model, all trained values merged, as a plain checkpoint that transformers loads by itself.

    base: as in `load_run`. as_lora: write a LoRA adapter instead, which peft loads by itself. It is put in place whole.
    Returns what is to be said of it.

    Raises: UserError if the run is not finished or cannot be merged (or is no LoRA), or the folder is in use or cannot
    be written.
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
        with quiet_transformers(), atomic_replacement(folder) as made:
            if as_lora:
                method.save_as_lora(trained.model, made)
            else:
                merged.save_pretrained(made, safe_serialization=True)
            trained.tokenizer.save_pretrained(made)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{folder}: cannot be written ({reason(error)})") from None
    return trained.notes
