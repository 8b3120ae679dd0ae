"""A finished run goes to the Hugging Face hub: its trained values or its merged model, with a card.

Beside them go the card, `record.json` and `config.yaml`, in which no path of this machine is left, so that the
downloaded folder is a run again: `rocoft predict` and `rocoft evaluate` take it.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from rocoft_bench.errors import UserError
from rocoft_bench.experiment.card import CARD, CardContext, form_of, model_card
from rocoft_bench.experiment.predict import export
from rocoft_bench.experiment.trained_model import experiment_of, trained_values
from rocoft_bench.methods.in_model import FILE_NAME as OWN_FILE
from rocoft_bench.models import PEFT_CONFIG, hub
from rocoft_bench.runs import RunDirectory, read_provenance
from rocoft_bench.untrusted import read_json

if TYPE_CHECKING:
    from huggingface_hub import CommitInfo

FORM_FILES = {PEFT_CONFIG, OWN_FILE, "config.json"}
"""The file that each form of trained values has: by them a loader decides what a repository holds."""


def push(
    directory: RunDirectory, name: str, private: bool = False, merged: bool = False, base: str | None = None
) -> CommitInfo:
    """Upload a finished run to the model repository `name` (owner/name, or a name of the token's owner) in one commit.

    private: nobody else sees the repository if it is made now. merged: the merged model instead of the trained values.
    base: where the base model to merge with is now; by default where the run had it.

    Raises: UserError if the run has nothing to upload, cannot be merged, or the hub does not take it. Nothing is
    changed on this machine then, nor on the hub but that an empty repository may have been made.
    """
    hub.check_upload(name)
    experiment, record = experiment_of(directory), directory.read_record()
    evaluated = sorted(directory.path.glob("evaluations/*/record.json"))  # by `rocoft evaluate`
    evaluations = [own for file in evaluated if (own := RunDirectory(file.parent).read_record()).status == "ok"]
    folder = trained_values(directory)
    with tempfile.TemporaryDirectory(prefix="rocoft-export-") as scratch:
        if merged:
            folder = Path(scratch) / "merged"
            export(directory, folder, base)
        repository = hub.open_repository(name, private)
        form = "merged" if merged else form_of(folder)
        context = CardContext(experiment, record, read_provenance(directory.path), form, repository.id, evaluations)
        files = {**_trained(folder, context), **_descriptions(context)}
        there = {file.rfilename for file in repository.siblings or ()}
        if others := (FORM_FILES & there) - files.keys():
            raise UserError(
                f"--push-to-hub {repository.id}: holds {', '.join(sorted(others))} of a model in another form, "
                "and both together could not be loaded; choose another repository"
            )
        return hub.upload(repository.id, files, f"{record.label} on {record.task['family']} {record.task['name']}")


def _trained(folder: Path, context: CardContext) -> dict[str, Path | bytes]:
    """Files of the trained values or of the merged model. A PEFT adapter does not name a base that is a local folder:
    on the hub the same name would mean another model, or none."""
    files: dict[str, Path | bytes] = {
        file.name: file
        for file in sorted(folder.iterdir())
        if file.is_file() and (context.form == "merged" or file.suffix == ".safetensors" or file.name == PEFT_CONFIG)
    }
    if PEFT_CONFIG in files and context.base.kind == "folder":
        config = read_json(folder / PEFT_CONFIG)
        files[PEFT_CONFIG] = _json({**config, "base_model_name_or_path": None})
    return files


def _descriptions(context: CardContext) -> dict[str, Path | bytes]:
    """The record without its facts on saved files: what is uploaded is not the same, byte for byte."""
    record = context.records[0].model_copy(update={"adapter_files": None})
    return {
        CARD: model_card(context).encode(),
        "record.json": _json(record.model_dump()),
        "config.yaml": yaml.safe_dump(context.config, sort_keys=False).encode(),
    }


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
