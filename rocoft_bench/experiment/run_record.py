"""What is put on record of a run."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rocoft_bench import models
from rocoft_bench.config import TaskConfig
from rocoft_bench.experiment import memory_estimate
from rocoft_bench.experiment.encoded_split import EncodedSplit
from rocoft_bench.experiment.passes import ExampleLength
from rocoft_bench.experiment.resolve import Experiment
from rocoft_bench.methods import TASKS_WITH_HEAD
from rocoft_bench.runs import RunRecord, SavedFile
from rocoft_bench.runs.identity import template_version
from rocoft_bench.tasks import Task

if TYPE_CHECKING:
    from rocoft_bench.engine.trainer import TrainResult
    from rocoft_bench.experiment.build import Built


def make_record(experiment: Experiment, built: Built | None, **outcome: Any) -> RunRecord:
    """A record with what is known of a run: of one that was never built, less."""
    config = experiment.config
    known = models.known_model(config.model.name)
    facts: dict[str, Any] = {"notes": list(experiment.notes)}
    if built is not None:
        origins = {"train": built.train.origin, "evaluation": built.evaluation.origin}
        splits = {"training": built.train, "evaluation": built.evaluation}
        facts = {
            "data": {**origins, "train_rows": len(built.train.raw), "eval_rows": len(built.evaluation.raw)},
            "parameters": _parameters(experiment, built.model),
            "memory_estimate_mib": _memory_estimate(experiment, built),
            "notes": built.notes,
            "prompt": prompt_facts(experiment.task, built.settings, built.tokenizer, built.model, **splits),
        }
    return RunRecord(
        **evaluation_fields(experiment),
        method=config.method,
        model={
            "name": config.model.name,
            **(built.model_origin if built else {}),
            "paper_name": known.paper_name if known else None,
        },
        seed=config.seed,
        keep=config.training.keep,
        **facts,
        **outcome,
    )


def record_of_result(
    experiment: Experiment, built: Built, result: TrainResult, adapter_files: dict[str, SavedFile], processes: int
) -> RunRecord:
    """adapter_files: what was saved of the trained values. processes: how many trained them."""
    from rocoft_bench.engine.accelerator import peak_memory_mib

    state = result.state
    peak, kind = peak_memory_mib(next(built.model.parameters()).device)
    return make_record(
        experiment,
        built,
        status="ok",
        processes=processes,
        adapter_bytes=sum(file.bytes for file in adapter_files.values()),
        adapter_files=adapter_files,
        metrics=result.evaluation.metrics,
        kept_epoch=result.kept_epoch,
        initial_metrics=next((entry["metrics"] for entry in state.history if entry.get("epoch") == 0), None),
        epoch_metrics=[entry["metrics"] for entry in state.history if entry.get("epoch")],
        steps=state.step,
        train_seconds=round(state.train_seconds, 3),
        eval_seconds=round(state.eval_seconds, 3),
        peak_memory_mib=round(peak, 1),
        peak_memory_kind=kind if processes == 1 else f"{kind}, the first of {processes} processes",
    )


def evaluation_fields(experiment: Experiment) -> dict[str, Any]:
    """The fields of a record that say what was evaluated and how."""
    config, task = experiment.config, experiment.task
    held_out = config.task.hold_out
    trial = f"; trial of tuning: on {held_out} training rows that it held out" if held_out else ""
    return {
        "config_hash": experiment.identity.config_hash,
        "settings_hash": experiment.identity.settings_hash,
        "label": experiment.method.label,
        "task": {
            "family": task.family,
            "name": task.name,
            "version": task.version,
            "paper_task": task.paper_task,
            "metric_names": list(task.metric_names),
            "eval_split": task.train_split if held_out else task.eval_split,
            "random_baseline": task.random_baseline,
            "settings": config.task.model_dump(mode="json", exclude={"family", "name"}),
        },
        "protocol": task.protocol(config.task) + trial,
        "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _parameters(experiment: Experiment, model: Any) -> dict[str, int]:
    from rocoft_bench.models.parameter_counts import count_parameters

    counts = count_parameters(model, experiment.task.kind in TASKS_WITH_HEAD)
    return {**asdict(counts), "stored": experiment.method.stored_parameters(model, counts.adapter)}


def _memory_estimate(experiment: Experiment, built: Built) -> dict[str, float] | None:
    """By parts, for the longest example that there is and the device that the run is on."""
    layers = memory_estimate.facts_of(experiment)
    if layers is None:
        return None
    source = max(built.train.longest(), built.evaluation.longest()) + experiment.method.added_tokens
    target = built.train.longest("labels") if experiment.task.kind == "seq2seq_lm" else source
    length = ExampleLength(source, target if layers.shapes.is_encoder_decoder else 0)
    on_gpu = next(built.model.parameters()).device.type != "cpu"
    return memory_estimate.estimate(experiment, layers, length, on_gpu).as_record()


def prompt_facts(
    task: Task, settings: TaskConfig, tokenizer: Any, model: Any, **splits: EncodedSplit
) -> dict[str, Any]:
    """`RunRecord.prompt`, with the first example of each split by its name; empty where no words are answered."""
    template = task.template(tokenizer)
    if template is None:
        return {}
    first = {name: _as_seen(task, split.encoded[0], tokenizer) for name, split in splits.items()}
    stop = _stop_rules(task, settings, tokenizer, model)
    return {"template": template, "template_version": template_version(template), **first, "stop": stop}


def _as_seen(task: Task, example: dict[str, Any], tokenizer: Any) -> dict[str, Any]:
    """loss_mask: 1 for each label that is learnt or, of a choice, scored."""
    from rocoft_bench.engine.batching import NO_LABEL

    seen = {"text": _text(tokenizer, example["input_ids"]), "input_ids": example["input_ids"]}
    if "mask_position" in example:
        return {**seen, "mask_position": example["mask_position"]}
    labels = example.get("labels")
    if labels is None:
        return seen
    if task.kind == "seq2seq_lm":
        seen |= {"target_text": _text(tokenizer, labels), "target_ids": labels}
    return {**seen, "loss_mask": [int(label != NO_LABEL) for label in labels]}


def _stop_rules(task: Task, settings: TaskConfig, tokenizer: Any, model: Any) -> dict[str, Any]:
    """How answers are generated and what ends them; empty where nothing is generated."""
    from rocoft_bench.engine.prediction import special_tokens

    if task.output(settings) != "text":
        return {}
    tokens = {name: ids for name, ids in special_tokens(model, tokenizer).items() if ids is not None}
    end = tokens.get("eos_token_id")
    return {**task.generation(settings), **tokens, "eos_token": None if end is None else _text(tokenizer, end)}


def _text(tokenizer: Any, ids: Any) -> str:
    text: str = tokenizer.decode(ids, clean_up_tokenization_spaces=False)
    return text
